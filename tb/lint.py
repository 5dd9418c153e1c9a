"""Lint the exported Verilog with all of Verilator's warnings but those waived in waivers.vlt.

python -m tb.lint
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rtl.export import export
from rtl.parameters import OpcParameters
from sim.peripheral.verilator_build import find_verilator
from tb.run import missing

WAIVERS = Path(__file__).with_name("waivers.vlt")
#: What is linted: top module name, bus, parameters.
VARIANTS = (
    ("opc", "port", OpcParameters()),
    ("opc_axi", "axi", OpcParameters()),
    ("opc_lane", "port", OpcParameters(lanes=1)),
    ("opc_wide", "port", OpcParameters(lanes=32)),
    ("opc_map", "port", OpcParameters(voter=False)),
    ("opc_plain", "port", OpcParameters(voter=False, column_map=False)),
)


def lint(source: Path, waivers: Path = WAIVERS) -> str:
    """Warnings about a Verilog file whose top module has the file's name; empty when there are none."""
    root = find_verilator()
    assert root is not None
    command = [str(root / "bin" / "verilator_bin"), "--lint-only", "-Wall", "--top-module", source.stem]
    environment = dict(os.environ, VERILATOR_ROOT=str(root))
    result = subprocess.run(
        [*command, str(waivers), str(source)], env=environment, capture_output=True, text=True, check=False
    )
    return result.stderr if result.returncode else ""


def main() -> None:
    """Exit status 1 when a warning is left."""
    if hint := missing("verilator"):
        print(hint, file=sys.stderr)
        sys.exit(1)
    clean = True
    with tempfile.TemporaryDirectory() as folder:
        for name, bus, parameters in VARIANTS:
            source, _ = export(parameters, Path(folder), name, bus)
            warnings = lint(source)
            clean &= not warnings
            print(f"{name}: {warnings or 'clean'}")
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
