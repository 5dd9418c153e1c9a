"""The tile in Amaranth's simulator: activations in, quantized activations out, equal to NumPy; its interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from amaranth.sim import Simulator, SimulatorContext

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import Register, Status
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.rtl.tile_registers import offset_address, tile_scale_address
from crossvote.sim.chip.config import load_chip
from crossvote.sim.peripheral import OpcScales
from crossvote.sim.peripheral.tile import activation_payloads, tile_outputs, tile_writes
from crossvote.sim.peripheral.tile_sizes import tile_parameters
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.token_stages import GroupTiming
from tb.crossbars import TileOnCrossbars
from tb.stimulus import always, coded_map, random_map, random_scales, sometimes
from tb.tile_case import THREE_OPCS

OPC = OpcParameters(columns=16, lanes=4, planes=3, input_bits=4, adc_bits=3, row_blocks=2)
#: One OPC whose row blocks are added before the vote.
ONE = TileParameters(opc=OPC, rows=8, port=4, read_clocks=10, convert_clocks=5, scale_bits=6)


class Run:
    """A tile with random cells that is programmed and given vectors; what comes out and when."""

    def __init__(self, parameters: TileParameters, blocks: int, vectors: int, seed: int, coded: bool = False) -> None:
        p = parameters
        self.p, self.blocks = parameters, blocks
        rng = np.random.default_rng(seed)
        self.cells = rng.integers(0, 2, (p.opcs, blocks, 2, p.rows, p.opc.columns)).astype(np.uint8)
        self.opc_map = (coded_map if coded else random_map)(rng, p.opc)
        half = 1 << (p.opc.input_bits - 1)
        self.x = rng.integers(-half, half, (vectors, p.opcs * blocks * p.rows))
        drawn = random_scales(rng, p.total, self.opc_map.outputs)
        self.scales = OpcScales(drawn.multiplier, drawn.shift % 3)
        self.offsets = rng.integers(-100, 100, self.opc_map.outputs)
        self.outputs: list[tuple[int, int, int, int]] = []  # number, value, last, tag
        self.delivered_at: list[int] = []
        self.refused: list[int] = []

    def expected(self) -> list[tuple[int, int, int, int]]:
        values = tile_outputs(self.p, self.opc_map, self.cells, self.x, self.scales, self.offsets).tolist()
        last = self.opc_map.outputs - 1
        return [(n, v, int(n == last), t % 16) for t, vector in enumerate(values) for n, v in enumerate(vector)]

    def simulate(self, offer: Iterator[bool], take: Iterator[bool], also: list[tuple[int, int]] | None = None) -> None:
        """Program, then stream; ``also`` are writes that are tried while the tile is at work."""
        dut = TileOnCrossbars(self.p, self.cells)
        total = len(self.x) * self.opc_map.outputs

        async def write(ctx: SimulatorContext, address: int, word: int) -> bool:
            ctx.set(dut.bus.address, address)
            ctx.set(dut.bus.write_data, word)
            ctx.set(dut.bus.write, 1)
            *_, refused = await ctx.tick().sample(dut.bus.error)
            ctx.set(dut.bus.write, 0)
            return not refused

        async def read(ctx: SimulatorContext, address: int) -> int:
            ctx.set(dut.bus.address, address)
            ctx.set(dut.bus.read, 1)
            await ctx.tick()
            ctx.set(dut.bus.read, 0)
            return ctx.get(dut.bus.read_data)

        async def testbench(ctx: SimulatorContext) -> None:
            writes = tile_writes(self.p, self.opc_map, self.blocks, self.scales, self.offsets)
            for address, word in writes:
                assert await write(ctx, address, word)
            for address, word in writes:
                assert await read(ctx, address) == word
            await ctx.tick().repeat(MAP_REFILL)
            beats = activation_payloads(self.p, self.x)
            beat, offered, pending = next(beats, None), False, list(also or [])
            for clock in range(20000):
                offered = beat is not None and (offered or next(offer))
                ready = next(take)
                ctx.set(dut.i.valid, offered)
                ctx.set(dut.i.payload.as_value(), beat or 0)
                ctx.set(dut.o.ready, ready)
                if pending and clock > 60:
                    address, word = pending.pop()
                    ctx.set(dut.bus.address, address)
                    ctx.set(dut.bus.write_data, word)
                    ctx.set(dut.bus.write, 1)
                    self.refused.append(ctx.get(dut.bus.error))
                *_, accepted, valid, out = await ctx.tick().sample(dut.i.ready, dut.o.valid, dut.o.payload)
                ctx.set(dut.bus.write, 0)
                if offered and accepted:
                    beat, offered = next(beats, None), False
                if valid and ready:
                    assert not out.error
                    self.outputs.append((out.output, out.value, out.last, out.tag))
                    self.delivered_at.append(clock)
                if len(self.outputs) == total:
                    break
            status = await read(ctx, Register.STATUS) & ~(1 << Status.BUSY | 1 << Status.REFUSED)
            assert status == 0

        simulator = Simulator(dut)
        simulator.add_clock(1e-9)
        simulator.add_testbench(testbench)
        simulator.run()


@pytest.mark.parametrize(
    ("parameters", "blocks", "coded"),
    [(ONE, 1, False), (ONE, 2, True), (THREE_OPCS, 1, False)],
    ids=["1x1", "1x2", "3x1"],
)
def test_tile_equals_numpy(parameters: TileParameters, blocks: int, coded: bool) -> None:
    run = Run(parameters, blocks, 5, seed=blocks, coded=coded)
    run.simulate(sometimes(1, 0.6), sometimes(2, 0.3))
    assert run.outputs == run.expected()
    assert len({value for _, value, _, _ in run.outputs}) > 5, "the outputs say nothing"


@pytest.mark.parametrize(
    ("parameters", "changes", "bound"),
    [
        (ONE, {"read_clocks": 30}, "read"),
        (ONE, {"read_clocks": 2, "convert_clocks": 21, "port": 8}, "convert"),
        (ONE, {"read_clocks": 2, "port": 8}, "digest"),
        (ONE, {"read_clocks": 2, "port": 1}, "input"),
        (THREE_OPCS, {"read_clocks": 1, "port": 4, "opcs": 2}, "load"),
    ],
)
def test_interval_is_the_formula(parameters: TileParameters, changes: dict[str, int], bound: str) -> None:
    """Vectors follow each other as closely as the slowest stage lets them, whichever it is."""
    p = dataclasses.replace(parameters, **changes)
    blocks = p.opc.row_blocks
    run = Run(p, blocks, 7, seed=9)
    run.simulate(always(), always())
    assert run.outputs == run.expected()
    last = run.delivered_at[run.opc_map.outputs - 1 :: run.opc_map.outputs]
    interval = p.interval(blocks, len(run.opc_map.read_order))
    assert set(np.diff(last)[2:].tolist()) == {interval}, bound


@pytest.mark.parametrize("vote", ["none", "output", "crossbar"])
@pytest.mark.parametrize("blocks", [1, 3, 12])
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"opc": {"lanes": 32}},
        {"opc": {"clock_ps": 2000}},
        {"opc": {"clock_ps": 3000}},
        {"adc": {"per_crossbar": 2, "shared_by": 8, "conversion_ps": 500}},
        {"adc": {"per_crossbar": 2, "shared_by": 8, "conversion_ps": 781}},
        {"crossbar": {"read_ps": 250_000}},
    ],
    ids=["shipped", "lanes", "clock", "between edges", "shared", "odd", "read"],
)
def test_system_model_has_the_interval_of_the_tile(overrides: dict[str, object], blocks: int, vote: str) -> None:
    """Reads, converters and OPC bound a tile in the system model as they do in the RTL, whose formula is held above."""
    chip = load_chip("crossvote", overrides)
    group = GroupWork(
        name="group",
        inputs=blocks * chip.crossbar.rows,
        outputs=18,
        driven=np.full(blocks, chip.crossbar.rows),
        lines=np.array([chip.crossbar.columns]),
        copies=np.array([0]),
        opc_lines=np.array([126]),
        sums=126,
        votes=0,
        vote=vote,  # type: ignore[arg-type]
        kept=18,
        conducting=0.0,
        programmed=0,
        variant="map + voter",
    )
    timing = GroupTiming(chip, group)
    parameters = tile_parameters(chip, blocks, vote)
    assert parameters.interval(timing.serial_blocks, 126) * chip.opc.clock_ps == timing.interval_ps


def test_settings_are_refused_while_a_vector_is_in_the_tile() -> None:
    run = Run(ONE, 1, 3, seed=4)
    settings = [(int(Register.ROW_BLOCKS), 2), (int(Register.STEPS), 1), (tile_scale_address(ONE, 0), 1)]
    settings.append((offset_address(ONE, 0), 5))
    run.simulate(always(), always(), settings)
    assert run.refused == [1] * len(settings)
    assert run.outputs == run.expected()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 3}, "port = 3 must divide rows = 128"),
        ({"opcs": 9}, "opcs = 9 of 32 row blocks are more than 256"),
        ({"read_clocks": 0}, "read_clocks = 0 must be a whole number from 1"),
        ({"opc": OpcParameters(scale_bits=3)}, "have no scale stage"),
    ],
)
def test_impossible_tiles_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TileParameters(**changes)  # type: ignore[arg-type]
