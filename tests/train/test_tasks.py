"""The embedded tasks and the GLUE loader."""

from __future__ import annotations

from collections import Counter

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks import TaskConfig, load_task
from crossvote.swstack.tasks.named import known_name
from crossvote.swstack.tasks.named.glue import GLUE_TASKS, read_tsv
from crossvote.swstack.tasks.named.grammar import DEV_ROWS, GRAMMAR_TASKS, TRAIN_ROWS


@pytest.mark.parametrize("name", GRAMMAR_TASKS)
def test_embedded_tasks_are_seeded_disjoint_and_short(name):
    task, again, other = (load_task(TaskConfig(name=name), seed) for seed in (0, 0, 1))
    assert task.train == again.train
    assert task.dev == again.dev
    assert task.train != other.train
    assert (len(task.train), len(task.dev)) == (TRAIN_ROWS, DEV_ROWS)
    texts = [(example.sentence1, example.sentence2) for example in task.train + task.dev]
    assert len(set(texts)) == len(texts)
    assert max(len(f"{a} {b or ''}".split()) for a, b in texts) <= 45
    assert all((second is not None) == (name != "grammar-single") for _, second in texts)


@pytest.mark.parametrize("name", ["grammar-single", "grammar-pair", "grammar-inference"])
def test_embedded_classes_are_balanced_and_words_alone_do_not_tell_them(name):
    task = load_task(TaskConfig(name=name), 0)
    counts = Counter(example.label for example in task.train)
    assert max(counts.values()) - min(counts.values()) <= 0.02 * TRAIN_ROWS
    vectorizer = CountVectorizer()
    text = [[f"{e.sentence1} | {e.sentence2}" for e in part] for part in (task.train, task.dev)]
    labels = [[e.label for e in part] for part in (task.train, task.dev)]
    words = LogisticRegression(max_iter=500).fit(vectorizer.fit_transform(text[0]), labels[0])
    assert words.score(vectorizer.transform(text[1]), labels[1]) < 0.66


@pytest.mark.parametrize(("kind", "masked"), [("causal-lm", False), ("masked-lm", True)])
def test_sentences_of_a_task_become_running_text(kind, masked):
    pairs = load_task(TaskConfig(name="grammar-pair"), 0)
    text = load_task(TaskConfig(name="grammar-pair", kind=kind, eval_limit=5), 0)
    assert (text.asks, text.labels, text.primary_metric) == (kind, (), "token_accuracy")
    assert {passage.text for passage in text.train} == {example.sentence2 for example in pairs.train}
    assert len({passage.text for passage in text.train}) == len(text.train)
    assert {passage.masked for passage in text.train} == {masked}
    assert len(text.dev) == 5
    assert "as running text" in text.provenance


def test_only_text_becomes_running_text_and_other_kinds_need_own_data():
    with pytest.raises(UserError, match="'digits' has no sentences"):
        load_task(TaskConfig(name="digits", kind="causal-lm"), 0)
    with pytest.raises(ValueError, match=r"task\.kind describes own data"):
        TaskConfig(name="grammar-pair", kind="classification")


def test_similarity_scores_span_the_scale():
    task = load_task(TaskConfig(name="grammar-similarity"), 0)
    scores = [example.label for example in task.train]
    assert task.regression
    assert task.num_labels == 1
    assert (min(scores), max(scores)) == (0.0, 5.0)


def test_limits_draw_subsets_and_say_so():
    task = load_task(TaskConfig(name="grammar-pair", train_limit=50, eval_limit=20), 0)
    assert (len(task.train), len(task.dev)) == (50, 20)
    assert "only 50 of these train rows" in task.provenance
    assert "only 20 of these dev rows" in task.provenance


def test_a_holdout_takes_the_place_of_dev_and_is_not_trained_on():
    whole = load_task(TaskConfig(name="grammar-pair"), 0)
    task = load_task(TaskConfig(name="grammar-pair", holdout=0.25, train_limit=100), 0)
    assert len(task.dev) == round(0.25 * len(whole.train))
    assert len(task.train) == 100
    assert set(task.dev) <= set(whole.train)
    assert not set(task.dev) & set(task.train)
    assert not set(task.dev) & set(whole.dev)
    assert "held out" in task.provenance
    with pytest.raises(UserError, match=r"task\.holdout = 1e-09"):
        load_task(TaskConfig(name="grammar-pair", holdout=1e-9), 0)


@pytest.mark.parametrize("more", [{}, {"holdout": 0.25}, {"kind": "causal-lm"}, {"eval_limit": 7}])
def test_a_task_to_be_measured_has_the_same_dev_examples_and_no_others(more):
    config = TaskConfig(name="grammar-pair", train_limit=100, **more)
    whole, measured = load_task(config, 0), load_task(config, 0, train=False)
    assert measured.dev == whole.dev
    assert not measured.train
    assert (measured.asks, measured.labels, measured.metrics) == (whole.asks, whole.labels, whole.metrics)


