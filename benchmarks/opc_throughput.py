"""How fast the OPC simulates: Amaranth's simulator, cocotb on Icarus and on Verilator, the compiled batch model.

    python -m benchmarks.opc_throughput                   # all; writes benchmarks/results and the table of docs/opc.md
    python -m benchmarks.opc_throughput --lanes 8 --simulator compiled    # some; prints only

All drive the same RTL with vectors back to back and the output always ready. A vector has as many row blocks as it
takes to keep the input from waiting for read-out, so every clock cycle takes one beat of L code pairs. Times are CPU
seconds of one core, the best of three runs (one of Amaranth's simulator); builds are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from benchmarks.measure import environment
from benchmarks.sections import Section, measured_on
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.peripheral import create_peripheral
from tb.run import Bench, run_bench
from tb.stimulus import random_codes, random_map

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "opc_throughput.json"
SECTION = Section(
    ROOT / "docs" / "opc.md", "<!-- benchmarks/results/opc_throughput.json -->", "<!-- end of the measurement -->"
)
LANES = (8, 32, 128)
RUNS = 3
#: Goals: cycles/s of the compiled model over those of cocotb on Verilator, and its code pairs/s on one core.
FASTER, CODE_PAIRS_PER_S = 100, 50e6


@dataclass(frozen=True)
class Speed:
    """Clock cycles per CPU second of one simulator; ``row_blocks`` per vector."""

    lanes: int
    row_blocks: int
    simulator: str
    cycles: int
    seconds: float

    @property
    def cycles_per_s(self) -> float:
        return self.cycles / self.seconds

    @property
    def code_pairs_per_s(self) -> float:
        """A beat of ``lanes`` code pairs per clock cycle."""
        return self.lanes * self.cycles_per_s


def row_blocks(parameters: OpcParameters) -> int:
    """Row blocks of a vector whose beats take as long as its read-out."""
    return max(1, parameters.columns // parameters.beats(1))


def in_process(backend: str, vectors: int, runs: int, parameters: OpcParameters) -> tuple[int, float]:
    """Clock cycles and CPU seconds of a backend of ``crossvote.sim.peripheral``, of its best run.

    They are those of all vectors but the first, so that what Amaranth's simulator does before each run is left out.
    """
    rng = np.random.default_rng(1)
    peripheral = create_peripheral(backend, parameters)
    peripheral.load_map(random_map(rng, parameters))
    codes = random_codes(rng, parameters, vectors, row_blocks(parameters)).astype(np.uint8)

    def run(count: int) -> tuple[int, float]:
        start = time.process_time()
        return peripheral.process(codes[:count]).cycles, time.process_time() - start

    pairs = [(run(1), run(vectors)) for _ in range(runs)]
    return min(((b - a, t - s) for (a, s), (b, t) in pairs), key=lambda measured: measured[1])


def in_cocotb(simulator: str, vectors: int, parameters: OpcParameters) -> tuple[int, float]:
    """Clock cycles and CPU seconds of the cocotb bench ``tb.throughput`` under a simulator, of its best run."""
    bench = Bench("throughput", parameters, Opc, ("tb.throughput",))
    folder = Path("build/benchmarks", simulator, f"lanes_{parameters.lanes}").resolve()
    settings = {"VECTORS": vectors, "ROW_BLOCKS": row_blocks(parameters), "RUNS": RUNS}
    os.environ.update({f"THROUGHPUT_{name}": str(value) for name, value in settings.items()})
    _, failed, log = run_bench(bench, simulator, folder)
    if failed:
        raise RuntimeError(f"the bench failed; see {log}")
    measured = json.loads((folder / "throughput.json").read_text())
    return measured["cycles"], measured["seconds"]


#: Vectors are as many as take about a second at L = 8.
SIMULATORS: dict[str, Callable[[OpcParameters], tuple[int, float]]] = {
    "amaranth": lambda parameters: in_process("amaranth", 9, 1, parameters),
    "cocotb, Icarus": lambda parameters: in_cocotb("icarus", 64, parameters),
    "cocotb, Verilator": lambda parameters: in_cocotb("verilator", 256, parameters),
    "compiled": lambda parameters: in_process("verilator", 4096, RUNS, parameters),
}
NAMES = {"amaranth": "Amaranth's simulator", "compiled": "compiled batch model (`verilator`)"}


def measure(lanes: int, simulator: str) -> Speed:
    """Speed of one of ``SIMULATORS``."""
    parameters = OpcParameters(lanes=lanes)
    cycles, seconds = SIMULATORS[simulator](parameters)
    return Speed(lanes, row_blocks(parameters), simulator, cycles, seconds)


def rounded(value: float) -> str:
    """Two or three digits with k or M."""
    for factor, unit in ((1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}"


def table(speeds: Sequence[Speed]) -> str:
    """Markdown table; the last column is how many times faster the compiled model is per simulated clock cycle."""
    compiled = {speed.lanes: speed.cycles_per_s for speed in speeds if speed.simulator == "compiled"}
    lines = [
        "| L | row blocks | simulator | cycles/s | code pairs/s | compiled is faster by |",
        "|---|---|---|---|---|---|",
    ]
    for s in speeds:
        other = s.simulator != "compiled" and s.lanes in compiled
        factor = f"{compiled[s.lanes] / s.cycles_per_s:,.0f}" if other else ""
        name = NAMES.get(s.simulator, s.simulator)
        rates = f"{rounded(s.cycles_per_s)} | {rounded(s.code_pairs_per_s)}"
        lines.append(f"| {s.lanes} | {s.row_blocks} | {name} | {rates} | {factor} |")
    return "\n".join(lines)


def verdict(speeds: Sequence[Speed]) -> str:
    """Which goals are met, one sentence per number of lanes."""
    found = {(speed.lanes, speed.simulator): speed for speed in speeds}
    sentences = []
    for lanes in dict.fromkeys(speed.lanes for speed in speeds):
        compiled, cocotb = (found[lanes, name] for name in ("compiled", "cocotb, Verilator"))
        times, pairs = compiled.cycles_per_s / cocotb.cycles_per_s, compiled.code_pairs_per_s
        faster, enough = ("met" if good else "missed" for good in (times >= FASTER, pairs >= CODE_PAIRS_PER_S))
        sentences.append(
            f"L = {lanes}: {times:.0f} times cocotb on Verilator (goal {FASTER}, {faster}), "
            f"{rounded(pairs)} code pairs/s on one core (goal {rounded(CODE_PAIRS_PER_S)}, {enough})."
        )
    return "\n".join(sentences)


def section(data: dict) -> str:  # type: ignore[type-arg]
    """What stands in the document: table, verdict and machine, from the content of ``RESULTS``."""
    speeds = [Speed(**entry) for entry in data["results"]]
    return f"{table(speeds)}\n\n{verdict(speeds)}\n{measured_on(data['environment'])}"


def picture(speeds: Sequence[Speed]) -> Figure:
    """Cycles per second over the number of lanes, one line per simulator."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for simulator in dict.fromkeys(speed.simulator for speed in speeds):
        own = [speed for speed in speeds if speed.simulator == simulator]
        axes.plot([s.lanes for s in own], [s.cycles_per_s for s in own], marker="o", label=simulator)
    axes.set(xscale="log", yscale="log", xlabel="lanes", ylabel="clock cycles per CPU second")
    axes.set_xticks(LANES, [str(lanes) for lanes in LANES])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def publish(speeds: Sequence[Speed]) -> None:
    """Write results, picture and the document's table."""
    data = {"environment": environment(), "results": [asdict(speed) for speed in speeds]}
    write_text_atomic(RESULTS, json.dumps(data, indent=1) + "\n")
    with matplotlib.rc_context({"svg.hashsalt": "opc_throughput", "svg.fonttype": "none"}):
        picture(speeds).savefig(RESULTS.with_suffix(".svg"), metadata={"Date": None})
    SECTION.write(section(data))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.opc_throughput", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=LANES)
    parser.add_argument("--simulator", nargs="+", choices=SIMULATORS, default=list(SIMULATORS))
    options = parser.parse_args()
    speeds = []
    for lanes in options.lanes:
        for simulator in options.simulator:
            print(f"L = {lanes}, {simulator} ...", file=sys.stderr, flush=True)
            speeds.append(measure(lanes, simulator))
    print(table(speeds))
    if (tuple(options.lanes), options.simulator) == (LANES, list(SIMULATORS)):
        publish(speeds)
        print(verdict(speeds))


if __name__ == "__main__":
    main()
