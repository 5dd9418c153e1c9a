"""Greedy generation on faulty chips, for both layouts of decoders: token by token what the whole text would give."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import find_groups

WORDS, NEW = 40, 8
PROMPTS = torch.randint(3, WORDS, (3, 5), generator=torch.Generator().manual_seed(1))
COMMON = {"vocab_size": WORDS, "bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
MAKE = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=48, **COMMON)),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, max_position_embeddings=48, **COMMON)
    ),
}  # fmt: skip


def decoder(layout):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MAKE[layout]().eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name and "ln_" not in name:
                    parameter.copy_(torch.randn(parameter.shape) * 0.3)
    find_groups(model)
    return model


def on_chip(model):
    image = build_image(model, word_line_groups(model), None, PRESETS["none-column"])
    return convert(model, image), image


def chip(image, rate, number):
    return FaultMap.sample(image.rows, image.columns, image.crossbars, rate, seed_sequence(number))


def written(model, **options):
    return model.generate(
        PROMPTS, attention_mask=torch.ones_like(PROMPTS), max_new_tokens=NEW, do_sample=False, **options
    )


@pytest.mark.parametrize("layout", MAKE)
def test_each_token_is_the_likeliest_after_the_text_before_it(layout):
    model, image = on_chip(decoder(layout))
    swap_faults(model, chip(image, 0.01, 1))
    text = written(model)
    assert text.shape == (3, 5 + NEW)
    assert torch.equal(text[:, :5], PROMPTS)
    with torch.no_grad():
        whole = model(text).logits.argmax(-1)
    assert torch.equal(whole[:, 4:-1], text[:, 5:])
    assert torch.equal(written(model, use_cache=False), text)


@pytest.mark.parametrize("layout", MAKE)
def test_a_chip_always_writes_the_same_and_a_faulty_one_something_else(layout):
    model, image = on_chip(decoder(layout))
    perfect = written(model)
    swap_faults(model, chip(image, 0.2, 1))
    faulty = written(model)
    assert torch.equal(written(model), faulty)
    assert not torch.equal(faulty, perfect)
    swap_faults(model, None)
    assert torch.equal(written(model), perfect)
