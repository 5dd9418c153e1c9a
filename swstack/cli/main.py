"""The command ``crossvote``: one file a command. They import heavy libraries when they run, so that help is instant."""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

#: The modules of this folder that register commands, in the order in which help lists them.
COMMANDS = (
    "stages",
    "fork",
    "list",
    "status",
    "report",
    "simulate",
    "ladder",
    "compare",
    "sweep",
    "sensitivity",
    "explore",
    "tables",
    "verilog",
    "systemc",
    "presets",
    "config",
    "support",
    "doctor",
)


#: The commands of the module ``stages``.
STAGES = ("run", "finetune", "prune", "map", "faults", "eval", "cosim")


def application(command: str | None = None) -> typer.Typer:
    """The application with all its commands, or with those of the module in which ``command`` is.

    Preparing a command takes Typer some milliseconds; one that is called needs no other.
    """
    from crossvote.swstack.cli.app import app

    module = "stages" if command in STAGES else command
    for name in (module,) if module in COMMANDS else COMMANDS:
        importlib.import_module(f"crossvote.swstack.cli.{name}")
    return app


def _interrupted(number: int, frame: object) -> None:
    """A cluster's scheduler and a closed terminal end a command as Ctrl-C does: what is done is kept, and it is said
    how to go on.
    """
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the command ``crossvote``."""
    # Torch's OpenMP threads spin while they wait; with another busy process on the machine that made a training step
    # 25 times slower. The runtime reads the variable when torch is loaded, which is later than here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Pydantic would look through all installed packages for plugins, longer than a configuration takes to check.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Pictures go into files and are equal for equal results, whatever the user's own pictures look like: a back end for
    # windows, a style, or TeX for letters is for others.
    os.environ.update(MPLBACKEND="agg", MATPLOTLIBRC=os.devnull)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the end)
        elif isinstance(stream, io.TextIOWrapper):  # a terminal of few letters, or a file name of odd bytes
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is signal.SIG_DFL:  # what is ignored (nohup) stays so
            signal.signal(number, _interrupted)
    # Classes and modules that are being made are no garbage; looking for it less often takes half as long.
    gc.set_threshold(20_000)
    # At exit Python looks through all objects for circles, twice; the process ends, and its memory with it.
    atexit.register(gc.freeze)
    try:
        run = application(sys.argv[1] if len(sys.argv) > 1 else None)
    except KeyboardInterrupt:  # later ones are the commands' own
        sys.stderr.write("crossvote: interrupted.\n")
        sys.exit(130)
    run(prog_name="crossvote")  # by whatever name it was started, so that help and completion are those of the command


if __name__ == "__main__":
    main()
