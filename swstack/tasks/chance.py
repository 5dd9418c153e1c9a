"""What a model scores that does not look at its input, and how far luck carries it on so many examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossvote.sim.common.later import Later
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.tasks.metrics import compute_metrics, goodness

if TYPE_CHECKING:
    import numpy as np

    from crossvote.swstack.tasks.encoded import Encoded
else:
    np = Later("numpy")

#: Standard deviations of the score of a model that guesses; 1.96 holds 95 % of them.
_DEVIATIONS = 1.96
_GUESSES = 200
#: The same for answers that take longer to score.
_EXCHANGES = 40


@dataclass(frozen=True)
class Chance:
    """Chance level of one metric on some examples, in percent.

    score: of the constant answer that scores best (0 in the correlations, which a constant does not have).
    noise: 1.96 standard deviations of the score of answers with the right frequencies in a random order.
    """

    metric: str
    score: float
    noise: float
    examples: int

    def holds(self, score: float) -> bool:
        """Whether a model with this score does no better than chance, as far as so many examples can tell.

        A score that is no number is not above chance.
        """
        return not goodness(self.metric, score) > goodness(self.metric, self.score) + self.noise


def marked(text: str, score: float, chance: Chance | None) -> str:
    """The text of a score, which says so where the score is at chance level; what is no number is at no level."""
    return f"{text} (chance level)" if chance is not None and score == score and chance.holds(score) else text


def chance_level(
    metrics: Sequence[str], labels: Sequence[int | float], num_labels: int, regression: bool
) -> dict[str, Chance]:
    """Metric name -> chance level, from the labels of the examples that are measured.

    Args:
        labels: class indices, or scores for a regression. num_labels: outputs of the head.
    """
    truth = np.asarray(labels)
    rng = np.random.default_rng(seed_sequence(0, "chance"))
    guesses = [_scores(metrics, rng.permutation(truth), truth, num_labels, regression) for _ in range(_GUESSES)]
    answers = [float(truth.mean())] if regression else range(num_labels)
    constant = [_scores(metrics, np.full(len(truth), answer), truth, num_labels, regression) for answer in answers]
    return _levels(metrics, constant, guesses, len(truth))


def chance_without_input(metrics: Sequence[str], encoded: Encoded, labels: Sequence[str]) -> dict[str, Chance]:
    """Metric name -> chance level for kinds that ask for more than a label: tags, answers, tokens of a text.

    The best of the constant answers that the kind knows (a tag for every word, the first words of every passage, the
    most frequent token), and how far answers taken from other examples scatter.
    """
    from crossvote.swstack.tasks.kinds import AnswersBlindly, kind_of  # loads PyTorch, which a finished run needs not

    kind = kind_of(encoded.asks)
    assert isinstance(kind, AnswersBlindly)
    rng = np.random.default_rng(seed_sequence(0, "chance"))
    constant = [kind.score(metrics, outcomes, encoded, labels) for outcomes in kind.constant(encoded, labels)]
    guesses = [kind.score(metrics, kind.exchanged(encoded, labels, rng), encoded, labels) for _ in range(_EXCHANGES)]
    return _levels(metrics, constant, guesses, len(encoded))


def _levels(
    metrics: Sequence[str],
    constant: Sequence[Mapping[str, float]],
    guesses: Sequence[Mapping[str, float]],
    examples: int,
) -> dict[str, Chance]:
    """The best score of the constant answers, and how far those of the guesses scatter, by metric."""
    return {
        name: Chance(
            metric=name,
            score=max((scores[name] for scores in constant), key=lambda score: goodness(name, score)),
            noise=_DEVIATIONS * float(np.std([scores[name] for scores in guesses])),
            examples=examples,
        )
        for name in metrics
    }


def _scores(
    metrics: Sequence[str], answers: np.ndarray, truth: np.ndarray, num_labels: int, regression: bool
) -> dict[str, float]:
    logits = answers[:, None].astype(float) if regression else np.eye(num_labels)[answers.astype(int)]

    return compute_metrics(metrics, logits, truth, regression)
