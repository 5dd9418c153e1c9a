"""What the command line shows while it works: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from crossvote.sim.common.progress import Progress as Report

#: Seconds between two plain progress lines.
PLAIN_INTERVAL = 10.0


@contextmanager
def progress_display(console: Console) -> Iterator[Report]:
    """A progress callback: one bar per description on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        yield _PlainProgress(console)
        return
    bars = Progress(
        TextColumn("  {task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def report(description: str, done: int, total: int) -> None:
        if description not in tasks:
            for task in tasks.values():
                bars.update(task, visible=False)
            tasks[description] = bars.add_task(description, total=total)
        bars.update(tasks[description], completed=done, total=total, visible=True)

    with bars:
        yield report


class _PlainProgress:
    """Prints a line when a piece of work ends and otherwise at most every ``PLAIN_INTERVAL`` seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last = time.monotonic()

    def __call__(self, description: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= PLAIN_INTERVAL:
            self.last = now
            self.console.print(f"  {description}: {done} of {total}", highlight=False)
            sys.stdout.flush()
