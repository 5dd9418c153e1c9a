"""What the machine lets this process use."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def cores() -> int:
    """Processor cores that this process may run on; a scheduler or container often grants fewer than there are."""
    return len(os.sched_getaffinity(0))


def free_memory() -> int | None:
    """Bytes of memory that can be had without swapping; None where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def is_installed(package: str) -> bool:
    """Whether a package can be found; it is not loaded."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ValueError, ModuleNotFoundError):  # a stand-in for a module, or no package that it could be in
        return False
