"""Tasks that are known by name; a file here registers one or several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crossvote.sim.common.registry import Registry
from crossvote.swstack.tasks.base import Task

if TYPE_CHECKING:
    from crossvote.swstack.tasks.config import TaskConfig


@dataclass(frozen=True)
class Place:
    """Where the examples of a part of a task lie.

    origin: an absolute path, or a name. folder, patterns: the files; None: they are fetched from the hub.
    repository: of the hub.
    """

    origin: str
    folder: Path | None = None
    patterns: tuple[str, ...] = ()
    repository: str = ""


@dataclass(frozen=True)
class NamedTask:
    """A task.

    load: from the configuration and the seed. aliases: other names, in small letters.
    place: of the part "train" or "dev"; None, or None returned: configuration and seed alone decide the examples.
    load_dev: the same without the train examples, which then need not be there; None: they are loaded and left out.
    """

    load: Callable[[TaskConfig, int], Task]
    aliases: tuple[str, ...] = ()
    place: Callable[[TaskConfig, str], Place | None] | None = None
    load_dev: Callable[[TaskConfig, int], Task] | None = None


TASKS: Registry[NamedTask] = Registry("task", __name__)


def known_name(name: str) -> str | None:
    """The name under which a task is known that may be called by an alias; None if there is none."""
    wanted = name.lower().replace("_", "-")
    if wanted in TASKS:
        return wanted
    return next((own for own, task in TASKS.items() if wanted in task.aliases), None)
