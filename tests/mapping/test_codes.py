"""Optimal codes: the programme finds what exhaustive search finds, and its error model holds on simulated chips."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image, MatrixImage
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.base import OpcMap
from crossvote.swstack.inference.convert import ProgrammedGroup
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.mapping.codes import (
    FaultLaw,
    best_codes,
    deal_lines,
    median_factor,
    predicted_variance,
)
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.quantization import quantize_weights
from crossvote.swstack.mapping.scheme import Scheme, code_lines, scheme_from


def gaussian(rng: np.random.Generator, inputs: int = 256, outputs: int = 96, pruned: float = 0.3) -> QuantizedGroup:
    """Normal weights whose outputs differ in size, one scale per column."""
    kept = rng.random(outputs) >= pruned
    weights = rng.standard_normal((inputs, outputs)) * rng.uniform(0.3, 1.0, outputs) * kept
    q, scale = quantize_weights(weights.astype(np.float32), 8, "column")
    return QuantizedGroup("g", q, (MatrixImage("m", 0, outputs, scale, None),), np.ones(inputs, np.bool_), kept)


def cost_of(planes: dict[int, int], ones: np.ndarray, law: FaultLaw) -> float:
    """Expected squared error of a weight, straight from the definition, for so many summed lines of each plane."""
    lowest = min(planes)
    idle = min(law.sa0 * (1 - law.sa0), law.sa1 * (1 - law.sa1))
    busy = law.sa0 * (1 - law.sa0) + law.sa1 * (1 - law.sa1)
    total = (4.0**lowest - 1) / 12
    for plane, count in planes.items():
        variance = (1 - ones[plane]) * 2 * idle + ones[plane] * busy
        shares = [2.0**plane]
        while len(shares) < count:
            largest = shares.pop(shares.index(max(shares)))
            shares += [largest / 2, largest / 2]
        total += variance * sum(share**2 for share in shares)
    return total


def shifts_of(planes: dict[int, int]) -> list[list[int]]:
    """Shifts of the terms of each plane, from the top plane down, straight from the definition."""
    found = []
    for plane, count in sorted(planes.items(), reverse=True):
        shares = [plane]
        while len(shares) < count:
            largest = shares.pop(shares.index(max(shares)))
            shares += [largest - 1, largest - 1]
        found.append(sorted(shares))
    return found


def runs(planes: dict[int, int], advance: int, tail: int) -> bool:
    """Whether no plane begins more than ``advance`` below those above it, and the code ends at ``tail`` or below."""
    shifts = shifts_of(planes)
    lowest = [min(shift for part in shifts[: i + 1] for shift in part) for i in range(len(shifts))]
    return lowest[-1] <= tail and all(
        above - max(part) <= advance for above, part in zip(lowest, shifts[1:], strict=False)
    )


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.3])
@pytest.mark.parametrize(("advance", "tail"), [(9, 9), (2, 3), (1, 1), (0, 1)])
@pytest.mark.parametrize("sa0_sa1", [(1.75, 9.04), (1.0, 0.0)])
def test_the_best_code_is_that_of_exhaustive_search(rate, advance, tail, sa0_sa1):
    law = FaultLaw.of(rate, sa0_sa1)
    ones = np.array([[0.5, 0.2], [0.4, 0.3], [0.4, 0.1], [0.1, 0.001]])
    table = best_codes(ones, law, 9, None, advance, tail)
    for output, lines in itertools.product(range(2), range(1, 10)):
        possible = [
            cost_of(chosen, ones[:, output], law)
            for kept in (1, 2, 3, 4)
            for counts in itertools.product(range(1, 9), repeat=kept)
            if sum(counts) == lines
            and all(count <= 1 << plane for count, plane in zip(counts, (3, 2, 1, 0), strict=False))
            and runs(chosen := dict(zip((3, 2, 1, 0), counts, strict=False)), advance, tail)
        ]
        if not possible:
            assert np.isinf(table.cost[lines, output])
            continue
        assert table.cost[lines, output] == pytest.approx(min(possible))
        code = table.code(output, lines)
        assert len(code_lines(code)) == lines
        counts = {plane: sum(t.plane == plane for t in code) for plane in {t.plane for t in code}}
        assert cost_of(counts, ones[:, output], law) == pytest.approx(min(possible))
        assert [sorted(t.shift for t in code if t.plane == plane) for plane in sorted(counts, reverse=True)] == (
            shifts_of(counts)
        )


@pytest.mark.parametrize("votes", [False, True])
def test_every_code_of_the_table_runs_on_the_output_peripheral(votes):
    """Also where the top plane hardly has a 1 and lines are few or many, under any split of the faults."""
    rng = np.random.default_rng(6)
    columns, parameters = 128, OpcParameters()
    for law in (FaultLaw.of(0.05), FaultLaw.of(0.2, (1.0, 0.0)), FaultLaw.of(0.001, (0.0, 1.0))):
        table = best_codes(rng.random((7, 12)) ** 4, law, 20, 128 if votes else None)
        for output, lines in itertools.product(range(12), range(21)):
            if np.isfinite(table.cost[lines, output]):
                own = code_lines(table.code(output, lines))
                used = np.pad(np.zeros(len(own), np.int32), (0, columns - len(own)), constant_values=-1)
                plane, shift, copy, replica, flipped = np.pad(own, ((0, columns - len(own)), (0, 0))).T
                OpcMap(used, plane, replica, flipped.astype(np.bool_), shift, copy).check_fits(parameters)
    assert np.isinf(table.cost[:4]).all()  # the shortest that ends at shift 3 has one line for each plane down to it


def test_lines_are_dealt_as_exhaustive_search_deals_them():
    rng = np.random.default_rng(1)
    for _ in range(20):
        cost = np.sort(rng.random((6, 3)), axis=0)[::-1].copy()
        cost[0] = np.inf
        weight = rng.uniform(0.1, 2.0, 3)
        lines = int(rng.integers(3, 16))
        best = min(
            sum(cost[n, j] * weight[j] for j, n in enumerate(counts))
            for counts in itertools.product(range(1, 6), repeat=3)
            if sum(counts) <= lines
        )
        dealt, gap = deal_lines(cost, weight, lines)
        reached = float((cost[dealt, np.arange(3)] * weight).sum())
        assert dealt.sum() <= lines
        assert best <= reached + 1e-12
        assert reached <= best * (1 + gap) * (1 + 1e-9)
        assert gap < 0.5


def test_more_stuck_cells_cost_low_planes_and_buy_copies():
    group = gaussian(np.random.default_rng(2))
    lowest, copies = [], []
    for rate in (0.0001, 0.01, 0.1):
        scheme = dataclasses.replace(PRESETS["code"], design_rate=rate)
        column_map = place_group(group, scheme, 7, 128, 128).column_map
        lowest.append(
            np.mean([column_map.plane[column_map.output == j].min() for j in np.flatnonzero(group.kept_outputs)])
        )
        copies.append(np.mean(column_map.plane[column_map.used] == 6))
    assert lowest == sorted(lowest)
    assert lowest[0] < 0.5 < 2 < lowest[2]
    assert copies[0] < copies[2]


@pytest.mark.parametrize("name", ["code", "code-group", "code-vote"])
def test_optimal_codes_never_need_more_crossbars(name):
    for pruned in (0.0, 0.3, 1.0):
        group = gaussian(np.random.default_rng(3), pruned=pruned)
        image = place_group(group, PRESETS[name], 7, 128, 128)
        dense = place_group(group, PRESETS["none-column"], 7, 128, 128)
        assert image.column_blocks <= dense.column_blocks
        assert np.array_equal(
            np.unique(image.column_map.output[image.column_map.used]), np.flatnonzero(group.kept_outputs)
        )


def measured_variance(group: GroupImage, x: np.ndarray, rate: float, chips: int) -> np.ndarray:
    """Variance of the outputs over chips, float64[N], mean over the vectors."""
    placed = PlacedGroup(group)
    layers = tuple(CrossbarLinear(placed, matrix, 8) for matrix in group.matrices)
    programmed = ProgrammedGroup(placed, layers)
    outputs = []
    for chip in range(chips):
        crossbars = Image((group,), {}, 8, 8).crossbars
        seed = np.random.SeedSequence([7, chip])
        programmed.program(FaultMap.sample(group.rows, group.columns, crossbars, rate, seed))
        outputs.append(layers[0].integer_outputs(torch.from_numpy(x).to(torch.int8)).numpy())
    return np.var(np.stack(outputs).astype(float), axis=0, ddof=1).mean(axis=0)


@pytest.mark.parametrize(
    ("name", "rate", "within"),
    [
        ("none-column", 0.03, 0.1),
        ("flip-all", 0.05, 0.1),
        ("mean5", 0.05, 0.1),
        ("code", 0.05, 0.1),
        ("code", 0.1, 0.1),
        ("best", 0.05, 0.1),
        ("best", 0.01, 0.1),
        ("vote5", 0.05, 0.1),
    ],
)
def test_predicted_output_variance_is_measured(name, rate, within):
    rng = np.random.default_rng(4)
    group = place_group(gaussian(rng), PRESETS[name], 7, 128, 128)
    x = np.clip(np.rint(rng.standard_normal((24, group.inputs)) * 40), -127, 127).astype(np.int64)
    predicted = predicted_variance(group, (x.astype(float) ** 2).mean(axis=0), FaultLaw.of(rate)).sum()
    measured = measured_variance(group, x, rate, 60).sum()
    assert abs(predicted / measured - 1) < within, predicted / measured


@pytest.mark.parametrize("name", ["code", "flip-all"])
def test_scales_make_up_for_the_shrinkage_of_a_known_rate(name):
    """Over chips an output is 1 - p of what it would be; with scales for p it is all of it."""
    rng = np.random.default_rng(8)
    weights, rate = gaussian(rng), 0.1
    schemes = [PRESETS[name], dataclasses.replace(PRESETS[name], compensated_rate=rate)]
    plain, made_up = (place_group(weights, scheme, 7, 128, 128) for scheme in schemes)
    assert np.array_equal(plain.cells, made_up.cells)
    placed = PlacedGroup(made_up)
    (layer,) = layers = tuple(CrossbarLinear(placed, matrix, 8) for matrix in made_up.matrices)
    x = torch.from_numpy(np.clip(np.rint(rng.standard_normal((24, 256)) * 40), -127, 127)).to(torch.int8)
    meant = layer.integer_outputs(x).numpy() * plain.matrices[0].scale
    programmed, total = ProgrammedGroup(placed, layers), np.zeros(meant.shape)
    for chip in range(60):
        seed = np.random.SeedSequence([9, chip])
        programmed.program(FaultMap.sample(128, 128, 2 * made_up.pairs, rate, seed))
        total += layer.integer_outputs(x).numpy() * made_up.matrices[0].scale / 60
    assert float((total * meant).sum() / (meant**2).sum()) == pytest.approx(1, abs=0.02)
    assert "10 % of stuck cells" in schemes[1].describe()


def test_a_median_of_many_normal_errors_is_that_of_a_normal_sample_and_of_few_ones_rare():
    """The median of three normal values has 1 - sqrt(3)/pi of their variance; with rare errors two must meet."""
    assert median_factor(np.array([300.0]))[0] == pytest.approx(1 - np.sqrt(3) / np.pi, rel=0.01)
    rate = 0.001
    # Three pairs of replicas, each pair wrong with rate^2; of two errors the smaller counts if they agree in sign.
    smaller = 1 - 2 / np.pi
    assert median_factor(np.array([rate]))[0] == pytest.approx(3 * rate**2 * smaller / 2 / rate, rel=0.05)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.7, -0.1])
def test_design_rates_outside_zero_to_half_are_refused(rate):
    with pytest.raises(UserError, match="design_rate"):
        scheme_from({"kind": "optimal", "design_rate": rate})


def test_too_few_bit_lines_are_one_sentence():
    scheme: Scheme = PRESETS["code"]
    group = gaussian(np.random.default_rng(5), outputs=30, pruned=0.0)
    from crossvote.swstack.mapping.programming import group_statistics

    with pytest.raises(
        UserError, match="group g: its 30 outputs need 4 bit lines each at least, 20 more than there are"
    ):
        scheme.allocate(group_statistics(group, 7, 1, 128), 100)
    with pytest.raises(UserError, match="no code of up to 3 bit lines runs on the output peripheral; raise most_lines"):
        dataclasses.replace(scheme, most_lines=3).allocate(group_statistics(group, 7, 1, 128), 1000)
