"""Pruning methods compared fairly: every method's own setting is chosen on held-out train examples, dev comes last.

    python -m benchmarks.pruning_methods --glue-dir DIR [--tasks mrpc,stsb,cola] [--column-sparsity 0.3] [--seeds 3]
        [--jobs N]                  # prunings side by side, each in a process of its own

For every task:

1. A fifth of the train examples is held out. The encoder is fine-tuned on the rest and pruned from there by every
   method with every value of its own setting. The value with the best metric on the held-out examples is the method's.
2. The encoder is fine-tuned on the whole train set and pruned by every method with its value, over several seeds, and
   measured on dev.

The learning rate of the weights, the loss and the epochs after the freeze are the same for all; methods that need more
epochs to decide have them (`SLOW_EPOCHS`). 'saliency' and 'magnitude-start' isolate what learning gates adds. Finished
prunings are not done again and an interrupted one continues; a GPU is used if there is one. The tables come after
every pruning.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.machine import cores
from crossvote.sim.common.progress import Progress
from crossvote.sim.common.schema import build, merge, to_mapping
from crossvote.swstack.cli.console import progress_display
from crossvote.swstack.experiment.comparison.methods import Comparison, compare_methods, comparison_rows
from crossvote.swstack.experiment.comparison.paper_tables import to_markdown
from crossvote.swstack.experiment.overrides import parse_override
from crossvote.swstack.models.config import EMBEDDED_MODEL, ModelConfig
from crossvote.swstack.models.loading import load_model, save_model
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.tasks import TaskConfig, load_task
from crossvote.swstack.tasks.metrics import lost
from crossvote.swstack.training.config import FinetuneConfig
from crossvote.swstack.training.finetune import finetune

RESULTS = Path(__file__).parent / "results" / "pruning_methods"

#: Each method's own setting and the values tried; of methods without one, the value stands for the default.
GRID: dict[str, tuple[str, tuple[float, ...]]] = {
    "gates": ("gate_learning_rate", (0.001, 0.003, 0.01)),
    "saliency": ("saliency_steps", (25, 100)),
    "magnitude-start": ("saliency_steps", (25,)),
    "magnitude": ("saliency_steps", (25,)),
    "movement": ("gate_learning_rate", (0.003,)),
    "l0": ("gate_learning_rate", (0.01, 0.1, 1.0)),
    "admm": ("methods.admm.rho", (0.01, 0.1, 1.0)),
    "group-lasso": ("methods.group-lasso.strength", (0.001, 0.01, 0.1)),
    "least-squares": ("methods.least-squares.ridge", (0.01, 0.1, 1.0)),
}

#: Epochs in which a method decides: two, but ten for those that shrink weights slowly, as their authors do over tens.
EPOCHS, SLOW_EPOCHS = 2, {"admm": 10, "group-lasso": 10}


@dataclass(frozen=True)
class Dense:
    """A fine-tuned model to prune: of which task's examples, and the folder that it and its prunings lie in."""

    task: TaskConfig
    finetuning: FinetuneConfig
    source: str
    folder: Path

    @property
    def model(self) -> ModelConfig:
        """Where the model is, once it is made."""
        return ModelConfig(source=str(self.folder / "dense"))

    def make(self) -> None:
        """Fine-tune it, unless it is there already."""
        saved = self.folder / "dense"
        if not (saved / "config.json").is_file():
            task = load_task(self.task, 0)
            model, tokenizer = load_model(ModelConfig(source=self.source), task.num_labels, task.regression, seed=0)
            finetune(model, tokenizer, task, self.finetuning, 0, self.folder / "work")
            save_model(model, tokenizer, saved)


@dataclass(frozen=True)
class Pruning:
    """One pruning of a dense model. value: of the method's own setting, of which there is one in `cfg`."""

    dense: Dense
    cfg: PruneConfig
    value: float
    seed: int
    folder: Path

    def measure(self) -> Comparison:
        """Prune, unless it is done already, and measure on the task's dev (or held-out) examples."""
        cfg, task = self.cfg, load_task(self.dense.task, 0)
        shares = (cfg.column_sparsity,)
        (result,) = compare_methods(self.dense.model, task, cfg, (cfg.method,), shares, (self.seed,), self.folder)
        return result


def candidates(dense: Dense, cfg: PruneConfig) -> Iterator[Pruning]:
    """A pruning for every value of every method's own setting, those that take longest first."""
    for method, (setting, values) in sorted(GRID.items(), key=lambda item: -SLOW_EPOCHS.get(item[0], EPOCHS)):
        for value in values:
            changed = merge(to_mapping(cfg), parse_override(f"{setting}={value!r}"))
            epochs = SLOW_EPOCHS.get(method, EPOCHS)
            one = build(PruneConfig, {**changed, "method": method, "gate_epochs": epochs}, method)
            yield Pruning(dense, one, value, 0, dense.folder / f"{method}-{value:g}")


