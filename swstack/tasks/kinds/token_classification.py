"""A class for each word of a sentence, such as its part of speech or the name it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks.base import TaggedWords
from crossvote.swstack.tasks.encoded import IGNORED, Batch, Encoded
from crossvote.swstack.tasks.fields import Fields, as_list, finite, is_unicode
from crossvote.swstack.tasks.kinds import KINDS, Kind
from crossvote.swstack.tasks.metrics import compute_metrics
from crossvote.swstack.tasks.words import encoded_tokens, split_words


@KINDS.register("token-classification")
class TokenClassification(Kind):
    """A class for each word, asked of its first token."""

    head = "token-classification"
    columns = ("words", "tags")
    told = True
    classes_in = "tags"
    many_classes = True
    measured_by = ("classes", "entities")

    def usual_metrics(self, classes: Sequence[str]) -> tuple[str, ...]:
        return ("entity_f1", "accuracy") if any(name.startswith(("B-", "I-")) for name in classes) else ("accuracy",)

    def example(self, fields: Fields) -> TaggedWords:
        words, tags = as_list(fields.value("words")), as_list(fields.value("tags"))
        if len(words) != len(tags) or not words:
            raise UserError(f"{fields.where}: {len(words)} words and {len(tags)} tags; as many of both are needed.")
        if not all(_is_word(word) for word in words):
            raise UserError(f"{fields.column('words')}: a word is empty or no text.")
        return TaggedWords(tuple(map(str, words)), tuple(fields.class_named(tag, "tags") for tag in tags))

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[TaggedWords], longest: int) -> Encoded:
        tokens, owners = split_words(tokenizer, [example.words for example in examples], longest)
        labels = []
        for example, words in zip(examples, owners, strict=True):
            row = torch.full((len(words),), IGNORED)
            for position, word in enumerate(words):
                if word is not None and (position == 0 or words[position - 1] != word):
                    row[position] = example.tags[word]
            labels.append(row)
        return encoded_tokens(tokenizer, tokens, tuple(labels), examples[0].asks)

    def loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        labels = batch.labels.masked_fill(~batch.labelled[:, None], IGNORED)
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)

    def outcomes(self, logits: torch.Tensor, batch: Batch) -> list[np.ndarray]:
        """The logits of the tokens that are asked about, float[words, classes]."""
        rows = zip(logits.float().cpu(), batch.labels.cpu(), strict=True)
        return [row[labels != IGNORED].numpy() for row, labels in rows]

    def score(
        self, names: Sequence[str], outcomes: Sequence[np.ndarray], encoded: Encoded, labels: Sequence[str]
    ) -> dict[str, float]:
        """Over all words together; ``entity_f1`` over whole names, from the classes' BIO prefixes."""
        truth = _asked(encoded)
        plain = [name for name in names if name != "entity_f1"]
        values = compute_metrics(plain, np.concatenate(outcomes), np.concatenate(truth), regression=False)
        if "entity_f1" in names:
            finite = all(np.isfinite(row).all() for row in outcomes)
            said = [row.argmax(axis=1) for row in outcomes]
            values["entity_f1"] = 100.0 * _entity_f1(said, truth, labels) if finite else float("nan")
        return {name: values[name] for name in names}

    def constant(self, encoded: Encoded, labels: Sequence[str]) -> Iterator[list[np.ndarray]]:
        """One class for every word."""
        for tag in range(len(labels)):
            yield [_certain(np.full(len(row), tag), len(labels)) for row in _asked(encoded)]

    def exchanged(self, encoded: Encoded, labels: Sequence[str], rng: np.random.Generator) -> list[np.ndarray]:
        """The classes of all words in a random order."""
        rows = _asked(encoded)
        drawn = rng.permutation(np.concatenate(rows))
        ends = np.cumsum([len(row) for row in rows])[:-1]
        return [_certain(row, len(labels)) for row in np.split(drawn, ends)]


def _is_word(word: Any) -> bool:
    """Whether something stands for a word: a text, or a number that a file did not write as one."""
    if isinstance(word, str):
        return bool(word.strip()) and is_unicode(word)
    return not isinstance(word, bool) and finite(word) is not None


def _asked(encoded: Encoded) -> list[np.ndarray]:
    """The classes of the words that are asked about, by example."""
    return [row[row != IGNORED].numpy() for row in encoded.labels]


def _certain(tags: np.ndarray, classes: int) -> np.ndarray:
    """Logits of a model that is sure of its answers, float[words, classes]."""
    logits: np.ndarray = np.eye(classes)[tags]
    return logits


def _entity_f1(said: Sequence[np.ndarray], truth: Sequence[np.ndarray], labels: Sequence[str]) -> float:
    """F1 of the entities found: same first word, last word and type (CoNLL-2003's measure)."""
    found, wanted, both = 0, 0, 0
    for one, other in zip(said, truth, strict=True):
        own, right = _entities([labels[i] for i in one]), _entities([labels[i] for i in other])
        found, wanted, both = found + len(own), wanted + len(right), both + len(own & right)
    return 2 * both / (found + wanted) if found + wanted else 0.0


def _entities(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """(first word, one past the last, type) of every entity; an I- that continues nothing begins one."""
    entities, start, kind = set(), 0, ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        continues = prefix == "I" and name == kind
        if kind and not continues:
            entities.add((start, position, kind))
            kind = ""
        if prefix in ("B", "I") and not (continues and kind):
            start, kind = position, name
    return entities
