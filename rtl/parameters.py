"""Parameters of the output peripheral component (OPC) and everything that follows from them."""

from __future__ import annotations

from dataclasses import dataclass

#: Largest advance of a value behind which an output goes on, and of one that completes it.
MOST_ADVANCE, MOST_TAIL = 2, 3

#: Bits of the scale stage's shift field, so that scales reach from 1 down to 2^-(2^SHIFT_BITS).
SHIFT_BITS = 4
#: Bits of the tag that a vector carries from its first beat to its outputs.
TAG_BITS = 4


def count_bits(largest: int) -> int:
    """Width of an unsigned number from 0 to ``largest``, at least one bit.

    Amaranth's own function would do, but reading a chip description must not load Amaranth.
    """
    return max(1, largest.bit_length())


def signed_bits(magnitude: int) -> int:
    """Width of a two's complement number that must reach from -magnitude to +magnitude."""
    return magnitude.bit_length() + 1


@dataclass(frozen=True)
class OpcParameters:
    """Sizes of an OPC, the digital block behind up to ``columns`` bit-line pairs.

    Attributes:
        columns: bit lines served. lanes: bit lines taken per clock, a power of two that divides ``columns``.
        planes: magnitude bit planes B of a weight. input_bits: n_x, reads per vector and row block.
        adc_bits: width A of an ADC code. row_blocks: most row blocks whose column sums are added before the vote.
        voter: False leaves out the median of three (a plane then has one copy).
        column_map: False replaces the writable map by a fixed one: no flips, outputs side by side, top plane first.
        scale_bits: bits of the multiplier with which each output is scaled; 0 leaves out the scale stage.
        log_bits: bits of the count per bit line of votes in which it was not the median; 0 leaves out this log.
        checksum_bits: most checksum bit lines that column sums are checked against; 0 leaves out this check.

    Raises:
        ValueError: a value that the hardware cannot have.
    """

    columns: int = 128
    lanes: int = 8
    planes: int = 7
    input_bits: int = 8
    adc_bits: int = 8
    row_blocks: int = 32
    voter: bool = True
    column_map: bool = True
    scale_bits: int = 0
    log_bits: int = 0
    checksum_bits: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("columns", 2, 4096),
            ("lanes", 1, 256),
            ("planes", 1, 15),
            ("input_bits", 2, 16),
            ("adc_bits", 1, 16),
            ("row_blocks", 1, 256),
            ("scale_bits", 0, 17),
            ("log_bits", 0, 24),
            ("checksum_bits", 0, 16),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{name} = {value!r} must be a whole number from {low} to {high}.")
        if self.lanes & (self.lanes - 1):
            raise ValueError(f"lanes = {self.lanes} must be a power of two.")
        if self.columns % self.lanes:
            raise ValueError(f"lanes = {self.lanes} must divide columns = {self.columns}.")
        if self.planes > self.columns:
            raise ValueError(f"columns = {self.columns} cannot hold the {self.planes} planes of one output.")
        if self.voter and not self.column_map:
            raise ValueError("voter = True needs column_map = True, because only the map places replicas.")
        if self.log_bits and not self.voter:
            raise ValueError("log_bits above 0 needs voter = True, because the log counts what voters see.")
        if self.checksum_bits and not self.column_map:
            raise ValueError(
                "checksum_bits above 0 needs column_map = True, because only the map names checksum lines."
            )
        if self.planes + self.checksum_bits > self.columns:
            raise ValueError(
                f"columns = {self.columns} cannot hold the {self.planes} planes of one output and "
                f"{self.checksum_bits} checksum lines."
            )
        if self.scale_bits and self.product_bits > 64:
            raise ValueError(
                f"scale_bits = {self.scale_bits} makes products of {self.product_bits} bits from sums of "
                f"{self.sum_bits}; the scale stage has 64 at most."
            )

    @property
    def groups(self) -> int:
        """Beats that carry all bit lines once."""
        return self.columns // self.lanes

    @property
    def outputs(self) -> int:
        """Most outputs that one OPC can make: each needs a bit line per plane."""
        return self.columns // self.planes

    @property
    def fixed_steps(self) -> int:
        """Entries of the fixed map of an OPC without a writable one: outputs side by side."""
        return self.outputs * self.planes

    @property
    def lane_bits(self) -> int:
        """Low bits of a bit line's number that name its lane; the others name its group."""
        return self.lanes.bit_length() - 1

    @property
    def choices(self) -> int:
        """Column sums offered to read-out, which picks one of them. Up to 8 lanes it is a single one, picked from all
        lanes on the way; with more lanes it is one of every four, and picking takes another stage.
        """
        return 1 if self.lanes <= 8 else self.lanes // 4

    @property
    def line_bits(self) -> int:
        return count_bits(self.columns - 1)

    @property
    def group_bits(self) -> int:
        return count_bits(self.groups - 1)

    @property
    def output_bits(self) -> int:
        return count_bits(self.outputs - 1)

    @property
    def difference_magnitude(self) -> int:
        """Largest |d|: one code at full scale, the other at zero."""
        return (1 << self.adc_bits) - 1

    @property
    def column_sum_magnitude(self) -> int:
        """Largest |D|: |d| is largest in every read, with the sign that suits, in every row block.

        Partial sums are smaller, because input bits arrive top bit first and are doubled (Horner).
        """
        return self.row_blocks * ((1 << self.input_bits) - 1) * self.difference_magnitude

    @property
    def output_magnitude(self) -> int:
        """Largest |y|: |D| is largest in every plane. A median is never larger than its largest input."""
        return ((1 << self.planes) - 1) * self.column_sum_magnitude

    @property
    def difference_bits(self) -> int:
        return signed_bits(self.difference_magnitude)

    @property
    def column_sum_bits(self) -> int:
        return signed_bits(self.column_sum_magnitude)

    @property
    def sum_bits(self) -> int:
        """Width of an output sum."""
        return signed_bits(self.output_magnitude)

    @property
    def product_bits(self) -> int:
        """Width of an output sum times a multiplier, plus half of the largest divisor (for rounding)."""
        largest = self.output_magnitude * ((1 << self.scale_bits) - 1)
        half = 1 << (self.scale_bits + (1 << SHIFT_BITS) - 2)
        return signed_bits(largest + half)

    @property
    def scale_stages(self) -> int:
        """Clock cycles that an output spends in the scale stage: look-up, products, sum of them, shift."""
        return 4 if self.scale_bits else 0

    @property
    def pipeline(self) -> int:
        """Clock cycles from the acceptance of a vector's last beat to the first in which an output is offered that
        completes at read-out step 0: codes, difference, column sum, read-out, plane accumulator; with a voter also
        comparison and choice; with more than 8 lanes the choice of a lane's sum; then the scale stage.
        """
        return (7 if self.voter else 5) + (self.choices > 1) + self.scale_stages

    def beats(self, row_blocks: int) -> int:
        """Beats of one vector: every input bit of every row block of every bit line, ``lanes`` at a time."""
        return self.input_bits * row_blocks * self.groups

    def cycles(self, vectors: int, row_blocks: int, steps: int) -> int:
        """Clock cycles of a run without stalls from outside: first beat accepted to last output delivered, inclusive.

        The column sums of a vector are read at one bit line per clock while the next vector is accumulated, so a
        vector takes the longer of both. ``steps`` is the number of map entries: the last one makes an output.
        """
        if vectors == 0:
            return 0
        beats = self.beats(row_blocks)
        return beats + (vectors - 1) * max(beats, steps) + steps + self.pipeline - 1
