"""Tasks: GLUE, the embedded grammar tasks, pictures of digits, and own data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.tasks.base import AnyExample, Example, Passage, Task
from crossvote.swstack.tasks.config import TaskConfig
from crossvote.swstack.tasks.kinds import kind_of
from crossvote.swstack.tasks.limits import drawn, limit_note
from crossvote.swstack.tasks.metrics import check_metrics
from crossvote.swstack.tasks.named import TASKS, known_name
from crossvote.swstack.tasks.own import own_task

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")

__all__ = ["Example", "Task", "TaskConfig", "load_task", "task_names", "task_of_rows"]


def task_names() -> tuple[str, ...]:
    """Names of all tasks that are known by name."""
    return TASKS.names()


def load_task(cfg: TaskConfig, seed: int, train: bool = True) -> Task:
    """The task of ``cfg``; embedded sentences and subsets are drawn from ``seed``.

    train: whether the train examples are needed; where not, there are none, and their file is read only if dev
    examples, the kind of the task or its classes come from it.

    Raises:
        UserError: an unknown task, or data that is absent or broken (naming file and line).
    """
    train_too = train or cfg.holdout > 0
    if cfg.train is not None:
        told = cfg.kind is not None and (bool(cfg.labels) or not kind_of(cfg.kind).classes_in)
        task = task_of_rows(cfg, cfg.train if train_too or not told else None, cfg.dev, seed)
        return task if train else dataclasses.replace(task, train=())
    name = known_name(cfg.name)
    if name is None:
        raise UserError(f"task.name = {cfg.name!r}: unknown task; known are {', '.join(TASKS)}.")
    load_dev = None if train_too else TASKS[name].load_dev
    task = (load_dev or TASKS[name].load)(cfg, seed)
    if not train_too:
        task = dataclasses.replace(task, train=())
    if cfg.kind is not None:
        task = running_text(task, masked=cfg.kind == "masked-lm")
    task = _settled(task, cfg, seed)
    return task if train else dataclasses.replace(task, train=())


def task_of_rows(cfg: TaskConfig, train: Any, dev: Any, seed: int) -> Task:
    """The task of ``cfg`` with own data: files, or rows as ``crossvote.swstack.tasks.own.task_from_rows`` takes them.

    Raises:
        UserError: data that is absent or broken.
    """
    return _settled(own_task(cfg, train, dev, seed), cfg, seed)


def _settled(task: Task, cfg: TaskConfig, seed: int) -> Task:
    """The task with the metrics, the share held out and the limits of its configuration."""
    if cfg.metrics:
        check_metrics(cfg.metrics, task.asks, kind_of(task.asks).measured_by, len(task.labels))
        task = dataclasses.replace(task, metrics=cfg.metrics)
    if cfg.holdout:
        task = _hold_out(task, cfg.holdout, seed)
    return dataclasses.replace(
        task,
        train=_subset(task.train, cfg.train_limit, seed, "train"),
        dev=_subset(task.dev, cfg.eval_limit, seed, "dev"),
        provenance=task.provenance
        + (limit_note("train", cfg.train_limit, len(task.train)) if task.train else "")
        + limit_note("dev", cfg.eval_limit, len(task.dev)),
    )


def running_text(task: Task, masked: bool = False) -> Task:
    """The sentences of a task, each once and in their order, for a language model; of pairs, the second ones.

    Raises:
        UserError: the task has no sentences.
    """

    def passages(examples: tuple[AnyExample, ...]) -> tuple[AnyExample, ...]:
        texts = [one.sentence2 or one.sentence1 for one in examples if isinstance(one, Example)]
        return tuple(Passage(text, masked) for text in dict.fromkeys(texts) if text.strip())

    train, dev = passages(task.train), passages(task.dev)
    if (task.train and not train) or not dev:
        raise UserError(f"task.kind: '{task.name}' has no sentences of which running text could be made.")
    sentences = f"{len(train)} train and {len(dev)} dev" if train else f"{len(dev)} dev"
    provenance = f"{task.provenance}; as running text: {sentences} sentences"
    return dataclasses.replace(
        task, train=train, dev=dev, labels=(), metrics=kind_of(dev[0].asks).usual_metrics(()), provenance=provenance
    )


def _hold_out(task: Task, share: float, seed: int) -> Task:
    """The task with a share of its train examples in place of the dev examples.

    Raises:
        UserError: one of the two parts would be empty.
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
    chosen = drawn(len(examples), limit, seed, part)
    return examples if chosen is None or not examples else tuple(examples[i] for i in np.flatnonzero(chosen))
