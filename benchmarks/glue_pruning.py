"""The paper's Table 1 on the nine GLUE tasks: fine-tune and prune one encoder on each, several seeds for small tasks.

    python -m benchmarks.glue_pruning --glue-dir DIR [--model NAME] [--tasks rte,mrpc,...] [--out DIR] [--dry-run]

Every task and seed is a run directory under --out; what is finished there is not done again, and what was interrupted
continues. The tables are written after every run, so that they can be read while the rest is still going on. Tasks
with few examples come first.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Recipe:
    """Epochs of fine-tuning, of learning gates and of final fine-tuning; learning rate and seeds."""

    finetune_epochs: int
    gate_epochs: int
    final_epochs: int
    seeds: int
    learning_rate: float = 1e-4


# In the order in which they run. More epochs for fewer examples.
RECIPES: dict[str, Recipe] = {
    "wnli": Recipe(5, 3, 3, 5, 5e-5),
    "rte": Recipe(8, 5, 5, 5),
    "mrpc": Recipe(6, 4, 4, 3),
    "stsb": Recipe(6, 4, 4, 3),
    "cola": Recipe(6, 4, 4, 3),
    "qnli": Recipe(4, 2, 3, 3),
    "mnli": Recipe(4, 2, 3, 1),
    "qqp": Recipe(4, 2, 3, 1),
    "sst2": Recipe(3, 1, 2, 1),
}


def command(
    task: str, seed: int, recipe: Recipe, model: str, glue_dir: str, column_sparsity: float, run: Path
) -> list[str]:
    """The `crossvote prune` command of one task and seed."""
    overrides = {
        "seed": seed,
        "model.source": f'"{model}"',
        "task.name": f'"{task}"',
        "task.max_length": 128,
        "finetune.epochs": recipe.finetune_epochs,
        "finetune.learning_rate": recipe.learning_rate,
        "prune.column_sparsity": column_sparsity,
        "prune.gate_epochs": recipe.gate_epochs,
        "prune.final_epochs": recipe.final_epochs,
        "prune.learning_rate": recipe.learning_rate,
    }
    options = [text for key, value in overrides.items() for text in ("-o", f"{key}={value}")]
    program = [sys.executable, "-c", "from swstack.cli import main; main()"]
    return [*program, "prune", "default", "--run-dir", str(run), "--glue-dir", glue_dir, *options]


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue-dir", required=True, help="GLUE in the official TSV layout")
    parser.add_argument("--model", default="minilm-l6", help="embedded, a directory, or a Hugging Face name")
    parser.add_argument("--tasks", default=",".join(RECIPES), help="comma-separated, of the nine")
    parser.add_argument("--column-sparsity", type=float, default=0.30, help="in every word-line group")
    parser.add_argument("--out", type=Path, default=Path("runs/glue-pruning"), help="where runs and tables go")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    args = parser.parse_args()
    done: list[str] = []
    for task in args.tasks.split(","):
        for seed in range(RECIPES[task].seeds):
            run = args.out / f"{task}-{seed}"
            step = command(task, seed, RECIPES[task], args.model, args.glue_dir, args.column_sparsity, run)
            print(shlex.join(step), flush=True)
            if args.dry_run:
                continue
            subprocess.run(step, check=True)
            done.append(str(run))
            subprocess.run([*step[:3], "tables", *done, "--out", str(args.out / "tables")], check=True)


if __name__ == "__main__":
    main()
