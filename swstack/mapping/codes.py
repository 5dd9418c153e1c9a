"""Codes by optimisation: which planes to keep, how many bit lines each gets, and whether these vote or are summed.

Errors of different cells are independent, so the variance of an output's error is a sum over its terms, and the best
code for a number of bit lines is found exactly by dynamic programming over the planes; bit lines are then dealt out
among the outputs of a group by a Lagrange multiplier. Derivation and assumptions: docs/protection.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from crossvote.rtl.parameters import MOST_ADVANCE, MOST_TAIL
from crossvote.sim.array.faults import PAPER_SA0_SA1
from crossvote.sim.common.later import Later
from crossvote.swstack.mapping.scheme import Code, Term, equal_shares

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossvote.sim.array.image import GroupImage

    FloatArray = NDArray[np.float64]
else:
    np = Later("numpy")

#: Most summed lines of a plane that are tried; the eighth gains a sixteenth of what the second does.
MOST_SUMMED = 8


@dataclass(frozen=True)
class FaultLaw:
    """Independent stuck cells: a share ``sa0`` reads 0, a share ``sa1`` reads 1."""

    sa0: float
    sa1: float

    @classmethod
    def of(cls, rate: float, sa0_sa1: tuple[float, float] = PAPER_SA0_SA1) -> FaultLaw:
        """The law of a fault rate split SA0:SA1."""
        total = sum(sa0_sa1)
        return cls(rate * sa0_sa1[0] / total, rate * sa0_sa1[1] / total)

    @property
    def of_zero(self) -> float:
        """Variance of what a cell programmed 0 reads as."""
        return self.sa1 * (1 - self.sa1)

    @property
    def of_one(self) -> float:
        """Variance of what a cell programmed 1 reads as."""
        return self.sa0 * (1 - self.sa0)

    @property
    def flips(self) -> bool:
        """Whether storing 1-bit pays: most pairs of cells hold a 0-bit twice."""
        return self.of_one < self.of_zero

    def pair_variance(self, ones: FloatArray, flipped: bool) -> FloatArray:
        """Variance of a pair's difference for a share ``ones`` of pairs with a 1-bit on either side."""
        idle = self.of_one if flipped else self.of_zero
        return 2 * idle + ones * (self.of_zero + self.of_one - 2 * idle)

    def pair_errors(self, ones: FloatArray, flipped: bool) -> FloatArray:
        """Expected number of wrong cells in a pair."""
        idle = self.sa0 if flipped else self.sa1
        return 2 * idle + ones * (self.sa0 + self.sa1 - 2 * idle)


@cache
def _median_table() -> tuple[FloatArray, FloatArray]:
    """log(errors per vote) and the variance of a median of three over that of one, for Poisson many normal errors."""
    from scipy import special, stats  # whoever only reads a configuration does without

    rates = np.logspace(-3, 2.5, 56)
    ratio = np.zeros_like(rates)
    for i, rate in enumerate(rates):
        reach = 9 * np.sqrt(rate) + 20
        n = np.arange(max(0, int(rate - reach)), int(rate + reach) + 1)
        chance = stats.poisson.pmf(n, rate)
        x = np.linspace(0, 8 * np.sqrt(n[-1]), 801)[1:]
        below = special.ndtr(x / np.sqrt(np.maximum(n, 1))[:, None])
        below[n == 0] = 1.0  # no error at all: 0
        total = chance @ below
        # The median lies beyond x if two of three do; E[m^2] = 2 * integral of 2 x P(m > x).
        beyond = (1 - total) ** 2 * (1 + 2 * total)
        ratio[i] = 4 * np.trapezoid(x * beyond, x) / rate
    return np.log(rates), ratio


def median_factor(errors: FloatArray) -> FloatArray:
    """Variance of the median of three over that of a single line with so many expected wrong cells per vote."""
    rates, ratio = _median_table()
    return np.interp(np.log(np.maximum(errors, 1e-12)), rates, ratio)


@dataclass(frozen=True)
class _Option:
    """What a plane may get: so many lines, summed or voting; the shifts of its terms are ``high`` to ``low``."""

    lines: int
    voted: bool
    high: int
    low: int


