"""Pruning methods and sparsities side by side: same dense model, task, schedule and seeds."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import build, to_mapping
from crossvote.swstack.experiment.paper_tables import mean_and_spread
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.pruning import prune
from crossvote.swstack.tasks import Task
from crossvote.swstack.training.predict import evaluate


@dataclass(frozen=True)
class Comparison:
    """One method, share and seed. Metrics in percent; column_sparsity is that of the least pruned word-line group.

    target: share of columns asked for. All methods prune exactly that; folding may add query columns to it.
    """

    method: str
    target: float
    seed: int
    task: str
    metric: str
    dense: float
    pruned: float
    column_sparsity: float
    element_sparsity: float
    seconds: float


def compare_methods(
    dense: ModelConfig,
    task: Task,
    cfg: PruneConfig,
    methods: Sequence[str],
    targets: Sequence[float],
    seeds: Sequence[int],
    work_dir: Path,
    progress: Progress = no_progress,
) -> tuple[Comparison, ...]:
    """Prune the fine-tuned model `dense` with every method, share of columns and seed; all else is as in `cfg`.

    A share of 0 prunes nothing: the dense model, trained on for as long as the pruned ones (the same for all methods).

    Results are kept in `work_dir`, one file each, and reused when called again with the same settings; the pruning
    that was interrupted continues.
    """
    results = []
    for method, target in itertools.product(methods, targets):
        for seed in seeds:
            folder = Path(work_dir) / f"{method}-{100 * target:g}-{seed}"
            one = replace(cfg, method=method, column_sparsity=target)
            settings = {"model": dense.source, "task": task.provenance, "prune": to_mapping(one)}
            result = _stored(folder / "result.json", settings)
            if result is None:
                result = _run(dense, task, one, seed, folder / "work", progress)
                document = {"settings": settings, "result": asdict(result)}
                write_text_atomic(folder / "result.json", json.dumps(document, indent=2) + "\n")
                shutil.rmtree(folder / "work", ignore_errors=True)
            results.append(result)
    return tuple(results)


def _stored(path: Path, settings: dict[str, Any]) -> Comparison | None:
    if not path.is_file():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return Comparison(**document["result"]) if document["settings"] == settings else None


def finished(work_dir: Path, cfg: PruneConfig) -> tuple[Comparison, ...]:
    """What `compare_methods` keeps in `work_dir` of prunings with `cfg`, at any share of columns and with any seed."""
    results = []
    for path in sorted(Path(work_dir).glob("*/result.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        result, used = Comparison(**document["result"]), build(PruneConfig, document["settings"]["prune"], str(path))
        if used == replace(cfg, column_sparsity=result.target):
            results.append(result)
    return tuple(results)


def _run(dense: ModelConfig, task: Task, cfg: PruneConfig, seed: int, work_dir: Path, progress: Progress) -> Comparison:
    model, tokenizer = load_model(dense, task.num_labels, task.regression, seed)
    before = evaluate(model, tokenizer, task)[task.primary_metric]
    result = prune(model, tokenizer, task, cfg, seed, work_dir, progress)
    return Comparison(
        method=cfg.method,
        target=cfg.column_sparsity,
        seed=seed,
        task=task.name,
        metric=task.primary_metric,
        dense=before,
        pruned=result.dev_metrics[task.primary_metric],
        column_sparsity=min(row.column for row in result.sparsity if row.kind == "group"),
        element_sparsity=result.sparsity[-1].element,
        seconds=result.seconds,
    )


def comparison_rows(results: Sequence[Comparison]) -> list[dict[str, str]]:
    """One row per task, method and share, in the order of first appearance: mean and standard deviation over seeds."""
    rows = []
    for wanted in dict.fromkeys((result.task, result.method, result.target) for result in results):
        runs = [result for result in results if (result.task, result.method, result.target) == wanted]
        _, method, target = wanted
        losses = [run.dense - run.pruned for run in runs]
        rows.append(
            {
                "method": method,
                "task": runs[0].task,
                "metric": runs[0].metric,
                "columns asked for, %": f"{100 * target:g}",
                "least column sparsity, %": f"{100 * min(run.column_sparsity for run in runs):.2f}",
                "dense": f"{statistics.mean(run.dense for run in runs):.2f}",
                "pruned": mean_and_spread([run.pruned for run in runs]),
                "loss": mean_and_spread(losses),
                "seeds": str(len(runs)),
            }
        )
    return rows


def loss_points(results: Sequence[Comparison]) -> list[dict[str, Any]]:
    """`method`, `target` and mean, least and largest `loss` in points over the seeds, for a picture."""
    points = []
    for method, target in dict.fromkeys((result.method, result.target) for result in results):
        losses = [run.dense - run.pruned for run in results if (run.method, run.target) == (method, target)]
        points.append(
            {
                "method": method,
                "target": target,
                "loss": statistics.mean(losses),
                "least": min(losses),
                "largest": max(losses),
            }
        )
    return points
