"""Analog-to-digital converter: energy and area over its bits.

Level: ISAAC (ISCA 2016), Table I: 2 mW and 1200 um2 at 8 bits and 1.28 GS/s. Shape over 4 to 10 bits: the table of
Accelergy's library at 32 nm. A tenth of the power leaks: PUMA's constants (1.8 mW dynamic, 0.2 mW leakage).
Energy per conversion does not depend on the rate below 1.3 GS/s (a slower converter does less, it does not work
harder).
"""

from __future__ import annotations

from crossvote.sim.chip.components.base import Action, Estimate, Structure, Variant, component, within

#: Bits: (pJ per conversion, um2), Accelergy's library, 32 nm.
TABLE: dict[int, tuple[float, float]] = {
    4: (0.79, 361),
    5: (0.99, 477),
    6: (1.20, 627),
    7: (1.42, 845),
    8: (1.67, 1200),
    9: (1.97, 1828),
    10: (2.38, 3002),
}
PEAK_MW, REFERENCE_BITS, REFERENCE_PS, LEAKING = 2.0, 8, 781.25, 0.1


def adc(bits: int, conversion_ps: float) -> Estimate:
    """One converter of ``bits`` that takes ``conversion_ps`` for a code.

    Raises:
        UserError: fewer than 4 or more than 10 bits, or more than 1.3 GS/s.
    """
    within("adc.bits", bits, min(TABLE), max(TABLE), "adc", "Accelergy's table")
    within("adc.conversion_ps", conversion_ps, 769, 1e9, "adc", "ISAAC's 1.28 GS/s and slower")
    share = TABLE[bits][0] / TABLE[REFERENCE_BITS][0]
    energy = (1 - LEAKING) * PEAK_MW * 1e-3 * REFERENCE_PS * share
    return Estimate({"conversion": Action(energy, conversion_ps)}, TABLE[bits][1], LEAKING * PEAK_MW * share)


@component("adc", part="ADCs", per="adc", actions=("conversion",), state="idle", rank=40)
def _adc(chip: Structure, variant: Variant) -> Estimate:
    return adc(chip.adc.bits, chip.adc.conversion_ps)
