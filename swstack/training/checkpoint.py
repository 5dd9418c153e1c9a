"""Training checkpoints: tensors and a JSON state in one safetensors file, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from crossvote.sim.common.files import reading, replacing


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and the JSON-serializable ``state`` so that ``path`` is either the old or the new checkpoint."""
    held: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in seen:  # tied weights: the format refuses memory that two names share
            own = own.clone()
        seen.add(own.untyped_storage().data_ptr())
        held[name] = own
    # Straight to the file: a checkpoint may be gigabytes, which should not be in memory a second time.
    with replacing(path) as temporary:
        save_file(held, temporary, metadata={"state": json.dumps(state)})


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and state of a checkpoint.

    Raises:
        UserError: the file is absent or is no checkpoint.
    """
    with reading(path, "training checkpoint"), path.open("rb"), safe_open(path, framework="pt") as file:
        state = json.loads((file.metadata() or {})["state"])
        return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118 (not a mapping)


def part_of(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, torch.Tensor]:
    """State tensors of ``optimizer``, named by parameter index (AdamW's step counts are tensors too)."""
    return {
        f"{prefix}{index}.{key}": value
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if isinstance(value, torch.Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], prefix: str) -> None:
    """Put back what ``optimizer_tensors`` took; hyperparameters stay those of ``optimizer``."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in part_of(tensors, prefix).items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
