"""Component models: published points are met, costs follow structure, and what a source does not cover is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.chip.bill import bill
from crossvote.sim.chip.components.adc import adc
from crossvote.sim.chip.components.array import ENDURANCE, WRITE_PJ, array
from crossvote.sim.chip.components.base import Estimate, Variant
from crossvote.sim.chip.components.digital import adder, mac_unit, vector_lane
from crossvote.sim.chip.components.driver import driver, sample_hold
from crossvote.sim.chip.components.logic import BIT_PJ
from crossvote.sim.chip.components.memory import SRAM, bus, edram, sram
from crossvote.sim.chip.components.opc import VARIANTS, energies, opc, opc_cells, read, shift_add, synthesis
from crossvote.sim.chip.components.router import router
from crossvote.sim.chip.components.tile_control import tile_cells, tile_control
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError


@pytest.mark.parametrize(
    ("estimate", "peak_mw", "area_um2"),
    [
        (adc(8, 781.25), 2.0, 1200),
        (array(128, 128, 100_000), 0.3, 25),
        (driver(128, 1, 100_000), 4 / 1024, 170 / 1024),
        (sample_hold(100_000), 0.01 / 1024, 40 / 1024),
        (bus(384, 1000 / 1.2), 7.0, 90_000),
        (router(8, 32, 1000), 42.0, 151_000),
        (shift_add(2, 781.25), 0.05, 60),
    ],
)
def test_published_points_are_met(estimate: Estimate, peak_mw: float, area_um2: float) -> None:
    assert estimate.peak_mw == pytest.approx(peak_mw, rel=1e-6)
    assert estimate.area_um2 == pytest.approx(area_um2)


def test_edram_of_isaac_is_one_access_of_puma_per_cycle() -> None:
    """20.7 mW are 17.2 pJ per 256 bits from two banks, each busy for two cycles of 1.2 GHz."""
    memory = edram(65_536, 2 * 1000 / 1.2, 2, 256)
    assert memory.peak_mw == pytest.approx(20.7, rel=0.025)
    assert memory.actions["buffer_byte"].energy_pj == 17.2 / 32


@pytest.mark.parametrize("size", SRAM)
def test_sram_meets_its_table(size: int) -> None:
    energy, leakage, area = SRAM[size]
    memory = sram(size, "input_register", "input_byte")
    assert memory.actions["input_byte"].energy_pj == pytest.approx(energy / 2)
    assert (memory.leakage_mw, memory.area_um2) == pytest.approx((leakage, area * 1e6))


def test_adc_follows_its_bits() -> None:
    costs = [adc(bits, 781) for bits in range(4, 11)]
    energies = [c.actions["conversion"].energy_pj for c in costs]
    assert energies == sorted(energies)
    assert energies[-1] / energies[0] == pytest.approx(2.38 / 0.79)
    assert [c.area_um2 for c in costs] == [361, 477, 627, 845, 1200, 1828, 3002]


def test_array_follows_its_cells() -> None:
    def full(size: int) -> float:
        return 0.25 * size * size * array(size, size, 100_000).actions["cell_read"].energy_pj

    assert [full(size) for size in (64, 128, 512)] == pytest.approx([7.5, 30.0, 480.0])
    assert array(512, 512, 100_000).area_um2 == 400
    assert array(128, 128, 50_000).actions["cell_read"].energy_pj * 2 == pytest.approx(30 / 4096)


def test_a_driver_pays_for_its_word_line() -> None:
    short, long = driver(64, 1, 100_000), driver(256, 1, 100_000)
    assert long.actions["row_drive"].energy_pj == 4 * short.actions["row_drive"].energy_pj


def test_router_follows_radix_and_width() -> None:
    """PUMA's ratio of 8 to 4 ports, and a byte that costs more in a wider flit of the same router."""
    small, large, wide = router(4, 32, 1000), router(8, 32, 1000), router(8, 64, 1000)
    dynamic = [r.actions["flit_hop"].energy_pj for r in (small, large, wide)]
    assert 2 * dynamic[1] / dynamic[0] == pytest.approx(51.48 / 16.13)
    assert small.area_um2 / large.area_um2 == pytest.approx(0.047 / 0.116)
    assert dynamic[2] > 2 * dynamic[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_opc_follows_its_lanes(variant: Variant) -> None:
    costs = [opc(OpcParameters(lanes=lanes), variant, 1000) for lanes in (1, 2, 4, 8, 16, 32, 64)]
    areas = [c.area_um2 for c in costs]
    assert areas == sorted(areas)
    assert areas[5] > 2 * areas[0]
    narrow = opc(OpcParameters(lanes=8, input_bits=4), variant, 1000)
    assert narrow.actions["opc_pair"].energy_pj < costs[3].actions["opc_pair"].energy_pj


def test_opc_has_the_gates_of_the_synthesis() -> None:
    """A flip-flop counts as five gates."""
    cells = opc_cells(OpcParameters(lanes=8), "map + voter")
    row = next(row for row in synthesis()["rows"] if (row["variant"], row["lanes"]) == ("map + voter", 8))
    assert cells.gates == pytest.approx(row["gates"] + 5 * row["flip_flops"])
    assert cells.memory_bits == row["memory_bits"]
    plain, voter = (opc(OpcParameters(), v, 1000) for v in ("plain", "map + voter"))
    assert plain.area_um2 < voter.area_um2
    assert plain.actions["map_lookup"].energy_pj == plain.actions["vote"].energy_pj == 0
    assert voter.actions["map_lookup"].energy_pj > 0 < voter.actions["vote"].energy_pj


@pytest.mark.parametrize("lanes", [1, 8, 32])
def test_opc_has_the_energies_of_the_toggles(lanes: int) -> None:
    """Capacitance with the feature size, 180 to 32 nm; 1.8 to 0.9 V."""
    row = next(r for r in energies()["rows"] if (r["variant"], r["lanes"], r["planes"]) == ("map + voter", lanes, 7))
    found = opc(OpcParameters(lanes=lanes), "map + voter", 1000).actions
    factor = 32 / 180 / 4
    width, entry = OpcParameters().column_sum_bits, 12
    assert found["opc_pair"].energy_pj == pytest.approx(factor * row["pair"] + 2 * width * BIT_PJ)
    assert found["opc_step"].energy_pj == pytest.approx(factor * row["step"] + width * BIT_PJ)
    assert found["map_lookup"].energy_pj == pytest.approx(factor * row["lookup"] + entry * BIT_PJ)
    assert found["vote"].energy_pj == pytest.approx(factor * row["vote"])


def test_energies_of_an_opc_follow_its_sizes() -> None:
    """Between the lanes that were measured in between; those of a clock grow with lanes beyond them, too."""
    beats = [
        n * opc(OpcParameters(lanes=n), "map + voter", 1000).actions["opc_pair"].energy_pj for n in (8, 16, 32, 64)
    ]
    assert beats == sorted(beats)
    assert beats[3] - beats[2] == pytest.approx(2 * (beats[2] - beats[1]))
    scaled = [opc(OpcParameters(scale_bits=n), "map + voter + scale", 1000).actions["opc_step"] for n in (8, 17)]
    unscaled = opc(OpcParameters(), "map + voter", 1000).actions["opc_step"]
    assert unscaled.energy_pj < scaled[0].energy_pj < scaled[1].energy_pj


def test_the_scale_stage_follows_its_bits() -> None:
    full, half = (opc_cells(OpcParameters(scale_bits=bits), "map + voter + scale") for bits in (17, 8))
    none = opc_cells(OpcParameters(), "map + voter")
    assert full.gates == pytest.approx(opc_cells(OpcParameters(), "map + voter + scale").gates)
    assert none.gates < half.gates < (none.gates + full.gates) / 2
    # A word of the table of scales is a multiplier and four bits of a shift, for each of 18 outputs.
    assert full.memory_bits - half.memory_bits == pytest.approx(18 * 9)


def test_a_log_follows_its_bits_and_needs_a_voter() -> None:
    none, eight, wide = (opc_cells(OpcParameters(log_bits=bits), "map + voter") for bits in (0, 8, 24))
    counted = read("opc_cells.json")["log"]
    for cells, row in zip((eight, wide), counted, strict=True):
        assert cells.gates - none.gates == pytest.approx(row["gates"] + 5 * row["flip_flops"])
    assert (eight.memory_bits - none.memory_bits, wide.memory_bits - none.memory_bits) == (128 * 8, 128 * 24)
    assert opc_cells(OpcParameters(log_bits=24), "plain") == opc_cells(OpcParameters(), "plain")


def test_a_check_of_checksums_follows_its_bits_and_needs_a_map() -> None:
    none, two, wide = (opc_cells(OpcParameters(checksum_bits=bits), "map") for bits in (0, 2, 16))
    counted = read("opc_cells.json")["checksum"]
    for cells, row in zip((two, wide), counted, strict=True):
        assert cells.gates - none.gates == pytest.approx(row["gates"] + 5 * row["flip_flops"])
        assert cells.memory_bits == none.memory_bits
    assert opc_cells(OpcParameters(checksum_bits=4), "plain") == opc_cells(OpcParameters(), "plain")


def counted_tile(**wanted: Any) -> dict[str, Any]:
    rows = read("tile_cells.json")["rows"]
    row: dict[str, Any]
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


@pytest.mark.parametrize(("opcs", "bits"), [(3, 8), (12, 8), (3, 16)])
def test_a_tile_has_the_gates_and_the_memory_of_its_synthesis(opcs: int, bits: int) -> None:
    """Of its memory, the words of two vectors are the input register's."""
    row = counted_tile(opcs=opcs, input_bits=bits, lanes=8, self_test=False, row_blocks=1)
    cells = tile_cells(opcs, OpcParameters(input_bits=bits))
    assert cells.gates == pytest.approx(row["gates"] + 5 * row["flip_flops"])
    assert cells.memory_bits == row["memory_bits"] - 2 * opcs * 128 * bits == 18 * (17 + 4 + 16)


def test_a_line_through_two_tiles_meets_a_third() -> None:
    """One OPC that adds three row blocks: counted, not used, and within a tenth."""
    row = counted_tile(opcs=1)
    assert tile_cells(1, OpcParameters()).gates == pytest.approx(row["gates"] + 5 * row["flip_flops"], rel=0.1)


@pytest.mark.parametrize("opcs", [3, 12])
def test_a_tile_has_the_energies_of_the_toggles(opcs: int) -> None:
    row = next(row for row in read("tile_energy.json")["rows"] if row["opcs"] == opcs)
    found, factor = tile_control(opcs, OpcParameters(), 1000).actions, 32 / 180 / 4
    assert found["input_turn"].energy_pj == pytest.approx(factor * row["turn"])
    assert found["read_step"].energy_pj == pytest.approx(factor * row["read"])
    assert found["requantise"].energy_pj == pytest.approx(factor * row["requantise"] + 37 * BIT_PJ)


def test_outputs_are_scaled_once() -> None:
    """By the tile, or by the OPCs; by the digital units where neither is the RTL's."""
    whole, half = (tile_cells(4, OpcParameters(scale_bits=bits)) for bits in (0, 17))
    stage = opc_cells(OpcParameters(), "map + voter + scale").gates - opc_cells(OpcParameters(), "map + voter").gates
    assert whole.gates - half.gates == pytest.approx(stage)
    assert (whole.memory_bits, half.memory_bits) == (18 * 37, 18 * 16)
    assert adder(1000).area_um2 - adder(1000, scales=False).area_um2 == pytest.approx(3495 * (32 / 45) ** 2)
    assert adder(1000, scales=False).actions["scale"].energy_pj == 0 < adder(1000).actions["scale"].energy_pj


def test_a_saved_voter_costs_nothing() -> None:
    """Syntheses of two variants differ by a few gates in what they do alike."""
    pairs = {v: opc(OpcParameters(), v, 1000).actions["opc_pair"].energy_pj for v in VARIANTS}
    assert len(set(pairs.values())) == 1


def test_programming_a_crossbar_is_puma_s() -> None:
    assert pytest.approx(128 * 128 * WRITE_PJ) == 21_125
    assert ENDURANCE == 1e8


def test_digital_units_are_horowitz_s_at_32_nm() -> None:
    assert mac_unit(1000).actions["mac"].energy_pj == pytest.approx(0.3 * 32 / 45)
    assert vector_lane(1000).actions["vector_op"].energy_pj == pytest.approx(1.5 * 32 / 45)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adc(3, 781), r"adc\.bits = 3 is outside .*'adc' covers, 4 to 10 \(Accelergy"),
        (lambda: adc(11, 781), r"measured numbers in \[override\.adc\]"),
        (lambda: adc(8, 400), r"adc\.conversion_ps = 400"),
        (lambda: array(1024, 128, 100_000), r"crossbar\.rows = 1024 is outside .*, 16 to 512"),
        (lambda: driver(128, 6, 100_000), r"dac\.bits = 6"),
        (lambda: router(40, 32, 1000), r"tiles_per_router \+ 4 = 40"),
        (lambda: edram(512, 1667, 2, 256), r"tile\.buffer_bytes = 512"),
        (lambda: edram(65_536, 100, 2, 256), r"tile\.buffer_ps = 100 is outside"),
        (lambda: bus(384, 1), r"tile\.bus_ps = 1 is outside"),
        (lambda: router(8, 32, 10), r"network\.link_ps = 10 is outside"),
        (lambda: array(128, 128, 1), r"crossbar\.read_ps = 1 is outside"),
        (lambda: opc(OpcParameters(), "plain", 1), r"opc\.clock_ps = 1 is outside .* 500 to"),
        (lambda: bill(load_chip("crossvote", {"digital": {"clock_ps": 1}})), r"digital\.clock_ps = 1 is outside"),
        (lambda: tile_control(25, OpcParameters(), 1000), r"in OPCs = 25 is outside .*'tile_control' covers, 0 to 24"),
        (lambda: sram(8, "input_register", "input_byte"), r"size of 'input_register', bytes, = 8"),
    ],
)
def test_out_of_range_is_one_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
