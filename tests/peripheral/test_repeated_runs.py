"""One OPC object, used run after run and reprogrammed in between, as the co-simulation does."""

from __future__ import annotations

import numpy as np
import pytest

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.peripheral import OpcMap, create_peripheral

PARAMETERS = OpcParameters(columns=12, lanes=4, planes=3, input_bits=3, adc_bits=5, row_blocks=3)  # as in test_backends


def side_by_side(outputs: int) -> OpcMap:
    """``outputs`` unprotected outputs; the bit lines behind them stay unused."""
    line = np.arange(PARAMETERS.columns)
    used = line < outputs * PARAMETERS.planes
    zeros = np.zeros(PARAMETERS.columns, np.int8)
    return OpcMap(
        np.where(used, line // PARAMETERS.planes, -1).astype(np.int32),
        np.where(used, line % PARAMETERS.planes, 0).astype(np.int8),
        zeros,
        zeros.astype(np.bool_),
    )


@pytest.mark.parametrize("backend", ["verilator", "amaranth"])
def test_runs_and_maps_follow_each_other(backend):
    rng = np.random.default_rng(7)
    peripheral, reference = create_peripheral(backend, PARAMETERS), create_peripheral("numpy", PARAMETERS)
    for outputs in (1, 4, 2):
        for opc in (peripheral, reference):
            opc.load_map(side_by_side(outputs))
        for vectors, row_blocks in ((1, 1), (3, 2), (2, 1)):
            codes = rng.integers(0, 32, (vectors, row_blocks, 3, PARAMETERS.columns, 2)).astype(np.uint8)
            got, expected = peripheral.process(codes), reference.process(codes)
            assert np.array_equal(got.outputs, expected.outputs)
            assert (got.cycles, got.disagreements) == (expected.cycles, expected.disagreements)
