"""The OPC as a SystemC module behind a TLM-2.0 target: its Verilog, the target, an example platform, and CMake."""

from __future__ import annotations

from pathlib import Path

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.export import export, write_atomic
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import IDENTIFIER, Register, index_bits

#: What is copied as it is.
TEMPLATES = Path(__file__).with_name("systemc")
FILES = ("CMakeLists.txt", "opc_target.h", "layer.h", "platform.cpp")
#: Name of the Verilog module, of which the C++ names the class.
MODULE = "opc"


def configuration(parameters: OpcParameters) -> str:
    """C++ header with the sizes of an OPC and the registers that the target knows."""
    p = parameters
    constants = {
        "LANES": p.lanes,
        "COLUMNS": p.columns,
        "INPUT_BITS": p.input_bits,
        "ADC_BITS": p.adc_bits,
        "SUM_BITS": p.sum_bits,
        "TAG_BITS": TAG_BITS,
        "INDEX_BITS": index_bits(p),
        "MAP_REFILL": MAP_REFILL,
    }
    lines = [f"constexpr int {name} = {value};" for name, value in constants.items()]
    lines += [
        f"constexpr uint32_t REGISTER_{register.name} = {int(register)};"
        for register in (Register.STATUS, Register.ROW_BLOCKS, Register.ID)
    ]
    lines.append(f"constexpr uint32_t IDENTIFIER = {IDENTIFIER:#x};")
    body = "\n".join(lines)
    return (
        "// Sizes of this OPC. Written by CrossVote.\n#pragma once\n\n#include <cstdint>\n\n"
        f"namespace crossvote {{\n\n{body}\n\n}} // namespace crossvote\n"
    )


def export_systemc(parameters: OpcParameters, folder: Path) -> list[Path]:
    """Write everything that CMake needs into ``folder``; returns the files."""
    files = [*export(parameters, folder, MODULE), folder / "opc_config.h"]
    write_atomic(files[-1], configuration(parameters))
    for name in FILES:
        files.append(folder / name)
        write_atomic(files[-1], (TEMPLATES / name).read_text(encoding="utf-8"))
    return files
