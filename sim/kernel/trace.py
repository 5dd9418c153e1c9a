"""Timelines in Chrome's JSON trace format, which Perfetto (https://ui.perfetto.dev) opens."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

from crossvote.sim.common.files import write_bytes_atomic


class Trace:
    """Collects spans and counters; one track per server slot, because spans of a track must not overlap.

    Memory is about 100 bytes per entry.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[str, int, str, int, int]] = []
        self._counters: list[tuple[str, int, int]] = []

    def span(self, path: str, slot: int, label: str, start_ps: int, end_ps: int) -> None:
        """Server ``slot`` of module ``path`` is busy with ``label``."""
        self._spans.append((path, slot, label, start_ps, end_ps))

    def counter(self, path: str, time_ps: int, value: int) -> None:
        """A queue has this many items from ``time_ps`` on."""
        self._counters.append((path, time_ps, value))

    @property
    def spans(self) -> tuple[tuple[str, int, str, int, int], ...]:
        """All spans as (path, slot, label, start, end), times in ps."""
        return tuple(self._spans)

    def __len__(self) -> int:
        return len(self._spans) + len(self._counters)

    def events(self) -> list[dict[str, Any]]:
        """The trace events in order of time; a process per top-level module, a thread per server slot, times in us.

        Names are in natural order, so that layer 2 comes before layer 10.
        """
        tracks = sorted({(path, slot) for path, slot, *_ in self._spans}, key=lambda track: (_natural(track[0]), track))
        groups = sorted(
            {path.split(".")[0] for path, _ in tracks} | {path.split(".")[0] for path, *_ in self._counters},
            key=_natural,
        )
        pid = {name: number for number, name in enumerate(groups, 1)}
        tid = {track: number for number, track in enumerate(tracks, 1)}
        found: list[dict[str, Any]] = [
            {"ph": "M", "name": what, "pid": number, "args": args}
            for name, number in pid.items()
            for what, args in (("process_name", {"name": name}), ("process_sort_index", {"sort_index": number}))
        ]
        for (path, slot), number in tid.items():
            name = path if slot == 0 and (path, 1) not in tid else f"{path}[{slot}]"
            found.append(
                {
                    "ph": "M",
                    "name": "thread_name",
                    "pid": pid[path.split(".")[0]],
                    "tid": number,
                    "args": {"name": name},
                }
            )
            order: dict[str, Any] = {"sort_index": number}
            found.append(
                {
                    "ph": "M",
                    "name": "thread_sort_index",
                    "pid": pid[path.split(".")[0]],
                    "tid": number,
                    "args": order,
                }
            )
        for path, slot, label, start, end in self._spans:
            found.append(
                {
                    "ph": "X",
                    "name": label or path,
                    "pid": pid[path.split(".")[0]],
                    "tid": tid[path, slot],
                    "ts": start / 1e6,
                    "dur": (end - start) / 1e6,
                }
            )
        for path, at, value in self._counters:
            found.append(
                {
                    "ph": "C",
                    "name": path,
                    "pid": pid[path.split(".")[0]],
                    "ts": at / 1e6,
                    "args": {"waiting": value},
                }
            )
        names = [event for event in found if event["ph"] == "M"]
        return names + sorted(found[len(names) :], key=lambda event: event["ts"])

    def write(self, path: Path) -> None:
        """Write the timeline atomically, gzipped when the name ends in ``.gz``."""
        text = json.dumps({"displayTimeUnit": "ns", "traceEvents": self.events()}).encode()
        # mtime=0 keeps the file equal for equal runs.
        write_bytes_atomic(path, gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers inside of names by their value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
