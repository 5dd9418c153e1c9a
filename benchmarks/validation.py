"""Published figures against this model. The tests check every case; ``python -m benchmarks.validation`` writes the
page ``docs/validation.md`` from the same list, so neither can say something else than the code does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.laws import booking_differences, conservation, littles_residual, time_in_system
from crossvote.sim.chip.bill import bill, prices
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.system import energy
from crossvote.sim.system.actions import group_actions
from crossvote.sim.system.dimensions import BERT_BASE, Dimensions, bert_workload
from crossvote.sim.system.group_work import DenseLayout, GroupWork
from crossvote.sim.system.load import tile_at_full_load_w
from crossvote.sim.system.model import simulate
from crossvote.sim.system.placement import GroupPlace
from crossvote.sim.system.result import Resolution
from crossvote.sim.system.token_stages import GroupTiming
from crossvote.sim.system.workload import ROLES

Relation = Literal["=", "<=", ">=", "report"]
#: What a row is evidence of; the page has a part for each.
Kind = Literal["published", "theory", "self-consistency", "calibrated"]
KINDS: dict[Kind, str] = {
    "published": "Published figures that were not used to set anything, each by `simulate` as a user calls it",
    "theory": "Closed forms and counts that the model must meet",
    "self-consistency": "Properties of the model itself: no evidence about the world",
    "calibrated": "Rows that numbers of a chip file or a model were taken from: they only show that nothing was lost",
}


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        key: "V1" to "V17", or the tool that was run. what: the quantity with its unit. published: the expected value.
        simulated: what the model gives. tolerance: relative; 0 means exactly equal.
        relation: how simulated stands to published; "report" is not judged. note: source, or how it was got.
        kind: what the row is evidence of. miss: why the model is known not to meet it; such a row must miss.
    """

    key: str
    what: str
    published: float
    simulated: float
    tolerance: float = 0.0
    relation: Relation = "="
    note: str = ""
    kind: Kind = "theory"
    miss: str = ""

    @property
    def holds(self) -> bool:
        slack = self.tolerance * abs(self.published)
        match self.relation:
            case "=":
                return abs(self.simulated - self.published) <= slack
            case "<=":
                return self.simulated <= self.published + slack
            case ">=":
                return self.simulated >= self.published - slack
            case _:
                return True


#: Digital work, links and buses without time or contention, and ISAAC's shift-and-add cycle: the closed form's chip.
IDEAL: dict[str, Any] = {
    "pipeline": {"peripheral": "cycles", "fetch_cycles": 0, "shift_add_cycles": 1, "store_cycles": 0},
    "tile": {"bus_ps": 0, "buffer_ps": 0},
    "network": {"link_ps": 0, "router_ps": 0},
    "package": {"link_byte_ps": 0},
    "digital": {"macs_per_tile": 10**9, "lanes_per_tile": 10**9},
}
SMALL = Dimensions(layers=3, hidden=256, intermediate=1024, heads=4)
RESOLUTIONS: tuple[Resolution, ...] = ("matrix", "tile", "crossbar")


@cache
def _chip(preset: str) -> ChipConfig:
    return load_chip(preset)


