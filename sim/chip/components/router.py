"""Router and its links, over radix and width.

Shape: PUMA's simulator has 16.13 mW and 0.047 mm2 at 4 ports, 51.48 mW and 0.116 mm2 at 8 (32 bits). Both follow
a x + b x^2 with x = ports x width: buffers and links grow with x, the switch with x^2, as a matrix crossbar's wires do
(Orion, MICRO 2002). Level: ISAAC (ISCA 2016), Table I: 42 mW and 0.151 mm2 for 8 ports of 32 bits at 1 GHz. Leakage:
PUMA, 0.41 mW at 4 ports and 1.04 mW at 8, in proportion. So a wider flit costs more than its share, and so does a
larger radix.
"""

from __future__ import annotations

from crossvote.sim.chip.components.base import Action, Estimate, Structure, Variant, component, within, within_clock

PORTS, BITS, PEAK_MW, UM2, FLIT_PS = 8, 32, 42.0, 151_000.0, 1000
LEAK_MW = 1.04 * PEAK_MW / (51.48 + 1.04)


def _law(at_four: float, at_eight: float, x: float) -> float:
    """a x + b x^2 through (4, at_four) and (8, at_eight)."""
    b = (at_eight - 2 * at_four) / 32
    a = at_four / 4 - 4 * b
    return a * x + b * x * x


def router(ports: int, flit_bits: int, link_ps: float) -> Estimate:
    """One router; ``flit_hop`` is one flit through it and over the link behind it.

    Raises:
        UserError: fewer than 3 or more than 32 ports, flits outside 8 to 512 bits, or links faster than 2 GHz (0: as
            fast as need be).
    """
    within("network.tiles_per_router + 4", ports, 3, 32, "router", "PUMA's constants, extrapolated from 4 and 8 ports")
    within("network.flit_bits", flit_bits, 8, 512, "router", "PUMA's constants, extrapolated from 32 bits")
    if link_ps:
        within_clock("network.link_ps", link_ps, "router", "ISAAC's 1 GHz")
    x = ports * flit_bits / BITS
    power = _law(16.13, 51.48, x) / _law(16.13, 51.48, PORTS)
    area = _law(0.047, 0.116, x) / _law(0.047, 0.116, PORTS)
    flit_pj = (PEAK_MW - LEAK_MW) * 1e-3 * power / ports * FLIT_PS
    return Estimate({"flit_hop": Action(flit_pj, link_ps / ports)}, UM2 * area, LEAK_MW * area)


@component("router", part="network", per="router", actions=("flit_hop",), state="held", rank=110)
def _router(chip: Structure, variant: Variant) -> Estimate:
    return router(chip.network.tiles_per_router + 4, chip.network.flit_bits, chip.network.link_ps)
