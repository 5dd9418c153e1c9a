"""The ladder's work dealt out to processes of their own, which share the processor's cores and a GPU.

A chip is drawn and put under a model by the processor, a small model on a GPU waits for its launches: one process
leaves both idle. Every part leaves its trials where a single process would, so that the tables are the same.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from crossvote.sim.array.silicon import Silicon
from crossvote.sim.common.progress import Progress
from crossvote.swstack.experiment.ladder.site import Rung, Site

#: Chips of one rung and one rate that are measured in one go.
CHIPS_AT_ONCE = 10

#: The rung that a process measured last.
_held: dict[str, tuple[Site, Rung]] = {}


def side_by_side(site: Site, workers: int, progress: Progress) -> None:
    """Train, map and measure all rungs in ``workers`` processes: trainings first, since rungs wait for them."""
    laws = {law: [name for name in site.settings.rungs if site.law(name) == law] for law in _laws(site)}
    untrained = [name for name in site.settings.rungs if site.law(name) is None]
    # Not forked: a process that has used a GPU cannot be.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    following: dict[Future[None], Callable[[], None]] = {}
    total = done = 0

    def submit(then: Callable[[], None], function: Callable[..., None], *arguments: object) -> None:
        nonlocal total
        total += 1
        following[pool.submit(function, *arguments)] = then

    def map_rungs(names: Sequence[str]) -> None:
        for name in names:
            submit(lambda name=name: measure_rung(name), _map, site, name)  # type: ignore[misc]

    def measure_rung(name: str) -> None:
        silicon = site.silicon()
        for rate in site.settings.rates_of(name):
            chips = [chip for chip in silicon if chip.rate == rate]
            for first in range(0, len(chips), CHIPS_AT_ONCE):
                submit(_nothing, _measure, site, name, chips[first : first + CHIPS_AT_ONCE])
        if not site.settings.rates_of(name):
            submit(_nothing, _measure, site, name, [])

    try:
        for law, names in laws.items():
            submit(lambda names=names: map_rungs(names), _train, site, law)  # type: ignore[misc]
        map_rungs(untrained)
        while following:
            for finished in wait(following, return_when=FIRST_COMPLETED).done:
                finished.result()
                following.pop(finished)()
                done += 1
                progress("ladder, parts", done, total)
    finally:
        pool.shutdown(cancel_futures=True)


def _laws(site: Site) -> list[str]:
    """Schemes for whose errors a model is trained, in the order of the rungs."""
    return list(dict.fromkeys(law for name in site.settings.rungs if (law := site.law(name)) is not None))


def _nothing() -> None:
    """Nothing follows."""


def _train(site: Site, law: str) -> None:
    site.trained(law)


def _map(site: Site, name: str) -> None:
    _rung(site, name)


def _measure(site: Site, name: str, chips: Sequence[Silicon]) -> None:
    own, rung = _rung(site, name)
    own.climb([rung], chips)


def _rung(site: Site, name: str) -> tuple[Site, Rung]:
    """The rung, as the last part left it where that was of the same rung."""
    if name not in _held:
        _held.clear()
        _held[name] = (site, site.rung(name))
    return _held[name]
