"""What is stuck, and how conductances vary, depends on the chip and the crossbar alone."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.imperfect_reads import variation
from crossvote.sim.array.patterns import parse_pattern
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.common.errors import UserError

CHIP = Silicon(7, 2, 0.01, 32, 16)


def test_a_larger_chip_goes_on_where_a_smaller_one_ends():
    small, large = CHIP.faults(40), CHIP.faults(70)
    np.testing.assert_array_equal(large.of_crossbars(0, 40)[0], small.cells)
    np.testing.assert_array_equal(large.of_crossbars(0, 40)[1], small.stuck_at)


def test_every_part_of_the_law_makes_another_chip():
    """0.001 and 0.00100000001 look alike with six digits."""
    chips = [
        Silicon(7, 2, 0.001, 32, 16),
        Silicon(7, 2, 0.00100000001, 32, 16),
        Silicon(8, 2, 0.001, 32, 16),
        Silicon(7, 3, 0.001, 32, 16),
        Silicon(7, 2, 0.001, 32, 16, parse_pattern("clustered")),
        Silicon(7, 2, 0.001, 32, 16, parse_pattern({"kind": "clustered", "cluster_size": 9})),
        Silicon(7, 2, 0.001, 32, 16).of_part("embeddings"),
    ]
    cells = [chip.faults(400).cells for chip in chips]
    for one, other in itertools.combinations(cells, 2):
        assert len(np.intersect1d(one, other)) < 0.1 * len(one)


def test_another_ratio_leaves_stuck_cells_where_they_are():
    one, other = CHIP.faults(50), Silicon(7, 2, 0.01, 32, 16, sa0_sa1=(1.0, 0.0)).faults(50)
    np.testing.assert_array_equal(one.cells, other.cells)
    assert one.stuck_at.any()
    assert not other.stuck_at.any()


def factors(faults, crossbar=5, seed=7):
    return variation(ReadModel(variation=0.3, seed=seed), 32, 16, crossbar, faults)


def test_conductances_belong_to_the_chip_and_the_crossbar():
    own = factors(CHIP.faults(20))
    np.testing.assert_array_equal(own, factors(CHIP.faults(90)))
    np.testing.assert_array_equal(own, factors(Silicon(7, 2, 0.2, 32, 16).faults(20)))
    np.testing.assert_array_equal(own, factors(CHIP.faults(20), seed=0))
    for other in (Silicon(7, 3, 0.01, 32, 16), Silicon(8, 2, 0.01, 32, 16)):
        assert not np.array_equal(own, factors(other.faults(20)))
    assert not np.array_equal(own, factors(CHIP.faults(20), crossbar=6))


def test_a_perfect_chip_is_chip_0_without_its_faults():
    np.testing.assert_array_equal(factors(None), factors(Silicon(7, 0, 0.01, 32, 16).faults(20)))


def test_a_map_that_was_not_drawn_has_conductances_by_its_content():
    def own(crossbars, cell):
        return factors(FaultMap(32, 16, crossbars, np.array([cell]), np.array([True])))

    np.testing.assert_array_equal(own(10, 3), own(20, 3))
    assert not np.array_equal(own(10, 3), own(10, 4))


def test_the_chip_is_kept_in_a_file(tmp_path):
    drawn = CHIP.faults(20)
    drawn.save(tmp_path / "map")
    loaded = FaultMap.load(tmp_path / "map")
    assert loaded.silicon == (7, 2)
    np.testing.assert_array_equal(factors(loaded), factors(drawn))
    FaultMap.empty(4, 4, 1).save(tmp_path / "empty")
    assert FaultMap.load(tmp_path / "empty").silicon is None


def test_the_fingerprint_tells_chips_apart():
    chips = [CHIP, Silicon(7, 1, 0.01, 32, 16), Silicon(7, 2, 0.02, 32, 16)]
    assert len({chip.fingerprint for chip in chips}) == 3
    assert CHIP.fingerprint == Silicon(7, 2, 0.01, 32, 16).fingerprint


def test_a_chip_comes_back_from_its_file(tmp_path):
    chip = Silicon(7, 2, 0.00100000001, 32, 16, parse_pattern({"kind": "clustered", "cluster_size": 9.0}), (1.0, 3.0))
    chip.save(tmp_path / "chip.json")
    assert Silicon.load(tmp_path / "chip.json") == chip
    chip.of_part("embeddings").save(str(tmp_path / "part.json"))
    assert Silicon.load(str(tmp_path / "part.json")) == chip.of_part("embeddings")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fingerprint": "0" * 64}, "is not the one that was drawn before"),
        ({"rows": "x"}, "damaged chip file"),
        ({"pattern": {"kind": "stripes"}}, "unknown fault pattern 'stripes'"),
    ],
)
def test_a_file_of_another_chip_is_one_sentence(change, sentence, tmp_path):
    path = tmp_path / "chip.json"
    path.write_text(json.dumps({**CHIP.record(), **change}))
    with pytest.raises(UserError, match=sentence):
        Silicon.load(path)
    with pytest.raises(UserError, match="no such file"):
        Silicon.load(tmp_path / "absent.json")
