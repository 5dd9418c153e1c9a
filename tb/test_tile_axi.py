"""The registers of a tile behind AXI4-Lite, driven by cocotbext-axi's manager, while vectors run."""

from __future__ import annotations

import cocotb
from cocotb.handle import HierarchyObject
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from crossvote.rtl.registers import Register, Status, scale_word
from crossvote.rtl.tile_registers import offset_address, tile_scale_address
from crossvote.sim.peripheral.tile import tile_outputs, tile_sums, tile_writes
from tb.stimulus import always, sometimes
from tb.tile_bench import TileBench, expected_outputs
from tb.tile_case import PARAMETERS as P
from tb.tile_case import tile_case


class AxiTileBench(TileBench):
    """A tile whose registers are reached through AXI4-Lite, every channel with random pauses."""

    INPUTS = ("i__valid", "i__payload", "o__ready")

    def __init__(self, dut: HierarchyObject) -> None:
        super().__init__(dut, P)
        self.axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
        write, read = self.axi.write_if, self.axi.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        for number, channel in enumerate(channels):
            channel.set_pause_generator(sometimes(number, 0.3))

    async def write(self, address: int, word: int) -> bool:
        response = await self.axi.write(4 * address, (word & 0xFFFFFFFF).to_bytes(4, "little"))
        assert response.resp in (AxiResp.OKAY, AxiResp.SLVERR)
        return bool(response.resp == AxiResp.OKAY)

    async def look(self, address: int) -> int | None:
        """Read a register, or find out that there is none."""
        response = await self.axi.read(4 * address, 4)
        word = int.from_bytes(response.data, "little")
        assert response.resp == AxiResp.OKAY or (response.resp, word) == (AxiResp.SLVERR, 0)
        return word if response.resp == AxiResp.OKAY else None

    async def read(self, address: int) -> int:
        word = await self.look(address)
        assert word is not None, f"there is no register at {address:#x}"
        return word


@cocotb.test()
async def a_tile_is_programmed_and_read_back(dut: HierarchyObject) -> None:
    """Map, scales and offsets over the bus, then vectors."""
    case, bench = tile_case(), AxiTileBench(dut)
    await bench.start()
    await bench.program(case.opc_map, P.opc.row_blocks, case.scales, case.offsets)
    for address, word in tile_writes(P, case.opc_map, P.opc.row_blocks, case.scales, case.offsets):
        assert await bench.read(address) == word & 0xFFFFFFFF
    found, _ = await bench.stream(case.x, case.opc_map.outputs, sometimes(1, 0.8), always())
    assert found == expected_outputs(tile_outputs(P, case.opc_map, case.cells, case.x, case.scales, case.offsets))
    assert await bench.read(Register.DISAGREEMENTS) == tile_sums(P, case.opc_map, case.cells, case.x)[1]
    await bench.check_status()


@cocotb.test()
async def what_a_tile_refuses_answers_with_an_error(dut: HierarchyObject) -> None:
    """Values out of range, addresses without a register, settings while a vector is in the tile."""
    case, bench = tile_case(), AxiTileBench(dut)
    await bench.start()
    await bench.program(case.opc_map, P.opc.row_blocks, case.scales, case.offsets)
    for address, word in (
        (offset_address(P, 0), 1 << 15),
        (tile_scale_address(P, 0), scale_word(multiplier=1 << P.scale_bits, shift=0)),
        (offset_address(P, P.opc.outputs), 0),
        (tile_scale_address(P, P.opc.outputs), 0),
        (int(Register.ID), 0),
    ):
        assert not await bench.write(address, word)
        assert await bench.read(Register.STATUS) == 1 << Status.REFUSED
        assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    assert await bench.look(offset_address(P, P.opc.outputs)) is None
    running = cocotb.start_soon(bench.stream(case.x, case.opc_map.outputs, always(), sometimes(3, 0.5)))
    while not await bench.read(Register.STATUS) & 1 << Status.BUSY:
        pass
    for address in (offset_address(P, 0), tile_scale_address(P, 0), int(Register.ROW_BLOCKS), int(Register.STEPS)):
        assert not await bench.write(address, 1)
    found, _ = await running
    assert found == expected_outputs(tile_outputs(P, case.opc_map, case.cells, case.x, case.scales, case.offsets))
