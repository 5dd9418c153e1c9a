"""The paper at its own size: MPNet-base (BERT-base's geometry) through Table 1, Figure 7, Table 3 and the system model.

    python -m benchmarks.paper_size --glue-dir DIR [--jobs N] [--minutes M]     # after `make models`
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
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import glue_pruning
from benchmarks.glue_pruning import Plan, Recipe
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.keyed import KeyedResults
from crossvote.sim.common.machine import cores
from crossvote.sim.common.progress import Progress
from crossvote.swstack.evaluation.chips import Chip, sample_chips
from crossvote.swstack.evaluation.config import EvalConfig, FaultsConfig
from crossvote.swstack.evaluation.evaluation import sweep
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.paper_tables import mean_and_spread, write_tables
from crossvote.swstack.experiment.paths import COMPARISON, MASKS, PRUNED, record
from crossvote.swstack.experiment.pruning_comparison import Comparison
from crossvote.swstack.experiment.shipped import find_config
from crossvote.swstack.experiment.tables import record_of
from crossvote.swstack.mapping.mapping import build_image, mapping_report
from crossvote.swstack.mapping.scheme import Scale
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import load_masks
from crossvote.swstack.report.figures import save_figure
from crossvote.swstack.tasks import load_task
from crossvote.swstack.training.loop import best_device

RESULTS = Path(__file__).parent / "results" / "paper_size"

#: Rates in the range of the BERT paper's own search, one for all tasks; the rest is the recipe that was chosen on
#: held-out train examples for the six-layer encoder (`glue_pruning`).
COMMON = {
    **glue_pruning.COMMON,
    "finetune.learning_rate": 4e-5,
    "prune.learning_rate": 5e-5,
}

# In the order of what they are worth.
RECIPES: dict[str, Recipe] = {
    "mrpc": Recipe(5, 3, 2, 3),
    "cola": Recipe(4, 3, 2, 3, augmentation=0.5, dropout=False),
    "rte": Recipe(6, 5, 3, 3),
    "stsb": Recipe(4, 2, 2, 3),
    "sst2": Recipe(2, 1, 1, 3, train_limit=16_000),
    "qnli": Recipe(2, 2, 1, 1, augmentation=0.5),
    "mnli": Recipe(2, 1, 1, 1, train_limit=16_000),
    "qqp": Recipe(2, 1, 1, 1, train_limit=16_000),
}

#: Tasks whose trainings come first, and those after the first sweeps.
SMALL, LARGE = ("mrpc", "cola", "rte", "stsb"), ("sst2",)

#: Tasks of the fault sweeps, the paper's nine rates (Table 3), and those beyond.
SWEPT = ("mrpc", "cola")
PAPER_RATES = (0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.00125, 0.0015, 0.00175, 0.002)
HIGH_RATES = (0.005, 0.01, 0.02, 0.05)
CHIPS = 20

#: Table 3 of the paper, means in percent; the pruned model's metric of QQP (Table 1), the task it is most likely of.
PAPER_TABLE_3 = {
    "none": (90.68, 87.65, 77.96, 55.11, 37.68, 21.18, 12.44, 22.47, 27.40),
    "paper": (90.58, 90.26, 88.68, 86.0, 83.91, 80.13, 71.43, 63.02, 52.23),
}
PAPER_FAULT_FREE = 90.86

#: Tasks on which methods are compared with the gates, from the same dense models with the same schedule and losses, and
#: the shares of the curve.
COMPARED = ("mrpc", "stsb", "rte")
METHODS = ("saliency", "magnitude-start", "magnitude", "movement")
SHARES = (0.4, 0.5)

#: Schemes whose latency, energy and area are computed from the images of one model.
SYSTEM_TASK, SYSTEM_SCHEMES = "mrpc", ("none", "none-column", "paper", "best")

#: Variants by name: the shipped scheme, and its quantization scale where that is not the scheme's own.
VARIANTS: dict[str, tuple[str, Scale | None]] = {
    "none": ("none", None),
    "none-column": ("none-column", None),
    "paper": ("paper", None),
    "paper-column": ("paper", "column"),
    "best": ("best", None),
}


@dataclass(frozen=True)
class SweepPlan:
    """One variant on all chips of some rates. planes: 'all' or 'msb', which cells can be stuck."""

    task: str
    variant: str
    planes: str
    rates: tuple[float, ...]
    chips: int

    @property
    def name(self) -> str:
        """Unique, and a file name."""
        return f"{self.task}-{self.variant}-{self.planes}-{100 * min(self.rates):g}-{100 * max(self.rates):g}"


@dataclass(frozen=True)
class Job:
    """A process. needs: files that must be there first. makes: the file by which it is known to be finished.

    holds: a run directory that it works in, which no other job may do at that time.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[Path, ...]
    makes: Path
    log: Path
    holds: Path | None = None


