"""What a command prints: tables and lines for a person, or one JSON document for a program."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from crossvote.sim.common.progress import Progress, no_progress

if TYPE_CHECKING:
    from rich.console import Console

    from crossvote.swstack.experiment.campaign.driver import State


class Output:
    """Standard output and standard error of one command.

    With ``as_json`` standard output holds one JSON document, given to ``result``, and nothing else; progress and lines
    go to standard error. With ``quiet`` only results and errors are printed.

    Attributes:
        resume: the command that continues what an interruption would stop, once there is something to continue.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self._as_json, self._quiet = as_json, quiet
        self.resume: str | None = None

    @cached_property
    def _out(self) -> _Lines:
        return _Lines(stderr=False)

    @cached_property
    def _err(self) -> _Lines:
        return _Lines(stderr=True)

    @property
    def _talk(self) -> _Lines:
        return self._err if self._as_json else self._out

    def line(self, text: str = "", style: str = "") -> None:
        """One line of news; left out with ``--quiet``."""
        if not self._quiet:
            self._talk.print((text, style))

    def pair(self, head: str, text: str) -> None:
        """A line that begins with a name in bold."""
        if not self._quiet:
            self._talk.print((head, "bold"), (text, ""))

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows, the first of which is the header, in aligned columns; part of the result, so quiet prints it too."""
        if not self._as_json:
            self._out.table(rows)

    def text(self, text: str) -> None:
        """A line of the result itself, printed with ``--quiet`` too; with ``--json`` ``result`` says it."""
        if not self._as_json:
            self._out.print((text, ""))

    def result(self, value: Any) -> None:
        """The result for programs: printed as JSON with ``--json``, otherwise already said by tables and text.

        JSON knows neither NaN nor infinity; null stands for them.
        """
        if self._as_json:
            sys.stdout.write(json.dumps(_finite(value), indent=1, allow_nan=False, default=str) + "\n")
            sys.stdout.flush()

    def error(self, text: str) -> None:
        """One sentence about what is wrong, on standard error."""
        self._err.print(("crossvote:", "bold red"), (_one_line(text), ""))

    def warn(self, text: str) -> None:
        """One sentence about what the user should know, on standard error."""
        self._err.print(("crossvote:", "yellow"), (_one_line(text), ""))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Shows progress: bars on a terminal, a line now and then elsewhere, nothing with ``--quiet``.

        What shows it is loaded with the first news: where nothing is left to do there are none.
        """
        with ExitStack() as shown:
            display: Progress | None = None

            def report(description: str, done: int, total: int) -> None:
                nonlocal display
                if display is None:
                    from crossvote.swstack.cli.console import progress_display

                    display = shown.enter_context(progress_display(self._talk.console))
                display(description, done, total)

            yield no_progress if self._quiet else report

    def campaign(self, folder: Path) -> AbstractContextManager[Callable[[State], None]]:
        """Shows a campaign while it runs, with its table so far on a terminal."""
        from crossvote.swstack.cli.live import live_view

        return live_view(self._talk.console, folder, self._quiet)


def _one_line(text: str) -> str:
    """A file's name may hold line breaks, and signs that a terminal obeys: they are shown, not sent."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda sign: repr(sign[0])[1:-1], text)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _side(column: Sequence[str]) -> str:
    """To which side a column goes, below its title: numbers to the right, words to the left."""
    return ">" if any(re.match(r"[-+]?\d", text) for text in column[1:]) else "<"


class _Lines:
    """One of the two streams. Lines that go to no terminal are written plainly, without loading ``rich`` for them."""

    def __init__(self, stderr: bool) -> None:
        self._stderr = stderr

    @property
    def _stream(self) -> TextIO:
        return sys.stderr if self._stderr else sys.stdout

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        # A table in a file or pipe has room for its columns; a terminal decides for itself.
        width = None if self._stream.isatty() else 180
        return Console(stderr=self._stderr, highlight=False, soft_wrap=True, width=width)

    def print(self, *parts: tuple[str, str]) -> None:
        """A line of texts, each with its style."""
        if not self._stream.isatty():
            self._stream.write(" ".join(text for text, _ in parts) + "\n")
            self._stream.flush()
            return
        from rich.text import Text

        self.console.print(Text(" ").join(Text(text, style) for text, style in parts))

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows, the first of which is the header."""
        if not self._stream.isatty():
            columns = [
                [f"{text:{_side(column)}{max(map(len, column))}}" for text in column]
                for column in zip(*rows, strict=True)
            ]
            for cells in zip(*columns, strict=True):
                self._stream.write("  ".join(cells).rstrip() + "\n")
            self._stream.flush()
            return
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for number, column in enumerate(zip(*rows, strict=True)):
            side = "left" if _side(column) == "<" else "right"
            # What a row is about is read, and typed into the next command: others give way to it, and none is cut off.
            table.add_column(escape(column[0]), justify=side, no_wrap=not number, overflow="fold")  # type: ignore[arg-type]
        for row in rows[1:]:
            table.add_row(*(escape(cell) for cell in row))
        self.console.print(table)
