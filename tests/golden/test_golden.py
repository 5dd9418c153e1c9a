"""The integers of images, chips and layers are those from before the code was moved into its rooms."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from golden_cases import integers

from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import load_chip
from crossvote.sim.peripheral import create_peripheral
from crossvote.sim.peripheral.opc_array import OpcArray
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.quantization import quantize_weights

PROGRAM = SimpleNamespace(
    FaultMap=FaultMap,
    Image=Image,
    MatrixImage=MatrixImage,
    OpcArray=OpcArray,
    PRESETS=PRESETS,
    QuantizedGroup=QuantizedGroup,
    ReadModel=ReadModel,
    convert=convert,
    create_peripheral=create_peripheral,
    load_chip=load_chip,
    opc_parameters=opc_parameters,
    place_group=place_group,
    quantize_weights=quantize_weights,
    reference_outputs=reference_outputs,
    swap_faults=swap_faults,
)


def test_integers_are_those_of_before_the_move():
    expected = json.loads((Path(__file__).parent / "expected.json").read_text(encoding="utf-8"))
    found = dict(integers(PROGRAM))
    assert found.keys() == expected.keys()
    assert [name for name, value in found.items() if value != expected[name]] == []
