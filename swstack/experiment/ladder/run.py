"""The ladder: every protection on the same silicon, from no protection to codes with training for faults.

A *rung* is a scheme, on the pruned model or, with ``+trained``, on that model after training for faults under the
scheme's own error law (a scheme that programs around known faults has none, and takes that of ``training.scheme``).
Chips come in the outer loop: each is drawn once, and every rung is measured on it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossvote.sim.common.csv_rows import write_apart
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import to_mapping
from crossvote.sim.common.shell import command_line
from crossvote.swstack.evaluation.evaluation import summarize
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.ladder.config import FOLDER, LadderConfig, rung_schemes
from crossvote.swstack.experiment.ladder.site import Site
from crossvote.swstack.experiment.ladder.tables import ladder_tables
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.paths import MASKS, RESULTS
from crossvote.swstack.experiment.run.records import Score
from crossvote.swstack.tasks.chance import Chance


def _chance(run: RunDirectory) -> Chance | None:
    """Chance level of the primary metric on the run's dev examples, where the run has scored its model."""
    name = RESULTS["score-pruned"]
    found = run.read(name, Score).chance if (run.path / name).is_file() else None
    return Chance(**found) if found else None


def ladder_in_run(
    directory: Path, config: RunConfig, settings: LadderConfig, progress: Progress = no_progress, workers: int = 1
) -> list[dict[str, Any]]:
    """Climb the ladder with the pruned model of a run; what is finished is not done again.

    With several ``workers``, as many processes train and measure side by side, on one GPU too; results are the same.
    Writes ``ladder/rates.csv`` (a row per rung and rate), ``ladder/paired.csv`` (differences on the same chips) and
    ``ladder/ladder.csv`` (a row per rung: what it tolerates and costs), and returns the rows of the last. Rungs
    that know the stuck cells of each chip have files of their own, ``rates-known.csv`` and so on.

    Raises:
        UserError: an unknown rung, the run is in use, or nothing was pruned yet.
    """
    schemes = rung_schemes(settings, config)
    with RunDirectory.open(directory) as run:
        folder = run.path / FOLDER
        if not (run.path / MASKS).is_file():
            raise UserError(f"{directory}: nothing is pruned there yet; run: {command_line('prune', directory)}")
        site = Site(run.path, config, settings)
        if workers > 1:
            from crossvote.swstack.experiment.ladder.workers import side_by_side

            side_by_side(site, workers, progress)
        rungs = [site.rung(name, progress) for name in schemes]
        trials = site.climb(rungs, site.silicon(), progress)
        task = site.task
        points = summarize([*trials])
        rates, paired, rows = ladder_tables(points, task.primary_metric, rungs, config.chip, _chance(run))
        for name, table in (("rates", rates), ("paired", paired), ("ladder", rows)):
            write_apart(folder, name, table)
        conditions = {
            "task": task.name,
            "metric": task.primary_metric,
            "data": task.provenance,
            "examples": len(task.dev[: settings.limit]),
            "settings": to_mapping(settings),
            "schemes": {rung.name: to_mapping(rung.scheme) for rung in rungs},
            "fault_scope": "every cell of every crossbar of the encoder's matrices, copies included",
            "activations": config.quantization.activations,
            "seed": config.seed,
        }
        write_text_atomic(
            folder / "ladder.json", json.dumps({**conditions, "rows": rows, "rates": rates}, indent=1) + "\n"
        )
        return rows
