"""The files that a run reads from outside its directory, known by their content.

Only finished stages may have lost them: what a source contained when it was read stands in the stage's record, and a
source that has vanished from the same place since is taken to be that one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossvote.sim.common.content import digest, file_digest, folder_digest
from crossvote.sim.common.files import at_home
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.models.packaged import PACKAGED_MODELS, packaged_directory
from crossvote.swstack.tasks.hub_names import hub_repository, is_hub_name
from crossvote.swstack.tasks.named import TASKS, known_name

_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class Source:
    """One source.

    key: the configuration key that names it. origin: where it lies: an absolute path or a name.
    content: digest of what it contains now; None if it is not there, or not known without fetching it.
    """

    key: str
    origin: str
    content: Callable[[], str | None]


def model_source(name: str) -> Source:
    """A pretrained model, by what ``model.source`` may be."""
    folder = at_home(name).absolute()
    if name in PACKAGED_MODELS:
        installed = packaged_directory(name)
        return Source("model.source", name, lambda: None if installed is None else _content(installed, *_MODEL_FILES))
    if folder.is_dir() or name.startswith(("/", ".", "~")):
        return Source("model.source", str(folder), lambda: _content(folder, *_MODEL_FILES))
    return Source("model.source", f"hub:{name}", lambda: _of_hub("models", name))


def train_source(config: RunConfig) -> Source | None:
    """The train examples; None where the configuration alone decides them."""
    return _task_source(config, "train")


def dev_source(config: RunConfig) -> Source | None:
    """What the dev examples are made of; None where the configuration alone decides them."""
    return _task_source(config, "train" if config.task.holdout else "dev")


def _task_source(config: RunConfig, part: str) -> Source | None:
    own = config.task.train if part == "train" else config.task.dev
    if own is not None:
        return _own_source(f"task.{part}", own)
    name = known_name(config.task.name)
    place_of = None if name is None else TASKS[name].place
    place = None if place_of is None else place_of(config.task, part)
    if place is None:
        return None
    folder = place.folder
    if folder is None:
        return Source(f"task.{part}", place.origin, lambda: _of_hub("datasets", place.repository, place.origin))
    return Source(f"task.{part}", place.origin, lambda: _content(folder, *place.patterns))


def _own_source(key: str, name: str) -> Source:
    """Own data: a file, a folder that a library saved, or a name on the hub."""
    if is_hub_name(name):
        return Source(key, name, lambda: _of_hub("datasets", hub_repository(name), name))
    path = at_home(name).absolute()

    def content() -> str | None:
        if path.is_dir():
            return digest({file.relative_to(path).as_posix(): file_digest(file) for file in _files(path)})
        return file_digest(path) if path.is_file() else None

    return Source(key, str(path), content)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _content(folder: Path, *patterns: str) -> str | None:
    return folder_digest(folder, patterns) if folder.is_dir() else None


def _of_hub(kind: Literal["models", "datasets"], repository: str, origin: str | None = None) -> str | None:
    """What is read of a repository of the hub, at the revision that lies in the hub's cache; the hub is not asked.

    origin: what of it is read, as the configuration names it.
    """
    from huggingface_hub import constants

    path = Path(constants.HF_HUB_CACHE) / f"{kind}--{repository.replace('/', '--')}" / "refs" / "main"
    try:
        return f"{origin or f'hub:{repository}'}@{path.read_text(encoding='utf-8').strip()}"
    except OSError:
        return None
