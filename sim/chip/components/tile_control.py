"""What a tile of the project's RTL has around its output peripherals: turned inputs, reads, sum and requantisation.

One stands in every IMA, in front of the crossbars there. ``tile_cells.json`` holds what ``python -m
crossvote.rtl.synthesis --tiles`` counts: gates and flip-flops, linear in the OPCs (3 and 12 were counted, the line goes
on to both sides) and in the bits of an input (8 and 16). Priced as logic (``logic.py``); the lanes of the OPCs do not
matter (8 and 32 were counted). ``tile_energy.json`` holds what ``python -m benchmarks.tile_power`` makes of the toggles
of a real layer's simulation in a cell library, linear in the OPCs likewise and brought to ``NODE_NM`` by the assumption
of ``opc.shrink``. Scales and offsets are priced as SRAM; the words of the input buffer are the component
``input_register``. A self-test is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.rtl.tile_parameters import OFFSET_BITS
from crossvote.sim.chip.components import logic
from crossvote.sim.chip.components.base import Action, Estimate, Structure, Variant, component, within, within_clock
from crossvote.sim.chip.components.opc import SYNTHESISED_SCALE_BITS, has_rtl, opc_cells, opc_parameters, read, shrink

#: Most OPCs, twice what was counted; fewest and most bits of an input.
MOST_OPCS, INPUT_BITS = 24, (2, 16)


@dataclass(frozen=True)
class TileCells:
    """Counted cells of a tile's own logic. Flip-flops are in ``gates``, as ``logic.FLIP_FLOP_GATES`` each.

    memory_bits: of scales and offsets.
    """

    gates: float
    memory_bits: float


def _line(rows: Mapping[float, float], at: float) -> float:
    """The straight line through two points."""
    (low, one), (high, two) = sorted(rows.items())
    return one + (two - one) * (at - low) / (high - low)


def _counted(rows: list[dict[str, Any]], **chosen: Any) -> list[dict[str, Any]]:
    """Rows of one row block per OPC and no self-test, in which these have these values."""
    wanted = {"row_blocks": 1, "self_test": False, "lanes": OpcParameters().lanes, **chosen}
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def tile_cells(opcs: float, parameters: OpcParameters) -> TileCells:
    """Of the logic around ``opcs`` OPCs of such parameters."""
    rows: list[dict[str, Any]] = read("tile_cells.json")["rows"]

    def gates(row: dict[str, Any]) -> float:
        return float(row["gates"] + logic.FLIP_FLOP_GATES * row["flip_flops"])

    bits = OpcParameters().input_bits
    by_opcs = {row["opcs"]: gates(row) for row in _counted(rows, input_bits=bits)}
    by_bits = {row["input_bits"]: gates(row) for row in _counted(rows, opcs=min(by_opcs))}
    total = _line(by_opcs, opcs) + _line(by_bits, parameters.input_bits) - by_bits[bits]
    entry = SYNTHESISED_SCALE_BITS + SHIFT_BITS + OFFSET_BITS
    if parameters.scale_bits:  # then the OPCs scale, and the tile does not
        scaled, plain = (opc_cells(OpcParameters(), variant) for variant in ("map + voter + scale", "map + voter"))
        total -= scaled.gates - plain.gates
        entry = OFFSET_BITS
    return TileCells(total, parameters.outputs * entry)


def tile_control(opcs: float, parameters: OpcParameters, clock_ps: float) -> Estimate:
    """The logic around ``opcs`` OPCs.

    Actions: ``input_turn`` (a byte of an activation kept, turned by 90 degrees), ``read_step`` (the steps of one read),
    ``requantise`` (an output summed over the OPCs, scaled, offset and limited; its scale and offset read). Multipliers
    of other widths than the 17 bits that were measured are in the OPCs.

    Raises:
        UserError: more OPCs or bits than the model covers, or a clock above 2 GHz.
    """
    within("tile.crossbars_per_ima in OPCs", opcs, 0, MOST_OPCS, "tile_control", "1 to 12 were synthesised")
    within("opc.input_bits", parameters.input_bits, *INPUT_BITS, "tile_control", "8 and 16 were synthesised")
    within_clock("opc.clock_ps", clock_ps, "tile_control", "ISAAC's 1.2 GHz")
    rows = read("tile_energy.json")["rows"]

    def measured(action: str) -> float:
        return shrink() * _line({row["opcs"]: row[action] for row in rows}, opcs)

    cells = tile_cells(opcs, parameters)
    table = (SYNTHESISED_SCALE_BITS + SHIFT_BITS + OFFSET_BITS) * logic.BIT_PJ
    return Estimate(
        {
            "input_turn": Action(measured("turn"), clock_ps / 8),
            "read_step": Action(measured("read")),
            "requantise": Action(measured("requantise") + table, clock_ps),
        },
        logic.area_um2(cells.gates, cells.memory_bits),
        logic.leakage_mw(cells.gates, cells.memory_bits),
    )


def opcs_of_an_ima(chip: Structure, signs: int) -> float:
    """OPCs that one stands before, with one behind every block of crossbars."""
    return chip.tile.crossbars_per_ima / signs * chip.crossbar.columns / chip.opc.columns


@component(
    "tile_control",
    part="tile control",
    per="ima",
    actions=("input_turn", "read_step", "requantise"),
    state="idle",
    rank=65,
    on=has_rtl,
    follows={"input_turn": "input_byte"},
)
def _tile_control(chip: Structure, variant: Variant) -> Estimate:
    signs = 1 if chip.crossbar.pair == "none" else 2
    return tile_control(opcs_of_an_ima(chip, signs), opc_parameters(chip), chip.opc.clock_ps)
