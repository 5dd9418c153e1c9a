"""The law of errors that codes are chosen by, against simulated chips under a real encoder; and what breaks it.

    python -m benchmarks.error_law --glue-dir GLUE [--part law,patterns] [--schemes code,mean5,best]
        [--rates 0.01,0.05,0.1] [--chips 8] [--sentences 48] [--output benchmarks/results/error_law]

``law``: for every matrix of the encoder, the variance of its outputs over chips, predicted
(``crossvote.swstack.mapping.codes.predicted_variance``, from the mean squares of the real inputs) and measured (the
chip's integers for those inputs), both added up over outputs with their squared scales. Inputs: what the pretrained,
pruned encoder meets on sentences of SST-2's train set, quantized per token.

``patterns``: squared distance of the faulty matrices from the healthy ones over their squares, for codes whose lines
lie side by side and apart, where cells fail in clusters or lines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.code_errors import smallest_pruned
from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.array.patterns import parse_pattern
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.common.files import write_text_atomic
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.shipped import find_config
from crossvote.swstack.inference.calibration import watching
from crossvote.swstack.inference.cell_program import CellProgram
from crossvote.swstack.inference.convert import ProgrammedGroup
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.mapping.codes import FaultLaw, predicted_variance
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.quantization import activation_scale, round_activations
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import MatrixMask
from crossvote.swstack.tasks import load_task
from crossvote.swstack.tasks.base import Example

#: Schemes whose lines lie side by side, and the same codes with the lines of an output in different crossbars.
PLACEMENTS = ("code", "code-apart")
PATTERNS = ("uniform", "clustered", "word_lines", "bit_lines")
Row = dict[str, object]


def real_inputs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, image: Image, glue_dir: Path, sentences: int
) -> dict[str, torch.Tensor]:
    """Integers that each word-line group is driven with, int32[V, K] by name."""
    config = load_config(find_config("sst2"), [f"task.glue_dir={json.dumps(str(glue_dir.resolve()))}"])
    task = load_task(config.task, 0)
    texts = [example.sentence1 for example in task.train[:sentences] if isinstance(example, Example)]
    batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=64)
    seen: dict[str, torch.Tensor] = {}

    def see(name: str, x: torch.Tensor) -> None:
        seen[name] = round_activations(x, activation_scale(x, 8, "token"), 8).int()

    with torch.no_grad(), watching(model, [(g.name, g.matrices[0].name) for g in image.groups], see):
        model(**batch)
    return seen


def prune(model: nn.Module, masks: dict[str, MatrixMask]) -> None:
    """Zeros where the masks prune, in place."""
    with torch.no_grad():
        for name, mask in masks.items():
            matrix_weight(model, name).mul_(torch.from_numpy(np.outer(mask.rows, mask.columns)).float())


def measured_variance(group: GroupImage, x: torch.Tensor, rate: float, chips: int) -> np.ndarray:
    """Variance of each output over chips, float64[N], mean over the inputs x [V, K]; in integers squared."""
    placed = PlacedGroup(group)
    layers = tuple(CrossbarLinear(placed, matrix, 8) for matrix in group.matrices)
    programmed = ProgrammedGroup(placed, layers)
    total = torch.zeros((len(x), group.outputs), dtype=torch.float64)
    squares = torch.zeros_like(total)
    for number in range(chips):
        programmed.program(
            Silicon(1, number, rate, group.rows, group.columns).faults(2 * (group.first_pair + group.pairs))
        )
        y = torch.cat([layer.integer_outputs(x) for layer in layers], dim=1).double()
        total += y
        squares += y * y
    variance = (squares - total**2 / chips) / (chips - 1)
    return variance.mean(dim=0).numpy()


def law(
    model: PreTrainedModel, image: Image, inputs: dict[str, torch.Tensor], scheme: str, rate: float, chips: int
) -> list[Row]:
    """Predicted and measured variance of every matrix."""
    rows: list[Row] = []
    for group in image.groups:
        x = inputs[group.name]
        moments = x.double().square().mean(dim=0).numpy()
        predicted = predicted_variance(group, moments, FaultLaw.of(rate))
        measured = measured_variance(group, x, rate, chips)
        for matrix in group.matrices:
            span = slice(matrix.first_output, matrix.first_output + matrix.outputs)
            weight = np.broadcast_to(matrix.scale.astype(float), matrix.outputs) ** 2
            one, other = float(weight @ predicted[span]), float(weight @ measured[span])
            rows.append(
                {
                    "scheme": scheme,
                    "rate": rate,
                    "matrix": matrix.name,
                    "predicted": one,
                    "measured": other,
                    "measured_over_predicted": other / one,
                    "chips": chips,
                    "vectors": len(x),
                    "largest_input_share": float(moments.max() / moments.sum()),
                }
            )
    return rows


def patterns(images: dict[str, Image], rate: float, chips: int) -> list[Row]:
    """Relative squared error of the matrices, by pattern and scheme."""
    rows: list[Row] = []
    for kind in PATTERNS:
        for name, image in images.items():
            errors = []
            for number in range(chips):
                faults = Silicon(2, number, rate, image.rows, image.columns, parse_pattern(kind)).faults(
                    image.crossbars
                )
                error = signal = 0.0
                for group in image.groups:
                    placed = PlacedGroup(group)
                    held = CellProgram(placed).apply(faults)[0].numpy().astype(float)
                    scale = placed.scale.astype(float)[:, None]
                    error += float((((held - placed.weight) * scale) ** 2).sum())
                    signal += float(((placed.weight * scale) ** 2).sum())
                errors.append(error / signal)
            rows.append(
                {
                    "pattern": kind,
                    "rate": rate,
                    "scheme": name,
                    "error": float(np.mean(errors)),
                    "deviation": float(np.std(errors, ddof=1)) if chips > 1 else 0.0,
                    "chips": chips,
                }
            )
    return rows


def save(folder: Path, name: str, rows: list[Row]) -> None:
    lines = [",".join(rows[0])]
    for row in rows:
        lines.append(",".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values()))
    write_text_atomic(folder / f"{name}.csv", "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--glue-dir", type=Path, required=True)
    parser.add_argument("--part", default="law,patterns")
    parser.add_argument("--schemes", default="code,mean5,best")
    parser.add_argument("--rates", default="0.01,0.05,0.1")
    parser.add_argument("--pruned", type=float, default=0.3)
    parser.add_argument("--chips", type=int, default=8)
    parser.add_argument("--sentences", type=int, default=48)
    parser.add_argument(
        "--layers", type=int, default=12, help="layers of the encoder, from the first one, for patterns"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/error_law"))
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    model, tokenizer = load_model(ModelConfig(source=options.model), 2, False, 0)
    groups = word_line_groups(model)
    masks = smallest_pruned(model, groups, options.pruned)
    if "law" in options.part.split(","):
        prune(model, masks)
        found: list[Row] = []
        for scheme in options.schemes.split(","):
            image = build_image(model, groups, masks, PRESETS[scheme], name=scheme)
            inputs = real_inputs(model, tokenizer, image, options.glue_dir, options.sentences)
            for rate in rates:
                own = law(model, image, inputs, scheme, rate, options.chips)
                ratios = np.array([float(str(row["measured_over_predicted"])) for row in own])
                print(
                    f"{scheme}, {100 * rate:g} %: measured over predicted of {len(own)} matrices: "
                    f"mean {ratios.mean():.3f}, "
                    f"{ratios.min():.3f} to {ratios.max():.3f}, {int((abs(ratios - 1) <= 0.1).sum())} within 10 %",
                    flush=True,
                )
                found += own
        save(options.output, "law", found)
    if "patterns" in options.part.split(","):
        some = groups[: 4 * options.layers]
        images = {name: build_image(model, some, masks, PRESETS[name], name=name) for name in PLACEMENTS}
        found = [row for rate in rates for row in patterns(images, rate, options.chips)]
        for row in found:
            print(
                ", ".join(
                    f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()
                )
            )
        save(options.output, "patterns", found)


if __name__ == "__main__":
    main()
