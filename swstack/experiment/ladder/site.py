"""Where a ladder stands: the models that its rungs need, trained once each, their images, and the trials on chips."""

from __future__ import annotations

import contextlib
import gc
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.common.code import code_digest
from crossvote.sim.common.content import digest, file_digest
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.keyed import KeyedResults
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.registry import kind_mapping
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.evaluation.calibration import static_steps
from crossvote.swstack.evaluation.chips import draw_silicon
from crossvote.swstack.evaluation.results import Trial
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.ladder.config import FOLDER, TRAINED, LadderConfig, law_of
from crossvote.swstack.experiment.run.paths import MASKS, PRUNED
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.mapping.error_law import matrix_laws
from crossvote.swstack.mapping.mapping import map_model
from crossvote.swstack.mapping.protection import Schemes
from crossvote.swstack.mapping.scheme import Scheme
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load, save_model
from crossvote.swstack.models.masks import Masks, load_masks
from crossvote.swstack.models.tensors import tensor_bytes
from crossvote.swstack.pruning.for_faults import train_for_faults
from crossvote.swstack.tasks import Task, load_task
from crossvote.swstack.tasks.base import AnyExample
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.tasks.kinds import head_of
from crossvote.swstack.training.loop import best_device
from crossvote.swstack.training.predict import predicted_metrics

#: Chips that are drawn while others are measured.
_DRAWN_AHEAD = 3
#: What decides a trial, besides the images.
_CODE = (
    "crossvote.sim.array.silicon",
    "crossvote.swstack.inference.convert",
    "crossvote.swstack.training.predict",
)


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
        return Schemes(self.config.map.protection)

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
                stuck = 0 if faults is None else faults.count(0, rung.image.crossbars)
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
        found.update(tensor_bytes(tensor))
    return found.hexdigest()
