"""The stages of the main job, from a pretrained encoder to the report, one file each. Loading them loads no torch."""

from __future__ import annotations

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run.pipeline import Stage
from crossvote.swstack.experiment.stages import (
    calibrate,
    cosim,
    eval,
    fault_training,
    faults,
    finetune,
    map,
    prune,
    report,
    score,
    simulate,
)

STAGES: tuple[Stage[RunConfig], ...] = (
    finetune.STAGE,
    score.DENSE,
    prune.STAGE,
    score.PRUNED,
    fault_training.STAGE,
    map.STAGE,
    calibrate.STAGE,
    faults.STAGE,
    eval.STAGE,
    cosim.STAGE,
    simulate.STAGE,
    report.STAGE,
)

#: The stages of which something can be checked beforehand with the model, and with the task.
NEED_MODEL = frozenset({"finetune", "prune", "fault-training", "map", "eval", "cosim"})
NEED_TASK = NEED_MODEL | {"score-dense", "score-pruned"}

#: The stages that a command brings up to date, where they are more than the one of its name.
TARGETS: dict[str, tuple[str, ...]] = {
    "finetune": ("finetune", "score-dense"),
    "prune": ("score-dense", "prune", "score-pruned"),  # what pruning costs is a difference of two scores
}


def targets(command: str) -> tuple[str, ...]:
    """The stages whose results the command of that name is to give."""
    return TARGETS.get(command, (command,))
