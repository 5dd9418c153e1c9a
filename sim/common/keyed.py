"""Results by what decides them: one small JSON file each, found again exactly when all of it is equal."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossvote.sim.common.content import digest
from crossvote.sim.common.files import write_text_atomic


@dataclass(frozen=True)
class KeyedResults:
    """A folder of results. An identity is a JSON value that holds everything a result depends on, and no path.

    ``name`` is for people who look into the folder; results of one name and several identities lie side by side.
    """

    folder: Path

    def path(self, name: str, identity: Any) -> Path:
        """Where the result lies, or would lie."""
        safe = re.sub(r"[^\w.+-]", "_", name)
        return self.folder / f"{safe}-{digest(identity)[:16]}.json"

    def get(self, name: str, identity: Any) -> Any | None:
        """The result with exactly this identity; ``None`` if there is none, or only a damaged one."""
        content = _whole(self.path(name, identity))
        return content["result"] if content is not None and content["key"] == digest(identity) else None

    def named(self) -> Iterator[tuple[str, Any, Any]]:
        """Name (as in its file), identity and result of all that are kept, by name; damaged ones are passed over."""
        for path in sorted(self.folder.glob("*.json")):
            content = _whole(path)
            if content is not None and content["key"] == digest(content["identity"]):
                yield path.stem[: -len("-0123456789abcdef")], content["identity"], content["result"]

    def entries(self) -> Iterator[tuple[Any, Any]]:
        """Identity and result of all that are kept, by name; damaged ones are passed over."""
        return ((identity, result) for _, identity, result in self.named())

    def put(self, name: str, identity: Any, result: Any) -> None:
        """Keep a result, a JSON value in which numbers may be NaN or infinite.

        Raises:
            StorageError: it cannot be written; nothing half-written stays.
        """
        document = {"key": digest(identity), "identity": identity, "result": result}
        write_text_atomic(self.path(name, identity), json.dumps({**document, "seal": _seal(document)}, indent=1) + "\n")


def _seal(document: dict[str, Any]) -> str:
    """Digest of a document, in which numbers may be NaN or infinite: one flipped bit is another document."""
    text = json.dumps({key: value for key, value in document.items() if key != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _whole(path: Path) -> dict[str, Any] | None:
    """A document that is there as it was written, else ``None``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if content["seal"] == _seal(content) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
