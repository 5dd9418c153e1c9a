"""What can be asked of a model, and data that people bring: every kind trains, is scored, and refuses by row."""

from __future__ import annotations

import dataclasses
import gzip
import json

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    ViTConfig,
    ViTForImageClassification,
)

import crossvote as cv
from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.heads import Head
from crossvote.swstack.models.loading import load, load_model, save_model
from crossvote.swstack.tasks import TaskConfig, load_task
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.tasks.kinds import head_of
from crossvote.swstack.tasks.kinds.question_answering import _overlap, _plain
from crossvote.swstack.tasks.kinds.token_classification import _entities
from crossvote.swstack.tasks.own import task_from_rows
from crossvote.swstack.tasks.rows import FileRows, read_rows
from crossvote.swstack.training.config import FinetuneConfig
from crossvote.swstack.training.finetune import finetune
from crossvote.swstack.training.predict import evaluate

WORDS = ("alpha", "beta", "gamma", "delta", "red", "green", "blue")
COLOURS = ("red", "green", "blue")
SIZES = {"vocab_size": 15, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2, "max_position_embeddings": 32}  # fmt: skip
TRAIN = FinetuneConfig(epochs=12, batch_size=8, learning_rate=3e-3, precision="float32")


def sentences(count, seed=0):
    rng = np.random.default_rng(seed)
    return [[str(word) for word in rng.choice(WORDS, int(rng.integers(4, 9)))] for _ in range(count)]


def tagged(count, seed=0):
    return [{"words": words, "tags": ["B-COL" if word in COLOURS else "O" for word in words]} for words in
            sentences(count, seed)]  # fmt: skip


def questions(count, seed=0):
    rows = []
    for words in sentences(count, seed):
        plain = [word for word in words if word not in COLOURS]
        at = len(plain) // 2
        context = " ".join([*plain[:at], "red", *plain[at:]])
        rows.append({"question": "the", "context": context, "answers": ["red"]})
    return rows


