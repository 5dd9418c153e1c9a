"""What the machine lets this process use."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

#: Where Linux says what the groups of processes may use, and of which groups this process is.
_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """Processor cores that this process may run on; a scheduler or container often grants fewer than there are.

    A container's share of time counts as well: of 64 cores for 2 s in each second, 2 can be used.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # which macOS lacks
    found = len(affinity(0)) if affinity else os.cpu_count() or 1
    for quota, period in (("cpu.max", ""), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        for folder in _group_folders("cpu"):
            words = [*_words(folder / quota), *(_words(folder / period) if period else [])]
            if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
                found = min(found, max(1, math.ceil(int(words[0]) / int(words[1]))))
    return found


@cache
def has_avx2() -> bool:
    """Whether this is Linux on an x86 processor with AVX2."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.startswith("flags") and "avx2" in line.split() for line in lines)


def _group_folders(controller: str) -> Iterator[Path]:
    """Folders that say what this process may use of something: of its own group, and of all groups around it."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number != "0" and controller not in controllers.split(","):
            continue
        root = _GROUPS if number == "0" else _GROUPS / controller
        parts = [part for part in group.split("/") if part not in ("", "..")]  # a group out of sight has dots
        for depth in range(len(parts), -1, -1):
            yield root.joinpath(*parts[:depth])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []


def _group_memory() -> Iterator[int]:
    """Bytes that may still be taken by the limit of each group that has one; the cache of files can be given back."""
    for folder in _group_folders("memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            most, now, stat = _words(folder / limit), _words(folder / used), _words(folder / "memory.stat")
            if not (most and now and most[0].isdecimal() and now[0].isdecimal()):
                continue
            cache = dict(zip(stat[::2], stat[1::2], strict=False)).get("inactive_file", "0")
            yield max(0, int(most[0]) - int(now[0]) + int(cache))


def free_memory() -> int | None:
    """Bytes of memory that can be had without swapping, in the machine and in a container; None where nothing says."""
    return min((found for found in (_machine_memory(), *_group_memory()) if found is not None), default=None)


def _machine_memory() -> int | None:
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
