"""A whole layer of a real encoder under optimal codes, through the compiled Verilog: every integer of every output."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from opc_hardware import needs_compiler

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import load_chip
from crossvote.sim.peripheral import create_peripheral
from crossvote.sim.peripheral.opc_array import OpcArray
from crossvote.swstack.inference.convert import ProgrammedGroup
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.mapping.mapping import quantize_group
from crossvote.swstack.mapping.programming import place_group
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import MatrixMask

PRUNED, RATE = 0.3, 0.05


@needs_compiler
@pytest.mark.parametrize("vectors", [1, pytest.param(16, marks=pytest.mark.slow)])
def test_the_verilog_is_exact_on_a_whole_layer_of_codes(vectors: int) -> None:
    model, _ = load_model(ModelConfig(source="minilm-l6"), 2, False, 0)
    chip = load_chip("crossvote")
    parameters = opc_parameters(chip)
    rng = np.random.default_rng(0)
    first, compared, changed = 0, 0, 0
    for group in word_line_groups(model)[:4]:
        norms = {name: np.linalg.norm(matrix_weight(model, name).numpy(), axis=0) for name in group.matrices}
        bound = np.quantile(np.concatenate(list(norms.values())), PRUNED)
        inputs = len(matrix_weight(model, group.matrices[0]))
        masks = {name: MatrixMask(np.ones(inputs, np.bool_), norm > bound) for name, norm in norms.items()}
        quantized = quantize_group(model, group, masks, 8, "column")
        image = place_group(quantized, PRESETS["code"], 7, chip.crossbar.rows, chip.crossbar.columns, first)
        first += image.pairs
        faults = FaultMap.sample(image.rows, image.columns, 2 * first, RATE, np.random.SeedSequence(1))
        x = np.clip(np.rint(rng.standard_normal((vectors, inputs)) * 40), -128, 127).astype(np.int64)
        bundles = image.bundles(chip.opc.columns, chip.opc.outputs)
        opcs = OpcArray(image, chip, lambda: create_peripheral("verilator", parameters), faults, bundles)
        found = opcs.process(x).outputs
        placed = PlacedGroup(image)
        layers = tuple(CrossbarLinear(placed, matrix, 8) for matrix in image.matrices)
        programmed = ProgrammedGroup(placed, layers)
        integers = torch.from_numpy(x).to(torch.int8)
        clean = np.concatenate([layer.integer_outputs(integers).numpy() for layer in layers], axis=1)
        programmed.program(faults)
        expected = np.concatenate([layer.integer_outputs(integers).numpy() for layer in layers], axis=1)
        np.testing.assert_array_equal(found, expected, err_msg=group.name)
        compared += expected.size
        changed += int((expected != clean).sum())
    assert compared == vectors * (3 * 384 + 384 + 1536 + 384)
    assert changed > 0.6 * compared  # all outputs that are not pruned, but for a few
