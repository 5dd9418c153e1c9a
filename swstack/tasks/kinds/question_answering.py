"""Questions that a span of a passage answers (SQuAD's setting, Rajpurkar et al. 2016)."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks.base import Question
from crossvote.swstack.tasks.encoded import Batch, Encoded
from crossvote.swstack.tasks.fields import Fields
from crossvote.swstack.tasks.kinds import KINDS, Kind
from crossvote.swstack.tasks.words import encoded_tokens

#: Longest answer in tokens that is looked for.
_LONGEST_ANSWER = 30


@KINDS.register("question-answering")
class SpanAnswering(Kind):
    """First and last token of the answer."""

    head = "question-answering"
    outputs = 2
    columns = ("question", "context", "answers")
    told = True
    measured_by = ("spans",)

    def usual_metrics(self, classes: Sequence[str]) -> tuple[str, ...]:
        return ("answer_f1", "exact_match")

    def example(self, fields: Fields) -> Question:
        return _question(fields.text("question"), fields.text("context"), fields.value("answers"), fields.where)

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Question], longest: int) -> Encoded:
        if not getattr(tokenizer, "is_fast", False):
            raise UserError("answers are found by characters, for which a fast tokenizer (tokenizer.json) is needed.")
        tokens = tokenizer(
            [example.question for example in examples],
            [example.context for example in examples],
            truncation="only_second",
            max_length=longest,
            return_offsets_mapping=True,
        )
        offsets = tokens.pop("offset_mapping")
        labels, notes = [], []
        for index, example in enumerate(examples):
            of_context = [part == 1 for part in tokens.sequence_ids(index)]
            spans = [span if inside else (0, 0) for span, inside in zip(offsets[index], of_context, strict=True)]
            start = example.starts[0]
            labels.append(torch.tensor(_token_span(spans, of_context, start, start + len(example.answers[0]))))
            notes.append((spans, of_context, example))
        return encoded_tokens(tokenizer, tokens, tuple(labels), examples[0].asks, tuple(notes))

    def loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean cross entropy of the first and the last token; logits [batch, length, 2]."""
        own, labels = logits[batch.labelled], batch.labels[batch.labelled]
        return functional.cross_entropy(own.transpose(1, 2).flatten(0, 1), labels.flatten())

    def choices(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The first and the last token of each answer."""
        return logits.transpose(1, 2).flatten(0, 1)

    def outcomes(self, logits: torch.Tensor, batch: Batch) -> list[np.ndarray]:
        """The logits, float[length, 2]."""
        return list(logits.float().cpu().numpy())

    def score(
        self, names: Sequence[str], outcomes: Sequence[np.ndarray], encoded: Encoded, labels: Sequence[str]
    ) -> dict[str, float]:
        if not all(np.isfinite(row).all() for row in outcomes):
            return dict.fromkeys(names, float("nan"))
        exact, overlap = [], []
        for row, (spans, of_context, example) in zip(outcomes, encoded.notes, strict=True):
            said = _best_span(row, spans, of_context, example.context)
            exact.append(max(_plain(said) == _plain(answer) for answer in example.answers))
            overlap.append(max(_overlap(said, answer) for answer in example.answers))
        values = {"exact_match": 100.0 * float(np.mean(exact)), "answer_f1": 100.0 * float(np.mean(overlap))}
        return {name: values[name] for name in names}

    def constant(self, encoded: Encoded, labels: Sequence[str]) -> Iterator[list[np.ndarray]]:
        """The first tokens of every passage, as many each time."""
        for length in range(1, _LONGEST_ANSWER + 1):
            yield [_sure(inside, 0, length) for _, inside, _ in encoded.notes]

    def exchanged(self, encoded: Encoded, labels: Sequence[str], rng: np.random.Generator) -> list[np.ndarray]:
        """Spans that begin anywhere, as long as the right answers to other questions."""
        spans = torch.stack(tuple(encoded.labels))
        lengths = rng.permutation((spans[:, 1] - spans[:, 0] + 1).numpy())
        return [
            _sure(inside, int(rng.integers(max(1, sum(inside)))), int(length))
            for (_, inside, _), length in zip(encoded.notes, lengths, strict=True)
        ]


def _sure(inside: Sequence[bool], first: int, length: int) -> np.ndarray:
    """Logits of a model that is sure of a span: the passage's token number ``first``, and ``length`` in all."""
    logits = np.zeros((len(inside), 2))
    places = np.flatnonzero(inside)
    if len(places):
        logits[places[first], 0] = logits[places[min(first + length, len(places)) - 1], 1] = 1.0
    return logits


def _token_span(spans: Sequence[tuple[int, int]], inside: Sequence[bool], start: int, stop: int) -> tuple[int, int]:
    """First and last token of the characters start to stop - 1; (0, 0) where truncation cut them off."""
    found = [i for i, (a, b) in enumerate(spans) if inside[i] and a < stop and b > start]
    if not found or spans[found[-1]][1] < stop:
        return 0, 0
    return found[0], found[-1]


def _best_span(logits: np.ndarray, spans: Sequence[tuple[int, int]], inside: Sequence[bool], context: str) -> str:
    """The text of the span in the passage with the highest sum of its two logits."""
    places = np.flatnonzero(inside)
    if not len(places):
        return ""
    start, stop = logits[places, 0][:, None], logits[places, 1][None, :]
    length = np.arange(len(places))[None, :] - np.arange(len(places))[:, None]
    sums = np.where((length >= 0) & (length < _LONGEST_ANSWER), start + stop, -np.inf)
    first, last = np.unravel_index(int(sums.argmax()), sums.shape)
    return context[spans[places[first]][0] : spans[places[last]][1]]


def _plain(text: str) -> list[str]:
    """Words without articles, punctuation and case, as SQuAD's scoring takes them."""
    kept = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def _overlap(said: str, answer: str) -> float:
    one, other = _plain(said), _plain(answer)
    common = sum((Counter(one) & Counter(other)).values())
    if not one or not other:
        return float(one == other)
    return 2 * common / (len(one) + len(other))


def _question(question: str, context: str, answers: Any, where: str) -> Question:
    """From SQuAD's {text, answer_start}, lists in it or a list of such, a list of texts, or one text; texts are looked
    for in the passage.
    """
    form = "a text, a list of texts, or tables with as many 'text' as 'answer_start'"
    try:
        if isinstance(answers, str) and answers.startswith(("{", "[{")):
            answers = json.loads(answers)
        if isinstance(answers, list) and answers and isinstance(answers[0], Mapping):
            answers = {key: [answer[key] for answer in answers] for key in ("text", "answer_start")}
        if isinstance(answers, Mapping):
            texts, starts = list(answers["text"]), [int(start) for start in answers["answer_start"]]
        else:
            texts = [answers] if isinstance(answers, str) else list(answers)
            starts = [context.find(text) for text in texts]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where}: the answers must be {form}.") from None
    if len(texts) != len(starts) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{where}: the answers must be {form}.")
    for text, start in zip(texts, starts, strict=True):
        if not text or context[start : start + len(text)] != text or start < 0:
            raise UserError(f"{where}: the answer {text!r} is not in the passage where it is said to be.")
    if not texts:
        raise UserError(f"{where}: no answer; questions without one are not asked here.")
    return Question(question, context, tuple(texts), tuple(starts))
