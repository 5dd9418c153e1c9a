"""``crossvote report``: the page of a run, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import check_folder
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.options import Force, GlueDir, Overrides, RunDir
from crossvote.swstack.cli.output import Output
from crossvote.swstack.cli.work import work


@command(
    short_help="Write the HTML report of a run, or one page that compares several.",
    examples=("crossvote report runs/default", "crossvote report runs/mrpc runs/sst2 --out comparison"),
)
def report(
    out: Output,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] | RUN RUN...",
            help="A configuration or run directory as for 'run'; or several finished runs to compare.",
        ),
    ] = None,
    override: Overrides = [],  # noqa: B006 - typer copies it
    run_dir: RunDir = None,
    glue_dir: GlueDir = None,
    force: Force = False,
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where the page of several runs goes; 'comparison' unless named."),
    ] = None,
) -> None:
    """Write the HTML report and its tables and figures. Earlier stages are done first where they are missing.

    Several runs are only read: one page then shows their schemes side by side and which keys differ.
    """
    sources = sources or ["default"]
    if len(sources) == 1:
        if folder is not None:
            raise UserError("--out is where a page of several runs goes; that of one run lies in the run.")
        work(out, "report", sources[0], override, run_dir, glue_dir, force)
        return
    if override or run_dir or glue_dir or force:
        raise UserError("several runs are compared as they are: leave out --override, --run-dir, --glue-dir, --force.")
    check_folder(folder or Path("comparison"))
    from crossvote.swstack.experiment.report_runs import compare_reports

    lines, page = compare_reports([Path(source) for source in sources], folder or Path("comparison"))
    for line in lines:
        out.text(line)
    out.text(f"report: {page}")
    out.result({"runs": sources, "page": str(page), "summary": lines})
