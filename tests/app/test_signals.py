"""Ctrl-C and a scheduler's SIGTERM in every stage of a run, and going on afterwards."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from crossvote.swstack.cli import main as cli
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context
from crossvote.swstack.experiment.work import chosen_stages

STAGES = [stage.name for stage in chosen_stages("report")]


def start(run: Path, slow: str | None = None) -> BaseProcess:
    """``crossvote run`` in a process of its own: a fork of this one, which has loaded what the command would load.

    slow: a stage that says when it begins, and takes a minute longer, so that no signal comes too late.
    """
    process = multiprocessing.get_context("fork").Process(target=_command, args=(run, slow))
    process.start()
    return process


def _command(run: Path, slow: str | None) -> None:
    for stage in chosen_stages("report"):
        if stage.name == slow:
            object.__setattr__(stage, "perform", partial(_slowly, stage.perform, run.parent / "begun"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)
    sys.stderr = (run.parent / "errors").open("w", buffering=1)
    sys.argv = ["crossvote", "run", str(run)]
    cli.main()


def _slowly(perform: Callable[[Context[RunConfig]], Sequence[str]], begun: Path, context: Context[RunConfig]) -> None:
    begun.touch()
    perform(context)
    time.sleep(60)


def results(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "results").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "number"), list(zip(STAGES, cycle((signal.SIGINT, signal.SIGTERM)), strict=False)))
def test_a_signal_in_any_stage_is_a_sentence_and_the_run_goes_on(
    workplace, tmp_path: Path, stage: str, number: signal.Signals
) -> None:
    """What was finished stays finished, nothing half-written is left, and in the end the results are the same bytes."""
    run = tmp_path / "run"
    shutil.copytree(workplace.folder / "run", run)
    before = results(run)
    (run / paths.record(stage)).unlink()
    shutil.rmtree(run / "work")
    finished = {path for path in (run / paths.RECORDS).iterdir() if not path.name.startswith(stage)}

    process = start(run, stage)
    deadline = time.monotonic() + 120
    while not (tmp_path / "begun").exists():
        assert process.is_alive(), (run.parent / "errors").read_text()
        assert time.monotonic() < deadline, "the stage did not begin"
        time.sleep(0.001)
    os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode == 130
    assert (run.parent / "errors").read_text() == f"crossvote: interrupted. Continue with: crossvote run {run}\n"
    assert not (run / paths.record(stage)).exists()
    assert finished <= set((run / paths.RECORDS).iterdir())
    half = [path for path in run.rglob(".*") if path.name != paths.LOCK and "work" not in path.relative_to(run).parts]
    assert half == []

    process = start(run)
    process.join(300)
    assert process.exitcode == 0, (run.parent / "errors").read_text()
    assert results(run) == before
    assert [path.name for path in (run / "work").iterdir() if path.name != Path(paths.TRIALS).name] == []
