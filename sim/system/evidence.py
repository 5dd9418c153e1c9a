"""One OPC run kept for inspection: its stimulus, what came out, and the RTL's waveform for the same codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.peripheral.amaranth_backend import AmaranthPeripheral
from crossvote.sim.peripheral.base import OpcMap, PeripheralResult


def dump_transaction(
    folder: Path,
    parameters: OpcParameters,
    opc_map: OpcMap,
    codes: NDArray[np.unsignedinteger],
    got: PeripheralResult,
    expected: PeripheralResult,
    what: Mapping[str, Any],
) -> tuple[Path, ...]:
    """Write ``transaction.json``, ``opc.vcd`` (the hardware description fed with ``codes``) and ``opc.gtkw``.

    Args:
        codes: uint8 or uint16[V, row blocks, n_x, columns, 2], best of one vector. got, expected: from them.
        what: where the codes come from, copied into the JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waveform = folder / "opc.vcd"
    rtl = AmaranthPeripheral(parameters, waveform)
    rtl.load_map(opc_map)
    again = rtl.process(codes)
    document = {
        **what,
        "got": got.outputs.tolist(),
        "expected": expected.outputs.tolist(),
        "waveform_gives": again.outputs.tolist(),
        "checksum_mismatches": {
            "got": got.mismatches,
            "expected": expected.mismatches,
            "waveform_gives": again.mismatches,
        },
        "cycles": again.cycles,
        "map": {
            name: getattr(opc_map, name).tolist() for name in ("output", "plane", "replica", "flipped", "shift", "copy")
        },
        "codes": codes.tolist(),
    }
    write_text_atomic(folder / "transaction.json", json.dumps(document) + "\n")
    return folder / "transaction.json", waveform, waveform.with_suffix(".gtkw")
