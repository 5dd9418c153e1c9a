"""The self-tests of crossbars as tables: which word lines in which order, what is written to them and read from them.

In the notation of memory tests w0, w1 write and r0, r1 read and compare; cells of a word line are taken at once.
``MARCH_C_STAR`` is March C- (van de Goor, 1993) with a second read of 1, which catches cells that a read of 1 disturbs;
that is what March C* of Chen et al. (IEEE Transactions on Computers 64(1), 2015) is for, whose elements are not public.
``SENSING`` sums the current of many word lines at once and searches where a sum is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Order(IntEnum):
    """Word lines from the first to the last, from the last to the first, or halves of halves where a sum is wrong."""

    UP = 0
    DOWN = 1
    SEARCH = 2


@dataclass(frozen=True)
class Operation:
    """``level`` is written to, or expected of, all cells of the word lines."""

    write: bool
    level: int


@dataclass(frozen=True)
class Element:
    """All ``operations`` on word lines, then on the next ones. A search reads once."""

    order: Order
    operations: tuple[Operation, ...]

    @staticmethod
    def levels(rows: int, adc_bits: int) -> int:
        """Sizes of the segments of a search: each halves the one before, down to single word lines."""
        return top_level(rows, adc_bits) + 1


class SelfTest(IntEnum):
    """The self-tests, by the number that starts them."""

    MARCH = 0
    SENSING = 1


#: Most operations of an element.
MOST_OPERATIONS = 3


def element(order: Order, operations: str) -> Element:
    """From the usual notation: ``element(Order.UP, "r0 w1")``."""
    return Element(order, tuple(Operation(word[0] == "w", int(word[1])) for word in operations.split()))


MARCH_C_STAR = (
    element(Order.UP, "w0"),
    element(Order.UP, "r0 w1"),
    element(Order.UP, "r1 r1 w0"),
    element(Order.DOWN, "r0 w1"),
    element(Order.DOWN, "r1 w0"),
    element(Order.UP, "r0"),
)
SENSING = (
    element(Order.UP, "w0"),
    element(Order.SEARCH, "r0"),
    element(Order.UP, "w1"),
    element(Order.SEARCH, "r1"),
)
TESTS: dict[SelfTest, tuple[Element, ...]] = {SelfTest.MARCH: MARCH_C_STAR, SelfTest.SENSING: SENSING}


def top_level(rows: int, adc_bits: int) -> int:
    """Logarithm of the word lines of the first segments of a search.

    They divide the word lines, and a code tells their number.
    """
    dividing = (rows & -rows).bit_length() - 1
    return min(dividing, adc_bits - 1)


def length(test: SelfTest, rows: int, adc_bits: int) -> tuple[int, int, int]:
    """Writes, fewest reads and most reads of a test of ``rows`` word lines; a read may be of a segment of them.

    A search reads its first segments if all sums are right, and all segments of all sizes if each has a wrong one.
    """
    writes = fewest = most = 0
    for own in TESTS[test]:
        writes += rows * sum(operation.write for operation in own.operations)
        reads = sum(not operation.write for operation in own.operations)
        if own.order == Order.SEARCH:
            segments = rows >> top_level(rows, adc_bits)
            fewest += segments
            most += 2 * rows - segments
        else:
            fewest += rows * reads
            most += rows * reads
    return writes, fewest, most
