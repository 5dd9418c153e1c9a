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
        UserError: a run that is none or lacks results, or two of one name.
    """
    found: dict[str, dict[str, Any]] = {}
    keys: dict[str, dict[str, Any]] = {}
    for path in runs:
        name = path.resolve().name
        if name in found:
            raise UserError(f"{path}: two of the runs are called '{name}', which would not be told apart.")
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
