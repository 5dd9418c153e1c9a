"""Pruning methods, one file each, which registers itself with ``METHODS``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossvote.sim.common.registry import Registry

if TYPE_CHECKING:
    from crossvote.swstack.pruning.method import PruningMethod

#: The paper's own comes first. Naming a method loads no torch.
METHODS: Registry[type[PruningMethod]] = Registry("pruning method", __name__, lazy=True, first="gates")
