"""Benchmark problems: seeded data of a shape (bench/shapes.py), the same bits for every competitor."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from threadpoolctl import threadpool_limits

from bench.shapes import SHAPES, Shape, Split

Floating = NDArray[Any]
Scoring = Literal["correlation", "r2"]

N_NEW = 200  # samples that nobody is fitted on, for comparing predictions; a run of their own
_TARGET_BLOCK = 1000  # targets made at a time: what is made here must not set the peak memory
_DIRECTIONS = 1024  # columns of the delayed design that carry signal: with more, making data takes minutes


@dataclass(frozen=True)
class Problem:
    """Features and responses in float32, C order, with what is asked of every competitor."""

    name: str
    x: Floating  # (n_samples, n_features), before delays
    y: Floating  # (n_samples, n_targets)
    x_new: Floating  # (N_NEW, n_features)
    alphas: Floating
    runs: tuple[int, ...]
    delays: tuple[int, ...]  # (0,): x is the design
    folds: list[Split]  # empty: one sample is left out at a time
    scoring: Scoring  # means nothing where one sample is left out: squared errors are compared there

    @property
    def leaves_one_out(self) -> bool:
        return not self.folds

    def materialised(self) -> Problem:
        """The same problem with the delayed design in memory, for who knows no delays."""
        if self.delays == (0,):
            return self
        x = delayed(self.x, self.delays, self.runs)
        x_new = delayed(self.x_new, self.delays, (N_NEW,))
        return replace(self, x=x, x_new=x_new, delays=(0,))

    def checksum(self) -> int:
        """Of the delayed design and the responses: tells whether two processes made the same data."""
        value = zlib.crc32(self.y.data)
        for rows in self._design_runs():
            value = zlib.crc32(np.ascontiguousarray(rows).data, value)
        return value

    def _design_runs(self) -> Iterator[Floating]:
        """The delayed design, a run at a time."""
        ends = np.cumsum(self.runs)
        for end, length in zip(ends, self.runs, strict=True):
            run = self.x[end - length : end]
            yield run if self.delays == (0,) else delayed(run, self.delays, (length,))


def delayed(
    features: Floating, delays: Sequence[int], runs: Sequence[int], dtype: Any = np.float32
) -> Floating:
    """The delayed design (n, n_delays * p0), delay-major, zeros where a run has no past."""
    p = features.shape[1]
    out = np.zeros((features.shape[0], len(delays) * p), dtype=dtype)
    ends = np.cumsum(runs)
    for end, length in zip(ends, runs, strict=True):
        for i, delay in enumerate(delays):
            out[end - length + delay : end, i * p : (i + 1) * p] = features[end - length : end - delay]
    return out


def make_problem(which: str | Shape, scoring: Scoring = "correlation") -> Problem:
    """The problem of that name or shape; the same bits in every process.

    Features: smooth in time, of unit variance on average, in directions whose variances fall as 1 / k.
    Responses: a signal that explains 0 to 50 % of the variance (nothing in every fifth target), carried by
    few or by many of those directions (of every delay), so that targets choose different penalties; smooth
    noise; a mean.

    Raises
    ------
    ValueError
        If the name is not in ``SHAPES``.
    """
    if isinstance(which, str) and which not in SHAPES:
        raise ValueError(f"problem {which!r} is not one of {', '.join(SHAPES)}")
    name, shape = (which, SHAPES[which]) if isinstance(which, str) else ("own", which)
    with threadpool_limits(1, user_api="blas"):  # sums of products depend on the number of threads
        return _make(name, shape, scoring)


def _make(name: str, shape: Shape, scoring: Scoring) -> Problem:
    rng = np.random.default_rng(shape.seed)
    n, p = shape.n_samples + N_NEW, shape.n_features
    latent = _smooth(rng, n, p)
    variance = 1 / np.arange(1, p + 1)
    variance *= p / variance.sum()
    latent *= np.sqrt(variance).astype(np.float32)
    mixing = rng.standard_normal((p, p), dtype=np.float32)
    mixing /= np.float32(np.sqrt(p))
    x = latent @ mixing
    del mixing
    few = latent[: shape.n_samples, : max(1, _DIRECTIONS // shape.n_delays)]
    carrying = few if shape.n_delays == 1 else delayed(few, shape.delays, shape.runs)
    del latent
    return Problem(
        name=name,
        x=x[: shape.n_samples],
        y=_responses(rng, carrying, shape.n_delays, shape.n_targets),
        x_new=x[shape.n_samples :],
        alphas=np.logspace(0, 8, shape.n_alphas),
        runs=shape.runs,
        delays=shape.delays,
        folds=shape.folds(),
        scoring=scoring,
    )


def _responses(rng: np.random.Generator, carrying: Floating, n_delays: int, n_targets: int) -> Floating:
    n, k = carrying.shape
    y = np.empty((n, n_targets), dtype=np.float32)
    explained = rng.uniform(0, 0.5, n_targets)
    explained[::5] = 0
    steepness = rng.uniform(0, 1.5, n_targets).astype(np.float32)
    order = np.log(np.tile(np.arange(1, k // n_delays + 1), n_delays)).astype(np.float32)
    for begin in range(0, n_targets, _TARGET_BLOCK):
        block = slice(begin, min(begin + _TARGET_BLOCK, n_targets))
        weights = rng.standard_normal((k, block.stop - begin), dtype=np.float32)
        weights *= np.exp(-order[:, None] * steepness[block])
        signal = carrying @ weights
        signal *= (np.sqrt(explained[block]) / signal.std(axis=0)).astype(np.float32)
        noise = _smooth(rng, n, block.stop - begin)
        noise *= np.sqrt(1 - explained[block]).astype(np.float32)
        y[:, block] = signal + noise
    y += rng.standard_normal(n_targets, dtype=np.float32)
    return y


def _smooth(rng: np.random.Generator, n: int, columns: int, persistence: float = 0.5) -> Floating:
    """(n, columns) float32: a first-order autoregression in every column, of unit variance."""
    white = rng.standard_normal((n, columns), dtype=np.float32)
    scale = np.float32(np.sqrt(1 - persistence**2))
    recursion = np.array([1, -persistence], dtype=np.float32)
    filtered: Floating = lfilter(np.array([scale]), recursion, white, axis=0)
    return filtered


@dataclass(frozen=True)
class KernelShape:
    """Sizes of a Gram problem: base features, runs of equal length, delays in samples."""

    n_samples: int
    n_features: int
    n_runs: int = 10
    delays: tuple[int, ...] = (1, 2, 3, 4)
    seed: int = 0

    @property
    def runs(self) -> list[int]:
        return [self.n_samples // self.n_runs] * self.n_runs


KERNEL_SHAPES = {
    "n3000-p1024": KernelShape(n_samples=3000, n_features=1024),
    "n6000-p768": KernelShape(n_samples=6000, n_features=768),
    "tiny": KernelShape(n_samples=120, n_features=16, n_runs=4),
}


def make_features(shape: KernelShape, dtype: Any) -> Floating:
    """(n_samples, n_features) base features."""
    features = _smooth(np.random.default_rng(shape.seed), shape.n_samples, shape.n_features)
    return features.astype(dtype, copy=False)
