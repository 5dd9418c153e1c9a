"""Class names: written into a model's configuration, and an existing head put into their order."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.heads import Head

_log = logging.getLogger(__name__)


def adopt_labels(model: nn.Module, head: Head, found: Mapping[int, str], fresh: bool, source: str) -> None:
    """Write the names of ``head`` into the configuration, after putting the rows of an existing head into their order.

    found: index -> name of the classes of the head as it came. fresh: whether its weights were drawn anew.

    A head that names other classes than the task, or none, keeps its order, and that is said.

    Raises:
        UserError: the weights of a head whose classes are to be reordered cannot be found.
    """
    if not head.labels:
        return
    own = [_plain(found.get(index, "")) for index in range(len(head.labels))]
    wanted = [_plain(label) for label in head.labels]
    if not fresh and own != wanted:
        if sorted(own) == sorted(wanted) and len(set(own)) == len(own):
            _reorder(model, [own.index(label) for label in wanted])
        else:
            # Nameless ones as well: published models of NLI have their classes in any of the six orders.
            nameless = all(label.startswith("label_") or not label for label in own)
            classes = "classes without names" if nameless else f"the classes {_listed(found)}"
            order = ", ".join(head.labels)
            _log.warning("model %s has a head for %s; they are taken, in this order, for %s.", source, classes, order)
    config: Any = model.config
    config.id2label = dict(enumerate(head.labels))
    config.label2id = {label: index for index, label in enumerate(head.labels)}


def _listed(found: Mapping[int, str]) -> str:
    return ", ".join(str(found[index]) for index in sorted(found))


def _plain(label: str) -> str:
    """Names that differ in case and separators only are one."""
    return "_".join(str(label).casefold().replace("-", " ").replace("_", " ").split())


def _reorder(model: nn.Module, order: Sequence[int]) -> None:
    """Output i of the head becomes what was output order[i]."""
    base = getattr(model, "base_model", None)
    encoder = {id(module) for module in base.modules()} if isinstance(base, nn.Module) and base is not model else set()
    last = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and id(module) not in encoder and module.out_features == len(order)
    ]
    if not last:
        raise UserError(f"the head of {type(model).__name__} ends in no matrix whose classes could be reordered.")
    index = torch.tensor(list(order))
    with torch.no_grad():
        for parameter in last[-1].parameters():
            parameter.copy_(parameter[index])
