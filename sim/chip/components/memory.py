"""SRAM registers, the eDRAM of a tile, and the bus between them.

SRAM: PUMA's simulator gives dynamic power (one access of 2 bytes per 1 ns), leakage and area at 256 to 2048 bytes;
between and up to 64 KB interpolated on a logarithmic scale, which says so where it is extrapolated. eDRAM: 17.2 pJ per
256-bit access of two cycles, 0.46 mW leakage at 64 KB, 25.35 pJ and 0.77 mW at 128 KB, 0.083 mm2 (PUMA's simulator;
ISAAC (ISCA 2016), Table I: 20.7 mW, which is one such access per 1.2 GHz cycle from its two banks). Bus: ISAAC, 7 mW
and 0.09 mm2 for 384 wires; PUMA: 1 mW of it leaks.
"""

from __future__ import annotations

import math

from crossvote.sim.chip.components.base import Action, Estimate, Structure, Variant, component, within, within_clock

#: Bytes: (pJ per access of 2 bytes, leakage mW, mm2), PUMA's simulator, 32 nm.
SRAM: dict[int, tuple[float, float, float]] = {
    256: (0.16, 0.044, 0.00056),
    512: (0.24, 0.078, 0.00108),
    1024: (0.33, 0.147, 0.00192),
    2048: (0.57, 0.33, 0.00392),
}
EDRAM_PJ, EDRAM_BITS, EDRAM_BYTES, EDRAM_LEAK_MW, EDRAM_UM2 = 17.2, 256, 65_536, 0.46, 83_000.0
EDRAM_ENERGY_POWER = math.log2(25.35 / 17.2)
EDRAM_LEAK_POWER = math.log2(0.77 / 0.46)
EDRAM_AREA_POWER = math.log2(0.121 / 0.086)
BUS_MW, BUS_LEAK_MW, BUS_UM2, BUS_WIRES, BUS_PS = 7.0, 1.0, 90_000.0, 384, 1000 / 1.2


def interpolate(size: float, column: int) -> float:
    """A column of ``SRAM`` at ``size`` bytes, linear on a logarithmic scale, the last slopes continued."""
    points = sorted(SRAM)
    upper = next((n for n in points[1:] if n >= size), points[-1])
    lower = points[points.index(upper) - 1]
    low, high = SRAM[lower][column], SRAM[upper][column]
    share = math.log(size / lower) / math.log(upper / lower)
    interpolated: float = low * (high / low) ** share
    return interpolated


def sram(size: float, name: str, action: str) -> Estimate:
    """A register memory of ``size`` bytes; ``action`` is one byte read or written.

    Raises:
        UserError: a size outside 64 bytes to 64 KB.
    """
    within(f"size of '{name}', bytes,", size, 64, 65_536, name, "PUMA's constants, extrapolated from 256 to 2048 bytes")
    return Estimate({action: Action(interpolate(size, 0) / 2, 500)}, interpolate(size, 2) * 1e6, interpolate(size, 1))


def edram(size: int, access_ps: float, ports: int, word_bits: int) -> Estimate:
    """The buffer of a tile: ``ports`` banks, each with an access of ``word_bits`` every ``access_ps``.

    Raises:
        UserError: a size outside 4 KB to 1 MB, or accesses of a bank faster than 2 GHz (0: as fast as need be).
    """
    within("tile.buffer_bytes", size, 4096, 2**20, "buffer", "PUMA's constants, extrapolated from 64 and 128 KB")
    if access_ps:
        within_clock("tile.buffer_ps", access_ps, "buffer", "ISAAC's 1.2 GHz")
    scale = size / EDRAM_BYTES
    byte_pj = EDRAM_PJ / (EDRAM_BITS / 8) * scale**EDRAM_ENERGY_POWER
    # Every further bank pays its own row decoder and sense amplifiers, and so does a bank twice as wide: a tenth of the
    # memory (an estimate).
    area = EDRAM_UM2 * scale**EDRAM_AREA_POWER * (1 + 0.1 * (ports * word_bits / EDRAM_BITS - 2))
    byte_ps = access_ps / (word_bits / 8 * ports)
    return Estimate({"buffer_byte": Action(byte_pj, byte_ps)}, area, EDRAM_LEAK_MW * scale**EDRAM_LEAK_POWER)


def bus(wires: int, transfer_ps: float) -> Estimate:
    """The bus of a tile; area, leakage and peak power grow with the wires, so a byte costs the same on any of them.

    Raises:
        UserError: wires outside 8 to 4096, or transfers faster than 2 GHz (0: as fast as need be).
    """
    within("tile.bus_bits", wires, 8, 4096, "bus", "ISAAC's 384 wires, in proportion")
    if transfer_ps:
        within_clock("tile.bus_ps", transfer_ps, "bus", "ISAAC's 1.2 GHz")
    byte_pj = (BUS_MW - BUS_LEAK_MW) * 1e-3 * BUS_PS / (BUS_WIRES / 8)
    scale = wires / BUS_WIRES
    return Estimate({"bus_byte": Action(byte_pj, transfer_ps / (wires / 8))}, BUS_UM2 * scale, BUS_LEAK_MW * scale)


@component("input_register", part="tile memory", per="ima", actions=("input_byte",), state="held", rank=70)
def _input_register(chip: Structure, variant: Variant) -> Estimate:
    """One token's inputs of every crossbar of an IMA: ISAAC's 2 KB at 8 crossbars of 128 rows and 16 bits."""
    size = chip.tile.crossbars_per_ima * chip.crossbar.rows * -(-chip.opc.input_bits // 8)
    return sram(size, "input_register", "input_byte")


@component("output_register", part="tile memory", per="ima", actions=("output_byte",), state="held", rank=80)
def _output_register(chip: Structure, variant: Variant) -> Estimate:
    """One token's outputs of every crossbar of an IMA: ISAAC's 256 bytes at 8 crossbars of 16 outputs of 16 bits."""
    outputs = max(1, chip.crossbar.columns // chip.slices)
    size = max(64, chip.tile.crossbars_per_ima * outputs * -(-chip.opc.input_bits // 8))
    return sram(size, "output_register", "output_byte")


@component("buffer", part="tile memory", per="tile", actions=("buffer_byte",), state="held", rank=90)
def _buffer(chip: Structure, variant: Variant) -> Estimate:
    return edram(chip.tile.buffer_bytes, chip.tile.buffer_ps, chip.tile.buffer_ports, chip.tile.buffer_bits)


@component("bus", part="tile memory", per="tile", actions=("bus_byte",), state="held", rank=100)
def _bus(chip: Structure, variant: Variant) -> Estimate:
    return bus(chip.tile.bus_bits, chip.tile.bus_ps)
