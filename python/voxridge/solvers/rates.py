"""How fast a machine does what a fit consists of: measured here, written down for others."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.linalg import EighWorkspace, eigh_inplace, gram, matmul

_HALF_SPEED = {"gemm": 24, "syrk": 64, "potrf": 256, "potri": 256}  # order at which half the rate is reached
_FILE_RATE = 1e9  # bytes per second, assumed: a file's rate cannot be known before it is read
_FRAGMENT = 4096  # bytes that could be read in the time it takes to find the next piece of a row


class Step(NamedTuple):
    """Work of one kind. ``size``: the least dimension of a product or the order of a factorisation; ``count``
    of them."""

    name: str
    flops: float
    seconds: float
    kind: str = "memory"
    size: float = 1e9
    count: float = 1.0
    bytes: float = 0.0


@dataclass(frozen=True)
class Rates:
    """Operations and bytes per second."""

    gemm4: float  # float32
    gemm8: float  # float64
    syrk4: float
    syrk8: float
    potrf: float
    potri: float
    filters: float  # multiply-adds of penalties' filters (core/spectral_scores.hpp)
    memory: float
    file: float = _FILE_RATE

    def eigh(self, order: float) -> float:
        """Seconds of an eigendecomposition with vectors: a reduction half of which is limited by memory,
        then products."""
        return 4.5 * order**3 / self.gemm8 + (8 / 6) * order**3 / self.memory

    def seconds(self, step: Step) -> float:
        """Expected time of one step."""
        if step.kind == "eigh":
            return step.count * self.eigh(step.size)
        rate = getattr(self, step.kind)
        if step.kind in ("memory", "file"):
            return step.bytes / float(rate)
        half = _HALF_SPEED.get(step.kind[:-1]) or _HALF_SPEED.get(step.kind, 0)
        return step.flops / float(rate) * (1 + half / max(step.size, 1.0)) + step.bytes / self.memory

    def timed(self, steps: Iterable[Step]) -> tuple[Step, ...]:
        return tuple(step._replace(seconds=self.seconds(step)) for step in steps)


@dataclass(frozen=True)
class Machine:
    """A machine that a plan is made for, and where its rates come from."""

    name: str
    rates: Rates
    source: str


_CORE = Rates(
    gemm4=100e9, gemm8=52e9, syrk4=90e9, syrk8=46e9, potrf=45e9, potri=48e9, filters=2e9, memory=10e9
)  # one core of a current server


def scaled(rates: Rates, cores: float, memory: float) -> Rates:
    """``cores`` times the arithmetic, ``memory`` times the bandwidth."""
    names = ("gemm4", "gemm8", "syrk4", "syrk8", "potrf", "potri", "filters")
    faster: dict[str, Any] = {name: getattr(rates, name) * cores for name in names}
    return replace(rates, memory=rates.memory * memory, **faster)


def assumed() -> Machine:
    """This machine by its number of threads, nothing measured: good enough for fits of a few seconds."""
    threads = n_threads()
    return Machine("here", scaled(_CORE, threads, min(threads, 8)), f"assumed for {threads} thread(s)")


@functools.cache
def measured() -> Machine:
    """This machine, measured once per process in less than a second."""
    rng = np.random.default_rng(0)
    rates: dict[str, float] = {}
    for size in (4, 8):
        a = rng.standard_normal((768, 768)).astype(f"f{size}")
        out = np.empty_like(a)
        rates[f"gemm{size}"] = 2 * 768**3 / _best(lambda a=a, out=out: matmul(a, a, out=out))
        rates[f"syrk{size}"] = 768**3 / _best(lambda a=a: gram(a))
    base = assumed()
    known = replace(base.rates, **rates)
    return Machine("here", known, f"measured with {n_threads()} thread(s)")


def _best(work: Callable[[], Any], repeats: int = 3) -> float:
    """Least time of a few runs: what else the machine does only adds."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


_ = (_cpu, EighWorkspace, eigh_inplace)
