"""Integers of a fixed set of matrices, schemes, chips and layers, made from nothing that may change.

Weights, inputs and stuck cells come from ``numpy.random.RandomState``, whose stream NumPy has frozen, and never from
CrossVote's own drawing. ``integers`` takes the program's modules as an argument, so that it runs in a checkout in which
they had other names: ``expected.json`` was written by it at commit 0c1af10.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

ROWS, COLUMNS, FIRST_PAIR = 16, 24, 2
SCHEMES = ("none", "none-column", "paper", "best")
#: What of a chip's reads is changed: settings of ``ReadModel``, none of them random.
READS: dict[str, dict[str, Any]] = {
    "ideal": {},
    "clipping": {"adc_bits": 3},
    "coarse": {"adc_bits": 3, "adc_range": 16.0},
    "leaking": {"on_off_ratio": 7.5},
}


def digest(*arrays: NDArray[Any]) -> str:
    """BLAKE2b of integers, whatever their type: shapes and values as int64."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(f"{array.shape}".encode())
        found.update(np.ascontiguousarray(array, np.int64).tobytes())
    return found.hexdigest()


def integers(program: SimpleNamespace) -> Iterator[tuple[str, str]]:
    """Case by case, a name and the digest of its integers."""
    random = np.random.RandomState(20240117)
    for bits in (4, 8, 12):
        weights = random.standard_normal((37, 11)).astype(np.float32)
        for scale in ("tensor", "column"):
            yield f"quantized {bits} {scale}", digest(program.quantize_weights(weights, bits, scale)[0])
    for planes, cell_bits, inputs, outputs in ((7, 1, 40, 13), (4, 1, 16, 5), (7, 2, 33, 9), (11, 1, 20, 6)):
        for scheme in SCHEMES:
            name = f"{scheme}, {planes} planes, {cell_bits}-bit cells"
            group = _group(random, program, scheme, planes, cell_bits, inputs, outputs)
            column_map = group.column_map
            arrays = (column_map.output, column_map.plane, column_map.replica, column_map.flipped, group.cells)
            yield f"image, {name}", digest(*arrays)
            x = random.randint(-128, 128, (3, inputs)) * group.kept_inputs
            for rate in (0.0, 0.03, 0.3):
                yield from _layers(random, program, group, x, rate, f"{name}, rate {rate}")


def _group(
    random: np.random.RandomState, program: SimpleNamespace, scheme: str, planes: int, cell_bits: int, k: int, n: int
) -> Any:
    top = 2**planes - 1
    kept_inputs, kept_outputs = random.uniform(size=k) >= 0.15, random.uniform(size=n) >= 0.3
    q = random.randint(-top, top + 1, (k, n)).astype(np.int32)
    q[:, ~kept_outputs] = 0
    q[~kept_inputs] = 0
    first = n // 2
    matrices = tuple(
        program.MatrixImage(f"m{i}", start, size, np.ones(1, np.float32), None)
        for i, (start, size) in enumerate([(0, first), (first, n - first)])
    )
    quantized = program.QuantizedGroup("g", q, matrices, kept_inputs, kept_outputs)
    return program.place_group(quantized, program.PRESETS[scheme], planes, ROWS, COLUMNS, FIRST_PAIR, cell_bits)


def _layers(
    random: np.random.RandomState, program: SimpleNamespace, group: Any, x: NDArray[np.int64], rate: float, name: str
) -> Iterator[tuple[str, str]]:
    crossbars = 2 * (FIRST_PAIR + group.pairs)
    stuck = np.flatnonzero(random.uniform(size=crossbars * ROWS * COLUMNS) < rate)
    faults = program.FaultMap(ROWS, COLUMNS, crossbars, stuck, random.uniform(size=len(stuck)) < 0.8)
    yield f"reference, {name}", digest(program.reference_outputs(group, x, 8, 8, faults))
    image = program.Image((group,), {}, 8, 8)
    model = nn.ModuleDict({m.name: nn.Linear(group.inputs, m.outputs) for m in group.matrices})
    for kind, settings in READS.items():
        for path in ("auto", "explicit"):
            on_chip = program.convert(model, image, read_model=program.ReadModel(**settings), path=path)
            program.swap_faults(on_chip, faults)
            layers = [on_chip[m.name].integer_outputs(torch.from_numpy(x)).numpy() for m in group.matrices]
            yield f"{path} path, {kind}, {name}", digest(np.concatenate(layers, axis=1))
    if group.cell_bits == 1 and group.planes <= 7:
        chip = program.load_chip(
            "crossvote", {"crossbar": {"rows": ROWS, "columns": COLUMNS}, "opc": {"columns": COLUMNS}}
        )
        parameters = program.opc_parameters(chip)
        bundles = group.bundles(COLUMNS, chip.opc.outputs)
        opcs = program.OpcArray(group, chip, lambda: program.create_peripheral("numpy", parameters), faults, bundles)
        run = opcs.process(x)
        yield f"output peripheral, {name}", digest(run.outputs, np.array([run.disagreements]))
