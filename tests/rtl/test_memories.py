"""Memories as modules that a chip replaces: where there are any, and that the OPC works with each kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crossvote.rtl.column_map import entry_layout
from crossvote.rtl.export import export, to_verilog
from crossvote.rtl.memories import KINDS, MODULE, WrappedMemories
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from tb.run import BENCHES, missing, run_bench

SIZES = OpcParameters(columns=8, lanes=2, planes=2, input_bits=2, adc_bits=2, row_blocks=2, scale_bits=3, log_bits=4)


def test_what_is_read_behind_a_clock_is_a_module_of_its_own() -> None:
    """The map, the scales (read by registers and by the stage, so twice) and the log; not the column sums."""
    memories = WrappedMemories()
    text = to_verilog(Opc(SIZES), "opc", memories)
    expected = [(8, entry_layout(SIZES).size), (8, 4), *[(4, 3 + SHIFT_BITS)] * 2]
    assert sorted(memories.words) == sorted(expected)
    found = re.findall(rf"{MODULE} #\(\s*\.ADDRESS\(32'd(\d+)\),\s*\.DEPTH\(32'd(\d+)\),\s*\.WIDTH\(32'd(\d+)\)", text)
    assert sorted((int(depth), int(width)) for _, depth, width in found) == sorted(expected)
    assert all(1 << int(address) == int(depth) for address, depth, _ in found)
    # Two banks in each of two lanes.
    assert len(re.findall(r"^ *reg (?:signed )?\[\d+:0\] \S+ \[3:0\];", text, re.MULTILINE)) == 4


def test_without_the_wrapper_there_is_no_such_module() -> None:
    assert MODULE not in to_verilog(Opc(SIZES), "opc")


def test_an_export_has_the_modules_beside_it(tmp_path: Path) -> None:
    files = export(OpcParameters(columns=8, lanes=2, planes=2), tmp_path, wrap_memories=True)
    assert {path.name for path in files} == {"opc.v", "opc.json", "opc_memory.v", "opc_memory_latch.v"}
    assert MODULE in (tmp_path / "opc.v").read_text()
    assert all(f"module {MODULE} #(" in path.read_text() for path in files[2:])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_bench_passes_with_every_kind(kind: str, tmp_path: Path) -> None:
    """Map and log, of which a read of the word that is being written gives x where the module may do that."""
    if hint := missing("icarus"):
        pytest.skip(hint)
    bench = next(bench for bench in BENCHES if bench.name == "opc_log")
    passed, failed, log = run_bench(bench, "icarus", tmp_path / "bench", memories=kind)
    assert failed == 0, log.read_text(errors="replace")[-4000:]
    assert passed == 8
