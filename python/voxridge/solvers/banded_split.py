"""The score of a banded prediction, split into its bands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floating = NDArray[Any]

_BLOCK = 1024  # targets at a time: temporaries are float64


def split_r2(responses: Floating, parts: Floating, intercept: Floating) -> Floating:
    """R2 of a sum of predictions, split into shares that add up to it (product measure).

    With y and the parts ``p_b`` about their means, ``p = sum_b p_b``, and m the mean error,

    ``r2_b = (p_b . (2 y - p) - n m^2 / n_bands) / |y|^2``

    A part that works against the others has a negative share; what two correlated parts explain together is
    halved between them.

    Parameters
    ----------
    responses : ndarray (n_samples, n_targets)
    parts : ndarray (n_bands, n_samples, n_targets)
        What each band predicts.
    intercept : ndarray (n_targets,)
        What is added to their sum.

    Returns
    -------
    ndarray (n_bands, n_targets) float64
        NaN where a target is constant or not finite.

    Raises
    ------
    ValueError
        If the shapes do not match.

    References
    ----------
    Pratt 1987, in Proceedings of the Second International Tampere Conference in Statistics; Dupre la Tour et
    al. 2022 (NeuroImage 264), for banded ridge.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([[1.0, -1, 1, -1], [1, 1, -1, -1]])[..., None]
    >>> split_r2(2 * a + b, np.array([2 * a, b]), np.zeros(1)).round(6).tolist()
    [[0.8], [0.2]]
    """
    if parts.ndim != 3 or parts.shape[1:] != responses.shape or np.shape(intercept) != responses.shape[1:]:
        raise ValueError(
            f"parts {parts.shape} must be (n_bands, n_samples, n_targets) of responses {responses.shape}, "
            f"and intercept {np.shape(intercept)} must be (n_targets,)"
        )
    out = np.empty((len(parts), responses.shape[1]))
    for begin in range(0, responses.shape[1], _BLOCK):
        some = slice(begin, begin + _BLOCK)
        out[:, some] = _split(responses[:, some], parts[:, :, some], intercept[some])
    return out


def _split(responses: Floating, parts: Floating, intercept: Floating) -> Floating:
    y = np.asarray(responses, dtype=np.float64)
    whole = parts.sum(axis=0, dtype=np.float64)
    error = y.mean(axis=0) - intercept - whole.mean(axis=0)
    y = y - y.mean(axis=0)
    left = 2 * y - (whole - whole.mean(axis=0))
    out = np.array([((part - part.mean(axis=0, dtype=np.float64)) * left).sum(axis=0) for part in parts])
    out -= len(y) * error**2 / len(parts)
    total = (y**2).sum(axis=0)
    constant = ~(total > 0)
    return np.asarray(np.where(constant, np.nan, out / np.where(constant, 1.0, total)))
