"""The Typer application, and what all commands have in common: options, exit codes, errors as one sentence."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from crossvote.sim.common.errors import Notice, UserError
from crossvote.sim.common.extras import missing
from crossvote.sim.common.files import at_home
from crossvote.swstack.cli.output import Output

#: Exit codes: bad input, an integer that differs (or a check that fails), and Ctrl-C as shells count it.
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def shown(*examples: str) -> str:
    """Command lines as the end of a help."""
    return "\n\n".join(("Examples:", *examples))


app = typer.Typer(
    name="crossvote",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Transformers on ReRAM crossbars with stuck cells: prune, quantize, map, inject faults, measure accuracy, "
    "and run the real RTL in the loop.",
    epilog=shown("crossvote presets", "crossvote run quick", "crossvote report runs/quick")
    + "\n\nExit codes: 0 done, 1 a check failed (hardware and reference differ, or trials of a campaign failed), "
    "2 bad input, 130 interrupted.",
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        from crossvote import __version__

        typer.echo(f"crossvote {__version__}")
        raise typer.Exit


class _Command(TyperCommand):
    """A command that refuses empty arguments: as a path, one would mean the working directory.

    That is what a shell makes of ``--glue-dir "$GLUE"`` where GLUE is not set.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for before, argument in zip(["", *args], args, strict=False):
            name, equals, value = argument.partition("=")
            ends_in_nothing = name.startswith("--") and equals and not value
            if (argument and not ends_in_nothing) or ctx.resilient_parsing:
                continue
            what = name or (before if before.startswith("-") else "an argument")
            with clean_exit(Output()):
                raise UserError(f"{what} is empty; leave it out, or write '.' for the working directory.")
        return super().parse_args(ctx, args)


def command(
    name: str | None = None, *, group: typer.Typer | None = None, examples: tuple[str, ...] = (), **typer_options: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command. Its parameter ``out`` is the command's output and no option.

    ``--json`` and ``--quiet`` are added, and errors end the command as ``clean_exit`` says.
    group: the commands among which it is; those of ``crossvote`` itself by default.
    examples: command lines that the command's help shows.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "out"]
        kind = inspect.Parameter.KEYWORD_ONLY
        common = [
            inspect.Parameter("as_json", kind, default=False, annotation=Json),
            inspect.Parameter("quiet", kind, default=False, annotation=Quiet),
        ]

        @functools.wraps(function)
        def run(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> None:
            out = Output(as_json, quiet)
            with clean_exit(out), _notices(out):
                function(*args, out=out, **{name: _at_home(value) for name, value in kwargs.items()})

        parameters = [parameter.replace(kind=kind) for parameter in own] + common
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        epilog = shown(*examples) if examples else None
        # Typer keeps the line breaks of all paragraphs but the first; a terminal has its own.
        paragraphs = (typer_options.pop("help", None) or inspect.getdoc(function) or "").split("\n\n")
        typer_options["help"] = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        (group or app).command(name, cls=_Command, epilog=epilog, **typer_options)(run)
        return function

    return register


def _is_somewhere() -> bool:
    """Whether the working directory is there; one that was removed makes any relative path fail."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _at_home(value: Any) -> Any:
    """A path with ``~`` replaced, which shells leave in ``--run-dir=~/runs/mine``."""
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return at_home(value) if isinstance(value, Path) else value


@contextmanager
def _each_once() -> Iterator[None]:
    """A note on a model or data is said once, however many stages load them."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        known = text in said
        said.add(text)
        return not known

    stderr = logging.lastResort  # no command has another handler
    if stderr is None:
        yield
        return
    stderr.addFilter(is_new)
    try:
        yield
    finally:
        stderr.removeFilter(is_new)


@contextmanager
def _notices(out: Output) -> Iterator[None]:
    """What the user should know is said as a sentence, without the line of the program that says it."""
    with warnings.catch_warnings(), _each_once():
        show = warnings.showwarning

        def told(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, Notice):
                out.warn(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = told
        yield


@contextmanager
def clean_exit(out: Output) -> Iterator[None]:
    """Bad input ends in exit code 2 and Ctrl-C in exit code 130, each with a sentence and no traceback.

    A reader that closes the pipe early ends the command quietly. Trouble with a file that no one closer to it has put
    into words (a full disk, a missing permission) is told with the system's words and the file's name.
    """
    try:
        yield
    except UserError as error:
        out.error(str(error))
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        out.error(f"interrupted.{f' Continue with: {out.resume}' if out.resume else ''}")
        raise typer.Exit(INTERRUPTED) from None
    except ModuleNotFoundError as error:
        sentence = missing(error, "this command")
        if sentence is None:
            raise
        out.error(sentence)
        raise typer.Exit(BAD_INPUT) from None
    except ImportError as error:  # of a library that is there and cannot be loaded
        out.error(
            f"{error.name or 'a package'} cannot be loaded ({' '.join(str(error).split())}); is there memory enough "
            "(ulimit -v), and is it installed whole?"
        )
        raise typer.Exit(BAD_INPUT) from None
    except BrokenPipeError:
        # Python would complain once more when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else "" if _is_somewhere() else "the working directory: "
        out.error(f"{where}{error.strerror or error}.{f' Continue with: {out.resume}' if out.resume else ''}")
        raise typer.Exit(BAD_INPUT) from None
    except MemoryError:
        out.error("out of memory; a smaller batch size, fewer tokens or a smaller model need less.")
        raise typer.Exit(BAD_INPUT) from None
