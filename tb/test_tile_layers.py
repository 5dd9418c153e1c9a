"""Real layers through the tile: activations in, quantized activations out, cells from image and fault map files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cocotb
from cocotb.handle import HierarchyObject

from crossvote.rtl.march_elements import SelfTest
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import Register
from crossvote.sim.peripheral.march import behind_tile, tile_bank, tile_fault_map
from crossvote.sim.peripheral.tile import tile_cells, tile_inputs, tile_sums
from tb.array_model import ArrayModel
from tb.stimulus import sometimes
from tb.tile_bench import TileBench, expected_outputs
from tb.tile_layers import bench_parameters, read

OPC = OpcParameters(**json.loads(os.environ["OPC_PARAMETERS"]))
STIMULI = [s for s in read(Path(os.environ["OPC_STIMULUS"])) if bench_parameters(s.group.vote).opc == OPC]


@cocotb.test()
@cocotb.parametrize(number=range(len(STIMULI)))
async def real_layer(dut: HierarchyObject, number: int) -> None:
    """Both streams stall now and then. Votes differ where cells are stuck, and are counted in all OPCs."""
    s = STIMULI[number]
    dut._log.info("%s", s.name)
    p = bench_parameters(s.group.vote)
    cells = tile_cells(p, s.group, s.bundle, s.faults)
    bench = TileBench(dut, p)
    await bench.start()
    cocotb.start_soon(ArrayModel(dut, p, tile_bank(p, s.group, s.bundle, s.faults)).run())
    await bench.program(s.opc_map, cells.shape[1], s.scales, s.offsets)
    x = tile_inputs(s.group, s.x)
    outputs, _ = await bench.stream(x, s.opc_map.outputs, sometimes(1, 0.9), sometimes(2, 0.6))
    assert outputs == expected_outputs(s.values)
    assert len({value for _, value, *_ in outputs}) > 20, "the outputs say nothing"
    disagreements = tile_sums(p, s.opc_map, cells, x)[1]
    assert await bench.read(Register.DISAGREEMENTS) == disagreements
    assert (disagreements > 0) == (s.faulty and len(s.opc_map.places[1]) > 0)
    await bench.check_status()


@cocotb.test(skip=cocotb.SIM_NAME.startswith("Icarus"))  # which takes a minute for it; tb.test_march runs under both
async def stuck_cells_are_found(dut: HierarchyObject) -> None:
    """The fast self-test, read over the bus, gives the part of the fault map's file that lies behind the tile."""
    s = next(s for s in STIMULI if s.faulty)
    p = bench_parameters(s.group.vote)
    bench = TileBench(dut, p)
    await bench.start()
    bank = tile_bank(p, s.group, s.bundle, s.faults)
    cocotb.start_soon(ArrayModel(dut, p, bank).run())
    verdicts = [await bench.self_test(SelfTest.SENSING, block) for block in range(s.group.row_blocks // p.opcs)]
    found = tile_fault_map(s.group, s.bundle, verdicts, s.faults.crossbars)
    assert found.content_hash == behind_tile(s.group, s.bundle, s.faults).content_hash
    assert len(found.cells) > 500
