"""How fast a machine does what a fit consists of: measured on this one, written down for others."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from voxridge import _cpu
from voxridge._threads import n_threads, one_blas_thread
from voxridge.solvers.linalg import EighWorkspace, eigh_inplace, matmul

# Least dimension (order) at which half the rate is reached.
_HALF_SPEED = {"gemm4": 20, "gemm8": 12, "syrk8": 40, "potrf": 350, "potri": 400, "eigh": 700}
_INSTEAD = {  # of what only plans for a CUDA device ask for (solvers/cuda/devices.py)
    "gemm2": "gemm4",
    "fused2": "gemm4",
    "fused4": "gemm4",
    "fused8": "gemm8",
    "link": "memory",
    "staging": "memory",
    "inverses": "potrf",
}
_IN_CACHE = 2000.0  # order up to which the reduction of an eigendecomposition stays in the last cache
_HALF_SPEED_ALONE = 150  # of factorisations by one thread
_LONG_ENOUGH = 2e-3  # seconds of a timed product: no larger one is needed on this machine
_LONG = 0.03  # seconds after which a measurement is not repeated
EIGH_FLOPS = 9.0  # per n^3, with vectors: what an eigendecomposition is counted as
_LAPACK_ORDER = 32_766  # 32-bit LAPACK counts the 2 n^2 + 6 n + 1 elements of work space of eigh


class Step(NamedTuple):
    """Work of one kind: ``flops`` (for "filters": multiply-adds) and ``bytes``, read or moved. ``size`` is
    the least dimension of a product or the order of a factorisation; ``at_once`` of them run side by side
    (on average), each on one core, where that is more than 1. ``hidden`` is the share of its time in which
    something else is waited for anyway."""

    name: str
    flops: float
    seconds: float
    kind: str = "memory"
    size: float = 1e9
    bytes: float = 0.0
    at_once: float = 1.0
    hidden: float = 0.0


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
    cores: int = 1

    @property
    def slow_start(self) -> float:
        """Times the orders at which half the rate is reached, of those of a processor."""
        return 1.0

    def rate(self, kind: str) -> float:
        """Of one kind of work, at its best."""
        return float(getattr(self, kind if hasattr(self, kind) else _INSTEAD[kind]))

    def seconds(self, step: Step) -> float:
        """Expected time of one step."""
        return self._seconds(step) * (1.0 - step.hidden)

    def _seconds(self, step: Step) -> float:
        rate = self.rate(step.kind)
        if step.at_once > 1:  # the rate is that of all cores on one of them
            rate *= step.at_once / (_eigh_gain(self.cores) if step.kind == "eigh" else self.cores)
        if step.kind in ("memory", "moments", "file", "pages", "link", "staging"):
            return step.bytes / rate
        slowness = 1 + self.slow_start * _HALF_SPEED.get(step.kind, 0.0) / max(step.size, 1.0)
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
    its LAPACK takes, and how much memory it has."""

    name: str
    rates: Rates
    source: str
    eigh_order: int = _LAPACK_ORDER
    memory_bytes: int | None = None  # None: not known

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
        eigh=75e9 * threads,
        filters=15e9 * threads,
        moments=4e9 * threads,
        memory=25e9 * max(1, min(threads // 2, 8)),
        cores=threads,
    )
    return Machine("this machine", rates, f"rates assumed for {threads} thread{'s' * (threads > 1)}")


@functools.cache
def measured() -> Machine:
    """This machine, measured once per process in less than a second.

    By the processor time of one thread: where others hold the cores, threads that wait for each other lose
    far more time in a measurement than in a long fit. What all threads together gain is measured on products,
    and not taken for less than 80 % of their number.
    """
    threads = n_threads()
    with one_blas_thread():
        alone = {size: _product_rate(f"f{size}", time.thread_time) for size in (4, 8)}
        factors = _factorisation_rates()
        passes = _pass_rates()
    eigh = _eigh_rate()  # which keeps to one thread by itself
    gain = max(0.8 * threads, _product_rate("f4") / alone[4])
    rates = Rates(
        gemm4=gain * alone[4],
        gemm8=gain * alone[8],
        syrk8=0.9 * gain * factors["syrk8"],
        potrf=0.9 * gain * factors["potrf"],
        potri=0.9 * gain * factors["potri"],
        eigh=_eigh_gain(threads) * eigh,
        filters=gain * passes["filters"],
        moments=min(gain, 8.0) * passes["moments"],
        memory=passes["memory"],
        cores=threads,
    )
    return Machine("this machine", rates, f"rates measured with {threads} thread{'s' * (threads > 1)}")


def _eigh_gain(cores: int) -> float:
    """What so many cores gain on one in an eigendecomposition: half of it is limited by memory."""
    return float(min(cores, 8) ** 0.6)


def _product_rate(dtype: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Of a product just large enough to be timed."""
    rate = 0.0
    for order in (512, 768, 1152):
        a, out = np.ones((order, order), dtype), np.empty((order, order), dtype)
        seconds = _least_time(lambda a=a, out=out: matmul(a, a, out=out), clock=clock)  # type: ignore[misc]
        rate = max(rate, 2 * order**3 / seconds)
        if seconds > _LONG_ENOUGH:
            break
    return rate


def _factorisation_rates(order: int = 768) -> dict[str, float]:
    a = np.full((order, order), 1.0) + order * np.eye(order)
    work = a.copy()
    syrk = _least_time(lambda: _cpu.syrk(a, work), clock=time.thread_time)
    potrf = _least_time(lambda: _cpu.cholesky(work), lambda: np.copyto(work, a), time.thread_time)
    factor = work.copy()
    potri = _least_time(
        lambda: _cpu.cholesky_inverse(work), lambda: np.copyto(work, factor), time.thread_time
    )
    return {
        "syrk8": _full_rate(order**3, order, syrk),
        "potrf": _full_rate(order**3 / 3, order, potrf),
        "potri": _full_rate(2 * order**3 / 3, order, potri),
    }


def _eigh_rate(order: int = 384) -> float:
    a = np.random.default_rng(0).standard_normal((order, order))
    a += a.T
    work, space = np.empty_like(a), EighWorkspace()
    seconds = _least_time(lambda: eigh_inplace(work, space), lambda: np.copyto(work, a), time.thread_time)
    return EIGH_FLOPS * order**3 / seconds * (1 + _HALF_SPEED["eigh"] / order)


def _full_rate(flops: float, order: int, seconds: float) -> float:
    """The rate at a large order, from the time of one thread at this one: one thread is nearer to it."""
    return flops / seconds * (1 + _HALF_SPEED_ALONE / order)


def _pass_rates() -> dict[str, float]:
    """Of one thread: our own passes over targets, and numpy's over memory that no cache holds."""
    z, alphas = np.ones((256, 512), np.float32), np.logspace(0, 3, 20)
    l, norms = np.linspace(1, 2, 256), np.empty((2, 20, 512))
    filters = _least_time(
        lambda: _cpu.reduce_scores(z, z, z, z, l, alphas, 1.5, norms[0], norms[1], 1), clock=time.thread_time
    )
    tall, sums = np.ones((4096, 1024), np.float32), np.empty((2, 1024))
    moments = _least_time(
        lambda: _cpu.column_moments(tall, [(0, 4096)], sums[0], sums[1], 1), clock=time.thread_time
    )
    wide = np.ones(10 * 2**20, np.float32)
    memory = _least_time(lambda: np.subtract(wide, 1.0, out=wide), clock=time.thread_time)
    return {
        "filters": 3.0 * z.size * alphas.size / filters,
        "moments": tall.nbytes / moments,
        "memory": wide.nbytes / memory,  # in place; what is written elsewhere is read there first
    }


def _least_time(
    work: Callable[[], Any],
    prepare: Callable[[], Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Least time of three runs after one that warms up, fewer where they take long."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 2 or (len(times) <= 3 and time.perf_counter() - start < _LONG):
        if prepare is not None:
            prepare()
        begin = clock()
        work()
        times.append(clock() - begin)
    return max(min(times[1:]), 1e-9)


def many_cores(cores: int = 32, base: Machine | None = None) -> Machine:
    """A server of so many cores like those of ``base`` (default: this machine, measured): 80 % of the
    arithmetic of all cores, 200 GB/s of memory bandwidth, files at 2 GB/s."""
    base = base or measured()
    gain = 0.8 * cores / n_threads()
    names = ("gemm4", "gemm8", "syrk8", "potrf", "potri", "eigh", "filters", "moments")
    faster: dict[str, Any] = {name: getattr(base.rates, name) * gain for name in names}
    rates = replace(base.rates, memory=200e9, file=2e9, cores=cores, **faster)
    source = f"assumed: 80 % of {cores} cores like one here, 200 GB/s of memory, files at 2 GB/s"
    return Machine(f"{cores} cores", rates, source)


def h200() -> Machine:
    """One H200-class GPU, by the rule for all devices, in the place of a processor: what is read and where it
    is put are at the other end of its link."""
    from voxridge.solvers.cuda.devices import fake, machine_of  # which is made of what is above

    device = machine_of(fake("h200"))
    rates = replace(device.rates, file=device.rates.rate("link"), pages=device.rates.memory)
    return replace(device, name="one H200-class GPU", rates=rates)


MACHINES: dict[str, Callable[[], Machine]] = {"here": measured, "32-cores": many_cores, "h200": h200}
