"""Hardware numbers at the paper's size that need no training: crossbars, latency, energy, area; and exact Verilog.

    python -m benchmarks.paper_size_hardware [--model mpnet-base] [--tokens 8]      # after `make models`

The encoder as installed loses the 30 % of the columns of every word-line group that have the smallest norms, and is not
trained afterwards. What such a chip costs depends on the weights' bits, the column maps and the structure, all of which
are real here; nothing is said about accuracy. Then so many token vectors of a real sentence go through every matrix of
one faulty chip, each ADC code through the compiled Verilog of the output peripheral, against the NumPy reference.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import time
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import crossvote as cv
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.system.cost_tables import compare
from crossvote.sim.system.model import simulate
from crossvote.sim.system.workload import Workload
from crossvote.swstack.evaluation.config import CosimConfig
from crossvote.swstack.evaluation.cosimulation import cosimulate_matrices
from crossvote.swstack.mapping.cost import mapping_report
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import Masks, apply_masks
from crossvote.swstack.pruning.axes import pruning_axes
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.folding import fold
from crossvote.swstack.pruning.method import make_method
from crossvote.swstack.pruning.pruning import Pruner
from crossvote.swstack.tasks import Task, TaskConfig, load_task

RESULTS = Path(__file__).parent / "results" / "paper_size" / "pretrained"
SCHEMES = ("none", "none-column", "paper", "best")
#: Stuck cells of the chip that the token vectors go through.
RATE = 0.01


def prune_by_norms(model: nn.Module, share: float) -> Masks:
    """Prune the smallest columns of every word-line group in place, without training; returns the masks."""
    axes = pruning_axes(model, share, 0.0)
    method = make_method(model, axes, PruneConfig(method="magnitude"), steps=1)
    pruner = Pruner(axes, method, first_step=0, freeze_step=0, ramp_share=0.0, gradient="chain")
    pruner.freeze()
    masks = pruner.masks(model)
    apply_masks(model, masks)
    return fold(model, masks)


def costs(model: PreTrainedModel, masks: Masks, chip: ChipConfig) -> None:
    """Write what every scheme takes: crossbars, and the system model's comparison."""
    results, sizes = {}, []
    for name in SCHEMES:
        image = build_image(model, word_line_groups(model), masks, PRESETS[name], name=name)
        results[name] = simulate(Workload.from_image(image, chip, int(model.config.num_attention_heads), 128), chip)
        report = mapping_report(image)
        sizes.append(
            {
                "scheme": name,
                "crossbars": sum(group.crossbars for group in report),
                "dense crossbars": sum(group.dense_crossbars for group in report),
                "groups at zero space cost": f"{sum(group.zero_space for group in report)} of {len(report)}",
            }
        )
        print(sizes[-1], flush=True)
    write_csv(RESULTS / "crossbars.csv", sizes)
    header, *table = compare(results)
    write_csv(RESULTS / "system.csv", [dict(zip(["quantity", *header[1:]], row, strict=True)) for row in table])
    for row in table:
        print("  ".join(row), flush=True)


def verilog(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, masks: Masks, chip: ChipConfig, tokens: int
) -> None:
    """Send real token vectors through every matrix of a faulty chip under the last scheme, and write what was equal."""
    started, name = time.monotonic(), SCHEMES[-1]
    image = build_image(model, word_line_groups(model), masks, PRESETS[name], name=name)
    faults = FaultMap.sample(image.rows, image.columns, image.crossbars, RATE, seed_sequence(0, "paper size"))
    config = CosimConfig(matrices=("all",), tokens=tokens)
    checks = cosimulate_matrices(
        model, tokenizer, task, {name: image}, faults, chip, config,
        progress=lambda what, done, total: print(what, done, total, flush=True) if done == total else None,
    )  # fmt: skip
    write_csv(RESULTS / "cosimulation.csv", [{"rate": RATE, **dataclasses.asdict(check)} for check in checks])
    equal = sum(check.equal for check in checks)
    print(f"{equal} of {len(checks)} matrices equal in {time.monotonic() - started:.0f} s, {checks[0].backend}")


def sweep(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    masks: Masks,
    chip: ChipConfig,
    examples: int,
) -> None:
    """Evaluate two schemes on two faulty chips, as a sweep does, and write time and peak memory of this process.

    What comes out is the accuracy of an encoder that was not trained; only what the sweep takes counts.
    """
    images = {n: build_image(model, word_line_groups(model), masks, PRESETS[n], name=n) for n in ("none", SCHEMES[-1])}
    subject, silicon = cv.Model(model, tokenizer, masks), cv.chips(RATE, number=2, chip=chip)
    before, started = peak_gb(), time.monotonic()
    cv.evaluate(images, subject, task, silicon, limit=examples)
    row = {
        "schemes": len(images),
        "chips": len(silicon),
        "examples": examples,
        "seconds": f"{time.monotonic() - started:.0f}",
        "peak before, GB": f"{before:.2f}",
        "peak, GB": f"{peak_gb():.2f}",
        "goal, GB": "3",
    }
    write_csv(RESULTS / "sweep-memory.csv", [row])
    print(row, flush=True)


def peak_gb() -> float:
    """Most memory that this process has had, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Compute, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mpnet-base", help="installed by 'make models', a directory, or a hub name")
    parser.add_argument("--column-sparsity", type=float, default=0.30, help="in every word-line group")
    parser.add_argument("--tokens", type=int, default=8, help="token vectors through the Verilog; 0: none")
    parser.add_argument("--no-costs", action="store_true", help="only the Verilog")
    parser.add_argument("--sweep", type=int, default=0, help="dev examples of a sweep, for its peak memory")
    parser.add_argument("--task", default="grammar-single", help="whose sentences are taken")
    parser.add_argument("--glue-dir", help="a directory in GLUE's official layout")
    args = parser.parse_args()
    task = load_task(TaskConfig(name=args.task, glue_dir=args.glue_dir), 0)
    model, tokenizer = load_model(ModelConfig(source=args.model), task.num_labels, task.regression, seed=0)
    masks, chip = prune_by_norms(model, args.column_sparsity), load_chip("crossvote")
    if not args.no_costs:
        costs(model, masks, chip)
    if args.sweep:
        sweep(model, tokenizer, task, masks, chip, args.sweep)
    if args.tokens:
        verilog(model, tokenizer, task, masks, chip, args.tokens)


if __name__ == "__main__":
    main()
