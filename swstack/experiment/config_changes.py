"""What a configuration changes: its keys that differ from the defaults and from its chip's preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossvote.sim.chip.config import load_chip
from crossvote.sim.chip.shipped import chip_presets
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.config import DEFAULT_CHIP, RunConfig


def changed_keys(config: RunConfig) -> list[tuple[str, Any, Any]]:
    """(key, value it would have, value it has) in the order of the configuration; ``None`` where there is no value.

    The chip is compared with the preset of its name, where there is one, else with the default chip.
    """
    before = to_mapping(RunConfig())
    preset = config.chip.name if config.chip.name in chip_presets() else DEFAULT_CHIP
    before["chip"] = to_mapping(load_chip(preset))
    old, new = flat_keys(before), flat_keys(to_mapping(config))
    keys = [*new, *(key for key in old if key not in new)]
    return [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]


def flat_keys(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flat_keys(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
