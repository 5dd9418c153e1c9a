"""The ladder: every protection on the same silicon, from no protection to codes with training for faults.

A *rung* is a scheme, on the pruned model or, with ``+trained``, on that model after training for faults under the
scheme's own error law (a scheme that programs around known faults has none, and takes that of ``training.scheme``).
Chips come in the outer loop: each is drawn once, and every rung is measured on it.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator
from scipy import stats
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.code import code_digest
from crossvote.sim.common.content import digest, file_digest
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.keyed import KeyedResults
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.registry import kind_mapping
from crossvote.sim.common.schema import config_dataclass, to_mapping
from crossvote.sim.system.model import simulate
from crossvote.sim.system.summary import summary
from crossvote.sim.system.workload import Workload
from crossvote.swstack.evaluation.calibration import static_steps
from crossvote.swstack.evaluation.chips import draw_silicon
from crossvote.swstack.evaluation.config import FaultsConfig
from crossvote.swstack.evaluation.evaluation import Point, Trial, summarize
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.paths import MASKS, PRUNED
from crossvote.swstack.experiment.run_directory import RunDirectory
from crossvote.swstack.experiment.support import check_run
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.mapping.error_law import matrix_laws
from crossvote.swstack.mapping.mapping import map_model, mapping_report
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.scheme import Scheme
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load, save_model
from crossvote.swstack.models.masks import Masks, load_masks
from crossvote.swstack.pruning.fault_training_config import FaultTrainingConfig
from crossvote.swstack.pruning.for_faults import train_for_faults
from crossvote.swstack.tasks import Task, load_task
from crossvote.swstack.tasks.base import AnyExample
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.tasks.kinds import head_of
from crossvote.swstack.tasks.metrics import lost as points_lost
from crossvote.swstack.training.loop import best_device
from crossvote.swstack.training.predict import predicted_metrics

FOLDER = "ladder"
#: Ending of a rung's name for the model that was trained for faults.
TRAINED = "+trained"
#: Length of the sequence whose latency and energy are given.
TOKENS = 128
#: Chips that are drawn while others are measured.
_DRAWN_AHEAD = 3

#: What decides a trial, besides the images.
_CODE = (
    "crossvote.sim.array.silicon",
    "crossvote.swstack.inference.convert",
    "crossvote.swstack.training.predict",
)

DEFAULT_RUNGS = (
    "none",
    "none-column",
    "paper",
    "best",
    "mean5",
    "code",
    "code-tensor",
    "mean5+trained",
    "code+trained",
    "code-tensor+trained",
)


def _training_defaults() -> FaultTrainingConfig:
    return FaultTrainingConfig(epochs=2, learning_rate=5e-5)


@config_dataclass
class LadderConfig:
    """Which rungs are measured, on which chips."""

    rungs: tuple[str, ...] = Field(
        default=DEFAULT_RUNGS, min_length=1, description="Schemes by name; with '+trained' after training for faults."
    )
    faults: FaultsConfig = Field(
        default_factory=lambda: FaultsConfig(rates=(0.002, 0.01, 0.03, 0.05, 0.08, 0.1), chips=30),
        description="The chips.",
    )
    own_rates: dict[str, tuple[float, ...]] = Field(
        default_factory=dict,
        description="Fault rates of single rungs, where they are not those of all; none: without faults only.",
    )
    training: FaultTrainingConfig = Field(
        default_factory=_training_defaults,
        description="How to train for faults; its scheme counts for rungs that know the faults, others have their own.",
    )
    batch_size: int = Field(default=256, ge=1, description="Dev examples run at once.")
    limit: int | None = Field(default=None, ge=1, description="Use only the first so many dev examples.")

    @field_validator("rungs")
    @classmethod
    def _distinct(cls, rungs: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(rungs)) != len(rungs):
            raise ValueError("every rung can be named once only.")
        return rungs

    @model_validator(mode="after")
    def _rates_of_rungs(self) -> LadderConfig:
        if unknown := [name for name in self.own_rates if name not in self.rungs]:
            raise ValueError(f"own_rates names '{unknown[0]}', which is no rung.")
        return self

    def rates_of(self, rung: str) -> tuple[float, ...]:
        """The fault rates at which a rung is measured."""
        return self.own_rates.get(rung, self.faults.rates)

    @property
    def all_faults(self) -> FaultsConfig:
        """The chips of all rungs."""
        return replace(self.faults, rates=tuple(sorted({rate for rung in self.rungs for rate in self.rates_of(rung)})))


@dataclass(frozen=True, eq=False)
class Rung:
    """A scheme on a model.

    Attributes:
        name: of the rung. scheme: what protects. model: what is mapped. image: its mapping.
    """

    name: str
    scheme: Scheme
    model: PreTrainedModel
    image: Image


def ladder_in_run(
    directory: Path, config: RunConfig, settings: LadderConfig, progress: Progress = no_progress, workers: int = 1
) -> list[dict[str, Any]]:
    """Climb the ladder with the pruned model of a run; what is finished is not done again.

    With several ``workers``, as many processes train and measure side by side, on one GPU too; results are the same.
    Writes ``ladder/rates.csv`` (a row per rung and rate), ``ladder/paired.csv`` (differences on the same chips) and
    ``ladder/ladder.csv`` (a row per rung: what it tolerates and costs), and returns the rows of the last.

    Raises:
        UserError: an unknown rung, the run is in use, or nothing was pruned yet.
    """
    schemes = rung_schemes(settings, config)
    with RunDirectory.open(directory) as run:
        folder = run.path / FOLDER
        if not (run.path / MASKS).is_file():
            raise UserError(f"{directory}: nothing is pruned there yet; run: crossvote prune {directory}")
        site = Site(run.path, config, settings)
        if workers > 1:
            from crossvote.swstack.experiment.ladder_workers import side_by_side

            side_by_side(site, workers, progress)
        rungs = [site.rung(name, progress) for name in schemes]
        trials = site.climb(rungs, site.silicon(), progress)
        task = site.task
        points = summarize([*trials])
        rates, paired, rows = ladder_tables(points, task.primary_metric, rungs, config.chip)
        for name, table in (("rates", rates), ("paired", paired), ("ladder", rows)):
            if table:
                write_csv(folder / f"{name}.csv", table)
        conditions = {
            "task": task.name,
            "metric": task.primary_metric,
            "data": task.provenance,
            "examples": len(task.dev[: settings.limit]),
            "settings": to_mapping(settings),
            "schemes": {rung.name: to_mapping(rung.scheme) for rung in rungs},
            "fault_scope": "every cell of every crossbar of the encoder's matrices, copies included",
            "activations": config.quantization.activations,
            "seed": config.seed,
        }
        write_text_atomic(
            folder / "ladder.json", json.dumps({**conditions, "rows": rows, "rates": rates}, indent=1) + "\n"
        )
        return rows


def rung_schemes(settings: LadderConfig, config: RunConfig) -> dict[str, Scheme]:
    """The scheme of every rung, by the rung's name.

    Raises:
        UserError: a rung that is no scheme, or that cannot be on this chip.
    """
    known = {**PRESETS, **config.map.protection}
    found = {}
    for name in settings.rungs:
        plain = name.removesuffix(TRAINED)
        law = law_of(name, known, settings)
        for scheme in (plain, law):
            if scheme is not None and scheme not in known:
                raise UserError(f"rung '{name}': '{scheme}' is no protection scheme; known are {', '.join(known)}.")
        if law is not None and known[law].knows_faults:
            raise UserError(
                f"rung '{name}': '{law}' programs around the faults of each chip, so it has no law of errors "
                "to train for; training.scheme must name another."
            )
        found[name] = known[plain]
    chip, quantization = config.chip, config.quantization
    check_run(chip, found, quantization.planes, quantization.activations, "auto")
    settings.faults.pattern.check(chip.crossbar.rows, chip.crossbar.columns)
    return found


def law_of(rung: str, schemes: Mapping[str, Scheme], settings: LadderConfig) -> str | None:
    """The scheme for whose errors a rung's model is trained, by name; None if it is not trained for faults."""
    plain = rung.removesuffix(TRAINED)
    if plain == rung:
        return None
    return settings.training.scheme if plain in schemes and schemes[plain].knows_faults else plain


