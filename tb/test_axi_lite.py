"""The registers behind AXI4-Lite, driven by cocotbext-axi's manager: an AXI model that CrossVote did not write."""

from __future__ import annotations

import itertools

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from crossvote.rtl.column_map import HOLD
from crossvote.rtl.registers import Register, Status, entry_word, map_address
from crossvote.sim.peripheral.programming import beat_payloads, map_writes, scale_writes
from tb.bench import PARAMETERS, OpcBench
from tb.stimulus import agreeing_codes, random_map, sometimes

P = PARAMETERS


class AxiOpcBench(OpcBench):
    """An OPC whose registers are reached through AXI4-Lite, every channel with random pauses."""

    INPUTS = ("i__valid", "i__payload", "o__ready")

    def __init__(self, dut: HierarchyObject, seed: int) -> None:
        super().__init__(dut)
        self.axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
        channels = (
            self.axi.write_if.aw_channel,
            self.axi.write_if.w_channel,
            self.axi.write_if.b_channel,
            self.axi.read_if.ar_channel,
            self.axi.read_if.r_channel,
        )
        for number, channel in enumerate(channels):
            channel.set_pause_generator(sometimes(seed * 10 + number, 0.3))

    async def write(self, address: int, word: int) -> bool:
        """Write a register; False when the OPC answers with an error."""
        response = await self.axi.write(4 * address, word.to_bytes(4, "little"))
        assert response.resp in (AxiResp.OKAY, AxiResp.SLVERR)
        return bool(response.resp == AxiResp.OKAY)

    async def read(self, address: int) -> int:
        """Read a register."""
        word = await self.look(address)
        assert word is not None, f"there is no register at {address:#x}"
        return word

    async def look(self, address: int) -> int | None:
        """Read a register, or find out that there is none."""
        response = await self.axi.read(4 * address, 4)
        word = int.from_bytes(response.data, "little")
        if response.resp == AxiResp.SLVERR:
            assert word == 0
            return None
        assert response.resp == AxiResp.OKAY
        return word


class BareAxiBench(OpcBench):
    """The same without the bus model, whose accesses are always aligned: the channels are driven by hand."""

    READ, WRITE, RESPONSE = ("ar",), ("aw", "w"), {"ar": "r", "aw": "b"}
    INPUTS = (
        *AxiOpcBench.INPUTS,
        *(f"axi__{name}" for name in ("awaddr", "awvalid", "wdata", "wstrb", "wvalid", "bready")),
        *(f"axi__{name}" for name in ("araddr", "arvalid", "rready")),
    )

    async def access(self, address: int, channels: tuple[str, ...], word: int = 1) -> tuple[bool, int]:
        """Access a byte address: whether it is answered with an error, and what is read."""
        dut = self.dut
        getattr(dut, f"axi__{channels[0]}addr").value = address
        dut.axi__wdata.value, dut.axi__wstrb.value = word, 0xF
        for channel in channels:
            getattr(dut, f"axi__{channel}valid").value = 1
        await RisingEdge(dut.clk)
        for channel in channels:
            assert getattr(dut, f"axi__{channel}ready").value
            getattr(dut, f"axi__{channel}valid").value = 0
        response = self.RESPONSE[channels[0]]
        getattr(dut, f"axi__{response}ready").value = 1
        for _ in range(10):
            await RisingEdge(dut.clk)
            if getattr(dut, f"axi__{response}valid").value:
                getattr(dut, f"axi__{response}ready").value = 0
                answer = int(getattr(dut, f"axi__{response}resp").value)
                return answer != AxiResp.OKAY, int(dut.axi__rdata.value) if response == "r" else 0
        raise AssertionError("no response")