def sweep_plans() -> list[SweepPlan]:
    """All sweeps in the order of what they are worth."""
    first = [
        SweepPlan(t, v, "all", PAPER_RATES, CHIPS) for t in SWEPT for v in ("paper", "none", "best", "none-column")
    ]
    readings = [
        SweepPlan(t, v, planes, PAPER_RATES, CHIPS)
        for t in SWEPT
        for v, planes in (
            ("none", "msb"),
            ("paper", "msb"),
            ("paper-column", "all"),
            ("none-column", "msb"),
            ("paper-column", "msb"),
        )
    ]
    high = [
        SweepPlan(t, v, "all", HIGH_RATES, CHIPS)
        for v in ("best", "none-column", "paper-column", "paper", "none")
        for t in SWEPT
    ]
    return [*first, *readings, *high]


def jobs(
    model: str, glue_dir: str, share: float, out: Path, tasks: Sequence[str], checkpoint_steps: int
) -> tuple[list[Job], list[Plan]]:
    """All jobs in order, and the plans of the trainings among them."""
    recipes = {task: RECIPES[task] for task in tasks}
    steps = {"finetune.checkpoint_steps": checkpoint_steps, "prune.checkpoint_steps": checkpoint_steps}
    plans = glue_pruning.plan(model, glue_dir, share, out, recipes, {**COMMON, **steps})
    small, large, last = (
        [_training(one) for one in plans if one.task in own] for own in (SMALL, LARGE, set(RECIPES) - {*SMALL, *LARGE})
    )
    sweeps = [_sweeping(one, out) for one in sweep_plans() if one.task in tasks]
    swept = len(set(SWEPT) & set(tasks))
    first, readings, high = sweeps[: 4 * swept], sweeps[4 * swept : 9 * swept], sweeps[9 * swept :]
    compared = [
        [_comparison(one, "methods", METHODS, (share,)) for one in plans if one.seed == seed and one.task in COMPARED]
        for seed in range(3)
    ]
    curves = [_comparison(one, "curve", ("gates",), SHARES) for one in plans if one.seed == 0 and one.task in SWEPT]
    system = [_system(one, out) for one in plans if (one.task, one.seed) == (SYSTEM_TASK, 0)]
    order = [small, first, large, readings, high, system, compared[0], curves, last, compared[1], compared[2]]
    return [job for part in order for job in part], plans


