"""The back ends of the output peripheral: how each is made, and what may be said when it ran.

Every sentence about a co-simulation derives from this table and the name of the back end that ran, never from the one
that was asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from crossvote.sim.common.errors import Notice, UserError

if TYPE_CHECKING:
    from crossvote.rtl.parameters import OpcParameters
    from crossvote.sim.peripheral.base import Peripheral

Backend = Literal["numpy", "verilator", "amaranth", "tile", "auto"]


@dataclass(frozen=True)
class BackendKind:
    """A back end.

    what: what it is, as the subject of a sentence. hardware: whether the hardware description itself is executed, so
        that its clock cycles are counted; otherwise they follow from the latency formula.
    make: an OPC of given parameters.
    """

    name: str
    what: str
    hardware: bool
    make: Callable[[OpcParameters], Peripheral]

    @property
    def cycles(self) -> str:
        """Where clock cycles come from, in words."""
        return "clock cycles counted" if self.hardware else "clock cycles by formula"


def _tile(parameters: OpcParameters) -> Peripheral:
    raise UserError("'tile' is no output peripheral by itself, but a whole tile, which takes activations.")


def _numpy(parameters: OpcParameters) -> Peripheral:
    from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral

    return NumpyPeripheral(parameters)


def _verilator(parameters: OpcParameters) -> Peripheral:
    from crossvote.sim.peripheral.verilator_backend import VerilatorPeripheral

    return VerilatorPeripheral(parameters)


def _amaranth(parameters: OpcParameters) -> Peripheral:
    from crossvote.sim.peripheral.amaranth_backend import AmaranthPeripheral

    return AmaranthPeripheral(parameters)


BACKENDS: dict[str, BackendKind] = {
    kind.name: kind
    for kind in (
        BackendKind("numpy", "the NumPy model of the output peripheral", False, _numpy),
        BackendKind("verilator", "the Verilog of the output peripheral (compiled by Verilator)", True, _verilator),
        BackendKind("amaranth", "the RTL of the output peripheral in Amaranth's simulator", True, _amaranth),
        BackendKind("tile", "the Verilog of the whole tile (compiled by Verilator)", True, _tile),
    )
}


def backend_kind(name: str) -> BackendKind:
    """The back end that ran under ``name``; a foreign one is only called by its name, and nothing else is claimed."""
    found = BACKENDS.get(name)
    return found or BackendKind(name, f"the output peripheral '{name}'", False, _foreign)


def _foreign(parameters: OpcParameters) -> Peripheral:
    raise UserError("this output peripheral is none of CrossVote's back ends.")


def create_peripheral(name: str, parameters: OpcParameters) -> Peripheral:
    """An OPC of the back end ``name``; "auto" is the compiled one where it can be built, else NumPy with a warning.

    The first compiled OPC of given parameters is built (tens of seconds) and kept in the user's cache directory.

    Raises:
        UserError: an unknown name, a whole tile, or "verilator" without Verilator or a C++ compiler.
    """
    if name == "auto":
        try:
            return _verilator(parameters)
        except UserError as error:
            warnings.warn(f"The NumPy peripheral stands in for the compiled one: {error}", Notice, stacklevel=2)
            return _numpy(parameters)
    if name not in BACKENDS:
        raise UserError(f"unknown peripheral '{name}'; known are {', '.join(BACKENDS)} and auto.")
    return BACKENDS[name].make(parameters)
