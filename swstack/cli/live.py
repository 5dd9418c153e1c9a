"""What a terminal shows of a campaign while it runs: progress with rate and time left, and the table so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from crossvote.swstack.cli.console import PLAIN_INTERVAL

if TYPE_CHECKING:
    from crossvote.swstack.experiment.campaign.driver import State

#: Least seconds between two looks at the results, and how many times as long as a look took to wait at least.
TABLE_INTERVAL, PATIENCE = 2.0, 20.0

Rows = list[list[str]]


@contextmanager
def live_view(console: Console, folder: Path, quiet: bool = False) -> Iterator[Callable[[State], None]]:
    """Shows the states of a campaign: with the current table on a terminal, as a line now and then elsewhere."""
    if quiet:
        yield lambda state: None
    elif not console.is_terminal:
        yield _plain(console)
    else:
        results = _Results(folder)
        with Live(console=console, transient=True, refresh_per_second=4) as live:
            yield lambda state: live.update(view(state, results.tables()))


def view(state: State, tables: Sequence[Rows]) -> RenderableType:
    """The picture of one moment; ``tables``: those so far, header first."""
    done, total = progress(state)
    bar = Table.grid(padding=(0, 2))
    bar.add_row(Text(line(state)), ProgressBar(total=max(total, 1), completed=done, width=30))
    return Group(*map(_drawn, tables), bar)


def _drawn(rows: Rows) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(rows[0]):
        table.add_column(escape(title), justify="left" if number < 3 else "right", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table


def progress(state: State) -> tuple[int, int]:
    """Trials that need no more work, and all of them."""
    total = sum(state.counts.values())
    return total - state.counts.get("open", 0), total


def line(state: State) -> str:
    """The state in words: how many trials, how fast, how long yet."""
    done, total = progress(state)
    parts = [f"{done} of {total} trials"]
    if state.preparing:
        parts.append(state.preparing)
    if state.counts.get("failed"):
        parts.append(f"{state.counts['failed']} failed")
    if state.speed and done < total:
        parts.append(f"{state.speed:.3g}/s")
        parts.append(f"{duration(state.left)} left")
    return ", ".join(parts)


def duration(seconds: float | None) -> str:
    """A time in a unit that suits it."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class _Results:
    """The tables of a campaign's results, looked up so seldom that looking costs next to nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder: Path = folder
        self._tables: list[Rows] = []
        self._next = 0.0

    def tables(self) -> list[Rows]:
        now = time.monotonic()
        if now >= self._next:
            self._tables = read_tables(self._folder)
            spent = time.monotonic() - now
            self._next = now + max(TABLE_INTERVAL, PATIENCE * spent)
        return self._tables


def read_tables(folder: Path) -> list[Rows]:
    """The results of a campaign so far, header first; none while no trial on a faulty chip is done."""
    from crossvote.swstack.experiment.campaign.database import Database
    from crossvote.swstack.experiment.campaign.folder import database_path
    from crossvote.swstack.experiment.campaign.summary import summarize, tables

    with Database.open(database_path(folder)) as database:
        findings = summarize(database)
    return tables(findings)


def _plain(console: Console) -> Callable[[State], None]:
    last = time.monotonic()

    def show(state: State) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL:
            last = now
            console.print(f"  {line(state)}", highlight=False)

    return show