def passages(count, seed=0):
    """Each word is followed by the next of the list, but for one in five."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        at = [int(rng.integers(7))]
        for _ in range(11):
            at.append(int(rng.integers(7)) if rng.random() < 0.2 else (at[-1] + 1) % 7)
        rows.append({"text": " ".join(WORDS[i] for i in at)})
    return rows


def own(kind, make):
    return task_from_rows("own", make(64), make(32, 1), kind=kind, max_length=24)


MODELS = {
    "token-classification": (BertForTokenClassification, BertConfig(**SIZES), tagged),
    "question-answering": (BertForQuestionAnswering, BertConfig(**SIZES), questions),
    "masked-lm": (BertForMaskedLM, BertConfig(**SIZES), passages),
    "causal-lm": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=15, n_embd=32, n_layer=2, n_head=2, n_positions=32, bos_token_id=3, eos_token_id=3),
        passages,
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_learns_and_comes_back_from_a_directory(kind, tiny_directory, tmp_path):
    make, config, rows = MODELS[kind]
    task = own(kind, rows)
    _, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(make(config), tokenizer, tmp_path / "model")
    model, tokenizer = load(ModelConfig(source=str(tmp_path / "model")), head_of(task), seed=0)
    before = evaluate(model, tokenizer, task)
    config = dataclasses.replace(TRAIN, epochs=20) if kind == "masked-lm" else TRAIN  # it asks for few tokens at a time
    result = finetune(model, tokenizer, task, config, 0, tmp_path / "work")
    scores = evaluate(model, tokenizer, task)
    if kind == "masked-lm":  # few tokens are asked for, so that accuracy is coarse
        assert scores["perplexity"] < 0.8 * before["perplexity"]
    else:
        assert scores[task.primary_metric] > before[task.primary_metric] + 15
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]
    save_model(model, tokenizer, tmp_path / "trained")
    again, tokenizer = load(ModelConfig(source=str(tmp_path / "trained")), head_of(task), seed=3)
    assert evaluate(again, tokenizer, task) == scores
    # Scores do not depend on how examples were batched.
    assert evaluate(again, tokenizer, task, batch_size=3) == pytest.approx(scores, rel=1e-5)


def saved(make, config, tokenizer, folder):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(make(config), tokenizer, folder)
    return str(folder)


def test_a_model_that_sees_later_tokens_is_not_asked_for_the_next_one(tiny_directory, tmp_path):
    """BERT and its like look at the very token that they are asked for; their perplexity would be near 1."""
    _, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    task = own("causal-lm", passages)
    with pytest.raises(UserError, match=r"family 'bert' reads later tokens too, .* is_decoder = true"):
        load(ModelConfig(source=str(tiny_directory)), head_of(task), seed=0)
    both, left = (
        saved(BertLMHeadModel, BertConfig(**SIZES, is_decoder=decoder), tokenizer, tmp_path / f"{decoder}")
        for decoder in (False, True)
    )
    with pytest.raises(UserError, match="reads later tokens too"):
        cv.load(BertLMHeadModel.from_pretrained(both), task, tokenizer)
    assert load(ModelConfig(source=left), head_of(task), seed=0)[0].config.is_decoder


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("masked-lm", "gpt2", "family 'gpt2', for which transformers has no model of masked language modelling"),
        ("image-classification", "bert", "family 'bert', for which .* image classification"),
        ("question-answering", "vit", "family 'vit', for which .* extractive question answering"),
    ],
)
def test_a_family_without_a_head_of_the_kind_is_named(kind, source, said, tiny_directory, tmp_path):
    """It was a list of all classes of configurations that the library knows, cut off."""
    if source == "gpt2":
        make, config, _ = MODELS["causal-lm"]
        make(config).save_pretrained(tmp_path / source)
    elif source == "vit":
        config = ViTConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
                           image_size=8, patch_size=2, num_channels=1)  # fmt: skip
        ViTForImageClassification(config).save_pretrained(tmp_path / source)
    folder = tiny_directory if source == "bert" else tmp_path / source
    with pytest.raises(UserError, match=said):
        load(ModelConfig(source=str(folder)), Head(kind, 2), seed=0)


def test_pictures_of_digits_are_told_by_a_tiny_vit(tmp_path):
    task = load_task(TaskConfig(name="digits", train_limit=400, eval_limit=100), 0)
    config = ViTConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=8,
                       patch_size=2, num_channels=1)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    model, inputs = load(ModelConfig(source=str(tmp_path / "vit")), head_of(task), seed=0)
    finetune(model, inputs, task, FinetuneConfig(epochs=10, batch_size=16, learning_rate=3e-3), 0, tmp_path)
    assert evaluate(model, inputs, task)["accuracy"] > 60  # chance is 10
    assert model.config.id2label[7] == "7"


def test_perplexity_is_that_of_every_token_but_the_first_asked_for_once(tiny_directory, tmp_path):
    _, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    task = own("causal-lm", passages)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(MODELS["causal-lm"][1]).eval()
    encoded = encode(tokenizer, task.dev, 12)
    assert max(encoded.lengths) == 12
    text = [token for p in task.dev for token in tokenizer(p.text, add_special_tokens=False)["input_ids"]]
    asked = [int((labels[1:] != -100).sum()) for labels in encoded.labels]
    assert sum(asked) == len(text) - 1
    assert all(count <= 12 for count in asked[:1])
    assert all(count <= 6 for count in asked[1:])  # half a window of context before each
    # A model that gives all words the same probability has a perplexity of their number.
    torch.nn.init.zeros_(model.lm_head.weight)
    assert evaluate(model, tokenizer, task)["perplexity"] == pytest.approx(15, rel=1e-5)


def test_tokens_put_between_passages_are_seen_and_not_asked_for(tiny_directory):
    _, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    tokenizer.eos_token = tokenizer.sep_token
    for kind in ("causal-lm", "masked-lm"):
        encoded = encode(tokenizer, own(kind, passages).dev, 12)
        seen = [token for row in encoded.features["input_ids"] for token in row.tolist()]
        asked = [token for row in encoded.labels for token in row.tolist()]
        assert tokenizer.eos_token_id in seen
        assert tokenizer.eos_token_id not in asked
        assert any(token != -100 for token in asked)


def test_entities_and_answers_are_scored_as_their_data_sets_do():
    assert _entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "B-LOC"]) == {
        (0, 2, "PER"), (3, 4, "LOC"), (4, 5, "LOC"), (5, 6, "LOC"),
    }  # fmt: skip
    assert _plain("The Red, fox!") == ["red", "fox"]
    assert _overlap("the red fox", "a red dog") == pytest.approx(0.5)


ROWS = [{"text": "red alpha", "stars": "good"}, {"text": "blue beta", "stars": "bad"}]
COLUMNS = {"sentence1": "text", "label": "stars"}


def write(folder, suffix):
    path = folder / f"data.{suffix}"
    if suffix in ("csv", "tsv"):
        separator = "," if suffix == "csv" else "\t"
        lines = [separator.join(ROWS[0]), *(separator.join(row.values()) for row in ROWS)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    elif suffix == "json":
        path.write_text(json.dumps(ROWS))
    elif suffix == "parquet":
        import pandas

        pandas.DataFrame(ROWS).to_parquet(path)
    else:
        from datasets import Dataset

        path = folder / "saved"
        Dataset.from_list(ROWS).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet", "saved"])
def test_data_files_of_every_kind_give_the_same_task(tmp_path, suffix):
    path = str(write(tmp_path, suffix))
    assert [dict(row) for row in read_rows(path)] == ROWS
    task = load_task(TaskConfig(name="reviews", train=path, dev=path, columns=COLUMNS), 0)
    assert task.labels == ("bad", "good")
    assert [(e.sentence1, e.label) for e in task.train] == [("red alpha", 1), ("blue beta", 0)]
    assert task.metrics == ("accuracy", "f1")
    assert "2 rows" in task.provenance


def test_rows_come_from_python_too():
    import pandas
    from datasets import ClassLabel, Dataset, Features, Value

    data = Dataset.from_list([{"sentence1": "red", "label": 1}, {"sentence1": "blue", "label": 0}])
    frame = pandas.DataFrame({"sentence1": ["red", "blue"], "label": [0.5, 3.0]})
    assert task_from_rows("own", data, data).labels == ("0", "1")
    scores = task_from_rows("own", frame, frame)
    assert scores.regression
    assert scores.metrics == ("spearman", "pearson")
    named = data.cast(Features({"sentence1": Value("string"), "label": ClassLabel(names=["no", "yes"])}))
    by_name = task_from_rows("own", named, named)
    assert (by_name.labels, by_name.train[0].label) == (("no", "yes"), 1)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "dev.csv: no rows"),
        ([{"text": "a", "label": 0}], {}, r"dev\.csv, row 1: no column 'sentence1' \(sentence1\); it has text, label"),
        ([{"sentence1": "a", "label": "x"}], {}, r"row 1, column 'label': 'x' is none of the classes 0, 1"),
        ([{"sentence1": 3, "label": "1"}], {}, r"row 1, column 'sentence1': 3 is no text"),
        ([{"sentence1": "a", "label": "x"}], {"kind": "regression"}, r"row 1, column 'label': 'x' is no finite"),
        ([{"sentence1": "a", "label": " "}], {}, r"row 1, column 'label': ' ' is no class"),
        ([{"sentence1": "a", "label": [1]}], {}, r"row 1, column 'label': \[1\] is no class"),
        ([{"sentence1": "a", "label": float("nan")}], {}, r"row 1, column 'label': nan is no class"),
        ([{"sentence1": "a\ud800", "label": "1"}], {}, r"row 1, column 'sentence1': .* is no text"),
    ],
)
def test_broken_rows_are_named(rows, options, message):
    good = [{"sentence1": "a", "label": "0"}, {"sentence1": "b", "label": "1"}]
    with pytest.raises(UserError, match=message):
        task_from_rows("own", good, rows, where=("train.csv", "dev.csv"), **options)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 1], "all rows have the class '1'; at least two"),
        (["1", "1.0", "2"], "the classes '1' and '1.0' are the same number"),
        (["Yes", "no", "yes"], "the classes 'Yes' and 'yes' differ in capitals only"),
        ([{"a": 1}, {"a": 2}], r"train, row 1, column 'label': \{'a': 1\} is no class"),
        ([None, 1], r"row 1: column 'label' \(label\) is empty"),
        (["nan", "1"], "'nan' is no class"),
        (["\01", "0"], "is no class"),
        (["1.5", "1e400"], "'1e400' is no class"),
        (list(range(30)), "every row has a class of its own"),
    ],
)
def test_labels_that_are_no_classes_are_named(labels, message):
    rows = [{"sentence1": "a", "label": label} for label in labels]
    with pytest.raises(UserError, match=message):
        task_from_rows("own", rows, rows, kind="classification")


def test_classes_that_differ_in_capitals_are_taken_where_they_are_named():
    rows = [{"sentence1": "a", "label": label} for label in ("A", "a")]
    assert task_from_rows("letters", rows, rows, labels=("A", "a")).labels == ("A", "a")


def test_a_class_is_the_same_however_it_is_written():
    rows = [{"sentence1": "a", "label": label} for label in (1, 1.0, "1", " 1 ", np.int64(0), 0)]
    task = task_from_rows("own", rows, rows)
    assert task.labels == ("0", "1")
    assert [example.label for example in task.train] == [1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(("first", "second"), [("pair", "single sentence"), ("single sentence", "pair")])
def test_pairs_and_single_sentences_are_not_mixed(first, second):
    rows = {
        "pair": [{"sentence1": "a", "sentence2": "b", "label": label} for label in (0, 1)],
        "single sentence": [{"sentence1": "a", "label": label} for label in (0, 1)],
    }
    message = f"dev, row 1: a {second}, but the first one is a {first}"
    with pytest.raises(UserError, match=message):
        task_from_rows("own", rows[first], rows[second])
    with pytest.raises(UserError, match=f"train, row 3: a {second}"):
        task_from_rows("own", [*rows[first], *rows[second]], rows[first])


def test_empty_sentences_are_kept_and_said():
    rows = [{"sentence1": " ", "label": 0}, {"sentence1": "a", "label": 1}]
    assert "2 of their first sentences are empty" in task_from_rows("own", rows, rows).provenance


def test_a_line_of_json_may_hold_any_letter(tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [{"text": "a\u2028b\x85c"}, {"text": "d"}]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert list(read_rows(str(path))) == rows


ANSWERED = {"question": "q", "context": "red"}


@pytest.mark.parametrize(
    "answers",
    [
        5,
        [5],
        "{bad",
        {"txt": ["red"]},
        {"text": ["red"], "answer_start": []},
        {"text": ["red"], "answer_start": ["x"]},
        {"text": 5, "answer_start": 5},
    ],
)
def test_answers_of_another_form_are_named(answers):
    with pytest.raises(UserError, match=r"dev, row 1: the answers must be a text, a list of texts, or tables"):
        task_from_rows("own", [{**ANSWERED, "answers": "red"}], [{**ANSWERED, "answers": answers}])


def test_broken_data_of_other_kinds_are_named():
    with pytest.raises(UserError, match="a word is empty or no text"):
        task_from_rows("own", [{"words": ["a", ""], "tags": ["O", "B-X"]}], tagged(1))
    with pytest.raises(UserError, match="row 1: 1 words and 2 tags"):
        task_from_rows("own", [{"words": 5, "tags": ["O", "B-X"]}], tagged(1))
    picture = [[0.0, 1.0], [0.0, 1.0]]
    two = [{"pixels": picture, "label": 0}, {"pixels": picture, "label": 1}]
    with pytest.raises(UserError, match=r"dev, row 1: a picture of 1 x 1 x 2 pixels, but the first .* of 1 x 2 x 2"):
        task_from_rows("own", two, [{"pixels": picture[:1], "label": 0}])
    with pytest.raises(UserError, match="pixels must be rows"):
        task_from_rows("own", [{"pixels": [], "label": 0}, {"pixels": picture, "label": 1}], two)
    with pytest.raises(UserError, match="row 1: 2 words and 1 tags"):
        task_from_rows("own", [{"words": ["a", "b"], "tags": ["O"]}], tagged(1))
    with pytest.raises(UserError, match=r"row 1: the answer 'green' is not in the passage"):
        task_from_rows("own", [{"question": "q", "context": "red", "answers": "green"}], questions(1))
    with pytest.raises(UserError, match="numbers from 0 to 1"):
        task_from_rows("own", [{"pixels": [[2.0]], "label": 0}], [{"pixels": [[1.0]], "label": 0}])
    with pytest.raises(UserError, match=r"task\.columns: 'sentense1' is no part of classification"):
        task_from_rows("own", [{"a": 1}], [{"a": 1}], kind="classification", columns={"sentense1": "a"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.csv", "a,b\n1,2,3\n", "line 2: not 2 columns"),
        ("data.jsonl", '{"a": 1}\n{', "line 2: not JSON"),
        ("data.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("data.json", "[" * 100_000, "row 1: must be a JSON object"),
        ("data.json", "[" + '{"a":' * 100_000, "row 1: not JSON"),
        ("data.json", '[{"a": 1}, {"a"]', "row 2: not JSON"),
        ("data.json", '[{"a": 1}, 3]', "row 2: must be a JSON object"),
        ("data.json", '[{"a": 1}, ]', "row 2: must be a JSON object"),
        ("data.json", '[{"a": 1}', "row 1: a comma, or the list's end"),
        ("data.json", '[{"a": 1} {"a": 2}]', "row 1: a comma, or the list's end"),
        ("data.json", '[{"a": 1}]]', "follows the end of the list"),
        ("data.json", "", "a JSON list of objects"),
        ("data.csv", "a,a\n1,2\n", "two columns are called 'a'"),
        ("data.csv", 'a,b\n1,2\n"1,2\n', "opened in the row that begins in line 3 or after it, and never closed"),
        ("data.tsv", 'a\tb\n"1" 2\t3\n', "a field in line 2 or after it goes on behind its closing quotation mark"),
        ("data.tsv", 'a\tb\n1\t0\n"5 cm\t1\n2\t0\n3 "\t1\n', "opens a field in line 3 .* to line 5 over whole rows"),
        ("data.csv", "a,b\n1,x\0y\n", "line 2: holds a NUL byte"),
        ("data.csv", "a,b\n1,2\n".encode("utf-16-le"), "line 1: holds a NUL byte, so this is no text .or UTF-16"),
        ("data.csv", "a,b\n1,2\n".encode("utf-16"), r"not UTF-8 text \(byte 0\) but UTF-16; save it as UTF-8"),
        ("data.jsonl", '{"a": 1}\n'.encode("utf-16"), "but UTF-16; save"),
        ("data.csv", gzip.compress(b"a,b\n1,2\n", mtime=0), "but compressed by gzip; unpack it"),
        ("data.csv", b"a,b\n1,2\na,b\n3,4\n", "line 3: the header stands there again"),
        ("data.csv", b"a,b\n1,\xf6\n", r"not UTF-8 text \(byte 6\); save it as UTF-8"),
        ("data.csv", "\n\n", None),
        ("data.jsonl", '{"a": 1, "a": 2}\n', "line 1: not JSON .the key 'a' stands there twice"),
        ("data.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        ("data.json", "{}", "a JSON list of objects"),
        ("data.json", '{"a": 1}\n{"a": 2}\n', "a JSON list of objects, alone or under 'data'; one object a line is"),
        ("data.json", '{"data": {"a": 1}}', "a JSON list of objects"),
        ("data.json", '{"data": [{"a": 1}', "row 1: a comma, or the list's end"),
        ("data.json", '{"data": [{"a": 1}], 3: 4}', "not JSON .a key and a colon"),
        ("data.json", '{"data": [{"a": 1}] "b": 4}', "a comma, or the object's end, must follow 'data'"),
        ("data.json", '{"data": [{"paragraphs": 3}]}', "article 1: 'paragraphs' must be a list of objects"),
        ("data.json", '{"data": [{"paragraphs": [{"qas": []}]}]}', "article 1, paragraph 1: no 'context'"),
        ("data.json", '{"data": [{"paragraphs": [{"context": "a"}]}]}', "paragraph 1: 'qas' must be a list"),
        ("data.parquet", "nonsense", "cannot be read"),
        ("data.xls", "", "no kind of data that is known"),
        ("missing.csv", None, "no such file"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if message is None:
        assert list(read_rows(str(path))) == []
        return
    with pytest.raises(UserError, match=message) as caught:
        list(read_rows(str(path)))
    assert str(path) in str(caught.value)


def test_a_list_of_objects_may_be_laid_out_in_any_way(tmp_path):
    rows = [{"a": "x" * length, "b": ["]", {"c": "}, {"}]} for length in (0, 1, 70_000, 200_000, 3)]
    path = tmp_path / "data.json"
    for text in (
        json.dumps(rows),
        json.dumps(rows, indent=2),
        " \n[ " + " ,\n".join(map(json.dumps, rows)) + "\n ] \n",
    ):
        path.write_text(text, encoding="utf-8-sig")
        assert list(read_rows(str(path))) == rows
    path.write_text("[ ]")
    assert list(read_rows(str(path))) == []


@pytest.mark.parametrize("version", ['"1.1"', "1.1", "[1, {}]"])
def test_the_nested_form_of_squad_is_a_row_for_each_question(tmp_path, version):
    """As its files are; the library's form of them, with flat rows under 'data', is read as well."""
    first, second = "the red fox " * 6000 + "ran", "a fox slept"
    asked = [("who ran?", [("red fox", 4), ("fox", 8)]), ("what did it?", [("ran", len(first) - 3)])]
    qas = [
        {"id": question, "question": question, "answers": [{"text": t, "answer_start": at} for t, at in answers]}
        for question, answers in asked
    ]
    more = {"id": "3", "question": "who slept?", "answers": [{"text": "fox", "answer_start": 2}]}
    articles = [
        {"title": "one", "paragraphs": [{"context": first, "qas": qas}, {"context": second, "qas": [more]}]},
        {"title": "none", "paragraphs": []},
    ]
    path = tmp_path / "squad.json"
    for text in (
        f'{{"version": {version}, "data": {json.dumps(articles)}}}',
        f'{{"data": {json.dumps(articles, indent=1)},\n "version": {version} }}\n',
    ):
        path.write_text(text)
        task = task_from_rows("squad", FileRows(str(path)), FileRows(str(path)))
        assert [one.question for one in task.dev] == ["who ran?", "what did it?", "who slept?"]
        assert [one.context for one in task.dev] == [first, first, second]
        assert task.dev[0].answers == ("red fox", "fox")
        assert task.dev[0].starts == (4, 8)
    rows = [{"question": "who?", "context": "red fox", "answers": {"text": ["fox"], "answer_start": [4]}}]
    path.write_text(json.dumps({"version": "1.1", "data": rows}))
    assert list(FileRows(str(path))) == rows


