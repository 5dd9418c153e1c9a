"""Faults in a part of a chip alone: one layer, one matrix role, one word-line group or one bit plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image


def scope_names(image: Image) -> tuple[str, ...]:
    """Every scope of an image: its layers, roles, groups and planes. A group's name ends in its layer and its role."""
    names: dict[str, None] = {}
    for group in image.groups:
        head, _, role = group.name.rpartition(".")
        layer = head.rpartition(".")[2]
        names |= dict.fromkeys((f"layer.{layer}", f"role.{role}"))
    planes = max(group.planes for group in image.groups)
    return (*sorted(names), *(f"group.{group.name}" for group in image.groups), *(f"plane.{b}" for b in range(planes)))


def _holds(scope: str, group: GroupImage) -> bool:
    kind, _, name = scope.partition(".")
    head, _, role = group.name.rpartition(".")
    return {
        "layer": head.rpartition(".")[2] == name,
        "role": role == name,
        "group": group.name == name,
        "plane": True,
    }[kind]


def restrict(faults: FaultMap, image: Image, scope: str) -> FaultMap:
    """The fault map with the faults of the scope alone; cells that hold nothing of the image keep none.

    The silicon is the same for every scope, so a chip's faults in one layer are those it has there among all.
    Time linear in the number of faults.
    """
    if scope == "all":
        return faults
    kept = np.zeros(faults.cells.size, np.bool_)
    for group in image.groups:
        if not _holds(scope, group):
            continue
        first, pair = group.first_pair, 2 * image.rows * image.columns
        low, high = np.searchsorted(faults.cells, [first * pair, (first + group.pairs) * pair])
        if scope.startswith("plane."):
            crossbar, _, bit_line = faults.coordinates(faults.cells[low:high])
            line = ((crossbar // 2 - first) % group.column_blocks) * group.columns + bit_line
            kept[low:high] = _plane(group, line) == int(scope.removeprefix("plane."))
        else:
            kept[low:high] = True
    source = f"{faults.source}; only {scope}"
    return faults.only(kept, source)


def _plane(group: GroupImage, line: NDArray[np.int64]) -> NDArray[np.int64]:
    """Plane of each bit line, -1 where it is unused."""
    column_map = group.column_map
    return np.where(column_map.output[line] >= 0, column_map.plane[line].astype(np.int64), -1)
