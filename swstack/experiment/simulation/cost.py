"""What the mapped model costs on the chip: the system model of every scheme beside the dense, unprotected encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossvote.sim.common.errors import StorageError, UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.kernel import Trace
from crossvote.swstack.evaluation.config import SimulateConfig

if TYPE_CHECKING:
    from crossvote.sim.chip.config import ChipConfig
    from crossvote.sim.system.workload import Workload

#: Tokens of the timeline in the report.
EXCERPT_TOKENS = 16


def costs(run: Path, config: SimulateConfig, progress: Progress = no_progress) -> dict[str, Any]:
    """Summaries by scheme (``crossvote.sim.system.summary.summary``), those of the unprotected encoders first.

    A model or chip that the system model does not take is no failure of the run: the result then says why
    (``skipped``), and there are no costs.

    Args:
        run: a run directory with images.
    """
    from crossvote.sim.system.energy import area_by_part_mm2
    from crossvote.sim.system.summary import summary
    from crossvote.swstack.experiment.simulation.simulate import simulate_source
    from crossvote.swstack.experiment.simulation.workloads import DENSE, PLAIN

    asked = {"stream": config.stream, "resolution": config.resolution}
    try:
        simulated = simulate_source(
            str(run),
            tokens=config.tokens,
            stream=config.stream,
            resolution=config.resolution,
            write=False,
            over_lengths=False,  # of which no summary says anything
            progress=progress,
        )
    except StorageError:
        raise
    except UserError as error:
        return {**asked, "skipped": str(error).replace(str(run), "the run"), "schemes": {}}
    schemes = {
        name: {
            **summary(result, simulated.streams.get(name)),
            "area_mm2_by_part": area_by_part_mm2(result.chip, result.powered),
        }
        for name, result in simulated.results.items()
    }
    last = list(simulated.results.values())[-1]
    return {
        **asked,
        "chip": simulated.chip.name,
        "tokens": schemes[DENSE]["tokens"],
        "baseline": DENSE,
        "unprotected": [name for name in (DENSE, PLAIN) if name in schemes],
        "schemes": schemes,
        "timeline": first_layer(excerpt(last.workload, simulated.chip)),
    }


def excerpt(workload: Workload, chip: ChipConfig) -> Trace:
    """The timeline of the first layer alone with the first ``EXCERPT_TOKENS`` tokens, at resolution "matrix".

    Tracing a whole sequence would take longer than all the rest.
    """
    from crossvote.sim.system.model import simulate

    short = replace(workload, layers=workload.layers[:1], tokens=min(workload.tokens, EXCERPT_TOKENS))
    timeline = Trace()
    simulate(short, chip, resolution="matrix", trace=timeline)
    return timeline


def first_layer(timeline: Trace, steps: int = 500) -> list[dict[str, Any]]:
    """When the units of the first layer are busy, in order of their first work; network and host left out.

    Pauses shorter than a ``steps``-th of the layer's time are closed, so that the rows stay few.

    Returns rows of ``unit``, ``start_us``, ``end_us``.
    """
    busy: dict[str, list[tuple[int, int]]] = {}
    for path, _, _, start, end in timeline.spans:
        layer, _, unit = path.partition(".")
        if layer == "layer0" and end > start:
            busy.setdefault(unit, []).append((start, end))
    if not busy:
        return []
    spans = [span for own in busy.values() for span in own]
    pause = (max(end for _, end in spans) - min(start for start, _ in spans)) / steps
    rows = []
    for unit, own in sorted(busy.items(), key=lambda item: (min(item[1]), item[0])):
        joined: list[list[int]] = []
        for start, end in sorted(own):
            if joined and start - joined[-1][1] <= pause:
                joined[-1][1] = max(joined[-1][1], end)
            else:
                joined.append([start, end])
        rows += [{"unit": unit, "start_us": start / 1e6, "end_us": end / 1e6} for start, end in joined]
    return rows
