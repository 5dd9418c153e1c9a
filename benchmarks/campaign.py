"""What a campaign's machinery costs: stub trials through each engine, and overhead per real trial.

    python -m benchmarks.campaign [--trials 10000] [--engines serial dask:2] [--run RUN --chips 20 --workers 2]

Stub trials do nothing, so their rate is that of planning, handing over and recording. With --run (a run directory with
images) its trials are measured bare, one after the other in one process, and as a campaign on one process; the share
by which the campaign is slower is the overhead. With --workers as well, the same trials run on that many worker
processes, each with one thread, and on one; the speed-up is the ratio of the trials per second once all workers have
given their first chunk. It needs as many idle cores, and OMP_NUM_THREADS=1. All ratios are of one run on one machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from crossvote.sim.common.schema import build, to_mapping
from crossvote.swstack.experiment import paths
from crossvote.swstack.experiment.campaign import driver
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, variants
from crossvote.swstack.experiment.campaign.trials import Chunk, Outcome, expand
from crossvote.swstack.experiment.config import load_config


def stub(chunk: Chunk) -> list[Outcome]:
    """A score that is a function of the trial and takes no time."""
    return [Outcome(trial.key, {"accuracy": int(trial.key[:4], 16) / 655.36}) for trial in chunk.trials]


def stub_rates(trials: int, engines: list[str]) -> list[dict[str, Any]]:
    """Trials per second and the growth of the driver's memory, per engine; equal digests are checked."""
    rows, digests = [], set()
    spec = build(CampaignSpec, {"schemes": ["none"], "rates": [0.001], "chips": 1, "examples": False}, "benchmark")
    rates = [round(0.0001 * (1 + n), 4) for n in range(max(1, trials // 10_000))]
    keys = {**to_mapping(spec), "rates": rates, "chips": min(trials, 10_000)}
    spec = build(CampaignSpec, keys, "benchmark")
    for engine in engines:
        with tempfile.TemporaryDirectory() as folder:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            started = time.perf_counter()
            counts = driver.run_campaign(Path(folder) / "c", spec, engine, work=stub)
            seconds = time.perf_counter() - started
            with Database.open(driver.database_path(Path(folder) / "c")) as database:
                digests.add(driver.results_digest(database))
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        done = counts["done"]
        rows.append({"engine": engine, "trials": done, "per second": done / seconds, "driver grew, MB": grown})
    if len(digests) != 1:
        raise SystemExit("the engines' results differ")
    return rows


def overhead(run: Path, chips: int) -> dict[str, Any]:
    """CPU and wall seconds per trial, bare and as a campaign in one process, taken in turns; the better of two each.

    The CPU seconds are those of driver and trials together, and say the same on a busy machine.
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

    for _ in range(2):
        bench = Workbench(run, known[0].config)
        for trial in trials[: len(config.map.schemes)]:
            bench.measure(trial)  # converts, which both do once
        # Those without faults are what the campaign has done when its clock starts.
        rest = trials[len(config.map.schemes) * 2 :]
        start = now()
        for trial in rest:
            bench.measure(trial)
        bare.append(per_trial(start, len(rest)))
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "c"
            # A first chip takes the models over and converts.
            first = driver.run_campaign(place, build(CampaignSpec, {**keys, "chips": 1}, str(run)), "serial")
            start = now()
            driver.run_campaign(place, spec, "serial")
            campaign.append(per_trial(start, len(trials) - first["done"]))
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
    """Measure and print; --output keeps the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--engines", nargs="*", default=["serial", "process:2", "dask:2"])
    parser.add_argument("--run", type=Path, help="a run directory with images, for the overhead of real trials")
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0, help="also the speed-up of so many worker processes on RUN")
    parser.add_argument("--output", type=Path, help="where the numbers go as JSON")
    args = parser.parse_args()
    result: dict[str, Any] = {"stub": stub_rates(args.trials, args.engines) if args.engines else []}
    for row in result["stub"]:
        print(
            ", ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
    if args.run is not None:
        result["overhead"] = overhead(args.run, args.chips)
        print(", ".join(f"{key} {value:.4g}" for key, value in result["overhead"].items()))
    if args.run is not None and args.workers > 1:
        result["speed-up"] = speed_up(args.run, args.chips, args.workers)
        print(", ".join(f"{key} {value:.4g}" for key, value in result["speed-up"].items()))
    if args.output is not None:
        args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
