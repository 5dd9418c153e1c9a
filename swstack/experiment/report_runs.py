"""Several finished runs on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import flat_keys, to_mapping
from crossvote.sim.common.shell import command_line
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.results import plain_results
from crossvote.swstack.experiment.shipped import find_run_config
from crossvote.swstack.report.comparison import comparison_claims, write_comparison


def compare_reports(runs: Sequence[Path], folder: Path) -> tuple[list[str], Path]:
    """Write the comparison of finished runs into ``folder``; returns its sentences and the page.

    Raises:
        UserError: a run that is none or lacks results, or one that is named twice.
    """
    found: dict[str, dict[str, Any]] = {}
    keys: dict[str, dict[str, Any]] = {}
    for path, name in zip(runs, _names(runs), strict=True):
        config = load_config(find_run_config(path))
        keys[name] = flat_keys(to_mapping(config), keep_empty=True)
        for stage, file in paths.RESULTS.items():
            if not (path / file).is_file():
                raise UserError(f"{path}: {stage} has not been done; do it with: {command_line('run', path)}")
        found[name] = plain_results(RunDirectory(path), config)
    every = list(dict.fromkeys(key for own in keys.values() for key in own))
    differing = {
        key: [own.get(key) for own in keys.values()]
        for key in every
        if len({repr(own.get(key)) for own in keys.values()}) > 1
    }
    return comparison_claims(found), write_comparison(folder, found, differing)


def _names(runs: Sequence[Path]) -> list[str]:
    """What the page calls the runs: their folders, with as many of those above as it takes to tell them apart."""
    places = [run.resolve() for run in runs]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{runs[number]}: is one of the runs twice.")
    return next(
        names
        for depth in range(1, max(len(place.parts) for place in places) + 1)
        if len(set(names := ["/".join(place.parts[-depth:]) for place in places])) == len(names)
    )
