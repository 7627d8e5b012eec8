"""How many threads the kernels of this package use: the processors this process may run on, or fewer on
request."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")

# BLAS has one limit for the whole process: two borrowers must not restore each other's.
_limiting = threading.RLock()
_job = threading.local()  # .alone: this thread has one core, and BLAS keeps to one thread already


def n_threads() -> int:
    """Threads for our own kernels (BLAS keeps its own pool; the two never run at once).

    ``VOXRIDGE_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the processors in this process's affinity mask.

    Raises
    ------
    ValueError
        If one of the variables is set to something that is not a positive integer.
    """
    if getattr(_job, "alone", False):
        return 1
    for name in ("VOXRIDGE_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name)
        if value:
            if not value.strip().isdigit() or int(value) < 1:
                raise ValueError(
                    f"{name}={value!r} is not a positive integer; unset it or give a number of threads"
                )
            return int(value)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS keeps to one thread inside; one caller at a time."""
    if getattr(_job, "alone", False):
        yield
        return
    with _limiting, _controller().limit(limits=1, user_api="blas"):
        yield


def side_by_side(jobs: Sequence[Callable[[], T]], at_once: int) -> Iterator[T]:
    """Results of ``jobs`` in their order, ``at_once`` of them at a time, each on one core with one BLAS
    thread; one after the other, on all cores, where ``at_once`` is 1.

    Factorisations of a few thousand rows gain little from a second thread and wait for the slowest one where
    others use the machine, too: two at a time on two cores take less time than one on both. The last ones,
    where they are few, would leave cores idle, and go one after the other again.
    """
    if getattr(_job, "alone", False):  # a job's own jobs have the core that it has
        at_once = 1
    together = len(jobs) - left_over(len(jobs), at_once)
    if together:
        with one_blas_thread():
            pending = [_pool(os.getpid(), at_once).submit(_alone, job) for job in jobs[:together]]
            try:
                while pending:
                    wait(pending[:1])  # an interrupt finds it among those that are waited for
                    yield pending.pop(0).result()  # which keeps nothing of what was yielded
            finally:
                for future in pending:
                    future.cancel()
                wait(pending)
    yield from (job() for job in jobs[together:])


def on_all_cores(jobs: Sequence[Callable[[], object]]) -> None:
    """Run jobs that move memory and call no BLAS, any number at once, and wait for all of them."""
    pool = _pool(os.getpid(), n_threads())
    pending = [pool.submit(job) for job in jobs]
    wait(pending)
    for future in pending:
        future.result()


def left_over(n_jobs: int, at_once: int) -> int:
    """Jobs that :func:`side_by_side` does one after the other on all cores."""
    if at_once <= 1:
        return n_jobs
    rest = n_jobs % at_once
    return rest if rest**2 <= at_once else 0


@functools.cache
def _pool(process: int, at_once: int) -> ThreadPoolExecutor:
    """Threads that stay: to start one takes milliseconds on some systems. Those of a parent ``process`` are
    not there in its children."""
    return ThreadPoolExecutor(at_once, thread_name_prefix="voxridge")


def _alone(job: Callable[[], T]) -> T:
    _job.alone = True
    return job()


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through every loaded library: once is enough
