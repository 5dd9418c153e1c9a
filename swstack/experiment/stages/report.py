"""Write the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.beside import attention_heads, sensitivity_rows
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.pipeline import Context, Stage, versions
from crossvote.swstack.experiment.run.records import Accuracy, Chips
from crossvote.swstack.experiment.run.results import plain_results

_NEEDS = (
    *("finetune", "score-dense", "prune", "score-pruned", "fault-training", "map", "calibrate"),
    *("faults", "eval", "cosim", "simulate"),
)


def perform(context: Context[RunConfig]) -> Sequence[str]:
    from crossvote.sim.array.silicon import Silicon
    from crossvote.sim.chip.components.opc import opc_parameters, synthesis
    from crossvote.swstack.experiment.config_changes import changed_keys
    from crossvote.swstack.experiment.run.images import recorded_image
    from crossvote.swstack.report.claims import telling_rate, verdict
    from crossvote.swstack.report.page import write_report

    run, config = context.run, context.config
    points = run.read(paths.RESULTS["eval"], Accuracy).points
    rate = telling_rate(points) or config.faults.rates[0]
    results = {
        **plain_results(run, config),
        "seed": config.seed,
        "changes": changed_keys(config),
        "config": (run.path / paths.CONFIG).read_text(encoding="utf-8"),
        "stages": [_line(run, name) for name in _NEEDS],
        "versions": versions(),
        "occupancy": {"rate": rate, "chip": 0},
        "heads": attention_heads(run.path / paths.PRUNED),
        "sensitivity": sensitivity_rows(run.path / paths.SENSITIVITY),
        "opc": {**synthesis(), "lanes": opc_parameters(config.chip).lanes},
    }
    images = {name: recorded_image(run.path, name) for name in config.map.schemes}
    silicon = Silicon.of_record(run.read(paths.CHIPS, Chips).first(rate))
    chip = silicon.faults(max(image.crossbars for image in images.values()))
    written = write_report(context.out, results, images, chip)
    write_text_atomic(context.out / paths.VERDICT, "\n".join(verdict(results)) + "\n")
    return written


def _line(run: RunDirectory, stage: str) -> dict[str, Any]:
    record, about = run.record(stage), run.about(stage)
    return {
        "stage": stage,
        "key": record.key if record else "",
        "wall_seconds": about.wall_seconds if about else 0.0,
        "finished": about.finished if about else "",
    }


STAGE = Stage[RunConfig](
    "report",
    _NEEDS,
    to_mapping,
    perform,
    code=(__name__, "crossvote.sim.array.image"),
    beside=(paths.SENSITIVITY,),
)
