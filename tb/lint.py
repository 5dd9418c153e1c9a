"""Lint the exported Verilog with all of Verilator's warnings but those waived in rtl/ip/waivers.vlt.

python -m tb.lint
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

from crossvote.rtl.export import export
from crossvote.rtl.ip_export import WAIVERS, waivers
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.tile_export import export_tile
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.peripheral.verilator_build import find_verilator
from tb.run import missing

#: What is linted: top module name, bus, parameters.
VARIANTS: tuple[tuple[str, str, OpcParameters | TileParameters], ...] = (
    ("opc", "port", OpcParameters()),
    ("opc_axi", "axi", OpcParameters()),
    ("opc_lane", "port", OpcParameters(lanes=1)),
    ("opc_wide", "port", OpcParameters(lanes=32)),
    ("opc_scale", "port", OpcParameters(scale_bits=17)),
    ("opc_log", "port", OpcParameters(log_bits=16)),
    ("opc_map", "port", OpcParameters(voter=False)),
    ("opc_checksum", "port", OpcParameters(checksum_bits=4)),
    ("opc_plain", "port", OpcParameters(voter=False, column_map=False)),
    ("tile", "axi", TileParameters(opc=OpcParameters(columns=32, row_blocks=2, log_bits=8), rows=32, self_test=True)),
    ("tile_votes", "port", TileParameters(opc=OpcParameters(columns=32, row_blocks=1), opcs=2, rows=32)),
    (
        "tile_checksum",
        "port",
        TileParameters(opc=OpcParameters(columns=32, row_blocks=1, checksum_bits=2), opcs=2, rows=32),
    ),
)


def lint(source: Path, waivers: Path | None = WAIVERS) -> str:
    """Warnings about a Verilog file whose top module has the file's name; empty when there are none."""
    root = find_verilator()
    assert root is not None
    command = [str(root / "bin" / "verilator_bin"), "--lint-only", "-Wall", "--top-module", source.stem]
    command += [*([] if waivers is None else [str(waivers)]), str(source)]
    environment = dict(os.environ, VERILATOR_ROOT=str(root))
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return result.stderr if result.returncode else ""


def unneeded(warnings: str, waivers: Path = WAIVERS) -> list[tuple[str, str]]:
    """Rule and message pattern of waivers that match none of ``warnings``, which were given without waivers."""
    rules = re.findall(r'^lint_off -rule (\w+) -file "\*" -match "(.*)"$', waivers.read_text(), re.MULTILINE)
    given = set(re.findall(r"^%Warning-(\w+): [^ ]+: (.*)$", warnings, re.MULTILINE))
    return [
        (rule, pattern)
        for rule, pattern in rules
        if not any(rule == name and fnmatchcase(message, pattern) for name, message in given)
    ]


def main() -> None:
    """Exit status 1 when a warning is left, or a waiver is not needed."""
    if hint := missing("verilator"):
        print(hint, file=sys.stderr)
        sys.exit(1)
    clean, all_warnings = True, ""
    with tempfile.TemporaryDirectory() as folder:
        for name, bus, parameters in VARIANTS:
            if isinstance(parameters, TileParameters):
                source, _ = export_tile(parameters, Path(folder), name, bus, "axi")
            else:
                source, _ = export(parameters, Path(folder), name, bus)
            all_warnings += lint(source, None)
            waived = Path(folder) / "waivers.vlt"
            waived.write_text(waivers(name), encoding="utf-8")
            warnings = lint(source, waived)
            clean &= not warnings
            print(f"{name}: {warnings or 'clean'}")
    for rule, pattern in unneeded(all_warnings):
        clean = False
        print(f"waiver of {rule} {pattern!r}: not needed")
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
