"""Own data: rows with named columns, from files, from `datasets`, or from Python, as examples of any kind of task."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import LFS_POINTER
from crossvote.swstack.tasks.base import AnyExample, Example, Passage, Picture, Question, TaggedWords, Task, TaskKind
from crossvote.swstack.tasks.config import TaskConfig
from crossvote.swstack.tasks.json_rows import array_rows
from crossvote.swstack.tasks.limits import drawn, limit_note

#: Column -> how a kind of task calls it; those in brackets may be absent.
_COLUMNS: dict[TaskKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "classification": (("sentence1", "label"), ("sentence2",)),
    "regression": (("sentence1", "label"), ("sentence2",)),
    "token-classification": (("words", "tags"), ()),
    "question-answering": (("question", "context", "answers"), ()),
    "masked-lm": (("text",), ()),
    "causal-lm": (("text",), ()),
    "image-classification": (("pixels", "label"), ()),
}
_METRICS: dict[TaskKind, tuple[str, ...]] = {
    "regression": ("spearman", "pearson"),
    "question-answering": ("answer_f1", "exact_match"),
    "masked-lm": ("token_accuracy", "perplexity"),
    "causal-lm": ("token_accuracy", "perplexity"),
}
_HUB = "hub:"
#: Rows that may all have different classes.
_ALL_DIFFERENT = 20
#: Longest field of a file with separators, in letters.
_LONGEST_FIELD = 1 << 27

#: Rows by which the kind of a task is guessed.
_LOOKED_AT = 1000

Row = Mapping[str, Any]


def own_task(cfg: TaskConfig, train: Any, dev: Any, seed: int = 0) -> Task:
    """The task of a configuration with own data; limits are drawn from ``seed``.

    train, dev: a file or another source that ``task.train`` may name, or rows as ``task_from_rows`` takes them.

    Raises UserError if data are absent or broken, naming the source, the row and the column.
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
    train: Iterable[Row],
    dev: Iterable[Row],
    *,
    kind: TaskKind | None = None,
    columns: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
    metrics: Sequence[str] = (),
    max_length: int = 128,
    where: tuple[str, str] = ("train", "dev"),
    limits: tuple[int | None, int | None] = (None, None),
    seed: int = 0,
) -> Task:
    """A task from rows: mappings by column name, a `datasets.Dataset`, a pandas frame, or a torch data loader.

    Rows are gone through twice and never held together: with limits, memory is what the chosen examples take, however
    large a file is. Rows that can be gone through once only (a generator) are held.

    kind: absent, it is classification, or regression where every label is a number that is no whole one.
    columns: name of the column for each part of an example that is called otherwise.
    labels: classes in index order; by default those of the train rows, sorted. where: what to call both in messages.
    limits: use so many train and dev rows only, drawn from ``seed``.

    Raises UserError naming part, row and column of the first broken value.
    """
    parts = [_rows(rows) for rows in (train, dev)]
    names = columns or {}
    firsts = [list(islice(iter(rows), _LOOKED_AT)) for rows in parts]
    for first, place in zip(firsts, where, strict=True):
        if not first:
            raise UserError(f"{place}: no rows.")
    kind = kind or _guess_kind(firsts[0], names)
    needed, optional = _COLUMNS[kind]
    unknown = sorted(set(names) - {*needed, *optional})
    if unknown:
        raise UserError(
            f"task.columns: '{unknown[0]}' is no part of {kind}; there are {', '.join((*needed, *optional))}."
        )
    classes = tuple(str(label) for label in labels)
    if not classes and kind in ("classification", "token-classification", "image-classification"):
        classes = _classes(parts[0], kind, names, where[0])
    examples: list[tuple[AnyExample, ...]] = []
    said, alike = [], _Alike()
    for rows, place, part, limit in zip(parts, where, ("train", "dev"), limits, strict=True):
        count = sum(1 for _ in rows)
        chosen = drawn(count, limit, seed, part)
        examples.append(
            tuple(
                alike.checked(_example(row, kind, names, classes, f"{place}, row {number}"), f"{place}, row {number}")
                for number, row in enumerate(rows, start=1)
                if chosen is None or chosen[number - 1]
            )
        )
        said.append(f"{part}: {count} rows of {place}{limit_note(part, limit, count)}")
        if part == "train" and len(classes) == count > _ALL_DIFFERENT:
            raise UserError(
                f"{place}: every row has a class of its own, so there is nothing to learn; does task.columns name the "
                "column of the labels?"
            )
    if len(classes) == 1:
        raise UserError(f"{where[0]}: all rows have the class '{classes[0]}'; at least two classes are needed.")
    provenance = f"own data; {', '.join(said)}"
    empty = sum(isinstance(example, Example) and not example.sentence1.strip() for part in examples for example in part)
    if empty:
        provenance += f"; {empty} of their first sentences are empty"
    return Task(
        name, examples[0], examples[1], classes, tuple(metrics) or usual_metrics(kind, classes), provenance, max_length
    )


