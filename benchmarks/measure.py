"""Timing and tables shared by the benchmarks."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import profile

from crossvote.sim.common.files import write_text_atomic


@dataclass(frozen=True)
class Result:
    """One measured quantity: ``value`` over ``baseline`` is ``ratio``, which should be at most ``goal``.

    unit: of value and baseline. repeats: interleaved measurements, of which value and baseline are medians and ratio
    is the median of their quotients. profile: where the time of a missed goal goes.
    """

    name: str
    baseline_name: str
    value: float
    baseline: float
    ratio: float
    unit: str
    repeats: int = 1
    goal: float | None = None
    profile: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.ratio <= self.goal


def clock() -> float:
    """CPU time of this process in seconds: what other programs on the machine do hardly shows in it."""
    return time.process_time()


def compare(
    name: str,
    subject: Callable[[], object],
    baseline_name: str,
    baseline: Callable[[], object],
    repeats: int,
    goal: float | None = None,
    now: Callable[[], float] = clock,
) -> Result:
    """Time of ``subject`` over that of ``baseline``, measured in turns after one run of each to warm up."""
    times: dict[str, list[float]] = {"subject": [], "baseline": []}
    with torch.inference_mode():
        for _ in range(repeats + 1):
            for key, run in (("baseline", baseline), ("subject", subject)):
                start = now()
                run()
                times[key].append(now() - start)
        own, base = times["subject"][1:], times["baseline"][1:]
        ratio = statistics.median(a / b for a, b in zip(own, base, strict=True))
        missed = goal is not None and ratio > goal
        return Result(
            name,
            baseline_name,
            1e3 * statistics.median(own),
            1e3 * statistics.median(base),
            ratio,
            "ms",
            repeats,
            goal,
            operations(subject) if missed else "",
        )


def operations(run: Callable[[], object]) -> str:
    """The torch operations of one run that take longest, as text."""
    with profile() as recorded:
        run()
    return str(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=10, max_name_column_width=40))


def environment() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    model = ""
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def table(results: Sequence[Result]) -> str:
    """Markdown table of results."""
    head = ["| what | over | measured | baseline | ratio | goal | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *map(table_row, results)])


def table_row(r: Result) -> str:
    """A row of ``table``."""
    goal, verdict = ("", "") if r.goal is None else (f"<= {r.goal:g}x", "met" if r.met else "MISSED")
    return (
        f"| {r.name} | {r.baseline_name} | {r.value:.4g} {r.unit} | {r.baseline:.4g} {r.unit} "
        f"| {r.ratio:.3g}x | {goal} | {verdict} |"
    )


def write(folder: Path, name: str, results: Sequence[Result], extra: dict[str, Any], remark: str = "") -> None:
    """``name``.json with everything; ``name``.md with table, remark, environment and profiles of missed goals."""
    where = environment()
    data = {"environment": where, "results": [{**asdict(r), "met": r.met} for r in results], **extra}
    write_text_atomic(folder / f"{name}.json", json.dumps(data, indent=1) + "\n")
    facts = ", ".join(f"{key} {value}" for key, value in where.items() if value is not None)
    profiles = "".join(f"\n{r.name}:\n\n```\n{r.profile}\n```\n" for r in results if r.profile)
    write_text_atomic(folder / f"{name}.md", f"{table(results)}\n\n{remark}{facts}.\n{profiles}")
