"""The paper's Table 1 on the nine GLUE tasks: fine-tune and prune one encoder on each, several seeds for small tasks.

    python -m benchmarks.glue_pruning --glue-dir DIR [--jobs N] [--model NAME] [--tasks rte,mrpc,...] [--dry-run]
    python -m benchmarks.glue_pruning --glue-dir DIR --curve 0,0.5,0.7      # and the loss over the sparsity
    python -m benchmarks.glue_pruning --report                              # the results from what is finished

Every task and seed is a run directory under --out; what is finished there is not done again, and what was interrupted
continues. First come all tasks with their first seed, small ones first, then the other seeds. The report covers
all finished tasks and is written after every run, so that it can be read while the rest is still going on.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console

from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.machine import cores
from crossvote.swstack.experiment.comparison.methods import finished
from crossvote.swstack.experiment.comparison.paper_tables import to_markdown
from crossvote.swstack.experiment.comparison.tables import record_of, tables
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.paths import COMPARISON, DENSE, PRUNED, record
from crossvote.swstack.experiment.run.paths import RESULTS as FILES
from crossvote.swstack.experiment.run.records import Finetuned, Score
from crossvote.swstack.experiment.shipped import find_config
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.report.figures import loss_figure, save_figure
from crossvote.swstack.tasks import load_task
from crossvote.swstack.tasks.chance import Chance
from crossvote.swstack.training.predict import evaluate

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Recipe:
    """Epochs of fine-tuning, of learning gates and of final fine-tuning; seeds; train examples used, if not all.

    augmentation: share of examples with exchanged tokens while pruning; dropout: whether it is on while pruning.
    """

    finetune_epochs: int
    gate_epochs: int
    final_epochs: int
    seeds: int
    train_limit: int | None = None
    augmentation: float = 0.0
    dropout: bool = True


#: Settings of all runs. They, the augmentation of CoLA and QNLI, and no dropout on CoLA were chosen on held-out train
#: examples: a fifth of those of CoLA, MRPC and QNLI.
COMMON = {
    "task.max_length": 128,
    "finetune.learning_rate": 1e-4,
    "prune.learning_rate": 1e-4,
    "prune.gate_learning_rate": 0.003,
    "prune.distillation": 0.5,
    "prune.layer_distillation": 1.0,
}

# Small tasks first. More epochs for fewer examples.
RECIPES: dict[str, Recipe] = {
    "wnli": Recipe(3, 2, 1, 3),
    "rte": Recipe(4, 2, 1, 3),
    "mrpc": Recipe(3, 2, 1, 3),
    "stsb": Recipe(3, 2, 1, 3),
    "cola": Recipe(4, 3, 2, 5, augmentation=0.5, dropout=False),
    "qnli": Recipe(3, 2, 2, 2, augmentation=0.5),
    "sst2": Recipe(2, 1, 1, 1, train_limit=16_000),
    "qqp": Recipe(2, 1, 1, 1, train_limit=16_000),
    "mnli": Recipe(2, 1, 1, 1, train_limit=16_000),
}


@dataclass(frozen=True)
class Plan:
    """One run: its command and where it goes."""

    task: str
    seed: int
    run: Path
    command: tuple[str, ...]


def plan(
    model: str,
    glue_dir: str,
    column_sparsity: float,
    out: Path,
    recipes: Mapping[str, Recipe] = RECIPES,
    common: Mapping[str, Any] = COMMON,
) -> list[Plan]:
    """All runs in the order in which they are done."""
    rounds = max(recipe.seeds for recipe in recipes.values())
    return [
        _plan(task, recipe, seed, {"model.source": f'"{model}"', **common}, glue_dir, column_sparsity, out)
        for seed in range(rounds)
        for task, recipe in recipes.items()
        if seed < recipe.seeds
    ]


def _plan(
    task: str, recipe: Recipe, seed: int, common: Mapping[str, Any], glue_dir: str, column_sparsity: float, out: Path
) -> Plan:
    overrides = {
        "seed": seed,
        "task.name": f'"{task}"',
        **({} if recipe.train_limit is None else {"task.train_limit": recipe.train_limit}),
        **common,
        **({"prune.augmentation": recipe.augmentation} if recipe.augmentation else {}),
        **({} if recipe.dropout else {"prune.dropout": "false"}),
        "finetune.epochs": recipe.finetune_epochs,
        "prune.column_sparsity": column_sparsity,
        "prune.gate_epochs": recipe.gate_epochs,
        "prune.final_epochs": recipe.final_epochs,
    }
    options = [text for key, value in overrides.items() for text in ("-o", f"{key}={value}")]
    run = out / f"{task}-{seed}"
    command = ["crossvote", "prune", "default", "--run-dir", str(run), "--glue-dir", glue_dir, *options]
    return Plan(task, seed, run, tuple(command))


def call(command: Sequence[str], log: Path, threads: int) -> None:
    """Run a `crossvote` command with so many threads; its output goes to the log.

    Raises SystemExit naming the log if it fails.
    """
    program = [sys.executable, "-c", "from crossvote.swstack.cli.main import main; main()", *command[1:]]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(program, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed with exit code {done.returncode}; see {log}.")


def near_chance(finetuned: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a task's dense models are, on average, at chance level on its dev examples.

    finetuned: results of fine-tuning, one per seed.
    """
    chance = Chance(**finetuned[0]["chance"])
    return chance.holds(statistics.mean(one["metrics"][one["metric"]] for one in finetuned))


