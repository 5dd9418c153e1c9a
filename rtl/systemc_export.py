"""An OPC or a tile as a SystemC module behind a TLM-2.0 target: Verilog, target, an example platform, and CMake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.export import export, write_atomic
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import IDENTIFIER, Register, index_bits
from crossvote.rtl.tile_export import export_tile
from crossvote.rtl.tile_parameters import VALUE_BITS, TileParameters, kind_of
from crossvote.rtl.tile_registers import TILE_IDENTIFIER

#: What is copied, but for the name of the module.
TEMPLATES = Path(__file__).with_name("systemc")
FILES = ("CMakeLists.txt", "target.h", "layer.h", "platform.cpp")


def configuration(parameters: OpcParameters | TileParameters) -> str:
    """C++ header with the sizes of an OPC or a tile and the registers that the platform knows."""
    p = parameters.opc if isinstance(parameters, TileParameters) else parameters
    constants = {
        "LANES": p.lanes,
        "COLUMNS": p.columns,
        "INPUT_BITS": p.input_bits,
        "ADC_BITS": p.adc_bits,
        "TAG_BITS": TAG_BITS,
        "INDEX_BITS": index_bits(p),
        "MAP_REFILL": MAP_REFILL,
        "VALUE_BITS": p.sum_bits,
    }
    # After so many clocks without input or output nothing moves any more, and clocks need not be played.
    settled, identifier = 2 * p.columns + 64, IDENTIFIER
    if isinstance(parameters, TileParameters):
        own = {name.upper(): int(getattr(parameters, name)) for name in ("opcs", "rows", "port")}
        constants |= {**own, "VALUE_BITS": VALUE_BITS}
        settled, identifier = settled + 3 * parameters.interval(p.row_blocks, p.columns), TILE_IDENTIFIER
    lines = [f"constexpr int {name} = {value};" for name, value in constants.items()]
    lines.append(f"constexpr uint64_t SETTLED = {settled};")
    lines += [
        f"constexpr uint32_t REGISTER_{register.name} = {int(register)};"
        for register in (Register.STATUS, Register.ROW_BLOCKS, Register.ID)
    ]
    lines.append(f"constexpr uint32_t IDENTIFIER = {identifier:#x};")
    lines.append(f'constexpr const char *KIND = "{kind_of(parameters)}";')
    return _header("Sizes of this module.", ["<cstdint>"], lines)


def pins(parameters: OpcParameters | TileParameters, ports: Sequence[dict[str, Any]]) -> str:
    """C++ header with a signal for each port of the module; Verilator's names for "__" are its own."""
    names = [str(port["name"]).replace("__", "___05F") for port in ports]
    lines = ["template <class Port> using DataOf = typename std::decay_t<Port>::data_type;", "", "struct Pins {"]
    lines += ["    using Beat = DataOf<decltype(Vmodule::i___05Fpayload)>;"]
    lines += ["    using Output = DataOf<decltype(Vmodule::o___05Fpayload)>;"]
    lines += [f"    sc_core::sc_signal<DataOf<decltype(Vmodule::{name})>> {name};" for name in names]
    lines += ["    void bind(Vmodule &module) {", *(f"        module.{name}({name});" for name in names), "    }"]
    if isinstance(parameters, TileParameters):
        for name, kind in (("word_lines", "WordLines"), ("codes", "Codes")):
            own = [f"array___05F{name}___05F{opc}" for opc in range(parameters.opcs)]
            lines += [f"    using {kind} = DataOf<decltype(Vmodule::{own[0]})>;"]
            given = ", ".join(f"&{one}" for one in own)
            lines += [f"    sc_core::sc_signal<{kind}> *{name}[{parameters.opcs}] = {{{given}}};"]
        for name in ("load_block", "convert_block", "convert_group"):
            # A number of which there is only one has no port.
            value = f"array___05F{name}.read()" if f"array___05F{name}" in names else "0"
            lines += [f"    uint32_t {name}() const {{ return {value}; }}"]
    return _header(
        "A signal for each pin of the module.", ["<systemc>", "<type_traits>", '"Vmodule.h"'], [*lines, "};"]
    )


def _header(head: str, includes: Sequence[str], lines: Sequence[str]) -> str:
    included = "".join(f"#include {name}\n" for name in includes)
    body = "\n".join(lines)
    return (
        f"// {head} Written by CrossVote.\n#pragma once\n\n{included}\n"
        f"namespace crossvote {{\n\n{body}\n\n}} // namespace crossvote\n"
    )


def export_systemc(parameters: OpcParameters | TileParameters, folder: Path) -> list[Path]:
    """Write everything that CMake needs into ``folder``; returns the files.

    Raises:
        ValueError: a tile with a self-test, which the target's crossbars cannot serve.
    """
    kind = kind_of(parameters)
    if isinstance(parameters, TileParameters):
        if parameters.self_test:
            raise ValueError("self_test: the SystemC target has crossbars whose cells cannot be written by the tile.")
        files = list(export_tile(parameters, folder, kind))
    else:
        files = list(export(parameters, folder, kind))
    ports = json.loads(files[1].read_text(encoding="utf-8"))["ports"]
    texts = {
        "target_config.h": configuration(parameters),
        "target_pins.h": pins(parameters, ports),
        "module_target.h": f'// Which target the platform has.\n#pragma once\n\n#include "{kind}_target.h"\n',
    }
    for name in (*FILES, f"{kind}_target.h"):
        texts[name] = (TEMPLATES / name).read_text(encoding="utf-8").replace("@MODULE@", kind)
    for name, text in texts.items():
        files.append(folder / name)
        write_atomic(files[-1], text)
    return files
