"""Ways to program a chip around its known stuck cells: a kind is one file here, with the name of its kind of scheme.

All of them choose digits as ``closest`` does. What they add is an *arrangement*: on this chip, which bit line and which
word line take what the image has on another one, and which bit lines are read with the other sign. The column map of
the periphery is written once per chip, so an arrangement of bit lines and signs costs no hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.self_test import RepeatedReads
from crossvote.sim.common.registry import Registry
from crossvote.swstack.inference.placed_group import PlacedGroup


class Program(Protocol):
    """A word-line group that is programmed around the faults of each chip."""

    device: torch.device

    def __init__(self, placed: PlacedGroup, device: torch.device, test: RepeatedReads | None = None) -> None: ...

    def apply(self, faults: FaultMap) -> torch.Tensor:
        """The integers [N, K] that the chip holds then."""
        ...


PROGRAMS: Registry[type[Program]] = Registry("way to program around faults", __name__)


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Where a word-line group lies on a chip, against its image.

    Attributes:
        line: int64[lines], a permutation: the bit line that takes what the image has on each one.
        turned: bool[lines], by bit line of the image: it is read with the other sign.
        word: int64[K], a permutation within row blocks: the word line that each input takes.
    """

    line: torch.Tensor
    turned: torch.Tensor
    word: torch.Tensor

    @classmethod
    def of_image(cls, lines: int, inputs: int, device: torch.device) -> Arrangement:
        """Everything where the image has it."""
        return cls(
            torch.arange(lines, device=device),
            torch.zeros(lines, dtype=torch.bool, device=device),
            torch.arange(inputs, device=device),
        )

    def of_stuck(self, stuck: torch.Tensor, first: int) -> torch.Tensor:
        """What the cells under the image are stuck at, from that of the chip, both [2, lines, word lines].

        A line read with the other sign is one whose crossbars of the pair have changed places. ``first``: input on the
        first word line.
        """
        moved = stuck[:, self.line][:, :, self.word[first : first + stuck.shape[2]] - first]
        return torch.where(self.turned[None, :, None], moved.flip(0), moved)

    def to_chip(self, cells: torch.Tensor) -> torch.Tensor:
        """Cells of the image [2, lines, word lines of all row blocks] as they are programmed on the chip."""
        swapped = torch.where(self.turned[None, :, None], cells.flip(0), cells)
        made = torch.zeros_like(cells)
        words = torch.arange(cells.shape[2], device=cells.device)
        words[: len(self.word)] = self.word
        made[:, self.line[:, None], words[None]] = swapped
        return made
