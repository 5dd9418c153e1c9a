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
from pathlib import Path
from typing import Any

from crossvote.sim.common.schema import build
from crossvote.swstack.experiment.campaign import driver
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, variants
from crossvote.swstack.experiment.campaign.trials import Chunk, Outcome, expand
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run import paths


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

    def watch(state: driver.State) -> None:
        done = state.counts["done"]
        tenth = 10 * done // (done + state.counts["open"])
        if tenth not in memory:
            memory[tenth] = _memory()
            print(f"  {done} trials, {state.speed:.0f}/s, the driver holds {memory[tenth]:.1f} MB", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        counts = driver.run_campaign(Path(folder) / "c", spec, engine, watch, work=stub)
        seconds = time.perf_counter() - started
        with Database.open(driver.database_path(Path(folder) / "c")) as database:
            digest = driver.results_digest(database)
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
    with tempfile.TemporaryDirectory() as folder, driver.driving(Path(folder) / "c") as database:
        started = time.perf_counter()
        count = driver.plan(database, spec, known)
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
            first = driver.run_campaign(place, build(CampaignSpec, {**keys, "chips": 1}, str(run)), "serial")
            start = now()
            driver.run_campaign(place, spec, "serial")
            campaign.append(per_trial(start, len(trials) - first["done"]))
        print(f"  in a campaign: {campaign[-1][0]:.3f} CPU s, {campaign[-1][1]:.3f} s each", flush=True)
        assert len(rest) == len(trials) - first["done"]
    result: dict[str, Any] = {"trials": len(rest)}
    for n, kind in enumerate(("CPU", "wall")):
        least = [min(one[n] for one in found) for found in (bare, campaign)]
        result[f"bare, {kind} s per trial"], result[f"campaign, {kind} s per trial"] = least
        result[f"overhead, % of {kind} time"] = 100 * (least[1] / least[0] - 1)
    return result


def speed_up(run: Path, chips: int, workers: int) -> dict[str, Any]:
    """Trials per second of real trials on one worker process and on several, and their ratio.

    Workers start, load and convert before the clock starts, which a campaign of thousands of trials does not notice.
    """
    config = load_config(run / paths.CONFIG)
    keys = {"base": str(run.absolute()), "chips": chips, "rates": [max(config.faults.rates)], "examples": False}
    spec = build(CampaignSpec, keys, str(run))
    per_second = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, workers):
            seen: list[tuple[float, int]] = []

            def watch(state: driver.State, seen: list[tuple[float, int]] = seen) -> None:
                if not seen or state.counts["done"] > seen[-1][1]:
                    seen.append((time.perf_counter(), state.counts["done"]))

            driver.run_campaign(Path(folder) / str(count), spec, f"process:{count}", watch)
            # The first look is at no trial; then each worker's first chunk has been waited for.
            (start, before), (end, after) = seen[min(1 + count, len(seen) - 2)], seen[-1]
            per_second[count] = (after - before) / (end - start)
    ratio = per_second[workers] / per_second[1]
    return {"one, trials per s": per_second[1], f"{workers}, trials per s": per_second[workers], "ratio": ratio}


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
