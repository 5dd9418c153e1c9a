"""What a container grants counts, not what the machine around it has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crossvote.sim.common import machine

GIB = 1 << 30


@pytest.fixture
def grants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Set which groups this process is in, and what files of limits there are."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_machine_memory", lambda: 500 * GIB)

    def set_files(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return set_files


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 64),
        ("0::/\n", {"cpu.max": ""}, 64),
        ("0::/slurm/job\n", {"slurm/cpu.max": "400000 100000", "slurm/job/cpu.max": "max 100000"}, 4),
        ("0::/slurm/job\n", {"slurm/job/cpu.max": "300000 100000"}, 3),
        ("0::/../other\n", {"cpu.max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/box\n", {"cpu/box/cpu.cfs_quota_us": "700000", "cpu/box/cpu.cfs_period_us": "100000"}, 7),
        ("4:cpu,cpuacct:/box\n", {"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"}, 64),
        ("4:cpu,cpuacct:/box\n0::/\n", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "0"}, 64),
        ("junk\n", {}, 64),
    ],
)
def test_a_share_of_time_counts_as_so_many_cores(grants, own: str, files: dict[str, str], cores: int) -> None:
    grants(own, files)
    assert machine.cores() == cores


@pytest.mark.parametrize(
    ("own", "files", "free"),
    [
        ("0::/a\n", {"a/memory.max": f"{8 * GIB}", "a/memory.current": f"{3 * GIB}"}, 5),
        ("0::/a\n", {"a/memory.max": "max", "a/memory.current": "5"}, 500),
        (
            "0::/a\n",
            {
                "a/memory.max": f"{8 * GIB}",
                "a/memory.current": f"{7 * GIB}",
                "a/memory.stat": f"anon 5\ninactive_file {2 * GIB}\n",
            },
            3,
        ),
        (
            "9:memory:/\n",
            {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "1"},
            500,
        ),
        ("9:memory:/\n", {"memory/memory.limit_in_bytes": f"{GIB}", "memory/memory.usage_in_bytes": f"{2 * GIB}"}, 0),
    ],
)
def test_memory_is_what_the_container_has_left(grants, own: str, files: dict[str, str], free: int) -> None:
    grants(own, files)
    assert machine.free_memory() == free * GIB


def test_a_system_that_says_nothing_is_asked_for_its_cores(grants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(machine, "_OWN_GROUPS", Path("/nowhere"))
    assert machine.cores() == 6