def _crossvote(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", "from crossvote.swstack.cli.main import main; main()", *arguments)


def _pruned(one: Plan) -> Path:
    return one.run / record("score-pruned")


def _training(one: Plan) -> Job:
    name, log = f"train {one.task} {one.seed}", one.run.with_suffix(".log")
    return Job(name, _crossvote(*one.command[1:]), (), _pruned(one), log, one.run)


def _sweeping(one: SweepPlan, out: Path) -> Job:
    command = (sys.executable, "-m", "benchmarks.paper_size", "--out", str(out), "--sweep", one.name)
    makes = out / "sweeps" / f"{one.name}.json"
    needs = (out / f"{one.task}-0" / record("score-pruned"),)
    return Job(f"sweep {one.name}", command, needs, makes, makes.with_suffix(".log"))


def _comparison(one: Plan, name: str, methods: Sequence[str], shares: Sequence[float]) -> Job:
    options = [text for method in methods for text in ("--method", method)]
    options += [text for share in shares for text in ("--column-sparsity", f"{share:g}")]
    last = one.run / "comparison" / f"{methods[-1]}-{100 * shares[-1]:g}-{one.seed}" / "result.json"
    command = _crossvote("compare", str(one.run), *options)
    return Job(
        f"{name} {one.task} {one.seed}", command, (_pruned(one),), last, one.run.with_suffix(f".{name}.log"), one.run
    )


def _system(one: Plan, out: Path) -> Job:
    schemes = "map.schemes=[" + ", ".join(f'"{scheme}"' for scheme in SYSTEM_SCHEMES) + "]"
    folder = out / "system"
    steps = [_crossvote("map", str(one.run), "-o", schemes), _crossvote("simulate", str(one.run), "--out", str(folder))]
    command = " && ".join(shlex.join(step) for step in [*steps, ("touch", str(folder / "finished"))])
    log = one.run.with_suffix(".system.log")
    return Job(f"system {one.task}", ("bash", "-c", command), (_pruned(one),), folder / "finished", log, one.run)


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
    return replace(faults, cells=faults.cells[at], stuck_at=faults.stuck_at[at], source=f"{faults.source}, MSB planes")


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


def points_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per task, variant, planes and rate: mean, sample variance, least and largest metric, in percent."""
    rows = []
    for one in results:
        for rate in dict.fromkeys(trial["rate"] for trial in one["trials"]):
            scores = [trial[one["metric"]] for trial in one["trials"] if trial["rate"] == rate]
            rows.append(
                {
                    "task": one["task"],
                    "metric": one["metric"],
                    "variant": one["variant"],
                    "scale": one["scale"],
                    "faulted planes": one["planes"],
                    "rate": rate,
                    "mean": statistics.mean(scores),
                    "variance": statistics.variance(scores) if len(scores) > 1 else 0.0,
                    "least": min(scores),
                    "largest": max(scores),
                    "chips": len(scores) if rate else 0,
                }
            )
    unique = {(row["task"], row["variant"], row["faulted planes"], row["rate"]): row for row in rows}
    return [unique[key] for key in sorted(unique)]


def curve_of(points: Sequence[Mapping[str, Any]], task: str, variant: str, planes: str) -> dict[float, float]:
    """Rate -> mean of one curve, the fault-free value at rate 0."""
    return {
        point["rate"]: point["mean"]
        for point in points
        if (point["task"], point["variant"], point["faulted planes"]) == (task, variant, planes)
    }


def tolerated_rate(curve: Mapping[float, float], drop: float) -> float:
    """The rate up to which the mean stays within `drop` points of the fault-free value, linear between the rates.

    The largest rate measured if it never drops so far.
    """
    least, last, before = curve[0.0] - drop, 0.0, curve[0.0]
    for rate in sorted(curve):
        if curve[rate] < least:
            return last + (rate - last) * (before - least) / (before - curve[rate])
        last, before = rate, curve[rate]
    return last


def distance_to_paper(
    points: Sequence[Mapping[str, Any]], task: str, unprotected: str, protected: str, planes: str
) -> float | None:
    """Root mean square of (our drop - the paper's drop) in points over both curves and nine rates; None if incomplete.

    A drop is the loss against the fault-free model, the paper's against 90.86.
    """
    gaps = []
    for variant, paper in ((unprotected, PAPER_TABLE_3["none"]), (protected, PAPER_TABLE_3["paper"])):
        curve = curve_of(points, task, variant, planes)
        if not all(rate in curve for rate in (0.0, *PAPER_RATES)):
            return None
        gaps += [
            (curve[0.0] - curve[rate]) - (PAPER_FAULT_FREE - value)
            for rate, value in zip(PAPER_RATES, paper, strict=True)
        ]
    return float(np.sqrt(np.mean(np.square(gaps))))


def compared_rows(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """One row per task, method and share: loss in points over the seeds, each against its own dense model."""
    losses: dict[tuple[str, str, float], list[float]] = {}
    for one in plans:
        if not _pruned(one).exists():
            continue
        measured = record_of(one.run)
        share = load_config(find_config(str(one.run))).prune.column_sparsity
        losses.setdefault((one.task, "gates", share), []).append(measured.lost)
        for _, stored in KeyedResults(one.run / COMPARISON).entries():
            result = Comparison(**stored)
            losses.setdefault((one.task, result.method, result.target), []).append(result.lost)
    return [
        {
            "task": task,
            "method": method,
            "columns, %": f"{100 * share:g}",
            "loss": mean_and_spread(values),
            "by seed": " ".join(f"{value:.2f}" for value in values),
            "seeds": str(len(values)),
        }
        for (task, method, share), values in sorted(losses.items())
    ]


def report(out: Path, folder: Path, plans: Sequence[Plan]) -> None:
    """Write everything that is finished into `folder`."""
    glue_pruning.report(plans, folder)
    if rows := compared_rows(plans):
        write_csv(folder / "methods.csv", rows)
    for path in (out / "system").glob("*.csv"):
        write_text_atomic(folder / f"system_{path.name}", path.read_text())
    results = [json.loads(path.read_text()) for path in sorted((out / "sweeps").glob("*.json"))]
    if not results:
        return
    points = points_of(results)
    write_csv(folder / "points.csv", [_rounded(point) for point in points])
    write_csv(
        folder / "trials.csv",
        [
            {
                "task": one["task"],
                "variant": one["variant"],
                "faulted planes": one["planes"],
                "rate": trial["rate"],
                "chip": trial["chip"],
                "faults": trial["faults"],
                "metric": f"{trial[one['metric']]:.3f}",
            }
            for one in results
            for trial in one["trials"]
        ],
    )
    write_csv(
        folder / "sweeps.csv",
        [
            {name: value for name, value in one.items() if name != "trials"}
            | {"wall_seconds": f"{one['wall_seconds']:.0f}", "command": f"benchmarks.paper_size --sweep {path.stem}"}
            for path, one in zip(sorted((out / "sweeps").glob("*.json")), results, strict=True)
        ],
    )
    curves = {(point["task"], point["variant"], point["faulted planes"]) for point in points}
    write_csv(
        folder / "tolerated.csv",
        [
            {
                "task": task,
                "variant": variant,
                "faulted planes": planes,
                "fault-free": f"{curve[0.0]:.2f}",
                "tolerated within 10 points, %": f"{100 * tolerated_rate(curve, 10):.4f}",
                "tolerated within 1 point, %": f"{100 * tolerated_rate(curve, 1):.4f}",
                "largest rate measured, %": f"{100 * max(curve):g}",
            }
            for task, variant, planes in sorted(curves)
            if 0.0 in (curve := curve_of(points, task, variant, planes))
        ],
    )
    readings = [
        {"task": task, "scale": scale, "faulted planes": planes, "distance, points": f"{distance:.2f}"}
        for task in SWEPT
        for scale, pair in (("tensor", ("none", "paper")), ("column", ("none-column", "paper-column")))
        for planes in ("all", "msb")
        if (distance := distance_to_paper(points, task, *pair, planes)) is not None
    ]
    if readings:
        write_csv(folder / "readings.csv", readings)
    for task in dict.fromkeys(point["task"] for point in points):
        save_figure(figure_7(points, task), folder, f"figure7_{task}")


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: f"{value:.3f}" if isinstance(value, float) and name != "rate" else value for name, value in row.items()
    }


def figure_7(points: Sequence[Mapping[str, Any]], task: str) -> Figure:
    """Mean metric over the fault rate, a line for each variant and reading."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for variant in VARIANTS:
        for planes, style in (("all", "-"), ("msb", ":")):
            curve = curve_of(points, task, variant, planes)
            rates = sorted(rate for rate in curve if rate)
            if rates:
                color = f"C{list(VARIANTS).index(variant)}"
                label = variant if planes == "all" else f"{variant}, only MSB planes faulted"
                axes.plot(
                    [100 * r for r in rates], [curve[r] for r in rates], style, color=color, marker=".", label=label
                )
    axes.set_xscale("log")
    axes.set_xlabel("stuck cells, %")
    axes.set_ylabel(f"{task}, mean over chips")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    return figure


def main() -> None:
    """Run the campaign, or one sweep of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue-dir", default="glue", help="GLUE in the official TSV layout")
    parser.add_argument("--model", default="mpnet-base", help="installed by 'make models', a directory, or a hub name")
    parser.add_argument("--tasks", default=",".join(RECIPES), help="comma-separated")
    parser.add_argument("--column-sparsity", type=float, default=0.30, help="in every word-line group")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time; they share cores and GPU")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop after so long; started again, it goes on"
    )
    parser.add_argument("--checkpoint-steps", type=int, default=100, help="steps of training between checkpoints")
    parser.add_argument("--out", type=Path, default=Path("runs/paper-size"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
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
    todo, plans = jobs(args.model, args.glue_dir, args.column_sparsity, args.out, tasks, args.checkpoint_steps)
    started = time.monotonic()

    def after(job: Job, code: int) -> None:
        state = "done" if code == 0 else f"FAILED with exit code {code}, see {job.log}: {shlex.join(job.command)}"
        print(f"{time.monotonic() - started:6.0f} s  {job.name}: {state}", flush=True)

    if not args.report:
        run_jobs(todo, args.jobs, 60 * args.minutes, after)
    report(args.out, args.results, plans)


if __name__ == "__main__":
    main()
