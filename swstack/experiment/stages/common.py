"""What several stages share: narrow settings, and models and tasks loaded as a stage needs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.config import RunConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from crossvote.swstack.tasks import Task

#: Keys of a section that name places or set how work is interrupted: they decide no result.
_DECIDE_NOTHING = {
    "model": {"source"},
    "task": {"glue_dir", "train", "dev"},
    "finetune": {"checkpoint_steps"},
    "prune": {"checkpoint_steps"},
}


def settings(
    config: RunConfig, sections: Iterable[str], without: Mapping[str, set[str]] | None = None
) -> dict[str, Any]:
    """The seed and the named sections, apart from keys that decide nothing there or, by ``without``, nothing here.

    Keys are left out by name, so that a key added later counts until somebody says that it does not.
    """
    values = to_mapping(config)
    chosen: dict[str, Any] = {"seed": values["seed"]}
    for section in sections:
        dropped = _DECIDE_NOTHING.get(section, set()) | (without or {}).get(section, set())
        chosen[section] = {key: value for key, value in values.get(section, {}).items() if key not in dropped}
    return chosen


#: A stage that learns does not look at the dev examples.
TRAIN_ONLY: Mapping[str, set[str]] = {"task": {"eval_limit"}}


def load_part(
    run: Path, part: str, config: RunConfig, train: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Task]:
    """A model that an earlier stage left in the folder ``part`` of a run, its tokenizer, and the task.

    train: whether the task is to have its train examples.
    """
    from crossvote.swstack.experiment.run.task import task_of_run
    from crossvote.swstack.models.config import ModelConfig
    from crossvote.swstack.models.loading import load
    from crossvote.swstack.tasks.kinds import head_of

    task = task_of_run(run, config, train)
    source = ModelConfig(source=str((run / part).resolve()), layout=config.model.layout)
    model, tokenizer = load(source, head_of(task), config.seed)
    return model, tokenizer, task
