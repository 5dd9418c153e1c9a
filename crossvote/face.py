"""What a Python program uses: nouns with ``save`` and ``load``, verbs as functions without state.

    import crossvote as cv

    data = cv.task("sst2", glue_dir="~/glue")
    model = cv.finetune(cv.load("bert-base-uncased", data), data)
    pruned = cv.prune(model, data, columns=0.30)
    image = cv.map(pruned, scheme="best", chip="crossvote")
    chips = cv.chips(rate=0.01, number=30, seed=0)
    scores = cv.evaluate(image, pruned, data, chips)
    cost = cv.simulate(image, pruned)
    proof = cv.cosim(image, pruned, data, chips[0])

Every verb returns something new and leaves its arguments as they are. What it returns is saved by ``save`` and comes
back by ``load`` of its class, results without PyTorch; a task is not saved, for the same call gives it again.
"""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossvote.arguments import checked
from crossvote.sim.array.image import Image
from crossvote.sim.array.patterns import parse_pattern
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import build
from crossvote.sim.system.result import SystemResult
from crossvote.swstack.evaluation.results import Proof, Scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from crossvote.swstack.evaluation.product import Path as ProductPath
    from crossvote.swstack.mapping.scheme import Scheme
    from crossvote.swstack.models.masks import Masks
    from crossvote.swstack.tasks import Task

#: The nouns and verbs that ``crossvote`` offers.
__all__ = [
    "ChipConfig",
    "Image",
    "Model",
    "Proof",
    "Scores",
    "Silicon",
    "SystemResult",
    "chip",
    "chips",
    "cosim",
    "evaluate",
    "finetune",
    "load",
    "map",
    "multiply",
    "on_chip",
    "prune",
    "simulate",
    "task",
]

_MASKS = "masks.safetensors"

#: What own rows may come as; see ``task``.
Rows = Iterable[Any]


@dataclass(frozen=True, eq=False)
class Model:
    """A transformer with the head of a task, its tokenizer, and what was pruned of it.

    Attributes:
        module: the transformer; any that CrossVote can map. tokenizer: its own. masks: kept rows and columns of every
            mapped matrix, or None if nothing was pruned.
    """

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    masks: Masks | None = None

    def save(self, folder: str | Path) -> None:
        """Write ``save_pretrained`` layout, and the masks beside it; an older folder is replaced whole."""
        from crossvote.swstack.models.loading import save_model
        from crossvote.swstack.models.masks import save_masks

        save_model(self.module, self.tokenizer, Path(folder))
        if self.masks is not None:
            save_masks(self.masks, Path(folder) / _MASKS)

    @classmethod
    def load(cls, folder: str | Path, data: Task) -> Model:
        """What ``save`` wrote, for the same task.

        Raises:
            UserError: the folder is absent or damaged, or its head has other labels.
        """
        from crossvote.swstack.models.masks import load_masks

        loaded = load(str(folder), data)
        masks = Path(folder) / _MASKS
        return cls(loaded.module, loaded.tokenizer, load_masks(masks) if masks.is_file() else None)


@checked
def task(
    name: str,
    seed: int = 0,
    train: str | Path | Rows | None = None,
    dev: str | Path | Rows | None = None,
    **settings: Any,
) -> Task:
    """A task with its data: embedded, from GLUE, or one's own.

    Args:
        train: own data: a file, or rows: mappings by column name or tuples (text, label), a ``datasets.Dataset``,
            a pandas frame, or a torch data set or data loader (whose data set is taken).
        dev: own data to measure on; as ``train``.
        settings: the other keys of the section [task] of a configuration, for example ``glue_dir``, ``columns`` and
            ``train_limit``.

    Raises:
        UserError: an unknown task or setting, or data that is absent or broken.
    """
    from crossvote.swstack.tasks import TaskConfig, load_task

    given = {part: rows for part, rows in (("train", train), ("dev", dev)) if rows is not None}
    named = {part: str(at_home(rows)) if not str(rows).startswith("hub:") else str(rows)
             for part, rows in given.items() if isinstance(rows, str | Path)}  # fmt: skip
    if isinstance(settings.get("glue_dir"), str | Path):
        settings["glue_dir"] = str(at_home(settings["glue_dir"]))
    if len(named) == len(given):
        return load_task(build(TaskConfig, {"name": name, **named, **settings}, "task"), seed)
    from crossvote.swstack.tasks import task_of_rows

    # A name stands in for the rows, so that settings are checked as always.
    config = build(TaskConfig, {"name": name, **dict.fromkeys(("train", "dev"), "rows"), **settings}, "task")
    if set(given) != {"train", "dev"}:
        raise UserError("own data need both train and dev.")
    return task_of_rows(config, given["train"], given["dev"], seed)


