"""Memories as modules that a chip replaces: where there are any, and that the OPC works with each kind."""

from __future__ import annotations

import re
import shutil
import subprocess
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


BENCH = """
module bench;
  reg clk = 0, write = 0, read = 0;
  reg [2:0] write_address = 0, read_address = 0;
  reg [4:0] write_data = 0;
  wire [4:0] one, other;
  integer n, wrong = 0, seen = 0;
  first a(.clk(clk), .write(write), .write_address(write_address), .write_data(write_data), .read(read),
      .read_address(read_address), .read_data(one));
  second b(.clk(clk), .write(write), .write_address(write_address), .write_data(write_data), .read(read),
      .read_address(read_address), .read_data(other));
  initial begin
    for (n = 0; n < 4000; n = n + 1) begin
      // Every word is written first; a read of the word that is being written is left out.
      write = n < 7 || $random; write_address = n < 7 ? n : $random % 7; write_data = $random;
      write_address = write_address % 7;
      read = n >= 7 && $random; read_address = $random; read_address = read_address % 7;
      if (write && write_address == read_address) read = 0;
      #5 clk = 1;
      // What is asked for changes behind the edge, as it does in a chip.
      #1 write = $random; write_address = $random; write_data = $random; read_address = $random;
      #4 clk = 0;
      #4 if (n > 7 && one !== other) wrong = wrong + 1;
      if (n > 7 && one === other && ^one !== 1'bx) seen = seen + 1;
      #1;
    end
    $display("wrong %0d seen %0d", wrong, seen);
  end
endmodule
"""


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog")
def test_latches_are_the_memory(tmp_path: Path) -> None:
    """Seven words, written and read in any order, also read in the clock behind the write."""
    text = BENCH
    for name, kind in (("first", "flip-flops"), ("second", "latches")):
        module = KINDS[kind].read_text().replace(f"module {MODULE} #(", f"module {name} #(")
        for parameter, old, new in (("WIDTH", 8, 5), ("DEPTH", 16, 7), ("ADDRESS", 4, 3)):
            module = module.replace(f"parameter {parameter} = {old}", f"parameter {parameter} = {new}")
        text += module
    (tmp_path / "bench.v").write_text(text)
    subprocess.run(["iverilog", "-g2005", "-o", "bench", "bench.v"], cwd=tmp_path, check=True)
    said = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    wrong, seen = map(int, re.findall(r"\d+", said))
    assert wrong == 0
    assert seen > 3000


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
