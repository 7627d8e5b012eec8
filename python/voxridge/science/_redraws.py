"""Resampling of few groups, and means of what was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]


def draws(x: Float64, groups: ArrayLike | None, n_bootstraps: int, rng: np.random.Generator) -> Float64:
    """How often each point is taken, (1 + n_bootstraps, n_points); the first row takes each once."""
    counts = np.ones((1 + n_bootstraps, x.size))
    if groups is not None:
        labels = np.asarray(groups)
        if labels.shape != x.shape:
            raise ValueError(f"groups has shape {labels.shape}, sizes {x.shape}: give one label per point")
        _, position = np.unique(labels, return_inverse=True)
        n_groups = int(position.max()) + 1
        if n_groups < 2:
            raise ValueError("groups has one label only, nothing to resample; give the fold of each point")
        taken = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_bootstraps)
        counts[1:] = taken[:, position]
        return counts
    for size in np.unique(x):
        rows = np.flatnonzero(x == size)
        counts[1:, rows] = rng.multinomial(rows.size, np.full(rows.size, 1 / rows.size), size=n_bootstraps)
    return counts


def size_means(rows: list[NDArray[np.intp]], drawn: Float64, scores: NDArray[Any]) -> Float64:
    """Mean over the drawn points of each size, (n_sizes, ndraws, n_targets); NaN where none has a score."""
    found = []
    for at in rows:
        part = np.asarray(scores[at], dtype=np.float64)
        known = np.isfinite(part)
        total = drawn[:, at] @ np.where(known, part, 0.0)
        count = drawn[:, at] @ known.astype(np.float64)
        found.append(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
    return np.stack(found)


def interval_quantiles(level: float, n_groups: int | None) -> list[float]:
    """Quantiles that bound the interval. A bootstrap of few groups varies too little, as a variance with n in
    place of n - 1 and a normal in place of Student's t would: the quantiles are moved out by as much."""
    if n_groups is None:
        return [0.5 - level / 2, 0.5 + level / 2]
    from scipy.stats import norm, t

    distance = np.sqrt(n_groups / (n_groups - 1)) * t.ppf(0.5 + level / 2, n_groups - 1)
    return [float(norm.cdf(-distance)), float(norm.cdf(distance))]
