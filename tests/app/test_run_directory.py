"""Run directories: what counts as finished, what is refused, what survives a kill or a full disk."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from crossvote.sim.common.content import canonical_json, digest
from crossvote.sim.common.errors import StorageError, UserError
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.keyed import KeyedResults
from crossvote.swstack.experiment.run.branches import find_runs
from crossvote.swstack.experiment.run.directory import Identity, RunDirectory, check_place, is_run_directory
from crossvote.swstack.experiment.run.records import Score, read_record, to_json


@dataclass(frozen=True)
class Value:
    value: int = 0


def identity(value="key", stage="one"):
    return Identity(stage, {"a": value}, {}, "code")


KEY = identity().key({})


def perform(run, work, value="key"):
    return run.perform(identity(value), {}, {"crossvote": "0"}, work)


def write(out, name, value=0):
    write_text_atomic(out / name, to_json(Value(value)))
    return name


def test_canonical_json_ignores_the_order_of_keys():
    assert canonical_json({"a": 1, "b": [1, 2]}) == canonical_json({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_stage_is_finished_for_its_key_while_its_artefacts_are_intact(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        assert run.finished("one", KEY) is None

        def work(folder, out, details):
            (out / "model").mkdir()
            (out / "model" / "weights.bin").write_bytes(b"123")
            return [write(out, "results/one.json", 1), "model"]

        record = perform(run, work)
        assert set(record.outputs) == {"results/one.json", "model/weights.bin"}
        assert run.finished("one", KEY) == record
        assert run.read("results/one.json", Value) == Value(1)
        assert run.finished("one", "another key") is None
        (run.path / "model" / "weights.bin").write_bytes(b"124")
        assert run.finished("one", KEY) is None
        (run.path / "model" / "weights.bin").write_bytes(b"123")
        assert run.finished("one", KEY) == record
        (run.path / "model" / "weights.bin").unlink()
        assert run.finished("one", KEY) is None


def test_a_large_artefact_is_read_again_when_it_changed(tmp_path):
    def work(folder, out, details):
        (out / "big").write_bytes(bytes(3 << 20))
        return ["big"]

    with RunDirectory.open(tmp_path / "run") as run:
        record = perform(run, work)
        assert run.finished("one", KEY) == record
        times = (run.path / "big").stat()
        with (run.path / "big").open("r+b") as file:
            file.seek(1 << 20)
            file.write(b"x")
        os.utime(run.path / "big", ns=(times.st_atime_ns, times.st_mtime_ns))  # a clock set back hides nothing
        assert run.finished("one", KEY) is None


def test_wall_times_lie_beside_the_record_so_that_equal_results_are_equal_bytes(tmp_path):
    records = []
    for name in ("a", "b"):
        with RunDirectory.open(tmp_path / name) as run:

            def work(folder, out, details, name=name):
                details["where"] = name
                return [write(out, "one.json")]

            perform(run, work)
            assert run.about("one").details == {"where": name}
        records.append((tmp_path / name / "stages" / "one.json").read_bytes())
    assert records[0] == records[1]


def test_a_run_directory_can_be_moved(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        record = perform(run, lambda folder, out, details: [write(out, "one.json")])
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    assert RunDirectory(tmp_path / "elsewhere").finished("one", KEY) == record


def test_a_record_of_another_format_is_not_believed(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        perform(run, lambda folder, out, details: [write(out, "one.json")])
        path = run.path / "stages" / "one.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 999}))
        assert run.record("one") is None
        path.write_text("{ half a rec")
        assert run.record("one") is None


def test_partial_results_survive_an_error_for_the_same_key_only(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:

        def fails(folder, out, details):
            (folder / "half").write_text("done so far")
            raise RuntimeError("power cut")

        with pytest.raises(RuntimeError):
            perform(run, fails)
        assert run.has_partial_results("one", KEY)
        assert not run.has_partial_results("one", identity("other").key({}))
        assert run.record("one") is None

        seen = []

        def looks(folder, out, details):
            seen.extend(entry.name for entry in folder.iterdir() if entry.name == "half")
            return [write(out, "one.json")]

        perform(run, looks)
        assert seen == ["half"]
        assert not (run.path / "work" / "one").exists()

        with pytest.raises(RuntimeError):
            perform(run, fails)
        seen.clear()
        perform(run, looks, "other")
        assert seen == []


def test_the_old_result_stays_until_the_new_one_stands(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        old = perform(run, lambda folder, out, details: [write(out, "one.json", 1), write(out, "folder/a")])

        def fails(folder, out, details):
            write(out, "one.json", 2)
            assert run.finished("one", KEY) == old
            raise RuntimeError

        with pytest.raises(RuntimeError):
            perform(run, fails, "new")
        assert run.finished("one", KEY) == old
        assert run.read("one.json", Value) == Value(1)
        perform(run, lambda folder, out, details: [write(out, "one.json", 2), write(out, "folder/b")], "new")
        assert run.read("one.json", Value) == Value(2)
        # What only the old result had is gone with it.
        assert [entry.name for entry in (run.path / "folder").iterdir()] == ["b"]


def test_foreign_folders_and_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"), RunDirectory.open(tmp_path):
        pass
    with pytest.raises(UserError, match="is a file"), RunDirectory.open(tmp_path / "notes.txt"):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["notes.txt"]


@pytest.mark.parametrize("theirs", [".lock", "config.toml"])
def test_a_file_of_the_same_name_makes_no_run_of_a_foreign_folder(tmp_path: Path, theirs: str) -> None:
    """Other programs have a ``.lock``, and a ``config.toml`` that lies in somebody's project would be overwritten."""
    for name in (theirs, "notes.txt"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="holds other files"), RunDirectory.open(tmp_path):
        pass
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {theirs: "mine", "notes.txt": "mine"}
    with RunDirectory.open(tmp_path / "run") as run, run.configured({"seed": 1}):
        pass
    assert is_run_directory(tmp_path / "run")


