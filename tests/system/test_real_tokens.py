from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.system.model import simulate
from crossvote.sim.system.workload import Workload
from crossvote.swstack.evaluation.real_tokens import captured_inputs, check_tokens, rtl_groups
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.layouts import word_line_groups

CHIP = load_chip("crossvote")


def model():
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=48,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=50,
        max_position_embeddings=40,
    )
    return BertForSequenceClassification(config).eval()


def batches():
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        ids = torch.randint(1, 50, (2, 9), generator=generator)
        mask = torch.ones_like(ids)
        mask[1, 6:] = 0
        yield {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("scheme", ["none", "paper", "best"])
def test_a_whole_encoder_s_tokens_are_the_real_ones(scheme):
    plain = model()
    image = build_image(plain, word_line_groups(plain), None, PRESETS[scheme], rows=128, columns=128, name=scheme)
    faults = FaultMap.sample(128, 128, image.crossbars, 0.005, seed_sequence(3))
    on_chip = convert(plain, image, "token")
    swap_faults(on_chip, faults)
    inputs = captured_inputs(on_chip, image, batches(), 20)
    assert {len(x) for x in inputs.values()} == {20}
    real = rtl_groups(image, CHIP, inputs, faults, "numpy")
    result = simulate(Workload.from_image(image, CHIP, 2, 20), CHIP, computed=real)
    checks = check_tokens(result, on_chip, image, inputs)
    assert [check.group for check in checks] == [group.name for group in image.groups]
    assert all(check.equal for check in checks)
    assert sum(check.disagreements for check in checks) > 0 or scheme == "none"
    # The same integers against a chip without faults are not equal: the comparison can fail.
    swap_faults(on_chip, None)
    assert not all(check.equal for check in check_tokens(result, on_chip, image, inputs))


def test_padding_is_left_out():
    plain = model()
    image = build_image(plain, word_line_groups(plain), None, PRESETS["none"], rows=128, columns=128, name="none")
    on_chip = convert(plain, image, "token")
    every = captured_inputs(on_chip, image, batches(), 1000)
    assert {len(x) for x in every.values()} == {3 * (9 + 6)}
    first = captured_inputs(on_chip, image, batches(), 7)
    assert all(np.array_equal(first[name], every[name][:7]) for name in every)


def test_a_run_without_computed_groups_has_nothing_to_check():
    plain = model()
    image = build_image(plain, word_line_groups(plain), None, PRESETS["none"], rows=128, columns=128, name="none")
    result = simulate(Workload.from_image(image, CHIP, 2, 4), CHIP)
    with pytest.raises(UserError, match="no word-line group was computed"):
        check_tokens(result, plain, image, {})
