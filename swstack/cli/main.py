"""The command ``crossvote``: one file a command. They import heavy libraries when they run, so that help is instant."""

from __future__ import annotations

import importlib
import os

from crossvote.swstack.cli.app import app

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

for _name in COMMANDS:
    importlib.import_module(f"crossvote.swstack.cli.{_name}")


def main() -> None:
    """Entry point of the command ``crossvote``."""
    # Torch's OpenMP threads spin while they wait; with another busy process on the machine that made a training step
    # 25 times slower. The runtime reads the variable when torch is loaded, which is later than here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()


if __name__ == "__main__":
    main()
