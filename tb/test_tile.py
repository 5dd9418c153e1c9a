"""A tile in front of crossbars with stuck cells: activations in, quantized activations out, as NumPy has them."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.parameters import TAG_BITS
from crossvote.rtl.registers import Register, Status
from crossvote.rtl.tile_parameters import VALUE_BITS
from crossvote.sim.peripheral.tile import activation_payloads, tile_outputs, tile_writes
from tb.tile_case import PARAMETERS, tile_case

INPUTS = ("i__valid", "i__payload", "o__ready", "bus__address", "bus__read", "bus__write", "bus__write_data")


@cocotb.test()
async def vectors_in_quantized_activations_out(dut: HierarchyObject) -> None:
    """Both streams stall now and then; votes differ where cells are stuck."""
    case, p = tile_case(), PARAMETERS
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    for name in INPUTS:
        getattr(dut, name).value = 0
    dut.bus__write_strobe.value = 0xF
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    for address, word in tile_writes(p, case.opc_map, p.opc.row_blocks, case.scales, case.offsets):
        dut.bus__address.value, dut.bus__write_data.value, dut.bus__write.value = address, word & 0xFFFFFFFF, 1
        await RisingEdge(dut.clk)
        assert not dut.bus__error.value
    dut.bus__write.value = 0
    for _ in range(MAP_REFILL):
        await RisingEdge(dut.clk)

    rng = np.random.default_rng(1)
    beats, outputs = activation_payloads(p, case.x), []
    beat, offered = next(beats, None), False
    expected = [
        (n, value, int(n == case.opc_map.outputs - 1), v % (1 << TAG_BITS), 0)
        for v, vector in enumerate(
            tile_outputs(p, case.opc_map, case.cells, case.x, case.scales, case.offsets).tolist()
        )
        for n, value in enumerate(vector)
    ]
    for _ in range(20000):
        offered = beat is not None and (offered or rng.random() < 0.8)
        ready = rng.random() < 0.5
        dut.i__valid.value, dut.i__payload.value, dut.o__ready.value = offered, beat or 0, ready
        await RisingEdge(dut.clk)
        if offered and dut.i__ready.value:
            beat, offered = next(beats, None), False
        if ready and dut.o__valid.value:
            word = int(dut.o__payload.value)
            value = word & (1 << VALUE_BITS) - 1
            value -= (value >> (VALUE_BITS - 1)) << VALUE_BITS
            marks = word >> (VALUE_BITS + p.opc.output_bits)
            number = word >> VALUE_BITS & (1 << p.opc.output_bits) - 1
            outputs.append((number, value, marks & 1, marks >> 1 & (1 << TAG_BITS) - 1, marks >> (1 + TAG_BITS)))
            if len(outputs) == len(expected):
                break
    assert outputs == expected
    assert len({value for _, value, *_ in expected}) > 4, "the outputs say nothing"
    dut.o__ready.value, dut.i__valid.value = 0, 0
    dut.bus__address.value, dut.bus__read.value = Register.DISAGREEMENTS, 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    assert int(dut.bus__read_data.value) > 0, "no cell was stuck where it shows"
    dut.bus__address.value = Register.STATUS
    for _ in range(2):
        await RisingEdge(dut.clk)
    assert not int(dut.bus__read_data.value) & ~(1 << Status.BUSY)
