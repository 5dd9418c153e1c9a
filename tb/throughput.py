"""Not a test but a measurement: clock cycles and CPU seconds of a long run, for ``benchmarks/opc_throughput.py``."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

from crossvote.rtl.export import write_atomic
from crossvote.sim.peripheral.programming import beat_payloads
from tb.bench import PARAMETERS, OpcBench
from tb.stimulus import random_codes, random_map


@cocotb.test()
async def throughput(dut: HierarchyObject) -> None:
    """Beats as fast as the OPC takes them; the bench only drives the input. The best run counts."""
    rng = np.random.default_rng(1)
    bench = OpcBench(dut)
    opc_map = random_map(rng, PARAMETERS)
    vectors, blocks, runs = (int(os.environ[f"THROUGHPUT_{name}"]) for name in ("VECTORS", "ROW_BLOCKS", "RUNS"))
    beats = list(beat_payloads(PARAMETERS, random_codes(rng, PARAMETERS, vectors, blocks)))
    await bench.start(watch=False)
    await bench.program(opc_map, blocks)
    clock, valid, payload, ready = dut.clk, dut.i__valid, dut.i__payload, dut.i__ready
    dut.o__ready.value = 1
    valid.value = 1
    measured = []
    for _ in range(runs):
        cycles, start = 0, time.process_time()
        for beat in beats:
            payload.value = beat
            await RisingEdge(clock)
            cycles += 1
            while not ready.value:
                await RisingEdge(clock)
                cycles += 1
        measured.append((cycles, time.process_time() - start))
    cycles, seconds = min(measured, key=lambda run: run[1] / run[0])
    write_atomic(Path("throughput.json"), json.dumps({"cycles": cycles, "seconds": seconds}) + "\n")
