"""What a person sees of a campaign: the live table, a look from another terminal, an interrupt, trouble."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from heeding import heed_signals
from rich.console import Console
from typer.testing import CliRunner

from crossvote.sim.common.errors import StorageError
from crossvote.sim.common.schema import build
from crossvote.swstack.cli import live
from crossvote.swstack.cli import main as cli
from crossvote.swstack.experiment.campaign import database as store
from crossvote.swstack.experiment.campaign import driver
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.driver import State, database_path, run_campaign
from crossvote.swstack.experiment.campaign.spec import CampaignSpec
from crossvote.swstack.experiment.campaign.trials import Chunk, Outcome

KEYS = {"name": "c", "schemes": ["none", "paper"], "rates": [0.001, 0.01], "chips": 3, "examples": False}


def stub(chunk: Chunk) -> list[Outcome]:
    """A made-up score that is a function of the trial."""
    return [Outcome(trial.key, {"accuracy": 80 + int(trial.key[:2], 16) / 64}, seconds=0.001) for trial in chunk.trials]


def spec() -> CampaignSpec:
    return build(CampaignSpec, KEYS, "test")


@pytest.fixture
def finished(tmp_path) -> Path:
    counts = run_campaign(tmp_path / "c", spec(), "serial", work=stub)
    assert counts == {"open": 0, "done": 14, "failed": 0, "enough": 0}
    return tmp_path / "c"


def test_a_terminal_shows_progress_rate_time_left_and_the_table_so_far(finished):
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


def test_elsewhere_a_line_now_and_then_and_nothing_if_quiet(finished, monkeypatch):
    monkeypatch.setattr(live, "PLAIN_INTERVAL", 0.0)
    for quiet in (False, True):
        screen = io.StringIO()
        with live.live_view(Console(file=screen, width=200), finished, quiet) as show:
            show(State({"open": 0, "done": 14}, 2.5, 0.0))
        assert screen.getvalue() == ("" if quiet else "  14 of 14 trials\n")


def test_the_results_are_looked_up_seldom(finished, monkeypatch):
    looks = []
    monkeypatch.setattr(live, "read_table", lambda folder: looks.append(folder) or [["a"], ["b"]])
    results = live._Results(finished)
    for _ in range(50):
        assert results.rows() == [["a"], ["b"]]
    assert len(looks) == 1


def test_another_terminal_follows_until_nothing_is_open(tmp_path):
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
        for state in driver.states(folder, every=0.05):
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
sys.path.insert(0, {tests!r})
import test_campaign_view as own
from crossvote.swstack.cli import main as cli
from crossvote.swstack.experiment.campaign import driver

def slow(chunk):
    time.sleep(0.3)
    return own.stub(chunk)

if __name__ == "__main__":
    real = driver.run_campaign
    driver.run_campaign = lambda *a, **k: real(*a, **k, work=slow)
    cli.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_keeps_what_is_measured_and_says_how_to_go_on(tmp_path):
    (tmp_path / "c.toml").write_text(
        'schemes = ["none", "paper"]\nrates = [0.001, 0.01]\nchips = 60\nexamples = false\n'
    )
    (tmp_path / "slow.py").write_text(SLOW.format(tests=str(Path(__file__).parent)))
    command = [sys.executable, "slow.py", "sweep", "run", "c.toml", "--dir", "c", "--engine", "process:1"]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=heed_signals, **pipes) as process:
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
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "c.toml").write_text("chips = 1\n")
    for place in (tmp_path / "file" / "c", Path("/proc/nowhere/c")):
        arguments = ["sweep", "run", str(tmp_path / "c.toml"), "--dir", str(place), "--engine", "serial"]
        result = CliRunner().invoke(cli.application(), arguments)
        assert result.exit_code == 2, result.output
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_a_store_that_cannot_be_written_is_one_sentence_and_nothing_is_lost(finished, monkeypatch):
    more = build(CampaignSpec, {**KEYS, "chips": 5}, "test")
    before = database_path(finished).read_bytes()

    def refuses(path: Path, write: bool = False) -> None:
        raise store.sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(store.sqlite3, "connect", lambda *a, **k: refuses(finished))
    with pytest.raises(StorageError, match=r"campaign\.db: cannot be used \(attempt to write a readonly database\)"):
        run_campaign(finished, more, "serial", work=stub)
    monkeypatch.undo()
    assert database_path(finished).read_bytes() == before
    assert run_campaign(finished, more, "serial", work=stub)["done"] == 22


def test_a_clock_set_back_changes_nothing(tmp_path, monkeypatch):
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
        return driver.results_digest(database)
