"""The support matrix says what goes together: every cell of it is tried."""

from __future__ import annotations

import os
import sys
from functools import cache

import numpy as np
import pytest
import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "mapping"))
from mapping_cases import driven_inputs, quantized

from crossvote.sim.array import crossbar, imperfect_reads
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.array.imperfect_reads import loss
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.chip.shipped import chip_presets
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.common.schema import merge
from crossvote.sim.peripheral import create_peripheral
from crossvote.sim.peripheral.support import (
    ENGINES,
    RULES,
    check_image,
    cosim_backend,
    group_demand,
    refusal,
)
from crossvote.sim.peripheral.tile_backend import NumpyTile
from crossvote.sim.peripheral.verilator_build import find_verilator
from crossvote.sim.system.cosim import CosimRequest, cosimulate
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.token_stages import GroupTiming
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.shipped import shipped_configs
from crossvote.swstack.experiment.support import check_run, cosim_engines, support_row
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.inference.explicit_linear import ExplicitLinear
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.mapping.demand import scheme_demand
from crossvote.swstack.mapping.programming import place_group
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.schemes.replicas import Replicas

#: Changes of a small chip.
CHIPS = {
    "plain": {},
    "two-bit cells": {"crossbar": {"cell_bits": 2}},
    "two-bit disturbed": {"crossbar": {"cell_bits": 2}, "cell": {"one_disturb": 0.01}},
    "four-bit cells": {"crossbar": {"cell_bits": 4}},
    "clipping": {"adc": {"bits": 4}},
    "clipping on purpose": {"adc": {"bits": 4, "may_clip": True}},
    "coarse": {"adc": {"bits": 3, "full_scale": 16.0}},
    "leaking": {"cell": {"on_off_ratio": 20.0}},
    "varying": {"cell": {"variation": 0.1}},
    "disturbed": {"cell": {"zero_disturb": 0.01}},
    "without voter": {"opc": {"voter": False}},
    "without map": {"opc": {"voter": False, "column_map": False}},
    "one row block": {"opc": {"row_blocks": 1}},
    "three lanes": {"opc": {"columns": 33, "lanes": 3}},
    "scaled": {"opc": {"scale_bits": 6}},
    "five planes": {"opc": {"planes": 5}},
    "narrow peripheral": {"opc": {"columns": 8, "lanes": 4}},
    "narrow crossbar": {"crossbar": {"columns": 8}},
    "single": {"crossbar": {"pair": "none"}},
    "analog": {"crossbar": {"pair": "analog"}},
    "two-bit inputs": {"dac": {"bits": 2}},
    "fixed cycles": {"pipeline": {"peripheral": "cycles"}, "opc": {"row_blocks": 1, "columns": 33, "lanes": 3}},
}
SCHEMES = {
    **{
        name: PRESETS[name]
        for name in ("none", "paper", "best", "triplicated", "mean5", "vote5", "code", "paper-alone")
    },
    "five": Replicas(replicas={"msb": 5}, vote="crossbar"),
}
PLANES = 7


@cache
def chip_of(name: str) -> ChipConfig:
    small = {"crossbar": {"rows": 16, "columns": 32}, "opc": {"columns": 32, "lanes": 4, "row_blocks": 3}}
    return load_chip("crossvote", merge(small, CHIPS[name]))


@cache
def group_of(scheme: str, columns: int, cell_bits: int):
    rng = np.random.default_rng(5)
    return place_group(quantized(rng, 40, 9), SCHEMES[scheme], PLANES, rows=16, columns=columns, cell_bits=cell_bits)


def faults_of(group) -> FaultMap:
    crossbars = 2 * (group.first_pair + group.pairs)
    return FaultMap.sample(group.rows, group.columns, crossbars, 0.03, np.random.SeedSequence(1))


