"""``crossvote simulate``: a mapped model on the whole chip."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, cast

import typer

from crossvote.sim.common.errors import UserError
from crossvote.swstack.cli.app import FAILED, command
from crossvote.swstack.cli.options import Overrides
from crossvote.swstack.cli.output import Output


@command(
    examples=(
        "crossvote simulate runs/default",
        "crossvote simulate bert-base --tokens 384 --what-if",
        "crossvote simulate smollm2-135m --tokens 1 --context 127",
    )
)
def simulate(
    out: Output,
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run directory with images; or, by size alone, bert-base, bert-large, distilbert, minilm-l6, "
            "smollm2-135m or a model's config.json.",
        ),
    ] = "runs/default",
    chip: Annotated[str | None, typer.Option(help="Chip preset or TOML file in the place of the run's chip.")] = None,
    override: Overrides = [],  # noqa: B006 - typer copies it
    scheme: Annotated[list[str], typer.Option(help="Only this scheme of the run. May be repeated.")] = [],  # noqa: B006
    tokens: Annotated[
        int | None,
        typer.Option(
            min=1, max=65_536, help="Length of a sequence; otherwise the mean of the run's dev examples, or 128."
        ),
    ] = None,
    context: Annotated[
        int,
        typer.Option(
            min=0,
            max=1_000_000,
            help="Tokens before the sequence whose keys and values a decoder has kept; with --tokens 1, one step of "
            "generation.",
        ),
    ] = 0,
    sequences: Annotated[
        int, typer.Option(min=1, max=65_536, help="Sequences in the pipeline; 1 measures latency.")
    ] = 1,
    stream: Annotated[
        int,
        typer.Option(
            min=1, max=65_536, help="Sequences of the stream that measures throughput beside it; 1 leaves it out."
        ),
    ] = 32,
    resolution: Annotated[str, typer.Option(help="analytic, matrix, tile or crossbar.")] = "crossbar",
    trace: Annotated[bool, typer.Option("--trace", help="Write a timeline for ui.perfetto.dev.")] = False,
    rtl: Annotated[
        str | None,
        typer.Option(
            metavar="BACKEND",
            help="Compute every ADC code of real tokens in this OPC: verilator, numpy, auto; or in whole tiles: tile.",
        ),
    ] = None,
    remap: Annotated[
        bool, typer.Option("--remap", help="Map the run's pruned model anew onto the chip, in memory.")
    ] = False,
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Also double resources of the chip, one and two at a time.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the results go; otherwise RUN/system.")
    ] = None,
) -> None:
    """Run a mapped model on the whole chip: latency, throughput, energy and area, protected against unprotected."""
    from typing import get_args

    from crossvote.sim.peripheral import Backend
    from crossvote.sim.system.cost_tables import bottleneck_table, compare, critical_path, ledger
    from crossvote.sim.system.result import Resolution
    from crossvote.sim.system.what_if import what_if as double
    from crossvote.swstack.experiment.simulation.simulate import simulate_source
    from crossvote.swstack.experiment.simulation.workloads import DENSE, PLAIN

    if resolution not in get_args(Resolution):
        raise UserError(f"--resolution {resolution}: must be one of {', '.join(get_args(Resolution))}.")
    if rtl is not None and rtl not in get_args(Backend):
        raise UserError(f"--rtl {rtl}: must be one of {', '.join(get_args(Backend))}.")
    with out.progress() as progress:
        simulated = simulate_source(
            source,
            chip=chip,
            overrides=override,
            schemes=scheme,
            tokens=tokens,
            context=context,
            sequences=sequences,
            stream=stream,
            remap=remap,
            resolution=cast(Resolution, resolution),
            trace=trace,
            rtl=cast(Backend | None, rtl),
            folder=folder,
            progress=progress,
        )
        last = list(simulated.results.values())[-1]
        doubled = double(last.workload, simulated.chip, progress=progress) if what_if else []
    compared = compare(simulated.results, simulated.streams)
    protection = ledger(simulated.results, DENSE, PLAIN, simulated.streams)
    tables = [
        ("", compared),
        ("What protection costs", protection),
        (f"Busiest units: {list(simulated.results)[-1]}", bottleneck_table(last)),
        (f"Where the latency goes: {list(simulated.results)[-1]}", critical_path(last)),
        ("Over the lengths of the dev examples", simulated.lengths),
    ]
    changes = []
    if doubled:
        changes = [["what if", "latency x", "time per sequence, bound x"]]
        for name, *ratios in doubled:
            changes.append([name, *("not covered" if math.isnan(ratio) else f"{ratio:.3f}" for ratio in ratios)])
        tables.append(("", changes))
    for title, rows in tables:
        if rows:
            if title:
                out.text(f"\n{title}")
            out.table(rows)
    for name, checks in simulated.checks.items():
        # Needs the extra of the models, like the checks themselves.
        from crossvote.swstack.report.claims import computed_line

        run = simulated.results[name]
        out.text(f"{name}: {computed_line(checks, run.wall_seconds, run.elapsed_ps * 1e-12)}")
    for path in simulated.files:
        out.text(str(path))
    document = {"table": compared, "ledger": protection, "lengths": simulated.lengths, "what_if": changes}
    out.result({"files": [str(path) for path in simulated.files], **document})
    if any(not check.equal for checks in simulated.checks.values() for check in checks):
        raise typer.Exit(FAILED)
