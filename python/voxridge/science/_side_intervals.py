"""The index of lateralisation, and intervals of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxridge.science.intervals import mean_interval

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SideInterval:
    """Estimates with their intervals, one per region.

    Attributes
    ----------
    estimate, low, high : ndarray (n_regions,) float64
        Ends are NaN where there are no repeats to take them from.
    kind : str
        "Student t over subjects", "Student t over folds (a description, no test)", "percentiles of
        bootstraps" or "none".
    level : float
        Confidence.
    """

    estimate: Float64
    low: Float64
    high: Float64
    kind: str
    level: float


def index_of(difference: Float64, total: Float64, smallest_sum: float) -> Float64:
    """(L - R) / (L + R), NaN where L + R is below ``smallest_sum``, or a side below 0, which would make it
    leave -1 to 1.

    Parameters
    ----------
    difference, total : ndarray
        left - right and left + right.
    smallest_sum : float
        Positive.

    Returns
    -------
    ndarray float64

    Raises
    ------
    ValueError
        ``smallest_sum`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> index_of(np.array([0.1, 0.1, 0.1]), np.array([0.5, 0.01, 0.05]), 0.02)
    array([0.2, nan, nan])
    """
    if not smallest_sum > 0:
        raise ValueError(f"smallest_sum={smallest_sum}: give a positive number, such as 0.02")
    # Scores that are rounded may differ by a little more than their sum where one side is 0.
    defined = (total >= smallest_sum) & (np.abs(difference) <= total * (1 + 1e-12))
    return np.where(defined, difference / np.where(defined, total, 1.0), np.nan)


def repeat_interval(values: Float64, over: str, level: float) -> SideInterval:
    interval = mean_interval(values, level=level)
    kind = {"subjects": "Student t over subjects", "folds": "Student t over folds (a description, no test)"}
    if len(values) < 2:
        return SideInterval(interval.mean, interval.low, interval.high, "none", level)
    return SideInterval(interval.mean, interval.low, interval.high, kind[over], level)


def percentile_interval(estimate: Float64, samples: Float64, level: float) -> SideInterval:
    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a number between 0 and 1, such as 0.95")
    ends = np.full((2, samples.shape[1]), np.nan)
    some = np.isfinite(samples).any(axis=0)
    ends[:, some] = np.nanpercentile(samples[:, some], [50 * (1 - level), 50 * (1 + level)], axis=0)
    return SideInterval(estimate, ends[0], ends[1], "percentiles of bootstraps", level)
