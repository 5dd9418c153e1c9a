"""Every matrix of an encoder is on crossbars or digital by decision, none by accident; checked when a model is loaded.

The names of modules alone do not say that a layer computes what its layout means: some families call their modules as
BERT does and have more of them, or drive them otherwise. So the layout's claims are compared with the modules that are
there, and with what a forward pass on a few tokens really hands to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import nn

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.layouts import (
    WordLineGroup,
    family_name,
    is_matrix,
    layers,
    matrix_weight,
    traced_groups,
    word_line_groups,
)

#: Matrices outside the layers that are digital by decision: what is done once per input and not once per layer.
_DIGITAL = {
    r"(^|\.)pooler(\.|$)": "the pooler, used for one token",
    r"(^|\.)(\w*embed\w*|wte|wpe|patch_embed\w*|relative_attention_bias)(\.|$)": "embeddings",
    r"(^|\.)contact_head(\.|$)": "contacts that are read off maps of attention, for which no forward pass asks",
    r"(^|\.)(project_in|project_out|embedding_hidden_mapping_in)$": "projection beside the embeddings",
}


#: Parameters inside layers of traced models that meet no token (Funnel's and XLNet's positions, Swin's bias table).
_OF_POSITIONS = re.compile(r"bias|table|embed|^r(_kernel)?$")
#: Samples of a short sound: a quarter of a second at 16 kHz.
_SAMPLES = 4000
_PIXELS = 32


@dataclass(frozen=True)
class Account:
    """Where the matrices of an encoder are computed: names on crossbars, and digital ones with the reason."""

    mapped: tuple[str, ...]
    digital: dict[str, str]


def account_for(model: nn.Module) -> Account:
    """The account of a model, after its word-line groups were tried on a few tokens.

    Raises:
        UserError: the message names the first module that is in the way: one that would be on no crossbar, one that
            does not fit the others of its group, or one that is not driven as its group says; or the outputs that are
            no numbers.
    """
    groups = word_line_groups(model)
    account = _account(model, groups)
    _check_shapes(model, groups)
    inputs = tiny_inputs(model)
    if inputs is not None:
        found: list[Any] = []
        check_driven(model, groups, lambda: found.append(model(**inputs)))
        name = not_finite(found[-1])
        if name is not None:
            raise UserError(
                f"{family_name(model)}: {name} of a short input are NaN or infinite, though all weights are numbers; "
                "they are too large, or a number of the model's configuration is wrong."
            )
    return account


def not_finite(outputs: Any) -> str | None:
    """Name of the first of a model's outputs that holds NaN or infinity; None where all are numbers."""
    if isinstance(outputs, torch.Tensor):
        outputs = (outputs,)
    items = outputs.items() if isinstance(outputs, Mapping) else (("outputs", values) for values in outputs)
    for name, values in items:
        if isinstance(values, torch.Tensor) and values.is_floating_point() and not bool(values.isfinite().all()):
            return str(name)
    return None


def encoder_of(model: nn.Module) -> tuple[str, nn.Module]:
    """Path and module of the part of a model that is to be mapped: all but the head."""
    prefix = getattr(model, "base_model_prefix", "")
    base = getattr(model, prefix, None) if prefix else None
    return (prefix, base) if isinstance(base, nn.Module) else ("", model)


def words_beside(model: nn.Module) -> str | None:
    """Path of the matrix that scores words, in a model that is its own encoder (T5): it is a head there, too."""
    prefix, _ = encoder_of(model)
    words = getattr(model, "get_output_embeddings", lambda: None)()
    if prefix or words is None:
        return None
    return next((path for path, module in model.named_modules() if module is words), None)


def _account(model: nn.Module, groups: Sequence[WordLineGroup]) -> Account:
    prefix, encoder = encoder_of(model)
    mapped = tuple(name for group in groups for name in group.matrices)
    on_crossbars = set(mapped)
    of_layers = {
        f"{layer.path}.{name}": reason for layer in layers(model) for name, reason in layer.layout.digital.items()
    }
    digital: dict[str, str] = {}
    repeated, head = _repeated(encoder, prefix, on_crossbars), words_beside(model)
    for path, module in encoder.named_modules(prefix=prefix):
        heavy = [name for name, parameter in module.named_parameters(recurse=False) if parameter.dim() > 1]
        if path in on_crossbars or not heavy:
            continue
        reason = "the head" if path == head else digital_reason(path, module, of_layers)
        if reason is None and not is_matrix(module):
            if not _inside(path, layers(model)) and not any(path.startswith(f"{part}.") for part in repeated):
                reason = "a table or a filter outside the layers"
            elif traced_groups(model) and all(_OF_POSITIONS.search(name) for name in heavy):
                reason = "what is added or projected of positions and segments is the same for every input"
        if reason is None:
            raise UserError(
                f"module {path} ({type(module).__name__}) would be on no crossbar: {_obstacle(model, module)}"
            )
        digital[path] = reason
    return Account(mapped, digital)


def _repeated(encoder: nn.Module, prefix: str, mapped: Set[str]) -> list[str]:
    """Paths of the members of lists of modules that hold mapped matrices: the layers of a traced model."""
    lists = [path for path, module in encoder.named_modules(prefix=prefix) if isinstance(module, nn.ModuleList)]
    return [path for path in lists if any(name.startswith(f"{path}.") for name in mapped)]


