"""Word-line driver (DAC) and sample-and-hold.

Level: ISAAC (ISCA 2016), Table I: 4 mW and 0.00017 mm2 for 1024 drivers of 1 bit, 10 uW and 0.00004 mm2 for 1024
sample-and-holds, all per 100 ns. A tenth leaks: PUMA's constants. A driver's load is its word line, so its energy grows
with the columns; a DAC of n bits has 2^(n-1) times the elements of one of 1 bit (an estimate, up to 4 bits).
"""

from __future__ import annotations

from crossvote.sim.chip.components.base import Action, Estimate, Structure, Variant, component, within

LEAKING = 0.1
DRIVER_MW, DRIVER_UM2 = 4 / 1024, 170 / 1024
HOLD_MW, HOLD_UM2 = 0.01 / 1024, 40 / 1024
REFERENCE_PS, REFERENCE_COLUMNS = 100_000, 128


def driver(columns: int, bits: int, read_ps: float) -> Estimate:
    """The driver of one word line of ``columns`` cells.

    Raises:
        UserError: more than 4 bits, or columns outside 16 to 512.
    """
    within("dac.bits", bits, 1, 4, "driver", "an estimate from ISAAC's 1-bit DAC")
    within("crossbar.columns", columns, 16, 512, "driver", "published crossbars")
    scale = 2 ** (bits - 1) * columns / REFERENCE_COLUMNS
    energy = (1 - LEAKING) * DRIVER_MW * 1e-3 * REFERENCE_PS * scale
    return Estimate({"row_drive": Action(energy, read_ps)}, DRIVER_UM2 * 2 ** (bits - 1), LEAKING * DRIVER_MW * scale)


def sample_hold(read_ps: float) -> Estimate:
    """The sample-and-hold of one bit line."""
    energy = (1 - LEAKING) * HOLD_MW * 1e-3 * REFERENCE_PS
    return Estimate({"sample_hold": Action(energy, read_ps)}, HOLD_UM2, LEAKING * HOLD_MW)


@component("driver", part="drivers", per="row", actions=("row_drive",), state="idle", rank=20)
def _driver(chip: Structure, variant: Variant) -> Estimate:
    return driver(chip.crossbar.columns, chip.dac.bits, chip.crossbar.read_ps)


@component("sample_hold", part="ADCs", per="column", actions=("sample_hold",), state="idle", rank=30)
def _sample_hold(chip: Structure, variant: Variant) -> Estimate:
    return sample_hold(chip.crossbar.read_ps)
