"""Conclusions that a model that leaves something out turns round: BERT-base, as `crossvote simulate` compares it."""

from __future__ import annotations

import pytest

from crossvote.sim.chip.config import load_chip
from crossvote.sim.system import energy
from crossvote.sim.system.cost_tables import compare, ledger
from crossvote.sim.system.dimensions import BERT_BASE, MINILM_L6, Dimensions, bert_workload
from crossvote.sim.system.model import simulate
from crossvote.sim.system.result import Resolution, SystemResult
from crossvote.sim.system.summary import bottlenecks
from crossvote.swstack.experiment.simulation.workloads import DENSE, PLAIN, encoder_workloads

CHIP = load_chip("crossvote")


@pytest.fixture(scope="module")
def schemes() -> dict[str, SystemResult]:
    """Every scheme of the table, 128 tokens."""
    works = encoder_workloads(BERT_BASE, CHIP, 128)
    return {name: simulate(work, CHIP, resolution="analytic") for name, work in works.items()}


def share(cell: str, which: int = 0) -> float:
    """The change in percent that a cell of a table shows in brackets."""
    return float(cell.rpartition("(")[2].rstrip(")").split(", ")[which].rstrip("%"))


def test_what_is_drawn_always_turns_a_saving_into_a_loss(schemes: dict[str, SystemResult]) -> None:
    """A vote at the output saves dynamic energy against the dense model, and costs far more in all, being slower."""
    table = compare(schemes)
    at = next(n for n, name in enumerate(table[0]) if "vote at the output" in name)
    rows = {row[0]: row[at] for row in table}
    assert share(rows["of it dynamic, uJ"]) < 0
    assert share(rows["TOTAL energy of a sequence alone, uJ"]) > 100


def test_components_leak_more_than_a_sequence_alone_moves(schemes: dict[str, SystemResult]) -> None:
    """Nothing is gated: with PUMA's constants alone, leakage is about 27 mJ; the host link draws 73 mJ beside it."""
    plain = schemes[DENSE]
    assert 27e9 < plain.leakage_energy_pj() < 2 * 27e9
    assert plain.leakage_energy_pj() > plain.dynamic_energy_pj
    assert plain.static_energy_pj == pytest.approx(5 * 10.4 * plain.latency_ps)
    assert plain.total_energy_pj == plain.dynamic_energy_pj + plain.leakage_energy_pj() + plain.static_energy_pj


def test_protection_costs_more_against_what_was_pruned_than_against_what_was_not(
    schemes: dict[str, SystemResult],
) -> None:
    """Copies in pruned places: energy is less than that of the dense model, and more than that of the pruned one."""
    table = ledger(schemes, DENSE, PLAIN, {})
    at = next(n for n, name in enumerate(table[0]) if "vote per crossbar" in name)
    rows = {row[0]: row[at] for row in table}
    assert share(rows["dynamic energy, uJ"], 0) < 0 < 20 < share(rows["dynamic energy, uJ"], 1)
    # The flipped copies of a sparse plane make nearly all of their cells conduct.
    assert share(rows["energy of conducting cells, uJ"], 1) > 200
    for charged in ("energy of map look-ups, uJ", "energy of votes, uJ", "energy of requantisation, uJ"):
        assert float(rows[charged].partition(" ")[0].replace(",", "")) > 0


def test_an_unprotected_chip_pays_for_no_map_and_no_voter(schemes: dict[str, SystemResult]) -> None:
    for name in (DENSE, PLAIN):
        counts = energy.total_actions(schemes[name].actions)
        assert counts["map_lookup"] == counts["vote"] == 0
        assert counts["requantise"] > 0


def test_output_peripherals_are_as_many_in_the_time_as_in_the_area(schemes: dict[str, SystemResult]) -> None:
    at_output, at_crossbar = (next(r for n, r in schemes.items() if f"vote {where}" in n) for where in ("at", "per"))
    assert at_output.latency_ps > 3 * at_crossbar.latency_ps
    assert at_output.area_mm2 < 0.75 * at_crossbar.area_mm2


def test_the_memory_of_attention_bounds_long_sequences() -> None:
    """K and V are read once per query: from some 540 tokens on, that and its arithmetic take longer than the reads."""

    def bound(tokens: int, resolution: Resolution) -> str:
        layer = Dimensions(1, BERT_BASE.hidden, BERT_BASE.intermediate, BERT_BASE.heads)
        chip = load_chip("crossvote", {"tile": {"buffer_bytes": 131_072}})
        return bottlenecks(simulate(bert_workload(layer, chip, tokens), chip, resolution=resolution))[0].kind

    assert [bound(512, "analytic"), bound(600, "analytic")] == ["ffn1 crossbars", "attention unit"]
    assert [bound(512, "matrix"), bound(600, "matrix")] == ["crossbars (crossbar read)", "attention unit"]


def test_an_estimate_names_the_units_of_a_simulation() -> None:
    """Stages that share a unit are one: their busy times together, and what is drawn while others are off."""
    chip = load_chip("crossvote", {"power": {"gating": "idle"}})
    work = bert_workload(MINILM_L6, chip, 16)
    quick, real = (simulate(work, chip, resolution=r) for r in ("analytic", "matrix"))
    for kind in ("attention unit", "vector unit"):
        shown = [{u.unit: (u.operations, u.busy_ps) for u in r.usage if u.kind == kind} for r in (quick, real)]
        assert shown[0] == shown[1]
        assert len(shown[0]) == 6
    assert quick.leakage_energy_pj() == pytest.approx(real.leakage_energy_pj(), rel=0.02)


def test_the_residual_and_the_scores_pass_a_buffer(schemes: dict[str, SystemResult]) -> None:
    """Written and read once, by every token: scores of all heads, and the residual of each layer norm."""
    actions = schemes[DENSE].actions
    assert actions["layer0.softmax"]["buffer_byte"] == 128 * 2 * 12 * 128
    assert actions["layer0.norm1"]["buffer_byte"] == actions["layer0.norm2"]["buffer_byte"] == 128 * 2 * 768
    # Partial sums of six row blocks that meet in one addition each, and the bias of every output.
    assert actions["layer0.o"]["partial_add"] == 128 * 768 * 6