@checked
def load(
    source: str | Path | PreTrainedModel,
    data: Task,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int = 0,
    **settings: Any,
) -> Model:
    """A transformer for a task.

    Args:
        source: a packaged encoder's name, a folder in ``save_pretrained`` layout, a name on the Hugging Face hub, or
            a transformers module, which needs its ``tokenizer``.
        data: decides the head. A head that the source lacks is drawn from ``seed``.
        settings: the other keys of [model]: ``layout``, and ``head`` to put the head's matrices on crossbars too.

    Raises:
        UserError: the source is absent, damaged, or of a family that cannot be mapped.
    """
    from crossvote.swstack.models.config import ModelConfig

    if not isinstance(source, str | Path):
        from torch import nn
        from transformers import PreTrainedTokenizerBase

        if not isinstance(source, nn.Module):
            raise UserError(f"load: source is a {type(source).__name__}; a name, a folder or a module is needed.")
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise UserError("a module needs its tokenizer: load(module, data, tokenizer=...).")
        wrapped = next((name for name in ("_orig_mod", "module") if name in source._modules), None)
        if wrapped is not None:
            raise UserError(
                f"load: source is a wrapper ({type(source).__name__}) around a model; hand over its .{wrapped}."
            )
        from crossvote.swstack.models.loading import check_finite, find_groups
        from crossvote.swstack.training.predict import check_head

        config = build(ModelConfig, settings, "load")
        check_finite(source, type(source).__name__)
        find_groups(source, config.layout, config.head)
        check_head(source, tokenizer, data)
        return Model(source, tokenizer)
    from crossvote.swstack.models.loading import load as load_with_head
    from crossvote.swstack.tasks.kinds import head_of

    named = {"source": str(at_home(source)) if isinstance(source, Path) else source, **settings}
    found = load_with_head(build(ModelConfig, named, "load"), head_of(data), seed)
    return Model(*found)


@checked
def finetune(model: Model, data: Task, *, seed: int = 0, progress: Progress = no_progress, **settings: Any) -> Model:
    """The model fine-tuned on the task's train examples. settings: keys of [finetune], for example ``epochs``."""
    from crossvote.swstack.training.config import FinetuneConfig
    from crossvote.swstack.training.finetune import finetune as train

    module = copy.deepcopy(model.module)
    config = build(FinetuneConfig, settings, "finetune")
    with tempfile.TemporaryDirectory() as work:
        train(module, model.tokenizer, data, config, seed, Path(work), progress)
    return Model(module, model.tokenizer)


@checked
def prune(
    model: Model,
    data: Task,
    columns: float = 0.30,
    *,
    seed: int = 0,
    progress: Progress = no_progress,
    **settings: Any,
) -> Model:
    """The model with a share of the columns of every word-line group pruned while it trains on.

    settings: the other keys of [prune], for example ``method`` and ``gate_epochs``.

    Raises:
        UserError: a group cannot reach the share, or an unknown or impossible setting.
    """
    from crossvote.swstack.pruning.config import PruneConfig
    from crossvote.swstack.pruning.pruning import prune as train

    module = copy.deepcopy(model.module)
    config = build(PruneConfig, {"column_sparsity": columns, **settings}, "prune")
    with tempfile.TemporaryDirectory() as work:
        result = train(module, model.tokenizer, data, config, seed, Path(work), progress)
    return Model(module, model.tokenizer, result.masks)


def chip(name: str | Path | ChipConfig = "crossvote") -> ChipConfig:
    """The description of a chip: a preset, a TOML file, or what is one already.

    Raises:
        UserError: no such preset or file, or an impossible value in it.
    """
    return _described(name)


def _described(name: str | Path | ChipConfig) -> ChipConfig:
    return name if isinstance(name, ChipConfig) else load_chip(str(name))


@checked
def map(
    model: Model,
    scheme: str | Scheme = "code",
    chip: str | Path | ChipConfig = "crossvote",
    weight_bits: int = 8,
    progress: Progress = no_progress,
) -> Image:
    """The image of a model: quantized, protected and placed on the crossbars of a chip.

    Raises:
        UserError: an unknown scheme, or one that does not fit.
    """
    from crossvote.swstack.mapping.config import QuantizationConfig
    from crossvote.swstack.mapping.mapping import map_model
    from crossvote.swstack.mapping.protection import preset

    return map_model(
        model.module,
        model.masks,
        preset(scheme) if isinstance(scheme, str) else scheme,
        build(QuantizationConfig, {"weight_bits": weight_bits}, "map"),
        _described(chip),
        name=scheme if isinstance(scheme, str) else type(scheme).__name__.lower(),
        progress=progress,
    )


@checked
def chips(
    rate: float,
    number: int = 1,
    seed: int = 0,
    chip: str | Path | ChipConfig = "crossvote",
    pattern: str | Mapping[str, Any] = "uniform",
) -> tuple[Silicon, ...]:
    """Faulty chips: each cell stuck with probability ``rate``. The same numbers give the same silicon everywhere.

    Raises:
        UserError: a rate outside 0 to 1, no chips, or an unknown pattern.
    """
    crossbar = _described(chip).crossbar
    law = parse_pattern(pattern)
    return tuple(Silicon(seed, i, rate, crossbar.rows, crossbar.columns, law) for i in range(number))


