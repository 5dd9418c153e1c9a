"""Tasks: GLUE, the embedded grammar tasks, pictures of digits, and own data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.tasks import glue, grammar
from crossvote.swstack.tasks.base import AnyExample, Example, Task
from crossvote.swstack.tasks.config import TaskConfig
from crossvote.swstack.tasks.digits import DIGITS, digits_task
from crossvote.swstack.tasks.own import own_task

__all__ = ["Example", "Task", "TaskConfig", "load_task", "task_names"]


def task_names() -> tuple[str, ...]:
    """Names of all tasks, embedded ones first."""
    return (*grammar.GRAMMAR_TASKS, *glue.GLUE_TASKS, DIGITS)


def load_task(cfg: TaskConfig, seed: int) -> Task:
    """The task of `cfg`; embedded sentences and subsets are drawn from `seed`.

    Raises UserError for an unknown task, or data that is absent or broken (naming file and line).
    """
    if cfg.train is not None:
        task = own_task(cfg)
    elif cfg.name == DIGITS:
        task = digits_task(seed)
    elif cfg.name in grammar.GRAMMAR_TASKS:
        task = grammar.generate_task(cfg.name, seed, cfg.max_length)
    else:
        task = _load_glue(cfg)
    if cfg.metrics:
        from crossvote.swstack.tasks.metrics import check_metrics  # scikit-learn takes a second to import

        check_metrics(cfg.metrics, task.asks)
        task = dataclasses.replace(task, metrics=cfg.metrics)
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


def _subset(examples: tuple[AnyExample, ...], limit: int | None, seed: int, part: str) -> tuple[AnyExample, ...]:
    if limit is None or limit >= len(examples):
        return examples
    rng = np.random.default_rng(seed_sequence(seed, "subset", part))
    return tuple(examples[i] for i in np.sort(rng.permutation(len(examples))[:limit]))


def _limit_note(part: str, limit: int | None, rows: int) -> str:
    return f"; only {limit} of these {part} rows used" if limit is not None and limit < rows else ""
