"""Own data from Python: whatever rows come as, and files that are larger than the memory they may take."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest

import crossvote as cv
from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks.own import task_from_rows
from crossvote.swstack.tasks.rows import FileRows

ROWS = [{"sentence1": f"sentence {i}", "label": ("bad", "good")[i % 2]} for i in range(20)]
TEXTS = [row["sentence1"] for row in ROWS]


class Items:
    """A data set of torch: asked by number."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, number):
        return self.items[number]


def frame():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(ROWS)


def dataset():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"sentence1": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    return datasets.Dataset.from_list(ROWS, features=features)


def loader():
    from torch.utils.data import DataLoader

    return DataLoader(Items(ROWS), batch_size=4, shuffle=True)


FORMS = {
    "mappings": lambda: ROWS,
    "tuples": lambda: [(row["sentence1"], row["label"]) for row in ROWS],
    "frame": frame,
    "dataset": dataset,
    "items": lambda: Items(ROWS),
    "items of tuples": lambda: Items([tuple(row.values()) for row in ROWS]),
    "loader": loader,
    "generator": lambda: (row for row in ROWS),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_may_come_in_any_form(form):
    task = cv.task("own", train=FORMS[form](), dev=ROWS[:4])
    assert [example.sentence1 for example in task.train] == TEXTS
    assert [example.label for example in task.train] == [i % 2 for i in range(20)]
    assert task.labels == ("bad", "good")
    assert "train: 20 rows of train" in task.provenance


def test_numbers_of_a_frame_and_pairs_of_texts_keep_what_they_are():
    pandas = pytest.importorskip("pandas")
    train = pandas.DataFrame({"a": ["x", "y"], "b": ["u", "v"], "stars": [1, 3]})
    columns = {"sentence1": "a", "sentence2": "b", "label": "stars"}
    task = cv.task("own", train=train, dev=train, columns=columns)
    assert task.labels == ("1", "3")
    assert [example.sentence2 for example in task.train] == ["u", "v"]
    pairs = task_from_rows("own", [("x", "u", 1), ("y", "v", 3)], [("x", "u", 1)])
    assert pairs.train == task.train
    train.loc[0, "b"] = None
    with pytest.raises(UserError, match=r"train, row 1: column 'b' \(sentence2\) is empty"):
        cv.task("own", train=train, dev=train, columns=columns)


def test_settings_count_for_rows_as_for_files(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("sentence1,label\n" + "".join(f"{row['sentence1']},{row['label']}\n" for row in ROWS))
    rows = cv.task("own", seed=3, train=ROWS, dev=ROWS, train_limit=5, metrics=("f1",), max_length=16)
    file = cv.task("own", seed=3, train=path, dev=path, train_limit=5, metrics=("f1",), max_length=16)
    assert rows.train == file.train
    assert (len(rows.train), len(rows.dev)) == (5, 20)
    assert (rows.metrics, rows.max_length) == (("f1",), 16)
    for task in (rows, file):
        assert "only 5 of these train rows used" in task.provenance
    held = cv.task("own", train=path, dev=path, holdout=0.25, train_limit=5)
    assert (len(held.train), len(held.dev)) == (5, 5)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([("a text",)], "row 1: a tuple is no row"),
        ([3], "row 1: a int is no row"),
        ([], "no rows"),
        ([(np.zeros(3), 1), (np.ones(3), 0)], "is no text"),
    ],
)
def test_what_is_no_row_is_refused(train, message):
    with pytest.raises(UserError, match=message):
        cv.task("own", train=train, dev=ROWS)


def test_one_part_alone_is_refused():
    with pytest.raises(UserError, match="both"):
        cv.task("own", train=ROWS)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
def test_a_large_file_is_never_in_memory(tmp_path, suffix):
    path, small = tmp_path / f"large.{suffix}", tmp_path / f"small.{suffix}"
    text = "word " * 60
    row = '{{"sentence1": "{text}{i}", "label": "{label}"}}'
    head, line, between, end = {
        "csv": ("sentence1,label\n", "{text}{i},{label}", "\n", ""),
        "jsonl": ("", row, "\n", "\n"),
        "json": ("[\n", row, ",\n", "]\n"),
    }[suffix]
    for target, count in ((path, 30_000), (small, 10)):
        with target.open("w") as file:
            file.write(head)
            file.writelines((between if i else "") + line.format(text=text, i=i, label=i % 2) for i in range(count))
            file.write(end)
    tracemalloc.start()
    task = cv.task("large", train=path, dev=small, train_limit=50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len({example.sentence1 for example in task.train}) == 50
    assert "train: 30000 rows" in task.provenance
    assert path.stat().st_size > 9e6
    assert peak < 3e6  # of which a thousand rows are looked at to find what kind of task it is


def test_what_people_hand_over_that_is_no_list_of_rows_is_told_what_to_do():
    from datasets import Dataset, DatasetDict

    split = Dataset.from_list(ROWS)
    with pytest.raises(UserError, match=r"a DatasetDict has several splits \(train, test\); take one of them"):
        cv.task("own", train=DatasetDict({"train": split, "test": split}), dev=split)
    encoded = [{"input_ids": [1, 2, 3], "labels": 1}] * 4
    with pytest.raises(UserError, match=r"no column 'label' .*input_ids, labels; tokens are not taken, but texts"):
        cv.task("own", train=encoded, dev=encoded)


def test_numbers_stand_for_classes_that_are_named():
    """As in files that others made of a data set whose classes were indices."""
    rows = [{"words": ["a", "b"], "tags": [1, "O"]}, {"words": ["c"], "tags": [2.0]}]
    named = ["O", "B-X", "I-X"]
    task = cv.task("own", train=rows, dev=rows, labels=named)
    assert [example.tags for example in task.dev] == [(1, 0), (2,)]
    with pytest.raises(UserError, match="row 1, column 'tags': 3 is none of the classes O, B-X, I-X"):
        cv.task("own", train=[{"words": ["a"], "tags": [3]}], dev=rows, labels=named)
    numbers = [{"words": ["a", "b"], "tags": [1, 0]}]  # where numbers are names, they name
    assert cv.task("own", train=numbers, dev=numbers, labels=["1", "0"]).dev[0].tags == (0, 1)
    texts = [{"sentence1": "a", "label": "yes"}, {"sentence1": "b", "label": "no"}]
    with pytest.raises(UserError, match="0 is none of the classes"):  # nobody said in which order they are
        cv.task("own", train=texts, dev=[{"sentence1": "a", "label": 0}])


def test_a_text_a_line(tmp_path):
    (tmp_path / "train.txt").write_bytes("\ufeffthe red\r\n\r\n  blue \n".encode())
    task = cv.task("own", kind="causal-lm", train=tmp_path / "train.txt", dev=tmp_path / "train.txt")
    assert [example.text for example in task.train] == ["the red", "  blue "]


def test_columns_of_one_name_are_refused_wherever_they_stand(tmp_path):
    """A row would keep the last of them: another column than the one that was meant."""
    pandas = pytest.importorskip("pandas")
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    parquet.write_table(arrow.Table.from_arrays([["a", "b"], [0, 1], [1, 0]], ["sentence1", "label", "label"]), path)
    frame = pandas.DataFrame([["a", 0, 1], ["b", 1, 0]], columns=["sentence1", "label", "label"])
    for rows, where in ((FileRows(str(path)), str(path)), (frame, "own data")):
        with pytest.raises(UserError, match=re.escape(f"{where}: two columns are called 'label'.")):
            task_from_rows("own", rows, rows)
