"""Laws that the system model must meet: queueing theory, a second implementation, what is conserved."""

from __future__ import annotations

from typing import Any

import numpy as np
import simpy

from crossvote.sim.kernel import Booking, Simulation
from crossvote.sim.system import energy
from crossvote.sim.system.result import SystemResult
from crossvote.sim.system.token_stages import GroupTiming


def time_in_system(load: float, jobs: int, servers: int = 1, seed: int = 1) -> float:
    """Mean time in system of Poisson arrivals at servers of constant service, in service times.

    For one server Pollaczek-Khinchine gives 1 + load / (2 (1 - load)). The gaps are a stratified sample of the
    exponential distribution in random order: exact marginal distribution, much less sampling error.
    """
    service = 100_000
    rng = np.random.default_rng(seed)
    uniform = (np.arange(jobs) + rng.random(jobs)) / jobs
    gaps = rng.permutation(-np.log1p(-uniform) * service / (load * servers))
    booking = Booking(Simulation(), "unit", servers)
    for arrival in np.cumsum(gaps).astype(np.int64).tolist():
        booking.book(arrival, service)
    return 1 + booking.wait_ps / jobs / service


def resource_times(jobs: list[tuple[int, int, int]], servers: int) -> list[tuple[int, int]]:
    """(start, end) of jobs (arrival, occupied, latency) at a ``simpy.Resource``."""
    env = simpy.Environment()
    resource = simpy.Resource(env, servers)
    found: dict[int, tuple[int, int]] = {}

    def job(number: int, arrival: int, occupied: int, latency: int) -> Any:
        yield env.timeout(arrival)
        with resource.request() as request:
            yield request
            found[number] = (int(env.now), int(env.now) + latency)
            yield env.timeout(occupied)

    for number, (arrival, occupied, latency) in enumerate(jobs):
        env.process(job(number, arrival, occupied, latency))
    env.run()
    return [found[number] for number in range(len(jobs))]


def booking_differences(runs: int = 40, jobs: int = 300) -> int:
    """Jobs of random traffic whose times differ between ``Booking`` and ``simpy.Resource``."""
    rng = np.random.default_rng(7)
    wrong = 0
    for run in range(runs):
        servers = (1, 2, 4, 7)[run % 4]
        arrivals = np.cumsum(rng.integers(0, 40, jobs)).tolist()
        occupied, latency = rng.integers(0, 90, jobs).tolist(), rng.integers(0, 60, jobs).tolist()
        work = list(zip(arrivals, occupied, latency, strict=True))
        booking = Booking(Simulation(), "unit", servers)
        booked = [booking.book(*job) for job in work]
        wrong += sum(a != b for a, b in zip(booked, resource_times(work, servers), strict=True))
    return wrong


def littles_residual(result: SystemResult) -> float:
    """Largest |L - lambda W| / L over the queues: L from the level over time, W from the items' timestamps."""
    worst = 0.0
    for values in result.statistics.values():
        if "level" in values and values["level"].value:
            level = values["level"].value
            throughput = values["items"].value / result.elapsed_ps
            worst = max(worst, abs(level - throughput * values["wait"].value) / level)
    return worst


def conservation(result: SystemResult) -> list[tuple[str, bool]]:
    """Rules that hold in every simulated run: tokens, busy time, utilisation, energy."""
    tokens = result.workload.tokens * len(result.sequence_ps)
    rules = []
    for usage in result.usage:
        rules.append((f"{usage.unit}: utilisation at most 1", usage.utilisation <= 1))
        if usage.kind.startswith("crossbars"):
            rules.append((f"{usage.unit}: every token once", usage.operations == tokens * usage.servers))
    for path, values in result.statistics.items():
        if path.endswith(".queue"):
            rules.append((f"{path}: tokens in = tokens out", values["items"].value == tokens))
    for index, (layer, placed) in enumerate(zip(result.workload.layers, result.placement.groups, strict=True)):
        for role, place in placed.items():
            timing = GroupTiming(result.chip, place.group)
            used = next(u for u in result.usage if u.unit == f"layer{index}.{role}.crossbars.units")
            work = used.operations * timing.interval_ps
            rules.append((f"{used.unit}: busy = work", used.busy_ps == work))
            counted = result.actions[f"{layer.name}.{role}"]["conversion"]
            per_token = int(place.group.lines.sum()) * int((place.group.driven > 0).sum())
            expected = tokens * per_token * result.chip.reads * result.chip.digitised
            rules.append((f"{layer.name}.{role}: conversions", counted == expected))
    scoped = energy.action_energy_pj(result.chip, result.actions)
    summed = sum(value for actions in scoped.values() for value in actions.values())
    rules.append(("energy = counts x table", abs(summed - result.dynamic_energy_pj) <= 1e-9 * summed))
    return rules
