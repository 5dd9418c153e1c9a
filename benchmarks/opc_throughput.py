"""How fast the OPC simulates: Amaranth's simulator, cocotb on Icarus and on Verilator, the compiled batch model.

    python -m benchmarks.opc_throughput
    python -m benchmarks.opc_throughput --lanes 8 --backend verilator

All drive the same RTL with vectors back to back and the output always ready. Times are CPU seconds of one core, the
best of three runs for the batch model; builds are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from rtl.parameters import OpcParameters
from sim.peripheral import create_peripheral
from tb.run import Bench, run_bench
from tb.stimulus import random_codes, random_map

#: Vectors per run, by backend: about a second each at L = 8.
VECTORS = {"amaranth": 20, "cocotb icarus": 40, "cocotb verilator": 150, "verilator": 20_000, "numpy": 500}


def in_process(backend: str, parameters: OpcParameters) -> tuple[int, float]:
    """Clock cycles and CPU seconds of a backend of ``sim.peripheral``."""
    rng = np.random.default_rng(1)
    peripheral = create_peripheral(backend, parameters)
    peripheral.load_map(random_map(rng, parameters))
    codes = random_codes(rng, parameters, min(VECTORS[backend], 2000), 1).astype(np.uint8)
    codes = np.concatenate([codes] * max(1, VECTORS[backend] // len(codes)))
    best, cycles = float("inf"), 0
    for _ in range(1 if backend == "amaranth" else 3):
        start = time.process_time()
        cycles = peripheral.process(codes).cycles
        best = min(best, time.process_time() - start)
    return cycles, best


def in_cocotb(simulator: str, parameters: OpcParameters) -> tuple[int, float]:
    """Clock cycles and CPU seconds of the cocotb bench ``tb.throughput`` under a simulator."""
    bench = Bench("throughput", parameters, OpcParameters.create, ("tb.throughput",))
    folder = Path("build/benchmarks", simulator, f"lanes_{parameters.lanes}").resolve()
    os.environ["THROUGHPUT_VECTORS"] = str(VECTORS[f"cocotb {simulator}"])
    _, failed, log = run_bench(bench, simulator, folder)
    if failed:
        raise RuntimeError(f"the bench failed; see {log}")
    measured = json.loads((folder / "throughput.json").read_text())
    return measured["cycles"], measured["seconds"]


BACKENDS: dict[str, Callable[[OpcParameters], tuple[int, float]]] = {
    "amaranth": lambda parameters: in_process("amaranth", parameters),
    "cocotb icarus": lambda parameters: in_cocotb("icarus", parameters),
    "cocotb verilator": lambda parameters: in_cocotb("verilator", parameters),
    "verilator": lambda parameters: in_process("verilator", parameters),
    "numpy": lambda parameters: in_process("numpy", parameters),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.opc_throughput", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    options = parser.parse_args()
    table = Table("L", "backend", "clock cycles", "CPU s", "cycles/s", "code pairs/s")
    for lanes in options.lanes:
        parameters = OpcParameters(lanes=lanes)
        for name in options.backend:
            cycles, seconds = BACKENDS[name](parameters)
            pairs = VECTORS[name] * parameters.input_bits * parameters.columns
            rates = (f"{cycles / seconds:,.0f}", f"{pairs / seconds:,.0f}")
            table.add_row(str(lanes), name, f"{cycles:,}", f"{seconds:.2f}", *rates)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
