"""The rows of a JSON file, one by one, so that it may be larger than the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from crossvote.sim.common.errors import UserError

#: Letters that are read at a time; more for an object that is longer.
_CHUNK = 1 << 16
_BLANKS = " \t\r\n"
_FORM = "must be a JSON list of objects, alone or under 'data'; one object a line is .jsonl."


class _Letters:
    """The letters of a file that were read and not yet used."""

    def __init__(self, file: TextIO) -> None:
        self._file, self.text, self._at, self.ended = file, "", 0, False

    def more(self) -> None:
        """Read on: as much again as is waiting, so that a long object is looked at a few times only."""
        self.text = self.text[self._at :]
        self._at = 0
        found = self._file.read(max(_CHUNK, len(self.text)))
        self.text, self.ended = self.text + found, not found

    def following(self) -> str:
        """The next letter that is no blank, which stays; empty at the end of the file."""
        while True:
            while self._at < len(self.text) and self.text[self._at] in _BLANKS:
                self._at += 1
            if self._at < len(self.text) or self.ended:
                return self.text[self._at : self._at + 1]
            self.more()

    def skip(self) -> None:
        """Use up one letter."""
        self._at += 1

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The value that begins here. Raises ValueError if there is none, RecursionError if it is nested too deep."""
        while True:
            try:
                found, end = decoder.raw_decode(self.text, self._at)
            except ValueError:
                if self.ended:
                    raise
                self.more()
            else:
                if end < len(self.text) or self.ended:  # a number may go on
                    self._at = end
                    return found
                self.more()


def json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which a key may stand once only. Raises ValueError naming one that stands there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' stands there twice")
    return found


def array_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the array that a file holds, or that an object holds under 'data'.

    Articles of paragraphs of questions, as SQuAD's files have them, become a row for each question.

    Raises:
        UserError: the message names the file, and the row that is broken.
    """
    with path.open(encoding="utf-8-sig") as file:
        letters = _Letters(file)
        match letters.following():
            case "[":
                yield from _elements(letters, str(path))
            case "{":
                yield from _data(letters, str(path))
            case _:
                raise UserError(f"{path}: {_FORM}")
        if letters.following():
            raise UserError(f"{path}: something follows the end of the list; one object a line is .jsonl.")


def _elements(letters: _Letters, where: str) -> Iterator[dict[str, Any]]:
    """The objects of an array that begins here."""
    decoder, number = json.JSONDecoder(object_pairs_hook=json_object), 0
    letters.skip()
    while (first := letters.following()) != "]" or number:
        number += 1
        if first != "{":
            raise UserError(f"{where}, row {number}: must be a JSON object; the file must be a list of them.")
        try:
            yield letters.value(decoder)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}, row {number}: not JSON ({error}).") from None
        match letters.following():
            case ",":
                letters.skip()
                letters.following()
            case "]":
                break
            case _:
                raise UserError(f"{where}, row {number}: a comma, or the list's end, must follow it.")
    letters.skip()


def _data(letters: _Letters, where: str) -> Iterator[dict[str, Any]]:
    """The rows under 'data' of an object that begins here; its other keys are left out."""
    decoder, found = json.JSONDecoder(object_pairs_hook=json_object), False
    letters.skip()
    while letters.following() != "}":
        try:
            key = letters.value(decoder)
            if not isinstance(key, str) or letters.following() != ":":
                raise ValueError("a key and a colon are needed")
            letters.skip()
            if letters.following() != "[" or key != "data":
                letters.value(decoder)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not JSON ({error}).") from None
        if key == "data" and letters.following() == "[":
            found = True
            for number, row in enumerate(_elements(letters, where), start=1):
                yield from _questions(row, f"{where}, article {number}") if "paragraphs" in row else (row,)
        match letters.following():
            case ",":
                letters.skip()
            case "}":
                break
            case _:
                raise UserError(f"{where}: not JSON (a comma, or the object's end, must follow {key!r}).")
    letters.skip()
    if not found:
        raise UserError(f"{where}: {_FORM}")


def _questions(article: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """The questions of an article of SQuAD, each with its passage."""
    for number, paragraph in enumerate(_objects(article, "paragraphs", where), start=1):
        place = f"{where}, paragraph {number}"
        if "context" not in paragraph:
            raise UserError(f"{place}: no 'context'.")
        for question in _objects(paragraph, "qas", place):
            yield {"title": article.get("title"), "context": paragraph["context"], **question}


def _objects(of: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    found = of.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UserError(f"{where}: '{key}' must be a list of objects.")
    return found
