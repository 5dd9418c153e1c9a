"""Statistics over chips: bands, paired differences, the bad tail, and the fault rate that is tolerated.

Chips are the unit of chance: a percentile bootstrap draws whole chips with replacement. All draws come from a fixed
seed, so equal scores give equal intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence

#: Bootstrap draws; the standard error of a 2.5 % quantile's level is then 0.25 %.
DRAWS = 4000
CONFIDENCE = 0.95
#: Share of the chips that the bad tail means.
TAIL = 0.05


@dataclass(frozen=True)
class Band:
    """A number with its interval; ``low`` and ``high`` equal ``value`` where there is nothing to vary."""

    value: float
    low: float
    high: float


def mean_band(scores: ArrayLike, confidence: float = CONFIDENCE) -> Band:
    """Mean of the scores over chips with its bootstrap interval.

    scores: float[chips].
    """
    values = _values(scores)
    return _interval(float(values.mean()), _means(values), confidence)


def student_half_width(scores: ArrayLike, confidence: float = CONFIDENCE) -> float:
    """Half the width of Student's t interval of the mean; infinite below two chips.

    For deciding when enough chips were measured: unlike a bootstrap of few scores it is not too narrow.
    """
    values = _values(scores)
    if values.size < 2:
        return float("inf")
    half: float = student_factor(values.size, confidence) * float(values.std(ddof=1)) / values.size**0.5
    return half


@cache
def student_factor(chips: int, confidence: float = CONFIDENCE) -> float:
    """How many standard errors half the interval of a mean over ``chips`` takes (Student's t); two chips at least."""
    # With whole degrees of freedom the distribution is a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4); SciPy
    # takes longer to load than a report's page to write.
    freedom = chips - 1
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _student_within(middle, freedom) < confidence else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _student_within(angle: float, freedom: int) -> float:
    """The share of Student's t distribution that is within ``tan(angle) * sqrt(freedom)`` to either side of 0."""
    odd = freedom % 2
    term, total = math.cos(angle) if odd else 1.0, 0.0
    for power in range(1 + odd, freedom, 2):
        total += term
        term *= math.cos(angle) ** 2 * power / (power + 1)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def paired_difference(first: Mapping[int, float], second: Mapping[int, float], confidence: float = CONFIDENCE) -> Band:
    """Mean of ``second - first`` over the chips that both were measured on, with its bootstrap interval.

    Pairing removes what the chips have in common, which is most of the spread.

    Raises:
        UserError: they have no chip in common.
    """
    chips = sorted(first.keys() & second.keys())
    if not chips:
        raise UserError("the two were measured on different chips, so there is nothing to pair.")
    return mean_band([second[chip] - first[chip] for chip in chips], confidence)


def tail(scores: ArrayLike, share: float = TAIL) -> float:
    """The score that all but the worst ``share`` of the chips reach (linear interpolation between chips)."""
    return float(np.quantile(_values(scores), share))


def tolerated_rate(
    scores: Mapping[float, Mapping[int, float]], fault_free: float, allowed: float = 1.0, confidence: float = CONFIDENCE
) -> Band:
    """The highest fault rate at which the mean score is within ``allowed`` points of the fault-free one.

    Between measured rates the mean loss is taken to grow linearly with the logarithm of the rate; below the lowest and
    above the highest measured rate nothing is claimed: the estimate is then 0 or the highest rate. The interval
    resamples chips, the same ones at every rate.

    scores: rate -> chip -> score.

    Raises:
        UserError: no rates, or rates without a chip in common.
    """
    rates = sorted(scores)
    chips = sorted(set.intersection(*(set(scores[rate]) for rate in rates))) if rates else []
    if not chips:
        raise UserError("a tolerated rate needs at least one chip that was measured at every rate.")
    loss = fault_free - np.array([[scores[rate][chip] for chip in chips] for rate in rates])  # [rates, chips]
    drawn = _draws(len(chips))
    estimates = np.array([_crossing(rates, mean, allowed) for mean in loss[:, drawn].mean(axis=2).T])
    return _interval(_crossing(rates, loss.mean(axis=1), allowed), estimates, confidence)


def linear_crossing(rates: Sequence[float], lost: Sequence[float], allowed: float) -> tuple[float, bool]:
    """Largest fault rate up to which no more than ``allowed`` is lost, and whether the last rate measured is within it.

    Between two rates the loss is taken as linear, so that a curve may begin at rate 0, as it cannot for
    ``tolerated_rate``; rates ascend.
    """
    for at, loss in enumerate(lost):
        if loss > allowed:
            if at == 0:
                return 0.0, False
            share = (allowed - lost[at - 1]) / (loss - lost[at - 1])
            return rates[at - 1] + share * (rates[at] - rates[at - 1]), False
    return rates[-1], True


def _crossing(rates: Sequence[float], losses: NDArray[np.float64], allowed: float) -> float:
    kept = 0.0
    for index, (rate, loss) in enumerate(zip(rates, losses, strict=True)):
        if loss > allowed:
            if index == 0:
                return 0.0
            before = losses[index - 1]
            share = (allowed - before) / (loss - before)
            low, high = np.log(rates[index - 1]), np.log(rate)
            return float(np.exp(low + share * (high - low)))
        kept = rate
    return kept


def _values(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise UserError("statistics over chips need the scores of at least one chip.")
    return values


def _draws(chips: int) -> NDArray[np.int64]:
    """int64[DRAWS, chips]: which chips each bootstrap sample holds."""
    rng = np.random.Generator(np.random.Philox(seed_sequence(0, "bootstrap", chips)))
    return rng.integers(0, chips, (DRAWS, chips))


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = values[_draws(values.size)].mean(axis=1)
    return means


def _interval(value: float, samples: NDArray[np.float64], confidence: float) -> Band:
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Band(value, float(low), float(high))
