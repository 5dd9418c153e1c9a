"""What a command would do, before it does anything: stages, model, data, chips, back ends, time and disk.

Nothing is written. Times are extrapolated from a few examples and one word-line group, measured here and now; they say
minutes or days, not seconds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral import Backend
from crossvote.sim.peripheral.verilator_build import tools
from crossvote.swstack.experiment.checks import Found, check_pending, row_blocks, smallest_group, smallest_image
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.resources import Needs, needs
from crossvote.swstack.experiment.run.directory import RunDirectory, check_place
from crossvote.swstack.experiment.run.pipeline import pending
from crossvote.swstack.experiment.support import cosim_engines, support_row
from crossvote.swstack.experiment.work import chosen_stages
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.mapped_linear import MappedLinear
from crossvote.swstack.models.layouts import family_name, matrix_names, matrix_weight, word_line_groups
from crossvote.swstack.pruning.config import DECIDED_FIRST, NO_PRUNING
from crossvote.swstack.pruning.methods.least_squares import LeastSquaresSettings
from crossvote.swstack.report.claims import chips_text
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.batches import Encoded, encode
from crossvote.swstack.training.loop import best_device
from crossvote.swstack.training.predict import predict

#: Dev examples that are measured, drawn evenly over the set so that their lengths are typical.
_EXAMPLES = 8
#: A training step goes forward once and back for about twice as long (Kaplan et al. 2020, section 2.1).
_STEP = 3.0
#: Forward passes over its tokens that least squares takes as long as: 13 (MPNet-base), 15 (MiniLM-L6) of full batches,
#: 7 of a small one of short sentences, as is timed here (the quick task).
_SOLVING = 10.0


@dataclass(frozen=True)
class PlannedStage:
    """A stage; asked: whether the configuration gives it anything to do; seconds: about how long it will take; None
    where that is not estimated."""

    stage: str
    finished: bool
    asked: bool = True
    seconds: float | None = None


@dataclass(frozen=True)
class PlannedScheme:
    """A scheme: how accuracy is measured, the back end that co-simulates it, or why none does."""

    scheme: str
    accuracy: str
    cosim: str


@dataclass(frozen=True)
class Plan:
    """What would be done.

    model, data, chips: a line each; empty where no stage that is to be done needs it. seconds: of the stages that are
    estimated. disk_bytes, memory_bytes: what it takes at least; free_bytes: what of the disk is free there.
    """

    run: str
    stages: tuple[PlannedStage, ...]
    model: str
    data: str
    chips: str
    schemes: tuple[PlannedScheme, ...]
    trials: int
    seconds: float
    disk_bytes: int
    memory_bytes: int
    free_bytes: int

    @property
    def pending(self) -> tuple[str, ...]:
        """Names of the stages that would be done."""
        return tuple(stage.stage for stage in self.stages if not stage.finished)


@dataclass(frozen=True)
class _Rates:
    """Seconds of one example in floating point and on a chip, of putting a chip under a model, of mapping a scheme.

    tokens: of an example, on average.
    """

    dense: float
    on_chip: float
    swap: float
    map: float
    tokens: float


def plan(directory: Path, config: RunConfig, command: str, force: bool = False) -> Plan:
    """What ``crossvote COMMAND`` would do in a run directory; refused is what the command would refuse.

    Raises:
        UserError: as ``bring_up``.
    """
    check_place(directory)
    stages = chosen_stages(command)
    missing = pending(RunDirectory(directory), config, stages, command if force else None)
    found = check_pending(config, directory, missing) if missing else Found()
    seconds: dict[str, float] = {}
    least = Needs(0, 0)
    if found.model is not None and found.tokenizer is not None and found.task is not None:
        rates = _measure(config, found.model, found.tokenizer, found.task)
        seconds = _seconds(config, found.task, rates)
        least = needs(found.model, config, missing)
    planned = tuple(
        PlannedStage(
            stage.name,
            stage.name not in missing,
            stage.active(config),
            seconds.get(stage.name) if stage.name in missing and stage.active(config) else None,
        )
        for stage in stages
    )
    return Plan(
        run=str(directory),
        stages=planned,
        model="" if found.model is None else _model(config, found.model),
        data="" if found.task is None else _data(found.task),
        chips=_chips(config),
        schemes=_schemes(config, found.model),
        trials=_trials(config) if "eval" in missing else 0,
        seconds=sum(stage.seconds or 0.0 for stage in planned),
        disk_bytes=least.disk,
        memory_bytes=least.memory,
        free_bytes=shutil.disk_usage(_existing(directory)).free,
    )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def _trials(config: RunConfig) -> int:
    return len(config.map.schemes) * (1 + len(config.faults.rates) * config.faults.chips)


def _model(config: RunConfig, model: PreTrainedModel) -> str:
    groups = word_line_groups(model)
    mapped = sum(matrix_weight(model, name).numel() for name in matrix_names(model))
    total = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"{config.model.source} ({family_name(model)}): {mapped / 1e6:.3g} M of {total / 1e6:.3g} M parameters on "
        f"crossbars, {len(matrix_names(model))} matrices in {len(groups)} word-line groups"
    )


def _data(task: Task) -> str:
    return f"{task.name} ({task.asks}): {len(task.train)} train and {len(task.dev)} dev examples; {task.provenance}"


def _chips(config: RunConfig) -> str:
    rates = ", ".join(f"{100 * rate:g} %" for rate in config.faults.rates)
    at = "at each of" if len(config.faults.rates) > 1 else "with"
    return f"{chips_text(config.faults.chips)} of '{config.chip.name}' {at} {rates} stuck cells"


def _schemes(config: RunConfig, model: PreTrainedModel | None) -> tuple[PlannedScheme, ...]:
    protections, planes = config.protections(), config.quantization.planes
    blocks = 1 if model is None else row_blocks(model, config)
    engines, skipped = cosim_engines(config.chip, protections, planes, config.cosim.backend, blocks)
    return tuple(
        PlannedScheme(
            name,
            "exact, one product" if support_row(config.chip, scheme, planes)["fast"] is None else "every ADC code",
            _backend(engines[name]) if name in engines else f"none: {skipped[name]}",
        )
        for name, scheme in protections.items()
    )


def _backend(engine: Backend) -> str:
    """The back end that will run: "auto" is the compiled Verilog where it can be compiled."""
    if engine != "auto":
        return engine
    try:
        tools()
    except UserError as error:
        return f"numpy, for {error}".rstrip(".")
    return "verilator"


def _measure(config: RunConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task) -> _Rates:
    """Time a few examples dense, and one word-line group with and without its crossbars; the rest is in proportion."""
    model.to(best_device())  # type: ignore[arg-type]
    examples = task.dev[: config.eval.limit]
    few = examples[:: max(1, len(examples) // _EXAMPLES)][:_EXAMPLES]
    encoded = encode(tokenizer, few, task.max_length)
    predict(model, encoded, config.eval.batch_size)  # caches fill, and are not measured
    dense = _timed(lambda: predict(model, encoded, config.eval.batch_size)) / len(encoded)
    scheme = config.map.schemes[-1]
    started = time.perf_counter()
    image = smallest_image(model, config, scheme)
    mapping = time.perf_counter() - started
    group = smallest_group(model)
    share = sum(matrix_weight(model, name).numel() for name in group.matrices) / sum(
        matrix_weight(model, name).numel() for name in matrix_names(model)
    )
    activations = config.quantization.activations
    steps = {group.name: 1.0} if activations == "static" else None
    on_chip = convert(model, image, activations, steps)
    faults = FaultMap.sample(
        image.rows, image.columns, image.crossbars, max(config.faults.rates), seed_sequence(config.seed, "plan")
    )
    swap = _timed(lambda: swap_faults(on_chip, faults))
    more = _of_group(on_chip, group.matrices, encoded) - _of_group(model, group.matrices, encoded)
    model.to("cpu")  # type: ignore[arg-type]
    return _Rates(
        dense,
        dense + max(0.0, more) / share / len(encoded),
        swap / share,
        mapping / share,
        float(encoded.lengths.mean()),
    )


def _of_group(model: PreTrainedModel, matrices: Sequence[str], encoded: Encoded) -> float:
    """Seconds that the matrices of a group take for all tokens of some examples."""
    total = 0.0
    with torch.inference_mode():
        for name in matrices:
            module = model.get_submodule(name)
            inputs = module.in_features if isinstance(module, MappedLinear) else matrix_weight(model, name).shape[0]
            x = torch.randn(int(encoded.lengths.sum()), inputs, device=model.device)
            run = partial(module, x)
            run()
            total += _timed(run)
    return total


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _seconds(config: RunConfig, task: Task, rates: _Rates) -> dict[str, float]:
    """Seconds by stage; those that depend on more than the model and the data are left out."""
    train, dev, measured = len(task.train), len(task.dev), len(task.dev[: config.eval.limit])
    tuning = 0 if config.finetune.skip else config.finetune.epochs
    pruning = 0 if config.prune.method == NO_PRUNING else config.prune.epochs
    teacher = 1.0 if config.prune.distillation or config.prune.layer_distillation else 0.0
    training = config.fault_training
    second = 1.0 if training.distillation or training.layer_distillation else 0.0
    models = 3 if training.epochs else 2
    chips = _trials(config) - len(config.map.schemes)
    return {
        "finetune": tuning * train * _STEP * rates.dense,
        "score-dense": dev * rates.dense,
        "prune": pruning * train * (_STEP + teacher) * rates.dense + _solving(config, train, rates),
        "score-pruned": dev * rates.dense,
        "fault-training": training.epochs * train * (_STEP + second) * rates.dense,
        "map": len(config.map.schemes) * rates.map,
        "eval": models * measured * rates.dense + _trials(config) * measured * rates.on_chip + chips * rates.swap,
    }


def _solving(config: RunConfig, train: int, rates: _Rates) -> float:
    """Seconds in which least squares decides before training; 0 for other methods."""
    if config.prune.method != DECIDED_FIRST:
        return 0.0
    settings = config.prune.own(LeastSquaresSettings, DECIDED_FIRST)
    return _SOLVING * min(train, settings.calibration_tokens / rates.tokens) * rates.dense
