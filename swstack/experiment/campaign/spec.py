"""What a campaign measures: one TOML file, expanded to variants of a configuration."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home
from crossvote.sim.common.schema import build, config_dataclass, flat_keys, read_toml, to_mapping
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.shipped import find_config

#: Keys that a campaign spans by itself: naming them in a grid would say the same thing twice.
_SPANNED = {"map.schemes": "schemes", "faults.rates": "rates", "faults.chips": "chips"}


@config_dataclass
class StopConfig:
    """When enough chips were measured."""

    until_ci: float | None = Field(
        default=None,
        gt=0,
        description="Stop a fault rate once the 95 % interval of every scheme's mean is at most so many points to "
        "either side; chips are then the most that are tried.",
    )
    min_chips: int = Field(default=5, ge=2, description="Chips before which nothing stops.")


@config_dataclass
class CampaignSpec:
    """One campaign."""

    name: str = Field(default="campaign", pattern=r"^[\w][\w.+-]*$", description="Names its folder.")
    base: str = Field(
        default="default", description="Shipped configuration, TOML file or run directory that all trials share."
    )
    set: dict[str, Any] = Field(default_factory=dict, description="Keys that all trials change.")
    grid: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="Keys and their values, every combination of which is tried."
    )
    points: tuple[dict[str, Any], ...] = Field(
        default=(), description="Listed combinations, each of which meets the grid."
    )
    schemes: tuple[str, ...] = Field(default=(), description="Protection schemes; those of the base otherwise.")
    rates: tuple[float, ...] = Field(default=(), description="Fault rates; those of the base otherwise.")
    chips: int | None = Field(default=None, ge=1, description="Chips per rate; those of the base otherwise.")
    scopes: tuple[str, ...] = Field(
        default=("all",),
        min_length=1,
        description="Which cells may be stuck: all; layer.N, role.NAME, group.NAME or plane.N alone.",
    )
    stop: StopConfig = Field(default_factory=lambda: build(StopConfig, {}, "stop"))
    attempts: int = Field(
        default=3, ge=1, description="Times that a trial may take its worker with it before it is given up."
    )
    examples: bool = Field(default=True, description="Keep every example's logits, as Parquet.")

    @field_validator("grid")
    @classmethod
    def _some(cls, grid: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for key, values in grid.items():
            if not values:
                raise ValueError(f"grid.{key} has no value.")
        return grid


@dataclass(frozen=True)
class Variant:
    """A configuration of the campaign: the keys in which it differs, and the whole, or why there is none.

    label: the keys that differ between variants, in words.
    """

    number: int
    keys: Mapping[str, Any]
    config: RunConfig | None
    refused: str | None = None

    @property
    def label(self) -> str:
        return ", ".join(f"{key}={_text(value)}" for key, value in self.keys.items()) or "base"


def load_spec(path: Path) -> CampaignSpec:
    """A campaign's TOML file; ``base`` is relative to it.

    Raises:
        UserError: no such file, not TOML, or a key that is wrong.
    """
    data = read_toml(path)
    for section in ("set", "grid"):
        if isinstance(data.get(section), Mapping):
            data[section] = flat_keys(data[section])
    if isinstance(data.get("points"), list):
        data["points"] = [flat_keys(point) if isinstance(point, Mapping) else point for point in data["points"]]
    spec = build(CampaignSpec, {"name": path.stem, **data}, str(path))
    for keys in (spec.set, spec.grid, *spec.points):
        for key in keys:
            if key in _SPANNED:
                raise UserError(f"{path}: key '{key}': say '{_SPANNED[key]}' at the top of the campaign instead.")
    return build(CampaignSpec, {**to_mapping(spec), "base": resolved_base(spec.base, path.parent)}, str(path))


def resolved_base(base: str, folder: Path) -> str:
    """What lies beside the file that names it, absolute; any other name as it is."""
    beside = folder / at_home(base)
    return os.path.normpath(beside.absolute()) if beside.exists() else base


def variants(spec: CampaignSpec) -> tuple[Variant, ...]:
    """All configurations, in order; those that cannot be carry the reason instead.

    Raises:
        UserError: the base cannot be loaded, or no variant can.
    """
    base = find_config(spec.base)
    check_names(spec.scopes)
    fixed = [*_overrides(spec.set)]
    if spec.schemes:
        fixed.append(f"map.schemes={json.dumps(list(spec.schemes))}")
    if spec.rates:
        fixed.append(f"faults.rates={json.dumps(list(spec.rates))}")
    if spec.chips:
        fixed.append(f"faults.chips={spec.chips}")
    load_config(base)
    found: list[Variant] = []
    for point in spec.points or ({},):
        for values in itertools.product(*spec.grid.values()):
            keys = {**point, **dict(zip(spec.grid, values, strict=True))}
            try:
                config = load_config(base, [*fixed, *_overrides(keys)])
                found.append(Variant(len(found), keys, config))
            except UserError as error:
                found.append(Variant(len(found), keys, None, str(error)))
    if all(variant.config is None for variant in found):
        raise UserError(f"campaign '{spec.name}': no variant is possible; the first: {found[0].refused}")
    return tuple(found)


def _overrides(keys: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_toml(value)}" for key, value in keys.items()]


def _toml(value: Any) -> str:
    """A value as TOML text; JSON's strings, numbers, booleans and arrays are TOML's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def check_names(scopes: Sequence[str]) -> None:
    """Refuse a scope that is written like none.

    Raises:
        UserError: naming it.
    """
    for scope in scopes:
        kind, _, name = scope.partition(".")
        if scope != "all" and (kind not in ("layer", "role", "group", "plane") or not name):
            raise UserError(f"scopes: '{scope}' must be all, layer.N, role.NAME, group.NAME or plane.N.")
