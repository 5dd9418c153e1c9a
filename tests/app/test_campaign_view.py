"""What a person sees of a campaign: the live table, a look from another terminal, an interrupt, trouble."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from heeding import heed_signals
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import campaign as benchmark
from crossvote.sim.common.errors import Notice, StorageError, UserError
from crossvote.sim.common.schema import build
from crossvote.swstack.cli import live
from crossvote.swstack.cli import main as cli
from crossvote.swstack.cli.sweep import tolerance
from crossvote.swstack.experiment.campaign import measure, summary
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.driver import State, states
from crossvote.swstack.experiment.campaign.folder import database_path, driving, is_whole
from crossvote.swstack.experiment.campaign.measure import write_shard
from crossvote.swstack.experiment.campaign.plan import manifest, results_digest
from crossvote.swstack.experiment.campaign.running import run_campaign
from crossvote.swstack.experiment.campaign.spec import CampaignSpec
from crossvote.swstack.experiment.campaign.trials import Chunk, Outcome, PlannedTrial
from crossvote.swstack.experiment.campaign.work import do_prepare

KEYS = {"name": "c", "schemes": ["none", "paper"], "rates": [0.001, 0.01], "chips": 3, "examples": False}


def stub(chunk: Chunk) -> list[Outcome]:
    """A made-up score that is a function of the trial."""
    return [Outcome(trial.key, {"accuracy": 80 + int(trial.key[:2], 16) / 64}, seconds=0.001) for trial in chunk.trials]


def spec() -> CampaignSpec:
    return build(CampaignSpec, KEYS, "test")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    counts = run_campaign(tmp_path / "c", spec(), "serial", work=stub)
    assert counts == {"open": 0, "done": 14, "failed": 0, "enough": 0}
    return tmp_path / "c"


def test_a_terminal_shows_progress_rate_time_left_and_the_table_so_far(finished: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    counts = {"open": 30, "done": 14, "failed": 1, "enough": 0}
    with live.live_view(console, finished) as show:
        show(State(counts, 2.5, 12.0))
        time.sleep(0.6)
    text = screen.getvalue()
    assert "15 of 45 trials, 1 failed, 2.5/s, 12 s left" in text
    assert "no faults" in text
    assert "(n = 3)" in text


def test_elsewhere_a_line_now_and_then_and_nothing_if_quiet(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PLAIN_INTERVAL", 0.0)
    for quiet in (False, True):
        screen = io.StringIO()
        with live.live_view(Console(file=screen, width=200), finished, quiet) as show:
            show(State({"open": 0, "done": 14}, 2.5, 0.0))
        assert screen.getvalue() == ("" if quiet else "  14 of 14 trials\n")


def test_the_results_are_looked_up_seldom(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def read(folder: Path) -> list[list[list[str]]]:
        looks.append(folder)
        return [[["a"], ["b"]]]

    monkeypatch.setattr(live, "read_tables", read)
    results = live._Results(finished)
    for _ in range(50):
        assert results.tables() == [[["a"], ["b"]]]
    assert len(looks) == 1


def test_trials_that_take_no_time_travel_in_large_chunks(tmp_path: Path) -> None:
    chunks = []

    def instant(chunk: Chunk) -> list[Outcome]:
        chunks.append(len(chunk.trials))
        return [dataclasses.replace(outcome, seconds=0.0) for outcome in stub(chunk)]

    many = build(CampaignSpec, {**KEYS, "chips": 150}, "test")
    assert run_campaign(tmp_path / "c", many, "serial", work=instant)["done"] == sum(chunks) == 602
    # Twice as long each time from one trial on, and towards the end a quarter of what is left.
    assert len(chunks) < 50
    assert max(chunks) > 50


def test_the_drivers_counts_are_those_of_the_file_without_asking_it(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    seen: list[dict[str, int]] = []
    questions: list[str] = []

    def some_fail(chunk: Chunk) -> list[Outcome]:
        return [dataclasses.replace(o, error="broken") if int(o.key[0], 16) < 4 else o for o in stub(chunk)]

    def watch(state: State) -> None:
        with Database.open(database_path(folder)) as reader:
            assert state.counts == reader.counts()
        seen.append(state.counts)

    many = build(CampaignSpec, {**KEYS, "chips": 40, "stop": {"until_ci": 4.0}}, "test")
    first = run_campaign(folder, many, "serial", watch, some_fail)
    assert first["failed"]
    assert first["enough"]
    assert run_campaign(folder, many, "serial", watch, stub, retry=True)["failed"] == 0
    assert seen[-1]["done"] > first["done"]
    with driving(folder) as database:
        database.counts()
        database._connection.set_trace_callback(questions.append)
        (row, *_) = database.rows("done")
        for _ in range(3):  # as at every chunk
            database.record([Outcome(row.trial.key, row.metrics)])
            database.counts()
    assert not any("count(*)" in question for question in questions)


def test_another_terminal_follows_until_nothing_is_open(tmp_path: Path) -> None:
    gate = threading.Event()

    def waits(chunk: Chunk) -> list[Outcome]:
        gate.wait(30)
        return stub(chunk)

    folder = tmp_path / "c"
    thread = threading.Thread(target=run_campaign, args=(folder, spec(), "serial"), kwargs={"work": waits})
    thread.start()
    try:
        while not database_path(folder).is_file() or not _planned(folder):
            time.sleep(0.02)
        seen = []
        for state in states(folder, every=0.05):
            seen.append(state)
            gate.set()
    finally:
        gate.set()
        thread.join()
    assert seen[0].counts["open"] > 0
    assert seen[-1].counts == {"open": 0, "done": 14, "failed": 0, "enough": 0}
    assert seen[-1].speed > 0
    result = CliRunner().invoke(cli.application(), ["sweep", "status", str(folder), "--follow", "--json"])
    assert json.loads(result.stdout)["counts"]["done"] == 14


def _planned(folder: Path) -> bool:
    with Database.open(database_path(folder)) as database:
        return sum(database.counts().values()) == 14


SLOW = """
import sys, time
from pathlib import Path
sys.path[:0] = {paths!r}
import test_campaign_view as own
from crossvote.swstack.cli import main as cli
from crossvote.swstack.experiment.campaign import running

