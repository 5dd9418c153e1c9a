"""Fine-tune and prune one encoder on many tasks and seeds, for Table 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sim.progress import Progress, no_progress
from sim.schema import to_mapping, write_text_atomic
from swstack.finetune import FinetuneConfig, finetune
from swstack.models import ModelConfig, load_model
from swstack.prune.pruning import PruneConfig, prune
from swstack.prune.tables import PruningRecord
from swstack.tasks import TaskConfig, load_task


@dataclass(frozen=True)
class CampaignEntry:
    """One task with its recipe and seeds."""

    task: TaskConfig
    finetune: FinetuneConfig
    prune: PruneConfig
    seeds: tuple[int, ...]


def run_campaign(
    model: ModelConfig, entries: Sequence[CampaignEntry], directory: Path, progress: Progress = no_progress
) -> tuple[PruningRecord, ...]:
    """Records of all entries and seeds, in order.

    Every record is a file in `directory` with the settings it was made with; one that is there is not made again, and
    the training that was interrupted continues.
    """
    records = []
    for entry in entries:
        for seed in entry.seeds:
            folder = Path(directory) / f"{entry.task.name}-{seed}"
            settings = {
                "model": to_mapping(model),
                "task": {**to_mapping(entry.task), "glue_dir": ""},  # where the data lies does not matter
                "finetune": to_mapping(entry.finetune),
                "prune": to_mapping(entry.prune),
            }
            path = folder / "record.json"
            if path.is_file():
                document = json.loads(path.read_text(encoding="utf-8"))
                if document["settings"] == settings:
                    records.append(PruningRecord(**document["record"]))
                    continue
            record, seconds = _run(model, entry, seed, folder, progress)
            document = {"settings": settings, "record": asdict(record), "seconds": seconds}
            write_text_atomic(path, json.dumps(document, indent=2) + "\n")
            shutil.rmtree(folder / "work", ignore_errors=True)
            records.append(record)
    return tuple(records)


def _run(
    source: ModelConfig, entry: CampaignEntry, seed: int, folder: Path, progress: Progress
) -> tuple[PruningRecord, dict[str, float]]:
    task = load_task(entry.task, seed)
    model, tokenizer = load_model(source, task.num_labels, task.regression, seed)
    work = folder / "work"
    dense = finetune(model, tokenizer, task, entry.finetune, seed, work / "finetune", progress)
    pruned = prune(model, tokenizer, task, entry.prune, seed, work / "prune", progress)
    record = PruningRecord(
        task=task.name,
        metric=task.primary_metric,
        seed=seed,
        dense=dense.dev_metrics[task.primary_metric],
        pruned=pruned.dev_metrics[task.primary_metric],
        column_sparsity=min(row.column for row in pruned.sparsity if row.kind == "group"),
        element_sparsity=pruned.sparsity[-1].element,
        note=task.provenance,
    )
    return record, {"fine-tuning": dense.seconds, "pruning": pruned.seconds}
