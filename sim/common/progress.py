"""How long work tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (description, steps done, steps in total).
Progress = Callable[[str, int, int], None]


def no_progress(description: str, done: int, total: int) -> None:
    """Ignore progress; the default of every long function."""
