"""The register description in SystemRDL, and what is generated from it: C header, Verilog constants, table.

The header is PeakRDL's. Both tools come with the extra ``ip``; the description itself needs neither.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import index_bits
from crossvote.rtl.tile_parameters import TileParameters, kind_of

SOURCES = Path(__file__).with_name("ip")


@dataclass(frozen=True)
class Field:
    """A field of a register: ``access`` is "read", "read, write" or "read, write 1 to clear"; reset None: no reset."""

    name: str
    low: int
    width: int
    access: str
    reset: int | None
    text: str


@dataclass(frozen=True)
class RegisterEntry:
    """A register, or ``count`` of them side by side; ``address`` in bytes."""

    name: str
    address: int
    count: int
    text: str
    fields: tuple[Field, ...]


def missing() -> str | None:
    """What to install before anything can be generated, or None."""
    found = all(importlib.util.find_spec(name) for name in ("systemrdl", "peakrdl_cheader"))
    return None if found else "SystemRDL tools are missing: pip install 'crossvote[ip]'."


def constants(parameters: OpcParameters | TileParameters) -> dict[str, int]:
    """Parameters of the description for one OPC or tile."""
    if isinstance(parameters, TileParameters):
        own = {name: int(getattr(parameters, name)) for name in ("rows", "port", "opcs", "scale_bits", "self_test")}
        return constants(parameters.opc) | {f"P_{name.upper()}": value for name, value in own.items()}
    p = parameters
    return {
        "P_COLUMNS": p.columns,
        "P_LANE_BITS": p.lane_bits,
        "P_PLANES": p.planes,
        "P_INPUT_BITS": p.input_bits,
        "P_ADC_BITS": p.adc_bits,
        "P_ROW_BLOCKS": p.row_blocks,
        "P_SCALE_BITS": p.scale_bits,
        "P_VOTER": int(p.voter),
        "P_LOG_BITS": p.log_bits,
        "P_CHECKSUM_BITS": p.checksum_bits,
        "P_COLUMN_MAP": int(p.column_map),
        "P_OUTPUTS": p.outputs,
        "P_WINDOW": 1 << index_bits(p),
    }


def description(parameters: OpcParameters | TileParameters, name: str) -> str:
    """The description with the sizes of an OPC or tile as its defaults and ``name`` as that of the address map."""
    kind = kind_of(parameters)
    shared = (SOURCES / "registers.rdl").read_text(encoding="utf-8")
    text = (SOURCES / f"{kind}.rdl").read_text(encoding="utf-8").replace("@REGISTERS@\n", shared)
    for constant, value in constants(parameters).items():
        text, count = re.subn(rf"({constant} = )\d+", rf"\g<1>{value}", text)
        assert count == 1, f"{constant} is declared {count} times"
    return text.replace(f"addrmap {kind} #(", f"addrmap {name} #(", 1)


def _compile(text: str) -> Any:
    """The top node of a description."""
    from systemrdl.compiler import RDLCompiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "registers.rdl"
        path.write_text(text, encoding="utf-8")
        compiler = RDLCompiler()
        compiler.compile_file(str(path))
        return compiler.elaborate().top


def _access(field: Any) -> str:
    if field.get_property("woclr"):
        return "read, write 1 to clear"
    return "read, write" if field.is_sw_writable else "read"


def registers(text: str) -> tuple[RegisterEntry, ...]:
    """The registers of a description, by address."""
    found = []
    for node in _compile(text).children(unroll=False):
        fields = tuple(
            Field(
                field.inst_name,
                field.low,
                field.width,
                _access(field),
                field.get_property("reset"),
                field.get_property("desc") or "",
            )
            for field in node.fields()
        )
        count = node.array_dimensions[0] if node.is_array else 1
        found.append(
            RegisterEntry(node.inst_name, node.raw_address_offset, count, node.get_property("desc") or "", fields)
        )
    return tuple(found)


def c_header(text: str, path: Path) -> None:
    """Write the C header of a description to ``path``, whose name becomes the include guard."""
    from peakrdl_cheader.exporter import CHeaderExporter

    CHeaderExporter().export(_compile(text), path=str(path))


def verilog_constants(entries: tuple[RegisterEntry, ...], kind: str) -> str:
    """Addresses, fields and values after reset as Verilog macros, whose names begin with ``kind``."""
    lines = ["// Registers, byte addresses. Generated from the SystemRDL description."]
    for entry in entries:
        name = f"{kind.upper()}_{entry.name}"
        lines.append(f"`define {name}_ADDRESS 32'h{entry.address:08x}")
        if entry.count > 1:
            lines.append(f"`define {name}_COUNT {entry.count}")
        for field in entry.fields:
            own = f"{name}_{field.name.upper()}"
            lines.append(f"`define {own}_LOW {field.low}")
            lines.append(f"`define {own}_WIDTH {field.width}")
            if field.reset is not None:
                lines.append(f"`define {own}_RESET {field.width}'h{field.reset:x}")
    return "\n".join(lines) + "\n"


def markdown(entries: tuple[RegisterEntry, ...]) -> str:
    """The registers as a Markdown table, one line a field."""
    lines = ["| byte address | register | bits | field | access | reset | content |", f"|{'---|' * 7}"]
    for entry in entries:
        address = f"{entry.address:#x}" + (f" + 4 i, i below {entry.count}" if entry.count > 1 else "")
        head = (address, entry.name)
        for field in sorted(entry.fields, key=lambda field: field.low):
            high = field.low + field.width - 1
            bits = str(field.low) if field.width == 1 else f"{high}:{field.low}"
            reset = "" if field.reset is None else f"{field.reset:#x}"
            text = f"{entry.text} {field.text}" if head[1] else field.text
            lines.append(f"| {' | '.join([*head, bits, field.name, field.access, reset, text])} |")
            head = ("", "")
    return "\n".join(lines) + "\n"