def test_glue_is_measured_where_its_train_file_is_not(tmp_path):
    (tmp_path / "RTE").mkdir()
    rows = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n"
    (tmp_path / "RTE" / "dev.tsv").write_text(rows)
    config = TaskConfig(name="rte", glue_dir=str(tmp_path))
    assert load_task(config, 0, train=False).dev[0].sentence1 == "a"
    for needed in (config, TaskConfig(name="rte", glue_dir=str(tmp_path), holdout=0.5)):
        with pytest.raises(UserError, match=r"train\.tsv: no such file"):
            load_task(needed, 0, train=needed is config)


def test_folder_names_are_task_names():
    assert [known_name(name) for name in ("SST-2", "sts-b", "CoLA", "MNLI", "mnli-mismatched")] == [
        "sst2", "stsb", "cola", "mnli", "mnli-mismatched",
    ]  # fmt: skip
    with pytest.raises(UserError, match="unknown task"):
        load_task(TaskConfig(name="sst3"), 0)


# Label counts of the dev sets, from the data's own documentation.
DEV_LABELS = {
    "cola": {0: 322, 1: 721},
    "sst2": {0: 428, 1: 444},
    "mrpc": {0: 129, 1: 279},
    "rte": {0: 146, 1: 131},
    "wnli": {0: 40, 1: 31},
    "qnli": {0: 2702, 1: 2761},
    "mnli": {0: 3479, 1: 3123, 2: 3213},
    "mnli-mismatched": {0: 3463, 1: 3129, 2: 3240},
}
COMPLETE_TRAIN = {"cola", "sst2", "mrpc", "stsb", "rte", "wnli"}


@pytest.mark.parametrize("name", GLUE_TASKS)
def test_glue_files_have_the_official_counts(name, glue_dir):
    task = load_task(TaskConfig(name=name, glue_dir=str(glue_dir)), 0)
    layout = GLUE_TASKS[name]
    if name in COMPLETE_TRAIN:
        assert len(task.train) == layout.train_rows
        assert "PARTIAL" not in task.provenance
    elif len(task.train) != layout.train_rows:
        assert f"{len(task.train)} of {layout.train_rows} rows (PARTIAL)" in task.provenance
    if "not GLUE's dev set" not in task.provenance:
        assert len(task.dev) == layout.dev_rows
    if name in DEV_LABELS:
        assert Counter(example.label for example in task.dev) == DEV_LABELS[name]
    if name == "stsb":
        assert sum(example.label for example in task.dev) / len(task.dev) == pytest.approx(2.364, abs=1e-3)
    assert (task.train[0].sentence2 is not None) == (name not in ("cola", "sst2"))