def slow(chunk):
    time.sleep(0.3)
    return own.stub(chunk)

if __name__ == "__main__":
    real = running.run_campaign
    running.run_campaign = lambda *a, **k: real(*a, **k, work=slow)
    cli.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_keeps_what_is_measured_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'schemes = ["none", "paper"]\nrates = [0.001, 0.01]\nchips = 60\nexamples = false\n'
    )
    (tmp_path / "slow.py").write_text(SLOW.format(paths=[str(Path(__file__).parent), str(Path(__file__).parents[2])]))
    command = [sys.executable, "slow.py", "sweep", "run", "c.toml", "--dir", "c", "--engine", "process:1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=tmp_path, preexec_fn=heed_signals, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stderr is not None
        deadline = time.monotonic() + 120
        while not database_path(tmp_path / "c").is_file() or not _done(tmp_path / "c"):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted. Continue with: crossvote sweep resume c" in errors
    assert "Traceback" not in errors
    kept = _done(tmp_path / "c")
    assert 0 < kept < 242
    assert run_campaign(tmp_path / "c", None, "serial", work=stub)["done"] == 242


def _done(folder: Path) -> int:
    with Database.open(database_path(folder)) as database:
        return database.counts()["done"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="a folder that root cannot write: only as root")
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "c.toml").write_text("chips = 1\n")
    for place in (tmp_path / "file" / "c", Path("/proc/nowhere/c")):
        arguments = ["sweep", "run", str(tmp_path / "c.toml"), "--dir", str(place), "--engine", "serial"]
        result = CliRunner().invoke(cli.application(), arguments)
        assert result.exit_code == 2, result.output
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_a_store_that_cannot_be_written_is_one_sentence_and_nothing_is_lost(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = build(CampaignSpec, {**KEYS, "chips": 5}, "test")
    before = database_path(finished).read_bytes()

    def refuses(path: Path, write: bool = False) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: refuses(finished))
    with pytest.raises(StorageError, match=r"campaign\.db: cannot be used \(attempt to write a readonly database\)"):
        run_campaign(finished, more, "serial", work=stub)
    monkeypatch.undo()
    assert database_path(finished).read_bytes() == before
    assert run_campaign(finished, more, "serial", work=stub)["done"] == 22