def run(engine: str, chip: ChipConfig, group) -> None:
    """Run the engine; raises if it does not, fails if it gives other integers than the cell-by-cell reference."""
    faults, x = faults_of(group), driven_inputs(np.random.default_rng(2), group, 1)
    read = ReadModel.of_chip(chip)
    image = Image((group,), {}, 8, chip.adc.bits)
    if engine == "system":
        if chip.crossbar.pair != "none":  # such a chip is simulated by size
            check_image(chip, image)
        assert GroupTiming(chip, GroupWork.from_image(group, chip)).latency_ps > 0
    elif engine == "fast":
        assert loss(image, read) is None
        placed = PlacedGroup(group)
        errors = placed.errors(faults)
        changed, change = placed.weight_changes(errors)
        np.add.at(placed.weight.ravel(), changed, change.astype(placed.weight.dtype))
        layers = [CrossbarLinear(placed, matrix, 8) for matrix in group.matrices]
        for layer in layers:
            layer.corrections.extend(placed.corrections(errors, layer.first_output, layer.out_features))
        same(layers, x, crossbar.reference_outputs(group, x, 8, chip.adc.bits, faults))
    elif engine == "explicit":
        loss(image, read)  # refuses what is not modelled, as ``convert`` does
        layers = [ExplicitLinear(group, matrix, 8, chip.adc.bits, read) for matrix in group.matrices]
        for layer in layers:
            layer.program(faults)
        expected = imperfect_reads.reference_outputs(group, x, 8, chip.adc.bits, read, faults)
        same(layers, x, None if read.disturbed else expected)
    else:
        tile = NumpyTile if engine == "tile" else None  # its Verilog takes minutes to compile for all these chips
        request = CosimRequest(
            group, x, lambda: create_peripheral(engine, opc_parameters(chip)), faults, make_tile=tile
        )
        assert cosimulate(request, chip).mismatches == 0


def same(layers, x, expected) -> None:
    got = torch.cat([layer.integer_outputs(torch.from_numpy(x)) for layer in layers], dim=1).numpy()
    assert expected is None or np.array_equal(got, expected)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", CHIPS)
def test_every_cell_of_the_matrix_is_true(name, scheme):
    chip = chip_of(name)
    row = support_row(chip, SCHEMES[scheme], PLANES)
    assert set(row) == set(ENGINES) == set(RULES)
    try:
        group = group_of(scheme, chip.crossbar.columns, chip.crossbar.cell_bits)
    except UserError:
        assert all(row[engine] is not None for engine in ENGINES if engine != "system"), row
        return
    for engine in ENGINES:
        # The widest matrix decides the row blocks, which a scheme alone does not know.
        why = row[engine] or refusal(chip, group_demand(group), engine)
        if why is not None:
            assert "\n" not in why
            assert not why.endswith(".")
            continue
        if engine == "verilator" or (engine == "amaranth" and name != "plain" and scheme != "paper"):
            continue  # the same hardware description; compiling and simulating it takes long
        run(engine, chip, group)


@pytest.mark.skipif(find_verilator() is None or find_compiler() is None, reason="needs Verilator and a compiler")
def test_the_compiled_hardware_description_runs_what_the_matrix_says():
    chip = load_chip("crossvote", {"crossbar": {"rows": 16}})
    for scheme in SCHEMES:
        group = group_of(scheme, 128, 1)
        if refusal(chip, group_demand(group), "verilator") is None:
            run("verilator", chip, group)
        else:
            with pytest.raises(UserError):
                run("verilator", chip, group)


@pytest.mark.parametrize(
    ("name", "scheme", "engine"),
    [
        ("leaking", "none", "fast"),
        ("plain", "five", "numpy"),
        ("plain", "five", "amaranth"),
        ("without map", "none", "numpy"),
        ("without voter", "paper", "numpy"),
        ("three lanes", "none", "numpy"),
        ("one row block", "paper", "numpy"),
        ("one row block", "paper", "system"),
        ("narrow peripheral", "paper", "numpy"),
        ("two-bit disturbed", "none", "explicit"),
    ],
)
def test_what_the_matrix_refuses_does_not_run(name, scheme, engine):
    chip = chip_of(name)
    group = group_of(scheme, chip.crossbar.columns, chip.crossbar.cell_bits)
    assert refusal(chip, group_demand(group), engine) is not None
    with pytest.raises((UserError, AssertionError)):
        run(engine, chip, group)


@pytest.mark.parametrize("scheme", PRESETS)
def test_a_mapped_group_asks_what_its_scheme_asked(scheme):
    if scheme.startswith("code"):
        pytest.skip("its codes depend on the weights")
    group = place_group(quantized(np.random.default_rng(5), 40, 9), PRESETS[scheme], PLANES, rows=16, columns=128)
    mapped, asked = group_demand(group), scheme_demand(PRESETS[scheme], PLANES, 1)
    assert (mapped.planes, mapped.vote, mapped.row_blocks) == (asked.planes, asked.vote, 3)
    for name in ("output", "plane", "replica", "flipped", "shift", "copy"):
        np.testing.assert_array_equal(np.sort(getattr(mapped.codes, name)), np.sort(getattr(asked.codes, name)))


