"""The configuration of a run that trains for seconds; tests say only what matters to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

_TINY: dict[str, dict[str, Any]] = {
    "task": {"name": "grammar-single", "train_limit": 48, "eval_limit": 24, "max_length": 32},
    "finetune": {"epochs": 1, "batch_size": 16},
    "prune": {"gate_epochs": 1, "final_epochs": 0},
    "map": {"schemes": ["none", "paper"]},
}


def write_tiny(path: Path, model: str | Path, seed: int = 0, **sections: Mapping[str, Any]) -> Path:
    """Write the configuration of a tiny run of ``model``, with further keys by section; returns the path."""
    found: dict[str, Any] = {"seed": seed, "model": {"source": str(model)}}
    for name in dict.fromkeys((*_TINY, *sections)):
        found[name] = {**_TINY.get(name, {}), **sections.get(name, {})}
    path.write_text(tomli_w.dumps(found))
    return path
