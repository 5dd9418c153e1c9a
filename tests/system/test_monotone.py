"""Answers move the right way when a chip or a model changes, whatever chip and model one starts from.

Times may move against the trend by a hair: a queue served in the order of arrival is no optimal schedule, and the
estimate paces what shares a link. Energy and area never do.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from benchmarks.laws import conservation
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import merge
from crossvote.sim.system import energy
from crossvote.sim.system.dimensions import Dimensions, bert_workload
from crossvote.sim.system.group_work import DenseLayout
from crossvote.sim.system.model import simulate
from crossvote.sim.system.result import SystemResult

#: What a scheduling anomaly may add to a time: 3.9 % was the most in 2,817 random cases of the estimate, 12 of which
#: moved against the trend. No law bounds it, so tests that ask for it always draw the same examples.
HAIR = 1.05
CHIPS = st.fixed_dictionaries(
    {
        "crossbar": st.sampled_from([64, 128, 256, 512]).flatmap(
            lambda n: st.fixed_dictionaries(
                {
                    "rows": st.sampled_from([64, 128, 256, 512]),
                    "columns": st.just(n),
                    "cell_bits": st.integers(1, 4),
                    "pair": st.sampled_from(["none", "digital", "analog"]),
                }
            )
        ),
        "adc": st.fixed_dictionaries(
            {
                "bits": st.integers(4, 9),
                "may_clip": st.just(True),
                "per_crossbar": st.sampled_from([1, 2, 8]),
                "shared_by": st.sampled_from([1, 2, 4]),
            }
        ),
        "opc": st.fixed_dictionaries({"lanes": st.sampled_from([1, 2, 4, 8, 16, 32])}),
        "network": st.fixed_dictionaries(
            {"flit_bits": st.sampled_from([8, 32, 64, 200]), "tiles_per_router": st.integers(1, 12)}
        ),
        "tile": st.fixed_dictionaries(
            {"imas": st.sampled_from([2, 4, 12]), "queue_vectors": st.integers(2, 6), "buffer_ports": st.integers(1, 4)}
        ),
        "digital": st.fixed_dictionaries(
            {
                "lanes_per_tile": st.integers(1, 8),
                "macs_per_tile": st.integers(1, 32),
                "attention": st.sampled_from(["digital", "sram-cim", "reram-write"]),
            }
        ),
    }
)
MODELS = st.builds(
    lambda layers, heads, width, wide, causal: Dimensions(layers, heads * width, wide, heads, causal=causal),
    layers=st.sampled_from([1, 2, 3, 24]),
    heads=st.sampled_from([1, 3, 8]),
    width=st.sampled_from([8, 25, 64]),
    wide=st.sampled_from([64, 300, 1024]),
    causal=st.booleans(),
)
TOKENS = st.sampled_from([1, 2, 7, 32])


def chip_of(overrides: dict[str, Any], *changes: dict[str, Any]) -> ChipConfig:
    columns = overrides["crossbar"]["columns"]
    whole = merge({"opc": {"columns": columns}, "tile": {"buffer_bytes": 262_144}, "package": {"chips": 64}}, overrides)
    for change in changes:
        whole = merge(whole, change)
    return load_chip("crossvote", whole)


def run(chip: ChipConfig, model: Dimensions, tokens: int, resolution: str = "analytic", **options: Any) -> SystemResult:
    sequences = options.pop("sequences", 1)
    work = bert_workload(model, chip, tokens, DenseLayout(**options))
    return simulate(work, chip, resolution=resolution, sequences=sequences)  # type: ignore[arg-type]


#: Key that is doubled: what latency, dynamic energy and area may do.
RULES = {
    ("adc", "per_crossbar"): ("<=", "=", ">"),
    ("adc", "shared_by"): (">=", "=", "<"),
    ("opc", "lanes"): ("<=", "any", ">"),
    ("network", "flit_bits"): ("<=", ">", ">"),
    ("digital", "macs_per_tile"): ("<=", "=", ">"),
    ("digital", "lanes_per_tile"): ("<=", "=", ">"),
    ("tile", "buffer_ports"): ("<=", "=", ">"),
    ("tile", "buffer_bytes"): ("<=", ">", ">"),
    ("crossbar", "read_ps"): (">=", ">", "="),
    ("network", "link_ps"): (">=", "any", "="),
    ("network", "router_ps"): (">=", "=", "="),
    ("digital", "clock_ps"): (">=", "=", "="),
}


def moves(before: float, after: float, rule: str, slack: float = 1.0) -> bool:
    match rule:
        case "=":
            return after == pytest.approx(before, rel=1e-9)
        case "<=":
            return after <= before * slack * (1 + 1e-12)
        case ">=":
            return after * slack * (1 + 1e-12) >= before
        case "<":
            return after < before
        case ">":
            return after > before
        case _:
            return True


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(overrides=CHIPS, model=MODELS, tokens=TOKENS, changed=st.sampled_from(sorted(RULES)))
def test_doubling_a_resource_moves_costs_the_right_way(overrides, model, tokens, changed):
    table, key = changed
    chip = chip_of(overrides)
    value = getattr(getattr(chip, table), key)
    latency, dynamic, area = RULES[changed]
    try:
        one, two = (run(c, model, tokens) for c in (chip, chip_of(overrides, {table: {key: 2 * value}})))
    except UserError:  # a structure that a component's model does not cover, or an output wider than a crossbar
        assume(False)
    assert moves(one.latency_ps, two.latency_ps, latency, HAIR)
    assert moves(one.dynamic_energy_pj, two.dynamic_energy_pj, dynamic)
    assert moves(one.area_mm2, two.area_mm2, area)
    leaks = [two.leakage_energy_pj(mode) for mode in ("none", "unused", "idle")]
    assert leaks == sorted(leaks, reverse=True)
    assert two.total_energy_pj == pytest.approx(two.dynamic_energy_pj + two.leakage_energy_pj() + two.static_energy_pj)


@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    overrides=CHIPS, model=MODELS.filter(lambda m: m.layers < 4), tokens=TOKENS, changed=st.sampled_from(sorted(RULES))
)
def test_a_simulation_follows_the_same_rules_and_conserves_everything(overrides, model, tokens, changed):
    table, key = changed
    chip = chip_of(overrides)
    value = getattr(getattr(chip, table), key)
    try:
        one, two = (run(c, model, tokens, "tile") for c in (chip, chip_of(overrides, {table: {key: 2 * value}})))
    except UserError:
        assume(False)
    assert moves(one.latency_ps, two.latency_ps, RULES[changed][0], HAIR)
    assert [name for name, holds in conservation(two) if not holds] == []
    assert two.actions == run(two.chip, model, tokens).actions


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(overrides=CHIPS, model=MODELS, tokens=TOKENS, sequences=st.integers(2, 5))
def test_work_adds_up(overrides, model, tokens, sequences):
    """Matrices cost the same per token, attention per pair of tokens; layers and sequences add."""
    chip = chip_of(overrides)
    try:
        one = run(chip, model, tokens)
        longer = run(chip, model, 2 * tokens)
        deeper = run(chip, Dimensions(**{**vars(model), "layers": 2 * model.layers}), tokens)
        several = run(chip, model, tokens, sequences=sequences)
    except UserError:
        assume(False)
    assert longer.latency_ps > one.latency_ps
    assert deeper.latency_ps > one.latency_ps
    assert deeper.area_mm2 == pytest.approx(2 * one.area_mm2)
    assert several.dynamic_energy_pj == pytest.approx(sequences * one.dynamic_energy_pj, rel=1e-12)
    assert several.elapsed_ps > one.elapsed_ps
    counts = [energy.total_actions(r.actions) for r in (one, longer, deeper)]
    attends = chip.digital.attention == "reram-write"
    if not attends:
        assert counts[1]["conversion"] == 2 * counts[0]["conversion"]
        assert counts[2]["conversion"] == 2 * counts[0]["conversion"]
    if not model.causal and not attends:
        products = "cim_mac" if chip.digital.attention == "sram-cim" else "mac"
        assert counts[1][products] == 4 * counts[0][products]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(overrides=CHIPS, model=MODELS, tokens=TOKENS)
def test_structure_moves_crossbars_and_protection_costs(overrides, model, tokens):
    pair = overrides["crossbar"]["pair"]
    try:
        plain = run(chip_of(overrides), model, tokens)
        copies = {"replicas": 2, "vote": "crossbar"}
        voted = run(chip_of(overrides), model, tokens, **copies)
        more = run(chip_of(overrides, {"adc": {"bits": overrides["adc"]["bits"] + 1}}), model, tokens)
        full = run(
            chip_of(overrides, {"crossbar": {"cell_bits": min(4, overrides["crossbar"]["cell_bits"] + 1)}}),
            model,
            tokens,
        )
        signed = run(chip_of(overrides, {"crossbar": {"pair": "none"}}), model, tokens)
    except UserError:
        assume(False)
    assert voted.placement.crossbars >= plain.placement.crossbars
    assert voted.dynamic_energy_pj > plain.dynamic_energy_pj
    assert more.dynamic_energy_pj > plain.dynamic_energy_pj
    assert more.area_mm2 > plain.area_mm2
    assert more.latency_ps == plain.latency_ps
    assert full.placement.crossbars <= plain.placement.crossbars
    if pair != "none" and overrides["digital"]["attention"] != "reram-write":
        assert plain.placement.crossbars == 2 * signed.placement.crossbars