class _Alike:
    """Refuses examples of which no batch could be made: single sentences among pairs, pictures of another size."""

    def __init__(self) -> None:
        self._first: str | None = None

    def checked(self, example: AnyExample, where: str) -> AnyExample:
        """The example, if it is like the first one."""
        if isinstance(example, Example):
            found = "a single sentence" if example.sentence2 is None else "a pair"
        elif isinstance(example, Picture):
            sizes = (len(example.pixels), len(example.pixels[0]), len(example.pixels[0][0]))
            found = f"a picture of {' x '.join(map(str, sizes))} pixels"
        else:
            return example
        self._first = self._first or found
        if found != self._first:
            raise UserError(f"{where}: {found}, but the first one is {self._first}.")
        return example


@dataclass(frozen=True)
class FileRows:
    """The rows of a file, of a folder that `datasets` saved, or of a split on the hub, read anew by every pass.

    source: as ``task.train`` names it.
    """

    source: str

    def __iter__(self) -> Iterator[Row]:
        return read_rows(self.source)


def _rows(rows: Any) -> Iterable[Row]:
    """Something that can be gone through several times."""
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # a pandas frame
        return _Frame(rows)
    if hasattr(rows, "dataset") and hasattr(rows, "batch_size"):  # torch's loader: batches are made elsewhere
        return _rows(rows.dataset)
    if isinstance(rows, FileRows | Sequence):
        return _named(rows)
    if hasattr(rows, "features") and hasattr(rows, "__iter__"):  # of the library `datasets`
        return _NamedClasses(rows)
    if hasattr(rows, "__getitem__") and hasattr(rows, "__len__"):  # a data set of torch
        return _Indexed(rows)
    if iter(rows) is iter(rows):  # can be gone through once
        return _named(list(rows))
    return _named(rows)


def _named(rows: Iterable[Any]) -> Iterable[Row]:
    return rows if isinstance(rows, FileRows) else _Named(rows)


@dataclass(frozen=True)
class _Frame:
    """Rows of a pandas frame."""

    frame: Any

    def __iter__(self) -> Iterator[Row]:
        columns = [str(name) for name in self.frame.columns]
        for values in self.frame.itertuples(index=False, name=None):
            yield dict(zip(columns, (_scalar(value) for value in values), strict=True))


