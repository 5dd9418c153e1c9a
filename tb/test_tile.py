"""A tile in front of crossbars with stuck cells: activations in, quantized activations out, as NumPy has them."""

from __future__ import annotations

import cocotb
from cocotb.handle import HierarchyObject

from crossvote.rtl.registers import Register
from crossvote.sim.peripheral.tile import tile_outputs, tile_sums
from tb.bench import sometimes
from tb.tile_bench import TileBench, expected_outputs
from tb.tile_case import PARAMETERS, tile_case


@cocotb.test()
async def vectors_in_quantized_activations_out(dut: HierarchyObject) -> None:
    """Both streams stall now and then; votes differ where cells are stuck."""
    case, p = tile_case(), PARAMETERS
    bench = TileBench(dut, p)
    await bench.start()
    await bench.program(case.opc_map, p.opc.row_blocks, case.scales, case.offsets)
    found, _ = await bench.stream(case.x, case.opc_map.outputs, sometimes(1, 0.8), sometimes(2, 0.5))
    expected = expected_outputs(tile_outputs(p, case.opc_map, case.cells, case.x, case.scales, case.offsets))
    assert found == expected
    assert len({value for _, value, *_ in expected}) > 4, "the outputs say nothing"
    assert await bench.read(Register.DISAGREEMENTS) == tile_sums(p, case.opc_map, case.cells, case.x)[1] > 0
    await bench.check_status()
