"""The output peripheral component, from the project's own synthesis.

``opc_cells.json`` holds what ``python -m crossvote.rtl.synthesis`` counts: gates, flip-flops and memory bits over
lanes and variant, and what a log of disagreements and a check of checksums add. Gates and flip-flops are linear in the
lanes (interpolated between the counted ones, the last slope continued up to 256) and, per lane, in the width of a
column sum; the rest grows with the width of an output sum. Areas and leakage are priced as logic (``logic.py``).
``opc_energy.json`` holds what ``python -m benchmarks.opc_power`` makes of the toggles of a real layer's simulation in a
cell library: energy of each action outside memories, brought to ``NODE_NM`` by an assumption, ``shrink``. Bits of
memories are priced as SRAM for energy as for area. ISAAC's shift-and-add, which has published power instead, is here
too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, get_args

from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.sim.chip.components import logic
from crossvote.sim.chip.components.base import NODE_NM, Action, Estimate, Structure, Variant, component, within_clock
from crossvote.sim.common.errors import UserError

VARIANTS: tuple[Variant, ...] = get_args(Variant)
#: Supply assumed at ``NODE_NM``, V.
VOLTS = 0.9
#: Bits of the multiplier of the scale stage that was synthesised.
SYNTHESISED_SCALE_BITS = 17


@dataclass(frozen=True)
class CountedCells:
    """Counted cells of one OPC. Flip-flops are in ``gates`` already, as ``logic.FLIP_FLOP_GATES`` each."""

    gates: float
    memory_bits: float


@cache
def _table() -> tuple[OpcParameters, dict[tuple[str, int], CountedCells]]:
    document = _document()
    rows = {
        (row["variant"], row["lanes"]): CountedCells(
            row["gates"] + logic.FLIP_FLOP_GATES * row["flip_flops"], row["memory_bits"]
        )
        for row in document["rows"]
    }
    return OpcParameters(**document["parameters"]), rows


def synthesis() -> dict[str, Any]:
    """What was counted: ``source``, ``parameters`` and ``rows`` (variant, lanes, gates, flip_flops, memory_bits)."""
    document = _document()
    return {key: document[key] for key in ("source", "parameters", "rows")}


def _document() -> dict[str, Any]:
    return read("opc_cells.json")


@cache
def read(name: str) -> dict[str, Any]:
    text = (resources.files("crossvote.sim.chip.components") / name).read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def energies() -> dict[str, Any]:
    """What was measured: ``source``, ``library``, ``node_nm``, ``volts``, ``wire_pf`` and ``rows``."""
    return read("opc_energy.json")


def shrink() -> float:
    """What is left at ``NODE_NM`` of an energy in the library: C V^2, where C goes with the feature size."""
    measured = energies()
    return float(NODE_NM / measured["node_nm"] * (VOLTS / measured["volts"]) ** 2)


def _around(known: Sequence[int], lanes: int) -> tuple[int, int]:
    """The two of the ascending ``known`` lanes on whose line ``lanes`` is; beyond the last, that line goes on."""
    upper = next((number for number in known[1:] if number >= lanes), known[-1])
    return known[known.index(upper) - 1], upper


def _measured(action: str, variant: Variant, lanes: int) -> float:
    """pJ of an action at ``NODE_NM`` and the sizes that were measured.

    What lanes change was measured on the variant with map and voter, per clock: linear between its lanes, and on with
    the last slope.
    """
    planes = _table()[0].planes
    rows = {(row["variant"], row["lanes"]): row for row in energies()["rows"] if row["planes"] == planes}
    known = sorted(number for name, number in rows if name == "map + voter")

    def each(number: int) -> int:
        """Of the action in a clock."""
        return number if action == "pair" else 1

    def over(lanes: int) -> float:
        lower, upper = _around(known, lanes)
        low, high = (float(rows["map + voter", number][action]) * each(number) for number in (lower, upper))
        return float((low + (high - low) * (lanes - lower) / (upper - lower)) / each(lanes))

    common = OpcParameters().lanes
    own = float(rows[variant, common][action])
    return shrink() * (own + over(lanes) - over(common))


def _gates(variant: Variant, lanes: int) -> tuple[float, float]:
    """(gates of the lanes, other gates) of the parameters that were synthesised."""
    _, rows = _table()
    known = sorted(n for v, n in rows if v == variant)
    lower, upper = _around(known, lanes)
    low, high = rows[variant, lower].gates, rows[variant, upper].gates
    slope = (high - low) / (upper - lower)
    total = low + slope * (lanes - lower)
    return slope * lanes, total - slope * lanes


def variant_of(parameters: OpcParameters) -> Variant:
    """The variant that an OPC with these parameters is."""
    if parameters.scale_bits:
        return "map + voter + scale"
    return "map + voter" if parameters.voter else "map" if parameters.column_map else "plain"


def opc_cells(parameters: OpcParameters, variant: Variant) -> CountedCells:
    """Gates and memory bits of an OPC.

    Raises:
        UserError: a variant that is not in the table.
    """
    if variant not in VARIANTS:
        raise UserError(f"'{variant}' is not a variant of the output peripheral; there are {', '.join(VARIANTS)}.")
    reference, rows = _table()
    lanes, others = _gates(variant, parameters.lanes)
    extra = rows[variant, 8].memory_bits - rows["plain", 8].memory_bits
    scaling = scales = 0.0
    if variant == "map + voter + scale":
        # A multiplier grows with the product of its widths; the table of scales holds a multiplier and a shift each.
        unscaled = rows["map + voter", 8]
        share = parameters.scale_bits / SYNTHESISED_SCALE_BITS if parameters.scale_bits else 1.0
        scaling = (rows[variant, 8].gates - unscaled.gates) * (share - 1)
        entry = rows[variant, 8].memory_bits - unscaled.memory_bits
        scales = entry * (SYNTHESISED_SCALE_BITS * (share - 1)) / (SYNTHESISED_SCALE_BITS + SHIFT_BITS)
    lanes *= parameters.column_sum_bits / reference.column_sum_bits
    others = (others + scaling) * parameters.sum_bits / reference.sum_bits
    sums = 2 * parameters.columns * parameters.column_sum_bits
    log = parameters.log_bits if "voter" in variant else 0  # it counts what voters see
    check = parameters.checksum_bits if variant != "plain" else 0  # only a map names checksum lines
    return CountedCells(
        lanes
        + others
        + (_option_gates("log", log) if log else 0.0)
        + (_option_gates("checksum", check) if check else 0.0),
        sums + parameters.columns * ((extra + scales) / reference.columns + log),
    )


def _option_gates(name: str, bits: int) -> float:
    """Of the log of disagreements or the check of checksums: linear in its bits, through the two that were counted."""
    counted = _document()[name]
    narrow, wide = (row[f"{name}_bits"] for row in counted)
    low, high = (row["gates"] + logic.FLIP_FLOP_GATES * row["flip_flops"] for row in counted)
    return float(low + (high - low) / (wide - narrow) * (bits - narrow))


def opc(parameters: OpcParameters, variant: Variant, clock_ps: float) -> Estimate:
    """One OPC.

    Actions: ``opc_pair`` (a pair of codes accumulated, its column sum read and written), ``opc_step`` (a column sum
    read out, added to its output and, with a scale stage, its share of scaling), ``map_lookup`` (an entry read, checked
    and taken apart) and ``vote``. Widths of sums count in proportion. What a log counts is free: how often bit lines
    disagree depends on the faults. So is the check of checksums, a few bits wide, beside a step's sums.

    Raises:
        UserError: a clock above 2 GHz.
    """
    within_clock("opc.clock_ps", clock_ps, "opc", "ISAAC's 1.2 GHz")
    cells = opc_cells(parameters, variant)
    reference, rows = _table()
    width, lanes = parameters.column_sum_bits, parameters.lanes
    wide, high = width / reference.column_sum_bits, parameters.sum_bits / reference.sum_bits
    # What adds a code does the same work in every variant: small differences between their syntheses are no saving.
    pair = _measured("pair", "map + voter", lanes) * wide + 2 * width * logic.BIT_PJ
    unscaled: Variant = "map + voter" if "voter" in variant else variant
    step = _measured("step", unscaled, lanes)
    if variant == "plain":
        step += _measured("lookup", variant, OpcParameters().lanes)  # it counts through its fixed map
    elif variant == "map + voter + scale":
        bits = parameters.scale_bits or SYNTHESISED_SCALE_BITS
        step += (_measured("step", variant, lanes) - step) * bits / SYNTHESISED_SCALE_BITS
    step = step * high + width * logic.BIT_PJ
    entry = (rows["map", 8].memory_bits - rows["plain", 8].memory_bits) / reference.columns
    lookup = _measured("lookup", unscaled, lanes) + entry * logic.BIT_PJ
    vote = _measured("vote", "map + voter", lanes) * wide
    return Estimate(
        {
            "opc_pair": Action(pair, clock_ps / parameters.lanes),
            "opc_step": Action(step, clock_ps),
            "map_lookup": Action(lookup if variant != "plain" else 0.0, clock_ps if variant != "plain" else 0.0),
            "vote": Action(vote if "voter" in variant else 0.0),
        },
        logic.area_um2(cells.gates, cells.memory_bits),
        logic.leakage_mw(cells.gates, cells.memory_bits),
    )


def shift_add(adcs_served: float, conversion_ps: float) -> Estimate:
    """ISAAC's shift-and-add (ISCA 2016, Table I): 0.05 mW, 60 um2, serving ``adcs_served`` converters at full rate.

    A tenth leaks: PUMA's constants. ``shift_add`` is one code (or column sum) added.
    """
    interval = conversion_ps / adcs_served
    return Estimate({"shift_add": Action(0.9 * 0.05e-3 * interval, interval)}, 60.0, 0.1 * 0.05)


def opc_parameters(chip: Structure, given: Mapping[str, int] | None = None) -> OpcParameters:
    """The RTL's parameters for a chip; those that are ``given`` by name take the place of its own.

    Raises:
        UserError: sizes that the RTL cannot have.
    """
    o = chip.opc
    own: dict[str, Any] = {
        "columns": o.columns,
        "lanes": o.lanes,
        "planes": o.planes,
        "input_bits": o.input_bits,
        "adc_bits": chip.adc.bits,
        "row_blocks": o.row_blocks,
        "voter": o.voter,
        "column_map": o.column_map,
        "scale_bits": o.scale_bits,
        "log_bits": o.log_bits,
        "checksum_bits": o.checksum_bits,
    }
    try:
        return OpcParameters(**{**own, **(given or {})})
    except ValueError as error:
        instead = "".join(f", {name} = {value}" for name, value in (given or {}).items())
        raise UserError(f"chip '{chip.name}'{instead}: the output peripheral cannot be built: {error}") from None


def has_rtl(chip: Structure) -> bool:
    """Whether the chip's output peripheral is the one of ``crossvote.rtl``."""
    return chip.pipeline.peripheral == "rtl"


def own_variant(chip: Structure) -> Variant:
    """What the chip file says its output peripheral has."""
    return variant_of(opc_parameters(chip)) if has_rtl(chip) else "plain"


@component(
    "opc",
    part="output peripheral",
    per="opc",
    actions=("opc_pair", "opc_step", "map_lookup", "vote"),
    state="idle",
    rank=50,
    on=has_rtl,
)
def _opc(chip: Structure, variant: Variant) -> Estimate:
    return opc(opc_parameters(chip), variant, chip.opc.clock_ps)


@component(
    "shift_add",
    part="output peripheral",
    per="ima",
    actions=("shift_add",),
    state="idle",
    rank=60,
    on=lambda chip: not has_rtl(chip),
)
def _shift_add(chip: Structure, variant: Variant) -> Estimate:
    """ISAAC has four of them for eight converters; here one stands for all of an IMA."""
    one = shift_add(2, chip.adc.conversion_ps)
    count = max(1.0, chip.tile.crossbars_per_ima * chip.adc.per_crossbar / chip.adc.shared_by / 2)
    actions = {name: Action(a.energy_pj, a.interval_ps / count) for name, a in one.actions.items()}
    return Estimate(actions, one.area_um2 * count, one.leakage_mw * count)
