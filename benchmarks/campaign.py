"""What a campaign's machinery costs: stub trials through an engine, the store alone, and overhead per real trial.

    python -m benchmarks.campaign stub --engine serial --trials 10000     # or process:2, dask:2
    python -m benchmarks.campaign store --trials 100000
    python -m benchmarks.campaign overhead RUN --chips 20                 # a run directory with images
    python -m benchmarks.campaign speedup RUN --workers 2 --chips 20

Stub trials do nothing, so their rate is that of planning, handing over and recording; on the way the driver's memory
is printed, at each tenth of the trials. ``store`` plans and records without an engine. ``overhead`` measures the trials
of RUN bare, one after the other in one process, and as a campaign on one process; the share by which the campaign is
slower is the overhead. ``speedup`` runs the same trials on that many worker processes, each with one thread, and on
one; the speed-up is the ratio of the trials per second once all workers have given their first chunk. It needs as many
idle cores, and OMP_NUM_THREADS=1. Each call measures one thing, prints it, and with --output puts it into that JSON
file beside what others put there. All ratios are of one run on one machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.driver import State
from crossvote.swstack.experiment.campaign.folder import database_path, driving
from crossvote.swstack.experiment.campaign.plan import plan, results_digest
from crossvote.swstack.experiment.campaign.running import run_campaign
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, variants
from crossvote.swstack.experiment.campaign.trials import Chunk, Outcome, expand
from crossvote.swstack.experiment.campaign.work import do_chunk
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run import paths

#: Where ``timed_chunk`` says what it did.
CHUNKS = "chunks.jsonl"


def stub(chunk: Chunk) -> list[Outcome]:
    """A score that is a function of the trial and takes no time."""
    return [Outcome(trial.key, {"accuracy": int(trial.key[:4], 16) / 655.36}) for trial in chunk.trials]


def stub_campaign(trials: int) -> CampaignSpec:
    """A campaign of at least so many trials of one scheme, up to 10,000 chips at each rate."""
    rates = [round(0.0001 * (1 + n), 4) for n in range(math.ceil(trials / 10_000))]
    keys = {"schemes": ["none"], "rates": rates, "chips": min(trials, 10_000), "examples": False}
    return build(CampaignSpec, keys, "benchmark")


def _memory() -> float:
    """Memory that this process holds now, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def stub_rate(trials: int, engine: str) -> dict[str, Any]:
    """Trials per second through an engine, from planning to the last record, and the driver's memory at each tenth."""
    spec = stub_campaign(trials)
    memory: dict[int, float] = {}

    def watch(state: State) -> None:
        done = state.counts["done"]
        tenth = 10 * done // (done + state.counts["open"])
        if tenth not in memory:
            memory[tenth] = _memory()
            print(f"  {done} trials, {state.speed:.0f}/s, the driver holds {memory[tenth]:.1f} MB", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        counts = run_campaign(Path(folder) / "c", spec, engine, watch, work=stub)
        seconds = time.perf_counter() - started
        with Database.open(database_path(Path(folder) / "c")) as database:
            digest = results_digest(database)
    least = min(memory)
    return {
        "engine": engine,
        "trials": counts["done"],
        "trials per s": counts["done"] / seconds,
        "driver MB at the first look": memory[least],
        "driver MB at a tenth": memory[min(key for key in memory if key)],
        "driver MB at the end": memory[max(memory)],
        "digest of the results": digest,
    }


def store_rates(trials: int) -> dict[str, Any]:
    """Trials planned, recorded and read back per second, without an engine."""
    spec = stub_campaign(trials)
    known = variants(spec)
    row: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, driving(Path(folder) / "c") as database:
        started = time.perf_counter()
        count = plan(database, spec, known)
        row["trials"], row["planned per s"] = count, count / (time.perf_counter() - started)
        spent, after = 0.0, -1
        while page := database.open_trials(after, 256):
            after = page[-1][0]
            outcomes = stub(Chunk(Path(), {}, tuple(trial for _, trial in page)))
            started = time.perf_counter()
            database.record(outcomes)
            database.counts()
            spent += time.perf_counter() - started
        row["recorded per s"] = count / spent
        started = time.perf_counter()
        assert sum(1 for _ in database.rows("done")) == count
        row["read per s"] = count / (time.perf_counter() - started)
        row["bytes per trial"] = database.path.stat().st_size / count
    return row


def overhead(run: Path, chips: int, rounds: int) -> dict[str, Any]:
    """CPU and wall seconds per trial, bare and as a campaign in one process, taken in turns; the best round of each.

    A campaign of one chip loads and converts before the clock starts, as the bare trials do; that with all chips finds
    both at hand, and plans, looks at the stages, measures and records. The CPU seconds are those of driver and trials
    together, and say the same on a busy machine.
    """
    from crossvote.swstack.experiment.campaign.measure import Workbench

    config = load_config(run / paths.CONFIG)
    keys = {"base": str(run.absolute()), "chips": chips, "rates": [max(config.faults.rates)], "examples": False}
    spec = build(CampaignSpec, keys, str(run))
    known = variants(spec)
    trials = list(expand(spec, known))
    assert known[0].config is not None
    bare, campaign = [], []

    def now() -> tuple[float, float]:
        return time.process_time(), time.perf_counter()

    def per_trial(start: tuple[float, float], count: int) -> tuple[float, float]:
        cpu, wall = now()
        return (cpu - start[0]) / count, (wall - start[1]) / count

    for _ in range(rounds):
        bench = Workbench(run, known[0].config)
        for trial in trials[: len(config.map.schemes)]:
            bench.measure(trial)  # converts, which both do once
        # Those without faults are what the campaign has done when its clock starts.
        rest = trials[len(config.map.schemes) * 2 :]
        start = now()
        for trial in rest:
            bench.measure(trial)
        bare.append(per_trial(start, len(rest)))
        print(f"  bare, {len(rest)} trials: {bare[-1][0]:.3f} CPU s, {bare[-1][1]:.3f} s each", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "c"
            # A first chip takes the models over and converts.
            first = run_campaign(place, build(CampaignSpec, {**keys, "chips": 1}, str(run)), "serial")
            start = now()
            run_campaign(place, spec, "serial")
            campaign.append(per_trial(start, len(trials) - first["done"]))
        print(f"  in a campaign: {campaign[-1][0]:.3f} CPU s, {campaign[-1][1]:.3f} s each", flush=True)
        assert len(rest) == len(trials) - first["done"]
    result: dict[str, Any] = {"trials": len(rest)}
    for n, kind in enumerate(("CPU", "wall")):
        least = [min(one[n] for one in found) for found in (bare, campaign)]
        result[f"bare, {kind} s per trial"], result[f"campaign, {kind} s per trial"] = least
        result[f"overhead, % of {kind} time"] = 100 * (least[1] / least[0] - 1)
    return result


@dataclass(frozen=True)
class Done:
    """A chunk that a worker has done: when it began and ended, s, and the schemes of its trials, one each."""

    worker: int
    start: float
    end: float
    schemes: tuple[str, ...]


def timed_chunk(chunk: Chunk) -> list[Outcome]:
    """Measure a chunk as a campaign does, and add when to a file beside the campaign's runs."""
    start = time.time()
    outcomes = do_chunk(chunk)
    line = json.dumps([os.getpid(), start, time.time(), [trial.scheme for trial in chunk.trials]])
    with (chunk.run.parents[1] / CHUNKS).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    return outcomes


def steady(chunks: Sequence[Done], workers: int, schemes: int) -> tuple[float, float, float]:
    """Of a campaign on ``workers`` workers: trials per second, the share of the time that workers measured, and how
    long the steady state lasted, s.

    It begins when every worker has measured each scheme once, and so has loaded and converted all; it ends when the
    first worker has nothing left to do. A chunk on an edge counts by the share of its time that is inside.

    Raises:
        UserError: there is no such time.
    """
    warm: dict[int, float] = {}
    last: dict[int, float] = {}
    seen: dict[int, set[str]] = {}
    for one in sorted(chunks, key=lambda one: one.end):
        seen.setdefault(one.worker, set()).update(one.schemes)
        last[one.worker] = one.end
        if len(seen[one.worker]) == schemes:
            warm.setdefault(one.worker, one.end)
    start, end = max(warm.values(), default=math.inf), min(last.values(), default=0.0)
    if len(warm) < workers or start >= end:
        raise UserError(f"{workers} worker(s) reach no steady state in {len(chunks)} chunks; measure more --chips.")
    inside = [(max(0.0, min(one.end, end) - max(one.start, start)), one) for one in chunks]
    trials = sum(len(one.schemes) * spent / (one.end - one.start) for spent, one in inside)
    return trials / (end - start), sum(spent for spent, _ in inside) / (workers * (end - start)), end - start


@contextmanager
def confined(count: int) -> Iterator[None]:
    """This process, and those that it starts, keep to so many of its cores.

    Raises:
        UserError: it has fewer.
    """
    own = sorted(os.sched_getaffinity(0))
    if len(own) < count:
        raise UserError(f"--workers {count}: there are {len(own)} cores to run on.")
    os.sched_setaffinity(0, own[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def speed_up(run: Path, chips: int, workers: int) -> dict[str, Any]:
    """Trials per second of real trials on one worker process and on several in the steady state, and their ratio.

    What comes before it, a campaign of thousands of trials does not notice; the time until the first worker begins its
    first chunk is given apart.
    """
    config = load_config(run / paths.CONFIG)
    keys = {"base": str(run.absolute()), "chips": chips, "rates": [max(config.faults.rates)], "examples": False}
    spec = build(CampaignSpec, keys, str(run))
    row: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in dict.fromkeys((1, workers)):
            place = Path(folder) / str(count)
            # The stages are taken over first, and a chip measured, which is not measured again.
            run_campaign(place, build(CampaignSpec, {**keys, "chips": 1}, str(run)), "serial")
            began = time.time()
            with confined(count):
                run_campaign(place, spec, f"process:{count}", work=timed_chunk)
            lines = map(json.loads, (place / CHUNKS).read_text(encoding="utf-8").splitlines())
            chunks = [Done(worker, start, end, tuple(schemes)) for worker, start, end, schemes in lines]
            rate, busy, lasted = steady(chunks, count, len(config.map.schemes))
            before = min(chunk.start for chunk in chunks) - began
            found = {"trials per s": rate, "share measuring": busy, "steady, s": lasted, "start, s": before}
            row |= {f"{count}: {name}": value for name, value in found.items()}
            print(f"  {count}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)
    return {**row, "ratio": row[f"{workers}: trials per s"] / row["1: trials per s"]}


def main() -> None:
    """Measure one thing and print it; --output keeps it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    stubs = what.add_parser("stub", help="trials per second of one engine, and the driver's memory")
    stubs.add_argument("--engine", default="serial")
    store = what.add_parser("store", help="trials per second of the store alone")
    real = [what.add_parser("overhead", help="per trial, against bare evaluation")]
    real.append(what.add_parser("speedup", help="of worker processes over one"))
    for one in (stubs, store):
        one.add_argument("--trials", type=int, default=10_000)
    for one in real:
        one.add_argument("run", type=Path, help="a run directory with images")
        one.add_argument("--chips", type=int, default=20)
    real[0].add_argument("--rounds", type=int, default=2, help="how often each is measured; the best counts")
    real[1].add_argument("--workers", type=int, default=2)
    for one in (stubs, store, *real):
        one.add_argument("--output", type=Path, help="JSON file that keeps the numbers")
    args = parser.parse_args()
    if args.what == "stub":
        name, found = f"stub {args.engine} {args.trials}", stub_rate(args.trials, args.engine)
    elif args.what == "store":
        name, found = f"store {args.trials}", store_rates(args.trials)
    elif args.what == "overhead":
        name, found = f"overhead {args.run}", overhead(args.run, args.chips, args.rounds)
    else:
        name, found = f"speedup {args.run} {args.workers}", speed_up(args.run, args.chips, args.workers)
    shown = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in found.items())
    print(f"{name}: " + ", ".join(shown))
    if args.output is not None:
        kept = json.loads(args.output.read_text(encoding="utf-8")) if args.output.is_file() else {}
        kept[name] = {**found, "load average": os.getloadavg()[0]}
        args.output.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
