"""The nine GLUE tasks (Wang et al. 2019), from a directory in the official TSV layout or from the hub.

Row counts are those of the official files. Columns are found by the names in the header, and by their official
position where a file has none (CoLA's never do; several repositories ship SST-2 so); fields hold unbalanced quotes, so
lines are split at tabs and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import LFS_POINTER, at_home
from crossvote.swstack.tasks.base import Example, Task
from crossvote.swstack.tasks.named import TASKS, NamedTask, Place

if TYPE_CHECKING:
    from crossvote.swstack.tasks.config import TaskConfig

_ENTAILMENT = ("entailment", "not_entailment")
_MNLI_LABELS = ("entailment", "neutral", "contradiction")

#: Of a task whose files are known to hold broken rows, the largest share of rows that is dropped instead of refused.
_BROKEN_SHARE = 0.01


@dataclass(frozen=True)
class GlueTask:
    """Layout of one task's official files.

    labels: class names in index order as on the hub; empty for a regression.
    file_labels: the same classes as the files write them.
    sentences, label: names of the columns in the header, any case.
    positions: where the official files have these columns, the label's last (negative: from the end).
    columns: of an official file; 0 where train and dev differ.
    dev_files: names tried in order; train_rows and dev_rows: official counts.
    hub: configuration and validation split in the hub's ``glue`` data set.
    broken_rows: whether official files have rows that a line break inside a field cut in two; they are dropped.
    versions: (train rows, dev rows) of other releases -> what they are.
    """

    folder: str
    labels: tuple[str, ...]
    file_labels: tuple[str, ...]
    metrics: tuple[str, ...]
    sentences: tuple[str, ...]
    label: str
    positions: tuple[int, ...]
    columns: int
    train_rows: int
    dev_rows: int
    hub: tuple[str, str]
    hub_fields: tuple[str, ...]
    dev_files: tuple[str, ...] = ("dev.tsv",)
    broken_rows: bool = False
    versions: tuple[tuple[int, int, str], ...] = ()


#: On the hub.
_REPOSITORY = "nyu-mll/glue"
_PAIR = ("sentence1", "sentence2")
_QUESTIONS = ("question1", "question2")
_BINARY = ("0", "1")

GLUE_TASKS: dict[str, GlueTask] = {
    "cola": GlueTask(
        "CoLA", ("unacceptable", "acceptable"), _BINARY, ("matthews",), ("sentence",), "label", (3, 1), 4, 8551, 1043,
        ("cola", "validation"), ("sentence",),
    ),
    "sst2": GlueTask(
        "SST-2", ("negative", "positive"), _BINARY, ("accuracy",), ("sentence",), "label", (0, 1), 2, 67349, 872,
        ("sst2", "validation"), ("sentence",),
    ),
    "mrpc": GlueTask(
        "MRPC", ("not_equivalent", "equivalent"), _BINARY, ("f1", "accuracy"), ("#1 String", "#2 String"), "Quality",
        (3, 4, 0), 5, 3668, 408, ("mrpc", "validation"), _PAIR,
    ),
    "stsb": GlueTask(
        "STS-B", (), (), ("spearman", "pearson"), _PAIR, "score", (7, 8, 9), 10, 5749, 1500,
        ("stsb", "validation"), _PAIR,
    ),
    "qqp": GlueTask(
        "QQP", ("not_duplicate", "duplicate"), _BINARY, ("f1", "accuracy"), _QUESTIONS, "is_duplicate", (3, 4, 5), 6,
        363846, 40430, ("qqp", "validation"), _QUESTIONS, ("dev.tsv", "dev_holdout.tsv"), broken_rows=True,
    ),
    "mnli": GlueTask(
        "MNLI", _MNLI_LABELS, _MNLI_LABELS, ("accuracy",), _PAIR, "gold_label", (8, 9, -1), 0, 392702, 9815,
        ("mnli", "validation_matched"), ("premise", "hypothesis"), ("dev_matched.tsv",),
    ),
    "mnli-mismatched": GlueTask(
        "MNLI", _MNLI_LABELS, _MNLI_LABELS, ("accuracy",), _PAIR, "gold_label", (8, 9, -1), 0, 392702, 9832,
        ("mnli", "validation_mismatched"), ("premise", "hypothesis"), ("dev_mismatched.tsv",),
    ),
    "qnli": GlueTask(
        "QNLI", _ENTAILMENT, _ENTAILMENT, ("accuracy",), ("question", "sentence"), "label", (1, 2, 3), 4, 104743, 5463,
        ("qnli", "validation"), ("question", "sentence"), versions=((108436, 5732, "QNLI's first version"),),
    ),
    "rte": GlueTask(
        "RTE", _ENTAILMENT, _ENTAILMENT, ("accuracy",), _PAIR, "label", (1, 2, 3), 4, 2490, 277,
        ("rte", "validation"), _PAIR,
    ),
    "wnli": GlueTask(
        "WNLI", ("not_entailment", "entailment"), _BINARY, ("accuracy",), _PAIR, "label", (1, 2, 3), 4, 635, 71,
        ("wnli", "validation"), _PAIR,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class GlueRows:
    """Examples of one file, and what a reader should know about how they were read."""

    examples: tuple[Example, ...]
    notes: tuple[str, ...]


def load_from_directory(
    name: str, glue_dir: Path, with_train: bool = True
) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """Train examples, if they are wanted, dev examples and provenance of task name from ``glue_dir``/<folder>/*.tsv.

    Raises:
        UserError: a file is absent, or naming file and line of a row that is broken.
    """
    task = GLUE_TASKS[name]
    folder = at_home(glue_dir) / task.folder
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory; task {name!r} needs train.tsv and {task.dev_files[0]} there.")
    dev_path = next((folder / file for file in task.dev_files if (folder / file).is_file()), None)
    if dev_path is None:
        raise UserError(f"{folder}: no {' or '.join(task.dev_files)}.")
    train, dev = read_tsv(task, folder / "train.tsv") if with_train else None, read_tsv(task, dev_path)
    if dev_path.name == task.dev_files[0]:
        official = _count_note(task, dev_path.stem, len(dev.examples))
    else:
        official = f"{dev_path.name}: {len(dev.examples)} rows held out of the train set, not GLUE's dev set"
    own = [_count_note(task, "train", len(train.examples)), *train.notes] if train else []
    notes = [*own, official, *dev.notes]
    return train.examples if train else (), dev.examples, f"GLUE {task.folder} from TSV files; {'; '.join(notes)}"


def _count_note(task: GlueTask, part: str, rows: int) -> str:
    """How many rows of ``part`` ("train", or the name of the dev split) there are, against the official count."""
    index = 0 if part == "train" else 1
    official = (task.train_rows, task.dev_rows)[index]
    if rows == official:
        return f"{part}: {rows} rows (complete)"
    for version in task.versions:
        if rows == version[index]:
            return f"{part}: {rows} rows ({version[2]}, not the present one of {official} rows)"
    if rows > official:
        return f"{part}: {rows} rows (ANOTHER VERSION: the official file has {official})"
    return f"{part}: {rows} of {official} rows (PARTIAL)"


def read_tsv(task: GlueTask, path: Path) -> GlueRows:
    """Examples of one official file, in its order.

    Blank lines at the end are no rows. Empty questions of a pair are kept, as GLUE does.

    Raises:
        UserError: the message names file and line if the file is absent, empty, or a row has the wrong number of
            columns, an unknown label or an empty sentence.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # MRPC's header starts with a byte-order mark
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except UnicodeDecodeError as error:
        broken_line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {broken_line}: not UTF-8 text; save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    if text.startswith(LFS_POINTER.decode()):
        raise UserError(f"{path}: is a Git LFS pointer and not the file itself; run 'git lfs pull'.")
    if not text.strip():
        raise UserError(f"{path}: is empty.")
    if "\0" in text:
        nul_line = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"{path}, line {nul_line}: holds a NUL byte, so this is no text (or UTF-16; save it as UTF-8).")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while len(lines) > 1 and not lines[-1].strip():
        del lines[-1]
    positions, header = _find_columns(task, lines[0].split("\t"), path)
    columns = lines[0].count("\t") + 1
    examples: list[Example] = []
    broken: list[int] = []
    empty = 0
    for number, line in enumerate(lines, start=1):
        if number == 1 and header:
            continue
        where = f"{path}, line {number}"
        fields = line.split("\t")
        if len(fields) != columns:
            if not task.broken_rows:
                raise UserError(f"{where}: {len(fields)} tab-separated columns where {columns} were expected.")
            broken.append(number)
            continue
        *sentences, label = (fields[index].strip() for index in positions)
        if not all(sentences):
            if len(sentences) == 1:
                raise UserError(f"{where}: an empty sentence.")
            empty += 1
        examples.append(
            Example(sentences[0], sentences[1] if len(sentences) == 2 else None, _parse_label(task, label, where))
        )
    if not examples:
        raise UserError(f"{path}: no data rows.")
    if len(broken) > max(2, _BROKEN_SHARE * len(lines)):
        raise UserError(
            f"{path}, line {broken[0]}: not {columns} tab-separated columns, as in {len(broken)} lines of the file."
        )
    return GlueRows(tuple(examples), _reading_notes(path, header or task.folder == "CoLA", broken, empty))


def _reading_notes(path: Path, header: bool, broken: Sequence[int], empty: int) -> tuple[str, ...]:
    notes = []
    if not header:
        notes.append(f"{path.name} has no header line")
    if broken:
        notes.append(f"{len(broken)} broken lines of {path.name} dropped, the first is line {broken[0]}")
    if empty:
        notes.append(f"{empty} pairs of {path.name} have an empty sentence")
    return tuple(notes)


def _find_columns(task: GlueTask, first: Sequence[str], path: Path) -> tuple[tuple[int, ...], bool]:
    """Where the text and label columns are, and whether the first line is a header.

    Raises:
        UserError: the first line is neither a header with the task's columns nor a row in the official order.
    """
    names = [name.strip().casefold() for name in first]
    wanted = (*task.sentences, task.label)
    missing = [name for name in wanted if name.casefold() not in names]
    if not missing:
        for name in wanted:
            if names.count(name.casefold()) > 1:
                raise UserError(f"{path}: two columns of its header are called '{name}'.")
        return tuple(names.index(name.casefold()) for name in wanted), True
    fits = len(first) == task.columns or (not task.columns and len(first) > max(task.positions))
    if fits and _is_label(task, first[task.positions[-1]].strip()):
        return task.positions, False
    if len(missing) < len(wanted):  # a header, then
        raise UserError(f"{path}: its header has no column '{missing[0]}'; it has {', '.join(first)}.")
    raise UserError(
        f"{path}, line 1: neither a header with the columns {', '.join(wanted)} nor a row of {task.folder}."
    )


def _is_label(task: GlueTask, text: str) -> bool:
    try:
        _parse_label(task, text, "")
    except UserError:
        return False
    return True


def _parse_label(task: GlueTask, text: str, where: str) -> int | float:
    if task.labels:
        if text not in task.file_labels:
            raise UserError(f"{where}: label {text!r} where one of {', '.join(task.file_labels)} was expected.")
        return task.file_labels.index(text)
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not 0.0 <= score <= 5.0:
        raise UserError(f"{where}: score {text!r} where a number from 0 to 5 was expected.")
    return score


def load_from_hub(name: str) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """Train examples, dev examples and provenance of task ``name`` from the hub's ``glue`` data set.

    Raises:
        UserError: the data set cannot be reached.
    """
    from crossvote.swstack.tasks.hub import hub_data

    task = GLUE_TASKS[name]
    configuration, dev_split = task.hub
    try:
        data = hub_data(_REPOSITORY, configuration)
    except Exception as error:  # the library lets many kinds of network error through
        reason = " ".join(str(error).split())
        raise UserError(
            f"task {name!r} cannot be read from the Hugging Face hub ({reason}); "
            "set task.glue_dir to a directory in the official TSV layout, or use an embedded task."
        ) from None

    def examples(split: str) -> tuple[Example, ...]:
        rows = data[split]
        texts = [rows[field] for field in task.hub_fields]
        return tuple(
            Example(parts[0], parts[1] if len(parts) == 2 else None, label)
            for *parts, label in zip(*texts, rows["label"], strict=True)
        )

    train, dev = examples("train"), examples(dev_split)
    counts = f"{_count_note(task, 'train', len(train))}; {_count_note(task, dev_split, len(dev))}"
    return train, dev, f"GLUE {task.folder} from the Hugging Face hub; {counts}"


def _named(name: str, layout: GlueTask) -> NamedTask:
    def load(config: TaskConfig, seed: int, with_train: bool = True) -> Task:
        if config.glue_dir is None:
            train, dev, provenance = load_from_hub(name)
        else:
            train, dev, provenance = load_from_directory(name, Path(config.glue_dir), with_train)
        return Task(name, train, dev, layout.labels, layout.metrics, provenance, config.max_length)

    def place(config: TaskConfig, part: str) -> Place:
        if config.glue_dir is None:
            return Place(f"hub:glue/{name}", repository=_REPOSITORY)
        folder = at_home(config.glue_dir).absolute() / layout.folder
        return Place(str(folder), folder, ("train.tsv",) if part == "train" else layout.dev_files)

    # Folders may be shared (MNLI's); the first task of one is meant then.
    first = next(key for key, task in GLUE_TASKS.items() if task.folder == layout.folder)
    aliases = (layout.folder.lower(),) if name == first else ()
    return NamedTask(load, aliases, place, partial(load, with_train=False))


for _name, _layout in GLUE_TASKS.items():
    TASKS.register(_name)(_named(_name, _layout))
