"""Sentence tasks: GLUE and the embedded grammar tasks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from pydantic import Field

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import config_dataclass
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.tasks import glue, grammar
from crossvote.swstack.tasks.base import Example, Task

__all__ = ["Example", "Task", "TaskConfig", "load_task", "task_names"]


@config_dataclass
class TaskConfig:
    """Which sentence task to use, and how much of it."""

    name: str = Field(
        "grammar-single",
        description="An embedded task (grammar-single, grammar-pair, grammar-inference, grammar-similarity) or a "
        "GLUE task (cola, sst2, mrpc, stsb, qqp, mnli, mnli-mismatched, qnli, rte, wnli, or the folder's name).",
    )
    glue_dir: str | None = Field(
        None, description="Directory with GLUE in the official TSV layout; absent: the Hugging Face hub."
    )
    train_limit: int | None = Field(None, ge=1, description="Use only so many train examples, drawn by the seed.")
    eval_limit: int | None = Field(None, ge=1, description="Use only so many dev examples, drawn by the seed.")
    holdout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the train examples, drawn by the seed, to set aside and use in place of the dev "
        "examples: for choosing settings without a look at dev; 0: the dev examples.",
    )
    max_length: int = Field(128, ge=8, le=4096, description="Longest input in tokens; longer ones are truncated.")


def task_names() -> tuple[str, ...]:
    """Names of all tasks, embedded ones first."""
    return (*grammar.GRAMMAR_TASKS, *glue.GLUE_TASKS)


def load_task(cfg: TaskConfig, seed: int) -> Task:
    """The task of `cfg`; embedded sentences and subsets are drawn from `seed`.

    Raises UserError for an unknown task, or data that is absent or broken (naming file and line).
    """
    if cfg.name in grammar.GRAMMAR_TASKS:
        task = grammar.generate_task(cfg.name, seed, cfg.max_length)
    else:
        task = _load_glue(cfg)
    if cfg.holdout:
        task = _hold_out(task, cfg.holdout, seed)
    return dataclasses.replace(
        task,
        train=_subset(task.train, cfg.train_limit, seed, "train"),
        dev=_subset(task.dev, cfg.eval_limit, seed, "dev"),
        provenance=task.provenance
        + _limit_note("train", cfg.train_limit, len(task.train))
        + _limit_note("dev", cfg.eval_limit, len(task.dev)),
    )


def _load_glue(cfg: TaskConfig) -> Task:
    name = glue.canonical_name(cfg.name)
    if name is None:
        raise UserError(f"task.name = {cfg.name!r}: unknown task; known are {', '.join(task_names())}.")
    if cfg.glue_dir is None:
        train, dev, provenance = glue.load_from_hub(name)
    else:
        train, dev, provenance = glue.load_from_directory(name, Path(cfg.glue_dir))
    layout = glue.GLUE_TASKS[name]
    return Task(name, train, dev, layout.labels, layout.metrics, provenance, cfg.max_length)


def _hold_out(task: Task, share: float, seed: int) -> Task:
    """The task with a share of its train examples in place of the dev examples.

    Raises UserError if one of the two parts would be empty.
    """
    rows = len(task.train)
    held_out = round(share * rows)
    if not 0 < held_out < rows:
        raise UserError(f"task.holdout = {share:g}: leaves one part of the {rows} train examples empty.")
    order = np.random.default_rng(seed_sequence(seed, "holdout")).permutation(rows)
    return dataclasses.replace(
        task,
        train=tuple(task.train[i] for i in np.sort(order[held_out:])),
        dev=tuple(task.train[i] for i in np.sort(order[:held_out])),
        provenance=f"{task.provenance}; {held_out} of {rows} train examples held out and used as dev",
    )


def _subset(examples: tuple[Example, ...], limit: int | None, seed: int, part: str) -> tuple[Example, ...]:
    if limit is None or limit >= len(examples):
        return examples
    rng = np.random.default_rng(seed_sequence(seed, "subset", part))
    return tuple(examples[i] for i in np.sort(rng.permutation(len(examples))[:limit]))


def _limit_note(part: str, limit: int | None, rows: int) -> str:
    return f"; only {limit} of these {part} rows used" if limit is not None and limit < rows else ""
