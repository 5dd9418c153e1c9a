"""Settings of training for faults: chosen on held-out examples, kept, and taken by the ladder's benchmark."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from benchmarks import ladder as ladder_benchmark
from benchmarks import ladder_settings


def test_the_candidate_nearest_to_the_goal_is_chosen_and_the_first_of_equal_ones():
    lost = ({0.05: 0.5, 0.08: 3.5}, {0.05: 1.5, 0.08: 2.0}, {0.05: 0.0, 0.08: 2.5})
    rows = [{"excess": ladder_settings.excess(one)} for one in lost]
    assert [row["excess"] for row in rows] == [1.5, 0.5, 0.5]
    assert ladder_settings.chosen(rows) == 1


@pytest.fixture
def glue_dir(tmp_path, tiny_bert) -> Path:
    """GLUE's folder with a small MRPC of words that the model knows."""
    folder = tmp_path / "glue/MRPC"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    words = sorted(word for word in AutoTokenizer.from_pretrained(tiny_bert).get_vocab() if word.isalpha())
    for name, rows in (("train", 40), ("dev", 12)):
        lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        for row in range(rows):
            one, two = (" ".join(rng.choice(words, 5)) for _ in range(2))
            lines.append(f"{row % 2}\t{row}\t{row}\t{one}\t{two}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder.parent


@pytest.mark.slow
def test_settings_are_searched_for_kept_and_used(tmp_path, monkeypatch, tiny_bert, glue_dir):
    common = ["--glue-dir", str(glue_dir), "--model", str(tiny_bert), "--tasks", "mrpc"]
    command = ["ladder_settings", "--output", str(tmp_path / "s"), *common, "--chips", "2", "--jobs", "2"]
    monkeypatch.setattr(sys, "argv", command)
    ladder_settings.main()
    with (tmp_path / "s/settings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["candidate"]) for row in rows] == list(range(len(ladder_settings.CANDIDATES["mrpc"])))
    best = json.loads((tmp_path / "s/mrpc.json").read_text())
    excess = [float(row["excess"]) for row in rows]
    assert best == ladder_settings.CANDIDATES["mrpc"][excess.index(min(excess))]
    trials = list((tmp_path / "s/candidates").glob("mrpc-*/ladder/trials/*.json"))
    before = [path.stat().st_mtime_ns for path in trials]
    ladder_settings.main()
    assert len(before) == len(rows) * (2 + 2 * 2)  # two rungs without faults, one on two chips of two rates
    assert [path.stat().st_mtime_ns for path in trials] == before

    command = ["ladder", "--output", str(tmp_path / "l"), *common, "--rungs", "none-column,code+trained"]
    command += ["--rates", "0.05", "--own-rates", "none-column=0.001,0.01", "--chips", "2", "--workers", "2"]
    monkeypatch.setattr(sys, "argv", [*command, "--settings", str(tmp_path / "s")])
    ladder_benchmark.main()
    document = json.loads((tmp_path / "l/mrpc/ladder/ladder.json").read_text())
    assert document["settings"]["training"]["epochs"] == best["epochs"]
    assert document["settings"]["own_rates"] == {"none-column": [0.001, 0.01]}


@pytest.mark.parametrize("more", [[], ["--as-pruned"]])
def test_pruned_models_are_taken_as_they_are_where_that_is_asked(tmp_path, monkeypatch, more):
    done = []
    monkeypatch.setattr(ladder_benchmark, "prepare", lambda *_: done.append("prepare"))
    monkeypatch.setattr(ladder_benchmark, "ladder_in_run", lambda *_: done.append("climb") or [])
    monkeypatch.setattr(sys, "argv", ["ladder", "--output", str(tmp_path), "--tasks", "mrpc", *more])
    ladder_benchmark.main()
    assert done == (["climb"] if more else ["prepare", "climb"])
