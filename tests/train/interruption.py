"""What the tests of resuming share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from torch import nn

from crossvote.sim.common.progress import Progress, no_progress

T = TypeVar("T")


class Killed(Exception):
    """Stands for the signal that ends a run."""


def kill_at(stop: int) -> Progress:
    """A progress function that raises in training step `stop`."""

    def progress(description: str, done: int, total: int) -> None:
        if done == stop and "(epoch" in description:
            raise Killed

    return progress


def killed_and_resumed(
    stop: int,
    fresh: Callable[[], tuple[nn.Module, object]],
    run: Callable[[nn.Module, Progress], T],
    progress: Progress = no_progress,
) -> tuple[nn.Module, T]:
    """Model and result of a `run` that was killed in step `stop` and then started again on a fresh model.

    progress: given to the second start.
    """
    with pytest.raises(Killed):
        run(fresh()[0], kill_at(stop))
    model, _ = fresh()
    return model, run(model, progress)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Whether all parameters and buffers are equal bit for bit."""
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())
