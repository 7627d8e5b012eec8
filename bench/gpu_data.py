"""Problems of the size of a brain, made on a device in seconds: features and responses are smooth in time
inside runs, responses are a signal of few directions of the delayed features and noise, and lie in
page-locked memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.problems import delayed
from bench.shapes import equal_parts
from voxridge.solvers.cuda.session import Array, Session

Floating = NDArray[Any]
_BLOCK = 2048  # columns that are made at a time
_DIRECTIONS = 256  # of the features, each at every delay, that carry signal
_PERSISTENCE = 0.5
_AHEAD = 8  # blocks of noise that are made before they are asked for
_LEAST_RUNS = 6  # of a scaled problem: more than folds
_SILENT = 5  # every so many targets are pure noise


@dataclass(frozen=True)
class BrainShape:
    """Sizes of a problem; penalties are ``n_alphas`` of logspace(0, 8)."""

    n_samples: int
    n_features: int
    n_targets: int
    n_alphas: int
    n_runs: int
    delays: tuple[int, ...]
    seed: int = 0

    @property
    def runs(self) -> tuple[int, ...]:
        return equal_parts(self.n_samples, self.n_runs)

    @property
    def alphas(self) -> Floating:
        return np.logspace(0, 8, self.n_alphas)

    def scaled(self, scale: float) -> BrainShape:
        """Samples, features and targets times ``scale``, in runs that are still longer than the delays."""
        shortest = 4 * (1 + max(self.delays))
        n = max(_LEAST_RUNS * shortest, round(self.n_samples * scale))
        p, v = (max(8, round(size * scale)) for size in (self.n_features, self.n_targets))
        runs = min(self.n_runs, n // shortest)
        return replace(self, n_samples=n, n_features=p, n_targets=v, n_runs=runs)


WHOLE_BRAIN = BrainShape(33_000, 7168, 95_556, n_alphas=20, n_runs=95, delays=(1, 2, 3, 4))
FRIENDS = BrainShape(9000, 16_384, 281_532, n_alphas=11, n_runs=25, delays=(0,))  # the published B-MOR run


@dataclass(frozen=True)
class Brain:
    """``x`` (n_samples, n_features), before delays, and ``y`` (n_samples, n_targets) in page-locked
    memory; float32."""

    shape: BrainShape
    x: Floating
    y: Floating


def make_brain(ops: Any, shape: BrainShape) -> Brain:
    """The same numbers whatever the number of cores."""
    maker = _Maker(Session(ops), shape)
    x, carrying = maker.features()
    y = ops.pinned((shape.n_samples, shape.n_targets), np.float32)
    maker.responses(carrying, y)
    maker.session.clear()
    return Brain(shape, x, y)


class _Maker:
    def __init__(self, session: Session, shape: BrainShape) -> None:
        self.session, self.ops, self.queue, self.shape = session, session.ops, session.queue, shape
        self.ends = np.cumsum(shape.runs)
        self.recursions = {length: session.up(_recursion(length)) for length in set(shape.runs)}

    def features(self) -> tuple[Floating, Array]:
        """Features, and the delayed directions that carry signal, on the device.

        Directions have variances that fall as 1 / k, as bench/problems.py has them."""
        shape, session = self.shape, self.session
        n, p = shape.n_samples, shape.n_features
        variance = 1 / np.arange(1, p + 1)
        root = np.sqrt(variance * p / variance.sum())
        x = session.empty((n, p), np.float32)
        self.ops.zero(x, self.queue)
        few = np.empty((n, min(_DIRECTIONS, p)), np.float32)
        mixing = np.random.default_rng([shape.seed, 1]).standard_normal((p, p), dtype=np.float32)
        mixing /= np.float32(np.sqrt(p))
        for begin, end, latent in self._smooth(2, p):
            if begin < few.shape[1]:
                taken = min(end, few.shape[1]) - begin
                part = session.down(latent[:, :taken])
                few[:, begin : begin + taken] = part
            self.ops.scale(latent, None, session.up(root[begin:end]), queue=self.queue)
            session.matmul(latent, session.up(mixing[begin:end]), x, beta=1.0)
        found = session.down(x)
        return found, session.up(delayed(few, shape.delays, shape.runs))

    def responses(self, carrying: Array, y: Floating) -> None:
        """Fills ``y``: a signal that explains 0 to 50 % of the variance, carried by few or many
        directions, noise, and a mean."""
        shape, session, ops = self.shape, self.session, self.ops
        n, k = carrying.shape
        rng = np.random.default_rng([shape.seed, 3])
        explained = rng.uniform(0, 0.5, shape.n_targets)
        explained[::_SILENT] = 0
        steepness = rng.uniform(0, 1.5, shape.n_targets)
        means = rng.standard_normal(shape.n_targets)
        order = np.log(np.tile(np.arange(1, k // len(shape.delays) + 1), len(shape.delays)))
        ones = session.up(np.ones(n))
        for begin, end, noise in self._smooth(4, shape.n_targets):
            weights = np.random.default_rng([shape.seed, 5, begin]).standard_normal((k, end - begin))
            weights *= np.exp(-order[:, None] * steepness[begin:end])
            signal = session.take("signal", n, end - begin, np.float32)
            session.matmul(carrying, session.up(weights, np.float32), signal)
            share = np.sqrt(explained[begin:end]) / self._deviation(signal)
            ops.scale(signal, None, session.up(share), queue=self.queue)
            ops.scale(noise, None, session.up(np.sqrt(1 - explained[begin:end])), queue=self.queue)
            ops.accumulate(1.0, noise, 1.0, signal, queue=self.queue)
            ops.rank_one(signal, 1.0, ones, session.up(means[begin:end]), queue=self.queue)
            ops.download(signal, y[:, begin:end], self.queue)
            self.queue.synchronize()

    def _deviation(self, signal: Array) -> Floating:
        n, width = signal.shape
        moments = self.session.take("moments", 2, width, np.float64)
        self.ops.column_moments(signal, 0, n, moments[0], moments[1], queue=self.queue)
        total, squares = self.session.down(moments)
        deviation: Floating = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))
        return np.maximum(deviation, 1e-6)

    def _smooth(self, kind: int, columns: int) -> Iterator[tuple[int, int, Array]]:
        """Blocks of columns of unit variance on the device, smooth inside runs; one is overwritten by the
        next."""
        n, session = self.shape.n_samples, self.session
        blocks = [(begin, min(begin + _BLOCK, columns)) for begin in range(0, columns, _BLOCK)]

        def white(begin: int, end: int) -> Floating:
            rng = np.random.default_rng([self.shape.seed, kind, begin])
            return rng.standard_normal((n, end - begin), dtype=np.float32)

        with ThreadPoolExecutor(min(_AHEAD, len(os.sched_getaffinity(0)))) as pool:
            made = [pool.submit(white, *block) for block in blocks[:_AHEAD]]
            for number, (begin, end) in enumerate(blocks):
                raw = session.take("white", n, end - begin, np.float32)
                self.ops.upload(made[number].result(), raw, self.queue)
                made[number] = None  # type: ignore[call-overload]
                if number + _AHEAD < len(blocks):
                    made.append(pool.submit(white, *blocks[number + _AHEAD]))
                smooth = session.take("smooth", n, end - begin, np.float32)
                for last, length in zip(self.ends.tolist(), self.shape.runs, strict=True):
                    rows = slice(last - length, last)
                    session.matmul(self.recursions[length], raw[rows], smooth[rows])
                yield begin, end, smooth


def _recursion(length: int) -> Floating:
    """(length, length) float32: from white noise to a first-order autoregression of unit variance."""
    lags = np.subtract.outer(np.arange(length), np.arange(length))
    recursion: Floating = np.where(lags >= 0, _PERSISTENCE ** np.maximum(lags, 0), 0.0) * np.sqrt(
        1 - _PERSISTENCE**2
    )
    recursion[:, 0] /= np.sqrt(1 - _PERSISTENCE**2)
    return recursion.astype(np.float32)
