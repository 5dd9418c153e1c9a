"""Parameters of a tile and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from crossvote.rtl.parameters import OpcParameters, count_bits

#: Bits of a quantized output, and of the offset that is added to it before it is limited to them.
VALUE_BITS, OFFSET_BITS = 8, 16


@dataclass(frozen=True)
class TileParameters:
    """Sizes of a tile: input buffer, word lines, shared converters, OPCs, requantisation.

    Attributes:
        opc: of each OPC; without a scale stage, for the tile scales what the OPCs give together.
        opcs: OPCs side by side, each behind the crossbar pairs of its own row blocks; their outputs are added. With one
            of them row blocks are added before the vote; with one per row block every crossbar pair votes by itself.
        rows: word lines of a crossbar. port: activations that come in one beat of the input, a divisor of ``rows``.
        read_clocks: clock cycles from driven word lines to bit-line sums that can be held.
        convert_clocks: clock cycles in which the converters of a crossbar turn all its held sums into codes; those of
            an OPC's row blocks work side by side, and their codes come as evenly as clocks allow.
        scale_bits: bits of the multiplier of each output.
        self_test: has the engine that tests the crossbars (``crossvote.rtl.march``).

    Raises:
        ValueError: a value that the hardware cannot have.
    """

    opc: OpcParameters = field(default_factory=OpcParameters)
    opcs: int = 1
    rows: int = 128
    port: int = 8
    read_clocks: int = 100
    convert_clocks: int = 100
    scale_bits: int = 17
    self_test: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("opcs", 1, 256),
            ("rows", 2, 4096),
            ("port", 1, 64),
            ("read_clocks", 1, 1 << 16),
            ("convert_clocks", 1, 1 << 16),
            ("scale_bits", 1, 17),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{name} = {value!r} must be a whole number from {low} to {high}.")
        if self.rows % self.port:
            raise ValueError(f"port = {self.port} must divide rows = {self.rows}.")
        if self.opc.scale_bits:
            raise ValueError("the OPCs of a tile have no scale stage: the tile scales the sum of their outputs.")
        if self.opcs * self.opc.row_blocks > 256:
            raise ValueError(f"opcs = {self.opcs} of {self.opc.row_blocks} row blocks are more than 256 row blocks.")
        _ = self.total

    @property
    def total(self) -> OpcParameters:
        """An OPC of all row blocks of the tile: it has the widths of the sums over all OPCs, and the scale stage."""
        return replace(self.opc, row_blocks=self.opcs * self.opc.row_blocks, scale_bits=self.scale_bits)

    @property
    def verdict_words(self) -> int:
        """Register words of the self-test's verdicts on ``lanes`` bit lines of a word line: four bits each."""
        return -(-4 * self.opc.lanes // 32)

    @property
    def block_bits(self) -> int:
        """Bits of a row block's number within an OPC."""
        return count_bits(self.opc.row_blocks - 1)

    def input_beats(self, blocks: int) -> int:
        """Input beats of a vector of ``blocks`` row blocks per OPC."""
        return self.opcs * blocks * self.rows // self.port

    def read_interval(self, blocks: int) -> int:
        """Clock cycles from one read to the next: to settle, to convert what was held, to digest it, or to load."""
        return max(self.read_clocks, self.convert_clocks, blocks * self.opc.groups, blocks + 2)

    def interval(self, blocks: int, steps: int) -> int:
        """Clock cycles from vector to vector where neither stream waits.

        The slowest of: bringing in the vector (each beat is turned by 90 degrees, one bit of its activations per
        clock), one read per input bit, and reading ``steps`` map entries. Where bringing in takes as long as the
        reads, some vectors come a clock later, because the buffer has room for two.
        """
        bits = self.opc.input_bits
        return max(self.input_beats(blocks) * bits, bits * self.read_interval(blocks), steps)


def kind_of(parameters: OpcParameters | TileParameters) -> str:
    """What the parameters describe, as files and modules are named after it: "opc" or "tile"."""
    return "tile" if isinstance(parameters, TileParameters) else "opc"
