"""Pruning methods compared fairly: every method's own setting is chosen on held-out train examples, dev comes last.

    python -m benchmarks.pruning_methods --glue-dir DIR [--tasks mrpc,stsb,cola] [--column-sparsity 0.3] [--seeds 3]

For every task:

1. A fifth of the train examples is held out. The encoder is fine-tuned on the rest and pruned from there by every
   method with every value of its own setting. The value with the best metric on the held-out examples is the method's.
2. The encoder is fine-tuned on the whole train set and pruned by every method with its value, over several seeds, and
   measured on dev.

The learning rate of the weights, the loss and the epochs after the freeze are the same for all; methods that need more
epochs to decide have them (`SLOW_EPOCHS`). 'saliency' and 'magnitude-start' isolate what learning gates adds. Finished
prunings are not done again and an interrupted one continues; a GPU is used if there is one. The table is written after
every task.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.progress import Progress
from crossvote.sim.common.schema import build, merge, to_mapping
from crossvote.swstack.cli.console import progress_display
from crossvote.swstack.experiment.comparison.methods import Comparison, compare_methods, comparison_rows
from crossvote.swstack.experiment.comparison.paper_tables import to_markdown
from crossvote.swstack.experiment.overrides import parse_override
from crossvote.swstack.models.config import EMBEDDED_MODEL, ModelConfig
from crossvote.swstack.models.loading import load_model, save_model
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.tasks import Task, TaskConfig, load_task
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
}

#: Epochs in which a method decides: two, but ten for those that shrink weights slowly, as their authors do over tens.
EPOCHS, SLOW_EPOCHS = 2, {"admm": 10, "group-lasso": 10}


def dense_model(task: Task, cfg: FinetuneConfig, source: str, folder: Path, progress: Progress) -> ModelConfig:
    """The encoder `source` fine-tuned on `task` in `folder`, unless it is there already."""
    saved = folder / "dense"
    if not (saved / "config.json").is_file():
        model, tokenizer = load_model(ModelConfig(source=source), task.num_labels, task.regression, seed=0)
        finetune(model, tokenizer, task, cfg, 0, folder / "work", progress)
        save_model(model, tokenizer, saved)
    return ModelConfig(source=str(saved))


def choose(
    dense: ModelConfig, task: Task, cfg: PruneConfig, folder: Path, progress: Progress
) -> tuple[dict[str, PruneConfig], list[dict[str, Any]]]:
    """Per method, the configuration with the best metric on the held-out examples, and a row per value tried."""
    chosen: dict[str, PruneConfig] = {}
    rows = []
    for method, (setting, values) in GRID.items():
        epochs = SLOW_EPOCHS.get(method, EPOCHS)
        tried: list[tuple[float, PruneConfig]] = []
        for value in values:
            changed = merge(to_mapping(cfg), parse_override(f"{setting}={value!r}"))
            one = build(PruneConfig, {**changed, "gate_epochs": epochs}, method)
            place = folder / f"{method}-{value:g}"
            (result,) = compare_methods(dense, task, one, (method,), (cfg.column_sparsity,), (0,), place, progress)
            tried.append((result.pruned, one))
            metric = f"{result.pruned:.2f}"
            rows.append(
                {
                    "task": task.name,
                    "method": method,
                    "epochs": epochs,
                    "setting": setting,
                    "value": value,
                    "held-out metric": metric,
                }
            )
        chosen[method] = max(tried, key=lambda pair: pair[0])[1]
    return chosen, rows


def measure(
    dense: ModelConfig,
    task: Task,
    chosen: dict[str, PruneConfig],
    seeds: Sequence[int],
    folder: Path,
    progress: Progress,
) -> list[Comparison]:
    """Every method with its configuration and every seed, on dev."""
    return [
        result
        for method, cfg in chosen.items()
        for result in compare_methods(dense, task, cfg, (method,), (cfg.column_sparsity,), seeds, folder, progress)
    ]


def main() -> None:
    """Run both parts on every task and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue-dir", required=True, help="GLUE in the official TSV layout")
    parser.add_argument("--tasks", default="mrpc,stsb,cola", help="GLUE tasks, comma-separated")
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="installed, a directory, or a Hugging Face name")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of the weights, fine-tuning and pruning")
    parser.add_argument("--column-sparsity", type=float, default=0.3, help="in every word-line group")
    parser.add_argument("--seeds", type=int, default=3, help="seeds per method on dev")
    parser.add_argument("--train-limit", type=int, help="train examples used; all by default")
    parser.add_argument("--out", type=Path, default=Path("runs/pruning-methods"), help="where the work goes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the tables go")
    args = parser.parse_args()
    schedule = {"column_sparsity": args.column_sparsity, "learning_rate": args.learning_rate, "final_epochs": 1}
    cfg = build(PruneConfig, schedule, "prune")
    finetuning = build(FinetuneConfig, {"epochs": 3, "learning_rate": args.learning_rate}, "finetune")
    tuning: list[dict[str, Any]] = []
    results: list[Comparison] = []
    with progress_display(Console()) as progress:
        for name in args.tasks.split(","):
            data = {"name": name, "glue_dir": args.glue_dir, "train_limit": args.train_limit}
            held_out = load_task(build(TaskConfig, {**data, "holdout": 0.2}, "task"), 0)
            folder = args.out / f"{name}-held-out"
            dense = dense_model(held_out, finetuning, args.model, folder, progress)
            chosen, rows = choose(dense, held_out, cfg, folder, progress)
            tuning += rows
            task, folder = load_task(build(TaskConfig, data, "task"), 0), args.out / name
            dense = dense_model(task, finetuning, args.model, folder, progress)
            results += measure(dense, task, chosen, range(args.seeds), folder, progress)
            write_csv(args.results / "tuning.csv", tuning)
            table = comparison_rows(results)
            write_csv(args.results / "comparison.csv", table)
            write_text_atomic(args.results / "comparison.md", to_markdown(table))


if __name__ == "__main__":
    main()
