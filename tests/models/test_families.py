"""Every family converts, with no more difference from the dense model than quantization makes, and folds exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from tiny_families import FAMILIES, REFUSED, Family, build, outputs

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.convert import convert
from crossvote.swstack.inference.embedding_faults import FaultyEmbedding, embedding_crossbars
from crossvote.swstack.inference.mapped_linear import MappedLinear
from crossvote.swstack.mapping.config import QuantizationConfig
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.accounting import tiny_inputs
from crossvote.swstack.models.layouts import (
    head_groups,
    layers,
    matrix_bias,
    matrix_names,
    matrix_weight,
    word_line_groups,
)
from crossvote.swstack.models.loading import find_groups
from crossvote.swstack.models.masks import apply_masks, dense_masks
from crossvote.swstack.pruning.axes import pruning_axes
from crossvote.swstack.pruning.folding import fold

BY_NAME = {family.name: family for family in FAMILIES}
family_names = pytest.mark.parametrize("name", BY_NAME)


def prepare(model, name):
    """Groups and account of a model; MobileBERT, which looks like BERT, has to be told."""
    return find_groups(model, "traced" if name == "MobileBert" else "auto")


def converted(model, bits=8):
    quantization = QuantizationConfig(weight_bits=bits)
    image = build_image(
        model, word_line_groups(model), None, PRESETS["none-column"], quantization, input_bits=bits, adc_bits=16
    )
    return convert(model, image)


def difference(name: str, bits: int) -> float:
    """Largest difference from the dense outputs, as a share of their spread."""
    model = build(BY_NAME[name])
    prepare(model, name)
    dense = outputs(model)
    return float((outputs(converted(model, bits)) - dense).abs().max() / dense.std())


@family_names
def test_every_matrix_is_on_crossbars_or_digital_by_decision(name):
    family: Family = BY_NAME[name]
    model = build(family)
    account = prepare(model, name)
    assert bool(layers(model)) == family.known
    for layer in layers(model):
        assert name in ("RoFormer", "Esm") or layer.family in layer.layout.families
    assert set(account.mapped) == set(matrix_names(model))
    on_chip = converted(model)
    mapped = {path for path, module in on_chip.named_modules() if isinstance(module, MappedLinear)}
    assert mapped == set(account.mapped)
    assert mapped


@family_names
def test_conversion_costs_what_quantization_costs(name):
    coarse = difference(name, 8)
    assert 0 < coarse < 0.3
    if name.startswith("T5"):  # it casts what goes into wo to the type of the weights, unless that is int8
        with pytest.raises(UserError, match=r"DenseReluDense\.wo was handed torch\.int16"):
            difference(name, 14)
        return
    fine = difference(name, 14)
    # Six bits more: an error that does not shrink with the step would be no error of quantization.
    assert fine < coarse / 10
    assert fine > 0


def prunable(name):
    model = build(BY_NAME[name]).double()
    prepare(model, name)
    rng = np.random.default_rng(0)
    masks = dense_masks(model)
    for matrix in matrix_names(model):
        size = masks[matrix].columns.size
        masks[matrix].columns[rng.permutation(size)[: size // 3]] = False
    apply_masks(model, masks)
    return model, masks


@family_names
def test_folding_is_exact_in_double_precision(name):
    model, masks = prunable(name)
    before = outputs(model)
    biases = {matrix: matrix_bias(model, matrix) for matrix in matrix_names(model)}
    before_biases = {matrix: None if bias is None else bias.clone() for matrix, bias in biases.items()}
    folded = fold(model, masks)
    torch.testing.assert_close(outputs(model), before, rtol=1e-12, atol=1e-12)
    gained = any(not mask.rows.all() for mask in folded.values())
    foldable = any(layer.folding for layer in layers(model))
    assert gained == foldable
    changed = any(bias is not None and not torch.equal(bias, before_biases[matrix]) for matrix, bias in biases.items())
    assert changed == foldable
    for matrix, mask in folded.items():
        assert not matrix_weight(model, matrix)[torch.from_numpy(~mask.rows), :].any()


def test_a_family_without_folding_says_why():
    assert all(layer.no_folding for name in BY_NAME for layer in layers(build(BY_NAME[name]))
               if len(layer.folding) < 3)  # fmt: skip


@pytest.mark.parametrize("family", REFUSED, ids=lambda family: family.name)
def test_the_first_module_in_the_way_is_named(family):
    with pytest.raises(UserError, match=r"(module|first module in the way is) \w+\.encoder\.\S*layers?\.0\.\S+"):
        find_groups(build(family))


def _swin():
    sizes = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 2}
    return transformers.SwinForImageClassification(transformers.SwinConfig(
        image_size=8, patch_size=2, num_channels=1, **sizes))  # fmt: skip


def _segformer():
    sizes = {"num_encoder_blocks": 1, "depths": [1], "sr_ratios": [2], "hidden_sizes": [16], "patch_sizes": [3]}
    return transformers.SegformerForImageClassification(transformers.SegformerConfig(
        **sizes, strides=[2], num_attention_heads=[2], mlp_ratios=[2], num_channels=1))  # fmt: skip


def _whisper():
    sizes = {f"{part}_{size}": n for part in ("encoder", "decoder")
             for size, n in (("layers", 1), ("attention_heads", 4), ("ffn_dim", 64))}  # fmt: skip
    return transformers.WhisperModel(transformers.WhisperConfig(
        vocab_size=40, d_model=32, **sizes, max_source_positions=12, num_mel_bins=8, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1))  # fmt: skip


def _mixtral():
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(
        vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=2))  # fmt: skip


def _t5(kind=transformers.T5Model):
    return kind(transformers.T5Config(
        vocab_size=40, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, decoder_start_token_id=0))  # fmt: skip


def _translator():
    return _t5(transformers.T5ForConditionalGeneration)


@pytest.mark.parametrize(
    ("make", "layout", "matrices"),
    [
        (_swin, "auto", 13),  # heads differ from stage to stage, so its layers are traced
        (lambda: _whisper().get_encoder(), "auto", 6),  # it hears, and reads no words
        (_whisper, "traced", 16),
        (_t5, "traced", 16),  # six of the encoder's layer, ten of the decoder's
        (_translator, "traced", 16),  # its words are a head, though no module around the rest sets them apart
    ],
)
def test_what_is_no_encoder_of_words_converts_too(make, layout, matrices):
    model = make().eval()
    account = find_groups(model, layout)
    assert len(account.mapped) == matrices
    inputs = tiny_inputs(model)
    on_chip = converted(model)
    with torch.no_grad():
        dense, own = (next(iter(m(**inputs).values())) for m in (model, on_chip))
    assert 0 < float((own - dense).abs().max() / dense.std()) < 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            _mixtral,
            r"module model\.layers\.0\.mlp\.gate \(MixtralTopKRouter\) would be on no crossbar: it is no Linear",
        ),
        (_segformer, r"module segformer\.\S+ \(Conv2d\) would be on no crossbar"),
        (_whisper, r"module decoder\.layers\.0\.encoder_attn\.k_proj .* has more matrices; trace the model"),
    ],
)
def test_weights_that_are_no_matrices_are_not_left_out_in_silence(make, message):
    """Experts of a mixture are tensors of one module, and would have been digital with nobody told."""
    with pytest.raises(UserError, match=message):
        find_groups(make().eval())


def test_every_matrix_can_be_a_group_of_its_own_and_a_saved_model_remembers_it(tmp_path):
    model = build(BY_NAME["Bert"])
    find_groups(model, "single")
    assert [group.matrices for group in word_line_groups(model)] == [(name,) for name in matrix_names(model)]
    assert len(matrix_names(model)) == 12
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    find_groups(again)
    assert word_line_groups(again) == word_line_groups(model)


EVERY_TOKEN = ("GPT2", "GPTNeo", "GPTJ", "GPTNeoX", "Bloom", "OPT", "Llama", "Mistral", "Qwen2", "Qwen3", "Gemma",
               "Phi", "Phi3")  # fmt: skip
WITHOUT_HEAD = ("T5", "T5 (gated)", "nn.TransformerEncoder")


@family_names
def test_the_head_of_any_family_can_be_on_crossbars(name, tmp_path):
    model = build(BY_NAME[name])
    layout = "traced" if name == "MobileBert" else "auto"
    if name in WITHOUT_HEAD:
        with pytest.raises(UserError, match=r"model\.head: .* has no head"):
            find_groups(model, layout, head=True)
        return
    find_groups(model, layout, head=True)
    groups = head_groups(model)
    assert groups
    assert {group.role for group in groups} == {"head"}
    assert word_line_groups(model)[-len(groups) :] == groups
    assert not {group.name for group in groups} & {axis.group.name for axis in pruning_axes(model, 0.3, 0.0)}
    dense = outputs(model)
    for module in (converted(model).get_submodule(name) for group in groups for name in group.matrices):
        assert isinstance(module, MappedLinear)
    errors = [float((outputs(converted(model, bits)) - dense).abs().max() / dense.std()) for bits in (8, 14)]
    assert 0 < errors[0] < 0.4
    assert errors[1] < errors[0] / 10
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    find_groups(again)
    assert head_groups(again) == groups
    # Decoders score every token; the others one vector of a sequence.
    assert (again.config.crossvote_head == "token") == (name in EVERY_TOKEN)


def test_the_words_of_a_model_that_is_its_own_encoder_are_a_head():
    """They were a matrix like any other, whose columns were pruned: words that the model could not say any more."""
    model = _translator().eval()
    account = find_groups(model, "traced")
    assert account.digital["lm_head"] == "the head"
    assert "lm_head" not in {name for axis in pruning_axes(model, 0.3, 0.0) for name in axis.group.matrices}
    model = _translator().eval()
    find_groups(model, "traced", head=True)
    assert [group.matrices for group in head_groups(model)] == [("lm_head",)]


@family_names
def test_the_token_table_of_any_family_can_be_on_the_chip(name):
    model = build(BY_NAME[name])
    if name in ("ViT", "DeiT", "nn.TransformerEncoder"):  # pixels, and vectors that are embedded already
        with pytest.raises(UserError, match="no token embedding table"):
            embedding_crossbars(model, 16, 32)
        return
    prepare(model, name)
    dense = outputs(model)
    on_chip = converted(model)
    before = outputs(on_chip)
    table = FaultyEmbedding(on_chip, 0, rows=16, columns=32)
    perfect = outputs(on_chip)
    assert not torch.equal(perfect, before)
    assert float((perfect - before).abs().max() / before.std()) < 0.3
    table.program(FaultMap.sample(16, 32, table.crossbars, 0.05, np.random.SeedSequence(1)))
    assert float((outputs(on_chip) - perfect).abs().max()) > float((perfect - before).abs().max())
    table.program(None)
    assert torch.equal(outputs(on_chip), perfect)
    assert torch.equal(outputs(model), dense)


def test_tracing_a_known_family_finds_its_groups():
    known, traced = build(BY_NAME["Bert"]), build(BY_NAME["Bert"])
    find_groups(known)
    find_groups(traced, "traced")
    assert [group.matrices for group in word_line_groups(traced)] == [g.matrices for g in word_line_groups(known)]
    assert [group.heads for group in word_line_groups(traced)] == [group.heads for group in word_line_groups(known)]