def test_auto_leaves_out_what_no_output_peripheral_runs():
    schemes = {name: SCHEMES[name] for name in ("paper", "mean5", "five")}
    chosen, left_out = cosim_engines(load_chip("crossvote"), schemes, PLANES, "auto")
    assert chosen == {"paper": "auto", "mean5": "auto"}
    assert list(left_out) == ["five"]
    assert "one line (replica 0) or three" in left_out["five"]
    with pytest.raises(UserError, match="scheme 'five': the output peripheral 'verilator' does not co-simulate"):
        check_run(load_chip("crossvote"), schemes, PLANES, "token", "verilator")
    with pytest.raises(UserError, match="no output peripheral co-simulates this"):
        cosim_backend(load_chip("crossvote"), [scheme_demand(SCHEMES["five"], PLANES, 1)], "auto")
    for own in ("auto", "numpy", "verilator", "tile"):
        says = "^no output peripheral co-simulates" if own == "auto" else "does not co-simulate"
        with pytest.raises(UserError, match=f"{says} this: the output peripheral votes on the differences of cross"):
            cosim_backend(load_chip("crossvote"), [scheme_demand(SCHEMES["paper-alone"], PLANES, 1)], own)


def test_auto_takes_numpy_where_only_that_runs(monkeypatch):
    monkeypatch.setitem(RULES, "verilator", (lambda chip, demand: "not today",))
    assert cosim_backend(load_chip("crossvote"), [scheme_demand(SCHEMES["paper"], PLANES, 1)], "auto") == "numpy"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["chip.preset=isaac-ce"], "digital pairs of 1- or 2-bit cells"),
        (["chip.adc.bits=7"], "chip.adc.may_clip = true"),
        (["chip.adc.bits=7", "chip.adc.may_clip=true", "quantization.activations=float"], "'float' cannot be streamed"),
        (["quantization.weight_bits=12"], "chip.opc.planes = 7"),
        (["chip.crossbar.cell_bits=2"], "a full bit line sums to 384 levels"),
        (["chip.crossbar.cell_bits=2", "chip.adc.bits=9"], "'mean5'.*one-bit cells"),
        (
            ["cosim.backend=amaranth", "map.protection.five={replicas={msb=5}, vote='output'}", "map.schemes=['five']"],
            "peripheral 'amaranth'",
        ),
        (["chip.cell.variation=0.1", "map.schemes=['closest']"], "'closest' programs around known faults"),
        (["map.protection.mine={checksum_bits=2}", "map.schemes=['mine']"], "but chip.opc.checksum_bits = 0"),
        (["map.protection.mine={kind='turned', checksum_bits=2}"], "checksum_bits is for schemes that are blind"),
        (["chip.opc.lanes=3", "chip.opc.columns=129", "cosim.backend=numpy"], "lanes = 3 must be a power of two"),
        (["faults.pattern={kind='clustered', cluster_size=900, cluster_radius=0.5}"], "do not fit within a radius"),
    ],
)
def test_a_run_that_cannot_be_finished_is_refused_when_it_is_read(overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        load_config(shipped_configs()["default"], ['map.schemes=["none", "mean5"]', *overrides])
    assert "\n" not in str(caught.value)


def test_two_bit_cells_are_evaluated_and_not_cosimulated():
    overrides = ["chip.crossbar.cell_bits=2", "chip.adc.bits=9", 'map.schemes=["none", "paper"]']
    config = load_config(shipped_configs()["default"], overrides)
    chosen, skipped = cosim_engines(config.chip, config.protections(), PLANES, config.cosim.backend)
    assert chosen == {}
    assert set(skipped) == {"none", "paper"}


def test_row_blocks_beyond_the_peripheral_are_refused_where_they_are_known():
    config = load_config(shipped_configs()["default"], ['map.schemes=["paper"]', "cosim.backend=numpy"])
    config.check_support(32)
    with pytest.raises(UserError, match="adds 48 row blocks first"):
        config.check_support(48)


@pytest.mark.parametrize("preset", chip_presets())
def test_shipped_chips_say_where_they_clip(preset):
    chip = load_chip(preset)
    assert chip.adc.may_clip == chip.clips
