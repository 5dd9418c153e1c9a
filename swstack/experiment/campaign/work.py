"""What the driver sends to workers. Light to load: the libraries that measure are loaded where they are used."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from crossvote.sim.common.files import refused_by_machine
from crossvote.swstack.experiment.campaign.trials import Chunk, Outcome

#: A worker with several threads measures one chunk at a time: the model in its memory is one.
_measuring = threading.Lock()


def do_chunk(chunk: Chunk) -> list[Outcome]:
    """Measure a chunk; a trial that fails is an outcome with its traceback."""
    from crossvote.swstack.experiment.campaign.measure import measure_chunk

    with _measuring:
        return measure_chunk(chunk)


def do_prepare(run: Path, settings: dict[str, Any], command: str, store: Path) -> str | None:
    """Bring a run directory up to a stage; the traceback if that fails.

    Raises:
        StorageError, OSError: no room, say, of which the run is not to blame.
    """
    import traceback

    from crossvote.swstack.experiment.campaign.measure import prepare

    with _measuring:
        try:
            prepare(run, settings, command, store)
        except Exception as error:
            if refused_by_machine(error):
                raise
            return traceback.format_exc()
    return None
