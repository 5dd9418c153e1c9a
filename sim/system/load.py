"""Power of a tile at full load: every crossbar reads all the time. From the same counts as everything else."""

from __future__ import annotations

import numpy as np

from crossvote.sim.chip.bill import PARTS, bill, prices
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.system.actions import group_actions
from crossvote.sim.system.energy import Powered, leakage_w, static_w
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.placement import GroupPlace
from crossvote.sim.system.token_stages import GroupTiming


def full_tile(chip: ChipConfig) -> GroupPlace:
    """A group of one row block whose outputs fill every crossbar of one tile."""
    blocks = chip.crossbars_per_tile // chip.signs
    outputs = chip.crossbar.columns // chip.slices * blocks
    group = GroupWork.dense("full", chip.crossbar.rows, (outputs,), chip)
    return GroupPlace(group, np.zeros(group.blocks, np.int64), np.array([outputs]))


def full_load_w(chip: ChipConfig) -> dict[str, float]:
    """Power of one tile with all crossbars busy, W, by part of the report, leakage and further parts apart.

    Parts whose work does not follow from that of the crossbars (network, attention, vector units) have none here.
    """
    place = full_tile(chip)
    interval, table = GroupTiming(chip, place.group).interval_ps, prices(chip)
    found: dict[str, float] = {}
    for action, count in group_actions(chip, place).items():
        found[PARTS[action]] = found.get(PARTS[action], 0.0) + count * table[action] / interval
    return found


def tile_at_full_load_w(chip: ChipConfig) -> float:
    """Power of one tile with all crossbars busy, W: actions, leakage, and further parts at their published power."""
    still = sum(
        p.instances * (p.estimate.leakage_mw + p.static_mw + p.nameplate_mw) for p in bill(chip) if p.level != "chip"
    )
    return sum(full_load_w(chip).values()) + still * 1e-3 / chip.package.tiles


def full_load_power_w(chip: ChipConfig, powered: Powered) -> float:
    """Power with all crossbars of the tiles in use busy, W: their actions, and what all of the chips draws at rest."""
    further = sum(p.instances * p.nameplate_mw for p in bill(chip) if p.level != "chip") * 1e-3 / chip.package.tiles
    active = powered.tiles * (sum(full_load_w(chip).values()) + further)
    return active + sum(leakage_w(chip, powered).values()) + static_w(chip, powered)
