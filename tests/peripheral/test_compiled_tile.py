"""The compiled tile: equal to NumPy in every integer, and to the system model in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from opc_hardware import needs_compiler

from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.array.column_map import Vote
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.tile import calibrated, tile_sums
from crossvote.sim.peripheral.tile_backend import NumpyTile, TileModel, TileProgram, VerilatorTile
from crossvote.sim.peripheral.tile_sizes import tile_parameters
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.token_stages import GroupTiming
from tb.stimulus import random_map

#: Odd sizes: word lines and codes that fill no whole bytes, activations of 5 bits, two OPCs.
ODD = TileParameters(
    opc=OpcParameters(columns=24, lanes=4, planes=3, input_bits=5, adc_bits=6, row_blocks=2),
    opcs=2,
    rows=70,
    port=7,
    read_clocks=9,
    convert_clocks=7,
    scale_bits=9,
)


def programmed(
    p: TileParameters, blocks: int, seed: int, vectors: int, replicated: float = 0.5
) -> tuple[TileProgram, np.ndarray]:
    """A program whose replicas disagree now and then, and activations."""
    rng = np.random.default_rng(seed)
    opc_map = random_map(rng, p.opc, replicated=replicated)
    cells = rng.integers(0, 2, (p.opcs, blocks, 2, p.rows, p.opc.columns)).astype(np.uint8)
    half = 1 << (p.opc.input_bits - 1)
    x = rng.integers(-half, half, (vectors, p.opcs * blocks * p.rows))
    return TileProgram(opc_map, cells, *calibrated(p, tile_sums(p, opc_map, cells, x)[0])), x


def results(tile: TileModel, program: TileProgram, x: np.ndarray) -> tuple[list[list[int]], int]:
    tile.program(program)
    result = tile.process(x)
    return result.values.tolist(), result.disagreements


@needs_compiler
def test_compiled_tile_equals_numpy() -> None:
    """Programmed anew between runs, with one row block per OPC and with two, more vectors than tags.

    Where all planes have replicas, outputs come so far apart that what is behind the OPCs is empty between them.
    """
    compiled, reference, disagreements = VerilatorTile(ODD), NumpyTile(ODD), 0
    for seed, blocks, vectors, replicated in ((1, 2, 20, 0.5), (2, 1, 9, 0.5), (3, 2, 5, 1.0)):
        program, x = programmed(ODD, blocks, seed, vectors, replicated)
        expected = results(reference, program, x)
        assert results(compiled, program, x) == expected
        assert len(np.unique(expected[0])) > 8
        disagreements += expected[1]
    assert disagreements > 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": (3, 139)}, r"takes vectors of 140 activations, not an array of \(3, 139\)"),
        ({"low": -17}, "activations do not fit into 5 bits"),
        ({"blocks": 3}, "3 row blocks were given, but each OPC of the tile adds 1 to 2"),
        ({"rows": 69}, r"cells of the shape \(2, row blocks, 2, 70, 24\), not \(2, 1, 2, 69, 24\)"),
        ({"offsets": 1}, "outputs; each needs a scale and an offset"),
    ],
)
def test_what_does_not_fit_a_tile_is_refused(changed: dict[str, Any], message: str) -> None:
    program, x = programmed(ODD, 1, 3, 3)
    if "blocks" in changed:
        program = TileProgram(program.opc_map, np.tile(program.cells, (1, 3, 1, 1, 1)), program.scales, program.offsets)
    if "rows" in changed:
        program = TileProgram(program.opc_map, program.cells[..., :69, :], program.scales, program.offsets)
    if "offsets" in changed:
        program = TileProgram(program.opc_map, program.cells, program.scales, program.offsets[1:])
    x = x[:, : changed["x"][1]] if "x" in changed else np.minimum(x, changed.get("low", 15))
    with pytest.raises(UserError, match=message):
        results(NumpyTile(ODD), program, x)


#: Chips of small crossbars, which compile in seconds, by what bounds their interval.
CHIPS: dict[str, tuple[Vote, dict[str, Any]]] = {
    "read": ("output", {}),
    "convert": ("crossbar", {"adc": {"conversion_ps": 8000}, "opc": {"clock_ps": 2000}}),
    "digest": (
        "output",
        {"crossbar": {"read_ps": 2000}, "opc": {"lanes": 2}, "adc": {"conversion_ps": 100, "shared_by": 2}},
    ),
}


@needs_compiler
@pytest.mark.parametrize("name", CHIPS)
def test_system_model_takes_as_long_as_the_compiled_tile(name: str) -> None:
    """Picoseconds between vectors of the system model are those of the hardware's clocks."""
    vote, changes = CHIPS[name]
    small = {"crossbar": {"rows": 16, "columns": 16}, "opc": {"columns": 16, "lanes": 4, "planes": 3, "row_blocks": 3}}
    overrides = {part: small.get(part, {}) | changes.get(part, {}) for part in ("crossbar", "opc", "adc")}
    chip, blocks = load_chip("crossvote", overrides), 3
    p = tile_parameters(chip, blocks, vote)
    program, x = programmed(p, blocks // p.opcs, 4, 6)
    tile = VerilatorTile(p)
    tile.program(program)
    steps = len(program.opc_map.read_order)
    group = GroupWork(
        name="group",
        inputs=blocks * chip.crossbar.rows,
        outputs=program.opc_map.outputs,
        driven=np.full(blocks, chip.crossbar.rows),
        lines=np.array([chip.crossbar.columns]),
        copies=np.array([0]),
        opc_lines=np.array([steps]),
        sums=steps,
        votes=0,
        vote=vote,
        kept=program.opc_map.outputs,
        conducting=0.0,
        programmed=0,
        variant="map + voter",
    )
    apart = np.diff(tile.process(x).finished)[1:]
    assert set((apart * chip.opc.clock_ps).tolist()) == {GroupTiming(chip, group).interval_ps}
