"""What ``--dry-run`` prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from crossvote.swstack.cli.output import Output
from crossvote.swstack.experiment.config import RunConfig


def show(out: Output, directory: Path, config: RunConfig, target: str, force: bool) -> None:
    """Print the plan of a command.

    Raises:
        UserError: as the command itself would.
    """
    from crossvote.swstack.experiment.plan import plan
    from crossvote.swstack.experiment.run.pipeline import NOT_ASKED

    found = plan(directory, config, target, force)
    out.line(f"{directory}: nothing is written now.", style="bold")
    rows = [["stage", "would be", "takes about"]]
    for stage in found.stages:
        if stage.finished or not stage.asked:
            rows.append([stage.stage, "left alone" if stage.finished else NOT_ASKED, ""])
        else:
            takes = "not estimated" if stage.seconds is None else duration(stage.seconds)
            rows.append([stage.stage, "done", takes])
    out.table(rows)
    for head, text in (("model", found.model), ("data", found.data), ("chips", found.chips)):
        if text:
            out.text(f"{head}: {text}")
    out.table([["scheme", "accuracy", "co-simulation"], *([s.scheme, s.accuracy, s.cosim] for s in found.schemes)])
    if found.pending:
        about = f"{'about ' if found.seconds >= 1 else ''}{duration(found.seconds)}"
        trials = f"{found.trials} trials, " if found.trials else ""
        out.text(
            f"{trials}{about} for the stages that are estimated, on this machine as busy as it "
            f"is now; at least {size(found.disk_bytes)} are written ({size(found.free_bytes)} are free), at least "
            f"{size(found.memory_bytes)} of memory are needed beside the program."
        )
    else:
        out.text("Everything is finished; nothing would be done.")
    out.result({**asdict(found), "pending": list(found.pending)})


def duration(seconds: float) -> str:
    """Seconds in the unit a person would choose."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"


def size(count: int) -> str:
    """Bytes in the unit a person would choose."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= 2 * length:
            return f"{count / length:,.0f} {unit}"
    return f"{count} bytes"
