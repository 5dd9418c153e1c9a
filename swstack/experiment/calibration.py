"""The steps of "static" activations: measured once per run, read by accuracy, co-simulation and system model alike."""

from __future__ import annotations

import json
from pathlib import Path

from crossvote.sim.common.files import reading

CALIBRATION = "results/calibration.json"


def read_steps(run: Path) -> dict[str, float] | None:
    """Steps by word-line group, or ``None`` for a run whose activations need none.

    Raises:
        UserError: the file is damaged.
    """
    path = run / CALIBRATION
    if not path.is_file():
        return None
    with reading(path, "calibration"):
        return {name: float(step) for name, step in json.loads(path.read_text(encoding="utf-8"))["steps"].items()}
