"""Waveforms: every signal once, by a proper name, and a view that shows signals that are there."""

from __future__ import annotations

import re

import numpy as np
import pytest

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.peripheral.amaranth_backend import AmaranthPeripheral
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.waveform import _histories, _parse, tidied


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small OPC that ran, with its waveform."""
    folder = tmp_path_factory.mktemp("waveform")
    parameters = OpcParameters(columns=16, lanes=2, planes=3, input_bits=4, adc_bits=5)
    peripheral = AmaranthPeripheral(parameters, folder / "opc.vcd")
    output = np.array([0, 0, 0, 1, 1, 1] + [-1] * 10, np.int32)
    plane = np.array([2, 1, 0, 2, 1, 0] + [0] * 10, np.int8)
    peripheral.load_map(OpcMap(output, plane, np.zeros(16, np.int8), np.zeros(16, np.bool_)))
    peripheral.process(np.random.default_rng(0).integers(0, 4, (2, 1, 4, 16, 2)).astype(np.uint8))
    return folder


def test_every_signal_is_there_once_by_a_proper_name(folder):
    assert {path.name for path in folder.iterdir()} == {"opc.vcd", "opc.gtkw"}
    _, root, changes = _parse((folder / "opc.vcd").read_text())
    every = list(root.walk())
    assert len(every) > 200
    names = [(variable.scope, variable.name) for variable in every]
    assert len(set(names)) == len(names)
    assert not [name for _, name in names if "$" in name]
    assert not [part for scope, _ in names for part in scope if "$" in part]
    # Nothing that changes is without a declaration, and what is shown twice in a scope differs.
    histories = _histories(changes)
    assert set(histories) <= {variable.code for variable in every}
    for variable in every:
        twin = re.fullmatch(r"(.+)_2", variable.name)
        beside = {v.name: v.code for v in every if v.scope == variable.scope}
        if twin and twin[1] in beside:
            assert histories[beside[twin[1]]] != histories[variable.code]
    assert {"lane_0", "readout", "registers", "map"} <= {v.scope[2] for v in every if len(v.scope) > 2}


def test_the_view_shows_signals_that_are_there(folder):
    _, root, _ = _parse((folder / "opc.vcd").read_text())
    there = {".".join((*v.scope, v.name)) for v in root.walk()}
    lines = (folder / "opc.gtkw").read_text().splitlines()
    assert lines[0] == '[dumpfile] "opc.vcd"'
    shown = [line.rsplit("[", 1)[0] if line.endswith(":0]") else line for line in lines if line.startswith("bench.")]
    assert set(shown) <= there
    for name in ("clk", "i__valid", "o__payload", "bus__address", r"\o__payload.sum"):
        assert f"bench.top.{name}" in shown
    assert len(shown) == len(set(shown))


def test_what_only_a_number_tells_apart_keeps_a_name_of_its_own():
    text = "\n".join(
        [
            "$timescale 1 fs $end",
            "$scope module top $end",
            "$var wire 1 a x $end",
            "$var wire 1 b x$1 $end",
            "$var wire 1 c x$2 $end",
            "$var wire 1 d y$3 $end",
            "$scope module part$9 $end",
            "$var wire 1 d y $end",
            "$upscope $end",
            "$upscope $end",
            "$enddefinitions $end",
            *("#0", "0a", "0b", "0c", "1d", "#5", "1a", "1b", "0d"),
        ]
    )
    assert tidied(text).splitlines()[2:] == [
        "$var wire 1 a x $end",
        "$var wire 1 c x_2 $end",
        "$scope module part $end",
        "$var wire 1 d y $end",
        "$upscope $end",
        "$upscope $end",
        "$enddefinitions $end",
        *("#0", "0a", "0c", "1d", "#5", "1a", "0d"),
    ]