def _look(folder: Path) -> str:
    """All that is told of a campaign."""
    with Database.open(database_path(folder)) as database:
        database.check()
        told = [
            dataclasses.asdict(summary.summarize(database)),
            summary.trial_rows(database),
            manifest(database),
        ]
    return json.dumps(told, sort_keys=True)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(28, "No space left on device"),
            r"/c: cannot be written \(No space left on device\); make room and run",
        ),
        (OSError(27, "File too large"), r"/c: cannot be written \(File too large\);"),
        (StorageError("a: os error 27; no room."), r"^a: os error 27; no room\.$"),
    ],
)
def test_a_full_disk_of_a_worker_blames_no_trial(tmp_path: Path, error: Exception, said: str) -> None:
    """The campaign ends with the sentence, and goes on from there: nothing has failed."""
    done: list[str] = []

    def fills(chunk: Chunk) -> list[Outcome]:
        if len(done) >= 4:
            raise error
        done.extend(trial.key for trial in chunk.trials)
        return stub(chunk)

    with pytest.raises(StorageError, match=said):
        run_campaign(tmp_path / "c", spec(), "serial", work=fills)
    with Database.open(database_path(tmp_path / "c")) as database:
        found = database.counts()
    assert (found["done"], found["failed"], found["open"]) == (len(done), 0, 14 - len(done))
    assert run_campaign(tmp_path / "c", None, "serial", work=stub)["done"] == 14


def test_a_worker_says_that_the_disk_is_full_and_calls_nothing_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measure, "prepare", full)
    with pytest.raises(OSError, match="No space left"):
        do_prepare(Path("run"), {}, "finetune", Path("store"))
    monkeypatch.setattr(measure, "_workbench", full)
    trial = PlannedTrial("k", 0, "none", 0.1, 0, "all")
    with pytest.raises(OSError, match="No space left"):
        measure.measure_chunk(Chunk(Path("run"), {"faults": {}}, (trial,)))


def test_a_bit_that_flips_in_the_store_is_a_sentence_or_nothing_at_all(finished: Path, tmp_path: Path) -> None:
    """In what was planned and found, in what is said beside it, in the index, in SQLite's own pages: never another
    result, never a traceback.
    """
    with Database.open(database_path(finished), write=True) as database:
        database.set_meta(chances={"0": {"metric": "accuracy", "score": 50.0, "noise": 3.0, "examples": 100}})
    whole, good = database_path(finished).read_bytes(), _look(finished)
    marks = [b"paper", struct.pack(">d", 0.001), b'"noise"', b'"numpy"', b"CREATE TABLE about", b"identity TEXT"]
    places = [whole.index(mark) + 1 for mark in [*marks, b'{"accuracy"']] + [
        whole.rindex(b"done") - 1,
        whole.rindex(b"done") - 7,
    ]
    draw = random.Random(0)
    flips = [(at, bit) for at in places for bit in (0, 7)] + [
        (draw.randrange(len(whole)), draw.randrange(8)) for _ in range(30)
    ]
    (tmp_path / "x").mkdir()
    said = []
    for at, bit in flips:
        flipped = bytearray(whole)
        flipped[at] ^= 1 << bit
        database_path(tmp_path / "x").write_bytes(flipped)
        try:
            assert _look(tmp_path / "x") == good, (at, bit)
        except UserError as error:
            said.append(str(error))
    assert len(said) >= len(places)
    assert all("campaign.db: " in sentence for sentence in said)


def test_a_campaign_of_another_format_is_said_as_such(finished: Path) -> None:
    connection = sqlite3.connect(database_path(finished))
    with connection:
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
    connection.close()
    with pytest.raises(UserError, match="a campaign of format 1, not"):
        _look(finished)


def test_examples_that_are_gone_or_cut_off_are_measured_again_and_that_is_said(tmp_path: Path) -> None:
    keeping = build(CampaignSpec, {**KEYS, "examples": True}, "test")

    def work(chunk: Chunk) -> list[Outcome]:
        assert chunk.shards is not None
        name = write_shard(chunk.shards, [(trial.key, np.ones((2, 2))) for trial in chunk.trials])
        return [dataclasses.replace(outcome, shard=name) for outcome in stub(chunk)]

    run_campaign(tmp_path / "c", keeping, "serial", work=work)
    before = _look(tmp_path / "c")
    first, second, *others = sorted((tmp_path / "c" / "examples").iterdir())
    assert others
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.warns(
        UserWarning, match=r"examples: 2 of \d+ files of examples are missing or cut off; trials measured"
    ):
        assert run_campaign(tmp_path / "c", None, "serial", work=work)["done"] == 14
    assert _look(tmp_path / "c") == before
    with Database.open(database_path(tmp_path / "c")) as database:
        shards = {row.shard for row in database.rows()}
    assert all(is_whole(tmp_path / "c" / "examples" / str(name)) for name in shards)