def test_a_broken_answer_of_squad_is_named_by_its_row(tmp_path):
    wrong = {"question": "who?", "answers": [{"text": "fox", "answer_start": 0}]}
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "red fox", "qas": [wrong]}]}]}))
    with pytest.raises(UserError, match=r"row 1: the answer 'fox' is not in the passage where it is said to be"):
        task_from_rows("squad", FileRows(str(path)), FileRows(str(path)))


@pytest.mark.parametrize(
    "content",
    [
        b"sentence1,label\r\nred,0\r\nblue,1\r\n",
        b"sentence1,label\rred,0\rblue,1\r",
        b"\xef\xbb\xbfsentence1,label\nred,0\nblue,1",
        b"\n \nsentence1,label\nred,0\n\nblue,1\n\n\n",
        b'"sentence1", label \n"red",0\nblue, 1 \n',
        b"id,sentence1,more,label\n1,red,x,0\n2,blue,y,1\n",
    ],
)
def test_files_of_other_programs_say_the_same(tmp_path, content):
    (tmp_path / "data.csv").write_bytes(content)
    path = str(tmp_path / "data.csv")
    task = load_task(TaskConfig(name="own", train=path, dev=path), 0)
    assert [(e.sentence1, e.label) for e in task.train] == [("red", 0), ("blue", 1)]
    assert task.labels == ("0", "1")


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("Sentence1,LABEL\na,0\n", {}, r"it has Sentence1, LABEL; name it with task\.columns = \{label = 'LABEL'\}"),
        ("a,b\nred,0\nblue,1\n", {"sentence1": "a", "label": "a"}, "column 'a' is named for two parts"),
        ("sentence1,label\n,0\n ,1\n", {}, "every first sentence is empty"),
        # What a spreadsheet saves where a comma is in numbers, and tabs under the name of the other.
        ("sentence1;label\nred, dark;0\nblue;1\n", {}, r"separated by semicolons instead of commas; save it"),
        ("sentence1\tlabel\nred\t0\nblue\t1\n", {}, r"separated by tabs instead of commas; save it"),
    ],
)
def test_columns_that_are_not_the_tasks_are_named(tmp_path, content, columns, message):
    (tmp_path / "data.csv").write_text(content)
    path = str(tmp_path / "data.csv")
    with pytest.raises(UserError, match=message):
        load_task(TaskConfig(name="own", train=path, dev=path, columns=columns), 0)


