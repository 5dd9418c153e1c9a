"""Arrays and a JSON header in one safetensors file, with a format name and version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import write_bytes_atomic

#: The one metadata key: safetensors writes several in random order, and equal content must give equal bytes.
_KEY = "crossvote"


def write_container(
    path: Path, kind: str, version: int, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write ``arrays`` and the JSON-able ``header`` atomically; equal content gives equal bytes."""
    metadata = {_KEY: json.dumps({"format": kind, "version": version, "header": header}, sort_keys=True)}
    contiguous = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    write_bytes_atomic(path, save(contiguous, metadata=metadata))


def read_container(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a file written by ``write_container``.

    Raises:
        UserError: the file is absent, not a safetensors file, or of another kind or version.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; a {kind} file is needed.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            if metadata.get("format") != kind:
                raise UserError(f"{path}: not a {kind} file.")
            if metadata.get("version") != version:
                found = metadata.get("version")
                raise UserError(f"{path}: {kind} version {found} cannot be read; this program reads version {version}.")
            return metadata["header"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: damaged {kind} file ({error}).") from None
