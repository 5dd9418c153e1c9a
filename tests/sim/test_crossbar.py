from __future__ import annotations

import numpy as np
import pytest

from crossvote.sim.array.arithmetic import input_bits
from crossvote.sim.array.crossbar import block_codes, read_cells, reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence

OPTIONS = [
    {"vote": "none"},
    {"vote": "none", "flipped": (3,)},
    {"vote": "none", "flipped": (0, 1, 2, 3)},
    {"vote": "output", "flipped": (3,), "voted": {3: 3}},
    {"vote": "crossbar", "flipped": (0, 1, 2, 3), "voted": {3: 3, 2: 5}},
    {"vote": "output", "voted": {0: 3, 3: 3}},
    # Summed copies of shifts 1, 1, 1, 1 and 1, 0, 0; plane 0 is left out.
    {"vote": "none", "flipped": (1, 2, 3), "code": {3: [(1, 1)] * 4, 2: [(1, 1), (0, 1), (0, 1)], 1: [(1, 1)]}},
    # A vote beside single lines of the same plane and shift, in either place.
    {"vote": "crossbar", "code": {3: [(2, 3), (2, 1)], 2: [(2, 1)], 0: [(0, 1)]}},
    {"vote": "output", "flipped": (3,), "code": {3: [(2, 1), (2, 3)], 2: [(1, 3), (1, 3)]}},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_without_faults_the_crossbars_multiply_exactly(make_group, options):
    rng = np.random.default_rng(11)
    group, q = make_group(rng, **options)
    x = rng.integers(-128, 128, (4, group.inputs))
    x[0], x[1] = -128, 127
    assert np.array_equal(reference_outputs(group, x, 8, 8), x @ q)
    assert np.array_equal(reference_outputs(group, x, 8, 8, FaultMap.empty(64, 32, 100)), x @ q)


def brute_force(group: GroupImage, x: np.ndarray, faults: FaultMap, input_bits: int) -> list[list[int]]:
    """Design arithmetic cell by cell in plain Python integers; shares nothing with the reference."""
    stuck = {int(c): int(s) for c, s in zip(faults.cells, faults.stuck_at, strict=True)}
    dense = np.unpackbits(group.cells, axis=-1, count=len(group.column_map))

    def column_sum(vector, row_block, line):
        pair = group.first_pair + row_block * group.column_blocks + line // group.columns
        total = 0
        for t in range(input_bits):
            codes = []
            for sign in (0, 1):
                code = 0
                for word_line in range(group.rows):
                    k = row_block * group.rows + word_line
                    if k >= group.inputs:
                        break
                    where = ((2 * pair + sign) * group.rows + word_line) * group.columns + line % group.columns
                    cell = stuck.get(where, int(dense[sign, k, line]))
                    code += ((int(vector[k]) >> t) & 1) * cell
                codes.append(code)
            d = codes[0] - codes[1]
            d = -d if group.column_map.flipped[line] else d
            total += (-(1 << t) if t == input_bits - 1 else 1 << t) * d
        return total

    results = []
    for vector in x:
        row = [0] * group.outputs
        places: dict[tuple[int, ...], list[int]] = {}
        for line in range(len(group.column_map)):
            if group.column_map.output[line] >= 0:
                fields = ("output", "plane", "shift", "copy")
                place = tuple(int(getattr(group.column_map, field)[line]) for field in fields)
                places.setdefault(place, []).append(line)
        for (output, _, shift, _), lines in places.items():
            sums = [[column_sum(vector, rb, line) for line in lines] for rb in range(group.row_blocks)]
            if group.vote == "crossbar":
                value = sum(sorted(block)[len(lines) // 2] for block in sums)
            else:
                value = sorted(sum(column) for column in zip(*sums, strict=True))[len(lines) // 2]
            row[output] += value << shift
        results.append(row)
    return results


@pytest.mark.parametrize("rate", [0.02, 1.0])
@pytest.mark.parametrize("options", OPTIONS)
def test_with_faults_the_reference_equals_brute_force(make_group, options, rate):
    rng = np.random.default_rng(12)
    group, q = make_group(rng, inputs=20, outputs=3, rows=8, columns=16, **options)
    x = rng.integers(-8, 8, (2, group.inputs))
    faults = FaultMap.sample(8, 16, 2 * (group.first_pair + group.pairs), rate, seed_sequence(13), (1.0, 1.0))
    expected = brute_force(group, x, faults, input_bits=4)
    assert reference_outputs(group, x, 4, 8, faults).tolist() == expected
    assert expected != (x @ q).tolist()


def test_two_equal_replicas_outvote_a_faulty_one(make_group):
    rng = np.random.default_rng(14)
    group, q = make_group(rng, vote="crossbar", voted={3: 3}, flipped=(0, 1, 2, 3))
    first = next(g for g in group.column_map.vote_groups if g.lines.shape[1] == 3)
    line = int(first.lines[0, 1])
    crossbar = 2 * group.pair(0, line // group.columns)
    cells = (crossbar * group.rows + np.arange(group.rows)) * group.columns + line % group.columns
    faults = FaultMap(group.rows, group.columns, 100, cells, np.zeros(group.rows, np.bool_))
    x = rng.integers(-128, 128, (3, group.inputs))
    assert not np.array_equal(read_cells(group, 0, faults), group.block_cells(0))
    assert np.array_equal(reference_outputs(group, x, 8, 8, faults), x @ q)


def test_faults_under_an_undriven_word_line_do_nothing(make_group):
    rng = np.random.default_rng(15)
    group, q = make_group(rng, vote="none")
    kept = np.ones(group.inputs, np.bool_)
    kept[5] = False
    group = GroupImage(**{**vars(group), "kept_inputs": kept})
    lines = np.arange(group.columns)
    cells = (2 * group.pair(0, 0) * group.rows + 5) * group.columns + lines
    faults = FaultMap(group.rows, group.columns, 100, cells, np.ones(len(lines), np.bool_))
    x = rng.integers(-128, 128, (3, group.inputs))
    assert np.array_equal(reference_outputs(group, x, 8, 8, faults), (x * kept) @ q)


def test_stuck_cells_show_in_the_codes(make_group):
    group, _ = make_group(np.random.default_rng(16), vote="none")
    x = np.full((1, group.inputs), -1)
    size = 2 * (group.first_pair + group.pairs)
    every = np.arange(size * group.rows * group.columns)
    for value, code in ((True, group.rows), (False, 0)):
        faults = FaultMap(group.rows, group.columns, size, every, np.full(len(every), value))
        codes = block_codes(group, 0, x, 8, 8, faults)
        assert (codes == code).all()
    assert input_bits(x, 8).all()


def test_wrong_inputs_and_chips_are_refused(make_group):
    group, _ = make_group(np.random.default_rng(17), vote="none")
    with pytest.raises(UserError, match="takes vectors of 150 inputs"):
        reference_outputs(group, np.zeros((2, 7), np.int64), 8, 8)
    with pytest.raises(UserError, match="64 x 64 cells, the image for 64 x 32"):
        reference_outputs(group, np.zeros((1, 150), np.int64), 8, 8, FaultMap.empty(64, 64, 100))
