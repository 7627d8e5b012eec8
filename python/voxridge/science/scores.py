"""Scores of predictions, one number per target.

Both functions take ``(n_samples, n_targets)`` arrays, accumulate in float64 whatever the input type, and
work through the targets in blocks, so that a float32 recording is never copied whole into float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK_ELEMENTS = 1 << 21
Float64 = NDArray[np.float64]


def correlation_score(y_true: ArrayLike, y_pred: ArrayLike) -> Float64:
    """Pearson correlation of measured and predicted responses, one per target.

    .. math:: r_t = \\frac{\\sum_i (y_{it} - \\bar y_t)(p_{it} - \\bar p_t)}
                    {\\sqrt{\\sum_i (y_{it} - \\bar y_t)^2 \\sum_i (p_{it} - \\bar p_t)^2}}

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n_samples, n_targets) or (n_samples,)
        Measured and predicted responses; bool, integer or float. A 1-D array is one target.

    Returns
    -------
    numpy.ndarray of shape (n_targets,), float64
        Between -1 and 1. NaN where the measured or the predicted response is constant (the correlation is
        not defined there) or holds a value that is not finite. A spread at the level of rounding counts as
        constant.

    Raises
    ------
    TypeError
        For complex or non-numeric input.
    ValueError
        For different shapes, more than two dimensions, or fewer than two samples.

    Examples
    --------
    >>> import numpy as np
    >>> measured = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    >>> correlation_score(measured, np.array([[2.0, 1.0], [4.0, 2.0], [6.0, 3.0]]))
    array([ 1., nan])
    """
    truth, prediction = _pair(y_true, y_pred)
    scores = np.full(truth.shape[1], np.nan)
    for columns in _blocks(*truth.shape):
        a, a_spread, a_varies = _centred(truth[:, columns])
        b, b_spread, b_varies = _centred(prediction[:, columns])
        with np.errstate(invalid="ignore", divide="ignore"):
            # Scaled by the largest deviation, so that squares of tiny or huge units stay finite.
            a /= a_spread
            b /= b_spread
            norms = np.sqrt(np.einsum("ij,ij->j", a, a)) * np.sqrt(np.einsum("ij,ij->j", b, b))
            r = np.clip(np.einsum("ij,ij->j", a, b) / norms, -1.0, 1.0)
        scores[columns] = np.where(a_varies & b_varies, r, np.nan)
    return scores


def r2_score(y_true: ArrayLike, y_pred: ArrayLike) -> Float64:
    """Coefficient of determination of the predictions, one per target.

    .. math:: R^2_t = 1 - \\sum_i (y_{it} - p_{it})^2 \\big/ \\sum_i (y_{it} - \\bar y_t)^2

    The mean is that of the given measured responses. This is the true :math:`R^2`: it can be negative, and it
    is not the squared correlation.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n_samples, n_targets) or (n_samples,)
        Measured and predicted responses.

    Returns
    -------
    numpy.ndarray of shape (n_targets,), float64
        At most 1. NaN where the measured response is constant or a value is not finite.

    Raises
    ------
    TypeError
        For complex or non-numeric input.
    ValueError
        For different shapes, more than two dimensions, or fewer than two samples.

    Examples
    --------
    >>> import numpy as np
    >>> r2_score(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
    array([1.])
    """
    truth, prediction = _pair(y_true, y_pred)
    scores = np.full(truth.shape[1], np.nan)
    for columns in _blocks(*truth.shape):
        block = np.asarray(truth[:, columns], dtype=np.float64)
        centred, spread, varies = _centred(block)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            residual = (block - np.asarray(prediction[:, columns], dtype=np.float64)) / spread
            centred /= spread
            score = 1.0 - np.einsum("ij,ij->j", residual, residual) / np.einsum("ij,ij->j", centred, centred)
        scores[columns] = np.where(varies & np.isfinite(score), score, np.nan)
    return scores


def _pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    truth, prediction = _matrix(y_true, "y_true"), _matrix(y_pred, "y_pred")
    if truth.shape != prediction.shape:
        raise ValueError(
            f"y_true has shape {np.shape(y_true)} and y_pred has shape {np.shape(y_pred)}: "
            "give two arrays with the same samples and the same targets"
        )
    if truth.shape[0] < 2:
        raise ValueError(f"y_true has {truth.shape[0]} sample(s): a score needs at least 2")
    return truth, prediction


def _matrix(array: ArrayLike, name: str) -> NDArray[Any]:
    matrix = np.asarray(array)
    if matrix.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {matrix.dtype}: scores need real numbers")
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2:
        raise ValueError(f"{name} has shape {matrix.shape}: give (n_samples, n_targets) or (n_samples,)")
    return matrix


def _blocks(n_samples: int, n_targets: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // n_samples)
    for start in range(0, n_targets, step):
        yield slice(start, min(start + step, n_targets))


def _centred(block: NDArray[Any]) -> tuple[Float64, Float64, NDArray[np.bool_]]:
    """The block minus its column means (a new array), its largest deviations, and which columns vary."""
    values = np.array(block, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.abs(values).max(axis=0)
        values -= values.mean(axis=0)
        spread = np.abs(values).max(axis=0)
        # The mean of a constant column is exact only up to rounding, so compare with its magnitude.
        varies = np.isfinite(spread) & (spread > 8 * np.finfo(np.float64).eps * scale)
    return values, spread, varies
