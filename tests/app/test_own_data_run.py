"""A whole run on a user's own files, on a machine without a compiler: what it claims, what it keeps, what it needs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from tiny_run import write_tiny
from typer.testing import CliRunner, Result

from crossvote.swstack.cli import main as cli
from crossvote.swstack.tasks import Example, TaskConfig, load_task

LABELS = ("gibberish", "sense")
#: Words of the dev set that the tokenizer does not know, of which each is one unknown token.
UNKNOWN = 3


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.application(), [str(argument) for argument in arguments])


def write_rows(path: Path, examples: list[Example], unknown: int = 0) -> int:
    """Rows as a table of text; the first ones get a foreign word. Returns how many words there are."""
    texts = [one.sentence1 + (" \u2603" if i < unknown else "") for i, one in enumerate(examples)]
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = ((text, LABELS[int(one.label)]) for text, one in zip(texts, examples, strict=True))
        csv.writer(file).writerows([("sentence1", "label"), *rows])
    return sum(len(text.split()) for text in texts)


@pytest.fixture(scope="module")
def place(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, the configuration and its finished run."""
    folder = tmp_path_factory.mktemp("own data")
    task = load_task(TaskConfig(name="grammar-single"), 0)
    train, dev = ([one for one in part if isinstance(one, Example)] for part in (task.train, task.dev))
    write_rows(folder / "train.csv", train[:32])
    words = write_rows(folder / "dev.csv", dev[:16], UNKNOWN)
    (folder / "words").write_text(str(words))
    write_tiny(
        folder / "own.toml",
        tiny_bert,
        task={"name": "mine", "train": "train.csv", "dev": "dev.csv"},
        map={"schemes": ["none"]},
        faults={"rates": [0.01], "chips": 1},
        cosim={"tokens": 2},
        simulate={"tokens": 8, "stream": 2},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", "no-such-compiler")
        done = call("run", folder / "own.toml", "--run-dir", folder / "run")
    assert done.exit_code == 0, done.output
    (folder / "said").write_text(done.output)
    return folder


def test_without_a_compiler_nothing_is_claimed_of_verilog(place: Path) -> None:
    """``auto`` fell back to NumPy: the terminal, the result and the page say so."""
    (matrix,) = json.loads((place / "run" / "results" / "cosimulation.json").read_text())["matrices"]
    assert matrix["backend"] == "numpy"
    page = (place / "run" / "report" / "index.html").read_text(encoding="utf-8")
    shown = re.sub(r"<(script|style|pre).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert "no hardware description was simulated" in shown
    # The command that counted gates has the word in its name, and so have sources in the configuration at the end.
    for text in (shown.replace("python -m crossvote.rtl.synthesis", ""), (place / "said").read_text()):
        assert not re.search(r"verilog|\bRTL\b|clock cycles of", text, re.IGNORECASE)


def test_the_share_of_unknown_tokens_is_in_the_results(place: Path) -> None:
    for name in ("dense", "pruned"):
        score = json.loads((place / "run" / "results" / f"{name}.json").read_text())
        share = UNKNOWN / int((place / "words").read_text())
        assert score["unknown_tokens"] == pytest.approx(share)
        said = f"{100 * share:.2g}\N{NO-BREAK SPACE}% of the tokens of the 16 dev examples are unknown"
        assert said in (place / "run" / "report" / "index.html").read_text(encoding="utf-8")


def test_saved_models_carry_the_names_of_the_labels(place: Path) -> None:
    for model in ("model", "pruned/model"):
        config = json.loads((place / "run" / model / "config.json").read_text())
        assert config["id2label"] == dict(zip(("0", "1"), LABELS, strict=True))
        assert config["label2id"] == dict(zip(LABELS, (0, 1), strict=True))


def test_a_finished_run_needs_no_data_and_what_does_is_refused_by_its_name(place: Path, tmp_path: Path) -> None:
    """Also after the run was moved, and from another working directory."""
    shutil.copytree(place, tmp_path / "there")
    run = shutil.move(tmp_path / "there" / "run", tmp_path / "moved")
    for name in ("train.csv", "dev.csv"):
        (place / name).rename(place / f"{name}.away")
    try:
        done = call("run", run)
        assert done.exit_code == 0, done.output
        assert done.output.count("unchanged") == 12
        for command in ("status", "report"):
            assert call(command, run).exit_code == 0
        assert call("tables", run, "--out", tmp_path / "tables").exit_code == 0
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        refused = call("eval", run, "-o", "faults.chips=2")
        assert refused.exit_code == 2
        assert refused.stderr == f"crossvote: {place / 'dev.csv'}: no such file.\n"
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    finally:
        for name in ("train.csv", "dev.csv"):
            (place / f"{name}.away").rename(place / name)


def test_what_only_measures_needs_no_train_data(place: Path, tmp_path: Path) -> None:
    """Its results are those of a machine that has them, byte for byte; what learns from them is refused."""
    results = []
    for name in ("with", "without"):
        run = shutil.copytree(place / "run", tmp_path / name)
        if name == "without":
            (place / "train.csv").rename(place / "train.csv.away")
        try:
            for command in ("eval", "cosim"):
                done = call(command, run, "-o", "faults.chips=2", "-o", "cosim.tokens=3", "-o", "cosim.backend='numpy'")
                assert done.exit_code == 0, done.output
            results.append([(run / "results" / f"{name}.json").read_bytes() for name in ("accuracy", "cosimulation")])
            assert call("simulate", run, "--resolution", "analytic").exit_code == 0
            if name == "without":
                refused = call("prune", run, "-o", "prune.column_sparsity=0.1")
                assert refused.exit_code == 2
                assert refused.stderr == f"crossvote: {place / 'train.csv'}: no such file.\n"
        finally:
            if name == "without":
                (place / "train.csv.away").rename(place / "train.csv")
    assert results[0] == results[1]
    assert json.loads(results[0][0])["data"].startswith("own data; dev: 16 rows of ")
    assert "train: 32 rows of " in (place / "run" / "report" / "index.html").read_text(encoding="utf-8")