def finished_runs(plans: Sequence[Plan]) -> list[Plan]:
    """Those whose pruned models are scored."""
    return [one for one in plans if (one.run / record("score-pruned")).is_file()]


def uncounted(plans: Sequence[Plan]) -> set[str]:
    """Tasks of finished runs whose dense models are near chance: what pruning costs them means nothing."""
    finetuned: dict[str, list[dict[str, Any]]] = {}
    for one in finished_runs(plans):
        finetuned.setdefault(one.task, []).append(_dense(one))
    return {task for task, results in finetuned.items() if near_chance(results)}


def _dense(one: Plan) -> dict[str, Any]:
    """How a finished run's dense model was trained, and how it scores."""
    run = RunDirectory(one.run)
    return {**asdict(run.read(FILES["finetune"], Finetuned)), **asdict(run.read(FILES["score-dense"], Score))}


def report(plans: Sequence[Plan], folder: Path = RESULTS / "glue_pruning") -> None:
    """Write the results of all finished runs: tables, runs, the curve if there is one."""
    runs = finished_runs(plans)
    if not runs:
        return
    tables([one.run for one in runs], folder)
    rows: list[dict[str, Any]] = []
    losses: dict[str, list[float]] = {}
    for one in runs:
        measured, dense, run = record_of(one.run), _dense(one), RunDirectory(one.run)
        seconds = {stage: about.wall_seconds for stage in ("finetune", "prune") if (about := run.about(stage))}
        losses.setdefault(one.task, []).append(measured.lost)
        rows.append(
            {
                "task": one.task,
                "seed": one.seed,
                "train examples": dense["train_examples"],
                "dev examples": dense["dev_examples"],
                "metric": measured.metric,
                "one answer": f"{dense['chance']['score']:.2f}",
                "dense": f"{measured.dense:.2f}",
                "pruned": f"{measured.pruned:.2f}",
                "loss": f"{measured.lost:.2f}",
                "least column sparsity, %": f"{100 * measured.column_sparsity:.2f}",
                "fine-tuning, s": f"{seconds['finetune']:.0f}",
                "pruning, s": f"{seconds['prune']:.0f}",
                "command": shlex.join(one.command),
            }
        )
    write_csv(folder / "runs.csv", rows)
    at_chance = uncounted(runs)
    means = {task: statistics.mean(values) for task, values in losses.items() if task not in at_chance}
    unfinished = sorted({one.task for one in plans} - set(losses))
    lines = []
    if means:
        worst = max(means, key=means.__getitem__)
        lines.append(
            f"Mean loss over {len(means)} tasks: {statistics.mean(means.values()):.2f} points; "
            f"largest: {means[worst]:.2f} ({worst}).\n"
        )
    # Models that were removed after they were measured can answer nothing more.
    others = [mismatched(one) for one in runs if one.task == "mnli" and (one.run / PRUNED / "config.json").is_file()]
    if others:
        write_csv(folder / "mnli_mismatched.csv", [_rounded(row) for row in others])
        mean = statistics.mean(row["loss"] for row in others)
        lines.append(f"Mean loss on MNLI's mismatched dev set (not in the mean above): {mean:.2f} points.\n")
    lines.append(
        f"Not counted, as the dense model is near chance there: {', '.join(sorted(at_chance)) or 'none'}. "
        f"Not finished: {', '.join(unfinished) or 'none'}.\n"
    )
    points = curve([one for one in runs if one.seed == 0])
    if points:
        write_csv(folder / "curve.csv", points)
        figure = loss_figure([{**point, "method": point["task"]} for point in points], "the task's metric")
        save_figure(figure, folder, "curve")
        lines.append(to_markdown(highest_within(points)))
    write_text_atomic(folder / "summary.md", "\n".join(lines))


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: f"{value:.2f}" if isinstance(value, float) else value for name, value in row.items()}