def _scalar(value: Any) -> Any:
    """A value as Python has it; an empty cell of a frame is None."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain


@dataclass(frozen=True)
class _Indexed:
    """Items of a data set that is asked by number."""

    items: Any

    def __iter__(self) -> Iterator[Row]:
        return iter(_Named(self.items[i] for i in range(len(self.items))))


@dataclass(frozen=True)
class _Named:
    """Rows that are mappings already, or tuples: (text, label) or (text, text, label)."""

    rows: Iterable[Any]

    def __iter__(self) -> Iterator[Row]:
        for number, row in enumerate(self.rows, start=1):
            if isinstance(row, Mapping):
                yield row
            elif isinstance(row, tuple | list) and len(row) in _TUPLES:
                yield dict(zip(_TUPLES[len(row)], map(_scalar, row), strict=True))
            else:
                raise UserError(
                    f"row {number}: a {type(row).__name__} is no row; a mapping of columns, (text, label) or "
                    "(text, text, label) is needed."
                )


_TUPLES = {2: ("sentence1", "label"), 3: ("sentence1", "sentence2", "label")}


def usual_metrics(kind: TaskKind, classes: Sequence[str]) -> tuple[str, ...]:
    """The metrics of a kind of task that names none, the primary one first."""
    if kind in _METRICS:
        return _METRICS[kind]
    if kind == "token-classification":
        return ("entity_f1", "accuracy") if any(name.startswith(("B-", "I-")) for name in classes) else ("accuracy",)
    return ("accuracy", "f1") if len(classes) == 2 else ("accuracy", "f1_macro")


def _guess_kind(rows: Sequence[Row], names: Mapping[str, str]) -> TaskKind:
    found = {key for row in rows[:1] for key in row}
    for kind in ("question-answering", "token-classification", "image-classification"):
        if all(names.get(part, part) in found for part in _COLUMNS[kind][0]):
            return kind
    label = names.get("label", "label")
    values = [_number(row.get(label)) for row in rows]
    if all(value is not None for value in values) and any(value != int(value) for value in values if value is not None):
        return "regression"
    return "classification"


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _classes(rows: Iterable[Row], kind: TaskKind, names: Mapping[str, str], where: str) -> tuple[str, ...]:
    """Classes of the rows: numbers in their order, then other names in the alphabet's."""
    part = "tags" if kind == "token-classification" else "label"
    found: set[str] = set()
    for number, row in enumerate(rows, start=1):
        value = _value(row, part, names, f"{where}, row {number}")
        for label in _list(value) if part == "tags" else (value,):
            found.add(_class_name(label, f"{where}, row {number}"))
    classes = tuple(sorted(found, key=lambda label: (_number(label) is None, _number(label) or 0.0, label)))
    for one, other in pairwise(classes):
        if _number(one) is not None and _number(one) == _number(other):
            raise UserError(f"{where}: the classes '{one}' and '{other}' are the same number; write them alike.")
    return classes


def _class_name(value: Any, where: str) -> str:
    """What a class is called, however a file writes it.

    Raises UserError for what is no name: a list, a table, NaN, or nothing.
    """
    if hasattr(value, "item"):  # NumPy's numbers
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = str(value).strip() if isinstance(value, str | int | float) else ""
    if not name or (_number(name) is None and _is_float(name)):  # NaN stands for a label that is missing
        raise UserError(f"{where}: {value!r} is no class.")
    return name


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _value(row: Row, part: str, names: Mapping[str, str], where: str) -> Any:
    column = names.get(part, part)
    if column not in row or row[column] is None:
        raise UserError(f"{where}: no column '{column}' ({part}); it has {', '.join(map(str, row))}.")
    return row[column]


def _list(value: Any) -> list[Any]:
    """A list, or the words of a text: files without lists write them with blanks. Anything else is a list of one."""
    return value.split() if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]


def _is_unicode(text: str) -> bool:
    """Whether a text can be written: half a character, as JSON can escape one, cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _example(row: Row, kind: TaskKind, names: Mapping[str, str], classes: Sequence[str], where: str) -> AnyExample:
    def part(name: str) -> Any:
        return _value(row, name, names, where)

    def text(name: str) -> str:
        value = part(name)
        if not isinstance(value, str) or not _is_unicode(value):
            raise UserError(f"{where}, column '{names.get(name, name)}': {value!r} is no text.")
        return value

    def class_of(value: Any, name: str) -> int:
        label = _class_name(value, f"{where}, column '{names.get(name, name)}'")
        if label not in classes:
            raise UserError(
                f"{where}, column '{names.get(name, name)}': {value!r} is none of the classes {', '.join(classes)}."
            )
        return list(classes).index(label)

    if kind in ("classification", "regression"):
        second = text("sentence2") if names.get("sentence2", "sentence2") in row else None
        if kind == "classification":
            return Example(text("sentence1"), second, class_of(part("label"), "label"))
        score = _number(part("label"))
        if score is None:
            raise UserError(f"{where}, column '{names.get('label', 'label')}': {part('label')!r} is no finite number.")
        return Example(text("sentence1"), second, score)
    if kind == "token-classification":
        words, tags = _list(part("words")), _list(part("tags"))
        if len(words) != len(tags) or not words:
            raise UserError(f"{where}: {len(words)} words and {len(tags)} tags; as many of both are needed.")
        if not all(str(word).strip() and _is_unicode(str(word)) for word in words):
            raise UserError(f"{where}, column '{names.get('words', 'words')}': a word is empty or no text.")
        return TaggedWords(tuple(map(str, words)), tuple(class_of(tag, "tags") for tag in tags))
    if kind == "question-answering":
        return _question(text("question"), text("context"), part("answers"), where)
    if kind == "image-classification":
        return Picture(_pixels(part("pixels"), where), class_of(part("label"), "label"))
    return Passage(text("text"), masked=kind == "masked-lm")


def _question(question: str, context: str, answers: Any, where: str) -> Question:
    """From SQuAD's {text, answer_start}, a list of texts, or one text; texts are looked for in the passage."""
    form = "a text, a list of texts, or a table with as many 'text' as 'answer_start'"
    try:
        if isinstance(answers, str) and answers.startswith("{"):
            answers = json.loads(answers)
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


