"""Speed of the system model: ``python -m benchmarks.system_model``.

Goals: BERT-base, 128 tokens, accounting for more than 20 000 crossbars: one sequence in under 0.2 s, a thousand
pipelined ones in under 10 s, equal to the full simulation; at least a third of the events per second of bare SimPy.
Bare SimPy is as many processes as the model has, each doing nothing but wait, for as many events as the model has.
Times are CPU times, the best of several runs where that is said; they need an otherwise idle machine. Sequences of up
to 4,096 tokens show how time and memory grow with the length.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Generator

import simpy

from crossvote.sim.chip.config import load_chip
from crossvote.sim.system.dimensions import BERT_BASE, bert_workload
from crossvote.sim.system.model import simulate
from crossvote.sim.system.placement import place
from crossvote.sim.system.result import Resolution
from crossvote.sim.system.run import SystemRun


def best(measure: Callable[[], float], times: int = 5) -> float:
    """The largest of several measurements."""
    return max(measure() for _ in range(times))


def bare_simpy(processes: int, events: int) -> float:
    """Events per CPU second of processes that only wait."""
    env = simpy.Environment()

    def process(pause: int) -> Generator[simpy.Event, None, None]:
        for _ in range(events // processes):
            yield env.timeout(pause)

    for number in range(processes):
        env.process(process(100 + number))
    start = time.process_time()
    env.run()
    return events / (time.process_time() - start)


def model_rate(resolution: Resolution) -> tuple[float, int, int]:
    """Events per CPU second of the model (building it apart), events, processes."""
    chip = load_chip("crossvote")
    workload = bert_workload(BERT_BASE, chip)
    run = SystemRun(workload, place(workload, chip), resolution, 1)
    start = time.process_time()
    run.go()
    return run.simulation.events / (time.process_time() - start), run.simulation.events, run.simulation.processes


def main() -> None:
    """Print the table."""
    chip = load_chip("crossvote")
    workload = bert_workload(BERT_BASE, chip)
    for sequences, goal, times in ((1, 0.2, 20), (1000, 10.0, 1)):
        seconds = []
        for _ in range(times):
            start = time.process_time()
            result = simulate(workload, chip, sequences=sequences)
            seconds.append(time.process_time() - start)
        print(
            f"BERT-base, 128 tokens, {sequences} sequence(s), {result.placement.crossbars} crossbars: "
            f"{min(seconds):.3f} s, the best of {times} (goal < {goal} s; median {sorted(seconds)[times // 2]:.3f} s), "
            f"{1e3 * min(seconds) / sequences:.1f} ms per sequence, "
            f"{result.events} events, simulated {result.elapsed_ps / 1e6:.1f} us, repeats {result.period}"
        )
    for tokens in (512, 1024, 2048, 4096):
        large = load_chip("crossvote", {"tile": {"buffer_bytes": 290_375}})  # holds K and V of 4,096 tokens
        start = time.process_time()
        result = simulate(bert_workload(BERT_BASE, large, tokens), large)
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"BERT-base, {tokens} tokens: {time.process_time() - start:.1f} s, {result.events} events, most memory so "
            f"far {megabytes} MB, simulated {result.latency_ps / 1e9:.2f} ms"
        )
    resolutions: tuple[Resolution, ...] = ("matrix", "tile", "crossbar")
    for resolution in resolutions:
        _, events, processes = model_rate(resolution)
        rate = best(lambda resolution=resolution: model_rate(resolution)[0])  # type: ignore[misc]
        bare = best(lambda events=events, processes=processes: bare_simpy(processes, events))  # type: ignore[misc]
        print(
            f"{resolution:>8}: {rate / 1e6:.2f} M events/s, bare SimPy {bare / 1e6:.2f} M events/s, "
            f"ratio {rate / bare:.2f} (goal >= 0.33)"
        )


if __name__ == "__main__":
    main()
