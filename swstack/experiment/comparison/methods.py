"""Pruning methods and sparsities side by side: same dense model, task, schedule and seeds."""

from __future__ import annotations

import itertools
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crossvote.sim.common.code import code_digest
from crossvote.sim.common.content import digest
from crossvote.sim.common.keyed import KeyedResults
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.comparison.paper_tables import mean_and_spread
from crossvote.swstack.experiment.run.sources import model_source
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.pruning import prune
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.chance import Chance, marked
from crossvote.swstack.tasks.kinds import head_of
from crossvote.swstack.tasks.metrics import lost
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

    @property
    def lost(self) -> float:
        """Points that pruning cost; below 0 where the pruned model is better."""
        return lost(self.metric, self.dense, self.pruned)


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
    """Prune the fine-tuned model ``dense`` with every method, share of columns and seed; all else is as in ``cfg``.

    A share of 0 prunes nothing: the dense model, trained on for as long as the pruned ones of that method.

    Results are kept in ``work_dir`` by all that decides them (the model's content, the examples, the settings and the
    code) and reused when called again with the same; the pruning that was interrupted continues.
    """
    kept = KeyedResults(Path(work_dir))
    content = {"model": _content(dense), "task": _examples(task), "code": code_digest(__name__)}
    results = []
    for method, target in itertools.product(methods, targets):
        for seed in seeds:
            name = f"{method}-{100 * target:g}-{seed}"
            one = replace(cfg, method=method, column_sparsity=target)
            identity = {**content, "seed": seed, "prune": to_mapping(one)}
            stored = kept.get(name, identity)
            if stored is None:
                folder = Path(work_dir) / "work" / name
                result = _run(dense, task, one, seed, folder, progress)
                kept.put(name, identity, asdict(result))
                shutil.rmtree(folder, ignore_errors=True)
            else:
                result = Comparison(**stored)
            results.append(result)
    return tuple(results)


def _content(dense: ModelConfig) -> str:
    source = model_source(dense.source)
    return source.content() or source.origin


def _examples(task: Task) -> str:
    """Digest of all that the task gives to learn from and to measure on."""
    examples = [[asdict(example) for example in part] for part in (task.train, task.dev)]
    return digest({"name": task.name, "length": task.max_length, "metrics": list(task.metrics), "examples": examples})


def finished(work_dir: Path, dense: ModelConfig, cfg: PruneConfig) -> tuple[Comparison, ...]:
    """What compare_methods keeps in work_dir of prunings of ``dense`` with ``cfg``, at any share and with any seed."""
    content = _content(dense)
    results = []
    for identity, stored in KeyedResults(Path(work_dir)).entries():
        result = Comparison(**stored)
        wanted = to_mapping(replace(cfg, column_sparsity=result.target))
        if (identity["model"], identity["prune"]) == (content, wanted):
            results.append(result)
    return tuple(results)


def _run(dense: ModelConfig, task: Task, cfg: PruneConfig, seed: int, work_dir: Path, progress: Progress) -> Comparison:
    model, tokenizer = load(dense, head_of(task), seed)
    before = evaluate(model, tokenizer, task)[task.primary_metric]
    result = prune(model, tokenizer, task, cfg, seed, work_dir, progress)
    return Comparison(
        method=cfg.method,
        target=cfg.column_sparsity,
        seed=seed,
        task=task.name,
        metric=task.primary_metric,
        dense=before,
        pruned=evaluate(model, tokenizer, task)[task.primary_metric],
        column_sparsity=min(row.column for row in result.sparsity if row.kind == "group"),
        element_sparsity=result.sparsity[-1].element,
    )


def comparison_rows(results: Sequence[Comparison], chance: Chance | None = None) -> list[dict[str, str]]:
    """One row per task, method and share, in the order of first appearance: mean and standard deviation over seeds.

    chance: level of the metric, of results of one task; means that do not exceed it are marked so.
    """
    rows = []
    for wanted in dict.fromkeys((result.task, result.method, result.target) for result in results):
        runs = [result for result in results if (result.task, result.method, result.target) == wanted]
        _, method, target = wanted
        losses = [run.lost for run in runs]
        dense, pruned = (statistics.mean(getattr(run, name) for run in runs) for name in ("dense", "pruned"))
        rows.append(
            {
                "method": method,
                "task": runs[0].task,
                "metric": runs[0].metric,
                "columns asked for, %": f"{100 * target:g}",
                "least column sparsity, %": f"{100 * min(run.column_sparsity for run in runs):.2f}",
                "dense": marked(f"{dense:.2f}", dense, chance),
                "pruned": marked(mean_and_spread([run.pruned for run in runs]), pruned, chance),
                "loss": mean_and_spread(losses),
                "seeds": str(len(runs)),
            }
        )
    return rows


def loss_points(results: Sequence[Comparison]) -> list[dict[str, Any]]:
    """``method``, ``target`` and mean, least and largest ``loss`` in points over the seeds, for a picture."""
    points = []
    for method, target in dict.fromkeys((result.method, result.target) for result in results):
        losses = [run.lost for run in results if (run.method, run.target) == (method, target)]
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
