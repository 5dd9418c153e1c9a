"""Arrays and a JSON header in one safetensors file, with a format name, a version and a digest of all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import reading, write_bytes_atomic
from crossvote.sim.common.later import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Later("numpy")

#: The one metadata key: safetensors writes several in random order, and equal content must give equal bytes.
_KEY = "crossvote"


def write_container(
    path: Path, kind: str, version: int, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write ``arrays`` and the JSON-able ``header`` atomically; equal content gives equal bytes.

    Raises:
        StorageError: the file cannot be written.
    """
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    content = {"format": kind, "version": version, "header": header}
    metadata = {_KEY: json.dumps({**content, "digest": _digest(content, contiguous)}, sort_keys=True)}
    write_bytes_atomic(path, save(contiguous, metadata=metadata))


def read_container(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a file written by ``write_container``.

    Raises:
        UserError: the file is absent, not a safetensors file, of another kind or version, or not as it was written.
        StorageError: the system cannot read it.
    """
    from safetensors import safe_open

    with reading(path, kind), path.open("rb"), safe_open(path, framework="numpy") as file:
        content = json.loads((file.metadata() or {}).get(_KEY, "{}"))
        if content.get("format") != kind:
            raise UserError(f"{path}: not a {kind} file.")
        if content.get("version") != version:
            found = content.get("version")
            raise UserError(f"{path}: {kind} version {found} cannot be read; this program reads version {version}.")
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if content.pop("digest", None) != _digest(content, arrays):
            raise UserError(f"{path}: the content does not match its digest; the {kind} file is damaged.")
        return content["header"], arrays


def _digest(content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """BLAKE2b of header and arrays, hexadecimal."""
    digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
