"""The output peripheral component (OPC): one interface, several backends with identical results.

``numpy`` is the reference, ``verilator`` is compiled from the exported Verilog, ``amaranth`` runs the hardware
description in Amaranth's own simulator.
"""

from __future__ import annotations

import warnings
from typing import Literal

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.base import OpcMap, Peripheral, PeripheralResult
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.scales import OpcScales

__all__ = ["Backend", "NumpyPeripheral", "OpcMap", "OpcScales", "Peripheral", "PeripheralResult", "create_peripheral"]

Backend = Literal["numpy", "verilator", "amaranth", "auto"]


def create_peripheral(name: str, parameters: OpcParameters) -> Peripheral:
    """An OPC of the backend ``name``; "auto" is the compiled one where it can be built, else NumPy with a warning.

    The first compiled OPC of given parameters is built (tens of seconds) and kept in the user's cache directory.

    Raises:
        UserError: an unknown name, or "verilator" without Verilator or a C++ compiler.
    """
    if name == "numpy":
        return NumpyPeripheral(parameters)
    if name == "amaranth":
        from crossvote.sim.peripheral.amaranth_backend import AmaranthPeripheral

        return AmaranthPeripheral(parameters)
    if name in ("verilator", "auto"):
        from crossvote.sim.peripheral.verilator_backend import VerilatorPeripheral

        try:
            return VerilatorPeripheral(parameters)
        except UserError as error:
            if name == "verilator":
                raise
            warnings.warn(f"The NumPy peripheral stands in for the compiled one: {error}", stacklevel=2)
            return NumpyPeripheral(parameters)
    raise UserError(f"unknown peripheral '{name}'; known are numpy, verilator, amaranth and auto.")
