"""What the machine lets this process use."""

from __future__ import annotations

import os


def cores() -> int:
    """Processor cores that this process may run on; a scheduler or container often grants fewer than there are."""
    return len(os.sched_getaffinity(0))