def _obstacle(model: nn.Module, module: nn.Module) -> str:
    if not is_matrix(module):
        return f"it is no Linear or Conv1D, so {family_name(model)!r} cannot be mapped as a whole."
    if traced_groups(model):
        return "a forward pass does not call it."
    return (
        f"{family_name(model)!r} looks like a known family but has more matrices; trace the model "
        "(model.layout = 'traced') to map them all."
    )


def digital_reason(path: str, module: nn.Module, of_layers: Mapping[str, str] | None = None) -> str | None:
    """Why a module is computed digitally, None if nobody decided so; of_layers: decisions inside layers."""
    if isinstance(module, nn.Embedding):
        return "a table"
    for name, reason in (of_layers or {}).items():
        if path == name or path.startswith(f"{name}."):
            return reason
    return next((reason for pattern, reason in _DIGITAL.items() if re.search(pattern, path)), None)


def _inside(path: str, found: Sequence[Any]) -> bool:
    return any(not layer.path or path == layer.path or path.startswith(f"{layer.path}.") for layer in found)


def _check_shapes(model: nn.Module, groups: Sequence[WordLineGroup]) -> None:
    for group in groups:
        shapes = [tuple(matrix_weight(model, name).shape) for name in group.matrices]
        for name, (inputs, outputs), heads in zip(group.matrices, shapes, group.heads, strict=True):
            if inputs != shapes[0][0]:
                raise UserError(
                    f"module {name} takes {inputs} inputs, but {group.matrices[0]} takes {shapes[0][0]}: they cannot "
                    f"share word lines, so {family_name(model)!r} only looks like a known family; trace it "
                    "(model.layout = 'traced')."
                )
            if outputs % heads:
                raise UserError(f"module {name} has {outputs} outputs, which {heads} attention heads do not divide.")


def tiny_inputs(model: nn.Module) -> dict[str, torch.Tensor] | None:
    """Keyword arguments for a forward pass on a short input; None for a model that does not say what it takes."""
    config: Any = getattr(model, "config", None)
    if config is None:
        return None
    generator = torch.Generator().manual_seed(0)
    if getattr(model, "main_input_name", "input_ids") == "pixel_values":
        size = getattr(config, "image_size", _PIXELS)  # some take pictures of any size
        height, width = (size, size) if isinstance(size, int) else size
        return {"pixel_values": torch.rand(1, config.num_channels, height, width, generator=generator)}
    words = int(getattr(config, "vocab_size", 0) or 0)
    if not words:
        return None
    ids = torch.randint(min(5, words - 1), words, (1, 6), generator=generator)
    end = getattr(config, "eos_token_id", None)
    if getattr(config, "is_encoder_decoder", False) and isinstance(end, int):
        ids[:, -1] = end  # some classify by it
    # What a decoder reads beside what the encoder does.
    beside = {"decoder_input_ids": ids} if "decoder_input_ids" in signature(model.forward).parameters else {}
    match getattr(model, "main_input_name", "input_ids"):
        case "input_features":
            frames = 2 * config.max_source_positions
            return {"input_features": torch.rand(1, config.num_mel_bins, frames, generator=generator), **beside}
        case "input_values":
            return {"input_values": torch.rand(1, _SAMPLES, generator=generator), **beside}
    return {"input_ids": ids, "attention_mask": torch.ones(1, 6, dtype=torch.int64), **beside}


def first_inputs(
    model: nn.Module, modules: Mapping[str, nn.Module], run: Callable[[], object], what: str
) -> dict[str, torch.Tensor]:
    """The tensor of each module's first call, by path, while ``run`` calls the model in evaluation mode.

    The tensors are kept, so that no other takes the memory of one. ``what`` names the run in the refusal.

    Raises:
        UserError: the run fails.
    """
    first: dict[str, torch.Tensor] = {}

    def watch(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            first.setdefault(path, args[0])

        return hook

    hooks = [module.register_forward_pre_hook(watch(path)) for path, module in modules.items()]
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            run()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(f"{family_name(model)}: {what} fails ({reason}).") from None
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return first


def check_driven(model: nn.Module, groups: Sequence[WordLineGroup], run: Callable[[], object]) -> None:
    """Run the model and see that every matrix is used, and that those of a group get the same tensor.

    Raises:
        UserError: the message names the first matrix that is not, or saying why the forward pass failed.
    """
    modules = {name: model.get_submodule(name) for group in groups for name in group.matrices}
    first = first_inputs(model, modules, run, "a forward pass on a short input")
    for group in groups:
        for name in group.matrices:
            if name not in first:
                raise UserError(
                    f"module {name} is in the model but a forward pass does not call it; it cannot be mapped."
                )
            same = first[name] is first[group.matrices[0]] or (
                first[name].data_ptr() == first[group.matrices[0]].data_ptr()
                and first[name].shape == first[group.matrices[0]].shape
            )
            if not same:
                raise UserError(
                    f"module {name} is not driven by the same tensor as {group.matrices[0]}, so they cannot share word "
                    f"lines: {family_name(model)!r} only looks like a known family; trace it (model.layout = 'traced')."
                )
