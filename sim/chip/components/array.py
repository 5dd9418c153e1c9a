"""The array of cells: what conducts costs, nothing else does.

Reading: a cell at full conductance on a driven word line with input 1 draws V^2 G for the time of the read. Level:
ISAAC (ISCA 2016), 0.3 mW for 128 x 128 cells over 100 ns, taken as what an even mix draws: half of the inputs 1, half
of full conductance on average (an assumption; ISAAC does not say). Area: ISAAC, 25 um2 per 128 x 128. A crossbar leaks
nothing: its word lines rest at 0. Size from 16 to 512: the energy is per cell, so only wire resistance limits it.
Writing: PUMA's simulator, 21.1 nJ for a crossbar of 128 x 128, peripherals included.
"""

from __future__ import annotations

from crossvote.sim.chip.components.base import Action, Estimate, Structure, Variant, component, within

REFERENCE_CELLS, REFERENCE_PJ, REFERENCE_PS, REFERENCE_UM2 = 128 * 128, 30.0, 100_000, 25.0
#: Share of full conductance that ISAAC's figure stands for: inputs that are 1, times mean level.
MIX = 0.25
WRITE_PJ = 676e3 / 32 / REFERENCE_CELLS
#: Writes that a cell survives, a usual figure for ReRAM; lifetimes scale with it.
ENDURANCE = 1e8


def read_pj(read_ps: float) -> float:
    """Energy of one cell at full conductance, driven by a 1 for one read, pJ."""
    return REFERENCE_PJ / (REFERENCE_CELLS * MIX) * read_ps / REFERENCE_PS


def array(rows: int, columns: int, read_ps: float, write_pj: float = WRITE_PJ) -> Estimate:
    """One crossbar; ``cell_read`` is one conducting cell in one read, ``cell_write`` one cell programmed.

    Raises:
        UserError: rows or columns outside 16 to 512, or a read shorter than 10 ns.
    """
    within("crossbar.rows", rows, 16, 512, "crossbar", "published crossbars")
    within("crossbar.columns", columns, 16, 512, "crossbar", "published crossbars")
    within("crossbar.read_ps", read_ps, 10_000, 1e9, "crossbar", "published reads: ISAAC's 100 ns, NeuroSim's 11.3 ns")
    cells = rows * columns
    return Estimate(
        {
            "cell_read": Action(read_pj(read_ps), read_ps / (cells * MIX)),
            "cell_write": Action(write_pj),
        },
        REFERENCE_UM2 * cells / REFERENCE_CELLS,
        0.0,
    )


@component("crossbar", part="crossbars", per="crossbar", actions=("cell_read", "cell_write"), state="held", rank=10)
def _crossbar(chip: Structure, variant: Variant) -> Estimate:
    return array(chip.crossbar.rows, chip.crossbar.columns, chip.crossbar.read_ps, chip.cell.write_pj)
