"""What lies around the layers on crossbars: a head, for all tokens or one vector of a sequence, and embeddings."""

from __future__ import annotations

import dataclasses

import pytest

from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.system.actions import offer_ps
from crossvote.sim.system.dimensions import Dimensions, bert_workload
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.model import simulate
from crossvote.sim.system.placement import place, tiles_needed
from crossvote.sim.system.programming import programming
from crossvote.sim.system.run_pictures import occupancy
from crossvote.sim.system.token_table import TokenTable

CHIP = load_chip("crossvote")
PLAIN = bert_workload(Dimensions(layers=2, hidden=64, intermediate=128, heads=4), CHIP, 12)
GROUPS = (GroupWork.dense("pooler", 64, (64,), CHIP), GroupWork.dense("words", 64, (4000,), CHIP))


def with_head(every):
    return dataclasses.replace(PLAIN, head=GROUPS, head_every=every)


def head_actions(result):
    scopes = [scope for scope in result.actions if "head" in scope]
    return {scope.rpartition(".")[2]: result.actions[scope] for scope in scopes}


@pytest.mark.parametrize("resolution", ["analytic", "matrix", "tile", "crossbar"])
@pytest.mark.parametrize(("every", "vectors"), [(True, 12), (False, 1)])
def test_it_works_as_often_as_its_vectors_come(resolution, every, vectors):
    plain = simulate(PLAIN, CHIP, resolution=resolution, sequences=2)
    result = simulate(with_head(every), CHIP, resolution=resolution, sequences=2)
    counts = head_actions(result)
    assert set(counts) == {"head0", "head0_collect", "head1", "head1_collect"}
    lines = sum(int(group.lines.sum()) for group in GROUPS)
    conversions = counts["head0"]["conversion"] + counts["head1"]["conversion"]
    assert conversions == 2 * vectors * lines * CHIP.reads * CHIP.digitised
    assert {s: c for s, c in result.actions.items() if "head" not in s} == plain.actions
    assert result.latency_ps > plain.latency_ps
    assert result.dynamic_energy_pj > plain.dynamic_energy_pj
    assert result.workload.macs - PLAIN.macs == vectors * 64 * (64 + 4000)


def test_it_has_tiles_of_its_own():
    placed, plain = place(with_head(True), CHIP), place(PLAIN, CHIP)
    blocks = sum(group.blocks for group in GROUPS)
    per_tile = CHIP.crossbars_per_tile // CHIP.signs
    assert placed.tiles == plain.tiles + -(-blocks // per_tile) == tiles_needed(with_head(True), CHIP)
    assert placed.crossbars == plain.crossbars + CHIP.signs * blocks
    assert min(min(place.tiles) for place in placed.head) == plain.tiles
    assert simulate(with_head(False), CHIP).area_mm2 > simulate(PLAIN, CHIP).area_mm2
    assert ">H<" in occupancy(placed)


def test_one_vector_delays_a_sequence_and_no_other():
    plain, result = (simulate(w, CHIP, resolution="matrix", sequences=16) for w in (PLAIN, with_head(False)))
    delay = result.latency_ps - plain.latency_ps
    assert delay > 0
    assert result.interval_ps == plain.interval_ps
    assert [end for _, end in result.sequence_ps] == [end + delay for _, end in plain.sequence_ps]


def test_the_estimate_agrees_where_nothing_waits():
    for every in (True, False):
        exact, quick = (simulate(with_head(every), CHIP, resolution=r) for r in ("matrix", "analytic"))
        assert quick.latency_ps == pytest.approx(exact.latency_ps, rel=0.05)
        assert quick.actions == exact.actions


def test_a_chip_without_room_for_it_is_refused():
    small = load_chip("crossvote", {"package": {"tiles": place(PLAIN, CHIP).tiles, "chips": 1}})
    simulate(PLAIN, small, resolution="analytic")
    with pytest.raises(UserError, match="tiles are missing"):
        simulate(with_head(True), small, resolution="analytic")


TABLE = TokenTable(words=3000, width=64)


@pytest.mark.parametrize("resolution", ["analytic", "matrix"])
def test_tokens_are_looked_up_where_their_table_is_on_the_chip(resolution):
    workload = dataclasses.replace(with_head(True), table=TABLE)
    plain = simulate(with_head(True), CHIP, resolution=resolution, sequences=2)
    result = simulate(workload, CHIP, resolution=resolution, sequences=2)
    # 64 values of 8 bits fill four word lines of 128 cells.
    assert TABLE.reads(CHIP) == 4
    assert result.actions["embeddings.lookup"]["row_drive"] == 2 * 12 * 4
    assert result.actions["embeddings.lookup"]["cell_read"] == 2 * 12 * 64 * 8 // 2
    assert {s: c for s, c in result.actions.items() if s != "embeddings.lookup"} == plain.actions
    assert offer_ps(workload, CHIP) == 4 * CHIP.read_cycle_ps
    assert result.latency_ps > plain.latency_ps


def test_the_table_fills_tiles_of_its_own():
    workload = dataclasses.replace(PLAIN, table=TABLE)
    crossbars = -(-3000 * 64 * 8 // (128 * 128))
    placed = place(workload, CHIP)
    assert TABLE.crossbars(CHIP) == crossbars
    assert 0 <= placed.crossbars - place(PLAIN, CHIP).crossbars - crossbars < CHIP.signs
    assert placed.tiles == tiles_needed(workload, CHIP) == place(PLAIN, CHIP).tiles + placed.table_tiles
    assert ">E<" in occupancy(placed)
    extra = programming(simulate(workload, CHIP)).cells - programming(simulate(PLAIN, CHIP)).cells
    assert extra == 3000 * 64 * 8


def test_a_vector_that_starts_within_a_word_line_touches_one_more():
    assert TokenTable(words=10, width=20).reads(CHIP) == 3  # 160 cells, which may begin at any cell of a word line
