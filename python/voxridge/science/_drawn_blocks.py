"""Rows drawn in blocks, and the scores of every resample from sums over rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge.science._terms import Statistic, score_terms
from voxridge.science.blocks import Float64, run_slices

Scheme = Literal["circular", "moving", "stationary"]
_PIECE = 2048  # rows whose counts are made float64 at a time


def drawn_rows(length: int, block: int, rng: np.random.Generator, scheme: Scheme) -> NDArray[np.int64]:
    """``length`` rows of a run of that length, in blocks drawn with replacement."""
    if scheme == "stationary":
        jump = rng.random(length) < 1 / block
        jump[0] = True
        first = np.flatnonzero(jump)
        starts = rng.integers(0, length, len(first))
        since = np.arange(length) - np.repeat(first, np.diff(np.append(first, length)))
        return np.asarray((np.repeat(starts, np.diff(np.append(first, length))) + since) % length)
    size = min(block, length)
    n_blocks = -(-length // size)
    latest = length if scheme == "circular" else length - size + 1
    starts = rng.integers(0, latest, n_blocks)
    return np.asarray((starts[:, None] + np.arange(size)).ravel()[:length] % length)


def drawn_counts(
    lengths: Sequence[int], block: int, n_bootstraps: int, rng: np.random.Generator, scheme: Scheme
) -> NDArray[np.int16]:
    """How often every resample has every row, (n_bootstraps, n_samples)."""
    counts = np.empty((n_bootstraps, sum(lengths)), dtype=np.int16)
    for row in counts:
        for run, length in zip(run_slices(lengths), lengths, strict=True):
            row[run] = np.bincount(drawn_rows(length, block, rng, scheme), minlength=length)
    return counts


def resampled_scores(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    lengths: Sequence[int],
    counts: NDArray[np.int16],
    statistic: Statistic,
) -> Float64:
    """(n_bootstraps, n_targets); NaN where a resample has no variance."""
    if statistic == "mean r":
        runs = list(run_slices(lengths))
        total = np.zeros((len(counts), truth.shape[1]))
        for run in runs:
            total += resampled_scores(truth[run], prediction[run], (), counts[:, run], "r")
        return total / len(runs)
    # Scaled rows, as sums of squares of raw ones would cancel.
    a = score_terms(truth, truth, lengths, "r").left
    n_rows = len(a)
    if statistic == "R2":
        norm = np.linalg.norm(truth - np.mean(truth, axis=0, dtype=np.float64), axis=0)
        errors = ((truth - np.asarray(prediction, dtype=np.float64)) / norm) ** 2
        lost, mean, square = _sums(counts, [errors, a, a**2])
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - lost / _positive(square - mean**2 / n_rows))
    b = score_terms(prediction, prediction, lengths, "r").left
    joint, mean_a, mean_b, square_a, square_b = _sums(counts, [a * b, a, b, a**2, b**2])
    variance = _positive(square_a - mean_a**2 / n_rows) * _positive(square_b - mean_b**2 / n_rows)
    return np.asarray(np.clip((joint - mean_a * mean_b / n_rows) / np.sqrt(variance), -1, 1))


def _positive(variance: Float64) -> Float64:
    return np.where(variance > 1e-12, variance, np.nan)


def _sums(counts: NDArray[np.int16], rows: list[Float64]) -> Iterator[Float64]:
    """Of each array's rows, over every resample."""
    totals = [np.zeros((len(counts), values.shape[1])) for values in rows]
    for start in range(0, counts.shape[1], _PIECE):
        part = slice(start, start + _PIECE)
        weights = counts[:, part].astype(np.float64)
        for total, values in zip(totals, rows, strict=True):
            total += weights @ values[part]
    return iter(totals)
