"""What benchmarks write into a document: the part between two comments, and nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossvote.sim.common.files import write_text_atomic


@dataclass(frozen=True)
class Section:
    """A part of ``document``, between the comments ``begin`` and ``end``."""

    document: Path
    begin: str
    end: str

    def around(self, content: str) -> str:
        """``content`` with the comments around it, as it stands in the document."""
        return f"{self.begin}\n{content}\n{self.end}"

    def write(self, content: str) -> None:
        """Put ``content`` in the place of what the section holds."""
        before, rest = self.document.read_text(encoding="utf-8").split(self.begin)
        write_text_atomic(self.document, before + self.around(content) + rest.split(self.end)[1])


def measured_on(environment: Mapping[str, Any]) -> str:
    """Where and when a single-core benchmark ran, in a sentence; environment: ``benchmarks.measure.environment``."""
    load = f"load average {environment['load_average'][0]:g} (1 is this benchmark)"
    return f"{environment['processor']}, {environment['date']}, {load}."
