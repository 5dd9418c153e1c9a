"""``crossvote ladder``: protection schemes side by side, on the same chips."""

from __future__ import annotations

from typing import Annotated

import typer

from crossvote.sim.common.shell import command_line
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.options import GlueDir, Overrides, RunDir, Source
from crossvote.swstack.cli.output import Output
from crossvote.swstack.cli.work import resolve, update


@command(
    examples=(
        "crossvote ladder mrpc --glue-dir shared/glue",
        "crossvote ladder runs/mrpc --rung none-column --rung code --rung code+trained --rate 0.05 --chips 30",
    )
)
def ladder(
    out: Output,
    source: Source = "default",
    override: Overrides = [],  # noqa: B006 - typer copies it
    run_dir: RunDir = None,
    glue_dir: GlueDir = None,
    rung: Annotated[
        list[str],
        typer.Option(help="A protection scheme; with '+trained', after training for faults. May be repeated."),
    ] = [],  # noqa: B006
    rate: Annotated[list[float], typer.Option(help="A fault rate. May be repeated.")] = [],  # noqa: B006
    chips: Annotated[int, typer.Option(min=1, max=10_000, help="Chips per rate.")] = 30,
    pattern: Annotated[str, typer.Option(help="Where stuck cells lie: uniform, clustered, word_lines, bit_lines.")] = (
        "uniform"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training for faults.")] = 2,
    design_rate: Annotated[float, typer.Option(help="Largest fault rate in training for faults.")] = 0.1,
) -> None:
    """Measure protections on the same chips: what each tolerates, how it compares, and what it costs."""
    from crossvote.sim.common.csv_rows import KNOWING, apart
    from crossvote.sim.common.schema import build
    from crossvote.swstack.experiment.ladder.config import DEFAULT_RUNGS, LadderConfig, rung_schemes
    from crossvote.swstack.experiment.ladder.run import ladder_in_run

    config, directory = resolve(source, override, run_dir, glue_dir)
    settings = build(
        LadderConfig,
        {
            "rungs": rung or DEFAULT_RUNGS,
            "faults": {
                "rates": sorted(rate) or (0.002, 0.01, 0.03, 0.05, 0.08, 0.1),
                "chips": chips,
                "pattern": pattern,
            },
            "training": {"epochs": epochs, "learning_rate": 5e-5, "design_rate": design_rate},
        },
        "crossvote ladder",
    )
    rung_schemes(settings, config)  # what cannot be measured is refused before anything is trained for it
    out.resume = command_line("ladder", directory)
    update(out, directory, config, "prune", force=False, last=False)
    with out.progress() as progress:
        rows = ladder_in_run(directory, config, settings, progress)
    if any(row["at chance level"] for row in rows):
        out.warn("rungs at chance level without faults tolerate nothing: how they stand faults says nothing.")
    parts = apart(rows)
    for ending, own in parts.items():
        if own:
            if ending:
                out.text("Programmed around the known stuck cells of each chip:")
            out.table([list(own[0]), *([_shown(value) for value in row.values()] for row in own)])
    out.result({"table": parts[""], "known": parts[KNOWING]})


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
