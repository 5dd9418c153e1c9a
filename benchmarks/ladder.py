"""The ladder on real data: every protection on the same chips, SST-2, MRPC and STS-B, each from a pruned encoder.

    python -m benchmarks.ladder --output DIR [--glue-dir DIR] [--model minilm-l6] [--tasks sst2,mrpc,stsb]
        [--rungs none-column,code,code+trained] [--rates 0.01,0.05] [--own-rates none=0.0001,0.001] [--chips 30]
        [--pattern uniform] [--settings DIR] [--workers N] [--minutes M] [--as-pruned]

Fine-tunes and prunes each task (shipped configurations; STS-B with MRPC's), trains for faults where a rung asks for
it, and measures. One command: what is finished in DIR is not done again, and a GPU is used if there is one, by
``--workers`` processes at a time. ``--settings`` takes the settings of training for faults that
``benchmarks.ladder_settings`` chose on held-out train examples, a file for each task.
``--as-pruned`` takes the pruned models in DIR for what they are, also where another state of the code made them.
``--holdout 0.1`` measures on a tenth of the train examples instead of dev, for choosing settings.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from benchmarks.measure import environment
from crossvote.sim.common.csv_rows import write_apart
from crossvote.sim.common.schema import build
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.ladder.config import DEFAULT_RUNGS, LadderConfig
from crossvote.swstack.experiment.ladder.run import ladder_in_run
from crossvote.swstack.experiment.shipped import find_config
from crossvote.swstack.experiment.work import bring_up
from crossvote.swstack.training.loop import best_device

#: Shipped configuration of each task, and what is changed in it.
TASKS = {
    "sst2": ("sst2", ("prune.distillation=0.5", "prune.layer_distillation=1.0", "finetune.learning_rate=5e-5")),
    "mrpc": ("mrpc", ()),
    "stsb": ("mrpc", ("task.name=stsb", "task.max_length=64")),
}


def run_config(task: str, options: argparse.Namespace) -> RunConfig:
    """The configuration of a task's run."""
    source, changes = TASKS[task]
    overrides = [*changes, f"seed={options.seed}", f"model.source={options.model}"]
    if options.glue_dir:
        overrides.append(f"task.glue_dir={json.dumps(str(options.glue_dir.resolve()))}")
    if options.holdout:
        overrides.append(f"task.holdout={options.holdout}")
    if options.train_limit:
        overrides.append(f"task.train_limit={options.train_limit}")
    return load_config(find_config(source), overrides)


def ladder_config(task: str, options: argparse.Namespace) -> LadderConfig:
    """What is measured of a task."""
    training = {
        "epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "design_rate": options.design_rate,
    }
    if options.settings:
        training |= json.loads((options.settings / f"{task}.json").read_text())
    own = [text.partition("=") for text in options.own_rates]
    return build(
        LadderConfig,
        {
            "rungs": options.rungs.split(","),
            "faults": {"rates": _rates(options.rates), "chips": options.chips, "pattern": options.pattern},
            "own_rates": {rung: _rates(rates) for rung, _, rates in own},
            "training": training,
            "batch_size": options.batch_size,
            **({"limit": options.limit} if options.limit else {}),
        },
        "the command line",
    )


def _rates(text: str) -> list[float]:
    return sorted(float(rate) for rate in text.split(",") if rate)


def prepare(directory: Path, config: RunConfig) -> None:
    """Fine-tune and prune, as far as that is not done."""
    bring_up(directory, config, "prune", say=lambda stage, what: print(stage, what, flush=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs and the tables")
    parser.add_argument("--glue-dir", type=Path, help="GLUE in its TSV layout; otherwise the hub")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--rungs", default=",".join(DEFAULT_RUNGS))
    parser.add_argument("--rates", default="0.002,0.01,0.03,0.05,0.08,0.1")
    parser.add_argument("--own-rates", action="append", default=[], help="RUNG=RATE,RATE: other rates for one rung")
    parser.add_argument("--chips", type=int, default=30)
    parser.add_argument("--pattern", default="uniform")
    parser.add_argument("--epochs", type=int, default=3, help="of training for faults")
    parser.add_argument("--design-rate", type=float, default=0.1, help="largest rate in training for faults")
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="of training for faults")
    parser.add_argument("--settings", type=Path, help="folder with TASK.json: settings of training for faults")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time; they share cores and GPU")
    parser.add_argument("--batch-size", type=int, default=256, help="dev examples run at once; 32 suits a CPU")
    parser.add_argument("--limit", type=int, help="only so many dev examples")
    parser.add_argument("--train-limit", type=int)
    parser.add_argument("--holdout", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--as-pruned", action="store_true", help="prune nothing anew, even if the code has changed")
    parser.add_argument("--minutes", type=float, help="start no further task after so many minutes")
    options = parser.parse_args()
    unknown = [task for task in options.tasks.split(",") if task not in TASKS]
    if unknown:
        parser.error(f"unknown task '{unknown[0]}'; there are {', '.join(TASKS)}.")
    begun, table = time.monotonic(), []
    for task in options.tasks.split(","):
        if options.minutes and time.monotonic() - begun > 60 * options.minutes:
            print(f"{task}: no time left; the same command goes on.")
            break
        config = run_config(task, options)
        if not options.as_pruned:
            prepare(options.output / task, config)
        settings = ladder_config(task, options)
        rows = ladder_in_run(options.output / task, config, settings, _progress, options.workers)
        table += [{"task": task, **row} for row in rows]
        write_apart(options.output, "ladder", table)
        for row in rows:
            print(task, *(f"{key}={_shown(value)}" for key, value in row.items()), sep="  ", flush=True)
    print(f"{time.monotonic() - begun:.0f} s on {best_device()}, {environment()['processor']}")


def _progress(what: str, done: int, total: int) -> None:
    if done == total or done % max(1, total // 20) == 0:
        print(f"{what}: {done} of {total}", flush=True)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
