"""Named benchmark problems: sizes, a seeded generator, and the folds that every competitor gets."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from sklearn.model_selection import KFold

Floating = NDArray[Any]
Scoring = Literal["correlation", "r2"]

N_NEW = 200  # samples that nobody is fitted on, for comparing predictions
_TARGET_BLOCK = 1000  # targets made at a time: what is made here must not set the peak memory


@dataclass(frozen=True)
class Shape:
    """Sizes of a ridge problem. Penalties: ``n_alphas`` of logspace(0, 8)."""

    n_samples: int
    n_features: int
    n_targets: int
    n_alphas: int
    n_folds: int
    seed: int = 0


@dataclass(frozen=True)
class Problem:
    """Features and responses in float32, C order, with what is asked of every competitor."""

    name: str
    x: Floating  # (n_samples, n_features)
    y: Floating  # (n_samples, n_targets)
    x_new: Floating  # (N_NEW, n_features)
    alphas: Floating
    n_folds: int
    scoring: Scoring

    def folds(self) -> KFold:
        """Contiguous folds, unshuffled, for every competitor."""
        return KFold(self.n_folds)

    def checksum(self) -> int:
        """Tells whether two processes made the same data."""
        return zlib.crc32(self.y.data, zlib.crc32(self.x.data))


# "himalaya": the defaults of that package's own benchmarks/benchmark_backends.py.
# "wide": more features than samples, as with language models.
SHAPES = {
    "himalaya": Shape(n_samples=3000, n_features=1000, n_targets=30_000, n_alphas=20, n_folds=3),
    "wide": Shape(n_samples=2000, n_features=4096, n_targets=5000, n_alphas=20, n_folds=5),
    "tiny": Shape(n_samples=150, n_features=20, n_targets=40, n_alphas=9, n_folds=3),
    "tiny-wide": Shape(n_samples=90, n_features=200, n_targets=40, n_alphas=9, n_folds=3),
}


def make_problem(name: str, scoring: Scoring = "correlation") -> Problem:
    """The problem of that name; the same bits in every process.

    Features: smooth in time, of unit variance on average, in directions whose variances fall as 1 / k.
    Responses: a signal that explains 0 to 50 % of the variance (nothing in every fifth target), carried by
    few or by many of those directions, so that targets choose different penalties; smooth noise; a mean.

    Raises
    ------
    ValueError
        If the name is not in ``SHAPES``.
    """
    if name not in SHAPES:
        raise ValueError(f"problem {name!r} is not one of {', '.join(SHAPES)}")
    shape = SHAPES[name]
    rng = np.random.default_rng(shape.seed)
    n, p = shape.n_samples + N_NEW, shape.n_features
    latent = _smooth(rng, n, p)
    variance = 1 / np.arange(1, p + 1)
    variance *= p / variance.sum()
    latent *= np.sqrt(variance).astype(np.float32)
    mixing = rng.standard_normal((p, p), dtype=np.float32)
    mixing /= np.float32(np.sqrt(p))
    x = latent @ mixing
    y = _responses(rng, latent[: shape.n_samples], shape.n_targets)
    alphas = np.logspace(0, 8, shape.n_alphas)
    return Problem(name, x[: shape.n_samples], y, x[shape.n_samples :], alphas, shape.n_folds, scoring)


def _responses(rng: np.random.Generator, latent: Floating, n_targets: int) -> Floating:
    n, p = latent.shape
    y = np.empty((n, n_targets), dtype=np.float32)
    explained = rng.uniform(0, 0.5, n_targets)
    explained[::5] = 0
    steepness = rng.uniform(0, 1.5, n_targets)
    order = np.log(np.arange(1, p + 1))
    for begin in range(0, n_targets, _TARGET_BLOCK):
        block = slice(begin, min(begin + _TARGET_BLOCK, n_targets))
        weights = rng.standard_normal((p, block.stop - begin), dtype=np.float32)
        weights *= np.exp(-order[:, None] * steepness[block]).astype(np.float32)
        signal = latent @ weights
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
