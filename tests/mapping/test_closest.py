"""Programming around known faults: what is chosen is what the chip gives, and nearly always the nearest value."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from mapping_cases import driven_inputs, quantized, tiny_model, tokens

from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.array.self_test import RepeatedReads
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.around import PROGRAMS
from crossvote.swstack.inference.around.closest import ClosestProgram
from crossvote.swstack.inference.around.loss import CLASSES, classes_of, losses
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.programming import place_group
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.scheme import scheme_from
from crossvote.swstack.mapping.schemes.closest import Closest
from crossvote.swstack.models.layouts import word_line_groups

SCHEMES = {
    "closest": PRESETS["closest"],
    "closest5": PRESETS["closest5"],
    "flipped": Closest(lines=(2, 2, 1, 1), flip="all", placement="free"),
}


def chip(group: GroupImage, rate: float, seed: int = 0) -> FaultMap:
    crossbars = Image((group,), {}, 8, 8).crossbars
    return FaultMap.sample(group.rows, group.columns, crossbars, rate, np.random.SeedSequence(seed))


def as_on_chip(group: GroupImage, program: ClosestProgram, faults: FaultMap) -> tuple[GroupImage, np.ndarray]:
    """The group with the column map and the cells that this chip gets, and the word line of each input."""
    arrangement = program.arranged(faults)[1]
    line, turned, word = (part.numpy() for part in (arrangement.line, arrangement.turned, arrangement.word))
    arrays = {}
    for field in dataclasses.fields(ColumnMap):
        values = getattr(group.column_map, field.name)
        arrays[field.name] = np.empty_like(values)
        arrays[field.name][line] = values ^ turned if field.name == "flipped" else values
    driven = np.empty_like(group.kept_inputs)
    driven[word] = group.kept_inputs
    cells = np.packbits(program.cells(faults).numpy(), axis=-1)
    return dataclasses.replace(group, column_map=ColumnMap(**arrays), cells=cells, kept_inputs=driven), word


@pytest.mark.parametrize(
    ("kind", "rate"),
    [("closest", 0.05), ("closest", 1.0), *((kind, 0.3) for kind in PROGRAMS.names())],
)
@pytest.mark.parametrize("name", SCHEMES)
def test_what_is_programmed_gives_the_integers_that_are_promised(kind, name, rate):
    """With lines, signs and inputs wherever the kind puts them: the plain reference reads the cells of that chip."""
    rng = np.random.default_rng(0)
    group = place_group(quantized(rng), SCHEMES[name], 7, rows=16, columns=24)
    faults = chip(group, rate)
    program = PROGRAMS[kind](PlacedGroup(group), torch.device("cpu"))
    weight = program.apply(faults).numpy()
    programmed, word = as_on_chip(group, program, faults)
    x = driven_inputs(rng, group)
    seen = np.empty_like(x)
    seen[:, word] = x
    np.testing.assert_array_equal(reference_outputs(programmed, seen, 8, 8, faults), x @ weight.astype(np.int64).T)


@pytest.mark.parametrize("kind", ["closest", "placed"])
def test_a_map_with_misses_and_false_alarms_is_read_as_the_cells_are(kind):
    """Programmed around what the test found, read with what is stuck."""
    rng = np.random.default_rng(4)
    group = place_group(quantized(rng), SCHEMES["closest5"], 7, rows=16, columns=24)
    faults = chip(group, 0.2)
    missed = {}
    for misread in (0.0, 0.1):
        program = PROGRAMS[kind](PlacedGroup(group), torch.device("cpu"), RepeatedReads(misread=misread))
        weight = program.apply(faults).numpy()
        programmed, word = as_on_chip(group, program, faults)
        x = driven_inputs(rng, group)
        seen = np.empty_like(x)
        seen[:, word] = x
        np.testing.assert_array_equal(reference_outputs(programmed, seen, 8, 8, faults), x @ weight.astype(np.int64).T)
        missed[misread] = int(np.abs(weight.astype(int) - program.dense.weight.numpy()).sum())
    assert missed[0.1] > 1.2 * missed[0.0]


@pytest.mark.parametrize("lines", [(1,) * 7, (3, 2, 1, 1, 1, 1, 1)])
def test_the_more_a_kind_may_choose_the_less_is_missed(lines):
    group = place_group(
        quantized(np.random.default_rng(3), inputs=64, outputs=40, pruned=0.3),
        Closest(lines=lines, placement="free"), 7, rows=64, columns=64,
    )  # fmt: skip
    faults = chip(group, 0.1)
    missed = {}
    for kind in PROGRAMS.names():
        program = PROGRAMS[kind](PlacedGroup(group), torch.device("cpu"))
        off = program.apply(faults).double() - program.dense.weight
        missed[kind] = float(off.square().sum())
        assert float(program.missed(*program.arranged(faults)).sum()) == missed[kind]
    assert missed["turned"] < 0.6 * missed["closest"]
    assert missed["permuted"] < 0.6 * missed["closest"]
    assert missed["placed"] < 0.2 * missed["closest"]


def test_losses_of_single_pairs_are_the_distance_to_what_the_output_can_hold():
    weight = torch.arange(-127, 128)[None].expand(2, -1)
    shift, reach = torch.tensor([6, 2]), torch.tensor([63, 0])
    loss = losses(weight, shift, reach, share=1.0)
    for number, (low, high) in enumerate(CLASSES):
        for line, (s, r) in enumerate(((6, 63), (2, 0))):
            nearest = [
                min(abs(v - (d * (1 << s) + o)) for d in range(low, high + 1) for o in range(-r, r + 1))
                for v in range(-127, 128)
            ]
            # A short reach leaves gaps between digits, which the bounds of the sum do not see.
            value = weight[0].numpy()
            bound = np.maximum(np.maximum(low * (1 << s) - r - value, value - high * (1 << s) - r), 0)
            assert loss[number, line].sqrt().tolist() == pytest.approx(bound.tolist())
            assert r == 0 or nearest == bound.tolist()


def test_classes_are_those_of_the_cells_that_are_stuck():
    stuck = torch.tensor([[[-1, 1, 0, -1, -1, 1, 0, 1, 0]], [[-1, -1, -1, 1, 0, 1, 0, 0, 1]]])
    found = classes_of(stuck)[:, 0].T
    expected = [None, (0, 1), (-1, 0), (-1, 0), (0, 1), (0, 0), (0, 0), (1, 1), (-1, -1)]
    for pair, classes in zip(expected, found.tolist(), strict=True):
        assert [own == pair for own in CLASSES] == classes


@pytest.mark.parametrize("rate", [0.1, 0.4])
@pytest.mark.parametrize("name", SCHEMES)
def test_values_are_nearly_always_the_nearest_that_exist(name, rate):
    rng = np.random.default_rng(1)
    group = place_group(quantized(rng, inputs=16, outputs=24, pruned=0.0), SCHEMES[name], 7, rows=16, columns=24)
    faults = chip(group, rate, 1)
    placed = PlacedGroup(group)
    chosen = ClosestProgram(placed, torch.device("cpu")).apply(faults).numpy().astype(int)
    meant = placed.weight.astype(int)
    stuck = np.full((2 * group.pairs, group.rows, group.columns), -1)
    own, values = faults.of_crossbars(0, 2 * group.pairs)
    stuck.ravel()[own] = values
    nearest = np.zeros_like(meant)
    for output, k in itertools.product(range(24), range(16)):
        reachable = {0}
        for line in np.flatnonzero(group.column_map.output == output):
            pair = 2 * group.pair(0, line // group.columns)
            sides = [stuck[pair + sign, k, line % group.columns] for sign in (0, 1)]
            options = [(0, 1) if side < 0 else (side,) for side in sides]
            turned = -1 if group.column_map.flipped[line] else 1
            digits = {turned * (a - b) for a in options[0] for b in options[1]}
            reachable = {r + d * (1 << int(group.column_map.shift[line])) for r in reachable for d in digits}
        nearest[output, k] = min(abs(value - meant[output, k]) for value in reachable)
    missed = np.abs(chosen - meant)
    assert (missed >= nearest).all()
    assert (missed == nearest).mean() > 0.98
    assert missed.mean() <= 1.05 * nearest.mean() + 0.02


def test_a_model_on_a_known_chip_is_nearly_that_without_faults():
    model = tiny_model()
    images = {
        name: build_image(model, word_line_groups(model), None, PRESETS[name], rows=16, columns=32, name=name)
        for name in ("none-column", "closest", "placed")
    }
    assert images["placed"].crossbars == images["closest"].crossbars == images["none-column"].crossbars
    faults = FaultMap.sample(16, 32, images["closest"].crossbars, 0.05, np.random.SeedSequence(2))
    off = {}
    for name, image in images.items():
        converted = convert(model, image)
        layers = [module for module in converted.modules() if isinstance(module, CrossbarLinear)]
        meant = [layer.weight.clone().int() for layer in layers]
        with torch.inference_mode():
            perfect = converted(**tokens()).logits
            swap_faults(converted, faults)
            off[name] = sum(int((layer.weight - was).abs().sum()) for layer, was in zip(layers, meant, strict=True))
            assert not torch.equal(converted(**tokens()).logits, perfect)
            swap_faults(converted, None)
            assert torch.equal(converted(**tokens()).logits, perfect)
    assert off["placed"] < off["closest"] < 0.25 * off["none-column"]


def test_the_misreads_of_a_scheme_reach_its_programming():
    model = tiny_model()
    weights = {}
    for misread in (0.0, 0.2):
        scheme = Closest(scale="column", flip="none", misread=misread)
        image = build_image(model, word_line_groups(model), None, scheme, rows=16, columns=32, name="closest")
        assert ("20 % of the self-test's reads wrong" in scheme.describe()) == (misread > 0)
        converted = convert(model, image)
        swap_faults(converted, FaultMap.sample(16, 32, image.crossbars, 0.1, np.random.SeedSequence(2)))
        layers = [module for module in converted.modules() if isinstance(module, CrossbarLinear)]
        weights[misread] = torch.cat([layer.weight.flatten() for layer in layers])
    assert (weights[0.0] != weights[0.2]).float().mean() > 0.05


def test_schemes_that_cannot_are_refused():
    with pytest.raises(UserError, match="voted must be empty"):
        scheme_from({"kind": "closest", "lines": [3, 1], "voted": [0]})
    model = tiny_model()
    image = build_image(model, word_line_groups(model), None, PRESETS["closest"], rows=16, columns=32, name="closest")
    with pytest.raises(UserError, match="scheme 'closest' programs around known faults; asked for, which it cannot"):
        convert(model, image, path="explicit")
    group = place_group(quantized(np.random.default_rng(0)), PRESETS["best"], 7, rows=16, columns=24)
    with pytest.raises(UserError, match="a code that does not vote"):
        ClosestProgram(PlacedGroup(group), torch.device("cpu"))
