"""Layers of attention and feed-forward are found without names, so that traced models can be simulated."""

from __future__ import annotations

import pytest
import torch
import transformers
from test_families import BY_NAME, converted
from tiny_families import WORDS, build, outputs
from torch import nn

import crossvote as cv
from crossvote.sim.common.errors import UserError
from crossvote.swstack.experiment.simulation.encoders import is_causal
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.dataflow import named_layers
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import find_groups
from crossvote.swstack.models.tracing import trace

#: Chains of one attention group and two of feed-forward, bidirectional or not.
CHAINS = {"Bert": False, "DistilBert": False, "Albert": False, "XLNet": False, "ViT": False, "GPT2": True, "OPT": True,
          "Llama": True, "Phi3": True}  # fmt: skip


class Own(nn.Module):
    """A transformer of no library, sequence first, whose names say nothing."""

    def __init__(self, causal=False):
        super().__init__()
        self.causal = causal
        self.table = nn.Embedding(WORDS, 32)
        self.parts = nn.ModuleList(
            nn.ModuleDict(
                {"a": nn.Linear(32, 64), "b": nn.Linear(32, 32), "c": nn.Linear(32, 48), "d": nn.Linear(48, 32),
                 "n": nn.LayerNorm(32), "m": nn.LayerNorm(32)}
            ) for _ in range(2)
        )  # fmt: skip

    def forward(self, ids):
        x = self.table(ids).transpose(0, 1)  # tokens, batch, width
        for part in self.parts:
            q, k, v = part["a"](x).split((32, 16, 16), dim=-1)
            scores = torch.einsum("ibhd,jbd->bhij", q.unflatten(-1, (2, 16)), k)
            if self.causal:
                length = scores.shape[-1]
                scores = scores + torch.full((length, length), -torch.inf).triu(1)
            y = torch.einsum("bhij,jbd->ibhd", (scores / 4).softmax(-1), v).flatten(-2)
            x = part["n"](x + part["b"](y))
            x = part["m"](x + part["d"](torch.nn.functional.gelu(part["c"](x))))
        return x


def own(causal=False):
    torch.manual_seed(0)
    return Own(causal).eval()


@pytest.mark.parametrize("name", CHAINS)
def test_a_known_family_has_the_same_layers_when_it_is_traced(name):
    known, traced = build(BY_NAME[name]), build(BY_NAME[name])
    find_groups(known)
    find_groups(traced, "traced")
    found = word_line_groups(traced)
    assert [(group.role, group.matrices) for group in found] == [(g.role, g.matrices) for g in word_line_groups(known)]
    assert len({group.name for group in found}) == len(found)
    assert is_causal(traced.config.to_dict()) == CHAINS[name]


def test_a_family_that_nobody_listed_is_simulated_like_any_other():
    config = transformers.MptConfig(
        d_model=32, n_heads=4, n_layers=2, vocab_size=WORDS, max_seq_len=48, expansion_ratio=2
    )
    torch.manual_seed(0)
    module = transformers.MptForCausalLM(config).eval()
    find_groups(module, "traced")
    groups = word_line_groups(module)
    assert [group.role for group in groups] == 2 * ["qkv", "o", "ffn1", "ffn2"]
    image = build_image(module, groups, None, PRESETS["none"])
    model = cv.Model(module, None)
    prompt, step = cv.simulate(image, model, tokens=8), cv.simulate(image, model, tokens=1, context=8)
    assert prompt.workload.causal
    assert prompt.placement.crossbars == image.crossbars
    assert 0 < step.latency_ps < prompt.latency_ps


@pytest.mark.parametrize("causal", [False, True])
def test_a_model_of_no_library_has_its_layers_found(causal):
    model, ids = own(causal), torch.arange(7)[None] + 1
    groups = trace(model, lambda: model(ids))
    assert [group.role for group in groups] == 2 * ["qkv", "o", "ffn1", "ffn2"]
    assert groups[0].matrices == ("parts.0.a",)
    assert groups[4].name == "parts.1.qkv"


def test_the_encoder_of_torch_is_simulated():
    module = build(BY_NAME["nn.TransformerEncoder"])
    find_groups(module)
    image = build_image(module, word_line_groups(module), None, PRESETS["none"])
    cost = cv.simulate(image, cv.Model(module, None), tokens=8)
    assert cost.workload.heads == 4
    assert cost.placement.crossbars == image.crossbars
    with pytest.raises(UserError, match="only a decoder"):
        cv.simulate(image, cv.Model(module, None), tokens=1, context=3)


@pytest.mark.parametrize("name", ["Deberta", "Funnel", "MobileBert"])
def test_other_layers_are_mapped_and_refused_by_the_simulator_alone(name):
    module = build(BY_NAME[name])
    find_groups(module, "traced")
    assert outputs(converted(module)).isfinite().all()
    image = build_image(module, word_line_groups(module), None, PRESETS["none"])
    with pytest.raises(UserError, match=r"group \S+: its name must end in one of"):
        cv.simulate(image, cv.Model(module, None), tokens=8)


def test_parts_that_are_no_chain_are_not_named():
    class Parallel(Own):
        """Attention and feed-forward side by side, as in GPT-J."""

        def forward(self, ids):
            x = self.table(ids)
            for part in self.parts:
                q, k, v = part["a"](x).split((32, 16, 16), dim=-1)
                y = (q @ k.repeat(1, 1, 2).transpose(1, 2)).softmax(-1) @ v.repeat(1, 1, 2)
                x = x + part["b"](y) + part["d"](part["c"](part["m"](x)))
            return x

    torch.manual_seed(0)
    model, ids = Parallel().eval(), torch.arange(7)[None] + 1
    groups = trace(model, lambda: model(ids))
    assert named_layers(model, groups, lambda: model(ids)) is None
    assert "qkv" not in {group.role for group in groups}
