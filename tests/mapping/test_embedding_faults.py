"""Stuck cells in the embedding table change the bits they hold and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mapping_cases import tiny_image, tiny_model, tokens
from torch import nn

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.convert import convert
from crossvote.swstack.inference.embedding_faults import FaultyEmbedding, embedding_crossbars


def faulty(model, first=3, **options) -> FaultyEmbedding:
    return FaultyEmbedding(model, first, rows=16, columns=32, **options)


def test_without_faults_the_table_is_quantized_and_the_shared_one_stays():
    model = tiny_model()
    before = model.get_input_embeddings().weight.clone()
    converted = convert(model, tiny_image(model))
    table = faulty(converted)
    assert torch.equal(model.get_input_embeddings().weight, before)
    assert converted.get_input_embeddings() is table.table
    assert (table.table.weight - before).abs().max() <= 0.5001 * table.step.max()
    assert table.crossbars == embedding_crossbars(model, 16, 32) == 50 * 32 * 8 // 512
    with torch.inference_mode():
        converted(**tokens())


@pytest.mark.parametrize("scale", ["tensor", "column"])
@pytest.mark.parametrize("rate", [0.01, 0.5, 1.0])
def test_bits_are_replaced_as_if_written_out(rate, scale):
    table = faulty(tiny_model(), scale=scale)
    faults = FaultMap.sample(16, 32, 3 + table.crossbars, rate, np.random.SeedSequence(1))
    for chip in (FaultMap.sample(16, 32, 3 + table.crossbars, 0.3, np.random.SeedSequence(9)), None, faults):
        table.program(chip)
    chip_cells = np.full(faults.size, -1)
    chip_cells[faults.cells] = faults.stuck_at
    stuck = chip_cells[3 * 16 * 32 :][: table.integers.size * 8].reshape(-1, 8)
    bits = (np.abs(table.integers).ravel()[:, None] >> np.arange(7)) & 1
    bits = np.concatenate([bits, (table.integers.ravel() < 0)[:, None]], axis=1)
    bits = np.where(stuck >= 0, stuck, bits)
    expected = (bits[:, :7] @ (1 << np.arange(7))) * np.where(bits[:, 7], -1, 1)
    got = (table.table.weight.numpy() / table.step).ravel()
    np.testing.assert_allclose(got, expected, atol=1e-3)
    table.program(None)
    np.testing.assert_allclose(table.table.weight.numpy() / table.step, table.integers, atol=1e-3)


def test_chips_without_room_and_models_without_a_table_are_refused():
    table = faulty(tiny_model())
    with pytest.raises(UserError, match="sample a larger chip"):
        table.program(FaultMap.empty(16, 32, 10))
    with pytest.raises(UserError, match="no token embedding table"):
        embedding_crossbars(nn.Linear(2, 2), 16, 32)
