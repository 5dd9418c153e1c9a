"""What a worker does: load a run once, and measure trials on it."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.common.files import refused_by_machine, replacing
from crossvote.swstack.evaluation.calibration import static_steps
from crossvote.swstack.evaluation.chips import Chip, chips_for, draw_chip, table_crossbars
from crossvote.swstack.experiment.campaign.scopes import restrict, scope_names
from crossvote.swstack.experiment.campaign.trials import PERFECT, Chunk, Outcome, PlannedTrial, refuse_unknown_scopes
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.images import recorded_image
from crossvote.swstack.experiment.run.store import StageStore
from crossvote.swstack.experiment.stages.common import load_part
from crossvote.swstack.experiment.work import bring_up
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.embedding_faults import FaultyEmbedding
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.tasks.kinds import kind_of
from crossvote.swstack.training.loop import best_device
from crossvote.swstack.training.predict import predict

#: Converted models that a worker keeps, so that schemes can take turns on the same chip: as many as the shipped
#: configurations compare.
_CONVERTED = 5


@dataclass(eq=False)
class Workbench:
    """A run's mapped model, its task and its images in memory, and the model converted to the last schemes.

    It measures any rate and chip: those that the configuration lists are of no account.
    """

    run: Path
    config: RunConfig
    converted: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model, self.tokenizer, self.task = load_part(self.run, paths.mapped_model(self.config), self.config)
        self.images = {scheme: recorded_image(self.run, scheme) for scheme in self.config.map.schemes}
        examples = self.task.dev[: self.config.eval.limit]
        self.encoded = encode(self.tokenizer, examples, self.task.max_length)
        self.table = table_crossbars(self.config.faults, self._first, self.model)
        static = self.config.quantization.activations == "static"
        self.steps = static_steps(self.model, self.tokenizer, self.task, self._first) if static else None
        self.model.to(best_device())  # type: ignore[arg-type]

    @property
    def _first(self) -> Image:
        return next(iter(self.images.values()))

    def measure(self, trial: PlannedTrial) -> tuple[dict[str, float], int, NDArray[Any]]:
        """Metrics in percent, stuck cells within the image, and what scoring needs of each example (logits)."""
        image = self.images[trial.scheme]
        refuse_unknown_scopes((trial.scope,), scope_names(image))
        model, table = self._on_crossbars(trial.scheme)
        faults = table_faults = None
        if trial.chip != PERFECT:
            chip = self._chip(trial.rate, trial.chip)
            faults = restrict(chip.load(), image, trial.scope)
            table_faults = chip.load_table() if chip.load_table is not None and trial.scope == "all" else None
        swap_faults(model, faults)
        if table is not None:
            table.program(table_faults)
        logits = predict(model, self.encoded, self.config.eval.batch_size)
        metrics = kind_of(self.encoded.asks).score(self.task.metrics, list(logits), self.encoded, self.task.labels)
        return metrics, _within(faults, image), logits

    def _chip(self, rate: float, number: int) -> Chip:
        rows, columns = self._first.rows, self._first.columns
        silicon = draw_chip(self.config.faults, self.config.seed, rate, number, rows, columns)
        return chips_for([silicon], list(self.images.values()), self.table)[0]

    def _on_crossbars(self, scheme: str) -> tuple[Any, FaultyEmbedding | None]:
        if scheme not in self.converted:
            while len(self.converted) >= _CONVERTED:
                self.converted.pop(next(iter(self.converted)))
            image = self.images[scheme]
            reads = ReadModel.of_chip(self.config.chip, self.config.seed)
            model = convert(self.model, image, self.config.quantization.activations, self.steps, reads)
            table = None
            if self.config.faults.embeddings:
                table = FaultyEmbedding(model, 0, image.rows, image.columns)
            self.converted[scheme] = (model, table)
        return self.converted[scheme]  # type: ignore[no-any-return]


def _within(faults: FaultMap | None, image: Image) -> int:
    return 0 if faults is None else faults.count(0, image.crossbars)


_bench: tuple[tuple[Path, str], Workbench] | None = None


def _key(chunk: Chunk) -> tuple[Path, str]:
    """What a workbench is known by. Rates and chips are those of the trials, so that more of them change nothing."""
    from crossvote.sim.common.content import digest

    faults = {key: value for key, value in chunk.settings["faults"].items() if key not in ("rates", "chips")}
    return chunk.run, digest({**chunk.settings, "faults": faults})


def _workbench(chunk: Chunk, key: tuple[Path, str]) -> Workbench:
    """The workbench of a chunk's run and variant; the last one stays in memory."""
    global _bench
    from crossvote.sim.common.schema import build

    if _bench is None or _bench[0] != key:
        _bench = None
        _bench = (key, Workbench(chunk.run, build(RunConfig, chunk.settings, str(chunk.run))))
    return _bench[1]


def measure_chunk(chunk: Chunk) -> list[Outcome]:
    """Measure the trials of a chunk, scheme by scheme. A trial that fails is an outcome with its traceback.

    Examples' logits are written here, as one Parquet file with a name made of the trials, before the outcomes are
    returned: a chunk that is done again writes the same file again.

    Raises:
        StorageError, OSError: no room, say, of which no trial is to blame.
    """
    outcomes, logits = [], []
    key = _key(chunk)
    # Schemes whose converted model is at hand come first, before others take its place.
    ready = _bench[1].converted if _bench is not None and _bench[0] == key else {}
    for trial in sorted(chunk.trials, key=lambda trial: (trial.scheme not in ready, trial.scheme)):
        started = time.perf_counter()
        try:
            metrics, faults, scores = _workbench(chunk, key).measure(trial)
            outcome = Outcome(trial.key, metrics, faults)
            logits.append((trial.key, scores))
        except Exception as error:
            if refused_by_machine(error):
                raise
            outcome = Outcome(trial.key, {}, error=traceback.format_exc())
        worker = f"{platform.node()}:{os.getpid()}"
        outcomes.append(replace(outcome, seconds=time.perf_counter() - started, worker=worker))
    if chunk.shards is not None and logits:
        name = write_shard(chunk.shards, logits)
        outcomes = [outcome if outcome.error else replace(outcome, shard=name) for outcome in outcomes]
    return outcomes


def write_shard(folder: Path, logits: Sequence[tuple[str, NDArray[Any]]]) -> str:
    """Write logits as rows (trial, example, logits) of one Parquet file; returns its name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from crossvote.sim.common.content import digest

    name = f"{digest(sorted(key for key, _ in logits))[:24]}.parquet"
    table = pa.table(
        {
            "trial": pa.array([key for key, scores in logits for _ in range(len(scores))]).dictionary_encode(),
            "example": pa.array(np.concatenate([np.arange(len(scores), dtype=np.int32) for _, scores in logits])),
            "logits": pa.array([np.ravel(row).astype(np.float32) for _, scores in logits for row in scores]),
        }
    )
    with replacing(folder / name) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return name


def prepare(run: Path, settings: dict[str, Any], command: str, store: Path) -> None:
    """Bring a run directory up to a stage; what another run of the campaign has finished is taken from the store."""
    from crossvote.sim.common.schema import build

    config = build(RunConfig, settings, str(run))
    bring_up(run, config, command, store=StageStore(store))