@cocotb.test()
@cocotb.parametrize(seed=[1, 2])
async def map_is_loaded_and_read_back(dut: HierarchyObject, seed: int) -> None:
    """Program over the bus, read back, run vectors, read the counter of disagreements."""
    rng = np.random.default_rng(seed)
    bench = AxiOpcBench(dut, seed)
    await bench.start()
    for blocks in (1, 2):
        opc_map = random_map(rng, P, replicated=0.8)
        await bench.program(opc_map, blocks)
        assert bench.scales is not None
        for address, word in map_writes(P, opc_map) + scale_writes(P, bench.scales):
            assert await bench.read(address) == word
        assert await bench.read(Register.ROW_BLOCKS) == blocks
        codes = agreeing_codes(rng, P, opc_map, 3, blocks, wrong=0.5)
        expected = bench.reference(opc_map).process(codes)
        bench.outputs.clear()
        cocotb.start_soon(bench.send(beat_payloads(P, codes), sometimes(3, 0.8)))
        await bench.receive(expected.outputs.size, sometimes(4, 0.8))
        assert [value for _, value in bench.outputs] == expected.outputs.ravel().tolist()
        await bench.idle()
        assert await bench.read(Register.DISAGREEMENTS) == expected.disagreements
        assert await bench.write(Register.DISAGREEMENTS, 0)
        assert await bench.read(Register.DISAGREEMENTS) == 0
        assert await bench.read(Register.STATUS) == 0


@cocotb.test()
async def refusals_answer_with_an_error(dut: HierarchyObject) -> None:
    """A refused value, a partial write and an unknown address answer SLVERR and change nothing."""
    bench = AxiOpcBench(dut, 3)
    await bench.start()
    good = entry_word(line=1, operation=HOLD, flip=True)
    assert await bench.write(map_address(P, 1), good)
    assert not await bench.write(map_address(P, 1), entry_word(line=P.columns, operation=HOLD, flip=False))
    assert await bench.read(Register.STATUS) == 1 << Status.REFUSED
    assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    for offset, data in itertools.product((0, 1, 3), (b"\0", b"\0\0")):
        if offset + len(data) <= 4:
            response = await bench.axi.write(4 * map_address(P, 1) + offset, data)
            assert response.resp == AxiResp.SLVERR
            assert await bench.read(Register.STATUS) == 1 << Status.REFUSED
            assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    assert not await bench.write(len(Register), 0)
    assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    for nothing in (len(Register), map_address(P, 0) * 3):
        assert await bench.look(nothing) is None
    assert await bench.read(Register.STATUS) == 0
    assert await bench.read(map_address(P, 1)) == good


@cocotb.test()
async def reads_and_writes_overlap(dut: HierarchyObject) -> None:
    """Reads started while writes are on their way are all answered, with what had been written when they were."""
    bench = AxiOpcBench(dut, 4)
    await bench.start()
    assert await bench.write(Register.ROW_BLOCKS, 2)
    operations = []
    for step in range(P.columns):
        word = entry_word(line=step, operation=HOLD, flip=bool(step % 2))
        operations.append(bench.axi.init_write(4 * map_address(P, step), word.to_bytes(4, "little")))
        operations.append(bench.axi.init_read(4 * Register.ROW_BLOCKS, 4))
    for operation in operations:
        await operation.wait()
    assert all(operation.data.resp == AxiResp.OKAY for operation in operations)
    assert {bytes(operation.data.data) for operation in operations[1::2]} == {b"\x02\0\0\0"}
    for step in range(P.columns):
        expected = entry_word(line=step, operation=HOLD, flip=bool(step % 2))
        assert await bench.read(map_address(P, step)) == expected


@cocotb.test()
async def addresses_within_a_word_are_refused(dut: HierarchyObject) -> None:
    """An access that is not aligned answers SLVERR; a write is counted as refused, a read gives 0."""
    bench = BareAxiBench(dut)
    await bench.start()
    for offset in range(4):
        bad = offset != 0
        address = 4 * Register.ROW_BLOCKS + offset
        assert await bench.access(address, bench.READ) == (bad, 0 if bad else 1)
        assert (await bench.access(address, bench.WRITE))[0] == bad
        assert await bench.access(4 * Register.STATUS, bench.READ) == (False, (1 << Status.REFUSED) * bad)
        assert await bench.access(4 * Register.STATUS, bench.WRITE, 1 << Status.REFUSED) == (False, 0)