SST2, STSB, COLA, RTE, QQP = (GLUE_TASKS[name] for name in ("sst2", "stsb", "cola", "rte", "qqp"))
QQP_HEADER = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
QQP_ROW = "1\t2\t3\twhat is it?\tit is what?\t1\n"


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        (SST2, "sentence\tlabel\ngood\t1\nbad\n", "line 3: 1 tab-separated columns where 2"),
        (SST2, "sentence\tlabel\ngood\tyes\n", "line 2: label 'yes' where one of 0, 1"),
        (SST2, "sentence\tlabel\n \t1\n", "line 2: an empty sentence"),
        (SST2, "sentence\tlabel\n", "no data rows"),
        (SST2, "", "is empty"),
        (SST2, " \n\n", "is empty"),
        (SST2, "sentence\tlabel\ngo\0od\t1\n", "line 2: holds a NUL byte"),
        (SST2, "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer"),
        (SST2, "sentence\tsentence\tlabel\na\tb\t1\n", "two columns of its header are called 'sentence'"),
        (SST2, "text\tlabel\ngood\t1\n", r"its header has no column 'sentence'; it has text, label"),
        (SST2, "good\tfine\t1\n", r"line 1: neither a header with the columns sentence, label nor a row of SST-2"),
        (STSB, "sentence1\tsentence2\tscore\nx\ty\t7.5\n", "line 2: score '7.5' where a number from 0 to 5"),
        (RTE, "index\tsentence1\tsentence2\tlabel\n0\ta\n", "line 2: 2 tab-separated columns where 4"),
        (QQP, QQP_HEADER + "torn\n" * 5 + QQP_ROW * 9, r"line 2: not 6 .*, as in 5 lines of"),
        (COLA, "gj04\t1\t\tFine .\ngj04\t\t\tBad .", "line 2: label ''"),
    ],
)
def test_broken_rows_name_file_and_line(task, text, message, tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_tsv(task, path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_name_the_line(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes(b"sentence\tlabel\ngood\t1\nb\xffd\t0\n")
    with pytest.raises(UserError, match="line 3: not UTF-8"):
        read_tsv(SST2, path)


def test_quotes_headers_and_missing_final_newline(tmp_path):
    path = tmp_path / "dev.tsv"
    path.write_bytes(b'\xef\xbb\xbfsentence\tlabel\r\nhe said " so\t0\r\nfine\t1')
    assert [(e.sentence1, e.label) for e in read_tsv(SST2, path).examples] == [('he said " so', 0), ("fine", 1)]


def test_a_file_without_a_header_keeps_its_first_example(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("good film\t1\nbad film\t0\n")
    rows = read_tsv(SST2, path)
    assert [(e.sentence1, e.label) for e in rows.examples] == [("good film", 1), ("bad film", 0)]
    assert rows.notes == ("train.tsv has no header line",)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n \t\r\n", "\n\n\n"])
def test_blank_lines_at_the_end_are_no_rows(tmp_path, end):
    path = tmp_path / "dev.tsv"
    path.write_bytes(b"sentence\tlabel\ngood film\t1\nbad film\t0" + end.encode())
    rows = read_tsv(SST2, path)
    assert [(e.sentence1, e.label) for e in rows.examples] == [("good film", 1), ("bad film", 0)]
    assert rows.notes == ()


def test_columns_are_found_by_name_in_any_order(tmp_path):
    path = tmp_path / "dev.tsv"
    path.write_text("label\tsentence2\tindex\tsentence1\nentailment\thypothesis\t0\tpremise\n")
    (example,) = read_tsv(RTE, path).examples
    assert (example.sentence1, example.sentence2, example.label) == ("premise", "hypothesis", 0)


def test_rows_of_qqp_that_a_line_break_tore_are_dropped_counted_and_said(tmp_path):
    path = tmp_path / "train.tsv"
    torn = "7\t8\t9\tone question\nand its rest?\tanother\t0\n"
    path.write_text(QQP_HEADER + QQP_ROW * 3 + torn + QQP_ROW + "\n \n")
    rows = read_tsv(QQP, path)
    assert len(rows.examples) == 4
    assert rows.notes == ("2 broken lines of train.tsv dropped, the first is line 5",)


def test_empty_questions_of_a_pair_are_kept_and_said(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text(QQP_HEADER + QQP_ROW + "1\t2\t3\t\twhy?\t0\n")
    rows = read_tsv(QQP, path)
    assert [(e.sentence1, e.sentence2) for e in rows.examples][1] == ("", "why?")
    assert rows.notes == ("1 pairs of train.tsv have an empty sentence",)


def test_another_version_of_a_data_set_is_not_called_partial(tmp_path):
    folder = tmp_path / "QNLI"
    folder.mkdir()
    header, row = "index\tquestion\tsentence\tlabel\n", "0\twhy?\tso\tentailment\n"
    (folder / "train.tsv").write_text(header + row * 3)
    (folder / "dev.tsv").write_text(header + row * 5732)
    provenance = load_task(TaskConfig(name="qnli", glue_dir=str(tmp_path)), 0).provenance
    assert "train: 3 of 104743 rows (PARTIAL)" in provenance
    assert "dev: 5732 rows (QNLI's first version, not the present one of 5463 rows)" in provenance
    (folder / "dev.tsv").write_text(header + row * 6000)
    provenance = load_task(TaskConfig(name="qnli", glue_dir=str(tmp_path)), 0).provenance
    assert "dev: 6000 rows (ANOTHER VERSION: the official file has 5463)" in provenance


def test_absent_data_is_named(tmp_path):
    with pytest.raises(UserError, match="RTE: no such directory"):
        load_task(TaskConfig(name="rte", glue_dir=str(tmp_path)), 0)
    (tmp_path / "RTE").mkdir()
    with pytest.raises(UserError, match=r"no dev\.tsv"):
        load_task(TaskConfig(name="rte", glue_dir=str(tmp_path)), 0)


def test_hub_data_becomes_examples(monkeypatch):
    calls = []

    def load_dataset(path, configuration):
        calls.append((path, configuration))
        rows = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [2, 0], "idx": [0, 1]}
        return {"train": rows, "validation_matched": rows, "validation_mismatched": rows}

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    task = load_task(TaskConfig(name="MNLI"), 0)
    assert calls == [("nyu-mll/glue", "mnli")]
    assert [(e.sentence1, e.sentence2, e.label) for e in task.train] == [("a", "c", 2), ("b", "d", 0)]
    assert "train: 2 of 392702 rows (PARTIAL)" in task.provenance


def test_a_hub_out_of_reach_is_asked_once_for_data_and_then_the_cache(monkeypatch):
    import logging

    import datasets.config
    from huggingface_hub import constants

    asked = []

    def unreachable():
        asked.append("hub")
        raise ConnectionError("no route")

    def load_dataset(path, configuration):
        assert (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE) == (True, True)
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s")
        asked.append("cache")
        return {name: {"sentence1": ["a"], "sentence2": ["b"], "label": [1]} for name in ("train", "validation")}

    records = []
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "handle", records.append)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_session", unreachable)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert len(load_task(TaskConfig(name="rte"), 0).train) == 1
    assert asked == ["hub", "cache"]
    assert (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE) == (False, False)
    assert records == []


def test_an_unreachable_hub_is_said_with_the_way_out(monkeypatch):
    def load_dataset(path, configuration):
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(UserError, match=r"'rte' cannot be read .*no route.* set task\.glue_dir"):
        load_task(TaskConfig(name="rte"), 0)
