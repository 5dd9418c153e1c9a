"""What a command prints: tables and lines for a person, or one JSON document for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crossvote.sim.common.progress import Progress
from crossvote.swstack.cli.console import progress_display


class Output:
    """Standard output and standard error of one command.

    With ``as_json`` standard output holds one JSON document, given to ``result``, and nothing else; progress and lines
    go to standard error. With ``quiet`` only results and errors are printed.

    Attributes:
        resume: the command that continues what an interruption would stop, once there is something to continue.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        # A table in a file or pipe has room for its columns; a terminal decides for itself.
        width = None if sys.stdout.isatty() else 180
        self._out = Console(highlight=False, soft_wrap=True, width=width)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._as_json, self._quiet = as_json, quiet
        self.resume: str | None = None

    @property
    def _talk(self) -> Console:
        return self._err if self._as_json else self._out

    def line(self, text: str = "", style: str | None = None) -> None:
        """One line of news; left out with ``--quiet``."""
        if not self._quiet:
            self._talk.print(escape(text), style=style)

    def pair(self, head: str, text: str) -> None:
        """A line that begins with a name in bold."""
        if not self._quiet:
            self._talk.print(f"[bold]{escape(head)}[/] {escape(text)}")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows, the first of which is the header, in aligned columns; part of the result, so quiet prints it too."""
        if self._as_json:
            return
        table = Table(box=None, pad_edge=False)
        for i, title in enumerate(rows[0]):
            table.add_column(escape(title), justify="left" if i == 0 else "right")
        for row in rows[1:]:
            table.add_row(*(escape(cell) for cell in row))
        self._out.print(table)

    def text(self, text: str) -> None:
        """A line of the result itself, printed with ``--quiet`` too; with ``--json`` ``result`` says it."""
        if not self._as_json:
            self._out.print(escape(text))

    def result(self, value: Any) -> None:
        """The result for programs: printed as JSON with ``--json``, otherwise already said by tables and text."""
        if self._as_json:
            sys.stdout.write(json.dumps(value, indent=1, allow_nan=False, default=str) + "\n")

    def error(self, text: str) -> None:
        """One sentence about what is wrong, on standard error."""
        self._err.print(f"[bold red]crossvote:[/] {escape(text)}")

    def warn(self, text: str) -> None:
        """One sentence about what the user should know, on standard error."""
        self._err.print(f"[yellow]crossvote:[/] {escape(text)}")

    def progress(self) -> AbstractContextManager[Progress]:
        """Shows progress: bars on a terminal, a line now and then elsewhere, nothing with ``--quiet``."""
        return progress_display(self._talk, self._quiet)
