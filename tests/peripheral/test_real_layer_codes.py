"""Codes of real layers on a faulty chip: the stimulus of ``make sim`` on the other two simulations of the hardware."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from opc_hardware import needs_compiler, output_payload, run_amaranth, run_compiled, stalls

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.peripheral import create_peripheral
from crossvote.sim.peripheral.programming import beat_payloads, map_writes
from tb.real_layers import CASES, LayerStimulus, draw, read, write

SHIPPED = OpcParameters()


@pytest.fixture(scope="module")
def stimuli() -> list[LayerStimulus]:
    return draw()


def test_the_stimulus_has_what_it_promises(stimuli: list[LayerStimulus], tmp_path: Path) -> None:
    assert len(stimuli) == 2 * len(CASES)
    assert {(s.name.split(",")[0], s.faulty) for s in stimuli} == {
        (v, f) for v in ("paper", "best") for f in (True, False)
    }
    for stimulus in stimuli:
        assert stimulus.opc_map.flipped.any()
        assert len(stimulus.opc_map.places[1]) == stimulus.opc_map.outputs  # the MSB plane of each has three copies
        assert stimulus.sums.any()
    write(tmp_path / "stimulus.safetensors", stimuli)
    for again in (read(tmp_path / "stimulus.safetensors"), draw()):
        for old, new in zip(stimuli, again, strict=True):
            assert (old.name, old.faulty) == (new.name, new.faulty)
            assert np.array_equal(old.codes, new.codes)
            assert np.array_equal(old.sums, new.sums)
            assert old.codes.dtype == new.codes.dtype == np.uint8
            assert map_writes(SHIPPED, old.opc_map) == map_writes(SHIPPED, new.opc_map)


@needs_compiler
def test_the_compiled_model_gives_the_integers_of_the_torch_evaluation(stimuli: list[LayerStimulus]) -> None:
    for stimulus in stimuli:
        reference, compiled = (create_peripheral(name, SHIPPED) for name in ("numpy", "verilator"))
        total, disagreements = 0, 0
        for opc in (reference, compiled):
            opc.load_map(stimulus.opc_map)
        for codes in stimulus.codes:
            got, expected = compiled.process(codes), reference.process(codes)
            assert (got.disagreements, got.cycles) == (expected.disagreements, expected.cycles)
            assert got.outputs.tolist() == expected.outputs.tolist()
            total, disagreements = total + got.outputs, disagreements + got.disagreements
        assert total.tolist() == stimulus.sums.tolist(), stimulus.name
        assert (disagreements > 0) == stimulus.faulty


@needs_compiler
@pytest.mark.parametrize("number", [0, 2])
def test_amaranth_and_the_compiled_model_move_in_the_same_clocks(stimuli: list[LayerStimulus], number: int) -> None:
    """One vector of the first row blocks, with stalls on both streams."""
    stimulus = stimuli[number]
    codes = stimulus.codes[0, :1]
    count = stimulus.opc_map.outputs
    beats = list(beat_payloads(SHIPPED, codes))
    logs = [
        run(SHIPPED, stimulus.opc_map, codes.shape[1], beats, stalls(number, 0.9, 0.6), count)
        for run in (run_amaranth, run_compiled)
    ]
    assert logs[0] == logs[1]
    reference = create_peripheral("numpy", SHIPPED)
    reference.load_map(stimulus.opc_map)
    expected = reference.process(codes).outputs[0].tolist()
    payloads = [event[2] for event in logs[0] if event[1] == "out"]
    mask = (1 << SHIPPED.sum_bits) - 1
    assert payloads == [
        output_payload(SHIPPED, stimulus.opc_map, 0, number, value & mask) for number, value in enumerate(expected)
    ]
