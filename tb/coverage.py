"""Functional coverage: which of the listed situations a random test has met."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from crossvote.rtl.export import write_atomic

Bin = tuple[str | int | bool, ...]


class Coverage:
    """Crosses of named axes; every combination of an axis's values is a bin that must be met."""

    def __init__(self, crosses: dict[str, tuple[Iterable[str | int | bool], ...]]) -> None:
        self._bins = {name: Counter(dict.fromkeys(itertools.product(*axes), 0)) for name, axes in crosses.items()}

    def hit(self, cross: str, *point: str | int | bool) -> None:
        """Count a situation.

        Raises:
            KeyError: the cross has no such bin.
        """
        if point not in self._bins[cross]:
            raise KeyError(f"{cross} has no bin {point}")
        self._bins[cross][point] += 1

    def missing(self) -> list[tuple[str, Bin]]:
        """Bins that were never met."""
        return [(name, point) for name, bins in self._bins.items() for point, count in bins.items() if not count]

    def save(self, path: Path) -> None:
        """Write all counts as JSON."""
        counts = {name: {"/".join(map(str, b)): n for b, n in bins.items()} for name, bins in self._bins.items()}
        write_atomic(path, json.dumps(counts, indent=2) + "\n")

    def __str__(self) -> str:
        met = {name: sum(count > 0 for count in bins.values()) for name, bins in self._bins.items()}
        return ", ".join(f"{name} {met[name]}/{len(bins)}" for name, bins in self._bins.items())
