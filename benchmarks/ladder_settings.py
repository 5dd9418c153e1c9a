"""Settings of training for faults, chosen on held-out train examples: a tenth of them, which nothing learns from.

    python -m benchmarks.ladder_settings --output DIR [--glue-dir DIR] [--model minilm-l6] [--tasks sst2,mrpc,stsb]
        [--chips 8] [--jobs N]

Each task is fine-tuned and pruned without the held-out examples; then every candidate trains that model for the errors
of ``code`` and is measured on the same chips. Chosen is the candidate that is nearest to the goal: the least of
max(points lost at 5 % - 1, points lost at 8 % - 2), points lost against the pruned model without faults, 8 bits.
DIR/TASK.json holds the choice for ``benchmarks.ladder --settings DIR``, DIR/settings.csv all that was tried. Dev
examples are not looked at. What is finished in DIR is not done again.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from benchmarks.ladder import TASKS, prepare, run_config
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.schema import build
from crossvote.swstack.experiment.ladder.config import FOLDER, LadderConfig
from crossvote.swstack.experiment.ladder.run import ladder_in_run

#: Points that may be lost, by fault rate.
GOAL = {0.05: 1.0, 0.08: 2.0}

#: What is tried, the present default first. Small tasks get more epochs.
CANDIDATES: dict[str, tuple[dict[str, float], ...]] = {
    "mrpc": (
        {"epochs": 3, "learning_rate": 5e-5},
        {"epochs": 8, "learning_rate": 5e-5},
        {"epochs": 8, "learning_rate": 1e-4},
    ),
    "stsb": (
        {"epochs": 3, "learning_rate": 5e-5},
        {"epochs": 6, "learning_rate": 5e-5},
        {"epochs": 6, "learning_rate": 1e-4},
    ),
    "sst2": (
        {"epochs": 3, "learning_rate": 5e-5},
        {"epochs": 3, "learning_rate": 1e-4},
    ),
}


def excess(lost: Mapping[float, float]) -> float:
    """Points by which the goal is missed at the rate where it is missed most; below 0 it is reached at all rates."""
    return max(lost[rate] - allowed for rate, allowed in GOAL.items())


def chosen(rows: Sequence[Mapping[str, Any]]) -> int:
    """Which of a task's candidates is nearest to the goal; the first of equal ones."""
    return min(range(len(rows)), key=lambda number: (rows[number]["excess"], number))


def measured(task: str, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one candidate on the task's pruned model and measure it on held-out examples."""
    begun = time.monotonic()
    directory = options.output / "candidates" / f"{task}-{number}"
    if not directory.is_dir():
        copy = directory.with_name(f".{directory.name}")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(options.output / "pruned" / task, copy, ignore=shutil.ignore_patterns(FOLDER))
        copy.rename(directory)
    settings = build(
        LadderConfig,
        {
            "rungs": ["none-column", "code+trained"],
            "faults": {"rates": sorted(GOAL), "chips": options.chips},
            "own_rates": {"none-column": []},
            "training": CANDIDATES[task][number],
        },
        "the candidate",
    )
    ladder_in_run(directory, run_config(task, options), settings)
    with (directory / FOLDER / "rates.csv").open(encoding="utf-8") as file:
        rows = {(row["rung"], float(row["rate"])): row for row in csv.DictReader(file)}
    lost = {rate: float(rows["code+trained", rate]["lost"]) for rate in GOAL}
    return {
        "task": task,
        "candidate": number,
        **{key: CANDIDATES[task][number].get(key, "") for key in _KEYS},
        "pruned": float(rows["none-column", 0.0]["mean"]),
        "trained, no faults": float(rows["code+trained", 0.0]["mean"]),
        **{f"lost at {100 * rate:g} %": points for rate, points in lost.items()},
        "excess": excess(lost),
        "chips": options.chips,
        "seconds": round(time.monotonic() - begun),
    }


_KEYS = ("epochs", "learning_rate", "design_rate", "layer_distillation")


def _prepared(task: str, options: argparse.Namespace) -> None:
    prepare(options.output / "pruned" / task, run_config(task, options))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--glue-dir", type=Path, help="GLUE in its TSV layout; otherwise the hub")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--chips", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time; they share cores and GPU")
    parser.add_argument("--holdout", type=float, default=0.1)
    parser.add_argument("--train-limit", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tasks = options.tasks.split(",")
    if unknown := [task for task in tasks if task not in TASKS]:
        parser.error(f"unknown task '{unknown[0]}'; there are {', '.join(TASKS)}.")
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: dict[Future[Any], str | None] = {pool.submit(_prepared, task, options): task for task in tasks}
        while waiting:
            for finished in wait(waiting, return_when=FIRST_COMPLETED).done:
                task, row = waiting.pop(finished), finished.result()
                if task is not None:
                    numbers = range(len(CANDIDATES[task]))
                    waiting |= {pool.submit(measured, task, number, options): None for number in numbers}
                    continue
                print(*(f"{key}={_shown(value)}" for key, value in row.items()), sep="  ", flush=True)
                rows.append(row)
                rows.sort(key=lambda one: (tasks.index(one["task"]), one["candidate"]))
                write_csv(options.output / "settings.csv", rows)
                own = [one for one in rows if one["task"] == row["task"]]
                if len(own) == len(CANDIDATES[row["task"]]):
                    best = CANDIDATES[row["task"]][chosen(own)]
                    write_text_atomic(options.output / f"{row['task']}.json", json.dumps(best) + "\n")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
