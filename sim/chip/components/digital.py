"""Attention and vector units, and what else multiplies: operations of digital datapaths.

Horowitz (ISSCC 2014), 45 nm: 8-bit multiply 0.2 pJ and 282 um2, 32-bit add 0.1 pJ and 137 um2; fp16 multiply 1.1 pJ and
1640 um2, add 0.4 pJ and 1360 um2; 32-bit multiply 3.1 pJ and 3495 um2. To 32 nm by the ratio of the nodes (area: its
square).
Leakage: PUMA's ALU, by area. SRAM that computes in memory: 40 TOPS/W and 187 KB/mm2 at 8 bits in 22 nm (IMAGINE,
arXiv 2412.19750: a macro's own best point, so this is an optimistic choice); leakage of its cells as of SRAM.
"""

from __future__ import annotations

from crossvote.sim.chip.components.base import Action, Estimate, Structure, Variant, component, within_clock
from crossvote.sim.chip.components.logic import BIT_LEAK_MW, BIT_PJ, LEAK_MW_PER_UM2, SHRINK

MAC_PJ, MAC_UM2 = (0.2 + 0.1) * SHRINK, (282 + 137) * SHRINK**2
VECTOR_PJ, VECTOR_UM2 = (1.1 + 0.4) * SHRINK, (1640 + 1360) * SHRINK**2
#: A multiplication by one bit of a scale: Horowitz's of 32 by 32, by the product of the widths; outputs have 29 bits.
SCALE_BIT_PJ = 3.1 * SHRINK * 29 / 32**2
#: Bits of a scale.
SCALE_BITS = 17
CIM_MAC_PJ, CIM_UM2_PER_BYTE = 2 / 40, 1e6 / (187 * 1024)
#: 2.6 TOPS/mm2 at 8 bits of the same macro, by its bytes.
CIM_MACS_PER_NS_BYTE = 2600 / 2 / (187 * 1024)


def mac_unit(clock_ps: float) -> Estimate:
    """One 8-bit multiply-accumulate unit."""
    return Estimate({"mac": Action(MAC_PJ, clock_ps)}, MAC_UM2, MAC_UM2 * LEAK_MW_PER_UM2)


def vector_lane(clock_ps: float) -> Estimate:
    """One lane of the vector unit (fp16)."""
    return Estimate({"vector_op": Action(VECTOR_PJ, clock_ps)}, VECTOR_UM2, VECTOR_UM2 * LEAK_MW_PER_UM2)


def adder(clock_ps: float, scales: bool = True) -> Estimate:
    """What finishes outputs in a tile: ``partial_add`` adds 32 bits, ``scale`` multiplies an output by its scale.

    scales: it has a multiplier; where the tile's logic is the RTL's, that requantises (``tile_control``).
    """
    area = (137 + 3495 * scales) * SHRINK**2
    scale = Action(SCALE_BIT_PJ * SCALE_BITS, clock_ps) if scales else Action(0.0)
    return Estimate({"partial_add": Action(0.1 * SHRINK, clock_ps), "scale": scale}, area, area * LEAK_MW_PER_UM2)


def cim_byte() -> Estimate:
    """One byte of SRAM that multiplies in place: ``cim_mac`` is one 8-bit multiply-accumulate."""
    return Estimate({"cim_mac": Action(CIM_MAC_PJ), "cim_write": Action(8 * BIT_PJ)}, CIM_UM2_PER_BYTE, 8 * BIT_LEAK_MW)


def _clock_ps(chip: Structure, name: str) -> float:
    """The clock of the digital units.

    Raises:
        UserError: above 2 GHz.
    """
    clock_ps = chip.digital.clock_ps
    within_clock("digital.clock_ps", clock_ps, name, "ISAAC's 1.2 GHz")
    return clock_ps


@component("adder", part="vector units", per="tile", actions=("partial_add", "scale"), state="idle", rank=120)
def _adder(chip: Structure, variant: Variant) -> Estimate:
    return adder(_clock_ps(chip, "adder"), scales=chip.pipeline.peripheral == "cycles")


@component("attention", part="attention", per="mac", actions=("mac",), state="idle", rank=130)
def _attention(chip: Structure, variant: Variant) -> Estimate:
    return mac_unit(_clock_ps(chip, "attention"))


@component(
    "attention_cim",
    part="attention",
    per="kv_byte",
    actions=("cim_mac", "cim_write"),
    state="held",
    rank=140,
    on=lambda chip: chip.digital.attention == "sram-cim",
)
def _attention_cim(chip: Structure, variant: Variant) -> Estimate:
    return cim_byte()


@component("vector", part="vector units", per="lane", actions=("vector_op",), state="idle", rank=150)
def _vector(chip: Structure, variant: Variant) -> Estimate:
    return vector_lane(_clock_ps(chip, "vector"))
