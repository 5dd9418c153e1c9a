"""Expected error of the outputs of a real encoder's matrices, by scheme and fault rate: what codes gain on no task.

    python -m benchmarks.code_errors [--model minilm-l6] [--layers 2] [--rates 0.01,0.03,0.05,0.1] [--pruned 0.3]

No task and no chip: the variance that stuck cells cause (``crossvote.swstack.mapping.codes.predicted_variance``, which
is tested against simulated chips) and the rounding of planes that are left out, for inputs of equal mean square, over
the mean square of the outputs. In every word-line group the columns of the smallest norm are pruned.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from torch import nn

from crossvote.sim.array.image import GroupImage
from crossvote.swstack.mapping.codes import FaultLaw, predicted_variance
from crossvote.swstack.mapping.mapping import quantize_group
from crossvote.swstack.mapping.placement import dense_lines
from crossvote.swstack.mapping.programming import QuantizedGroup, group_statistics, place_group, rounded
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import WordLineGroup, matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import MatrixMask

SCHEMES = ("none", "none-column", "paper", "paper-column", "flip-all", "best", "vote5", "mean5", "mean4")
CODES = ("code-tensor", "code-vote-tensor", "code-group", "code", "code-vote")


def relative_error(quantized: QuantizedGroup, scheme: str, group: GroupImage, rate: float) -> tuple[float, float]:
    """Expected squared error and mean square of all outputs of a group, in squared weights."""
    statistics = group_statistics(quantized, 7, 1, group.rows)
    driven = group.kept_inputs.astype(float)
    variance = predicted_variance(group, driven, FaultLaw.of(rate))
    allocation = PRESETS[scheme].allocate(statistics, dense_lines(group.outputs, 7, group.columns))
    missed = ((rounded(quantized.q, allocation, 7) - quantized.q).astype(float) ** 2).sum(axis=0)
    scale = statistics.scale.astype(float) ** 2
    return float((scale * (variance + missed)).sum()), float(
        (scale * (quantized.q.astype(float) ** 2).sum(axis=0)).sum()
    )


def smallest_pruned(model: nn.Module, groups: Sequence[WordLineGroup], share: float) -> dict[str, MatrixMask]:
    """Masks that prune the columns of the smallest norm in every word-line group."""
    masks = {}
    for group in groups:
        weights = [matrix_weight(model, name).numpy() for name in group.matrices]
        norms = np.concatenate([np.linalg.norm(weight, axis=0) for weight in weights])
        bound = np.quantile(norms, share)
        for name, weight in zip(group.matrices, weights, strict=True):
            masks[name] = MatrixMask(np.ones(len(weight), np.bool_), np.linalg.norm(weight, axis=0) > bound)
    return masks


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--layers", type=int, default=2, help="how many layers, from the first one")
    parser.add_argument("--rates", default="0.01,0.03,0.05,0.1")
    parser.add_argument("--pruned", type=float, default=0.3)
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    model, _ = load_model(ModelConfig(source=options.model), 2, False, 0)
    groups = word_line_groups(model)[: 4 * options.layers]
    masks = smallest_pruned(model, groups, options.pruned)
    print("| scheme | bit lines | zero space |", " | ".join(f"{100 * rate:g} %" for rate in rates), "|")
    print("| --- | --- | --- |", " | ".join("---" for _ in rates), "|")
    for scheme in (*SCHEMES, *CODES):
        errors, signal, lines, fits = np.zeros(len(rates)), 0.0, 0, True
        for group in groups:
            quantized = quantize_group(model, group, masks, 8, PRESETS[scheme].scale)
            image = place_group(quantized, PRESETS[scheme], 7, 128, 128)
            found = [relative_error(quantized, scheme, image, rate) for rate in rates]
            errors += [error for error, _ in found]
            signal += found[0][1]
            lines += int(image.column_map.used.sum())
            fits = fits and len(image.column_map) <= dense_lines(image.outputs, 7, 128)
        shown = " | ".join(f"{100 * error / signal:.2f} %" for error in errors)
        print(f"| `{scheme}` | {lines} | {'yes' if fits else 'no'} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
