"""Digital logic by its gates: what the synthesis of the project's own RTL counts, priced.

A two-input gate: a fifth of a full adder of a 32-bit adder, which has 137 um2 at 45 nm (Horowitz, ISSCC 2014). To 32
nm: by the square of the ratio of the nodes. A flip-flop counts as five gates. A bit of memory: PUMA's 256-byte SRAM
(0.16 pJ per 16 bits, 0.044 mW, 0.00056 mm2). Leakage of logic: PUMA's ALU, 0.27 mW on 0.00567 mm2. All of it is an
estimate, until a place and route at a real node replaces it. What gates consume follows from toggles: see ``opc.py``.
"""

from __future__ import annotations

from crossvote.sim.chip.components.memory import SRAM

SHRINK = 32 / 45
GATE_UM2 = 137 / (32 * 5) * SHRINK**2
FLIP_FLOP_GATES = 5
BIT_PJ = SRAM[256][0] / 16
BIT_UM2 = SRAM[256][2] * 1e6 / (256 * 8)
BIT_LEAK_MW = SRAM[256][1] / (256 * 8)
LEAK_MW_PER_UM2 = 0.27 / 5670


def area_um2(gates: float, memory_bits: float = 0) -> float:
    """Area of gates (flip-flops included, as gates) and memory."""
    return gates * GATE_UM2 + memory_bits * BIT_UM2


def leakage_mw(gates: float, memory_bits: float = 0) -> float:
    """Leakage of the same."""
    return gates * GATE_UM2 * LEAK_MW_PER_UM2 + memory_bits * BIT_LEAK_MW