def test_metrics_are_chosen_by_name():
    task = load_task(TaskConfig(name="grammar-inference", metrics=("f1_macro", "balanced_accuracy")), 0)
    assert task.primary_metric == "f1_macro"
    with pytest.raises(UserError, match=r"task\.metrics: 'bleu' is no metric of classification; there are accuracy"):
        load_task(TaskConfig(name="grammar-inference", metrics=("bleu",)), 0)


@pytest.mark.parametrize(
    ("task", "metric", "message"),
    [
        ("grammar-inference", "f1", "'f1' is no metric of classification of 3 classes; there are accuracy"),
        ("grammar-inference", "pearson", "'pearson' is no metric of classification"),
        ("grammar-similarity", "accuracy", "'accuracy' is no metric of regression; there are kendall, pearson"),
    ],
)
def test_a_metric_that_the_task_cannot_have_is_refused_when_it_is_loaded(task, metric, message):
    with pytest.raises(UserError, match=message):
        load_task(TaskConfig(name=task, metrics=(metric,)), 0)


def test_passages_without_a_word_are_no_text(tiny_directory):
    _, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, 0)
    for kind in ("masked-lm", "causal-lm"):
        task = task_from_rows("own", [{"text": ""}], [{"text": " "}], kind=kind)
        with pytest.raises(UserError, match=r"no text|two tokens of text"):
            encode(tokenizer, task.train, 16)