def rollup_cases() -> Iterable[Case]:
    """V1, V2, V4: ISAAC's table added up, and its power from what a full tile does."""
    isaac = _chip("isaac-ce")
    level, peak = energy.levels(isaac), energy.peak(isaac)
    source = "ISAAC (ISCA 2016), Table I; the component models meet its lines"

    def own(key: str, what: str, published: float, simulated: float, tolerance: float, note: str = source) -> Case:
        return Case(key, what, published, simulated, tolerance, note=note, kind="calibrated")

    yield own("V1", "ISAAC IMA power, every part at its own peak, mW", 24.08, level["ima"].power_w * 1e3, 0.002)
    yield own("V1", "ISAAC tile power, every part at its own peak, mW", 329.8, level["tile"].power_w * 1e3, 0.002)
    yield own("V1", "ISAAC tile area, mm2", 0.3723, level["tile"].area_mm2, 0.002)
    yield own("V1", "ISAAC chip power, W", 65.81, level["chip"].power_w, 0.002)
    yield own("V1", "ISAAC chip area, mm2", 85.42, level["chip"].area_mm2, 0.002)
    yield own("V2", "ISAAC peak, GOPS", 41288, peak.gops, 0.001, "16-bit weights and inputs")
    yield own("V2", "ISAAC power efficiency, GOPS/W", 627.5, peak.gops_per_w, 0.001)
    ce = "the published value implies 86.2 mm2; the parts of Table I add up to 85.42"
    yield own("V2", "ISAAC computational efficiency, GOPS/mm2", 478.95, peak.gops_per_mm2, 0.01, ce)
    yield own("V2", "ISAAC storage efficiency, MiB/mm2", 0.738, peak.mib_per_mm2, 0.01)
    adc = next(part for part in bill(isaac) if part.name == "adc")
    yield own("V4", "ADC power of an ISAAC chip, W", 32.26, adc.peak_w, 0.0005, "32.256 W, printed rounded")
    yield Case(
        "V1",
        "ISAAC tile power from the actions of a full tile, mW",
        329.8,
        tile_at_full_load_w(isaac) * 1e3,
        0.05,
        note="all crossbars busy; counts of actions times their energies, leakage, and the parts without actions",
        kind="published",
        miss="the published sum has buffer, bus and router at their own peak; a full tile uses a small part of that",
    )
    yield Case("V4", "conversions per MAC, ISAAC", 1.0, energy.conversions_per_mac(isaac))
    chip = _chip("crossvote")
    result = simulate(bert_workload(SMALL, chip, 16), chip, resolution="matrix")
    static = 16 * sum(g.inputs * g.outputs for layer in result.workload.layers for g in layer.groups.values())
    counted = energy.total_actions(result.actions)["conversion"] / static
    yield Case("V4", "conversions per MAC counted in a run, CrossVote", 0.875, counted, note="7 planes, pair, 8 reads")
    prime = energy.conversions_per_mac(_chip("prime-like"))
    yield Case("V4", "conversions per MAC, PRIME's structure", 4 / 256, prime, note="3/256 to 4/256")


def timing_cases() -> Iterable[Case]:
    """V3, V5, V7, V8: time of one vector, one sequence and a stream."""
    isaac = _chip("isaac-ce")
    group = GroupWork.dense("g", 128, (16,), isaac)
    cycles = GroupTiming(isaac, group).latency_ps / isaac.crossbar.read_ps
    note = "of 100 ns: 2.2 us; fetch and store cycles were chosen so that the stages add up"
    yield Case("V3", "16-bit vector through an ISAAC tile, cycles", 22, cycles, note=note, kind="calibrated")
    ideal, slow = load_chip("crossvote", IDEAL), load_chip("crossvote", {**IDEAL, "crossbar": {"read_ps": 200_000}})
    fast = simulate(bert_workload(SMALL, ideal, 32), ideal, resolution="matrix", sequences=4)
    half = simulate(bert_workload(SMALL, slow, 32), slow, resolution="matrix", sequences=4)
    assert fast.interval_ps is not None, "four sequences are a stream"
    assert half.interval_ps is not None, "four sequences are a stream"
    ratio = fast.interval_ps / half.interval_ps
    yield Case("V5", "throughput at a read of 200 ns over that at 100 ns", 0.5, ratio)
    for tokens, microseconds in ((16, 205.680), (64, 704.880), (128, 1370.480), (256, 2701.680)):
        got = simulate(bert_workload(BERT_BASE, ideal, tokens), ideal, resolution="tile").latency_ps
        yield Case(
            "V7",
            f"BERT-base, {tokens} tokens, ideal digital units and links, us",
            microseconds,
            got / 1e6,
            note="T = L((S-1) II + D) + (S-1) II, simulated event by event",
        )
    own = _chip("crossvote")
    stream = simulate(bert_workload(BERT_BASE, own), own, resolution="matrix", sequences=4)
    bound = 1e12 / (128 * own.vector_interval_ps)
    assert stream.sequences_per_s is not None, "four sequences are a stream"
    yield Case("V8", "BERT-base, 128 tokens, stream, sequences/s", bound, stream.sequences_per_s, 0, "<=", "1 / (S II)")


