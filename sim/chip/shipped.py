"""The chip descriptions that come with CrossVote. Nothing else is loaded: to list them takes no class of a chip."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def chip_presets() -> dict[str, Path]:
    """The shipped chip descriptions by name."""
    folder = resources.files("crossvote.sim.chip") / "presets"
    paths = [Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return {path.stem: path for path in sorted(paths)}
