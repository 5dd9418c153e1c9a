"""The fields of a row of own data, by what a kind of task calls them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossvote.sim.common.errors import UserError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Fields:
    """One row.

    row: by column. names: part of an example -> column, where it is called otherwise. classes: in index order.
    where: which row it is, for messages. numbered: whether a number that is no class's name stands for the class at
    that place. All methods raise UserError naming the row and the column that is wrong.
    """

    row: Row
    names: Mapping[str, str]
    classes: Sequence[str]
    where: str
    numbered: bool = False

    def column(self, part: str) -> str:
        """Row and column of a part, for messages."""
        return f"{self.where}, column '{self.names.get(part, part)}'"

    def value(self, part: str) -> Any:
        """What stands in the column, which must be there."""
        column = self.names.get(part, part)
        if column not in self.row:
            near = [name for name in self.row if str(name).casefold() == column.casefold()]
            advice = f"; name it with task.columns = {{{part} = '{near[0]}'}}" if near else ""
            if "input_ids" in self.row:
                advice = "; tokens are not taken, but texts, which the model's own tokenizer reads"
            has = ", ".join(map(str, self.row))
            raise UserError(f"{self.where}: no column '{column}' ({part}); it has {has}{advice}.")
        if self.row[column] is None:
            raise UserError(f"{self.where}: column '{column}' ({part}) is empty.")
        return self.row[column]

    def text(self, part: str) -> str:
        """A text."""
        value = self.value(part)
        if not isinstance(value, str) or not is_unicode(value):
            raise UserError(f"{self.column(part)}: {value!r} is no text.")
        return value

    def optional_text(self, part: str) -> str | None:
        """A text, if there is such a column."""
        return self.text(part) if self.names.get(part, part) in self.row else None

    def number(self, part: str) -> float:
        """A finite number."""
        number = finite(self.value(part))
        if number is None:
            raise UserError(f"{self.column(part)}: {self.value(part)!r} is no finite number.")
        return number

    def class_of(self, part: str) -> int:
        """Index of the class that the column names."""
        return self.class_named(self.value(part), part)

    def class_named(self, value: Any, part: str) -> int:
        """Index of the class that ``value``, which stands in the column, names."""
        label = class_name(value, self.column(part))
        if self.numbered and label.isdecimal() and int(label) < len(self.classes):
            return int(label)
        if label not in self.classes:
            raise UserError(f"{self.column(part)}: {value!r} is none of the classes {', '.join(self.classes)}.")
        return list(self.classes).index(label)

    def class_names(self, part: str, many: bool) -> list[str]:
        """Name of the class in the column, or those of a list of classes."""
        value = self.value(part)
        return [class_name(label, self.column(part)) for label in (as_list(value) if many else (value,))]


def finite(value: Any) -> float | None:
    """The number that a value is or writes; None if it is none, or not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def class_name(value: Any, where: str) -> str:
    """What a class is called, however a file writes it.

    Raises:
        UserError: what is no name: a list, a table, NaN, or nothing.
    """
    if hasattr(value, "item"):  # NumPy's numbers
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = str(value).strip() if isinstance(value, str | int | float) else ""
    if (
        not name or not name.isprintable() or (finite(name) is None and _is_float(name))
    ):  # NaN stands for a label that is missing
        raise UserError(f"{where}: {value!r} is no class.")
    return name


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_list(value: Any) -> list[Any]:
    """A list, or the words of a text: files without lists write them with blanks. Anything else is a list of one."""
    return value.split() if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]


def is_unicode(text: str) -> bool:
    """Whether a text can be written: half a character, as JSON can escape one, cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
