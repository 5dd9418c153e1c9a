"""The objects of a JSON array, one by one, so that a file may be larger than the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from crossvote.sim.common.errors import UserError

#: Letters that are read at a time; more for an object that is longer.
_CHUNK = 1 << 16
_BLANKS = " \t\r\n"


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
                found, self._at = decoder.raw_decode(self.text, self._at)
            except ValueError:
                if self.ended:
                    raise
                self.more()
            else:
                return found


def json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which a key may stand once only. Raises ValueError naming one that stands there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' stands there twice")
    return found


def array_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the array that a file holds.

    Raises:
        UserError: the message names the file, and the row that is broken.
    """
    decoder = json.JSONDecoder(object_pairs_hook=json_object)
    with path.open(encoding="utf-8-sig") as file:
        letters, number = _Letters(file), 0
        if letters.following() != "[":
            raise UserError(f"{path}: must be a JSON list of objects; one object a line is .jsonl.")
        letters.skip()
        while (first := letters.following()) != "]" or number:
            number += 1
            if first != "{":
                raise UserError(f"{path}, row {number}: must be a JSON object; the file must be a list of them.")
            try:
                yield letters.value(decoder)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, row {number}: not JSON ({error}).") from None
            match letters.following():
                case ",":
                    letters.skip()
                    letters.following()
                case "]":
                    break
                case _:
                    raise UserError(f"{path}, row {number}: a comma, or the list's end, must follow it.")
        letters.skip()
        if letters.following():
            raise UserError(f"{path}: something follows the end of the list.")
