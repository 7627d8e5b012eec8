"""How fast a machine does what a fit consists of: measured on this one, written down for others."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.linalg import EighWorkspace, eigh_inplace, matmul

# Least dimension (order) at which half the rate is reached.
_HALF_SPEED = {"gemm4": 20, "gemm8": 12, "syrk8": 30, "potrf": 350, "potri": 250, "eigh": 800}
_IN_CACHE = 2000.0  # order up to which the reduction of an eigendecomposition stays in the last cache
_LONG_ENOUGH = 4e-3  # seconds of a timed product: the largest of its sizes that is needed on this machine
EIGH_FLOPS = 9.0  # per n^3, with vectors: what an eigendecomposition is counted as
_LAPACK_ORDER = 32_766  # 32-bit LAPACK counts the 2 n^2 + 6 n + 1 elements of work space of eigh


class Step(NamedTuple):
    """Work of one kind: ``flops`` (for "filters": multiply-adds) and ``bytes``, read or moved. ``size`` is
    the least dimension of a product or the order of a factorisation."""

    name: str
    flops: float
    seconds: float
    kind: str = "memory"
    size: float = 1e9
    bytes: float = 0.0


@dataclass(frozen=True)
class Rates:
    """Operations and bytes per second; 4: float32, 8: float64."""

    gemm4: float
    gemm8: float
    syrk8: float
    potrf: float
    potri: float
    eigh: float  # of matrices that fit in the last cache
    filters: float  # penalties' filters (core/spectral_scores.hpp)
    moments: float  # bytes of which sums are taken in float64
    memory: float  # bytes read and written
    pages: float = 4e9  # bytes of memory handed out by the system, assumed
    calls: float = 2e5  # of small functions, assumed
    file: float = 1e9  # assumed: a file's rate is not known before it is read

    def seconds(self, step: Step) -> float:
        """Expected time of one step."""
        rate = float(getattr(self, step.kind))
        if step.kind in ("memory", "moments", "file", "pages"):
            return step.bytes / rate
        slowness = 1 + _HALF_SPEED.get(step.kind, 0.0) / max(step.size, 1.0)
        seconds = step.flops / rate * slowness + step.bytes / self.memory
        if step.kind == "eigh":  # every step of the reduction reads the trailing triangle: 8 n^3 / 6 bytes
            beyond = min(max(step.size / _IN_CACHE - 1, 0.0), 1.0)
            seconds += beyond * step.flops / EIGH_FLOPS * (8 / 6) / self.memory
        return seconds

    def timed(self, steps: Iterable[Step]) -> tuple[Step, ...]:
        """The steps with their expected times."""
        return tuple(step._replace(seconds=self.seconds(step)) for step in steps)


@dataclass(frozen=True)
class Machine:
    """A machine that a plan is made for, where its rates come from, and the largest eigendecomposition that
    its LAPACK takes."""

    name: str
    rates: Rates
    source: str
    eigh_order: int = _LAPACK_ORDER

    def __str__(self) -> str:
        return f"{self.name} ({self.source})"


def assumed() -> Machine:
    """This machine by its number of threads, each of them a core of a current server; nothing is measured."""
    threads = n_threads()
    rates = Rates(
        gemm4=100e9 * threads,
        gemm8=52e9 * threads,
        syrk8=46e9 * threads,
        potrf=45e9 * threads,
        potri=48e9 * threads,
        eigh=2 * 52e9 * threads,
        filters=15e9 * threads,
        moments=4e9 * threads,
        memory=25e9 * max(1, min(threads // 2, 8)),
    )
    return Machine("this machine", rates, f"rates assumed for {threads} thread{'s' * (threads > 1)}")


@functools.cache
def measured() -> Machine:
    """This machine, measured once per process, in less than a second."""
    rates = Rates(
        gemm4=_product_rate(np.float32, 2, lambda a, out: matmul(a, a, out=out)),
        gemm8=_product_rate(np.float64, 2, lambda a, out: matmul(a, a, out=out)),
        syrk8=_product_rate(np.float64, 1, lambda a, out: _cpu.syrk(a, out)),
        potrf=_potrf_rate(),
        potri=_potri_rate(),
        eigh=_eigh_measured(),
        filters=_filters_rate(),
        moments=_moments_rate(),
        memory=_memory_rate(),
    )
    threads = n_threads()
    return Machine("this machine", rates, f"rates measured with {threads} thread{'s' * (threads > 1)}")


def _product_rate(dtype: Any, flops: float, work: Callable[[Any, Any], Any]) -> float:
    rate = 0.0
    for order in (512, 1024, 2048):
        a, out = np.ones((order, order), dtype), np.empty((order, order), dtype)
        seconds = _least_time(lambda a=a, out=out: work(a, out))  # type: ignore[misc]
        rate = max(rate, flops * order**3 / seconds)
        if seconds > _LONG_ENOUGH:
            break
    return rate


def _positive(order: int) -> Any:
    return np.full((order, order), 1.0) + order * np.eye(order)


def _potrf_rate(order: int = 1024) -> float:
    a = _positive(order)
    work = np.empty_like(a)
    seconds = _least_time(lambda: _cpu.cholesky(work), lambda: np.copyto(work, a))
    return _full_rate("potrf", order**3 / 3, order, seconds)


def _potri_rate(order: int = 1024) -> float:
    a = _positive(order)
    _cpu.cholesky(a)
    work = np.empty_like(a)
    seconds = _least_time(lambda: _cpu.cholesky_inverse(work), lambda: np.copyto(work, a))
    return _full_rate("potri", 2 * order**3 / 3, order, seconds)


def _eigh_measured(order: int = 768) -> float:
    a = np.random.default_rng(0).standard_normal((order, order))
    a += a.T
    work, space = np.empty_like(a), EighWorkspace()
    seconds = _least_time(lambda: eigh_inplace(work, space), lambda: np.copyto(work, a), repeats=2)
    return _full_rate("eigh", EIGH_FLOPS * order**3, order, seconds)


def _full_rate(kind: str, flops: float, order: int, seconds: float) -> float:
    """The rate at a large order, from the time at a small one."""
    return flops / seconds * (1 + _HALF_SPEED[kind] / order)


def _filters_rate(k: int = 256, width: int = 512, n_alphas: int = 20) -> float:
    z = np.ones((k, width), np.float32)
    alphas, l = np.logspace(0, 3, n_alphas), np.linspace(1, 2, k)
    out = np.empty((2, n_alphas, width))
    seconds = _least_time(lambda: _cpu.reduce_scores(z, z, z, z, l, alphas, 1.5, out[0], out[1], n_threads()))
    return 3.0 * k * width * n_alphas / seconds


def _moments_rate(rows: int = 8192) -> float:
    a, sums = np.ones((rows, 1024), np.float32), np.empty((2, 1024))
    seconds = _least_time(lambda: _cpu.column_moments(a, [(0, rows)], sums[0], sums[1], n_threads()))
    return a.nbytes / seconds


def _memory_rate(n_bytes: int = 48 * 2**20) -> float:
    """Reading and writing what no cache holds, by numpy, which has one thread."""
    a, out = np.ones(n_bytes // 4, np.float32), np.empty(n_bytes // 4, np.float32)
    return 2 * n_bytes / _least_time(lambda: np.subtract(a, 1.0, out=out))


def _least_time(work: Callable[[], Any], prepare: Callable[[], Any] | None = None, repeats: int = 3) -> float:
    """Least time of a few runs after one that warms up: what else the machine does only adds."""
    times = []
    for _ in range(repeats + 1):
        if prepare is not None:
            prepare()
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return max(min(times[1:]), 1e-9)


def many_cores(cores: int = 32, base: Machine | None = None) -> Machine:
    """A server of so many cores like those of ``base`` (default: this machine, measured): 80 % of the
    arithmetic of all cores, 200 GB/s of memory bandwidth, files at 2 GB/s."""
    base = base or measured()
    gain = 0.8 * cores / n_threads()
    names = ("gemm4", "gemm8", "syrk8", "potrf", "potri", "eigh", "filters", "moments")
    faster: dict[str, Any] = {name: getattr(base.rates, name) * gain for name in names}
    rates = replace(base.rates, memory=200e9, file=2e9, **faster)
    source = f"assumed: 80 % of {cores} cores like one here, 200 GB/s of memory, files at 2 GB/s"
    return Machine(f"{cores} cores", rates, source)


def h200() -> Machine:
    """One H200-class GPU: 70 % of 60 TFLOP/s in float64 (tensor cores) and in float32 and of 4.8 TB/s of
    memory; files and targets cross a 50 GB/s link."""
    share = 0.7
    gemm, memory = 60e12 * share, 4.8e12 * share
    rates = Rates(
        gemm4=gemm,
        gemm8=gemm,
        syrk8=gemm,
        potrf=gemm / 2,
        potri=gemm / 2,
        eigh=gemm,
        filters=gemm / 4,
        moments=memory,
        memory=memory,
        file=50e9 * share,
    )
    source = "assumed: 70 % of 60 TFLOP/s and of 4.8 TB/s, data over a 50 GB/s link"
    return Machine("one H200-class GPU", rates, source, eigh_order=2**31)


MACHINES: dict[str, Callable[[], Machine]] = {"here": measured, "32-cores": many_cores, "h200": h200}
