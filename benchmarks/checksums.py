"""What checksum bit lines see of stuck cells, on a real encoder's crossbars and inputs: misses and false alarms.

    python -m benchmarks.checksums --glue-dir GLUE [--bits 2,4,6,8] [--rates 1e-6,1e-5,1e-4,1e-3] [--chips 4]

Every crossbar pair of the encoder (``crossvote.sim.array.checksum``) is driven with what its word-line group meets on
sentences of SST-2's train set. A pair is *harmed* where a stuck cell of its used bit lines, on a word line that is
driven with anything but 0 at least once, reads other than programmed; *missed* if it is harmed and no residue differs
from 0; a *false alarm* is a residue of a pair that is not harmed (stuck checksum cells).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.code_errors import smallest_pruned
from benchmarks.error_law import Row, prune, real_inputs, save
from crossvote.sim.array.checksum import checksum_cells, residues
from crossvote.sim.array.image import GroupImage
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model

#: SA1 among stuck cells.
_SA1 = 9.04 / 10.79


def stuck(cells: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """The cells as they read on silicon of its own."""
    broken = rng.random(cells.shape) < rate
    return np.where(broken, rng.random(cells.shape) < _SA1, cells).astype(np.uint8)


def checked(
    group: GroupImage, x: np.ndarray, bits: int, rate: float, vectors: int, rng: np.random.Generator
) -> np.ndarray:
    """Pairs that are harmed and seen, harmed and missed, falsely alarmed, and quiet: int64[4]."""
    found = np.zeros(4, np.int64)
    for block in range(group.row_blocks):
        span = slice(block * group.rows, min((block + 1) * group.rows, group.inputs))
        height = span.stop - span.start
        driven = x[:vectors, span] * group.kept_inputs[span]
        felt = driven.any(axis=0)
        cells = group.block_cells(block)[:, :height]
        for column in range(group.column_blocks):
            lines = column * group.columns + np.flatnonzero(
                group.column_map.used[column * group.columns : (column + 1) * group.columns]
            )
            own = cells[:, :, lines]
            checksum = checksum_cells(own, bits)
            read, read_checksum = stuck(own, rate, rng), stuck(checksum, rate, rng)
            harmed = bool((read != own)[:, felt].any())
            alarm = bool(residues(read, read_checksum, driven).any())
            found[(0 if alarm else 1) if harmed else (2 if alarm else 3)] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--glue-dir", type=Path, required=True)
    parser.add_argument("--scheme", default="code")
    parser.add_argument("--bits", default="2,4,6,8")
    parser.add_argument("--rates", default="1e-6,1e-5,1e-4")
    parser.add_argument("--vectors", default="1,16,256")
    parser.add_argument("--pruned", type=float, default=0.3)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--chips", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/checksums"))
    options = parser.parse_args()
    model, tokenizer = load_model(ModelConfig(source=options.model), 2, False, 0)
    groups = word_line_groups(model)
    masks = smallest_pruned(model, groups, options.pruned)
    prune(model, masks)
    image = build_image(model, groups[: 4 * options.layers], masks, PRESETS[options.scheme], name=options.scheme)
    inputs = {n: x.numpy() for n, x in real_inputs(model, tokenizer, image, options.glue_dir, 16).items()}
    rows: list[Row] = []
    for bits in map(int, options.bits.split(",")):
        for rate in map(float, options.rates.split(",")):
            for vectors in map(int, options.vectors.split(",")):
                total = np.zeros(4, np.int64)
                for chip in range(options.chips):
                    rng = np.random.default_rng(seed_sequence(0, "checksums", bits, float(rate).hex(), chip))
                    for group in image.groups:
                        total += checked(group, inputs[group.name], bits, rate, vectors, rng)
                seen, missed, false, quiet = total.tolist()
                rows.append(
                    {
                        "bits": bits,
                        "rate": rate,
                        "vectors": vectors,
                        "harmed": seen + missed,
                        "missed": missed,
                        "healthy": false + quiet,
                        "false_alarms": false,
                    }
                )
                print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    save(options.output, "checksums", rows)


if __name__ == "__main__":
    main()
