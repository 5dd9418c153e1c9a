"""Real layers for the tile's benches: an image file, a fault map file, real activations, and what must come out.

The bench reads cells from these two files, as the project wrote them; the integers behind the expected activations come
from the torch evaluation or the quantized weights (``tb.real_layers.PlacedLayer``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.array.column_map import Vote
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Bundle, GroupImage, Image
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.container import read_container, write_container
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.scales import OpcScales
from crossvote.sim.peripheral.tile import calibrated, requantised
from crossvote.sim.peripheral.tile_sizes import tile_parameters
from tb.real_layers import placed_layers, sources_digest

FORMAT, FORMAT_VERSION = "crossvote-tile-stimulus", 1
#: Scheme, end of the word-line group's name, share of stuck cells, token vectors from which outputs get their range.
CASES = (
    ("none", "layer.1.qkv", 0.01, 32),
    ("paper", "layer.1.qkv", 0.01, 32),
    ("best", "layer.1.qkv", 0.01, 32),
    ("code", "layer.1.qkv", 0.01, 32),
    ("code-vote", "layer.1.qkv", 0.01, 32),
    ("best", "layer.1.qkv", 0.0, 32),
)
#: The last of these token vectors, which run.
VECTORS = 5
#: Row blocks of the layers above: 384 inputs on crossbars of 128 word lines.
BLOCKS = 3


def bench_chip() -> ChipConfig:
    """The chip whose tile is simulated: the shipped one with a faster read, as reads idle the digital part."""
    return load_chip("crossvote", {"crossbar": {"read_ps": 30_000}, "adc": {"conversion_ps": 250}})


def bench_parameters(vote: Vote) -> TileParameters:
    """The tile in front of the layers that vote there; it can test its crossbars."""
    return replace(tile_parameters(bench_chip(), BLOCKS, vote), self_test=True)


@dataclass(frozen=True, eq=False)
class TileStimulus:
    """What one tile of a real layer gets, and what must come out.

    Attributes:
        name: where it comes from. faulty: cells are stuck. votes: replicas vote.
        group, faults: as read from the files. bundle: the bit lines of the tile.
        x: int64[V, K]. values: int8[V, outputs of the bundle].
    """

    name: str
    faulty: bool
    group: GroupImage
    faults: FaultMap
    bundle: Bundle
    x: NDArray[np.int64]
    scales: OpcScales
    offsets: NDArray[np.int64]
    values: NDArray[np.int8]

    @property
    def opc_map(self) -> OpcMap:
        return OpcMap.from_bundle(self.group.column_map, self.bundle, bench_chip().opc.columns)


def write(folder: Path) -> Path:
    """Write image, fault map and the rest of all ``CASES`` below a folder; the path of the last file."""
    chip = bench_chip()
    arrays: dict[str, Any] = {}
    names = []
    for number, layer in enumerate(placed_layers(CASES)):
        group = layer.image.groups[0]
        bundles = group.bundles(chip.opc.columns, chip.opc.outputs)
        bundle = len(bundles) // 2
        sums = layer.sums[:, bundles[bundle].outputs]
        p = bench_parameters(group.vote)
        scales, offsets = calibrated(p, sums)
        assert len(sums) > VECTORS
        layer.image.save(folder / f"{number}.image.safetensors")
        layer.faults.save(folder / f"{number}.faults.safetensors")
        names.append({"name": layer.name, "faulty": bool(layer.rate), "bundle": bundle})
        arrays |= {
            f"{number}.x": layer.x[-VECTORS:].astype(np.int64),
            f"{number}.multiplier": scales.multiplier,
            f"{number}.shift": scales.shift,
            f"{number}.offsets": offsets,
            f"{number}.values": requantised(p, sums, scales, offsets)[-VECTORS:],
        }
    path = folder / "cases.safetensors"
    write_container(path, FORMAT, FORMAT_VERSION, {"cases": names}, arrays)
    return path


def stimulus_file(folder: Path) -> Path:
    """Path of ``cases.safetensors`` in a folder named after all it follows from; drawn unless it is there."""
    own = folder / f"tile_layers-{sources_digest(Path(__file__))}"
    own.mkdir(parents=True, exist_ok=True)
    path = own / "cases.safetensors"
    return path if path.is_file() else write(own)


def read(path: Path) -> list[TileStimulus]:
    """The stimulus written by ``write``.

    Raises:
        UserError: a file is missing, or of another kind.
    """
    header, arrays = read_container(path, FORMAT, FORMAT_VERSION)
    chip, found = bench_chip(), []
    for number, case in enumerate(header["cases"]):
        group = Image.load(path.with_name(f"{number}.image.safetensors")).groups[0]
        x, multiplier, shift, offsets, values = (
            arrays[f"{number}.{name}"] for name in ("x", "multiplier", "shift", "offsets", "values")
        )
        found.append(
            TileStimulus(
                case["name"],
                case["faulty"],
                group,
                FaultMap.load(path.with_name(f"{number}.faults.safetensors")),
                group.bundles(chip.opc.columns, chip.opc.outputs)[case["bundle"]],
                x,
                OpcScales(multiplier, shift),
                offsets,
                values,
            )
        )
    return found
