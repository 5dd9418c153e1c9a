"""Codes of real layers with real stuck cells: outputs equal the NumPy reference, their sums the torch evaluation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cocotb
from cocotb.handle import HierarchyObject

from tb.bench import OpcBench
from tb.real_layers import read
from tb.stimulus import sometimes

STIMULI = read(Path(os.environ["OPC_STIMULUS"]))


@cocotb.test()
@cocotb.parametrize(number=range(len(STIMULI)))
async def real_layer(dut: HierarchyObject, number: int) -> None:
    """Both streams stall now and then; votes differ where cells are stuck, and nowhere else."""
    stimulus = STIMULI[number]
    dut._log.info("%s", stimulus.name)
    bench = OpcBench(dut)
    await bench.start()
    await bench.program(stimulus.opc_map, stimulus.codes.shape[2])
    total: Any = 0
    disagreements = 0
    for run, codes in enumerate(stimulus.codes):
        result = await bench.check(
            stimulus.opc_map,
            codes,
            lambda run=run: sometimes(2 * run, 0.9),
            lambda run=run: sometimes(2 * run + 1, 0.6),
        )
        total, disagreements = total + result.outputs, disagreements + result.disagreements
    assert total.tolist() == stimulus.sums.tolist()
    assert (disagreements > 0) == stimulus.faulty