def mapping_cases() -> Iterable[Case]:
    """V6 and the crossbar counts of BERT-base."""
    isaac = load_chip("isaac-ce", {"opc": {"planes": 8, "input_bits": 8}})
    own = _chip("crossvote")

    def blocks(chip: ChipConfig, **options: Any) -> int:
        return sum(layer.blocks for layer in bert_workload(BERT_BASE, chip, layout=DenseLayout(**options)).layers)

    note = "X-Former (TVLSI 2023): 36 tiles x 8 cores x 6 crossbars"
    layer = blocks(isaac) / 12
    what = "crossbars of a BERT-base layer, int8 on 2-bit cells"
    yield Case("V6", what, 1728, layer, note=note, kind="published")
    yield Case("V6", "crossbars of BERT-base, int8 on 2-bit cells", 20736, blocks(isaac))
    yield Case("V6", "the same with the top slice three times beside it", 31896, blocks(isaac, replicas=2))
    byte = load_chip("isaac-ce", {"crossbar": {"cell_bits": 1}, "opc": {"planes": 8, "input_bits": 8}})
    yield Case("V6", "8 bits on 1-bit cells, top plane three times", 55296, blocks(byte, replicas=2))
    free, whole = blocks(own, whole_outputs=False), blocks(own)
    yield Case("V6", "CrossVote pairs per layer, free packing", 3024, free / 12)
    yield Case("V6", "CrossVote pairs per layer, whole outputs per crossbar", 3090, whole / 12)
    msb = blocks(own, replicas=2, whole_outputs=False) / 12
    yield Case("V6", "CrossVote pairs per layer, MSB three times, not embedded", 3888, msb)
    embedded = blocks(own, replicas=2, pruned=0.3, embedded=True)
    note = "30 % of the outputs pruned host the replicas: zero space cost"
    yield Case("V6", "CrossVote pairs, MSB three times, embedded", whole, embedded, note=note)


def queueing_cases() -> Iterable[Case]:
    """V10, V13, V17: the booking arithmetic against theory and against SimPy's own resource."""
    for load, expected in ((0.3, 1.2143), (0.6, 1.75), (0.8, 3.0), (0.9, 5.5)):
        got = time_in_system(load, 200_000 if load < 0.7 else 1_500_000)
        yield Case("V10", f"M/D/1 time in system at load {load}, service times", expected, got, 0.01)
    yield Case(
        "V13", "bookings that differ from simpy.Resource, of 12 000", 0, booking_differences(), kind="self-consistency"
    )
    pooled, own = time_in_system(0.8, 100_000, servers=2), time_in_system(0.8, 100_000)
    note = "ReCAT gains from sharing idle ADCs; here two servers with one queue against one each"
    yield Case(
        "V17",
        "time in system of a shared pool over own servers, load 0.8",
        1,
        pooled / own,
        0,
        "<=",
        note,
        "self-consistency",
    )


