"""A short call of every command, which together make a tiny run, a campaign and an exploration of it."""

from __future__ import annotations

import shlex
from pathlib import Path

from tiny_run import write_tiny
from typer.testing import CliRunner, Result

from crossvote.swstack.cli.main import application

APP = application()
CAMPAIGN = 'base = "run"\nschemes = ["none"]\nrates = [0.01]\nchips = 1\n'
EXPLORATION = 'base = "run"\nchips = 1\ncandidates = 1\nmax_lost = 100\n[space]\nscheme = ["best"]\n'

#: A short call of every command, in an order in which each finds what it needs.
CALLS = {
    "crossvote presets": "",
    "crossvote config": "faults.chips",
    "crossvote support": "--chip crossvote --scheme paper",
    "crossvote doctor": "",
    "crossvote verilog": "--out verilog",
    "crossvote systemc": "--out systemc --export-only",
    "crossvote finetune": "run.toml --run-dir run",
    "crossvote prune": "run.toml --run-dir run",
    "crossvote map": "run.toml --run-dir run",
    "crossvote faults": "run.toml --run-dir run",
    "crossvote eval": "run.toml --run-dir run",
    "crossvote cosim": "run.toml --run-dir run",
    "crossvote simulate": "run --stream 1 --resolution analytic",
    "crossvote sensitivity": "run --part plane --chips 1 --engine serial",
    "crossvote run": "run.toml --run-dir run",
    "crossvote report": "run.toml --run-dir run",
    "crossvote status": "run",
    "crossvote list": ".",
    "crossvote fork": "run other",
    "crossvote tables": "run",
    "crossvote compare": "run.toml --run-dir run --method magnitude",
    "crossvote ladder": "run.toml --run-dir run --rung none --rung best --rate 0.01 --chips 2",
    "crossvote sweep plan": "campaign.toml --no-calibrate",
    "crossvote sweep run": "campaign.toml --dir c --engine serial",
    "crossvote sweep resume": "c --engine serial",
    "crossvote sweep retry": "c --engine serial",
    "crossvote sweep status": "c",
    "crossvote sweep export": "c",
    "crossvote explore": "explore.toml --dir e",
}


def call(line: str) -> Result:
    """A command line, called within this process."""
    return CliRunner().invoke(APP, shlex.split(line)[1:])


def call_all(place: Path, model: Path) -> dict[str, str]:
    """All commands in ``place``, the working directory; returns what each wrote on standard output with ``--json``."""
    write_tiny(
        place / "run.toml",
        model,
        map={"schemes": ["none", "best"]},
        faults={"rates": [0.01], "chips": 2},
        cosim={"tokens": 2, "backend": "numpy"},
        simulate={"tokens": 8, "stream": 2},
    )
    (place / "campaign.toml").write_text(CAMPAIGN)
    (place / "explore.toml").write_text(EXPLORATION)
    found = {}
    for name, arguments in CALLS.items():
        result = call(f"{name} {arguments} --json")
        allowed = (0, 1) if name == "crossvote doctor" else (0,)
        assert result.exit_code in allowed, (name, result.output, result.exception)
        found[name] = result.stdout
    return found