@dataclass(eq=False)
class Site:
    """A run on whose pruned model a ladder stands; what is made here is kept in the run, and made once.

    Whoever uses it holds the run, or works for the one who does.
    """

    run: Path
    config: RunConfig
    settings: LadderConfig

    @property
    def folder(self) -> Path:
        """Where the ladder's files lie."""
        return self.run / FOLDER

    @cached_property
    def task(self) -> Task:
        return load_task(self.config.task, self.config.seed)

    @cached_property
    def masks(self) -> Masks:
        return load_masks(self.run / MASKS)

    @cached_property
    def pruned(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        return _load(self.run / PRUNED, self.task, self.config)

    @property
    def schemes(self) -> Mapping[str, Scheme]:
        """All schemes by name."""
        return {**PRESETS, **self.config.map.protection}

    def law(self, rung: str) -> str | None:
        """``law_of`` a rung."""
        return law_of(rung, self.schemes, self.settings)

    def silicon(self) -> tuple[Silicon, ...]:
        """All chips."""
        crossbar = self.config.chip.crossbar
        return draw_silicon(self.settings.all_faults, self.config.seed, crossbar.rows, crossbar.columns)

    def trained(self, law: str, progress: Progress = no_progress) -> PreTrainedModel:
        """The pruned model after training for the errors of a scheme."""
        scheme = self.schemes[law]
        return _trained(
            self.run,
            self.folder,
            f"{law}{TRAINED}",
            scheme,
            self.task,
            self.masks,
            self.config,
            self.settings,
            progress,
        )

    def rung(self, name: str, progress: Progress = no_progress) -> Rung:
        """A rung by its name."""
        scheme, law = self.schemes[name.removesuffix(TRAINED)], self.law(name)
        model = self.pruned[0] if law is None else self.trained(law, progress)
        return Rung(name, scheme, model, self._image(name, model, scheme))

    def _image(self, name: str, model: PreTrainedModel, scheme: Scheme) -> Image:
        """The mapping of a rung's model; kept in the ladder's folder."""
        target = self.folder / "images" / f"{name.replace('+', '-')}.safetensors"
        identity = {
            "model": _weights(model),
            "masks": file_digest(self.run / MASKS),
            "scheme": to_mapping(scheme),
            "chip": to_mapping(self.config.chip),
            "quantization": to_mapping(self.config.quantization),
            "code": code_digest("crossvote.swstack.mapping.mapping"),
        }
        kept = KeyedResults(self.folder / "images")
        found = kept.get(name, identity)
        if found is not None:
            with contextlib.suppress(UserError):  # the image is gone, or another one lies in its place
                image = Image.load(target)
                if image.content_hash == found["image"]:
                    return image
        image = _image(model, self.masks, scheme, self.config, name)
        image.save(target)
        kept.put(name, identity, {"image": image.content_hash})
        return image

    def climb(
        self, rungs: Sequence[Rung], silicon: Sequence[Silicon], progress: Progress = no_progress
    ) -> tuple[Trial, ...]:
        """``climb`` on these chips, each rung on those of its rates."""
        return climb(
            rungs,
            self.pruned[1],
            self.task,
            silicon,
            KeyedResults(self.folder / "trials"),
            batch_size=self.settings.batch_size,
            limit=self.settings.limit,
            activations=self.config.quantization.activations,
            read=ReadModel.of_chip(self.config.chip, self.config.seed),
            rates={rung.name: self.settings.rates_of(rung.name) for rung in rungs},
            progress=progress,
        )


def _load(folder: Path, task: Task, config: RunConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    source = ModelConfig(source=str(folder.resolve()), layout=config.model.layout)
    return load(source, head_of(task), config.seed)


def _image(model: PreTrainedModel, masks: Masks, scheme: Scheme, config: RunConfig, name: str) -> Image:
    return map_model(model, masks, scheme, config.quantization, config.chip, name=name)


def _trained(
    run: Path,
    folder: Path,
    name: str,
    scheme: Scheme,
    task: Task,
    masks: Masks,
    config: RunConfig,
    settings: LadderConfig,
    progress: Progress,
) -> PreTrainedModel:
    """The pruned model after training for faults under the scheme's law; kept in the ladder's folder."""
    target = folder / "models" / name.replace("+", "-")
    model, tokenizer = _load(run / PRUNED, task, config)
    identity = {
        "training": to_mapping(settings.training),
        "scheme": to_mapping(scheme),
        "chip": to_mapping(config.chip.crossbar),
        "quantization": to_mapping(config.quantization),
        "train": _examples(task, task.train),
        "seed": config.seed,
        "model": _weights(model),
        "code": code_digest("crossvote.swstack.pruning.for_faults", "crossvote.swstack.mapping.error_law"),
    }
    kept = KeyedResults(folder / "models")
    found = kept.get(name, identity)
    if found is not None:
        with contextlib.suppress(UserError):  # the model is gone, or another one lies in its place
            trained = _load(target, task, config)[0]
            if _weights(trained) == found["model"]:
                return trained
    laws = matrix_laws(_image(model, masks, scheme, config, name), settings.training.design_rate)
    result = train_for_faults(
        model,
        tokenizer,
        task,
        masks,
        laws,
        settings.training,
        config.seed,
        folder / "work" / f"{name}-{digest(identity)[:12]}",
        progress,
    )
    save_model(model, tokenizer, target)
    kept.put(name, identity, {"model": _weights(model), "history": list(result.history)})
    return model


def _examples(task: Task, examples: Sequence[AnyExample]) -> list[Any]:
    """What is learned from or measured on, as an identity."""
    return [task.name, task.max_length, digest([asdict(example) for example in examples])]


def climb(
    rungs: Sequence[Rung],
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    silicon: Sequence[Silicon],
    kept: KeyedResults,
    *,
    batch_size: int = 256,
    limit: int | None = None,
    activations: Activations = "token",
    read: ReadModel | None = None,
    rates: Mapping[str, Sequence[float]] | None = None,
    progress: Progress = no_progress,
) -> tuple[Trial, ...]:
    """Every rung without faults and on every chip, in this order; on a CUDA device if there is one.

    Finished trials are ``kept``, each at once, and taken up again.

    rates: of rungs that are measured on the chips of some rates only, by name.
    """
    read = read or ReadModel()
    encoded = encode(tokenizer, task.dev[:limit], task.max_length)
    device = best_device()
    crossbars = max(rung.image.crossbars for rung in rungs)
    setting = {
        "dev": _examples(task, task.dev[:limit]),
        "metrics": list(task.metrics),
        "activations": activations,
        "read": to_mapping(read),
        "code": code_digest(*_CODE),
    }
    steps = {
        rung.name: static_steps(rung.model, tokenizer, task, rung.image) if activations == "static" else None
        for rung in rungs
    }
    identities = {
        rung.name: {
            **setting,
            "model": _weights(rung.model),
            "image": rung.image.content_hash,
            "steps": steps[rung.name],
        }
        for rung in rungs
    }
    on_chip: dict[str, PreTrainedModel] = {}
    trials: list[Trial] = []
    chips: list[Silicon | None] = [None, *silicon]

    def place(rung: Rung, chip: Silicon | None) -> tuple[str, dict[str, Any]]:
        name = rung.name if chip is None else f"{rung.name}-rate-{chip.rate!r}-chip-{chip.number}"
        return name, {**identities[rung.name], "chip": None if chip is None else _law(chip)}

    def belongs(rung: Rung, chip: Silicon | None) -> bool:
        return chip is None or rates is None or rung.name not in rates or chip.rate in rates[rung.name]

    on = {n: [rung for rung in rungs if belongs(rung, chip)] for n, chip in enumerate(chips)}
    finished = {(rung.name, n): kept.get(*place(rung, chips[n])) for n, own in on.items() for rung in own}
    needed = [n for n, chip in enumerate(chips) if chip and any(finished[rung.name, n] is None for rung in on[n])]
    with ThreadPoolExecutor(_DRAWN_AHEAD) as pool:
        drawing: dict[int, Future[FaultMap]] = {}
        for number, chip in enumerate(chips):
            faults, waiting = None, [rung for rung in on[number] if finished[rung.name, number] is None]
            for ahead in [n for n in needed if n >= number][: _DRAWN_AHEAD + 1]:  # while this one is measured
                if ahead not in drawing:
                    drawing[ahead] = pool.submit(chips[ahead].faults, crossbars)  # type: ignore[union-attr]
            if number in drawing:
                faults = drawing.pop(number).result()
                needed.remove(number)
            for rung in waiting:
                if rung.name not in on_chip:
                    converted = convert(rung.model, rung.image, activations, steps[rung.name], read)
                    on_chip[rung.name] = converted.to(device)  # type: ignore[arg-type]
                swap_faults(on_chip[rung.name], faults)
                metrics = predicted_metrics(on_chip[rung.name], encoded, task, batch_size, no_progress)
                stuck = 0 if faults is None else len(faults.of_crossbars(0, rung.image.crossbars)[0])
                finished[rung.name, number] = {"metrics": metrics, "faults": stuck}
                kept.put(*place(rung, chip), finished[rung.name, number])
            for rung in on[number]:
                found = finished[rung.name, number]
                assert found is not None
                where = (0.0, -1) if chip is None else (chip.rate, chip.number)
                trials.append(Trial(rung.name, *where, found["faults"], found["metrics"]))
            progress("ladder", number + 1, len(chips))
    on_chip.clear()
    gc.collect()
    return tuple(trials)


def _law(chip: Silicon) -> list[Any]:
    """What the silicon follows from, in plain values."""
    return [chip.seed, chip.number, chip.rate, chip.rows, chip.columns, kind_mapping(chip.pattern), chip.sa0_sa1]


def _weights(model: PreTrainedModel) -> str:
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name}{tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def tolerated_rate(rates: Sequence[float], lost: Sequence[float], allowed: float) -> tuple[float, bool]:
    """Largest fault rate up to which no more than ``allowed`` is lost, and whether the last rate measured is within it.

    Between two rates the loss is taken as linear; rates ascend and begin with 0.
    """
    for at, loss in enumerate(lost):
        if loss > allowed:
            if at == 0:
                return 0.0, False
            share = (allowed - lost[at - 1]) / (loss - lost[at - 1])
            return rates[at - 1] + share * (rates[at] - rates[at - 1]), False
    return rates[-1], True


def ladder_tables(
    points: Sequence[Point], metric: str, rungs: Sequence[Rung], chip: ChipConfig
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows per rung and rate, paired differences, and rows per rung.

    Points are lost against the unprotected mapping of the pruned model without faults and training: the rung
    ``none-column``, or the first one where that is missing.
    """
    by_rung: dict[str, dict[float, Point]] = {}
    for point in points:
        if point.metric == metric:
            by_rung.setdefault(point.scheme, {})[point.rate] = point
    base = "none-column" if "none-column" in by_rung else rungs[0].name
    clean = by_rung[base][0.0].mean
    rates = [
        {
            "rung": rung.name,
            "rate": rate,
            "mean": point.mean,
            "sd": point.sd,
            "low": point.low,
            "high": point.high,
            "min": point.min,
            "lost": points_lost(metric, clean, point.mean),
            "chips": point.chips,
        }
        for rung in rungs
        for rate, point in sorted(by_rung[rung.name].items())
    ]
    paired = [
        row
        for rung in rungs
        for other in ("none-column", "paper", "best")
        if other in by_rung and other != rung.name
        for row in _paired(by_rung[rung.name], by_rung[other], rung.name, other)
    ]
    found = {}
    for rung in rungs:
        grid = sorted(by_rung[rung.name])
        lost = [points_lost(metric, clean, by_rung[rung.name][rate].mean) for rate in grid]
        found[rung.name] = {
            allowed: tolerated_rate(grid, lost, amount) for allowed, amount in (("1 point", 1.0), ("10 %", clean / 10))
        }
    rows = []
    for rung in rungs:
        own = found[rung.name]
        bare = "none-column" if rung.scheme.scale == "column" else "none"
        row: dict[str, Any] = {
            "rung": rung.name,
            "scale": rung.scheme.scale,
            "map known": rung.scheme.knows_faults,
            "clean": by_rung[rung.name][0.0].mean,
        }
        for allowed, (rate, beyond) in own.items():
            row[f"tolerated, {allowed}"] = rate
            row[f"all rates within {allowed}"] = beyond
            for other in (bare, "paper"):
                reference = found[other][allowed][0] if other in found else 0.0
                row[f"over {'unprotected' if other == bare else other}, {allowed}"] = (
                    rate / reference if reference else None
                )
        heads = getattr(rung.model.config, "num_attention_heads", None)
        rows.append({**row, **costs(rung.image, chip, heads)})
    return rates, paired, rows


def _paired(
    own: Mapping[float, Point], other: Mapping[float, Point], name: str, other_name: str
) -> list[dict[str, Any]]:
    """Mean differences on the same chips with their 95 % intervals."""
    rows = []
    for rate in sorted(own):
        if rate and rate in other:
            difference = np.array(own[rate].scores) - np.array(other[rate].scores)
            n = len(difference)
            half = float(stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / n**0.5) if n > 1 else 0.0
            mean = float(difference.mean())
            row = {"rung": name, "against": other_name, "rate": rate, "difference": mean}
            rows.append({**row, "low": mean - half, "high": mean + half, "chips": n})
    return rows


def costs(image: Image, chip: ChipConfig, heads: int | None) -> dict[str, Any]:
    """What an image takes: crossbars, bit lines, conducting cells, conversions of a token vector; time, energy, area.

    The last three are those of one sequence of ``TOKENS`` tokens, without contention (``resolution = "analytic"``), and
    None for a model that the system model does not know.
    """
    report = mapping_report(image)
    crossbars, dense = sum(g.crossbars for g in report), sum(g.dense_crossbars for g in report)
    lines = conversions = conducting = weights = 0
    for group in image.groups:
        used = int(group.column_map.used.sum())
        lines += used
        conversions += 2 * used * group.row_blocks * image.input_bits
        kept = np.unique(group.column_map.output[group.column_map.used]).size
        weights += kept * int(group.kept_inputs.sum())
        for block in range(group.row_blocks):
            span = group.kept_inputs[block * group.rows : (block + 1) * group.rows]
            cells = group.block_cells(block)[:, : len(span)][:, span][:, :, group.column_map.used]
            conducting += int((cells > 0).sum())
    return {
        "extra crossbars": crossbars - dense,
        "zero space": all(g.zero_space for g in report),
        "bit lines": lines,
        "conducting cells per weight": conducting / max(1, weights),
        "conversions per token": conversions,
        **_system_costs(image, chip, heads),
    }


def _system_costs(image: Image, chip: ChipConfig, heads: int | None) -> dict[str, float | None]:
    names = {"latency, us": "latency_us", "energy, uJ": "energy_uj_per_sequence", "area, mm2": "area_mm2"}
    try:
        if heads is None:
            raise UserError("the model does not say how many attention heads it has.")
        found = summary(simulate(Workload.from_image(image, chip, heads, TOKENS), chip, resolution="analytic"))
    except UserError:
        return dict.fromkeys(names)
    return {name: found[key] for name, key in names.items()}
