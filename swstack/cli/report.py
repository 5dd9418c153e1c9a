"""``crossvote report``: the page of a run, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import check_folder
from crossvote.sim.common.shell import command_line
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.options import Force, GlueDir, Overrides, RunDir
from crossvote.swstack.cli.output import Output
from crossvote.swstack.cli.work import resolve, update


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
            help="A finished run, by its folder or its configuration; or several to compare.",
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
    """Write the HTML report of a finished run again, with its tables and figures.

    Several runs: one page then shows their schemes side by side and which keys differ. A run that is not finished is
    refused with what it lacks; 'run' finishes it and writes its page.
    """
    sources = sources or ["default"]
    if len(sources) == 1:
        if folder is not None:
            raise UserError("--out is where a page of several runs goes; that of one run lies in the run.")
        _report(out, sources[0], override, run_dir, glue_dir, force)
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


def _report(
    out: Output, source: str, override: list[str], run_dir: Path | None, glue_dir: Path | None, force: bool
) -> None:
    """Write the page of one run, if all is there that it shows: nobody who asks for a page expects hours of training.

    Raises:
        UserError: something is missing or outdated.
    """
    config, directory = resolve(source, override, run_dir, glue_dir)
    from crossvote.swstack.experiment.work import not_reportable

    lacks = not_reportable(directory, config)
    if lacks:
        options = [word for change in override for word in ("--override", change)]
        options += ["--glue-dir", str(glue_dir)] if glue_dir else []
        options += ["--run-dir", str(run_dir)] if run_dir else []
        do = command_line("run", source, *options)
        raise UserError(f"{directory}: there is no page to write yet ({lacks}); finish the run with: {do}")
    update(out, directory, config, "report", force)
