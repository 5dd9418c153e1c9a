"""What a configuration changes: its keys that differ from the defaults and from its chip's preset."""

from __future__ import annotations

from typing import Any

from crossvote.sim.chip.config import load_chip
from crossvote.sim.chip.shipped import chip_presets
from crossvote.sim.common.schema import build, flat_keys, to_mapping
from crossvote.swstack.experiment.config import DEFAULT_CHIP, RunConfig


def changed_keys(config: RunConfig) -> list[tuple[str, Any, Any]]:
    """(key, value it would have, value it has) in the order of the configuration; ``None`` where there is no value.

    The chip is compared with the preset of its name, where there is one, else with the default chip.
    """
    before = to_mapping(build(RunConfig, {}, "the defaults", {"was_checked": True}))
    preset = config.chip.name if config.chip.name in chip_presets() else DEFAULT_CHIP
    before["chip"] = to_mapping(load_chip(preset))
    old, new = (flat_keys(values, keep_empty=True) for values in (before, to_mapping(config)))
    keys = [*new, *(key for key in old if key not in new)]
    return [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
