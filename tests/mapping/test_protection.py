"""Protection schemes are consistent or refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build, to_mapping
from crossvote.swstack.mapping.protection import PRESETS, preset
from crossvote.swstack.mapping.scheme import scheme_from
from crossvote.swstack.mapping.schemes.replicas import Replicas


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_a_round_trip_through_toml_values(name):
    assert scheme_from(to_mapping(preset(name))) == preset(name)


def test_planes_are_counted_from_the_msb_or_by_number():
    scheme = Replicas(replicas={"msb": 3, "msb-2": 5, "0": 7}, vote="output")
    np.testing.assert_array_equal(scheme.replica_counts(7), [7, 1, 1, 1, 5, 1, 3])
    np.testing.assert_array_equal(Replicas(flip="msb").flipped_planes(4), [False, False, False, True])
    assert Replicas(flip="all").flipped_planes(4).all()
    assert not Replicas().flipped_planes(4).any()
    np.testing.assert_array_equal(Replicas(replicas={"all": 3}, vote="output").replica_counts(4), [3, 3, 3, 3])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": {"msb": 2}, "vote": "output"}, "odd"),
        ({"replicas": {"msb": 3}}, "replicas need a vote"),
        ({"vote": "crossbar"}, "nothing to vote on"),
        ({"replicas": {"top": 3}, "vote": "output"}, "plane 'top'"),
        ({"flip": "some"}, "flip"),
        ({"replica": {"msb": 3}}, "did you mean 'replicas'"),
    ],
)
def test_inconsistent_schemes_are_one_sentence(values, message):
    with pytest.raises(UserError, match=message):
        build(Replicas, values, "map.toml")


def test_planes_that_the_weights_do_not_have_are_refused():
    with pytest.raises(UserError, match="plane 'msb-7'"):
        Replicas(replicas={"msb-7": 3}, vote="output").replica_counts(7)
    with pytest.raises(UserError, match="plane 6 twice"):
        Replicas(replicas={"msb": 3, "6": 3}, vote="output").replica_counts(7)


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(UserError, match="none, none-column, paper, best"):
        preset("papr")