def _options(plane: int, most: int, votes: bool) -> list[_Option]:
    """All options of a plane with up to ``most`` lines."""
    found = []
    for count in range(1, min(most, MOST_SUMMED, 1 << plane) + 1):
        shifts = equal_shares(plane, count)
        found.append(_Option(count, False, shifts[0], shifts[-1]))
    return [*found, _Option(3, True, plane, plane)] if votes and most >= 3 else found


@dataclass(frozen=True, eq=False)
class CodeTable:
    """The best code of each output for every number of bit lines.

    Attributes:
        cost: float64[most + 1, N], least expected squared error of a weight in units of its LSB, infinite where no code
            has so few lines.
    """

    planes: int
    flipped: bool
    cost: FloatArray
    #: Per number of lines and output: the lowest plane kept and the lowest shift there.
    _lowest: NDArray[np.int64]
    _reached: NDArray[np.int64]
    #: Per plane, lowest shift so far, number of lines and output: the option, and the lowest shift above this plane.
    _choice: NDArray[np.int8]
    _above: NDArray[np.int8]
    _options: tuple[tuple[_Option, ...], ...]

    def code(self, output: int, lines: int) -> Code:
        """The code behind ``cost[lines, output]``."""
        terms: list[Term] = []
        reached = int(self._reached[lines, output])
        for plane in range(int(self._lowest[lines, output]), self.planes):
            option = self._options[plane][self._choice[plane, reached, lines, output]]
            reached = int(self._above[plane, reached, lines, output])
            lines -= option.lines
            if option.voted:
                terms.append(Term(plane, plane, option.lines, self.flipped))
            else:
                terms += [Term(plane, shift, 1, self.flipped) for shift in equal_shares(plane, option.lines)]
        return tuple(terms)


def best_codes(
    ones: FloatArray,
    law: FaultLaw,
    most: int,
    vote_rows: int | None = None,
    most_advance: int = MOST_ADVANCE,
    most_tail: int = MOST_TAIL,
) -> CodeTable:
    """Dynamic programming over planes for all outputs at once. O(planes^2 * most * options * outputs).

    The cost of a code is the sum over planes of 4^plane times the pair's variance times what its lines leave of it
    (sum 4^shift / 4^plane, or ``median_factor``), plus (4^b - 1) / 12 for leaving out b planes. Exact among the codes
    that the output peripheral runs in the order of their planes: with the highest shift of every plane at most
    ``most_advance`` below the lowest one of the planes above it, and the lowest shift of all at most ``most_tail``.

    Args:
        ones: float64[B, N], shares of 1-bits. most: bit lines of an output.
        vote_rows: word lines whose errors meet in one vote; None leaves votes out.
    """
    planes, outputs = ones.shape
    flipped = law.flips
    # best[s]: of the planes so far, with s as the lowest of their shifts.
    best = np.full((planes + 1, most + 1, outputs), np.inf)
    best[planes, 0] = 0.0
    choice = np.zeros((planes, planes, most + 1, outputs), np.int8)
    above = np.zeros_like(choice)
    total = np.full((planes, planes, most + 1, outputs), np.inf)
    options: list[tuple[_Option, ...]] = []
    for plane in range(planes):
        options.append(tuple(_options(plane, most, vote_rows is not None)))
    for plane in range(planes - 1, -1, -1):
        variance = law.pair_variance(ones[plane], flipped)
        following = np.full_like(best, np.inf)
        for index, option in enumerate(options[plane]):
            if option.voted:
                factor = median_factor(law.pair_errors(ones[plane], flipped) * (vote_rows or 0)) * 4.0**plane
            else:
                factor = np.full(outputs, float(sum(4**shift for shift in equal_shares(plane, option.lines))))
            for before in range(planes + 1):
                first = plane == planes - 1  # nothing is above it, so it may begin anywhere
                if (before == planes) != first or (not first and before - option.high > most_advance):
                    continue
                cost = best[before, : most + 1 - option.lines] + variance * factor
                now = min(before, option.low)
                better = cost < following[now, option.lines :]
                following[now, option.lines :][better] = cost[better]
                choice[plane, now, option.lines :][better] = index
                above[plane, now, option.lines :][better] = before
        best = following
        total[plane, : most_tail + 1] = best[: min(planes, most_tail + 1)] + (4.0**plane - 1) / 12
    flat = total.reshape(planes * planes, most + 1, outputs)
    at = flat.argmin(axis=0)
    cost = np.take_along_axis(flat, at[None], axis=0)[0]
    lowest, reached = np.divmod(at, planes)
    # More lines never hurt: a code may leave some unused.
    return CodeTable(planes, flipped, cost, lowest, reached, choice, above, tuple(options))


