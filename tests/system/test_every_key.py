"""Every key of a chip file, changed alone, moves time, energy, power and area as its physics says, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from crossvote.sim.chip.bill import estimate, prices
from crossvote.sim.chip.components.base import COMPONENTS
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.chip.sections import (
    AdcConfig,
    CellConfig,
    CrossbarConfig,
    DacConfig,
    DigitalConfig,
    NetworkConfig,
    OpcConfig,
    PackageConfig,
    PipelineConfig,
    PowerConfig,
    TileConfig,
)
from crossvote.sim.common.schema import build, merge, to_mapping
from crossvote.sim.system import energy
from crossvote.sim.system.dimensions import Dimensions, bert_workload
from crossvote.sim.system.group_work import DenseLayout
from crossvote.sim.system.model import simulate
from crossvote.sim.system.programming import programming
from crossvote.sim.system.result import Resolution, SystemResult

SECTIONS = {
    "crossbar": CrossbarConfig,
    "cell": CellConfig,
    "dac": DacConfig,
    "adc": AdcConfig,
    "opc": OpcConfig,
    "pipeline": PipelineConfig,
    "tile": TileConfig,
    "network": NetworkConfig,
    "digital": DigitalConfig,
    "package": PackageConfig,
    "power": PowerConfig,
}
#: A layer that fills several tiles of the shipped chip.
MODEL, TOKENS = Dimensions(1, 256, 1024, 4), 4
CLIPS = {"adc": {"may_clip": True}}
SHORT_READS = {"crossbar": {"read_ps": 10_000}}
WRITTEN = {"digital": {"attention": "reram-write"}}
#: Many tiles with narrow links between them; arithmetic that never waits, and a memory of one narrow bank.
NARROW = {"network": {"flit_bits": 8, "tiles_per_router": 1}, "tile": {"imas": 2}}
MEMORY = {"digital": {"macs_per_tile": 4096}, "tile": {"buffer_ports": 1, "buffer_bits": 8}}


@dataclass(frozen=True)
class Rule:
    """What values in this order do to latency (``ps``), dynamic energy (``pj``), power at rest (``w``), area (``mm2``),
    programming (``write_pj``, ``write_ps``) and life of written cells (``life``): a metric that is not named must stay
    as it is, "any" may move both ways.

    Attributes:
        values. moves: "<" falls, "<=" does not rise, and so on. around: what else differs from the shipped chip, so
            that the key matters. simulated: by events, for what the closed forms leave out.
    """

    values: tuple[Any, ...]
    moves: dict[str, str] = field(default_factory=dict)
    around: dict[str, Any] = field(default_factory=dict)
    simulated: bool = False


def rule(*values: Any, around: dict[str, Any] | None = None, simulated: bool = False, **moves: str) -> Rule:
    return Rule(values, moves, around or {}, simulated)


RULES: dict[str, Rule] = {
    # More word lines: fewer conversions for the same products. More drivers rest on a chip of as many crossbars.
    # Fewer, fuller tiles have fewer digital units for a layer, so times may rise.
    "crossbar.rows": rule(64, 128, 256, around=CLIPS, ps="any", pj="<", w=">", mm2="<", write_ps="any"),
    # One converter a crossbar has more bit lines to convert; a wider word line costs its driver more, and is driven in
    # fewer crossbars.
    "crossbar.columns": rule(64, 128, ps=">=", pj="any", w=">", mm2="<", write_ps="any"),
    # More outputs of a crossbar need larger registers.
    "crossbar.cell_bits": rule(1, 2, 4, around=CLIPS, ps="any", pj="<", w="any", mm2="<", write_pj="<", write_ps="any"),
    "crossbar.pair": rule(
        "none", "analog", "digital", ps="any", pj=">", mm2=">=", w="any", write_pj=">=", write_ps="any"
    ),
    "crossbar.read_ps": rule(50_000, 100_000, 200_000, ps=">=", pj=">"),
    "cell.on_off_ratio": rule(2.0, 10.0, 1000.0, pj="<"),
    "cell.write_pj": rule(0.1, 1.29, 10.0, around=WRITTEN, pj=">", write_pj=">"),
    "cell.write_row_ps": rule(10_000, 85_700, 400_000, around=WRITTEN, ps=">", write_ps=">", life=">"),
    "cell.endurance": rule(1e6, 1e8, around=WRITTEN, life=">"),
    # Fewer reads of more than one bit each, through drivers that cost twice as much with every bit.
    "dac.bits": rule(1, 2, 4, around=CLIPS, ps="<=", pj="any", w=">", mm2=">"),
    "adc.bits": rule(4, 5, 6, 7, 8, 9, 10, around=CLIPS, pj=">", w=">", mm2=">"),
    "adc.per_crossbar": rule(1, 2, 4, around=SHORT_READS, ps="<=", w=">", mm2=">"),
    "adc.shared_by": rule(1, 2, 4, ps=">", w="<", mm2="<"),
    "adc.conversion_ps": rule(781, 1562, 4000, ps=">"),
    # Output peripherals for more bit lines take longer; fewer of them repeat what does not grow with bit lines, and a
    # tile adds the outputs of fewer.
    "opc.columns": rule(64, 128, 256, ps=">=", pj="<", w="any", mm2="any"),
    # A beat with more pairs drives registers and addresses once for all of them; a step chooses among more lanes.
    "opc.lanes": rule(1, 2, 4, 8, 16, 32, around=SHORT_READS, ps="<=", pj="any", w=">", mm2=">"),
    "opc.planes": rule(4, 6, 7, 8, ps="any", pj=">", w="any", mm2=">", write_pj=">", write_ps="any"),
    "opc.input_bits": rule(4, 8, 16, ps=">", pj=">", w=">", mm2=">"),
    "opc.row_blocks": rule(8, 32, 64, ps=">=", pj=">", w=">", mm2=">"),
    # What is not protected is charged for the plain peripheral, but for a step of read-out in hardware that has more
    # registers on its way; a map to read takes a clock.
    "opc.voter": rule(False, True, ps=">=", pj=">"),
    # The fixed map counts its steps itself; what the writable one takes for them is charged to what has a use for it.
    "opc.column_map": rule(False, True, around={"opc": {"voter": False}}, ps=">=", pj="<"),
    "opc.scale_bits": rule(4, 8, 17, ps=">=", pj=">", w=">", mm2=">"),
    # Nor has the plain one a log; the one that scales has voters as well.
    "opc.log_bits": rule(0, 8, 24, around={"opc": {"scale_bits": 17}}, w=">", mm2=">"),
    # Nor a check of checksums, which only a map has lines for.
    "opc.checksum_bits": rule(0, 2, 16, around={"opc": {"scale_bits": 17}}, w=">", mm2=">"),
    "opc.clock_ps": rule(500, 1000, 4000, ps=">="),
    "pipeline.fetch_cycles": rule(0, 1, 4, ps=">"),
    "pipeline.shift_add_cycles": rule(0, 1, 4, around={"pipeline": {"peripheral": "cycles"}}, ps=">"),
    "pipeline.store_cycles": rule(0, 1, 4, ps=">"),
    # Larger tiles: fewer copies of what a tile has once, for the same crossbars, so also fewer digital units.
    "tile.imas": rule(6, 12, 24, ps=">=", pj="<", w=">", mm2="<", write_ps=">="),
    "tile.crossbars_per_ima": rule(4, 8, 16, ps=">=", pj="any", w=">", mm2="<", write_ps=">="),
    "tile.buffer_bytes": rule(16_384, 65_536, 262_144, pj=">", w=">", mm2=">"),
    "tile.kv_share": rule(0.25, 0.5, 1.0, around={"digital": {"attention": "sram-cim"}}, ps="<=", w=">", mm2=">"),
    "tile.bus_bits": rule(8, 96, 384, ps="<=", w=">", mm2=">"),
    "tile.bus_ps": rule(0, 833, 100_000, ps=">="),
    "tile.buffer_ports": rule(1, 2, 8, around=merge(MEMORY, {"tile": {"buffer_ports": 1}}), ps="<", mm2=">"),
    "tile.buffer_bits": rule(8, 64, 256, around=MEMORY, ps="<=", mm2=">"),
    "tile.buffer_ps": rule(0, 1667, 50_000, around=MEMORY, ps=">="),
    "tile.queue_vectors": rule(2, 4, 8, simulated=True, ps="<="),
    # Fewer and larger routers: fewer hops of more pJ each, and links that more tiles share.
    "network.tiles_per_router": rule(1, 4, 8, ps="any", pj="any", w="any", mm2="any"),
    "network.flit_bits": rule(8, 32, 64, 256, ps="<=", pj=">", w=">", mm2=">"),
    "network.link_ps": rule(0, 1000, 8000, ps=">"),
    "network.router_ps": rule(0, 4000, 16_000, ps=">"),
    "network.buffer_flits": rule(1, 4096, around=NARROW, simulated=True, ps="<"),
    "digital.clock_ps": rule(500, 1000, 4000, ps=">"),
    "digital.macs_per_tile": rule(1, 16, 64, ps="<=", w=">", mm2=">"),
    "digital.lanes_per_tile": rule(1, 4, 16, ps="<", w=">", mm2=">"),
    "digital.softmax_ops": rule(0, 10, 40, ps=">=", pj=">"),
    "digital.layer_norm_ops": rule(0, 7, 28, ps=">=", pj=">"),
    "digital.gelu_ops": rule(0, 8, 32, ps=">=", pj=">"),
    "digital.residual_ops": rule(0, 1, 16, ps=">=", pj=">"),
    "digital.attention_ps": rule(0, 20_000, 400_000, ps=">="),
    "digital.softmax_ps": rule(0, 30_000, 400_000, ps=">="),
    "digital.layer_norm_ps": rule(0, 30_000, 400_000, ps=">="),
    "digital.gelu_ps": rule(0, 10_000, 400_000, ps=">="),
    # Another mesh has other ways between the same tiles.
    "package.tiles": rule(16, 64, 168, ps="any", pj="any", w=">"),
    "package.chips": rule(1, 8),
    "package.link_byte_ps": rule(0, 39, 400, ps=">="),
    "power.gating": rule("none", "unused", "idle", w="<"),
    "power.gated_share": rule(0.0, 0.1, 1.0, around={"power": {"gating": "idle"}}, w=">"),
}
#: Keys that cost nothing in a run of the system model, and why.
FREE = {
    "cell.variation": "what cells answer, not what they draw on average",
    "cell.verified_share": "cell.write_pj and cell.write_row_ps are of all cells, as they are written",
    "cell.verified_variation": "as cell.variation",
    "cell.one_disturb": "what cells answer",
    "cell.zero_disturb": "what cells answer",
    "adc.full_scale": "what the last code means",
    "adc.may_clip": "a permission",
    "opc.queue_vectors": "of the co-simulation of single groups; stages have tile.queue_vectors",
}
#: Keys that choose between two designs, which are more and less in nothing.
CHOICES = {"pipeline.peripheral", "digital.attention"}
SHIPPED = to_mapping(load_chip("crossvote"))


def own_keys() -> set[str]:
    found = set()
    for part in fields(ChipConfig):
        if part.name in SECTIONS:
            found |= {f"{part.name}.{key.name}" for key in fields(SECTIONS[part.name])}
        elif part.name not in ("format", "name", "override", "further", "sources"):
            found.add(part.name)
    return found


def chip_with(key: str, value: Any, around: dict[str, Any]) -> ChipConfig:
    table, name = key.split(".")
    change: dict[str, Any] = {table: {name: value}}
    if key == "crossbar.columns":
        change["opc"] = {"columns": value}
    return build(ChipConfig, merge(merge(SHIPPED, around), change), key)


@cache
def _metrics(key: str, value: Any) -> dict[str, float]:
    own = RULES[key]
    chip = chip_with(key, value, own.around)
    resolution: Resolution = "matrix" if own.simulated else "analytic"
    result = simulate(bert_workload(MODEL, chip, TOKENS), chip, resolution=resolution)
    written = programming(result)
    return {
        "ps": result.latency_ps,
        "pj": result.dynamic_energy_pj,
        "w": sum(energy.leakage_w(chip, result.powered).values()),
        "static": energy.static_w(chip, result.powered),
        "mm2": result.area_mm2,
        "write_pj": written.energy_uj,
        "write_ps": written.time_us,
        "life": written.lifetime_days(result.latency_ps) or 0.0,
    }


def holds(before: float, after: float, move: str) -> bool:
    same = after == pytest.approx(before, rel=1e-9)
    match move:
        case "=":
            return same
        case "<":
            return after < before and not same
        case ">":
            return after > before and not same
        case "<=":
            return after < before or same
        case ">=":
            return after > before or same
        case _:
            return move == "any"


def test_every_key_has_a_rule_or_a_reason() -> None:
    assert own_keys() == set(RULES) | set(FREE) | CHOICES


@pytest.mark.parametrize("key", RULES)
def test_a_key_moves_what_its_physics_says(key: str) -> None:
    own = RULES[key]
    seen = [_metrics(key, value) for value in own.values]
    for metric in seen[0]:
        if metric == "life" and "life" not in own.moves:
            continue  # follows the time of a sequence
        for (one, two), (before, after) in zip(pairwise(own.values), pairwise(seen), strict=True):
            move = own.moves.get(metric, "=")
            assert holds(before[metric], after[metric], move), (metric, one, two, before[metric], after[metric])
    # A rule of which nothing moves at all would hold of a key that is read nowhere.
    if key not in ("package.chips", "opc.column_map"):  # of what is there, only what is used is charged
        assert seen[0] != seen[-1]


#: Where a component is not on the shipped chip, or an action does not happen there: what makes it so.
NEEDS = {
    "attention_cim": {"digital": {"attention": "sram-cim"}},
    "shift_add": {"pipeline": {"peripheral": "cycles"}},
    "adder": {"pipeline": {"peripheral": "cycles"}},
    "crossbar": WRITTEN,
}
#: Actions of protected models only.
PROTECTS = {"map_lookup", "vote"}


@pytest.mark.parametrize("name", list(COMPONENTS))
def test_measured_numbers_of_every_component_are_charged(name: str) -> None:
    """A millijoule more per action, a square metre, a kilowatt: the answer rises by just as many as there are."""
    around = NEEDS.get(name, {})
    plain = build(ChipConfig, merge(SHIPPED, around), name)
    own = estimate(plain, name)
    actions = {action: cost.energy_pj + 1e9 for action, cost in own.actions.items()}
    measured = {"energy_pj": actions, "area_um2": own.area_um2 + 1e12, "leakage_mw": own.leakage_mw + 1e6}
    changed = build(ChipConfig, merge(SHIPPED, merge(around, {"override": {name: measured}})), name)

    def run(chip: ChipConfig) -> SystemResult:
        work = bert_workload(MODEL, chip, TOKENS, DenseLayout(2, "output"))
        return simulate(work, chip, resolution="analytic")

    one, two = run(plain), run(changed)
    counts = energy.total_actions(one.actions)
    happened = {action for action in own.actions if counts[action]}
    assert happened == set(own.actions) - (PROTECTS if name != "opc" else set()), "an action that never happens"
    assert two.dynamic_energy_pj - one.dynamic_energy_pj == pytest.approx(
        1e9 * sum(counts[a] for a in happened), rel=1e-6
    )
    opcs = one.powered.opcs if name == "opc" else None
    tiles = one.placement.tiles
    grown = (two.area_mm2 - one.area_mm2) / 1e6
    leaks = [energy.leakage_w(c, r.powered, "none").get(name, 0.0) for c, r in ((plain, one), (changed, two))]
    assert grown > 0
    assert leaks[1] > leaks[0]
    if opcs:
        assert grown == pytest.approx(opcs)
        assert (leaks[1] - leaks[0]) / 1e3 == pytest.approx(opcs)
    else:
        assert (leaks[1] - leaks[0]) / 1e3 * tiles / plain.package.tiles == pytest.approx(grown, rel=1e-6)
    assert one.latency_ps == two.latency_ps
    assert prices(changed)[next(iter(actions))] == next(iter(actions.values()))
