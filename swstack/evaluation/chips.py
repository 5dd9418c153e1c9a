"""The chips of a sweep: some silicon per fault rate, drawn when it is needed, as large as what is mapped on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.common.errors import UserError
from crossvote.swstack.evaluation.config import FaultsConfig

if TYPE_CHECKING:  # drawing chips needs no model
    from torch import nn


@dataclass(frozen=True)
class Chip:
    """A chip to measure: its fault rate, its number at that rate, and how to get its fault map.

    load_table: the fault map of the cells that hold the token embedding table, where that is on the chip.
    """

    rate: float
    number: int
    load: Callable[[], FaultMap]
    load_table: Callable[[], FaultMap] | None = None


def draw_silicon(faults: FaultsConfig, seed: int, rows: int, columns: int) -> tuple[Silicon, ...]:
    """``faults.chips`` chips of crossbars of ``rows`` x ``columns`` cells per rate, rate by rate.

    A chip depends on the seed, its rate and its number alone, not on which other chips there are.
    """
    return tuple(
        draw_chip(faults, seed, rate, number, rows, columns) for rate in faults.rates for number in range(faults.chips)
    )


def draw_chip(faults: FaultsConfig, seed: int, rate: float, number: int, rows: int, columns: int) -> Silicon:
    """Chip ``number`` at ``rate``, whether or not it is one of ``draw_silicon``'s."""
    return Silicon(seed, number, rate, rows, columns, faults.pattern, faults.sa0_sa1)


def chips_for(silicon: Sequence[Silicon], images: Sequence[Image], table_crossbars: int = 0) -> tuple[Chip, ...]:
    """The chips, each as large as the largest image; fault maps are drawn when loaded, always alike.

    Args:
        table_crossbars: crossbars of the token embedding table, which is another part of the chip; 0 where it is not on
            the chip.

    Raises:
        UserError: the images are for crossbars of other sizes than the chips'.
    """
    sizes = {(image.rows, image.columns) for image in images} | {(chip.rows, chip.columns) for chip in silicon}
    if len(sizes) != 1:
        raise UserError(f"schemes can share a chip only if their crossbars have one size, not {sorted(sizes)}.")
    crossbars = max(image.crossbars for image in images)

    def chip(own: Silicon) -> Chip:
        table = partial(own.of_part("embeddings").faults, table_crossbars) if table_crossbars else None
        return Chip(own.rate, own.number, partial(own.faults, crossbars), table)

    return tuple(map(chip, silicon))


def sample_chips(
    faults: FaultsConfig, seed: int, images: Sequence[Image], model: nn.Module | None = None
) -> tuple[Chip, ...]:
    """``draw_silicon`` for ``chips_for`` these images; ``faults.embeddings`` needs the ``model`` they were made from.

    Raises:
        UserError: no model for the embeddings, or what ``chips_for`` refuses.
    """
    rows, columns = images[0].rows, images[0].columns
    return chips_for(draw_silicon(faults, seed, rows, columns), images, table_crossbars(faults, images[0], model))


def table_crossbars(faults: FaultsConfig, image: Image, model: nn.Module | None) -> int:
    """Crossbars of the token embedding table of the ``model`` that ``image`` was made from; 0 where it is no part.

    Raises:
        UserError: no model for the embeddings.
    """
    if not faults.embeddings:
        return 0
    if model is None:
        raise UserError("faults.embeddings needs the model whose embedding table is to be faulty.")
    from crossvote.swstack.inference.embedding_faults import embedding_crossbars

    return embedding_crossbars(model, image.rows, image.columns)
