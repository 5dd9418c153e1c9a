from __future__ import annotations

import numpy as np
import pytest

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral import create_peripheral
from crossvote.sim.peripheral.tile_backend import NumpyTile
from crossvote.sim.peripheral.tile_sizes import tile_parameters
from crossvote.sim.system.cosim import CosimRequest
from crossvote.sim.system.cosim import cosimulate as cosimulate_request

CHIP = load_chip(
    "crossvote",
    {"crossbar": {"rows": 64, "columns": 32}, "opc": {"columns": 32, "planes": 4, "lanes": 2}},
)
SCHEMES = [
    {"vote": "none"},
    {"vote": "output", "flipped": (3,), "voted": {3: 3}},
    {"vote": "crossbar", "flipped": (0, 1, 2, 3), "voted": {3: 3, 2: 3}},
]


def cosimulate(group, x, chip, make_peripheral, faults=None, **options):
    return cosimulate_request(CosimRequest(group, x, make_peripheral, faults, **options), chip)


def peripheral():
    return create_peripheral("numpy", opc_parameters(CHIP))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_outputs_equal_the_reference(make_group, scheme, rate):
    rng = np.random.default_rng(21)
    group, q = make_group(rng, **scheme)
    faults = FaultMap.sample(64, 32, 2 * (group.first_pair + group.pairs), rate, seed_sequence(22))
    x = rng.integers(-128, 128, (7, group.inputs))
    result = cosimulate(group, x, CHIP, peripheral, faults, quantum=3)
    assert result.mismatches == 0
    assert result.simulated.tolist() == list(range(group.outputs))
    assert np.array_equal(result.outputs, x @ q) == (rate == 0.0)
    assert (result.disagreements > 0) == (rate > 0 and scheme["vote"] != "none")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_tiles_give_the_reference_in_eight_bits(make_group, scheme, rate):
    """Time is that of the tiles alone: their clocks hold the reads."""
    rng = np.random.default_rng(21)
    group, _ = make_group(rng, **scheme)
    faults = FaultMap.sample(64, 32, 2 * (group.first_pair + group.pairs), rate, seed_sequence(22))
    x = rng.integers(-128, 128, (7, group.inputs))
    plain = cosimulate(group, x, CHIP, peripheral, faults)
    result = cosimulate(group, x, CHIP, peripheral, faults, quantum=3, make_tile=NumpyTile)
    assert (result.mismatches, result.compared) == (0, plain.compared)
    assert np.array_equal(result.outputs, result.requantise(plain.outputs))
    assert (result.outputs.min(), result.outputs.max()) == (-128, 127)
    assert len(np.unique(result.outputs)) > 30
    assert (result.code_pairs, result.disagreements) == (plain.code_pairs, plain.disagreements)
    p = tile_parameters(CHIP, group.row_blocks, group.vote)
    steps = max(len(b.lines) for b in group.bundles(CHIP.opc.columns, CHIP.opc.outputs))
    interval = p.interval(group.row_blocks // p.opcs, steps)
    assert result.simulated_ps == (1 + 6 * interval) * CHIP.opc.clock_ps


def test_a_wrong_tile_is_noticed(make_group):
    class Wrong(NumpyTile):
        def process(self, x):
            result = super().process(x)
            result.values[0, 0] ^= 1
            return result

    group, _ = make_group(np.random.default_rng(23), vote="none")
    x = np.random.default_rng(24).integers(-128, 128, (2, group.inputs))
    result = cosimulate(group, x, CHIP, peripheral, make_tile=Wrong)
    assert (result.mismatches > 0, result.evidence) == (True, ())


def test_a_wrong_peripheral_is_noticed(make_group):
    class Wrong(type(peripheral())):
        def process(self, codes):
            result = super().process(codes)
            result.outputs[0, 0] += 1
            return result

    group, _ = make_group(np.random.default_rng(23), vote="none")
    x = np.random.default_rng(24).integers(-128, 128, (2, group.inputs))
    assert cosimulate(group, x, CHIP, lambda: Wrong(opc_parameters(CHIP))).mismatches > 0


def test_only_the_peripherals_of_the_outputs_asked_for_run(make_group):
    group, _ = make_group(np.random.default_rng(25), outputs=20, vote="none")
    x = np.random.default_rng(26).integers(-128, 128, (2, group.inputs))
    bundles = group.bundles(CHIP.opc.columns, CHIP.opc.outputs)
    wanted = range(int(bundles[1].outputs[0]), int(bundles[1].outputs[0]) + 1)
    result = cosimulate(group, x, CHIP, peripheral, outputs=wanted)
    assert result.simulated.tolist() == bundles[1].outputs.tolist()
    assert result.opcs == group.row_blocks
    assert result.mismatches == 0


def test_time_and_work_are_accounted_for(make_group):
    """One vector: the crossbars' interval, then the OPC's cycles; all OPCs of a row block work side by side."""
    group, _ = make_group(np.random.default_rng(27), outputs=5, vote="none")
    x = np.zeros((1, group.inputs), np.int64)
    result = cosimulate(group, x, CHIP, peripheral)
    assert result.simulated_ps == CHIP.vector_interval_ps + result.cycles // result.opcs * CHIP.opc.clock_ps
    assert result.code_pairs == result.opcs * 8 * 32


def test_a_vote_at_the_output_serves_row_blocks_one_after_the_other(make_group):
    x = np.zeros((64, 150), np.int64)
    times = {}
    for vote in ("output", "crossbar"):
        group, _ = make_group(np.random.default_rng(28), vote=vote, voted={3: 3})
        slow = load_chip(
            "crossvote",
            {
                "opc": {"columns": 32, "planes": 4, "lanes": 2, "clock_ps": 100_000},
                "crossbar": {"rows": 64, "columns": 32},
            },
        )
        times[vote] = cosimulate(group, x, slow, peripheral).simulated_ps
    assert times["output"] == pytest.approx(group.row_blocks * times["crossbar"], rel=0.1)


@pytest.mark.parametrize("clock_ps", [1_000, 100_000])
@pytest.mark.parametrize("queue_vectors", [1, 2])
def test_a_quantum_of_one_vector_is_exact_and_a_longer_one_is_late_by_at_most_itself(
    make_group, clock_ps, queue_vectors
):
    opc = {"columns": 32, "planes": 4, "lanes": 2, "clock_ps": clock_ps, "queue_vectors": queue_vectors}
    chip = load_chip("crossvote", {"opc": opc, "crossbar": {"rows": 64, "columns": 32}})
    group, _ = make_group(np.random.default_rng(30), vote="none")
    x = np.zeros((9, group.inputs), np.int64)
    times = {q: cosimulate(group, x, chip, peripheral, quantum=q).simulated_ps for q in (1, 2, 4, 9)}
    steps = max(len(bundle.lines) for bundle in group.bundles(32, 8))
    one, two = (opc_parameters(chip).cycles(vectors, 1, steps) * clock_ps for vectors in (1, 2))
    read, digested, left = 0, [], [0] * queue_vectors  # times at which places of the queue become free
    for vector in range(9):
        read = max(read + chip.vector_interval_ps, left[vector])
        digested.append(max(read, digested[-1] + two - one if digested else 0))
        left.append(digested[-1])
    assert times[1] == digested[-1] + one
    for quantum, finished in times.items():
        assert times[1] <= finished <= times[1] + quantum * chip.vector_interval_ps


def test_codes_clip_as_in_the_reference_and_may_be_wider_than_a_byte(make_group):
    group, _ = make_group(np.random.default_rng(31), vote="none")
    x = np.random.default_rng(32).integers(-128, 128, (3, group.inputs))
    sums = {}
    for bits in (4, 9):
        opc = {"columns": 32, "planes": 4, "lanes": 2}
        chip = load_chip("crossvote", {"opc": opc, "crossbar": {"rows": 64, "columns": 32}, "adc": {"bits": bits}})
        result = cosimulate(group, x, chip, lambda chip=chip: create_peripheral("numpy", opc_parameters(chip)))
        assert result.mismatches == 0
        sums[bits] = result.outputs
    assert (sums[4] != sums[9]).any()


def test_weights_may_have_fewer_planes_than_the_peripheral(make_group):
    """More outputs would fit into an OPC by their bit lines than it can number."""
    rng = np.random.default_rng(34)
    group, q = make_group(rng, inputs=40, outputs=20, planes=2, vote="none")
    x = rng.integers(-128, 128, (2, 40))
    result = cosimulate(group, x, CHIP, lambda: create_peripheral("amaranth", opc_parameters(CHIP)))
    assert result.mismatches == 0
    assert np.array_equal(result.outputs, x @ q)
    assert result.opcs == 3


def test_threads_change_nothing(make_group):
    rng = np.random.default_rng(33)
    group, _ = make_group(rng, vote="crossbar", voted={3: 3}, outputs=20)
    x = rng.integers(-128, 128, (5, group.inputs))
    one, two = (cosimulate(group, x, CHIP, peripheral, threads=threads) for threads in (1, 2))
    assert np.array_equal(one.outputs, two.outputs)
    assert (one.cycles, one.simulated_ps) == (two.cycles, two.simulated_ps)


def test_bad_requests_are_refused(make_group):
    group, _ = make_group(np.random.default_rng(29), vote="none")
    unused = group.column_map.output.copy()
    unused[unused == 0] = -1
    pruned = GroupImage(
        **{
            **vars(group),
            "column_map": type(group.column_map)(
                unused, group.column_map.plane, group.column_map.replica, group.column_map.flipped
            ),
        }
    )
    with pytest.raises(UserError, match="all outputs asked for are pruned"):
        cosimulate(pruned, np.zeros((1, 150), np.int64), CHIP, peripheral, outputs=range(1))
    with pytest.raises(UserError, match="the output peripheral cannot be built: lanes = 12 must be a power of two"):
        opc_parameters(load_chip("crossvote", {"opc": {"lanes": 12, "columns": 132}}))