def chosen(tried: Iterable[tuple[Pruning, Comparison]]) -> list[Pruning]:
    """Per task and method, the pruning with the best metric on the held-out examples."""
    best: dict[tuple[str, str], tuple[Pruning, Comparison]] = {}
    for pruning, result in tried:
        other = best.get((result.task, result.method))
        if other is None or lost(result.metric, other[1].pruned, result.pruned) < 0:
            best[result.task, result.method] = pruning, result
    return [pruning for pruning, _ in best.values()]


def tuning_row(pruning: Pruning, result: Comparison) -> dict[str, Any]:
    """What one value gave."""
    return {
        "task": result.task,
        "method": result.method,
        "epochs": pruning.cfg.epochs - pruning.cfg.final_epochs,
        "setting": GRID[result.method][0],
        "value": pruning.value,
        "held-out metric": f"{result.pruned:.2f}",
    }


def main() -> None:
    """Run both parts on all tasks and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue-dir", required=True, help="GLUE in the official TSV layout")
    parser.add_argument("--tasks", default="mrpc,stsb,cola", help="GLUE tasks, comma-separated")
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="installed, a directory, or a Hugging Face name")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of the weights, fine-tuning and pruning")
    parser.add_argument("--column-sparsity", type=float, default=0.3, help="in every word-line group")
    parser.add_argument("--seeds", type=int, default=3, help="seeds per method on dev")
    parser.add_argument("--train-limit", type=int, help="train examples used; all by default")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time; they share cores and GPU")
    parser.add_argument("--out", type=Path, default=Path("runs/pruning-methods"), help="where the work goes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the tables go")
    args = parser.parse_args()
    schedule = {"column_sparsity": args.column_sparsity, "learning_rate": args.learning_rate, "final_epochs": 1}
    cfg = build(PruneConfig, schedule, "prune")
    finetuning = build(FinetuneConfig, {"epochs": 3, "learning_rate": args.learning_rate}, "finetune")
    held_out, whole = {}, {}
    for name in args.tasks.split(","):
        data = {"name": name, "glue_dir": args.glue_dir, "train_limit": args.train_limit}
        tuned_on = build(TaskConfig, {**data, "holdout": 0.2}, "task")
        held_out[name] = Dense(tuned_on, finetuning, args.model, args.out / f"{name}-held-out")
        whole[name] = Dense(build(TaskConfig, data, "task"), finetuning, args.model, args.out / name)
    tuned: list[tuple[Pruning, Comparison]] = []
    results: list[Comparison] = []
    with (
        progress_display(Console()) as progress,
        ProcessPoolExecutor(
            args.jobs,
            multiprocessing.get_context("spawn"),
            initializer=torch.set_num_threads,
            initargs=(max(1, cores() // args.jobs),),
        ) as pool,
    ):
        models = [dense for part in (held_out, whole) for dense in part.values()]
        for done, _ in enumerate(pool.map(Dense.make, models), 1):
            progress("dense models", done, len(models))
        tries = [pruning for dense in held_out.values() for pruning in candidates(dense, cfg)]
        for pruning, result in _measured(pool, tries, "choose settings", progress):
            tuned.append((pruning, result))
            tuned.sort(key=lambda pair: tries.index(pair[0]))
            write_csv(args.results / "tuning.csv", [tuning_row(*pair) for pair in tuned])
        final = [
            replace(one, dense=dense, seed=seed, folder=dense.folder)
            for one in chosen(tuned)
            for dense in [whole[one.dense.task.name]]
            for seed in range(args.seeds)
        ]
        order = [(name, method) for name in whole for method in GRID]
        for _, result in _measured(pool, final, "measure on dev", progress):
            results.append(result)
            results.sort(key=lambda own: (order.index((own.task, own.method)), own.seed))
            table = comparison_rows(results)
            write_csv(args.results / "comparison.csv", table)
            write_text_atomic(args.results / "comparison.md", to_markdown(table))


def _measured(
    pool: ProcessPoolExecutor, prunings: list[Pruning], what: str, progress: Progress
) -> Iterator[tuple[Pruning, Comparison]]:
    """Every pruning with its result, as they come."""
    running = {pool.submit(pruning.measure): pruning for pruning in prunings}
    for done, future in enumerate(as_completed(running), 1):
        progress(what, done, len(running))
        yield running[future], future.result()


if __name__ == "__main__":
    main()
