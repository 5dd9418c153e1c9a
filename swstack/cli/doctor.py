"""``crossvote doctor``: what this machine has for CrossVote."""

from __future__ import annotations

import typer

from crossvote.swstack.cli.app import FAILED, command
from crossvote.swstack.cli.options import GlueDir
from crossvote.swstack.cli.output import Output


@command(examples=("crossvote doctor --glue-dir ~/glue",))
def doctor(out: Output, glue_dir: GlueDir = None) -> None:
    """Say which simulators, compilers, packages and data are there, and how to get what is missing."""
    from dataclasses import asdict

    from crossvote.swstack.cli.diagnosis import diagnose

    findings = diagnose(glue_dir)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "ok     " if finding.found else "missing" if finding.required else "absent "
        out.text(f"{mark} {finding.name:<{width}}  {finding.found or finding.used_for}")
        if not finding.found:
            out.text(f"        {'':<{width}}  get it: {finding.hint}")
    out.result([asdict(finding) for finding in findings])
    if any(finding.required and not finding.found for finding in findings):
        raise typer.Exit(FAILED)
