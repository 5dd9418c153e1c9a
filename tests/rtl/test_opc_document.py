"""docs/opc.md says what the hardware does: register map, fields, widths, pipeline depth, formulas."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import opc_power
from crossvote.rtl.column_map import HOLD, OPERATION_BITS, SKIP, entry_layout, operation, operations
from crossvote.rtl.parameters import MOST_ADVANCE, MOST_TAIL, SHIFT_BITS, OpcParameters
from crossvote.rtl.registers import (
    ENTRY_WORD,
    IDENTIFIER,
    OPTIONS_WORD,
    SCALE_WORD,
    SIZES_WORD,
    Register,
    Status,
    index_bits,
    map_address,
    scale_address,
)
from crossvote.rtl.synthesis import VARIANTS, CellCounts, memory_bits, table
from crossvote.sim.chip.components.opc import energies, synthesis

TEXT = (Path(__file__).parents[2] / "docs" / "opc.md").read_text(encoding="utf-8")
SHIPPED = OpcParameters()


def rows(pattern: str) -> list[tuple[str, ...]]:
    return re.findall(pattern, TEXT, re.MULTILINE)


def test_registers() -> None:
    documented = {name: int(word) for word, name in rows(r"^\| (\d+) \| ([A-Z_]+) \|")}
    assert documented == {register.name: int(register) for register in Register}
    status = next(line for line in TEXT.splitlines() if line.startswith("| 0 | STATUS"))
    assert {name: int(bit) for bit, name in re.findall(r"(?:bit )?(\d) ([A-Z_]+)", status)} == {
        bit.name: int(bit) for bit in Status
    }
    window = index_bits(SHIPPED)
    assert f"at 128 bit lines w = {window}" in TEXT
    assert map_address(SHIPPED, 5) == 2**window + 5
    assert "| 2 * 2^w + j | scale of output j |" in TEXT
    assert scale_address(SHIPPED, 5) == 2 * 2**window + 5


def test_entry_fields() -> None:
    documented = {
        name: (int(low), int(high) - int(low) + 1) for high, low, name in rows(r"^\| (\d+):(\d+) \| (\w+) \|")
    }
    documented |= {name: (int(bit), 1) for bit, name in rows(r"^\| (\d+) \| (flip) \|")}
    fields = {**ENTRY_WORD.members, **SCALE_WORD.members}
    words = {name: ENTRY_WORD if name in ENTRY_WORD.members else SCALE_WORD for name in fields}
    assert documented == {name: (word[name].offset, word[name].width) for name, word in words.items()}
    assert f"| shift | k, 0 to {2**SHIFT_BITS - 1} |" in TEXT
    assert f"below 2^-{2**SHIFT_BITS} u" in TEXT


def test_operations() -> None:
    documented = {SKIP, HOLD}
    for first, text in rows(r"^\| (\d+) \+ a \| (.*) \|$"):
        vote, end = "median" in text or "the same" in text, "completes" in text
        most = int(text.split(" to ")[1])
        assert most == (MOST_TAIL if end else MOST_ADVANCE)
        for advance in range(most + 1):
            assert operation(vote=vote, end=end, advance=advance) == int(first) + advance
            documented.add(int(first) + advance)
    assert documented == {SKIP, HOLD, *(code for code, *_ in operations())}
    assert f"at\nmost {MOST_ADVANCE} apart, and whose lowest shift is at most {MOST_TAIL}." in TEXT
    assert f"operation of {OPERATION_BITS} bits and a sign: {entry_layout(SHIPPED).size} bits\nat 128" in TEXT


def test_capabilities() -> None:
    assert f"| {IDENTIFIER:#010X}".replace("0X", "0x") in TEXT
    for name, word in (("SIZES", SIZES_WORD), ("OPTIONS", OPTIONS_WORD)):
        line = next(line for line in TEXT.splitlines() if f"| {name} | read |" in line)
        found = re.findall(r"`(\w+)` \((?:bits )?(\d+)(?::(\d+))?\)", line)
        documented = [
            ("lane_bits" if field == "lanes" else field, int(low or high), int(high)) for field, high, low in found
        ]
        assert documented == [(f, word[f].offset, word[f].offset + word[f].width - 1) for f in word.members]


def test_widths() -> None:
    documented = [int(bits) for bits in rows(r"^\| (?:difference|column sum|output sum) \|.*\| (\d+) \|$")]
    assert documented == [SHIPPED.difference_bits, SHIPPED.column_sum_bits, SHIPPED.sum_bits]
    largest = OpcParameters(scale_bits=17)
    assert [int(bits) for bits in rows(r"^\| product .* 2\^31 \| (\d+) \|$")] == [largest.product_bits]
    assert 2 ** (largest.scale_bits - 1 + 2**SHIFT_BITS - 1) == 2**31


def test_timing() -> None:
    plain = OpcParameters(voter=False)
    scaled = OpcParameters(scale_bits=17)
    assert f"`pipeline` is {SHIPPED.pipeline} with a voter and {plain.pipeline} without" in TEXT
    assert f"a scale stage adds {scaled.pipeline - SHIPPED.pipeline}." in TEXT
    assert f"more than 8 lanes add {OpcParameters(lanes=16).pipeline - SHIPPED.pipeline}," in TEXT
    assert OpcParameters(lanes=4).pipeline == SHIPPED.pipeline == OpcParameters(lanes=8).pipeline
    formula = re.search(r"cycles\(V\) = (.+)$", TEXT, re.MULTILINE)
    assert formula is not None
    for parameters, vectors, blocks, steps in (
        (SHIPPED, 3, 1, 126),
        (OpcParameters(lanes=32), 5, 2, 100),
        (plain, 1, 4, 7),
        (scaled, 2, 1, 126),
    ):
        values = {
            "beats": parameters.beats(blocks),
            "V": vectors,
            "columns": parameters.columns,
            "steps": steps,
            "pipeline": parameters.pipeline,
        }
        assert eval(formula[1], {"max": max}, values) == parameters.cycles(vectors, blocks, steps)
        assert parameters.beats(blocks) == parameters.input_bits * blocks * parameters.columns // parameters.lanes


def test_counted_cells_are_those_of_the_system_model() -> None:
    """The table of cells is the file that the system model reads."""
    counted = [CellCounts(**row) for row in synthesis()["rows"]]
    assert table(counted) in TEXT
    assert {row.memory_bits for row in counted} == {
        memory_bits(OpcParameters(**changes)) for changes in VARIANTS.values()
    }


def test_energies_are_those_of_the_system_model() -> None:
    assert opc_power.SECTION.around(opc_power.table(energies())) in TEXT
    assert {(row["variant"], row["lanes"], row["planes"]) for row in energies()["rows"]} == set(opc_power.ROWS)
