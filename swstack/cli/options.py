"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[
    str,
    typer.Argument(
        metavar="[CONFIG]",
        help="A shipped configuration (see 'crossvote presets'), a TOML file, or a run directory to go on with.",
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--override",
        "-o",
        metavar="KEY=VALUE",
        help="Change one key, for example -o 'faults.rates=[0.0005,0.002]'. May be repeated.",
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", metavar="DIR", help="Where the run lives; otherwise runs/NAME of the configuration."),
]
GlueDir = Annotated[
    Path | None,
    typer.Option(
        "--glue-dir",
        metavar="DIR",
        help="GLUE in the official TSV layout; same as task.glue_dir. Otherwise CROSSVOTE_GLUE_DIR.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Do this stage again although nothing has changed.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what would be done, about how long it takes and how much it writes; write nothing."
    ),
]
