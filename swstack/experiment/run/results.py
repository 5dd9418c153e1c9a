"""All results of a run as plain values, as the report takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.records import read_plain


def plain_results(run: RunDirectory, config: RunConfig) -> dict[str, Any]:
    """The results by stage; a model's training and its score in one.

    Raises:
        UserError: a stage has not been done, or what it left has changed.
    """
    records = {name: read_plain(run.whole(file)) for name, file in paths.RESULTS.items()}
    # A reason why there is nothing is there or not there, for the page.
    plain = {
        name: {key: value for key, value in record.items() if key != "skipped" or value is not None}
        for name, record in records.items()
    }
    model = Path(config.model.source).name
    return {
        **plain,
        "finetune": {"model": model, **plain["score-dense"], **plain["finetune"]},
        "prune": {**plain["prune"], **plain["score-pruned"]},
    }
