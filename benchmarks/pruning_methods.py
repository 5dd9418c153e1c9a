"""Pruning methods compared fairly: every method's own setting is chosen on held-out train examples, dev comes last.

    python -m benchmarks.pruning_methods --glue-dir DIR [--task stsb] [--column-sparsity 0.3] [--seeds 3]

1. A fifth of the train examples is held out. The encoder is fine-tuned on the rest and pruned from there by every
   method with every value of its own setting. The value with the best metric on the held-out examples is the method's.
2. The encoder is fine-tuned on the whole train set and pruned by every method with its value, over several seeds, and
   measured on dev.

The schedule, the learning rate of the weights and the loss are the same for all. What is finished is not done again.
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
from crossvote.sim.common.schema import build, to_mapping
from crossvote.swstack.cli.console import progress_display
from crossvote.swstack.experiment.paper_tables import to_markdown
from crossvote.swstack.experiment.pruning_comparison import Comparison, compare_methods, comparison_rows
from crossvote.swstack.models.config import EMBEDDED_MODEL, ModelConfig
from crossvote.swstack.models.loading import load_model, save_model
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.tasks import Task, TaskConfig, load_task
from crossvote.swstack.training.config import FinetuneConfig
from crossvote.swstack.training.finetune import finetune

RESULTS = Path(__file__).parent / "results" / "pruning_methods"

#: Each method's own setting and the values tried. Magnitude pruning has none, and movement scores only rank, so that
#: their rate does not matter.
GRID: dict[str, tuple[str, tuple[float, ...]]] = {
    "gates": ("gate_learning_rate", (0.001, 0.003, 0.01)),
    "magnitude": ("gate_learning_rate", (0.003,)),
    "movement": ("gate_learning_rate", (0.003,)),
    "l0": ("gate_learning_rate", (0.01, 0.1, 1.0)),
    "admm": ("admm_rho", (0.01, 0.1, 1.0)),
    "group-lasso": ("lasso_strength", (0.001, 0.01, 0.1)),
}


def dense_model(task: Task, cfg: FinetuneConfig, folder: Path, progress: Progress) -> ModelConfig:
    """The embedded encoder fine-tuned on `task` in `folder`, unless it is there already."""
    saved = folder / "dense"
    if not (saved / "config.json").is_file():
        model, tokenizer = load_model(ModelConfig(source=EMBEDDED_MODEL), task.num_labels, task.regression, seed=0)
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
        tried: list[tuple[float, PruneConfig]] = []
        for value in values:
            one = build(PruneConfig, {**to_mapping(cfg), setting: value}, method)
            place = folder / f"{method}-{value:g}"
            (result,) = compare_methods(dense, task, one, (method,), (cfg.column_sparsity,), (0,), place, progress)
            tried.append((result.pruned, one))
            metric = f"{result.pruned:.2f}"
            rows.append({"method": method, "setting": setting, "value": value, "held-out metric": metric})
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
    """Run both parts and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue-dir", required=True, help="GLUE in the official TSV layout")
    parser.add_argument("--task", default="stsb", help="the GLUE task")
    parser.add_argument("--column-sparsity", type=float, default=0.3, help="in every word-line group")
    parser.add_argument("--seeds", type=int, default=3, help="seeds per method on dev")
    parser.add_argument("--train-limit", type=int, help="train examples used; all by default")
    parser.add_argument("--out", type=Path, default=Path("runs/pruning-methods"), help="where the work goes")
    args = parser.parse_args()
    data = {"name": args.task, "glue_dir": args.glue_dir, "train_limit": args.train_limit}
    task = load_task(build(TaskConfig, data, "task"), 0)
    held_out = load_task(build(TaskConfig, {**data, "holdout": 0.2}, "task"), 0)
    schedule = {"column_sparsity": args.column_sparsity, "gate_epochs": 2, "final_epochs": 1}
    cfg, finetuning = build(PruneConfig, schedule, "prune"), build(FinetuneConfig, {"epochs": 3}, "finetune")
    with progress_display(Console()) as progress:
        folder = args.out / f"{args.task}-held-out"
        dense = dense_model(held_out, finetuning, folder, progress)
        chosen, tuning = choose(dense, held_out, cfg, folder, progress)
        write_csv(RESULTS / "tuning.csv", tuning)
        folder = args.out / args.task
        dense = dense_model(task, finetuning, folder, progress)
        rows = comparison_rows(measure(dense, task, chosen, range(args.seeds), folder, progress))
    write_csv(RESULTS / "comparison.csv", rows)
    write_text_atomic(RESULTS / "comparison.md", to_markdown(rows))


if __name__ == "__main__":
    main()