def test_a_notice_is_a_sentence_on_a_command_line(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the line of the program that gives it, and of another's warning nothing is lost."""

    def counts(database: Database) -> dict[str, int]:
        warnings.warn("take care.", Notice, stacklevel=1)
        warnings.warn("of others.", UserWarning, stacklevel=1)
        return {"done": 14}

    monkeypatch.setattr(Database, "counts", counts)
    with pytest.warns(UserWarning, match=r"of others\."):
        result = CliRunner().invoke(cli.application(), ["sweep", "status", str(finished)])
    assert (result.exit_code, result.stderr) == (0, "crossvote: take care.\n")


def test_a_clock_set_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the order of trials, nor results, nor the time left depend on the wall clock."""
    now = [2_000_000_000.0]

    def backwards() -> float:
        now[0] -= 86_400.0
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    monkeypatch.setattr(time, "gmtime", lambda seconds=None: time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0)))
    seen: list[State] = []
    run_campaign(tmp_path / "back", spec(), "serial", seen.append, work=stub)
    more = build(CampaignSpec, {**KEYS, "chips": 4}, "test")
    assert run_campaign(tmp_path / "back", more, "serial", seen.append, work=stub)["done"] == 18
    monkeypatch.undo()
    assert run_campaign(tmp_path / "straight", more, "serial", work=stub)["done"] == 18
    assert _digest(tmp_path / "back") == _digest(tmp_path / "straight")
    assert all(state.speed >= 0 and (state.left is None or state.left >= 0) for state in seen)


def _digest(folder: Path) -> str:
    with Database.open(database_path(folder)) as database:
        return results_digest(database)


def test_the_benchmark_of_the_machinery_prints_as_it_goes_and_keeps_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in (["stub", "--engine", "serial"], ["store"]):
        command = ["campaign", *what, "--trials", "300", "--output", str(tmp_path / "kept.json")]
        monkeypatch.setattr(sys, "argv", command)
        benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert sum("the driver holds" in line for line in lines) > 5
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert {name: row["trials"] for name, row in kept.items()} == {"stub serial 300": 301, "store 300": 301}


@pytest.mark.parametrize(
    ("rate", "note", "said"),
    [
        (0.003, "the highest measured", "loses at most 1 point up to 0.3 % stuck (0.2 to 0.3 %), the highest measured"),
        (0.0025, "", "loses at most 1 point up to 0.25 % stuck (0.2 to 0.3 %)"),
        (0.0, "", "loses more than 1 point at every measured rate (tolerated: 0.2 to 0.3 %)"),
    ],
)
def test_a_tolerated_rate_is_said_as_what_it_is(rate: float, note: str, said: str) -> None:
    row = {"tolerated rate": rate, "low": 0.002, "high": 0.003, "points allowed": 1.0, "note": note}
    assert tolerance(row) == said


def chunks(worker: int, start: float, *spans: tuple[float, str]) -> list[benchmark.Done]:
    """Chunks of a worker back to back, each of one trial of every letter's scheme."""
    found = []
    for seconds, schemes in spans:
        found.append(benchmark.Done(worker, start, start + seconds, tuple(schemes)))
        start += seconds
    return found


def test_the_steady_state_begins_with_the_last_conversion_and_ends_with_the_first_idle_worker() -> None:
    one = chunks(1, 0.0, (9, "ab"), (4, "ab"), (4, "ab"), (4, "ab"))
    two = chunks(2, 0.0, (5, "a"), (6, "b"), (4, "ab"), (4, "ba"), (9, "a"))
    rate, busy, lasted = benchmark.steady([*one, *two], 2, 2)
    # From 11 s on, when the second has measured both, to 21 s, when the first has nothing left.
    assert (lasted, busy) == (10.0, 1.0)
    assert rate == pytest.approx((0.5 * 2 + 2 + 2 + 2 + 2 + 2 / 9) / 10)
    waiting = [*one[:2], *(benchmark.Done(1, c.start + 2, c.end + 2, c.schemes) for c in one[2:])]
    assert benchmark.steady([*waiting, *two], 2, 2)[1] == pytest.approx(22 / 24)


def test_a_steady_state_that_never_comes_is_said() -> None:
    with pytest.raises(UserError, match=r"2 worker.s. reach no steady state in 4 chunks; measure more --chips"):
        benchmark.steady(chunks(1, 0.0, (9, "ab"), (4, "ab"), (4, "ab"), (4, "ab")), 2, 2)
    with pytest.raises(UserError, match="no steady state"):
        benchmark.steady(chunks(1, 0.0, (9, "a"), (4, "a")), 1, 2)


def test_a_campaign_is_confined_to_as_many_cores_as_it_has_workers() -> None:
    before = os.sched_getaffinity(0)
    with benchmark.confined(1):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
    said = f"--workers {len(before) + 1}: there are {len(before)} cores to run on"
    with pytest.raises(UserError, match=said), benchmark.confined(len(before) + 1):
        pass
    assert os.sched_getaffinity(0) == before
