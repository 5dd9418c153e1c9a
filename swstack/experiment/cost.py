"""What the mapped model costs on the chip: the system model of every scheme beside the dense, unprotected encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import StorageError, UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.swstack.evaluation.config import SimulateConfig


def costs(run: Path, config: SimulateConfig, progress: Progress = no_progress) -> dict[str, Any]:
    """Summaries by scheme (``crossvote.sim.system.report.summary``), those of the unprotected encoders first.

    A model or chip that the system model does not take is no failure of the run: the result then says why
    (``skipped``), and there are no costs.

    Args:
        run: a run directory with images.
    """
    from crossvote.sim.system.report import summary
    from crossvote.swstack.experiment.simulate import simulate_source
    from crossvote.swstack.experiment.workloads import DENSE, PLAIN

    asked = {"stream": config.stream, "resolution": config.resolution}
    try:
        simulated = simulate_source(
            str(run),
            tokens=config.tokens,
            stream=config.stream,
            resolution=config.resolution,
            write=False,
            progress=progress,
        )
    except StorageError:
        raise
    except UserError as error:
        return {**asked, "skipped": str(error).replace(str(run), "the run"), "schemes": {}}
    schemes = {name: summary(result, simulated.streams.get(name)) for name, result in simulated.results.items()}
    return {
        **asked,
        "chip": simulated.chip.name,
        "tokens": schemes[DENSE]["tokens"],
        "baseline": DENSE,
        "unprotected": [name for name in (DENSE, PLAIN) if name in schemes],
        "schemes": schemes,
    }
