"""A tile in front of crossbars with stuck cells: activations in, quantized activations out, as NumPy has them."""

from __future__ import annotations

import cocotb
from cocotb.handle import HierarchyObject

from crossvote.rtl.registers import Register, Status
from crossvote.sim.peripheral.tile import activation_payloads, tile_outputs, tile_sums
from tb.stimulus import always, sometimes
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


@cocotb.test()
async def a_lost_or_doubled_beat_costs_its_vector_only(dut: HierarchyObject) -> None:
    """The vectors around it come out right, their tags say which one is missing, and MISFRAMED is set."""
    case, p = tile_case(), PARAMETERS
    bench = TileBench(dut, p)
    await bench.start()
    await bench.program(case.opc_map, p.opc.row_blocks, case.scales, case.offsets)
    beats, per = list(activation_payloads(p, case.x)), p.input_beats(p.opc.row_blocks)
    lost, doubled = 2, 2 * per + 1  # of the first vector and the third, so that a whole one follows each of them
    sent = [*beats[:lost], *beats[lost + 1 : doubled], beats[doubled], *beats[doubled:]]
    kept = [1, 3]
    expected = expected_outputs(tile_outputs(p, case.opc_map, case.cells, case.x, case.scales, case.offsets))
    found, _ = await bench.stream(case.x[kept], case.opc_map.outputs, always(), always(), iter(sent))
    assert found == [output for output in expected if output[3] in kept]
    assert await bench.read(Register.STATUS) & ~(1 << Status.BUSY) == 1 << Status.MISFRAMED
    assert await bench.write(Register.STATUS, 1 << Status.MISFRAMED)
    await bench.check_status()
