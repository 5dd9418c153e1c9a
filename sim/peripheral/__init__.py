"""The output peripheral component (OPC): one interface, several back ends with identical results.

``numpy`` is the reference, ``verilator`` is compiled from the exported Verilog, ``amaranth`` runs the hardware
description in Amaranth's own simulator.
"""

from crossvote.sim.peripheral.backends import BACKENDS, Backend, BackendKind, backend_kind, create_peripheral
from crossvote.sim.peripheral.base import OpcMap, Peripheral, PeripheralResult
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.scales import OpcScales

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendKind",
    "NumpyPeripheral",
    "OpcMap",
    "OpcScales",
    "Peripheral",
    "PeripheralResult",
    "backend_kind",
    "create_peripheral",
]
