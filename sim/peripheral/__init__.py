"""The output peripheral component (OPC): one interface, several back ends with identical results.

``numpy`` is the reference, ``verilator`` is compiled from the exported Verilog, ``amaranth`` runs the hardware
description in Amaranth's own simulator. Naming a back end loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossvote.sim.peripheral.backends import BACKENDS, Backend, BackendKind, backend_kind, create_peripheral

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name in __all__:
        # These load NumPy.
        from crossvote.sim.peripheral import base, numpy_backend, scales

        for home in (base, numpy_backend, scales):
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
