"""Transformers from the hub, from a directory, or from a package, with the head a task needs."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from crossvote.sim.common.errors import UserError, counted
from crossvote.sim.common.files import writing
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.models.accounting import Account, account_for
from crossvote.swstack.models.causality import check_reads_left_to_right
from crossvote.swstack.models.config import Layout, ModelConfig
from crossvote.swstack.models.heads import Head, HeadKind
from crossvote.swstack.models.labels import adopt_labels
from crossvote.swstack.models.layouts import HEAD_KEY, TRACED, WordLineGroup, family_name, layers
from crossvote.swstack.models.sources import (
    BUFFERS,
    check_words_can_be_read,
    locate,
    name_mapping,
    sentencepiece_file,
    without_marks,
)
from crossvote.swstack.models.tokenizers import (
    PictureInputs,
    check_unknown,
    check_words,
    fit_tokenizer,
    say_how_words_are_read,
)
from crossvote.swstack.models.tracing import map_head, trace
from crossvote.swstack.models.unpacking import unpack_attention

_log = logging.getLogger(__name__)

_CLASSES: dict[HeadKind, Any] = {
    "sequence-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
    "masked-lm": AutoModelForMaskedLM,
    "causal-lm": AutoModelForCausalLM,
    "image-classification": AutoModelForImageClassification,
}
#: What they do.
_KINDS: dict[HeadKind, str] = {
    "sequence-classification": "sequence classification",
    "token-classification": "token classification",
    "question-answering": "extractive question answering",
    "masked-lm": "masked language modelling",
    "causal-lm": "causal language modelling",
    "image-classification": "image classification",
}
#: Code that a checkpoint brings along is not run, and nobody is asked whether it should be.
_OWN_CODE: dict[str, Any] = {"trust_remote_code": False}
#: Attribute of a loaded model: whether its head was drawn, because the source has none for the task.
FRESH_HEAD = "crossvote_fresh_head"
#: Parameters of adapters, by the names that peft and adapters give their modules.
_ADAPTER = re.compile(r"(^|\.)(lora_\w+|base_layer|adapters)\.")
#: Key of a model's configuration that says how its word-line groups were found.
_LAYOUT_KEY = "crossvote_layout"


def load_model(
    cfg: ModelConfig, num_labels: int, regression: bool, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """load with a sequence classifier's head of ``num_labels`` nameless classes, or a regression's of one output."""
    return load(cfg, Head(outputs=num_labels, regression=regression), seed)


def load(cfg: ModelConfig, head: Head, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of ``cfg`` with ``head``, in evaluation mode on the CPU, and its tokenizer, which agrees with it.

    Weights are read from safetensors only. A head that the source lacks, or that has another number of labels, is
    drawn afresh from ``seed``; every other weight must come from the source. A head that is there is brought into the
    order of the labels by their names. Every matrix of the encoder is accounted for before the model is returned.

    Raises:
        UserError: the source is absent or damaged, lacks encoder weights or holds more of them than the model takes,
            has weights that are no numbers, a tokenizer without words, or matrices that nothing could map.
    """
    location = locate(cfg.source)
    with _quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed_sequence(seed, "head").generate_state(1)[0]))
        part = "model"
        try:
            with without_marks(location) as readable:
                named = AutoConfig.from_pretrained(readable, **_OWN_CODE)
                config = AutoConfig.from_pretrained(readable, **_OWN_CODE, **head.settings())
                _as_usual(config)
                _check_kind(cfg.source, named, head.kind)
                pictures = head.kind == "image-classification"
                part = "tokenizer of model"
                tokenizer: Any = None if pictures else AutoTokenizer.from_pretrained(readable, **_OWN_CODE)
                part = "model"
                model, info = _CLASSES[head.kind].from_pretrained(
                    readable,
                    config=config,
                    key_mapping=name_mapping(location),
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                    dtype=torch.float32,
                    **_OWN_CODE,
                )
        except UserError:
            raise
        except Exception as error:  # the library lets errors of many others through
            if part != "model":
                check_words_can_be_read(location)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            raise UserError(f"{part} {cfg.source!r} cannot be loaded ({reason}).") from None
    model.name_or_path = location
    _check_family(cfg.source, named)
    _check_complete(cfg.source, model, info)
    check_finite(model, cfg.source)
    if pictures:
        tokenizer = PictureInputs.of(model)
    else:
        check_words(tokenizer, location)
        words = sentencepiece_file(location)
        if words is not None:
            say_how_words_are_read(tokenizer, words)
        fit_tokenizer(tokenizer, model)
        check_unknown(tokenizer, location)
    new = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    outside = {name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")}
    fresh = bool(new & outside)
    setattr(model, FRESH_HEAD, fresh)
    adopt_labels(model, head, dict(named.id2label or {}), fresh, cfg.source)
    find_groups(model, cfg.layout, cfg.head)
    if head.kind == "causal-lm":
        check_reads_left_to_right(model)
    return model.eval(), tokenizer


def find_groups(model: nn.Module, layout: Layout = "auto", head: bool = False) -> Account:
    """Settle the word-line groups of ``model``, in place, and account for every matrix of its encoder.

    head: put the matrices of the head on crossbars too.

    What was settled goes into the model's configuration, so that a saved model is read back with the same groups.

    Raises:
        UserError: the message names the first module that is in the way.
    """
    adapter = next((name for name, _ in model.named_parameters() if _ADAPTER.search(name)), None)
    if adapter is not None:
        raise UserError(
            f"{family_name(model)}: {adapter} is of an adapter, which would have crossbars of its own; merge it into "
            "its matrix first (merge_and_unload of peft)."
        )
    unpack_attention(model)
    config: Any = getattr(model, "config", None)
    if layout == "auto":
        layout = getattr(config, _LAYOUT_KEY, "auto")
    if layout == "auto" and not layers(model):
        layout = "traced"
    if layout == "traced":
        trace(model)
    elif layout == "single":
        setattr(
            model,
            TRACED,
            tuple(WordLineGroup(name, (name,), (1,)) for group in trace(model) for name in group.matrices),
        )
    if head or getattr(config, HEAD_KEY, None):
        map_head(model)
    if config is not None and layout != "auto":
        setattr(config, _LAYOUT_KEY, layout)
    return account_for(model)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write model and tokenizer in ``save_pretrained`` layout (safetensors); an older directory is replaced whole.

    Raises:
        StorageError: the system refuses, for example because the disk is full; an older directory then stays.
    """
    directory = Path(directory)
    with writing(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
        try:
            with _quiet_transformers():
                model.save_pretrained(temporary, safe_serialization=True)
                tokenizer.save_pretrained(str(temporary))
            temporary.chmod(0o755)
            if directory.exists():
                # A non-empty directory cannot be replaced in one step; move it out of the way first.
                outdated = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
                os.replace(directory, outdated)
                os.replace(temporary, directory)
                shutil.rmtree(outdated)
            else:
                os.replace(temporary, directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _as_usual(config: PretrainedConfig) -> None:
    """Settings that say how a model is run, and not what it computes, as everything here takes them to be.

    A feed-forward network in chunks fails at inputs whose length they do not divide, and a fused attention that is not
    installed at any.
    """
    config.return_dict = True
    config.output_attentions = config.output_hidden_states = False
    if getattr(config, "chunk_size_feed_forward", 0):
        config.chunk_size_feed_forward = 0
    if config._attn_implementation not in (None, "eager", "sdpa"):
        config._attn_implementation = None


def _check_kind(source: str, config: PretrainedConfig, kind: HeadKind) -> None:
    """Refuse a family that the library has no head of this kind for."""
    if type(config) not in _CLASSES[kind]._model_mapping:
        raise UserError(
            f"model {source!r} is of the family '{config.model_type}', for which transformers has no model of "
            f"{_KINDS[kind]}; take another model, or another kind of task."
        )


def _check_family(source: str, config: PretrainedConfig) -> None:
    """Say that a configuration calls the model by the name of another family than it says the model is of."""
    for name in config.architectures or ():
        known = getattr(getattr(transformers, str(name), None), "config_class", None)
        family = getattr(known, "model_type", config.model_type)
        if family != config.model_type:
            _log.warning(
                "model %s is read as one of the family '%s', which its config.json names, but the architecture %s "
                "there is of '%s'; one of them is wrong.",
                source, config.model_type, name, family,
            )  # fmt: skip


def _check_complete(source: str, model: PreTrainedModel, info: dict[str, Any]) -> None:
    """Refuse a source that leaves encoder weights at random or whose encoder holds more than the model.

    Only head and pooler may be new, and only what lies outside the encoder may be left over.
    """
    prefix = f"{model.base_model_prefix}."

    def of_encoder(keys: Iterable[str]) -> list[str]:
        return sorted(key for key in keys if key.startswith(prefix) and ".pooler." not in key)

    other_shape = {name: (tuple(found), tuple(wanted)) for name, found, wanted in info["mismatched_keys"]}
    differing = of_encoder(other_shape)
    if differing:
        found, wanted = other_shape[differing[0]]
        pruned = " after its heads were pruned" if getattr(model.config, "pruned_heads", None) else ""
        others = f", the first of {len(differing)} weights that differ" if len(differing) > 1 else ""
        raise UserError(
            f"model {source!r} was saved with other shapes{pruned}: {differing[0]} is {_shape(found)} in the file and "
            f"{_shape(wanted)} by config.json{others}."
        )
    absent = of_encoder(info["missing_keys"])
    if absent:
        called = next((key for key in info["unexpected_keys"] if key.endswith(absent[0].removeprefix(prefix))), None)
        instead = f"; the file calls that {called}" if called else ""
        raise UserError(
            f"model {source!r} does not provide {counted(len(absent), 'weight')} of {type(model).__name__}, "
            f"{_first(absent)}{instead}."
        )
    parts = {name for name, _ in model.base_model.named_children()} - {"pooler"}
    left = sorted(
        key
        for key in info["unexpected_keys"]
        if key.removeprefix(prefix).split(".")[0] in parts and not key.endswith(BUFFERS)
    )
    if left:
        adapter = any(part in key for key in left for part in ("lora_", "adapter"))
        advice = "merge adapters into the weights first" if adapter else "config.json describes another model"
        raise UserError(
            f"model {source!r} holds {counted(len(left), 'encoder weight')} that {type(model).__name__} would drop, "
            f"{_first(left)}; {advice}."
        )


def check_finite(model: nn.Module, source: str) -> None:
    """Refuse a model with NaN or infinity in its parameters.

    Raises:
        UserError: the message names the first such parameter.
    """
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            count = int((~torch.isfinite(parameter)).sum())
            raise UserError(f"model {source!r}: {name} is NaN or infinite in {counted(count, 'place')}.")


def _first(names: Sequence[str]) -> str:
    """The one name there is, or the first of several."""
    return f"the first is {names[0]}" if len(names) > 1 else names[0]


def _shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in sizes) or "a single number"


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence the library's notes on fresh heads and unused weights; they are checked here instead."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
