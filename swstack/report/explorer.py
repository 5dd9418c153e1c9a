"""The data of the explorable crossbar: what one positive crossbar of every word-line group holds, and what is stuck."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image
from crossvote.swstack.report.figures import fault_effects

#: Groups shown, so that the page of a large model stays small.
_MOST_GROUPS = 24


def explorer_data(images: Mapping[str, Image], chip: FaultMap) -> str:
    """JSON for the page's script: scheme -> word-line group -> crossbar of block (0, 0)."""
    names = [group.name for group in next(iter(images.values())).groups]
    step = -(-len(names) // _MOST_GROUPS)
    data = {
        scheme: {name: crossbar_data(image.group(name), chip) for name in names[::step]}
        for scheme, image in images.items()
    }
    # "<" would end the script element that holds the text.
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def crossbar_data(group: GroupImage, chip: FaultMap) -> dict[str, Any]:
    """One crossbar in plain values: per bit line its meaning, per cell the stored bit, and the stuck cells.

    ``cells``: bits of [rows, lines] packed with the first in the highest bit, base64. ``stuck``: word line, bit line,
    stuck at 1 or 0, effect (0 harmless, 1 outvoted, 2 changes a weight).
    """
    lines = group.columns
    column_map = group.column_map
    bits = group.block_cells(0)[0][:, :lines]
    word_line, bit_line, effect = fault_effects(group, chip)
    crossbar = 2 * group.pair(0, 0)
    _, stuck_at = chip.of_crossbars(crossbar, crossbar + 1)
    effects = (effect == "outvoted") + 2 * (effect == "changes a weight")
    return {
        "rows": group.rows,
        "lines": lines,
        "planes": group.planes,
        "output": column_map.output[:lines].tolist(),
        "plane": column_map.plane[:lines].tolist(),
        "shift": column_map.shift[:lines].tolist(),
        "replica": column_map.replica[:lines].tolist(),
        "repeats": column_map.repeats[:lines].astype(int).tolist(),
        "flipped": column_map.flipped[:lines].astype(int).tolist(),
        "idle": np.flatnonzero(~group.kept_inputs[: group.rows]).tolist(),
        "cells": base64.b64encode(np.packbits(bits > 0).tobytes()).decode(),
        "stuck": np.stack([word_line, bit_line, stuck_at, effects], axis=1).tolist(),
    }
