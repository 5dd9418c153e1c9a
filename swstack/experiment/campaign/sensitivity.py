"""How much the faults of one part alone cost: per layer, matrix role, word-line group or bit plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.driver import Watch
from crossvote.swstack.experiment.campaign.folder import database_path
from crossvote.swstack.experiment.campaign.running import run_campaign
from crossvote.swstack.experiment.campaign.scopes import scope_names
from crossvote.swstack.experiment.campaign.spec import CampaignSpec
from crossvote.swstack.experiment.campaign.summary import summarize
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.images import recorded_image
from crossvote.swstack.experiment.shipped import whole_config
from crossvote.swstack.tasks.metrics import lost

PARTS = ("layer", "role", "group", "plane")
FOLDER, _FILE = paths.SENSITIVITY.split("/")


def sensitivity(
    run: Path,
    parts: Sequence[str] = ("layer", "role", "plane"),
    scheme: str | None = None,
    rate: float | None = None,
    chips: int | None = None,
    engine: str = "serial",
    watch: Watch = lambda state: None,
) -> list[dict[str, Any]]:
    """Points lost with the faults of each part alone, the same chips for all; the worst first.

    A campaign in ``RUN/sensitivity``, so it can be stopped and goes on; ``sensitivity.csv`` lies there, as an input for
    allocation. "all" is every part at once.

    Args:
        parts: of ``PARTS``. scheme: the run's first by default. rate: the run's highest by default. chips: the run's.

    Raises:
        UserError: no run with images, an unknown part, scheme or engine.
    """
    for part in parts:
        if part not in PARTS:
            raise UserError(f"part '{part}': must be one of {', '.join(PARTS)}.")
    if not (run / paths.CONFIG).is_file():
        raise UserError(f"{run}: no run directory.")
    config = load_config(whole_config(run))
    scheme = scheme or config.map.schemes[0]
    if scheme not in config.map.schemes:
        raise UserError(f"{run}: '{scheme}' is not one of the run's schemes ({', '.join(config.map.schemes)}).")
    known = scope_names(recorded_image(run, scheme))
    scopes = ["all", *(name for name in known if name.partition(".")[0] in parts)]
    keys = {
        "name": FOLDER,
        "base": str(run.absolute()),
        "schemes": [scheme],
        "rates": [rate or max(config.faults.rates)],
        "chips": chips or config.faults.chips,
        "scopes": scopes,
        "examples": False,
    }
    folder = run / FOLDER
    run_campaign(folder, build(CampaignSpec, keys, str(run)), engine, watch)
    with Database.open(database_path(folder)) as database:
        cells = summarize(database).cells
    perfect = {cell["scope"]: cell["mean"] for cell in cells if not cell["rate"]}
    rows = []
    for cell in cells:
        if cell["rate"]:
            ends = (lost(cell["metric"], perfect[cell["scope"]], cell[end]) for end in ("low", "mean", "high"))
            low, mean, high = sorted(ends)
            rows.append(
                {
                    "part": cell["scope"],
                    "rate": cell["rate"],
                    "chips": cell["chips"],
                    "points lost": mean,
                    "low": low,
                    "high": high,
                }
            )
    rows.sort(key=lambda row: (-row["points lost"], row["part"]))
    write_csv(folder / _FILE, rows)
    return rows
