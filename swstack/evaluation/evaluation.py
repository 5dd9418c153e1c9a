"""Task metrics of protection schemes on faulty chips: the same chips for every scheme, resumable trial by trial."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.image import Image
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.common.code import code_digest
from crossvote.sim.common.content import digest
from crossvote.sim.common.keyed import KeyedResults
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.evaluation.calibration import static_steps
from crossvote.swstack.evaluation.chips import Chip
from crossvote.swstack.evaluation.config import EvalConfig
from crossvote.swstack.evaluation.results import Point, Scores, Trial
from crossvote.swstack.evaluation.statistics import student_factor
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.embedding_faults import FaultyEmbedding
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.models.layouts import head_groups
from crossvote.swstack.models.tensors import tensor_bytes
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.training.predict import evaluate

#: Which cells can be stuck: every cell of every crossbar of an image, replicas included.
_FAULT_SCOPE = "all planes and replicas of all encoder matrices"


def fault_scope(head: bool, embeddings: bool) -> str:
    """Which cells can be stuck, where the head or the token embedding table are on the chip, too."""
    more = [part for part, there in (("the head", head), ("the token embedding table", embeddings)) if there]
    return ", and ".join((_FAULT_SCOPE, *more))


def sweep(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    images: Mapping[str, Image],
    chips: Sequence[Chip],
    config: EvalConfig | None = None,
    activations: Activations = "token",
    work_dir: Path | None = None,
    progress: Progress = no_progress,
    faulty_embeddings: bool = False,
    read: ReadModel | None = None,
    steps: Mapping[str, float] | None = None,
) -> Scores:
    """Measure every scheme without faults and on every chip.

    Each finished trial is written to ``work_dir`` at once; a sweep that was stopped takes up what it finds there,
    unless it was measured with another model, image, chip or number of examples. On a CPU, as many trials run side by
    side as torch may use threads.

    Args:
        images: scheme name -> image of ``model``. steps: of "static" activations by word-line group; left out, they
            come from the first train examples.
        faulty_embeddings: the token embedding table is quantized and lies in cells of its own on the chip.
        read: the chip's ADCs and cells; ideal ones by default.

    Raises:
        UserError: an image that is not of this model, or a chip too small for it.
    """
    config, read = config or EvalConfig(), read or ReadModel()
    if activations != "static":
        steps = None
    elif steps is None:
        steps = static_steps(model, tokenizer, task, next(iter(images.values())))
    setting = {
        "model": _fingerprint(model, images),
        "task": task.name,
        "dev": digest([dataclasses.asdict(example) for example in task.dev[: config.limit]]),
        "length": task.max_length,
        "activations": activations,
        "steps": steps,
        "read": to_mapping(read),
        "embeddings": faulty_embeddings,
        "code": code_digest(__name__),
    }
    measure = _Measurement(
        model,
        tokenizer,
        task,
        images,
        config,
        read,
        activations,
        steps,
        faulty_embeddings,
        None if work_dir is None else KeyedResults(work_dir),
        setting,
    )
    wanted = [(scheme, chip) for scheme in images for chip in (None, *chips)]
    encode(tokenizer, task.dev[: config.limit], task.max_length)  # once, before the workers ask for it
    trials: list[Trial] = []
    with _one_thread_each(min(len(wanted), torch.get_num_threads()) if model.device.type == "cpu" else 1) as pool:
        for trial in pool.map(lambda pair: measure.trial(*pair), wanted):
            trials.append(trial)
            progress(f"evaluate {trial.scheme}", len(trials), len(wanted))
    conditions = {
        "task": task.name,
        "data": task.provenance,
        "examples": len(task.dev[: config.limit]),
        "metrics": list(task.metrics),
        "activations": activations,
        "fault_scope": fault_scope(bool(head_groups(model)), faulty_embeddings),
        "read": to_mapping(read),
        "schemes": {
            name: {**image.protection, "crossbars": image.crossbars, "content_hash": image.content_hash}
            for name, image in images.items()
        },
    }
    return Scores(tuple(trials), summarize(trials), conditions)


@contextmanager
def _one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool in which every worker computes on its share of the processor's cores alone.

    Whole trials side by side beat threads within one operation: nothing waits for anything, which on a machine that
    others use too is the difference between half the time and ten times the time.
    """
    before = torch.get_num_threads()
    share = max(1, before // workers)
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


@dataclass(eq=False)
class _Measurement:
    """Measures single trials; every thread that calls it has a converted model of its own.

    embeddings: whether the token embedding table is on the chip.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    images: Mapping[str, Image]
    config: EvalConfig
    read: ReadModel
    activations: Activations
    steps: Mapping[str, float] | None
    embeddings: bool
    kept: KeyedResults | None
    setting: Mapping[str, Any]
    own: threading.local = field(default_factory=threading.local)

    def trial(self, scheme: str, chip: Chip | None) -> Trial:
        """The stored or newly measured trial of a scheme on a chip (None: a perfect one)."""
        image = self.images[scheme]
        faults = None if chip is None else chip.load()
        table_faults = None if chip is None or chip.load_table is None else chip.load_table()
        name = scheme if chip is None else f"{scheme}-rate-{chip.rate!r}-chip-{chip.number}"
        identity = {
            **self.setting,
            "image": image.content_hash,
            "faults": None if faults is None else [faults.identity, faults.silicon],
            "table": None if table_faults is None else table_faults.identity,
        }
        metrics = None if self.kept is None else self.kept.get(name, identity)
        if metrics is None:
            converted, table = self._on_crossbars(scheme)
            swap_faults(converted, faults)
            if table is not None:
                table.program(table_faults)
            metrics = evaluate(converted, self.tokenizer, self.task, self.config.batch_size, self.config.limit)
            if self.kept is not None:
                self.kept.put(name, identity, metrics)
        return Trial(
            scheme,
            0.0 if chip is None else chip.rate,
            -1 if chip is None else chip.number,
            0 if faults is None else faults.count(0, image.crossbars),
            metrics,
        )

    def _on_crossbars(self, scheme: str) -> tuple[PreTrainedModel, FaultyEmbedding | None]:
        """This thread's model on the crossbars of a scheme; the one of the scheme before is dropped."""
        if getattr(self.own, "scheme", None) != scheme:
            self.own.converted = self.own.table = None
            image = self.images[scheme]
            converted = convert(self.model, image, self.activations, self.steps, self.read)
            if self.embeddings:
                self.own.table = FaultyEmbedding(converted, 0, image.rows, image.columns)
            self.own.converted, self.own.scheme = converted, scheme
        return self.own.converted, self.own.table


def summarize(trials: Sequence[Trial]) -> tuple[Point, ...]:
    """Points of every (scheme, metric, rate), in the order of the trials."""
    scores: dict[tuple[str, str, float], list[tuple[int, float]]] = {}
    for trial in trials:
        for metric, value in trial.metrics.items():
            scores.setdefault((trial.scheme, metric, trial.rate), []).append((trial.chip, value))
    points = []
    for (scheme, metric, rate), own in scores.items():
        values = np.array([value for _, value in sorted(own)])
        n, mean = len(values), float(values.mean())
        sd = float(values.std(ddof=1)) if n > 1 else 0.0
        half = student_factor(n) * sd / n**0.5 if n > 1 else 0.0
        points.append(
            Point(
                scheme,
                metric,
                rate,
                mean,
                sd,
                float(values.min()),
                float(values.max()),
                mean - half,
                mean + half,
                n,
                tuple(values.tolist()),
            )
        )
    return tuple(points)


def rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Trials as flat table rows, one column per metric."""
    table = []
    for trial in trials:
        row = dataclasses.asdict(trial)
        table.append({**{key: row[key] for key in ("scheme", "rate", "chip", "faults")}, **trial.metrics})
    return table


def _fingerprint(model: nn.Module, images: Mapping[str, Image]) -> str:
    """BLAKE2b of the parameters that no image holds."""
    mapped = tuple(f"{m.name}." for image in images.values() for group in image.groups for m in group.matrices)
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        if not name.startswith(mapped):
            found.update(f"{name}{tuple(tensor.shape)}".encode())
            found.update(tensor_bytes(tensor))
    return found.hexdigest()
