"""What is left of the error of stuck cells where they are known, by scheme and fault rate, on real matrices.

    python -m benchmarks.known_faults [--model minilm-l6] [--groups 4] [--rates 0.05,0.1,0.2] [--pruned 0.3] [--chips 1]
        [--schemes closest,placed]

No task: the squared distance between what a chip holds (scaled integers, rounding included) and the weights in floating
point, over the squared weights. In every word-line group the columns of the smallest norm are pruned. All schemes are
on the same silicon; the time is that of putting one chip under the groups.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from crossvote.sim.array.silicon import Silicon
from crossvote.swstack.inference.around import PROGRAMS
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.mapping.mapping import quantize_group
from crossvote.swstack.mapping.placement import dense_lines
from crossvote.swstack.mapping.programming import place_group
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import MatrixMask


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--groups", type=int, default=4, help="how many word-line groups, from the first one")
    parser.add_argument("--rates", default="0.05,0.1,0.2")
    parser.add_argument("--pruned", type=float, default=0.3)
    parser.add_argument("--chips", type=int, default=1)
    known = [name for name, scheme in PRESETS.items() if scheme.knows_faults]
    parser.add_argument("--schemes", default=",".join(known))
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    model, _ = load_model(ModelConfig(source=options.model), 2, False, 0)
    print("| scheme | bit lines | zero space |", " | ".join(f"{100 * rate:g} %" for rate in rates), "| s per chip |")
    print("| --- | --- | --- |", " | ".join("---" for _ in rates), "| --- |")
    for name in options.schemes.split(","):
        scheme = PRESETS[name]
        error, signal, lines, fits, seconds = np.zeros(len(rates)), 0.0, 0, True, 0.0
        for group in word_line_groups(model)[: options.groups]:
            weights = {matrix: matrix_weight(model, matrix).numpy() for matrix in group.matrices}
            norms = {matrix: np.linalg.norm(weight, axis=0) for matrix, weight in weights.items()}
            bound = np.quantile(np.concatenate(list(norms.values())), options.pruned)
            masks = {
                matrix: MatrixMask(np.ones(len(weights[matrix]), np.bool_), norm > bound)
                for matrix, norm in norms.items()
            }
            meant = np.concatenate([np.where(norms[m] > bound, weights[m], 0) for m in group.matrices], axis=1)
            image = place_group(quantize_group(model, group, masks, 8, scheme.scale), scheme, 7, 128, 128)
            placed = PlacedGroup(image)
            program = PROGRAMS[scheme.kind](placed, torch.device("cpu"))  # type: ignore[attr-defined]
            for at, rate in enumerate(rates):
                for number in range(options.chips):
                    faults = Silicon(0, number, rate, 128, 128).faults(2 * image.pairs)
                    started = time.perf_counter()
                    held = program.apply(faults).numpy().T * placed.scale
                    seconds += time.perf_counter() - started
                    error[at] += float(((held - meant) ** 2).sum()) / options.chips
            signal += float((meant**2).sum())
            lines += int(image.column_map.used.sum())
            fits = fits and len(image.column_map) <= dense_lines(image.outputs, 7, 128)
        shown = " | ".join(f"{100 * missed / signal:.3f} %" for missed in error)
        each = seconds / len(rates) / options.chips
        print(f"| `{name}` | {lines} | {'yes' if fits else 'no'} | {shown} | {each:.1f} |", flush=True)


if __name__ == "__main__":
    main()
