"""A run brought up to what a command asks for: everything checked first, then stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory, check_place
from crossvote.swstack.experiment.run.pipeline import UNCHANGED, Stage, bring_up_to_date, needed, pending
from crossvote.swstack.experiment.run.records import Cosimulated
from crossvote.swstack.experiment.run.store import StageStore
from crossvote.swstack.experiment.stages import NEED_TASK, STAGES, targets
from crossvote.swstack.report.claims import equal


def _silent(stage: str, what: str) -> None:
    """Say nothing."""


def chosen_stages(command: str) -> list[Stage[RunConfig]]:
    """The stages that a command needs, in order."""
    wanted = {stage.name for target in targets(command) for stage in needed(STAGES, target)}
    return [stage for stage in STAGES if stage.name in wanted]


def not_reportable(directory: Path, config: RunConfig) -> str:
    """What a run lacks of what its page is made of, in words; empty: nothing."""
    before = [stage for stage in chosen_stages("report") if stage.name != "report"]
    run, missing = RunDirectory(directory), pending(RunDirectory(directory), config, before)
    if len(missing) == len(before) and not any(run.record(name) for name in missing):
        return "none of its stages is done"
    outdated = [name for name in missing if run.record(name)]
    never = [name for name in missing if name not in outdated]
    parts = [f"{', '.join(names)} {what}" for names, what in ((never, "not done"), (outdated, "outdated")) if names]
    return "; ".join(parts)


def bring_up(
    directory: Path,
    config: RunConfig,
    command: str,
    *,
    force: bool = False,
    progress: Progress = no_progress,
    say: Callable[[str, str], None] = _silent,
    store: StageStore | None = None,
) -> RunDirectory:
    """Bring a run directory up to and including the stages of ``command`` (a stage's name).

    What a later stage would refuse is refused before the first one starts and before anything is written. Finished
    stages need none of the files they were made from, and where all are, the directory is neither held nor written to.

    Raises:
        UserError: the configuration asks for something that cannot be, or the directory is not free.
    """
    check_place(directory)
    stages = chosen_stages(command)
    forced = command if force else None
    run, resolved = RunDirectory(directory), to_mapping(config)
    missing = pending(run, config, stages, forced)
    if not missing and store is None and run.is_configured(resolved):
        for stage in stages:
            say(stage.name, UNCHANGED)
        return run
    if store is not None and not pending(run, config, stages, forced, store):
        missing = []  # for what is taken from there nothing is made, nor loaded
    if set(missing) - {"report"}:  # which asks nothing of the chip
        config.check_support()
    if NEED_TASK.intersection(missing):  # for which PyTorch is loaded
        from crossvote.swstack.experiment.checks import check_pending

        check_pending(config, directory, missing)
    with RunDirectory.open(directory) as run, run.configured(resolved):
        bring_up_to_date(run, config, stages, progress, say, forced, store)
        return run


def cosimulation_is_exact(run: RunDirectory) -> bool:
    """Whether every co-simulated output equalled the reference."""
    found = run.read(paths.RESULTS["cosim"], Cosimulated)
    return equal(found.matrices) if found.matrices else bool(found.left_out)
