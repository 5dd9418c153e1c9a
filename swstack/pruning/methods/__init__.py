"""Pruning methods, one file each: a class derived from ``crossvote.swstack.pruning.method.PruningMethod``."""

from __future__ import annotations

from typing import Any

from crossvote.sim.common.registry import Registry

#: The paper's own comes first. Naming a method loads no torch.
METHODS: Registry[type[Any]] = Registry("pruning method", __name__, lazy=True, first="gates")