@checked
def evaluate(
    image: Image | Mapping[str, Image],
    model: Model,
    data: Task,
    chips: Sequence[Silicon],
    *,
    limit: int | None = None,
    progress: Progress = no_progress,
) -> Scores:
    """The task's metrics on every chip and without faults, exact; several images meet the same chips.

    Args:
        image: one, or several by name. model: what they were made from. limit: use only so many dev examples.
    """
    from crossvote.swstack.evaluation.chips import chips_for
    from crossvote.swstack.evaluation.config import EvalConfig
    from crossvote.swstack.evaluation.evaluation import sweep

    images = {"image": image} if isinstance(image, Image) else dict(image)
    config = build(EvalConfig, {} if limit is None else {"limit": limit}, "evaluate")
    drawn = chips_for(chips, list(images.values()))
    return sweep(model.module, model.tokenizer, data, images, drawn, config, progress=progress)


@checked
def simulate(
    image: Image,
    model: Model,
    chip: str | Path | ChipConfig = "crossvote",
    tokens: int = 128,
    sequences: int = 1,
    context: int = 0,
    embeddings: bool = False,
) -> SystemResult:
    """Latency, throughput, energy and area of a mapped model on the whole chip.

    Args:
        model: says how many attention heads there are, and whether it reads from left to right. tokens: length of a
            sequence. sequences: in the pipeline. context: tokens before the sequence whose keys and values a decoder
            has kept; with one token, a step of generation. embeddings: the table of tokens lies in crossbars, too.

    Raises:
        UserError: an image for another chip, a chip too small, a context of a model that is no decoder, or groups that
            are no layers of attention and feed-forward.
    """
    from crossvote.sim.system.model import simulate as run
    from crossvote.sim.system.workload import Workload
    from crossvote.swstack.experiment.simulation.encoders import is_causal
    from crossvote.swstack.experiment.simulation.workloads import drives_head, token_table, with_context
    from crossvote.swstack.models.layouts import attention_heads

    described = _described(chip)
    config = getattr(model.module, "config", None)
    known = {} if config is None else config.to_dict()
    plain = Workload.from_image(image, described, attention_heads(model.module), tokens)
    (workload,) = with_context({"image": plain}, is_causal(known), context).values()
    table = token_table(known) if embeddings else None
    workload = dataclasses.replace(workload, head_every=drives_head(known), table=table)
    return run(workload, described, sequences=sequences)


@checked
def on_chip(image: Image, model: Model, silicon: Silicon | None = None) -> PreTrainedModel:
    """The transformer with its matrices on crossbars, to call, to generate with, or to train around: exact integers.

    Parameters that are not mapped are shared with ``model``. Gradients go straight through what is programmed.

    Args:
        image: made from ``model``. silicon: whose cells are stuck; None: a perfect chip.

    Raises:
        UserError: the image is not of this model, or the silicon has other crossbars.
    """
    from crossvote.swstack.inference.convert import convert, swap_faults

    converted = convert(model.module, image)
    swap_faults(converted, None if silicon is None else silicon.faults(image.crossbars))
    return converted


@checked
def cosim(
    image: Image,
    model: Model,
    data: Task,
    silicon: Silicon,
    chip: str | Path | ChipConfig = "crossvote",
    *,
    progress: Progress = no_progress,
    **settings: Any,
) -> Proof:
    """Real activations through crossbars and output peripherals; each result names the back end that ran.

    settings: keys of [cosim], for example ``matrices``, ``tokens`` and ``backend``.

    Raises:
        UserError: no such matrix or back end.
    """
    from crossvote.swstack.evaluation.config import CosimConfig
    from crossvote.swstack.evaluation.cosimulation import cosimulate_matrices

    records = cosimulate_matrices(
        model.module,
        model.tokenizer,
        data,
        {"image": image},
        silicon.faults(image.crossbars),
        _described(chip),
        build(CosimConfig, settings, "cosim"),
        progress=progress,
    )
    return Proof(records)


@checked
def multiply(
    q: NDArray[np.integer],
    x: NDArray[np.integer],
    scheme: str | Scheme = "none",
    silicon: Silicon | None = None,
    path: ProductPath = "fast",
    chip: str | Path | ChipConfig = "crossvote",
) -> NDArray[np.int64]:
    """Integers y [T, N] of the matrix q [K, N] for inputs x [T, K] under a scheme, on given silicon, by any path.

    Without faults y = x @ q for every scheme that leaves out no plane. All paths give the same integers.

    Args:
        path: "fast" (one product of matrices in torch), "explicit" (every ADC code in torch), "numpy" (the reference),
            "verilator" (the exported Verilog, compiled), "amaranth" (its simulator).

    Raises:
        UserError: integers out of range, an unknown scheme or path, or one that cannot be had here.
    """
    from crossvote.swstack.evaluation.product import product
    from crossvote.swstack.mapping.protection import preset

    chosen = preset(scheme) if isinstance(scheme, str) else scheme
    return product(q, x, chosen, _described(chip), silicon, path)
