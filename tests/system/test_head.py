"""A head on crossbars: on tiles behind the layers, for every token or for one vector of a sequence."""

from __future__ import annotations

import dataclasses

import pytest

from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.system.dimensions import Dimensions, bert_workload
from crossvote.sim.system.figures import occupancy
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.model import simulate
from crossvote.sim.system.placement import place, tiles_needed

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