def consistency_cases() -> Iterable[Case]:
    """V9, V11, V12, V14: what must hold in every run."""
    own = _chip("crossvote")
    work = bert_workload(SMALL, own, 48)
    result = simulate(work, own, sequences=3)
    residual = littles_residual(result)
    yield Case(
        "V9",
        "largest relative residual of L = lambda W over all queues",
        1e-9,
        residual,
        0,
        "<=",
        kind="self-consistency",
    )
    counts = [conserved for _, conserved in conservation(result)]
    yield Case(
        "V11",
        "conservation rules that fail",
        0,
        counts.count(False),
        note=f"of {len(counts)} checked",
        kind="self-consistency",
    )
    for sequences in (1, 3):
        runs = [simulate(work, own, resolution=r, sequences=sequences) for r in RESOLUTIONS]
        times = {(r.sequence_ps, r.layer_ps) for r in runs}
        yield Case(
            "V12",
            f"different times at {len(runs)} resolutions, {sequences} sequence(s)",
            1,
            len(times),
            kind="self-consistency",
        )
        energies = {r.dynamic_energy_pj for r in runs}
        yield Case(
            "V12",
            f"different energies at {len(runs)} resolutions, {sequences} sequence(s)",
            1,
            len(energies),
            kind="self-consistency",
        )
    ideal = load_chip("crossvote", IDEAL)
    work = bert_workload(SMALL, ideal, 48)
    exact = {simulate(work, ideal, resolution=r).layer_ps for r in ("analytic", *RESOLUTIONS)}
    yield Case(
        "V12", "different times, analytic included, where nothing is contended", 1, len(exact), kind="self-consistency"
    )
    poor: dict[str, Any] = {
        "adc": {"shared_by": 4},
        "digital": {"macs_per_tile": 2, "lanes_per_tile": 1},
        "network": {"flit_bits": 16},
    }
    base = simulate(work, load_chip("crossvote", poor), resolution="matrix").latency_ps
    for what, better in (
        ("ADCs", {"adc": {"shared_by": 2}}),
        ("vector lanes", {"digital": {"lanes_per_tile": 2, "macs_per_tile": 2}}),
        ("attention MACs", {"digital": {"lanes_per_tile": 1, "macs_per_tile": 4}}),
        ("link bits", {"network": {"flit_bits": 32}}),
    ):
        latency = simulate(work, load_chip("crossvote", {**poor, **better}), resolution="matrix").latency_ps
        yield Case(
            "V14",
            f"latency with twice the {what} over that without",
            1,
            latency / base,
            0,
            "<=",
            kind="self-consistency",
        )


def published_cases() -> Iterable[Case]:
    """V15, V16: figures of other accelerators."""

    def arithmetic(what: str, published: float, got: float) -> Case:
        note = "two published figures against a third: nothing is simulated"
        return Case("V15", what, published, got, 0.005, note=note, kind="self-consistency")

    yield arithmetic("PUMA MVMU: 43.97 nJ over 2304 ns, mW", 19.08, 43.97e3 / 2304)
    yield arithmetic("PUMA: 577 GOPS/mm2 x 90.6 mm2, TOPS", 52.3, 577 * 90.6e-3)
    yield arithmetic("PUMA: 837 GOPS/W x 62.5 W, TOPS", 52.3, 837 * 62.5e-3)
    bert = "BERT-base, 128 tokens"
    for preset, options in (("crossvote", {}), ("isaac-ce", {"opc": {"planes": 8, "input_bits": 8}})):
        chip = load_chip(preset, options)
        one = simulate(bert_workload(BERT_BASE, chip), chip, resolution="matrix")
        note = "HASTILY (TCAS-AI 2025) gives PUMA 26 TOPS; other hardware, so an order of magnitude only"
        tops = one.operations / one.latency_ps
        yield Case("V16", f"{bert}, one sequence, on {preset}, TOPS", 26, tops, 0, "report", note, "published")
        note = "X-Former (TVLSI 2023): 0.98 ms for BERT-base; sequence length not said in the abstract"
        milliseconds = one.latency_ps / 1e9
        yield Case("V16", f"{bert}, latency on {preset}, ms", 0.98, milliseconds, 0, "report", note, "published")
        note = "X-Former (TVLSI 2023); attention in SRAM there. Here: dynamic energy only, which is what it seems to be"
        watts = one.operations / one.dynamic_energy_pj
        yield Case("V16", f"{bert}, on {preset}, TOPS/W, dynamic", 6.72, watts, 0, "report", note, "published")
    stream = simulate(bert_workload(BERT_BASE, _chip("crossvote")), _chip("crossvote"), resolution="analytic")
    bound = stream.operations / (128 * _chip("crossvote").vector_interval_ps)
    what = f"{bert}, bound of a stream on crossvote, TOPS"
    yield Case("V16", what, 218, bound, 0.005, note="operations over 128 intervals of 800 ns")
    note = "HASTILY (TCAS-AI 2025), its own design: an order of magnitude only"
    yield Case("V16", what, 158, bound, 0, "report", note, "published")


