"""Run directories: what counts as finished, what is refused, what survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from crossvote.sim.common.errors import UserError
from crossvote.swstack.experiment.run_directory import RunDirectory, canonical_json, digest, is_run_directory


def perform(run, stage, key, work):
    return run.perform(stage, key, {"a": 1}, {}, {"crossvote": "0"}, work)


def test_canonical_json_ignores_the_order_of_keys():
    assert canonical_json({"a": 1, "b": [1, 2]}) == canonical_json({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_stage_is_finished_for_its_key_while_its_artefacts_are_intact(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        assert run.finished("one", "key") is None

        def work(folder):
            run.write_json("results/one.json", {"value": 1})
            (run.path / "model").mkdir()
            (run.path / "model" / "weights.bin").write_bytes(b"123")
            return ["results/one.json", "model"]

        record = perform(run, "one", "key", work)
        assert set(record.outputs) == {"results/one.json", "model/weights.bin"}
        assert run.finished("one", "key") == record
        assert run.finished("one", "another key") is None
        (run.path / "model" / "weights.bin").write_bytes(b"124")
        assert run.finished("one", "key") is None
        (run.path / "model" / "weights.bin").write_bytes(b"123")
        assert run.finished("one", "key") == record
        (run.path / "model" / "weights.bin").unlink()
        assert run.finished("one", "key") is None


def test_a_record_of_another_format_is_not_believed(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        perform(run, "one", "key", lambda folder: [run.write_json("one.json", {})])
        path = run.path / "stages" / "one.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 999}))
        assert run.record("one") is None
        path.write_text("{ half a rec")
        assert run.record("one") is None


def test_partial_results_survive_an_error_for_the_same_key_only(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:

        def fails(folder):
            (folder / "half").write_text("done so far")
            raise RuntimeError("power cut")

        with pytest.raises(RuntimeError):
            perform(run, "one", "key-a", fails)
        assert run.has_partial_results("one", "key-a")
        assert not run.has_partial_results("one", "key-b")
        assert run.record("one") is None

        seen = []

        def looks(folder):
            seen.extend(entry.name for entry in folder.iterdir() if entry.name == "half")
            return [run.write_json("one.json", {})]

        perform(run, "one", "key-a", looks)
        assert seen == ["half"]
        assert not (run.path / "work" / "one").exists()

        with pytest.raises(RuntimeError):
            perform(run, "one", "key-a", fails)
        seen.clear()
        perform(run, "one", "key-b", looks)
        assert seen == []


def test_redoing_a_stage_drops_its_old_record_first(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        perform(run, "one", "key", lambda folder: [run.write_json("one.json", {"value": 1})])

        def fails(folder):
            assert run.record("one") is None
            raise RuntimeError

        with pytest.raises(RuntimeError):
            perform(run, "one", "key", fails)
        assert run.finished("one", "key") is None


def test_foreign_folders_and_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"), RunDirectory.open(tmp_path):
        pass
    with pytest.raises(UserError, match="is a file"), RunDirectory.open(tmp_path / "notes.txt"):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["notes.txt"]


def test_two_processes_cannot_work_in_one_run_directory(tmp_path):
    with (
        RunDirectory.open(tmp_path / "run"),
        pytest.raises(UserError, match="another crossvote process"),
        RunDirectory.open(tmp_path / "run"),
    ):
        pass
    with RunDirectory.open(tmp_path / "run"):
        assert is_run_directory(tmp_path / "run")


def test_a_killed_process_leaves_the_directory_free_and_the_stage_unfinished(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from crossvote.swstack.experiment.run_directory import RunDirectory
        with RunDirectory.open(Path(sys.argv[1])) as run:
            def work(folder):
                (folder / "half").write_text("x")
                print("working", flush=True)
                time.sleep(60)
            run.perform("one", "key", {}, {}, {}, work)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "working\n"
        os.kill(process.pid, signal.SIGKILL)
    with RunDirectory.open(tmp_path / "run") as run:
        assert run.record("one") is None
        assert run.has_partial_results("one", "key")


def test_a_configuration_that_a_stage_refuses_does_not_stay(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        with run.configured({"seed": 1}):
            pass
        with pytest.raises(UserError), run.configured({"seed": 2}):
            raise UserError("refused.")
        assert "seed = 1" in (run.path / "config.toml").read_text()
        with pytest.raises(RuntimeError), run.configured({"seed": 3}):
            raise RuntimeError("power cut")
        assert "seed = 3" in (run.path / "config.toml").read_text()


def test_json_artefacts_that_are_absent_or_broken_are_one_sentence(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        with pytest.raises(UserError, match="run the stage that writes it first"):
            run.read_json("results/none.json")
        (run.path / "broken.json").write_text("{")
        with pytest.raises(UserError, match="not JSON"):
            run.read_json("broken.json")