def _pixels(value: Any, where: str) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Channels of rows of values from 0 to 1; a plain list of rows is one channel."""
    import numpy as np

    try:
        array = np.asarray(json.loads(value) if isinstance(value, str) else value, dtype=float)
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: no array of pixels ({error}).") from None
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size or not ((array >= 0) & (array <= 1)).all():
        raise UserError(f"{where}: pixels must be rows, or channels of rows, of numbers from 0 to 1.")
    return tuple(tuple(tuple(map(float, line)) for line in channel) for channel in array)


def read_rows(source: str) -> Iterator[Row]:
    """The rows of a file, of a folder that `datasets` saved, or of a split of a data set on the hub, one by one.

    Raises UserError naming the file, and the line where one is broken.
    """
    if source.startswith(_HUB):
        yield from _from_hub(source.removeprefix(_HUB))
        return
    path = Path(source).expanduser()
    if path.is_dir():
        yield from _from_saved(path)
        return
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: no kind of data that is known; {', '.join(_READERS)} or a saved data set are.")
    try:
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise UserError(f"{path}: is a Git LFS pointer and not the file itself; run 'git lfs pull'.")
        yield from reader(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    except Exception as error:  # of the readers of formats
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}).") from None


def _separated(separator: str) -> Callable[[Path], Iterator[Row]]:
    def read(path: Path) -> Iterator[Row]:
        csv.field_size_limit(_LONGEST_FIELD)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=separator, strict=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            for name in reader.fieldnames:
                if reader.fieldnames.count(name) > 1:
                    raise UserError(f"{path}: two columns are called '{name}'.")
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(f"{path}, line {reader.line_num}: not {len(reader.fieldnames or ())} columns.")
                yield row

    return read


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: not JSON ({error}).") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: must be a JSON object.")
            yield row


def _parquet(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()


def _from_saved(path: Path) -> Iterable[Row]:
    from datasets import Dataset, load_from_disk

    try:
        found = load_from_disk(str(path))
    except Exception as error:
        raise UserError(f"{path}: no data set that `datasets` saved ({' '.join(str(error).split())[:200]}).") from None
    if not isinstance(found, Dataset):
        raise UserError(f"{path}: holds several splits ({', '.join(found)}); name the folder of one.")
    return _NamedClasses(found)


def _from_hub(name: str) -> Iterable[Row]:
    from datasets import load_dataset

    path, _, split = name.partition(":")
    owner_and_set = path.split("/")
    configuration = owner_and_set[2] if len(owner_and_set) > 2 else None
    try:
        found = load_dataset("/".join(owner_and_set[:2]), configuration, split=split or "train")
    except Exception as error:  # the library lets many kinds of network error through
        raise UserError(f"{_HUB}{name}: cannot be read ({' '.join(str(error).split())[:200]}).") from None
    return _NamedClasses(found)


@dataclass(frozen=True)
class _NamedClasses:
    """Rows of a data set of the library `datasets`, class indices written as the names that its features give them."""

    data: Any

    def __iter__(self) -> Iterator[Row]:
        features = self.data.features or {}
        single = {key: feature.names for key, feature in features.items() if hasattr(feature, "names")}
        lists = {
            key: feature.feature.names for key, feature in features.items()
            if hasattr(getattr(feature, "feature", None), "names")
        }  # fmt: skip
        for row in self.data:
            yield {key: _class_names(value, single.get(key), lists.get(key)) for key, value in row.items()}


def _class_names(value: Any, single: Sequence[str] | None, lists: Sequence[str] | None) -> Any:
    if single is not None and isinstance(value, int) and value >= 0:
        return single[value]
    if lists is not None:
        return [lists[index] if isinstance(index, int) and index >= 0 else index for index in value]
    return value


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".jsonl": _lines,
    ".json": array_rows,
    ".parquet": _parquet,
}
