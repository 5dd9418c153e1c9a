"""Pictures of handwritten digits, 8 x 8 in 17 shades, which come with scikit-learn (UCI, Alpaydin and Kaynak 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossvote.sim.common.later import Later
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.tasks.base import Picture, Task
from crossvote.swstack.tasks.named import TASKS, NamedTask

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")

#: Share of the 1,797 pictures that is measured on.
_DEV_SHARE = 0.25


def digits(seed: int) -> Task:
    """The digits, shuffled by ``seed`` into three quarters to train on and one to measure on."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed_sequence(seed, "task", "digits")).permutation(len(data.target))
    pictures = [
        Picture((tuple(tuple(float(value) / 16.0 for value in row) for row in data.images[i]),), int(data.target[i]))
        for i in order
    ]
    dev = round(_DEV_SHARE * len(pictures))
    return Task(
        "digits",
        tuple(pictures[dev:]),
        tuple(pictures[:dev]),
        tuple(str(digit) for digit in range(10)),
        ("accuracy", "f1_macro"),
        f"scikit-learn's digits; train: {len(pictures) - dev} rows, dev: {dev} rows",
        max_length=8,
    )


TASKS.register("digits")(NamedTask(lambda config, seed: digits(seed)))
