"""The paper at its own size: MPNet-base (BERT-base's geometry) through Table 1, Figure 7, Table 3 and the system model.

    python -m benchmarks.paper_size --glue-dir DIR [--jobs N] [--minutes M]     # after `make models`
    python -m benchmarks.paper_size ... --only 'train mrpc 0|sweep mrpc'          # some of its jobs
    python -m benchmarks.paper_size --report                                    # the results from what is finished
    python -m benchmarks.paper_size --weights                                   # Table 2 and Figure 3 of the encoder

Jobs are processes of their own and go in the order of what they are worth: all seeds of the four small tasks, fault
sweeps of MRPC and CoLA on their first seed's pruned model, SST-2, further readings and rates, the other tasks. What is
finished is not done again, what was interrupted continues, and a GPU is used if there is one.

A sweep has twenty chips a point. *All planes*: every cell that is used or lies beside one can be stuck, replicas
included. *MSB planes*: the same chips, but only cells that hold a most significant bit are stuck.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper_size_plan import PRUNED_BY, RECIPES, VARIANTS, Job, SweepPlan, jobs, sweep_plans
from benchmarks.paper_size_tables import report
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.machine import cores
from crossvote.sim.common.progress import Progress
from crossvote.swstack.evaluation.chips import Chip, sample_chips
from crossvote.swstack.evaluation.config import EvalConfig, FaultsConfig
from crossvote.swstack.evaluation.evaluation import sweep
from crossvote.swstack.experiment.comparison.paper_tables import write_tables
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run.paths import MASKS, PRUNED
from crossvote.swstack.experiment.shipped import find_config
from crossvote.swstack.mapping.cost import mapping_report
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import load_masks
from crossvote.swstack.tasks import load_task
from crossvote.swstack.training.loop import best_device

RESULTS = Path(__file__).parent / "results" / "paper_size"


def run_jobs(todo: Sequence[Job], parallel: int, seconds: float, after: Callable[[Job, int], None]) -> None:
    """Run jobs in order, `parallel` at a time, each as soon as what it needs is there; stop them all after `seconds`.

    after: called with every job that finished, and its exit code. A job that fails takes those that need it with it.
    """
    started, waiting = time.monotonic(), [job for job in todo if not job.makes.exists()]
    running: dict[subprocess.Popen[bytes], Job] = {}
    threads = max(1, cores() // parallel)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    try:
        while (waiting or running) and time.monotonic() - started < seconds:
            for process, job in list(running.items()):
                if process.poll() is not None:
                    del running[process]
                    after(job, process.returncode)
            ready = [job for job in waiting if all(path.exists() for path in job.needs)]
            if not ready and not running:
                break
            for job in ready:
                if len(running) == parallel:
                    break
                if job.holds is not None and job.holds in {other.holds for other in running.values()}:
                    continue
                waiting.remove(job)
                job.log.parent.mkdir(parents=True, exist_ok=True)
                with job.log.open("a") as log:
                    process = subprocess.Popen(job.command, stdout=log, stderr=subprocess.STDOUT, env=environment)
                running[process] = job
            time.sleep(0.5)
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)


def only_top_plane(faults: FaultMap, image: Image) -> FaultMap:
    """The faults that lie in bit lines that hold a most significant bit of a kept output, original or replica."""
    parts = []
    for group in image.groups:
        first, stop = 2 * group.first_pair, 2 * (group.first_pair + group.pairs)
        cells, _ = faults.of_crossbars(first, stop)
        crossbar, _, bit_line = faults.coordinates(cells)
        line = (crossbar // 2 - group.first_pair) % group.column_blocks * group.columns + bit_line
        top = group.column_map.used & (group.column_map.plane == group.planes - 1)
        parts.append(np.searchsorted(faults.cells, cells[top[line]]))
    at = np.sort(np.concatenate(parts))
    return faults.only(at, f"{faults.source}, MSB planes")


def do_sweep(plan: SweepPlan, out: Path) -> dict[str, Any]:
    """Measure one sweep; finished trials are kept beside the run and taken up again."""
    started = time.monotonic()
    run = out / f"{plan.task}-0"
    config = load_config(find_config(str(run)))
    task = load_task(config.task, config.seed)
    model, tokenizer = load_model(ModelConfig(source=str(run / PRUNED)), task.num_labels, task.regression, config.seed)
    scheme, scale = VARIANTS[plan.variant]
    protection = replace(config, map=replace(config.map, schemes=(scheme,))).protections()[scheme]
    protection = protection if scale is None else replace(protection, scale=scale)
    image = build_image(
        model, word_line_groups(model), load_masks(run / MASKS), protection, config.quantization, name=plan.variant
    )
    chips = sample_chips(FaultsConfig(rates=plan.rates, chips=plan.chips), config.seed, [image])
    if plan.planes == "msb":
        chips = tuple(_restricted(chip, image) for chip in chips)
    model.to(best_device())  # type: ignore[arg-type]
    result = sweep(
        model,
        tokenizer,
        task,
        {plan.variant: image},
        chips,
        EvalConfig(batch_size=256 if best_device().type == "cuda" else 64),
        config.quantization.activations,
        out / "sweeps" / plan.name,
        _heartbeat(started),
    )
    mapping = mapping_report(image)
    return {
        "task": plan.task,
        "variant": plan.variant,
        "planes": plan.planes,
        "scale": protection.scale,
        "seed": config.seed,
        "metric": task.primary_metric,
        "examples": len(task.dev),
        "crossbars": sum(group.crossbars for group in mapping),
        "dense_crossbars": sum(group.dense_crossbars for group in mapping),
        "zero_space": all(group.zero_space for group in mapping),
        "device": best_device().type,
        "wall_seconds": time.monotonic() - started,
        "trials": [
            {"rate": trial.rate, "chip": trial.chip, "faults": trial.faults, **trial.metrics} for trial in result.trials
        ],
    }


def _restricted(chip: Chip, image: Image) -> Chip:
    return replace(chip, load=lambda: only_top_plane(chip.load(), image))


def _heartbeat(started: float) -> Progress:
    def show(what: str, done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            print(f"{time.monotonic() - started:.0f} s: {what} {done} of {total}", flush=True)

    return show


def main() -> None:
    """Run the campaign, or one sweep of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue-dir", default="glue", help="GLUE in the official TSV layout")
    parser.add_argument("--model", default="mpnet-base", help="installed by 'make models', a directory, or a hub name")
    parser.add_argument("--tasks", default=",".join(RECIPES), help="comma-separated")
    parser.add_argument("--column-sparsity", type=float, default=0.30, help="in every word-line group")
    parser.add_argument(
        "--method", choices=PRUNED_BY, default=PRUNED_BY[0], help="prunes the models of Table 1; the other one follows"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time; they share cores and GPU")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop after so long; started again, it goes on"
    )
    parser.add_argument("--checkpoint-steps", type=int, default=100, help="steps of training between checkpoints")
    parser.add_argument("--out", type=Path, default=Path("runs/paper-size"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    parser.add_argument("--only", default="", help="only jobs whose names match: a regular expression")
    parser.add_argument("--report", action="store_true", help="write the results of what is finished, run nothing")
    parser.add_argument("--weights", action="store_true", help="write Table 2 and Figure 3 of the encoder as installed")
    parser.add_argument("--sweep", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sweep:
        plan = next(one for one in sweep_plans() if one.name == args.sweep)
        write_text_atomic(args.out / "sweeps" / f"{plan.name}.json", json.dumps(do_sweep(plan, args.out)) + "\n")
        return
    if args.weights:
        model, _ = load_model(ModelConfig(source=args.model), num_labels=2, regression=False, seed=0)
        write_tables(args.results / "pretrained", (), model)
        return
    tasks = args.tasks.split(",")
    if unknown := set(tasks) - set(RECIPES):
        parser.error(f"--tasks {', '.join(sorted(unknown))}: must be of {', '.join(RECIPES)}.")
    todo, plans = jobs(
        args.model, args.glue_dir, args.column_sparsity, args.out, tasks, args.checkpoint_steps, args.method
    )
    todo = [job for job in todo if re.search(args.only, job.name)]
    started = time.monotonic()

    def after(job: Job, code: int) -> None:
        state = "done" if code == 0 else f"FAILED with exit code {code}, see {job.log}: {shlex.join(job.command)}"
        print(f"{time.monotonic() - started:6.0f} s  {job.name}: {state}", flush=True)

    if not args.report:
        run_jobs(todo, args.jobs, 60 * args.minutes, after)
    report(args.out, args.results, plans)


if __name__ == "__main__":
    main()