def test_places_that_are_none_are_named(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for name, message in {
        "link": "is a link to nowhere",
        "a" * 300: "File name too long",
        "file/run": "Not a dir",
    }.items():
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=message) as caught, RunDirectory.open(tmp_path / name):
            pass
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("place", ["file/run", "shut/run", "shut/a/b"])
def test_a_place_that_cannot_be_is_refused_before_there_is_work(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "shut").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "shut")  # root may write anywhere
    with pytest.raises(StorageError, match=f"{place}: cannot be written .(Not a directory|Permission denied)"):
        check_place(tmp_path / place)


def test_two_processes_cannot_work_in_one_run_directory(tmp_path):
    with (
        RunDirectory.open(tmp_path / "run"),
        pytest.raises(UserError, match="another crossvote process"),
        RunDirectory.open(tmp_path / "run"),
    ):
        pass
    with RunDirectory.open(tmp_path / "run"):
        assert is_run_directory(tmp_path / "run")


def test_a_file_system_without_locks_gets_a_marker_file_and_a_warning(tmp_path, monkeypatch):
    def absent(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", absent)
    for _ in range(2):  # and it is free again afterwards
        with (
            pytest.warns(Warning, match="lock"),
            RunDirectory.open(tmp_path / "run"),
            pytest.raises(UserError, match="another crossvote process"),
            RunDirectory.open(tmp_path / "run"),
        ):
            pass


def test_a_killed_process_leaves_the_directory_free_and_the_stage_unfinished(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from crossvote.swstack.experiment.run.directory import Identity, RunDirectory
        with RunDirectory.open(Path(sys.argv[1])) as run:
            def work(folder, out, details):
                (folder / "half").write_text("x")
                print("working", flush=True)
                time.sleep(60)
            run.perform(Identity("one", {"a": "key"}, {}, "code"), {}, {}, work)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "working\n"
        os.kill(process.pid, signal.SIGKILL)
    with RunDirectory.open(tmp_path / "run") as run:
        assert run.record("one") is None
        assert run.has_partial_results("one", KEY)


def test_a_configuration_that_a_stage_refuses_does_not_stay(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        with run.configured({"seed": 1}):
            pass
        with pytest.raises(UserError), run.configured({"seed": 2}):
            raise UserError("refused.")
        assert "seed = 1" in (run.path / "config.toml").read_text()
        # What the machine failed goes on with the same configuration.
        for error in (RuntimeError("power cut"), StorageError("disk full.")):
            with pytest.raises(type(error)), run.configured({"seed": 3}):
                raise error
            assert "seed = 3" in (run.path / "config.toml").read_text()


@pytest.mark.parametrize("place", ["run", "a/b/run"])
def test_a_new_directory_whose_work_is_refused_vanishes(tmp_path, place):
    def refused(error):
        with RunDirectory.open(tmp_path / place) as run, run.configured({"seed": 1}):
            raise error

    with pytest.raises(UserError):
        refused(UserError("no."))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError):
        refused(StorageError("disk full."))
    assert (tmp_path / place / "config.toml").is_file()
    with pytest.raises(UserError):  # it was there before
        refused(UserError("no."))
    assert (tmp_path / place / "config.toml").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a result of format"),
        (b'{"format": 1, "value": 2}', "not a result of format"),
        (b'{"format": 2, "value": "x"}', "damaged result .key 'value'"),
        (b'{"format": 2, "other": 1}', "damaged result"),
        (b"\xff\x00", "broken.json"),
    ],
)
def test_results_that_are_broken_are_one_sentence(tmp_path, text, message):
    (tmp_path / "broken.json").write_bytes(text)
    with pytest.raises(UserError, match=message) as error:
        RunDirectory(tmp_path).read("broken.json", Value)
    assert "broken.json" in str(error.value)


