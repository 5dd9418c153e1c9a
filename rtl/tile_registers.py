"""What a driver of the tile has to know: addresses, words, and what the tile says about itself.

Windows 0 to 2 are those of an OPC (``crossvote.rtl.registers``): window 0 has more registers, window 2 the scales of
the tile in the place of an OPC's, and window 3 the offsets. ``docs/tile.md`` has the register map.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

from amaranth.lib import data

from crossvote.rtl.march_elements import SelfTest
from crossvote.rtl.registers import Register, capability_words, index_bits, registers_of, status_bits
from crossvote.rtl.tile_parameters import TileParameters

#: Windows of the tile's registers beside those of an OPC: its scales take the place of the OPC's.
SCALES, OFFSETS = 2, 3


class TileRegister(IntEnum):
    """Word addresses in window 0 of what a tile has beside the registers of an OPC."""

    SELF_TEST = 11
    SELF_TEST_READS = 12
    SELF_TEST_WRITES = 13
    VERDICT_ADDRESS = 14
    VERDICT = 15
    TILE_SIZES = 16
    TILE_OPTIONS = 17
    MISMATCH_OPC = 19


#: Those that only a tile with a self-test has.
SELF_TEST_REGISTERS = tuple(register for register in TileRegister if register <= TileRegister.VERDICT)


class TileStatus(IntEnum):
    """Bits of STATUS and INTERRUPTS that a tile has beside those of an OPC; set until 1 is written to them."""

    SELF_TEST = 4


#: Content of ID: "TILE", first letter in the highest byte.
TILE_IDENTIFIER = 0x54494C45
#: Content of VERSION: of the tile's register map; the upper half counts changes that break drivers.
TILE_REGISTERS_VERSION = 1 << 16
#: Fields of TILE_SIZES and TILE_OPTIONS.
TILE_SIZES_WORD = data.StructLayout({"rows": 13, "port": 7, "opcs": 9})
TILE_OPTIONS_WORD = data.StructLayout({"self_test": 1})
#: Content of LOG_LINE: a bit line, and behind which OPC.
LOG_LINE_WORD = data.StructLayout({"line": 16, "opc": 8})
#: Content of SELF_TEST as it is written: which test, on which row block. Read, its top bit says that a test runs.
SELF_TEST_WORD = data.StructLayout({"test": 8, "block": 8})
#: Content of VERDICT_ADDRESS: bit lines ``lanes * group`` and up of a word line, behind which OPC, which word of them.
VERDICT_ADDRESS_WORD = data.StructLayout({"group": 12, "word_line": 12, "part": 8})


def tile_registers(parameters: TileParameters) -> tuple[IntEnum, ...]:
    """The registers in window 0 of a tile with these parameters."""
    p = parameters
    absent: set[IntEnum] = set() if p.self_test else set(SELF_TEST_REGISTERS)
    absent |= set() if p.opc.checksum_bits else {TileRegister.MISMATCH_OPC}
    return (*registers_of(p.opc), *(register for register in TileRegister if register not in absent))


def tile_status_bits(parameters: TileParameters) -> tuple[IntEnum, ...]:
    """The bits of STATUS and INTERRUPTS of a tile with these parameters."""
    own = (bit for bit in TileStatus if parameters.self_test)
    return tuple(sorted((*status_bits(parameters.opc), *own)))


def tile_capability_words(parameters: TileParameters) -> dict[int, int]:
    """What the registers say about the tile that they belong to. OPTIONS has the bits of the tile's scales."""
    p = parameters
    own = {int(register): word for register, word in capability_words(replace(p.opc, scale_bits=p.scale_bits)).items()}
    sizes = sum(int(getattr(p, name)) << TILE_SIZES_WORD[name].offset for name in TILE_SIZES_WORD.members)
    options = sum(int(getattr(p, name)) << TILE_OPTIONS_WORD[name].offset for name in TILE_OPTIONS_WORD.members)
    return own | {
        Register.ID: TILE_IDENTIFIER,
        Register.VERSION: TILE_REGISTERS_VERSION,
        TileRegister.TILE_SIZES: sizes,
        TileRegister.TILE_OPTIONS: options,
    }


def self_test_word(test: SelfTest, block: int) -> int:
    """The word that starts a self-test."""
    return int(test << SELF_TEST_WORD["test"].offset | block << SELF_TEST_WORD["block"].offset)


def verdict_address_word(parameters: TileParameters, opc: int, word_line: int, group: int, word: int = 0) -> int:
    """The word that chooses which verdicts VERDICT shows."""
    fields = {"group": group, "word_line": word_line, "part": opc * parameters.verdict_words + word}
    return sum(value << VERDICT_ADDRESS_WORD[name].offset for name, value in fields.items())


def tile_scale_address(parameters: TileParameters, output: int) -> int:
    """Word address of the scale of an output; its word is ``scale_word``."""
    return (SCALES << index_bits(parameters.opc)) + output


def offset_address(parameters: TileParameters, output: int) -> int:
    """Word address of the offset of an output: two's complement, ``OFFSET_BITS``."""
    return (OFFSETS << index_bits(parameters.opc)) + output
