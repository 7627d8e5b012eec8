"""Intervals over folds or subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class MeanInterval:
    """Mean with a two-sided Student t interval; arrays share the shape left after the averaged axis.

    Attributes
    ----------
    mean, low, high : ndarray
        The mean, and the ends of the interval; NaN ends where there are fewer than two values.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def mean_interval(values: ArrayLike, *, axis: int = 0, level: float = 0.95) -> MeanInterval:
    """Mean over an axis and its interval :math:`\\bar x \\pm t_{n-1} s / \\sqrt{n}`; NaN entries are left
    out.

    Over subjects the interval speaks about new subjects. Over cross-validation folds it only shows how
    much the folds differ: their training sets overlap, so it is a description and not a test.

    Parameters
    ----------
    values : array_like of any shape
    axis : int
        Averaged over.
    level : float, default 0.95
        Confidence of the interval.

    Returns
    -------
    MeanInterval

    Raises
    ------
    ValueError
        When ``level`` is not between 0 and 1.

    Examples
    --------
    >>> mean_interval([1.0, 2.0, 3.0]).mean
    array(2.)
    """
    from scipy.stats import t as student

    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a number between 0 and 1, such as 0.95")
    data: NDArray[Any] = np.asarray(values, dtype=np.float64)
    count = np.sum(np.isfinite(data), axis=axis)
    total = np.nansum(data, axis=axis)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    deviations = data - np.expand_dims(mean, axis)
    variance = np.nansum(deviations**2, axis=axis) / np.maximum(count - 1, 1)
    half = student.ppf(0.5 + level / 2, np.maximum(count - 1, 1)) * np.sqrt(variance / np.maximum(count, 1))
    half = np.where(count > 1, half, np.nan)
    return MeanInterval(np.asarray(mean), np.asarray(mean - half), np.asarray(mean + half))
