"""The nine GLUE tasks (Wang et al. 2019), from a directory in the official TSV layout or from the hub.

Row counts are those of the official files. Text columns, label columns and headers follow the files that GLUE's
download script writes; fields hold unbalanced quotes, so lines are split at tabs and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks.base import Example

_ENTAILMENT = ("entailment", "not_entailment")
_MNLI_LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class GlueTask:
    """Layout of one task's official files.

    labels: class names in index order as on the hub; empty for a regression.
    file_labels: the same classes as the files write them.
    sentences: index of the text columns; label: index of the label column (negative: from the end).
    dev_files: names tried in order; train_rows and dev_rows: official counts.
    hub: configuration and validation split in the hub's `glue` data set.
    """

    folder: str
    labels: tuple[str, ...]
    file_labels: tuple[str, ...]
    metrics: tuple[str, ...]
    sentences: tuple[int, ...]
    label: int
    train_rows: int
    dev_rows: int
    hub: tuple[str, str]
    hub_fields: tuple[str, ...]
    dev_files: tuple[str, ...] = ("dev.tsv",)
    header: bool = True


_PAIR = ("sentence1", "sentence2")
_BINARY = ("0", "1")

GLUE_TASKS: dict[str, GlueTask] = {
    "cola": GlueTask(
        "CoLA", ("unacceptable", "acceptable"), _BINARY, ("matthews",), (3,), 1, 8551, 1043,
        ("cola", "validation"), ("sentence",), header=False,
    ),
    "sst2": GlueTask(
        "SST-2", ("negative", "positive"), _BINARY, ("accuracy",), (0,), 1, 67349, 872,
        ("sst2", "validation"), ("sentence",),
    ),
    "mrpc": GlueTask(
        "MRPC", ("not_equivalent", "equivalent"), _BINARY, ("f1", "accuracy"), (3, 4), 0, 3668, 408,
        ("mrpc", "validation"), _PAIR,
    ),
    "stsb": GlueTask(
        "STS-B", (), (), ("spearman", "pearson"), (7, 8), 9, 5749, 1500,
        ("stsb", "validation"), _PAIR,
    ),
    "qqp": GlueTask(
        "QQP", ("not_duplicate", "duplicate"), _BINARY, ("f1", "accuracy"), (3, 4), 5, 363846, 40430,
        ("qqp", "validation"), ("question1", "question2"), ("dev.tsv", "dev_holdout.tsv"),
    ),
    "mnli": GlueTask(
        "MNLI", _MNLI_LABELS, _MNLI_LABELS, ("accuracy",), (8, 9), -1, 392702, 9815,
        ("mnli", "validation_matched"), ("premise", "hypothesis"), ("dev_matched.tsv",),
    ),
    "mnli-mismatched": GlueTask(
        "MNLI", _MNLI_LABELS, _MNLI_LABELS, ("accuracy",), (8, 9), -1, 392702, 9832,
        ("mnli", "validation_mismatched"), ("premise", "hypothesis"), ("dev_mismatched.tsv",),
    ),
    "qnli": GlueTask(
        "QNLI", _ENTAILMENT, _ENTAILMENT, ("accuracy",), (1, 2), 3, 104743, 5463,
        ("qnli", "validation"), ("question", "sentence"),
    ),
    "rte": GlueTask(
        "RTE", _ENTAILMENT, _ENTAILMENT, ("accuracy",), (1, 2), 3, 2490, 277,
        ("rte", "validation"), _PAIR,
    ),
    "wnli": GlueTask(
        "WNLI", ("not_entailment", "entailment"), _BINARY, ("accuracy",), (1, 2), 3, 635, 71,
        ("wnli", "validation"), _PAIR,
    ),
}  # fmt: skip


def canonical_name(name: str) -> str | None:
    """Key of `GLUE_TASKS` for a task or folder name ('SST-2', 'sts-b', 'QQP'); None if it is no GLUE task."""
    wanted = name.lower().replace("_", "-")
    by_folder = {task.folder.lower(): key for key, task in reversed(GLUE_TASKS.items())}
    return wanted if wanted in GLUE_TASKS else by_folder.get(wanted)


def load_from_directory(name: str, glue_dir: Path) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """Train examples, dev examples and provenance of task `name` from `glue_dir`/<folder>/*.tsv.

    Raises UserError if a file is absent, or naming file and line of a row that is broken.
    """
    task = GLUE_TASKS[name]
    folder = Path(glue_dir).expanduser() / task.folder
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory; task {name!r} needs train.tsv and {task.dev_files[0]} there.")
    dev_path = next((folder / file for file in task.dev_files if (folder / file).is_file()), None)
    if dev_path is None:
        raise UserError(f"{folder}: no {' or '.join(task.dev_files)}.")
    train, dev = read_tsv(task, folder / "train.tsv"), read_tsv(task, dev_path)
    notes = [_count_note("train", len(train), task.train_rows)]
    if dev_path.name == task.dev_files[0]:
        notes.append(_count_note(dev_path.stem, len(dev), task.dev_rows))
    else:
        notes.append(f"{dev_path.name}: {len(dev)} rows held out of the train set, not GLUE's dev set")
    return train, dev, f"GLUE {task.folder} from TSV files; {'; '.join(notes)}"


def _count_note(part: str, rows: int, official: int) -> str:
    return f"{part}: {rows} rows (complete)" if rows == official else f"{part}: {rows} of {official} rows (PARTIAL)"


def read_tsv(task: GlueTask, path: Path) -> tuple[Example, ...]:
    """Examples of one official file.

    Raises UserError naming file and line if the file is absent, empty, or a row has the wrong number of columns, an
    unknown label or an empty sentence.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # MRPC's header starts with a byte-order mark
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text.") from None
    lines = text.removesuffix("\n").split("\n")
    if len(lines) <= task.header:
        raise UserError(f"{path}: no data rows.")
    columns = lines[0].count("\t") + 1
    return tuple(
        _parse_row(task, line.removesuffix("\r"), columns, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if number > task.header
    )


def _parse_row(task: GlueTask, line: str, columns: int, where: str) -> Example:
    fields = line.split("\t")
    if len(fields) != columns or columns <= max(*task.sentences, task.label):
        expected = max(columns, *(index + 1 for index in task.sentences), task.label + 1)
        raise UserError(f"{where}: {len(fields)} tab-separated columns where {expected} were expected.")
    sentences = [fields[index].strip() for index in task.sentences]
    if not all(sentences):
        raise UserError(f"{where}: an empty sentence.")
    label = _parse_label(task, fields[task.label].strip(), where)
    return Example(sentences[0], sentences[1] if len(sentences) == 2 else None, label)


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
    """Train examples, dev examples and provenance of task `name` from the hub's `glue` data set.

    Raises UserError if the data set cannot be reached.
    """
    from datasets import load_dataset  # slow to import, and needed on this path only

    task = GLUE_TASKS[name]
    configuration, dev_split = task.hub
    try:
        data = load_dataset("nyu-mll/glue", configuration)
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
    counts = f"{_count_note('train', len(train), task.train_rows)}; {_count_note(dev_split, len(dev), task.dev_rows)}"
    return train, dev, f"GLUE {task.folder} from the Hugging Face hub; {counts}"
