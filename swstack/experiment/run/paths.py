"""Where everything lies inside a run directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossvote.swstack.experiment.config import RunConfig

CONFIG = "config.toml"
LOCK = ".lock"
#: Where unfinished stages keep what they have.
WORK = "work"
#: What makes a folder with a lock no run but a campaign, or an exploration.
CAMPAIGN, STUDY = "campaign.db", "study.db"
#: Where the records of finished stages lie, and how the names of what lies beside them end.
RECORDS = "stages"
ABOUT = ".about.json"

DENSE = "model"
PRUNED = "pruned/model"
#: The pruned model after training for faults, where a run does that.
TRAINED = "fault-training/model"
MASKS = "pruned/masks.safetensors"
CHIPS = "faults/chips.json"
#: Finished trials, which carry their own keys: they outlive a kill, and a sweep with more rates or chips takes them up.
TRIALS = f"{WORK}/trials"
TRIAL_TABLE = "results/trials.csv"
PAGE = "report/index.html"
VERDICT = "report/verdict.txt"
SYSTEM = "system"
COMPARISON = "comparison"
#: What ``crossvote sensitivity`` leaves, where it was called.
SENSITIVITY = "sensitivity/sensitivity.csv"

#: The result of each stage that has one.
RESULTS = {
    "finetune": "results/finetune.json",
    "score-dense": "results/dense.json",
    "prune": "results/pruning.json",
    "score-pruned": "results/pruned.json",
    "fault-training": "results/fault_training.json",
    "map": "results/mapping.json",
    "calibrate": "results/calibration.json",
    "faults": CHIPS,
    "eval": "results/accuracy.json",
    "cosim": "results/cosimulation.json",
    "simulate": "results/system.json",
}


def mapped_model(config: RunConfig) -> str:
    """The model that is mapped and measured: the pruned one, or that one after training for faults."""
    return TRAINED if config.fault_training.epochs else PRUNED


def image(scheme: str) -> str:
    """What is programmed under a protection scheme."""
    return f"images/{scheme}.safetensors"


def record(stage: str) -> str:
    """The record that makes a stage finished."""
    return f"{RECORDS}/{stage}.json"


def about(stage: str) -> str:
    """How the stage came about: when, how long, with which versions, from which files."""
    return f"{RECORDS}/{stage}{ABOUT}"


def work(stage: str, key: str) -> str:
    """Partial results of an unfinished stage."""
    return f"{WORK}/{stage}/{key[:16]}"
