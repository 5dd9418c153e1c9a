"""The image: what is programmed into the crossbars of a chip; what its bit lines mean is a ``ColumnMap``.

The unit is the word-line group: matrices that share their inputs (Q, K and V, for example) share word lines, so a
pruned column of one can host replicas of another. Outputs of a group are numbered through its matrices in order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from crossvote.sim.array.column_map import ColumnMap, Vote
from crossvote.sim.common.container import read_container, write_container
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home, reading
from crossvote.sim.common.later import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Later("numpy")

FORMAT = "crossvote-image"
FORMAT_VERSION = 2
#: Arrays of a column map that only images with checksums have.
_CHECKS = ("check", "checksum")
_GROUP_KEYS = ("name", "inputs", "planes", "rows", "columns", "vote", "first_pair")


@dataclass(frozen=True, eq=False)
class MatrixImage:
    """One matrix of a word-line group.

    Attributes:
        name: the module path in the model. first_output, outputs: its outputs within the group.
        scale: float32[1] (per tensor) or float32[outputs] (per column): weight = scale * integer.
        bias: float32[outputs], digital, or None.
    """

    name: str
    first_output: int
    outputs: int
    scale: NDArray[np.float32]
    bias: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Bundle:
    """The bit lines one OPC serves: whole outputs, the same lines in every row block.

    Attributes:
        lines: int64[n], bit lines of the group, ascending; those of a checksum are among them. outputs: int64[m], the
            outputs they make, ascending.
    """

    lines: NDArray[np.int64]
    outputs: NDArray[np.int64]


def next_fit(column_map: ColumnMap, capacity: int, most_outputs: int, name: str) -> tuple[Bundle, ...]:
    """The bit lines of each OPC of ``capacity`` lines and ``most_outputs``, outputs in order of their first line.

    Raises:
        UserError: one output alone has more bit lines than an OPC serves; ``name`` is the group's.
    """
    lines = np.flatnonzero(column_map.used)
    outputs = column_map.output[lines]
    lines_of: dict[int, list[int]] = {}
    for line, output in zip(lines.tolist(), outputs.tolist(), strict=True):
        lines_of.setdefault(output, []).append(line)
    bundles: list[tuple[list[int], list[int]]] = []
    for output, own in lines_of.items():
        if len(own) > capacity:
            raise UserError(
                f"group {name}: output {output} has {len(own)} bit lines, an OPC serves {capacity} at most."
            )
        if not bundles or len(bundles[-1][0]) + len(own) > capacity or len(bundles[-1][1]) == most_outputs:
            bundles.append(([], []))
        bundles[-1][0].extend(own)
        bundles[-1][1].append(output)
    return tuple(Bundle(np.sort(np.array(a)), np.sort(np.array(b))) for a, b in bundles)


@dataclass(frozen=True, eq=False)
class GroupImage:
    """What is programmed for one word-line group: a grid of row_blocks x column_blocks differential pairs.

    Attributes:
        inputs: K. planes: B. rows, columns: size of a crossbar.
        column_map: one entry per bit line, column_blocks * columns in all.
        cells: uint8[2, row_blocks * rows, ceil(lines / 8)], the programmed bits of the positive (0) and negative (1)
            crossbars, packed along the bit lines (``np.packbits``); word lines beyond K hold 0 and are never driven.
            With cells of several bits, each takes that many neighbouring bits, the least significant first.
        kept_inputs: bool[K], False for a pruned input: its word line is driven with 0.
        vote: where replicas vote: on outputs, in each crossbar pair, or in each crossbar of a pair alone.
        first_pair: pair id of block (0, 0).
        cell_bits: bits of a cell; a bit line of plane b then holds planes b to b + cell_bits - 1.
    """

    name: str
    inputs: int
    planes: int
    rows: int
    columns: int
    matrices: tuple[MatrixImage, ...]
    column_map: ColumnMap
    cells: NDArray[np.uint8]
    kept_inputs: NDArray[np.bool_]
    vote: Vote
    first_pair: int
    cell_bits: int = 1

    def __post_init__(self) -> None:
        lines = len(self.column_map)
        expected = (2, self.row_blocks * self.rows, -(-lines * self.cell_bits // 8))
        if lines % self.columns:
            raise UserError(
                f"group {self.name}: {lines} bit lines are not a whole number of crossbars of {self.columns}."
            )
        if self.cells.shape != expected or self.cells.dtype != np.uint8:
            raise UserError(f"group {self.name}: cells have shape {self.cells.shape}, not {expected}.")
        if self.kept_inputs.shape != (self.inputs,):
            raise UserError(f"group {self.name}: kept_inputs needs {self.inputs} entries, one per input.")
        if lines and (self.column_map.output.max() >= self.outputs or self.column_map.plane.max() >= self.planes):
            raise UserError(f"group {self.name}: the column map names an output or a plane that does not exist.")
        if self.cell_bits > 1 and self.column_map.checksum_bits:
            raise UserError(f"group {self.name}: checksums are for one-bit cells, not for {self.cell_bits} bits.")
        if self.vote not in get_args(Vote):
            raise UserError(f"group {self.name}: vote '{self.vote}' is none of {', '.join(get_args(Vote))}.")
        if self.vote == "none" and any(group.lines.shape[1] > 1 for group in self.column_map.vote_groups):
            raise UserError(f"group {self.name}: replicas need a vote of 'output', 'crossbar' or 'alone', not 'none'.")

    @property
    def last_level(self) -> int:
        """Level of a cell at low resistance: 1 for one-bit cells."""
        return (1 << self.cell_bits) - 1

    @property
    def row_blocks(self) -> int:
        """How many crossbar pairs the inputs are spread over."""
        return -(-self.inputs // self.rows)

    @property
    def column_blocks(self) -> int:
        """How many crossbar pairs the bit lines are spread over."""
        return len(self.column_map) // self.columns

    @property
    def outputs(self) -> int:
        """N of the group, pruned outputs included."""
        last = self.matrices[-1]
        return last.first_output + last.outputs

    @property
    def pairs(self) -> int:
        """How many crossbar pairs the group takes."""
        return self.row_blocks * self.column_blocks

    def pair(self, row_block: int, column_block: int) -> int:
        """Pair id of a block; its crossbars are 2 * pair (positive) and 2 * pair + 1 (negative)."""
        return self.first_pair + row_block * self.column_blocks + column_block

    def matrix(self, name: str) -> MatrixImage:
        """The matrix of that name. Raises UserError if the group has none."""
        for matrix in self.matrices:
            if matrix.name == name:
                return matrix
        raise UserError(f"group {self.name} has no matrix '{name}'.")

    def block_cells(self, row_block: int) -> NDArray[np.uint8]:
        """Programmed levels (with one-bit cells: bits) of one row block, uint8[2, rows, lines]."""
        packed = self.cells[:, row_block * self.rows : (row_block + 1) * self.rows]
        bits = np.unpackbits(packed, axis=-1, count=len(self.column_map) * self.cell_bits)
        if self.cell_bits == 1:
            return bits
        digits = bits.reshape(2, self.rows, len(self.column_map), self.cell_bits)
        levels: NDArray[np.uint8] = (digits << np.arange(self.cell_bits, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8)
        return levels

    def bundles(self, capacity: int, most_outputs: int) -> tuple[Bundle, ...]:
        """The bit lines of each OPC: those of a checksum with what it covers, or else next-fit over the outputs.

        Args:
            capacity: bit lines of an OPC. most_outputs: outputs that it can number; fewer planes than it is built for
                do not make it serve more.

        Raises:
            UserError: one output alone, or a checksum with what it covers, has more bit lines or outputs than an OPC.
        """
        own = self.column_map
        if not own.checksums:
            return next_fit(own, capacity, most_outputs, self.name)
        bundles = []
        for number in range(own.checksums):
            covered, held = own.checked_lines(number)
            bundle = Bundle(np.union1d(covered, held), np.unique(own.output[covered]).astype(np.int64))
            if len(bundle.lines) > capacity or len(bundle.outputs) > most_outputs:
                raise UserError(
                    f"group {self.name}: checksum {number} takes {len(bundle.lines)} bit lines of "
                    f"{len(bundle.outputs)} outputs, an OPC serves {capacity} of {most_outputs} at most; map it again "
                    "for this chip."
                )
            bundles.append(bundle)
        return tuple(bundles)


@dataclass(frozen=True, eq=False)
class Image:
    """All word-line groups of a model, placed on the crossbars of a chip.

    Attributes:
        protection: the protection scheme in plain JSON values, with its name under "name"; sim does not interpret it.
        input_bits: n_x. adc_bits: resolution the image is meant for.
    """

    groups: tuple[GroupImage, ...]
    protection: Mapping[str, Any]
    input_bits: int
    adc_bits: int

    def __post_init__(self) -> None:
        if not self.groups:
            raise UserError("an image needs at least one word-line group.")
        if len({(group.rows, group.columns) for group in self.groups}) != 1:
            raise UserError("all crossbars of an image must have the same size.")
        taken = 0
        for group in sorted(self.groups, key=lambda group: group.first_pair):
            if group.first_pair < taken:
                raise UserError(f"group {group.name} is placed on crossbars that another group uses.")
            taken = group.first_pair + group.pairs

    @property
    def rows(self) -> int:
        """Word lines of a crossbar."""
        return self.groups[0].rows

    @property
    def columns(self) -> int:
        """Bit lines of a crossbar."""
        return self.groups[0].columns

    @property
    def crossbars(self) -> int:
        """Number of crossbars of the smallest chip that holds the image (two per pair)."""
        return 2 * max(group.first_pair + group.pairs for group in self.groups)

    @property
    def has_replicas(self) -> bool:
        """Whether any plane has more than one line: replicas or summed copies."""
        return any(group.column_map.repeats.any() for group in self.groups)

    def group(self, name: str) -> GroupImage:
        """The group of that name. Raises UserError if there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise UserError(f"the image has no word-line group '{name}'; it has {', '.join(g.name for g in self.groups)}.")

    def group_of(self, matrix: str) -> GroupImage:
        """The word-line group that holds a matrix.

        Raises:
            UserError: no group holds it.
        """
        for group in self.groups:
            if any(m.name == matrix for m in group.matrices):
                return group
        names = [m.name for group in self.groups for m in group.matrices]
        raise UserError(f"the image has no matrix '{matrix}'; it has {', '.join(names)}.")

    def _content(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        header: dict[str, Any] = {
            "protection": dict(self.protection),
            "input_bits": self.input_bits,
            "adc_bits": self.adc_bits,
            "groups": [],
        }
        arrays: dict[str, NDArray[Any]] = {}
        for g, group in enumerate(self.groups):
            header["groups"].append(
                {
                    **{key: getattr(group, key) for key in _GROUP_KEYS},
                    **({} if group.cell_bits == 1 else {"cell_bits": group.cell_bits}),
                    "matrices": [
                        {"name": m.name, "first_output": m.first_output, "outputs": m.outputs} for m in group.matrices
                    ],
                }
            )
            for key in ("output", "plane", "replica", "shift", "copy"):
                arrays[f"{g}.map.{key}"] = getattr(group.column_map, key)
            arrays[f"{g}.map.flipped"] = group.column_map.flipped.astype(np.uint8)
            if group.column_map.checksums:
                arrays |= {f"{g}.map.{key}": getattr(group.column_map, key) for key in _CHECKS}
            arrays[f"{g}.cells"] = group.cells
            arrays[f"{g}.kept_inputs"] = group.kept_inputs.astype(np.uint8)
            for i, matrix in enumerate(group.matrices):
                arrays[f"{g}.{i}.scale"] = matrix.scale
                if matrix.bias is not None:
                    arrays[f"{g}.{i}.bias"] = matrix.bias
        return header, arrays

    @cached_property
    def content_hash(self) -> str:
        """BLAKE2b of everything that is programmed, hexadecimal."""
        header, arrays = self._content()
        digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=16)
        for name in sorted(arrays):
            digest.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the image atomically as one safetensors file."""
        header, arrays = self._content()
        write_container(at_home(path), FORMAT, FORMAT_VERSION, {**header, "content_hash": self.content_hash}, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Image:
        """Read an image written by ``save``.

        Raises:
            UserError: the file is absent, of another format or version, or its content does not match its hash.
        """
        path = at_home(path)
        header, arrays = read_container(path, FORMAT, FORMAT_VERSION)
        with reading(path, FORMAT):
            groups = []
            for g, entry in enumerate(header["groups"]):
                matrices = tuple(
                    MatrixImage(
                        m["name"],
                        m["first_output"],
                        m["outputs"],
                        arrays[f"{g}.{i}.scale"],
                        arrays.get(f"{g}.{i}.bias"),
                    )
                    for i, m in enumerate(entry["matrices"])
                )
                groups.append(
                    GroupImage(
                        **{key: entry[key] for key in _GROUP_KEYS},
                        matrices=matrices,
                        column_map=ColumnMap(
                            arrays[f"{g}.map.output"],
                            arrays[f"{g}.map.plane"],
                            arrays[f"{g}.map.replica"],
                            arrays[f"{g}.map.flipped"].astype(np.bool_),
                            arrays[f"{g}.map.shift"],
                            arrays[f"{g}.map.copy"],
                            **{key: arrays[f"{g}.map.{key}"] for key in _CHECKS if f"{g}.map.{key}" in arrays},
                        ),
                        cells=arrays[f"{g}.cells"],
                        kept_inputs=arrays[f"{g}.kept_inputs"].astype(np.bool_),
                        cell_bits=entry.get("cell_bits", 1),
                    )
                )
            image = cls(tuple(groups), header["protection"], header["input_bits"], header["adc_bits"])
            if image.content_hash != header["content_hash"]:
                raise UserError(f"{path}: the content does not match its hash; the file is damaged.")
            return image