def deal_lines(cost: FloatArray, weight: FloatArray, lines: int) -> tuple[NDArray[np.int64], float]:
    """Bit lines of each output so that sum weight * cost is least with ``lines`` in all.

    A Lagrange multiplier gives the lower convex hull of each output's costs; what is left over is dealt out step by
    step to where it gains most.

    Args:
        cost: float64[most + 1, N]. weight: float64[N].

    Returns:
        int64[N], and the most by which the sum exceeds the least possible one, as a share of it.

    Raises:
        ValueError: too few lines for any code.
    """
    weighted = cost * weight
    counts = np.arange(len(cost))
    outputs = np.arange(cost.shape[1])
    fewest = np.isfinite(cost).argmax(axis=0)
    if fewest.sum() > lines:
        raise ValueError(f"{fewest.sum()} bit lines are needed at least, there are {lines}.")

    def chosen(price: float) -> NDArray[np.int64]:
        best: NDArray[np.int64] = (weighted + price * counts[:, None]).argmin(axis=0)
        return best

    low, high = 0.0, float(weighted[fewest, outputs].max()) + 1.0
    dealt = chosen(low)
    if dealt.sum() > lines:
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if chosen(middle).sum() > lines else (low, middle)
        dealt = chosen(high)
        bound = float(weighted[dealt, outputs].sum() - high * (lines - dealt.sum()))
        dealt = _fill(weighted, dealt, lines - int(dealt.sum()))
        reached = float(weighted[dealt, outputs].sum())
        return dealt, max(0.0, reached / bound - 1) if bound > 0 else 0.0
    return dealt, 0.0


def _fill(weighted: FloatArray, dealt: NDArray[np.int64], left: int) -> NDArray[np.int64]:
    """``dealt`` with the lines that are left given to the outputs that gain most for them."""
    dealt = dealt.copy()
    outputs = np.arange(weighted.shape[1])
    while left > 0:
        gains = []
        for step in range(1, min(left, 4) + 1):
            to = np.minimum(dealt + step, len(weighted) - 1)
            gains.append((weighted[dealt, outputs] - weighted[to, outputs]) / step)
        gain = np.stack(gains)
        most, at = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[most, at] <= 0 or dealt[at] + most + 1 >= len(weighted):
            break
        dealt[at] += most + 1
        left -= int(most) + 1
    return dealt


def predicted_variance(group: GroupImage, moments: FloatArray, law: FaultLaw) -> FloatArray:
    """Variance of each output over chips, float64[N], in units of integers squared.

    For inputs with the mean squares ``moments`` [K] (for one vector: its squares). Exact for terms without a vote, the
    model of ``median_factor`` for the others.
    """
    variance = np.zeros(group.outputs)
    column_map = group.column_map
    driven = np.where(group.kept_inputs, moments, 0.0)
    ones = np.zeros(len(column_map))
    for block in range(group.row_blocks):
        span = slice(block * group.rows, min((block + 1) * group.rows, group.inputs))
        cells = group.block_cells(block)[:, : span.stop - span.start]
        bit = cells[0] != cells[1]  # a pair with a 1-bit differs, flipped or not
        ones += driven[span] @ bit
    total = driven.sum()
    share = ones / total if total else ones
    votes = 1 if group.vote == "output" else group.row_blocks
    for terms in column_map.vote_groups:
        for flipped in (False, True):
            own = column_map.flipped[terms.lines[:, 0]] == flipped
            lead = terms.lines[own, 0]
            own_variance = law.pair_variance(share[lead], flipped) * total * 4.0 ** terms.shift[own]
            if terms.lines.shape[1] == 3:
                errors = law.pair_errors(share[lead], flipped) * group.kept_inputs.sum() / votes
                if group.vote == "alone":  # two votes, each with about half of the pair's errors
                    errors = errors / 2
                own_variance = own_variance * median_factor(errors)
            np.add.at(variance, terms.output[own], own_variance)
    return variance