#: VGG8 for 32 x 32 pixels as MNSIM 2.0 defines it: inputs and outputs of each layer as a matrix; 3 x 3 kernels, but for
#: the last.
VGG8 = (
    (27, 128),
    (9 * 128, 128),
    (9 * 128, 256),
    (9 * 256, 256),
    (9 * 256, 512),
    (9 * 512, 512),
    (9 * 512, 1024),
    (1024, 10),
)


def cnn_cases() -> Iterable[Case]:
    """The crossbars of a convolutional network, which another simulator counts."""
    layout = {"crossbar": {"rows": 256, "columns": 256}, "opc": {"columns": 256, "planes": 8}}
    chip = load_chip("crossvote", layout)
    pairs = sum(GroupWork.dense(f"layer {n}", k, (m,), chip).blocks for n, (k, m) in enumerate(VGG8))
    yield Case(
        "MNSIM",
        "pairs of crossbars of VGG8, 9-bit weights on 1-bit cells, 256 x 256",
        1272,
        pairs,
        0.05,
        kind="published",
        note="MNSIM 2.0, run",
        miss="there a crossbar holds one bit of its outputs, so that those of 128 and of 10 are not filled (52 of the "
        "124 pairs), and a kernel of 3 x 3 is never split over two (72)",
    )


def neurosim_cases() -> Iterable[Case]:
    """NeuroSim V1.4's ADC time and energy, 22 nm."""
    chip = _chip("neurosim-22nm")

    def run(inputs: int, outputs: int) -> tuple[float, float, float, int]:
        group = GroupWork.dense("matrix", inputs, (outputs,), chip)
        block_tile = np.arange(group.blocks) // chip.crossbars_per_tile
        place = GroupPlace(group, block_tile, np.zeros(len(np.unique(block_tile)), np.int64))
        counts = {name: 128 * n for name, n in group_actions(chip, place).items()}
        adc = counts["conversion"] * prices(chip)["conversion"]
        total = energy.dynamic_energy_pj(chip, {"matrix": counts})
        return 128 * GroupTiming(chip, group).interval_ps / 1e3, adc / 1e6, total / 1e6, len(place.tiles)

    nanoseconds, adc, total, _ = run(768, 768)
    clock = "the tool's clock is 11.3238 ns; here it is a whole number of picoseconds, 11.324 ns"
    what = "ADC latency, 768 x 768, 128 tokens, ns"
    yield Case("NeuroSim", what, 92764.3, nanoseconds, 5e-5, note=clock, kind="calibrated")
    set_here = "the preset's energies were taken from this row"
    yield Case("NeuroSim", "ADC energy, 768 x 768, uJ", 7.78, adc, 0.005, note=set_here, kind="calibrated")
    yield Case("NeuroSim", "energy, 768 x 768, uJ", 10.05, total, 0.005, note=set_here, kind="calibrated")
    _, _, larger, tiles = run(768, 3072)
    note = "predicted from 768 x 768; the tool adds wires that grow with the matrix"
    yield Case("NeuroSim", "energy, 768 x 3072, uJ", 40.5, larger, 0.02, note=note, kind="published")
    yield Case("NeuroSim", "tiles, 768 x 3072", 24, tiles, 0, kind="published")
    block = simulate(bert_workload(Dimensions(1, 768, 3072, 12), chip), chip, resolution="matrix")
    what = "BERT block by `simulate`, one layer and 128 tokens, "

    def held_out(quantity: str, published: float, got: float, miss: str, tolerance: float = 0.05) -> Case:
        return Case("NeuroSim", what + quantity, published, got, tolerance, kind="published", miss=miss)

    yield held_out(
        "dynamic energy, uJ",
        122.9,
        block.dynamic_energy_pj / 1e6,
        "the tool's block is its six matrices; 12.5 uJ of attention and vector units come on top here",
    )
    matrices = {k: v for k, v in block.actions.items() if k.rpartition(".")[2] in ROLES}
    static = energy.dynamic_energy_pj(chip, matrices) / 1e6
    yield held_out("dynamic energy of its matrices, uJ", 122.9, static, "")
    miss = "four matrices of 6 tiles and two of 24 are 72; the tool must share tiles between matrices"
    yield held_out("tiles", 66, block.placement.tiles, miss)
    miss = "six tiles fewer there, and a tile of the block has 3.47 mm2 instead of the 3.75 of 768 x 768 alone"
    yield held_out("area, mm2", 229.0, block.area_mm2, miss)
    yield held_out(
        "latency, us",
        4078,
        block.latency_ps / 1e6,
        "its latency is three quarters buffers (3082 us) that wait for each other layer by layer; here tokens are "
        "pipelined through the matrices",
    )


