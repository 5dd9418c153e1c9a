"""Codes and where they go: shares of a bit's weight, planes left out, placements, and what does not fit."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from mapping_cases import driven_inputs, quantized

from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.cost import mapping_report
from crossvote.swstack.mapping.placement import place_outputs
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.scheme import Allocation, Term, code_lines, equal_shares, scheme_from
from crossvote.swstack.mapping.schemes.fixed import Fixed
from crossvote.swstack.mapping.schemes.layered import Layered


def partitions(total: int, parts: int, largest: int):
    """All ways to write ``total`` as so many powers of two, in falling order."""
    if parts == 0:
        if total == 0:
            yield ()
        return
    for power in (1 << s for s in range(largest, -1, -1)):
        if power <= total:
            for rest in partitions(total - power, parts - 1, power.bit_length() - 1):
                yield (power, *rest)


@pytest.mark.parametrize(("plane", "lines"), [(4, n) for n in range(1, 12)] + [(6, 5), (2, 4), (0, 1)])
def test_equal_shares_add_up_and_have_the_least_sum_of_squares(plane, lines):
    weights = [1 << shift for shift in equal_shares(plane, lines)]
    assert (sum(weights), len(weights)) == (1 << plane, lines)
    assert sum(w * w for w in weights) == min(sum(w * w for w in p) for p in partitions(1 << plane, lines, plane))


def test_more_shares_than_a_plane_has_are_refused():
    with pytest.raises(UserError, match="plane 2 can be shared by 4 summed bit lines at most, not by 5"):
        equal_shares(2, 5)


def test_lines_of_a_code_number_equal_terms():
    lines = code_lines((Term(3, 1), Term(3, 2, 3, flipped=True), Term(3, 1), Term(1, 1)))
    assert lines.tolist() == [
        [1, 1, 0, 0, 0],
        [3, 1, 0, 0, 0],
        [3, 1, 1, 0, 0],
        [3, 2, 0, 0, 1],
        [3, 2, 0, 1, 1],
        [3, 2, 0, 2, 1],
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_computes_its_rounded_integers(name):
    """Outputs are multiples of the lowest plane kept, nearest to the weights or the largest there is."""
    rng = np.random.default_rng(2)
    group = quantized(rng, inputs=20, outputs=9)
    image = place_group(group, PRESETS[name], 7, rows=16, columns=24)
    x = driven_inputs(rng, image)
    column_map = image.column_map
    y = reference_outputs(image, np.eye(20, dtype=np.int64), 8, 8)
    for output in np.flatnonzero(group.kept_outputs):
        step = 1 << int(column_map.plane[column_map.output == output].min())
        choices = np.arange(-(128 - step), 128, step)
        wanted = np.where(group.kept_inputs, group.q[:, output], 0)
        assert np.isin(y[:, output], choices).all()
        assert (np.abs(y[:, output] - wanted) == np.abs(wanted[:, None] - choices).min(axis=1)).all()
    assert not y[:, ~group.kept_outputs].any()
    np.testing.assert_array_equal(reference_outputs(image, x, 8, 8), x @ y)


def homes(column_map: ColumnMap) -> list[tuple[int, ...]]:
    fields = ("output", "plane", "shift", "copy", "replica", "flipped")
    used = column_map.used
    return sorted(zip(*(getattr(column_map, field)[used].tolist() for field in fields), strict=True))


@pytest.mark.parametrize("placement", ["in_place", "packed", "free", "apart", "beside"])
def test_every_placement_gives_each_line_one_home(placement):
    rng = np.random.default_rng(3)
    codes = (Fixed(lines=(4, 3, 1, 1, 1)).code(7), Fixed(lines=(3, 1), voted=(0,)).code(7))
    code_of = rng.integers(-1, 2, 30)
    column_map = place_outputs(Allocation(codes, code_of, "crossbar"), 7, 24, placement)
    expected = [
        (output, *map(int, line))
        for output, code in enumerate(code_of)
        if code >= 0
        for line in code_lines(codes[code])
    ]
    assert homes(column_map) == sorted(expected)
    total = len(expected)
    if placement in ("free", "apart"):
        assert len(column_map) == -(-total // 24) * 24
    if placement == "apart":
        blocks = len(column_map) // 24
        for output in np.unique(column_map.output[column_map.used]):
            per_block = np.bincount(np.flatnonzero(column_map.output == output) // 24, minlength=blocks)
            assert per_block.max() <= -(-per_block.sum() // blocks)
    if placement in ("packed", "beside"):
        for output in range(30):
            assert len(set(np.flatnonzero(column_map.output == output) // 24)) <= 1
    if placement == "beside":
        assert len(column_map) == 30 // 2 * 24  # two outputs of ten lines in each crossbar, pruned or not
    if placement == "in_place":
        output = np.arange(30)
        home = output // 3 * 24 + output % 3 * 7  # three outputs of seven lines in each crossbar
        used = np.flatnonzero(column_map.used)
        moved = used[home[column_map.output[used]] + column_map.plane[used] != used]
        assert len(moved) == sum(
            len(code_lines(codes[c])) - len({t.plane for t in codes[c]}) for c in code_of if c >= 0
        )


def test_lines_that_share_a_crossbar_lie_apart_too():
    """One crossbar for all: no two lines of an output are neighbours, as they are side by side."""
    allocation = Allocation.uniform(Fixed(lines=(4, 3, 1, 1, 1)).code(7), np.ones(12, np.bool_), "none")
    column_map = place_outputs(allocation, 7, 128, "apart")
    assert len(column_map) == 128
    for output in range(12):
        places = np.sort(np.flatnonzero(column_map.output == output))
        assert np.diff(places).min() > 4


def test_codes_fit_the_dense_crossbars_when_enough_is_pruned():
    """768 outputs, 30 % pruned: ten lines for each kept one are 5380, the dense crossbars have 43 * 128 = 5504."""
    kept = np.ones(768, np.bool_)
    kept[:230] = False
    group = QuantizedGroup(
        "g",
        np.ones((8, 768), np.int32) * kept,
        (MatrixImage("m", 0, 768, np.ones(1, np.float32), None),),
        np.ones(8, np.bool_),
        kept,
    )
    report = mapping_report(Image((place_group(group, PRESETS["mean5"], 7, 128, 128),), {}, 8, 8))[0]
    assert report.zero_space
    assert report.hosts_needed == 5 * 538
    assert not mapping_report(Image((place_group(group, PRESETS["triplicated"], 7, 128, 128),), {}, 8, 8))[0].zero_space
    greedy = Fixed(lines=(6, 4, 2), placement="free", zero_space=True)
    with pytest.raises(UserError, match="group g: the code needs 6456 bit lines, 952 more than the 5504"):
        place_group(group, greedy, 7, 128, 128)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "magic"}, "^protection: unknown kind of scheme 'magic'; there are closest, fixed, .*replicas"),
        ({"kind": "fixed", "lines": [2, 0]}, "every kept plane has a bit line"),
        ({"kind": "fixed", "lines": [2, 1], "voted": [0]}, "a median needs an odd number"),
        ({"kind": "fixed", "lines": [3], "voted": [1]}, "voted names plane 1 below the MSB, but 1 planes are kept"),
        ({"kind": "fixed", "lines": [3], "line": [3]}, "did you mean 'lines'"),
        ({"kind": "layered", "copies": [5, 3, 1]}, "shares has 1 entries; 3 classes of copies need 2"),
        ({"kind": "layered", "copies": [2, 1]}, "a median needs an odd number of copies"),
        ({"kind": "layered", "copies": [5, 3, 1], "shares": [0.7, 0.6]}, "add up to 1 at most"),
        ({"kind": "layered", "ranking": ["a", "b", "a"]}, "ranking names group 'a' twice"),
    ],
)
def test_impossible_schemes_are_one_sentence(values, message):
    with pytest.raises(UserError, match=message):
        scheme_from(values)


def test_sensitive_groups_get_more_copies_and_pay_for_them():
    """Five groups: the first, the next two (0.3 of five, rounded up) and the rest; who is not ranked is safe."""
    scheme = scheme_from(
        {"kind": "layered", "ranking": ["a", "b", "c", "d", "e"], "copies": [5, 3, 1], "shares": [0.2, 0.3]}
    )
    lines = {}
    for name in "abcdex":
        group = dataclasses.replace(quantized(np.random.default_rng(7), pruned=0.0), name=name)
        image = place_group(group, scheme, 7, 16, 24)
        lines[name] = int(image.column_map.used.sum()) // group.kept_outputs.sum() // 7
        assert image.vote == ("output" if lines[name] > 1 else "none")
        x = driven_inputs(np.random.default_rng(8), image)
        np.testing.assert_array_equal(reference_outputs(image, x, 8, 8), x @ group.q)
    assert lines == {"a": 5, "b": 3, "c": 3, "d": 1, "e": 1, "x": 5}
    assert scheme.describe().startswith("copies of all planes: 5 for 0.2 of the ranking and 3 for 0.3 of the ranking")


def test_a_ranking_names_groups_of_the_model_or_the_ends_of_their_names() -> None:
    names = [f"bert.encoder.layer.{layer}.{role}" for layer in (1, 11) for role in ("qkv", "o")]

    def ranked(*ranking: str) -> Layered:
        found = scheme_from({"kind": "layered", "ranking": ranking, "copies": [3, 1], "shares": [0.5]})
        assert isinstance(found, Layered)
        return found

    scheme = ranked("layer.1.o", names[0])
    scheme.check_groups(names)
    assert [scheme.copies_of(name) for name in names] == [1, 3, 3, 3]
    for wrong, said in (("layer.2.o", "names none"), ("o", "names 2"), ("encoder", "names none")):
        with pytest.raises(UserError, match=f"ranking: '{wrong}' {said} of the model's word-line groups"):
            ranked(wrong).check_groups(names)


def test_codes_that_the_weights_cannot_hold_are_refused():
    group = quantized(np.random.default_rng(0), planes=3)
    with pytest.raises(UserError, match="keeps 5 planes, but the weights have 3"):
        place_group(group, PRESETS["mean5"], 3, 16, 24)
    with pytest.raises(UserError, match="one-bit cells"):
        place_group(group, PRESETS["mean5"], 7, 16, 24, cell_bits=2)


def test_all_partitions_are_seen():
    """The brute force itself: 8 as three powers of two is 4 + 2 + 2 only."""
    assert list(itertools.islice(partitions(8, 3, 3), 5)) == [(4, 2, 2)]
