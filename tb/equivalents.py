"""Random mutants of which nothing can be seen, and why: by target and by what ``tb.random_mutants`` calls them."""

from __future__ import annotations

EQUIVALENT: dict[str, dict[str, str]] = {"opc": {}, "tile": {}}