def mismatched(one: Plan) -> dict[str, Any]:
    """Accuracy of an MNLI run's dense and pruned model on MNLI's other dev set, in percent; measured once per run."""
    path = one.run / "mismatched.json"
    newest = (one.run / record("prune")).stat().st_mtime
    if not path.is_file() or path.stat().st_mtime < newest:
        config = load_config(find_config(str(one.run)))
        task = load_task(replace(config.task, name="mnli-mismatched", train_limit=1), config.seed)
        row: dict[str, Any] = {"seed": one.seed, "dev examples": len(task.dev)}
        for name, folder in (("dense", DENSE), ("pruned", PRUNED)):
            model, tokenizer = load_model(ModelConfig(source=str(one.run / folder)), task.num_labels, False, seed=0)
            row[name] = evaluate(model, tokenizer, task)[task.primary_metric]
        row["loss"] = row["dense"] - row["pruned"]
        write_text_atomic(path, json.dumps(row, indent=2) + "\n")
    return dict(json.loads(path.read_text()))


def curve(runs: Sequence[Plan]) -> list[dict[str, Any]]:
    """Loss per task and share, from runs with their first seed and what `crossvote compare` measured in them.

    A comparison with other settings than the run's, from before the recipe changed, is left out.
    """
    points = []
    for one in runs:
        record = record_of(one.run)
        settings = load_config(find_config(str(one.run))).prune
        losses = {round(record.column_sparsity, 2): record.dense - record.pruned}
        compared = finished(one.run / COMPARISON, ModelConfig(source=str(one.run / DENSE)), settings)
        losses |= {result.target: result.dense - result.pruned for result in compared if result.seed == one.seed}
        if len(losses) > 1:
            points += [
                {"task": one.task, "target": share, "loss": loss, "least": loss, "largest": loss}
                for share, loss in sorted(losses.items())
            ]
    return points


def highest_within(points: Sequence[Mapping[str, Any]], loss: float = 1.0) -> list[dict[str, str]]:
    """Per task, the losses and the highest share up to which no share lost more than `loss` points.

    A share that was not measured on a task is an empty cell.
    """
    shares = sorted({point["target"] for point in points})
    rows = []
    for task in dict.fromkeys(point["task"] for point in points):
        own = {point["target"]: point["loss"] for point in points if point["task"] == task}
        within = 0.0
        for share, lost in sorted(own.items()):
            if lost > loss:
                break
            within = share
        rows.append(
            {
                "task": task,
                **{f"loss at {100 * share:g} %": f"{own[share]:.2f}" if share in own else "" for share in shares},
                f"highest within {loss:g} point, %": f"{100 * within:g}",
            }
        )
    return rows


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue-dir", default="glue", help="GLUE in the official TSV layout")
    parser.add_argument("--model", default="minilm-l6", help="embedded, a directory, or a Hugging Face name")
    parser.add_argument("--tasks", default=",".join(RECIPES), help="comma-separated, of the nine")
    parser.add_argument("--column-sparsity", type=float, default=0.30, help="in every word-line group")
    parser.add_argument("--curve", default="", help="further shares of columns, comma-separated, for the first seeds")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--out", type=Path, default=Path("runs/glue-pruning"), help="where the runs go")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    parser.add_argument("--report", action="store_true", help="write the results of what is finished, run nothing")
    args = parser.parse_args()
    tasks = args.tasks.split(",")
    if unknown := set(tasks) - set(RECIPES):
        parser.error(f"--tasks {', '.join(sorted(unknown))}: must be of {', '.join(RECIPES)}.")
    everything = plan(args.model, args.glue_dir, args.column_sparsity, args.out)
    plans = [one for one in everything if one.task in tasks]
    if args.report:
        report(everything)
        return
    threads = max(1, cores() // args.jobs)
    lock, console = Lock(), Console()

    def perform(one: Plan, command: Sequence[str]) -> None:
        console.print(shlex.join(command), highlight=False, soft_wrap=True)
        if not args.dry_run:
            call(command, one.run.with_suffix(".log"), threads)
            with lock:
                report(everything)

    shares = [float(share) for share in args.curve.split(",") if share]
    compare = ("--method", "gates", *(text for share in shares for text in ("--column-sparsity", f"{share:g}")))
    first = [one for one in plans if one.seed == 0] if shares else []
    with ThreadPoolExecutor(args.jobs) as pool:
        # A list each, so that a run that fails ends the campaign with its message.
        list(pool.map(lambda one: perform(one, one.command), plans))
        list(pool.map(lambda one: perform(one, ("crossvote", "compare", str(one.run), *compare)), first))


if __name__ == "__main__":
    main()