def test_a_result_that_is_absent_names_what_to_do(tmp_path):
    with pytest.raises(UserError, match="run the stage that writes it first"):
        RunDirectory(tmp_path).read("results/none.json", Value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_at_any_write_is_one_sentence_and_the_stage_goes_on_later(tmp_path, monkeypatch, number):
    """The n-th replacement of a file fails, for every n until none does: nothing half-written, the old result whole."""
    replace = os.replace
    place = tmp_path / "run"

    def work(value):
        def stage(folder, out, details):
            write_text_atomic(folder / "part", "x")
            return [write(out, "one.json", value), write(out, "two.json", value)]

        return stage

    with RunDirectory.open(place) as run:
        perform(run, work(1), "old")
    said = []
    for room in range(20):
        left = [room]

        def full(source, target, left=left):
            if not left[0]:
                raise OSError(number, os.strerror(number))
            left[0] -= 1
            replace(source, target)

        monkeypatch.setattr(os, "replace", full)
        try:
            with RunDirectory.open(place) as run, run.configured({"seed": 1}):
                perform(run, work(2), "new")
        except StorageError as error:
            said.append(str(error))
        else:
            break
        finally:
            monkeypatch.setattr(os, "replace", replace)
        run = RunDirectory(place)
        assert run.finished("one", identity("new").key({})) is None
        if run.finished("one", identity("old").key({})) is not None:
            assert run.read("one.json", Value) == run.read("two.json", Value) == Value(1)
        assert not list(place.rglob(".*.json.*"))
    assert 4 < room < 19
    assert all(f"({os.strerror(number)}); make room and run the same command again" in line for line in said)
    assert RunDirectory(place).finished("one", identity("new").key({})) is not None
    assert RunDirectory(place).read("two.json", Value) == Value(2)


def test_scores_that_are_no_numbers_are_kept(tmp_path):
    kept = KeyedResults(tmp_path / "trials")
    kept.put("none", {"chip": 0}, {"accuracy": math.nan})
    assert math.isnan(kept.get("none", {"chip": 0})["accuracy"])
    path = tmp_path / "score.json"
    path.write_text(to_json(Score({"accuracy": math.nan}, {}, 4, "somewhere", 0.0)))
    assert math.isnan(read_record(Score, path).metrics["accuracy"])


@pytest.mark.parametrize("database", ["campaign.db", "study.db"])
def test_a_campaign_is_no_run(tmp_path, database):
    """It has a lock as a run has, and would be taken for one that was stopped before it began."""
    (tmp_path / "c" / "runs" / "shared").mkdir(parents=True)
    for file in (".lock", database, "runs/shared/config.toml"):
        (tmp_path / "c" / file).touch()
    assert not is_run_directory(tmp_path / "c")
    assert find_runs(tmp_path) == []
    with pytest.raises(UserError, match="holds other files"):
        check_place(tmp_path / "c")
