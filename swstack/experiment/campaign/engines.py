"""Where trials run: this process, worker processes on this machine, or a Dask cluster. All are ``concurrent.futures``.

``serial``; ``process:N`` (or ``process``: one worker for each core this process may use); ``tcp://HOST:PORT``: a Dask
scheduler; ``dask:N``: a Dask cluster of N processes here; ``slurm:N``: N jobs through dask-jobqueue, whose own
configuration file says how a job is asked for. Workers of Dask need the campaign's folder at the same path.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, ParamSpec, TypeVar

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.machine import cores

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(eq=False)
class Engine:
    """An executor that can be made anew when it broke.

    width: calls that run at once. lost: what a future raises when its worker is gone, rather than its work wrong.
    """

    name: str
    width: int
    lost: tuple[type[BaseException], ...]
    _make: Callable[[], Executor]

    def __post_init__(self) -> None:
        self.executor = self._make()

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call the function on a worker."""
        return self.executor.submit(function, *arguments)

    def renew(self) -> None:
        """Replace workers that are lost. An executor that heals by itself stays."""
        if isinstance(self.executor, ProcessPoolExecutor):
            self.executor.shutdown(wait=False, cancel_futures=True)
            self.executor = self._make()


class SerialExecutor(Executor):
    """Calls at once, in this process."""

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:
            future.set_exception(error)
        return future


def check_engine(text: str) -> None:
    """Refuse what names no engine.

    Raises:
        UserError: saying what does.
    """
    if not re.fullmatch(r"serial|process|(process|dask|slurm):[1-9]\d*|tcp://[^/\s]+:\d+", text):
        raise UserError(
            f"engine '{text}': must be serial, process:N, dask:N, slurm:N or the tcp://HOST:PORT of a Dask scheduler."
        )


@contextmanager
def open_engine(text: str) -> Iterator[Engine]:
    """The engine that a text names; its workers end with the context, and with this process however it ends.

    Raises:
        UserError: no such engine, a package it needs is missing, or a scheduler does not answer.
    """
    check_engine(text)
    kind, _, count = text.partition(":")
    if text == "serial":
        yield Engine(text, 1, (), SerialExecutor)
    elif kind == "process":
        workers = int(count or cores())
        engine = Engine(f"process:{workers}", workers, (BrokenExecutor,), lambda: _pool(workers))
        try:
            yield engine
        finally:
            engine.executor.shutdown(wait=True, cancel_futures=True)
    else:
        with _dask(kind, count, text) as engine:
            yield engine


def _pool(workers: int) -> ProcessPoolExecutor:
    threads = max(1, cores() // workers)
    # Read by the numerical libraries when a worker loads them.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker, (os.getpid(), threads))


def _begin_worker(driver: int, threads: int) -> None:
    """Die with the driver, leave Ctrl-C to it, and use one share of the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    # Also where there is no such signal, and where the driver died before it was set.
    threading.Thread(target=_watch, args=(driver,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)


def _watch(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(1)
    os._exit(1)


@contextmanager
def _dask(kind: str, count: str, text: str) -> Iterator[Engine]:
    try:
        import distributed
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise UserError(f"engine '{text}' needs Dask: pip install 'crossvote[cluster]'.") from None
    cluster: Any = None
    try:
        if kind == "dask":
            environment = {"OMP_NUM_THREADS": str(max(1, cores() // int(count)))}
            with _spawned_environment(environment):
                cluster = distributed.LocalCluster(
                    n_workers=int(count), threads_per_worker=1, dashboard_address=None, processes=True
                )
        elif kind == "slurm":
            cluster = _slurm(int(count))
        client = distributed.Client(cluster or text, timeout=20, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise UserError(f"engine '{text}': no Dask scheduler answers there ({error}).") from None
    try:
        if cluster is None or kind == "slurm":
            client.wait_for_workers(1, timeout=600)
        width = max(1, sum(client.nthreads().values()))
        yield Engine(text, width, (KilledWorker, FutureCancelledError), lambda: client.get_executor(pure=False))
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


@contextmanager
def _spawned_environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _slurm(jobs: int) -> Any:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UserError("engine 'slurm' needs dask-jobqueue: pip install dask-jobqueue.") from None
    cluster = SLURMCluster()
    cluster.scale(jobs=jobs)
    return cluster