GROUPS: tuple[Callable[[], Iterable[Case]], ...] = (
    rollup_cases,
    timing_cases,
    mapping_cases,
    queueing_cases,
    consistency_cases,
    published_cases,
    cnn_cases,
    neurosim_cases,
)


def all_cases() -> list[Case]:
    """Every case, computed now (about ten seconds)."""
    cases = [case for group in GROUPS for case in group()]
    return sorted(cases, key=lambda case: int(case.key[1:]) if case.key[1:].isdigit() else len(cases))


def page(cases: list[Case]) -> str:
    """The cases as a Markdown page: a part for each kind, misses with their cause."""
    lines = [
        "# Validation of the system model",
        "",
        "Every row is computed by `benchmarks/validation.py` and checked by `tests/system/test_validation.py`.",
        "Write this page again with `python -m benchmarks.validation docs/validation.md`.",
    ]
    for kind, title in KINDS.items():
        rows = [case for case in cases if case.kind == kind]
        judged = [case for case in rows if case.relation != "report"]
        met = sum(case.holds for case in judged)
        shown = len(rows) - len(judged)
        lines += [
            "",
            f"## {kind.capitalize()}",
            "",
            f"{title}. {met} of {len(judged)} judged rows hold" + (f"; {shown} are only shown." if shown else "."),
            "",
            "| case | quantity | expected | simulated | difference | allowed | holds | remark |",
            "|---|---|---|---|---|---|---|---|",
            *(_row(case) for case in rows),
        ]
    return "\n".join([*lines, "", _NOTES.strip(), ""])


def _row(case: Case) -> str:
    difference = (case.simulated - case.published) / case.published if case.published else case.simulated
    shown = "" if case.relation == "<=" else f"{difference:+.3%}"
    allowed = {"=": "exact" if not case.tolerance else f"{case.tolerance:.3%}"}.get(case.relation, case.relation)
    verdict = "-" if case.relation == "report" else "yes" if case.holds else "**no**"
    remark = "; ".join(part for part in (case.note, f"missed because {case.miss}" if case.miss else "") if part)
    return (
        f"| {case.key} | {case.what} | {case.published:.10g} | {round(case.simulated, 12):.8g} | {shown} "
        f"| {allowed} | {verdict} | {remark} |"
    )


_NOTES = """
## How to read it

* "expected" is a published value where the remark or the key names a publication, otherwise what theory demands.
* V8: the simulated stream stays at or below the bound.
* V15 only checks that PUMA's published figures agree with each other; PUMA itself is not modelled.
* V16 compares orders of magnitude, and is no target: other hardware, other precision, other accounting.
* Of convolutional networks there is one row, a count. A row against ISAAC's own networks needs what it publishes of
  each: how often every layer is replicated, and the time and energy of an image. Neither was at hand.
* NeuroSim's sub-areas do not add up to its total area, so only the total per tile is used.
* PRIME publishes ratios only, so `prime-like` is checked for its structure (conversions per MAC) and nothing else.
"""


if __name__ == "__main__":
    write_text_atomic(Path(sys.argv[1]), page(all_cases()))
