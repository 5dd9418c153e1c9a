from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.validation import SMALL, conservation
from crossvote.sim.array.image import ColumnMap, GroupImage, Image, MatrixImage
from crossvote.sim.chip.config import chip_presets, load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.kernel import DeadlockError, Simulation, Trace
from crossvote.sim.system import energy
from crossvote.sim.system.model import SystemRun, group_actions, simulate
from crossvote.sim.system.network import Network
from crossvote.sim.system.placement import place
from crossvote.sim.system.stages import GroupTiming
from crossvote.sim.system.workload import BERT_BASE, Dimensions, GroupWork, Workload, bert_workload

CHIP = load_chip("crossvote")
TINY = Dimensions(layers=2, hidden=64, intermediate=128, heads=2)


def group_image(name, inputs, outputs, first_pair, *, voted=0, vote="none", pruned_rows=0, pruned_columns=0):
    """An image of whole outputs, the first ``voted`` of which have their top plane three times."""
    per_output = [9 if j < voted else 7 for j in range(outputs)]
    maps = []
    line = 0
    for output, width in enumerate(per_output):
        if line % 128 + width > 128:
            line += 128 - line % 128
        if output >= pruned_columns:
            planes = [(b, 0) for b in range(7)] + ([(6, 1), (6, 2)] if width == 9 else [])
            maps += [(line + i, output, plane, replica) for i, (plane, replica) in enumerate(planes)]
        line += width
    lines = -(-line // 128) * 128
    column_map = ColumnMap.unused(lines)
    for at, output, plane, replica in maps:
        column_map.output[at], column_map.plane[at], column_map.replica[at] = output, plane, replica
    column_map = ColumnMap(column_map.output, column_map.plane, column_map.replica, column_map.flipped)
    rows = -(-inputs // 128) * 128
    kept = np.arange(inputs) >= pruned_rows
    return GroupImage(
        name=name,
        inputs=inputs,
        planes=7,
        rows=128,
        columns=128,
        matrices=(MatrixImage(f"{name}.m", 0, outputs, np.ones(1, np.float32), None),),
        column_map=column_map,
        cells=np.zeros((2, rows, lines // 8), np.uint8),
        kept_inputs=kept,
        vote=vote,
        first_pair=first_pair,
    )


def encoder_image(**options):
    groups, pair = [], 0
    for layer in range(2):
        for role, inputs, outputs in (("qkv", 64, 192), ("o", 64, 64), ("ffn1", 64, 128), ("ffn2", 300, 64)):
            groups.append(group_image(f"enc.{layer}.{role}", inputs, outputs, pair, **options))
            pair += groups[-1].pairs
    return Image(tuple(groups), {"name": "test"}, 8, 8)


def test_replicas_and_votes_are_charged_and_pruned_lines_credited():
    plain = GroupWork.from_image(group_image("g", 300, 36, 0), CHIP)
    voted = GroupWork.from_image(group_image("g", 300, 36, 0, voted=36, vote="crossbar"), CHIP)
    pruned = GroupWork.from_image(group_image("g", 300, 36, 0, pruned_rows=100, pruned_columns=18), CHIP)
    assert plain.driven.tolist() == [128, 128, 44]
    assert plain.lines.tolist() == [126, 126]
    assert (plain.sums, plain.votes) == (252, 0)
    assert (voted.sums, voted.votes, voted.lines.sum()) == (252, 36, 36 * 9)
    assert pruned.driven.tolist() == [28, 128, 44]
    assert pruned.lines.tolist() == [0, 126]

    def actions(group):
        workload = Workload("w", (), 1, 1)
        assert workload.macs == 0
        layer = bert_workload(TINY, CHIP, 4).layers[0]
        only = dataclasses.replace(layer, groups={"qkv": group})
        return group_actions(CHIP, place(Workload("w", (only,), 1, 1), CHIP).groups[0]["qkv"])

    a, b, c = actions(plain), actions(voted), actions(pruned)
    assert a["conversion"] == 252 * 3 * 8 * 2
    assert b["conversion"] == 36 * 9 * 3 * 8 * 2
    assert c["conversion"] == a["conversion"] // 2
    assert (a["vote"], b["vote"]) == (0, 36 * 3)
    assert c["row_drive"] * 3 == a["row_drive"] * 2
    assert a["row_drive"] == 300 * 2 * 2 * 8


def test_voting_at_the_output_serialises_the_row_blocks():
    group = bert_workload(BERT_BASE, CHIP, replicas=2, vote="output").layers[0].groups["ffn2"]
    beats = 8 * 24 * 128 // CHIP.opc.lanes
    timing = GroupTiming(CHIP, group)
    assert timing.interval_ps == beats * 1000 > CHIP.vector_interval_ps
    assert timing.bound_by == "output peripheral"
    assert timing.opcs == len(group.opc_lines)
    split = GroupTiming(CHIP, dataclasses.replace(group, vote="crossbar"))
    assert split.interval_ps == CHIP.vector_interval_ps
    assert (split.bound_by, split.opcs) == ("crossbar read", group.blocks)


def test_the_peripheral_takes_the_cycles_of_the_rtl():
    group = bert_workload(TINY, CHIP).layers[0].groups["o"]
    timing = GroupTiming(CHIP, group)
    opc = timing._opc
    steps = int(group.opc_lines.max())
    one, two = opc.cycles(1, 1, steps), opc.cycles(2, 1, steps)
    assert timing.opc_interval_ps == (two - one) * CHIP.opc.clock_ps
    # fetch, the first read, its conversion, seven more reads, then the last read's beats and the read-out.
    last = (one - opc.beats(1) + opc.groups) * CHIP.opc.clock_ps
    assert timing.latency_ps == (1 + 1 + 1 + 7 + 1) * 100_000 + last


def test_an_image_runs_and_a_scheme_costs_what_it_should():
    plain = simulate(Workload.from_image(encoder_image(), CHIP, 2, 16), CHIP)
    voted = simulate(Workload.from_image(encoder_image(voted=64, vote="crossbar"), CHIP, 2, 16), CHIP)
    assert plain.workload.layers[0].name == "enc.0"
    assert voted.dynamic_energy_pj > plain.dynamic_energy_pj
    assert energy.total_actions(plain.actions)["vote"] == 0
    assert energy.total_actions(voted.actions)["vote"] == 2 * 16 * (64 * (1 + 1 + 1 + 3))
    assert all(holds for _, holds in conservation(voted))


def test_groups_of_other_names_are_refused():
    image = Image((group_image("enc.0.head", 64, 18, 0),), {}, 8, 8)
    with pytest.raises(UserError, match=r"enc\.0\.head: its name must end in one of \.qkv, \.o"):
        Workload.from_image(image, CHIP, 2, 16)
    image = Image((group_image("enc.0.qkv", 64, 18, 0),), {}, 8, 8)
    with pytest.raises(UserError, match=r"layer enc\.0 of the image has no group 'enc\.0\.o'"):
        Workload.from_image(image, CHIP, 2, 16)


def test_energy_is_recomputed_from_counts_without_simulating():
    result = simulate(bert_workload(TINY, CHIP, 8), CHIP, resolution="matrix")
    cheap = load_chip("crossvote", {"energy_pj": {"conversion": 0.0}})
    saved = result.dynamic_energy_pj - energy.total_energy_pj(cheap, result.actions)
    conversions = energy.total_actions(result.actions)["conversion"]
    assert saved == pytest.approx(conversions * CHIP.energy_pj.conversion)
    parts = energy.energy_by_part_pj(CHIP, result.actions)
    assert sum(parts.values()) == pytest.approx(result.dynamic_energy_pj)
    assert set(energy.PARTS) == set(energy.ACTIONS)


def test_a_chip_too_small_says_how_many_tiles_are_missing():
    chip = load_chip("crossvote", {"package": {"chips": 1}})
    with pytest.raises(UserError, match=r"needs 780 tiles.* have 168: 612 tiles are missing \(package\.chips = 5"):
        place(bert_workload(BERT_BASE, chip), chip)


def test_a_layer_starts_on_a_fresh_tile_and_every_block_has_a_place():
    placement = place(bert_workload(BERT_BASE, CHIP), CHIP)
    assert placement.tiles == 12 * 65
    assert placement.chips == 5
    assert placement.crossbars == 74_160
    assert placement.blocks_used.max() <= 48
    assert placement.crossbar_name(170, 21) == "chip1.tile2.ima2.xb5"
    for groups, tiles in zip(placement.groups, placement.layer_tiles, strict=True):
        used = np.concatenate([g.block_tile for g in groups.values()])
        assert (used >= tiles.start).all()
        assert (used < tiles.stop).all()
        assert (np.bincount(used - tiles.start) == placement.blocks_used[tiles.start : tiles.stop]).all()


def test_split_columns_send_partial_sums():
    chip = load_chip("crossvote", {"tile": {"imas": 1}})
    layer = bert_workload(Dimensions(1, 6 * 128, 16, 2), chip, 4).layers[0]
    split = place(Workload("w", (layer,), 2, 4), chip).groups[0]["o"]
    # Six row blocks on tiles of four pairs: every column block is spread over two or three tiles.
    assert split.output_bytes.sum() >= 2 * 3 * split.group.outputs
    whole = place(Workload("w", (layer,), 2, 4), CHIP).groups[0]["ffn2"]
    assert whole.output_bytes.sum() == whole.group.outputs


def test_buffers_too_small_for_a_sequence_deadlock_with_names():
    chip = load_chip("crossvote", {"tile": {"buffer_bytes": 4096, "kv_share": 0.5}})
    with pytest.raises(DeadlockError) as caught:
        simulate(bert_workload(TINY, chip, 64), chip)
    message = str(caught.value)
    assert "layer0.qkv_collect.stage waits for a place in layer0.qk.stage.queue (10 of 10 taken)" in message
    assert "layer0.qk.stage waits for the other tokens of sequence 0 (10 of 64 have reached" in message
    assert "hold Q, K and V of 10 tokens, but a sequence has 64: raise tile.buffer_bytes" in message


def test_equal_runs_are_equal():
    def once():
        trace = Trace()
        return simulate(bert_workload(TINY, CHIP, 8), CHIP, sequences=2, trace=trace), trace.events()

    (a, first), (b, second) = once(), once()
    assert (a.sequence_ps, a.actions, a.usage, a.events) == (b.sequence_ps, b.actions, b.usage, b.events)
    assert first == second


@settings(max_examples=15, deadline=None)
@given(
    layers=st.integers(1, 3),
    hidden=st.sampled_from([32, 96, 200, 384]),
    tokens=st.integers(1, 24),
    sequences=st.integers(1, 3),
    flit=st.sampled_from([8, 32, 256]),
    lanes=st.sampled_from([1, 4]),
)
def test_v12_resolutions_agree_on_any_encoder(layers, hidden, tokens, sequences, flit, lanes):
    chip = load_chip("crossvote", {"network": {"flit_bits": flit}, "digital": {"lanes_per_tile": lanes}})
    work = bert_workload(Dimensions(layers, hidden, 2 * hidden, 4), chip, tokens)
    runs = [simulate(work, chip, resolution=r, sequences=sequences) for r in ("matrix", "tile", "crossbar")]
    assert len({(r.sequence_ps, r.layer_ps, r.dynamic_energy_pj) for r in runs}) == 1
    bound = simulate(work, chip, resolution="analytic")
    assert bound.dynamic_energy_pj * sequences == pytest.approx(runs[0].dynamic_energy_pj, rel=1e-12)
    assert bound.latency_ps <= simulate(work, chip, resolution="matrix").latency_ps
    if sequences > 1:
        assert runs[0].sequences_per_s <= 1e12 / (tokens * chip.vector_interval_ps)
    assert len(runs[2].crossbar_operations) == runs[2].placement.crossbars


def test_a_multicast_carries_a_shared_link_once():
    network = Network(Simulation(), "network", CHIP, 16)
    route = network.build([], 0, [4, 5], 80)
    # Router 0 to router 1, and the ports into both tiles.
    assert sorted(network.names, key=str) == [("in", 4), ("in", 5), ("mesh", 0, 1)]
    assert route.flits == 3 * 10
    assert route.interval_ps == 10_000
    assert route.arrival_ps.tolist() == [2 * 4000 + 10_000] * 2
    assert network.start(route, 0) == 0
    assert network.start(route, 3_000) == 10_000


def test_a_far_chip_is_reached_over_the_package_links():
    network = Network(Simulation(), "network", CHIP, 400)
    route = network.build([(0, 100)], 0, [2 * 168], 100)
    assert ("chip", 0, 1) in network.names
    assert ("chip", 1, 2) in network.names
    assert route.chip_bytes == 200


def test_more_tokens_take_longer_and_a_stream_is_faster_per_sequence():
    times = [simulate(bert_workload(SMALL, CHIP, n), CHIP, resolution="matrix").latency_ps for n in (8, 16, 32)]
    assert times == sorted(times)
    stream = simulate(bert_workload(SMALL, CHIP, 32), CHIP, resolution="matrix", sequences=6)
    assert stream.sequences_per_s > 1e12 / times[-1]


@pytest.mark.parametrize("preset", chip_presets())
def test_every_preset_runs(preset):
    chip = load_chip(preset)
    result = simulate(bert_workload(TINY, chip, 8), chip)
    assert result.latency_ps > 0
    assert result.dynamic_energy_pj > 0
    assert all(holds for _, holds in conservation(result))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bert_workload(Dimensions(0, 8, 8, 2), CHIP), "must be positive"),
        (lambda: bert_workload(Dimensions(1, 8, 8, 3), CHIP), "3 heads do not divide a hidden size of 8"),
        (lambda: bert_workload(TINY, CHIP, replicas=122), "129 bit lines does not fit into a crossbar of 128"),
        (lambda: simulate(bert_workload(TINY, CHIP, 4), CHIP, sequences=0), "sequences = 0 must be at least 1"),
    ],
)
def test_impossible_requests_are_one_sentence(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_a_stream_is_fast_forwarded_to_the_picosecond():
    """Equal to the full simulation in every time and every counter, with a fraction of its events."""
    chip = load_chip("crossvote", {"crossbar": {"read_ps": 300_000}})
    work = bert_workload(TINY, chip, 12)
    for sequences in (23, 80):
        whole = SystemRun(work, place(work, chip), "crossbar", sequences)
        whole.repetition.enabled = False
        whole.go()
        expected, got = whole.result(0), simulate(work, chip, sequences=sequences)
        assert got.period is not None
        assert got.events < expected.events
        for name in ("sequence_ps", "passed_ps", "layer_ps", "actions", "usage", "elapsed_ps", "statistics"):
            assert getattr(got, name) == getattr(expected, name), name
        assert (got.crossbar_operations == expected.crossbar_operations).all()
        assert all(holds for _, holds in conservation(got))
