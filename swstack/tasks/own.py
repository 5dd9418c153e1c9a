"""Own data as tasks: rows with named columns become examples of any kind of task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks.base import AnyExample, Example, Task
from crossvote.swstack.tasks.config import TaskConfig
from crossvote.swstack.tasks.fields import Fields, Row, finite
from crossvote.swstack.tasks.kinds import KINDS, Kind, kind_of
from crossvote.swstack.tasks.limits import drawn, limit_note
from crossvote.swstack.tasks.rows import FileRows, as_rows

#: Rows that may all have different classes.
_ALL_DIFFERENT = 20
#: Rows by which the kind of a task is guessed.
_LOOKED_AT = 1000


def own_task(cfg: TaskConfig, train: Any, dev: Any, seed: int = 0) -> Task:
    """The task of a configuration with own data; limits are drawn from ``seed``.

    train, dev: a file or another source that ``task.train`` may name, or rows as ``task_from_rows`` takes them; train
    may be None, if the configuration names kind and classes.

    Raises:
        UserError: data are absent or broken, naming the source, the row and the column.
    """
    sources = {part: str(rows) for part, rows in (("train", train), ("dev", dev)) if isinstance(rows, str | Path)}
    return task_from_rows(
        cfg.name,
        FileRows(sources["train"]) if "train" in sources else train,
        FileRows(sources["dev"]) if "dev" in sources else dev,
        kind=cfg.kind,
        columns=cfg.columns,
        labels=cfg.labels,
        metrics=cfg.metrics,
        max_length=cfg.max_length,
        where=(sources.get("train", "train"), sources.get("dev", "dev")),
        # What is held out is a share of all train rows, so all of them are needed.
        limits=(None if cfg.holdout else cfg.train_limit, cfg.eval_limit),
        seed=seed,
    )


def task_from_rows(
    name: str,
    train: Iterable[Row] | None,
    dev: Iterable[Row],
    *,
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
    metrics: Sequence[str] = (),
    max_length: int = 128,
    where: tuple[str, str] = ("train", "dev"),
    limits: tuple[int | None, int | None] = (None, None),
    seed: int = 0,
) -> Task:
    """A task from rows: mappings by column name, a ``datasets.Dataset``, a pandas frame, or a torch data loader.

    Rows are gone through twice and never held together: with limits, memory is what the chosen examples take, however
    large a file is. Rows that can be gone through once only (a generator) are held.

    train: None where the dev rows alone are wanted; what is not named is then guessed by them.
    kind: absent, it is classification, or regression where every label is a number that is no whole one.
    columns: name of the column for each part of an example that is called otherwise.
    labels: classes in index order, which rows name, or count from 0 where no name is a number; by default those of the
        train rows, sorted. where: what to call both in messages.
    limits: use so many train and dev rows only, drawn from ``seed``.

    Raises:
        UserError: the message names part, row and column of the first broken value.
    """
    given = [
        (as_rows(rows), place, part, limit)
        for rows, place, part, limit in zip((train, dev), where, ("train", "dev"), limits, strict=True)
        if rows is not None
    ]
    leading, source, *_ = given[0]
    names = columns or {}
    firsts = [list(islice(iter(rows), _LOOKED_AT)) for rows, *_ in given]
    for first, (_, place, *_) in zip(firsts, given, strict=True):
        if not first:
            raise UserError(f"{place}: no rows.")
    twice = next((column for column in names.values() if list(names.values()).count(column) > 1), None)
    if twice is not None:
        raise UserError(f"task.columns: column '{twice}' is named for two parts of an example.")
    name_of_kind = kind or _guess_kind(firsts[0], names)
    asked = kind_of(name_of_kind)
    needed, optional = asked.columns, asked.optional
    unknown = sorted(set(names) - {*needed, *optional})
    if unknown:
        raise UserError(
            f"task.columns: '{unknown[0]}' is no part of {name_of_kind}; there are {', '.join((*needed, *optional))}."
        )
    classes = tuple(str(label) for label in labels)
    numbered = bool(classes) and all(finite(label) is None for label in classes)
    if not classes and asked.classes_in:
        classes = _classes(leading, asked, names, source)
    examples: dict[str, tuple[AnyExample, ...]] = {}
    said, form = [], ""
    for rows, place, part, limit in given:
        count = sum(1 for _ in rows)
        chosen = drawn(count, limit, seed, part)
        own: list[AnyExample] = []
        for number, row in enumerate(rows, start=1):
            if chosen is None or chosen[number - 1]:
                example = asked.example(Fields(row, names, classes, f"{place}, row {number}", numbered))
                found = asked.form(example)
                form = form or found
                if found != form:
                    raise UserError(f"{place}, row {number}: {found}, but the first one is {form}.")
                own.append(example)
        examples[part] = tuple(own)
        said.append(f"{part}: {count} rows of {place}{limit_note(part, limit, count)}")
        if part == "train" and len(classes) == count > _ALL_DIFFERENT:
            raise UserError(
                f"{place}: every row has a class of its own, so there is nothing to learn; does task.columns name the "
                "column of the labels?"
            )
    if len(classes) == 1:
        raise UserError(f"{source}: all rows have the class '{classes[0]}'; at least two classes are needed.")
    provenance = f"own data; {', '.join(said)}"
    empty = sum(
        isinstance(example, Example) and not example.sentence1.strip() for part in examples.values() for example in part
    )
    if empty == sum(map(len, examples.values())):
        raise UserError(f"{source}: every first sentence is empty; does task.columns name the column of the text?")
    if empty:
        provenance += f"; {empty} of their first sentences are empty"
    return Task(
        name,
        examples.get("train", ()),
        examples["dev"],
        classes,
        tuple(metrics) or asked.usual_metrics(classes),
        provenance,
        max_length,
    )


def _guess_kind(rows: Sequence[Row], names: Mapping[str, str]) -> str:
    found = {key for row in rows[:1] for key in row}
    for name, kind in KINDS.items():
        if kind.told and all(names.get(part, part) in found for part in kind.columns):
            return name
    label = names.get("label", "label")
    values = [finite(row.get(label)) for row in rows]
    if all(value is not None for value in values) and any(value != int(value) for value in values if value is not None):
        return "regression"
    return "classification"


def _classes(rows: Iterable[Row], kind: Kind, names: Mapping[str, str], where: str) -> tuple[str, ...]:
    """Classes of the rows: numbers in their order, then other names in the alphabet's."""
    found: set[str] = set()
    for number, row in enumerate(rows, start=1):
        found |= set(Fields(row, names, (), f"{where}, row {number}").class_names(kind.classes_in, kind.many_classes))
    classes = tuple(sorted(found, key=lambda label: (finite(label) is None, finite(label) or 0.0, label)))
    for one, other in pairwise(classes):
        if finite(one) is not None and finite(one) == finite(other):
            raise UserError(f"{where}: the classes '{one}' and '{other}' are the same number; write them alike.")
    alike = {label.casefold(): label for label in classes}
    twin = next((label for label in classes if alike[label.casefold()] != label), None)
    if twin is not None:
        raise UserError(
            f"{where}: the classes '{twin}' and '{alike[twin.casefold()]}' differ in capitals only; write them alike "
            "or name all classes in task.labels."
        )
    return classes