@pytest.mark.parametrize("word", [None, float("nan"), float("inf"), True, ["a"], "", " ", "\ud800"])
def test_what_is_no_word_is_not_written_out_as_one(word):
    rows = [{"words": ["a", word], "tags": ["x", "y"]}]
    with pytest.raises(UserError, match="column 'words': a word is empty or no text"):
        task_from_rows("own", rows, rows)


def test_a_class_index_that_the_library_left_out_is_a_missing_label():
    from datasets import ClassLabel, Dataset, Features, Sequence, Value

    named = ClassLabel(names=["no", "yes"])
    single = Dataset.from_dict(
        {"sentence1": ["a", "b", "c"], "label": [0, 1, -1]},
        features=Features({"sentence1": Value("string"), "label": named}),
    )
    with pytest.raises(UserError, match=r"row 3: column 'label' \(label\) is empty"):
        task_from_rows("own", single, single)
    many = Dataset.from_dict(
        {"words": [["a", "b"], ["c"]], "tags": [[0, -1], [1]]},
        features=Features({"words": Sequence(Value("string")), "tags": Sequence(named)}),
    )
    with pytest.raises(UserError, match="row 1, column 'tags': None is no class"):
        task_from_rows("own", many, many)


@pytest.mark.parametrize("name", ["", ":", "../../etc:train", "/etc", ".", "a/b/c/d:x", "a//b", "~/x"])
def test_what_is_no_name_on_the_hub_is_not_looked_for(name):
    with pytest.raises(UserError, match="no name of a data set"):
        load_task(TaskConfig(name="own", train=f"hub:{name}", dev=f"hub:{name}"), 0)
