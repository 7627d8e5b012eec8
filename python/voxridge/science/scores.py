"""Scores of predictions, one number per target.

All functions take ``(n_samples, n_targets)`` arrays, accumulate in float64 whatever the input type, and
work through the targets in blocks, so that a float32 recording is never copied whole into float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from voxridge.science.repeats import TotalPower

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
    truth, prediction = paired(y_true, y_pred)
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
    truth, prediction = paired(y_true, y_pred)
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


def signed_r2_score(y_true: ArrayLike, y_pred: ArrayLike) -> Float64:
    """Squared correlation with the sign of the correlation, one per target.

    .. math:: |r_t| \\, r_t

    The mean of this over voxels is the "average :math:`r^2`" of the scaling laws of Antonello et al.; it is
    not :math:`R^2` (:func:`r2_score`), which also falls where predictions have the wrong size.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n_samples, n_targets) or (n_samples,)
        Measured and predicted responses.

    Returns
    -------
    numpy.ndarray of shape (n_targets,), float64
        Between -1 and 1; NaN where the correlation is.

    Raises
    ------
    TypeError, ValueError
        As :func:`correlation_score`.

    References
    ----------
    Antonello, Vaidya and Huth 2023 (NeurIPS 36).

    Examples
    --------
    >>> import numpy as np
    >>> signed_r2_score(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))
    array([-1.])
    """
    r = correlation_score(y_true, y_pred)
    return r * np.abs(r)


def spe_score(y_repeats: ArrayLike, y_pred: ArrayLike, *, total_power: TotalPower = "variance") -> Float64:
    """Signal power explained: what the predictions explain of the part of the response that repeats share.

    .. math:: SPE_t = \\frac{\\mathrm{Var}(y_t) - \\mathrm{Var}(y_t - p_t)}{SP_t}

    with :math:`y` the mean over repeats and SP its signal power
    (:func:`~voxridge.science.repeats.signal_power`). It is 1 for predictions that are the signal itself,
    negative for predictions worse than none, and needs no ceiling. Adding a constant to predictions does not
    change it.

    Parameters
    ----------
    y_repeats : array_like of shape (n_repeats, n_samples, n_targets)
        Responses to each presentation, read a block of targets at a time.
    y_pred : array_like of shape (n_samples, n_targets)
    total_power : "variance" or "unit"
        As in ``signal_power``.

    Returns
    -------
    numpy.ndarray of shape (n_targets,), float64
        NaN where the signal power is not positive.

    Raises
    ------
    ValueError
        As ``signal_power``, or predictions of another shape than a repeat.

    Warns
    -----
    NoSignalWarning
        Some targets have no signal power.

    References
    ----------
    Sahani and Linden 2003 (NeurIPS 15). Schoppe et al. 2016 (Frontiers in Computational Neuroscience 10:10).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.standard_normal((500, 1))
    >>> repeats = signal + 2 * rng.standard_normal((10, 500, 1))
    >>> spe_score(repeats, signal).round(1), spe_score(repeats, 0 * signal)
    (array([1.]), array([0.]))
    """
    from voxridge.science.repeats import signal_power, warn_of_no_signal  # which has its score from here

    repeats = np.asarray(y_repeats)
    prediction = _matrix(y_pred, "y_pred")
    if repeats.ndim != 3 or repeats.shape[1:] != prediction.shape:
        raise ValueError(
            f"y_repeats has shape {repeats.shape} and y_pred has shape {np.shape(y_pred)}: give "
            "(n_repeats, n_samples, n_targets) and (n_samples, n_targets)"
        )
    power = signal_power(repeats, total_power=total_power)
    explained = np.full(prediction.shape[1], np.nan)
    for columns in _blocks(repeats.shape[0] * repeats.shape[1], repeats.shape[2]):
        mean = np.mean(repeats[:, :, columns], axis=0, dtype=np.float64)
        residual = mean - prediction[:, columns]
        with np.errstate(invalid="ignore"):
            explained[columns] = mean.var(axis=0, ddof=1) - residual.var(axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.where(power.signal > 0, explained / power.signal, np.nan)
    warn_of_no_signal(np.where(power.signal > 0, 0.0, np.nan))
    return scores


def paired(
    y_true: ArrayLike, y_pred: ArrayLike, name: str = "y_pred", *, fewest: int = 2, why: str = "a score needs"
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two real matrices of one shape, never copied.

    Raises
    ------
    TypeError
        For complex or non-numeric input.
    ValueError
        For different shapes, more than two dimensions, or too few samples.
    """
    truth, prediction = _matrix(y_true, "y_true"), _matrix(y_pred, name)
    if truth.shape != prediction.shape:
        raise ValueError(
            f"y_true has shape {np.shape(y_true)} and {name} has shape {np.shape(y_pred)}: "
            "give two arrays with the same samples and the same targets"
        )
    if truth.shape[0] < fewest:
        raise ValueError(f"y_true has {truth.shape[0]} sample(s): {why} at least {fewest}")
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
