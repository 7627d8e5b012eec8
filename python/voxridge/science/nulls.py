"""A null distribution that keeps the autocorrelation: responses shifted around within their run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def shift_runs(runs: Sequence[NDArray[Any]], *, margin: int, rng: np.random.Generator) -> list[NDArray[Any]]:
    """Responses with every run shifted around in time by a random number of rows.

    Shifting keeps each target's autocorrelation and the correlations between targets, and breaks the match
    with the stimulus. Fit anew on the shifted responses: scores of pure noise are correlated across folds,
    because what two runs share by chance helps to predict either from the other, and a null made from the
    finished predictions would be too narrow.

    Parameters
    ----------
    runs : list of numpy.ndarray of shape (n_rows, n_targets)
    margin : int
        No shift is closer to zero than this, from either side; longer than the response's memory.
    rng : numpy.random.Generator

    Returns
    -------
    list of numpy.ndarray
        New arrays.

    Raises
    ------
    ValueError
        When the margin leaves no shift in some run.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.nulls import shift_runs
    >>> run = np.arange(6.0)[:, None]
    >>> shift_runs([run], margin=3, rng=np.random.default_rng(0))[0].ravel().tolist()
    [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]
    """
    shifted = []
    for run in runs:
        if not 1 <= margin <= len(run) // 2:
            raise ValueError(f"margin={margin} for a run of {len(run)} rows: give 1 to {len(run) // 2}")
        shifted.append(np.roll(run, int(rng.integers(margin, len(run) - margin + 1)), axis=0))
    return shifted


@dataclass(frozen=True)
class Detection:
    """p-values against the pooled null, and which targets pass at the false discovery rate.

    Attributes
    ----------
    p_values : ndarray (n_targets,) float64
        NaN where the score is.
    detected : ndarray of bool (n_targets,)
    threshold : float
        The lowest detected score; inf where nothing is detected.
    rate : float
        The false discovery rate.
    """

    p_values: Float64
    detected: NDArray[np.bool_]
    threshold: float
    rate: float


def detect(scores: Float64, null: Float64, *, rate: float = 0.05) -> Detection:
    """One-sided test of each target's score against null scores pooled over targets, Benjamini-Hochberg
    corrected.

    .. math:: p_t = \\frac{1 + \\#\\{\\text{null} \\ge s_t\\}}{1 + \\#\\text{null}}

    so a p-value is never 0. Targets with real signal are part of the pool, which makes the test a little
    careful.

    Parameters
    ----------
    scores : numpy.ndarray of shape (n_targets,)
        NaN targets are never detected.
    null : numpy.ndarray of any shape
        Scores under the null hypothesis; NaN are left out.
    rate : float
        False discovery rate.

    Returns
    -------
    Detection
        ``threshold`` is the lowest detected score (inf when nothing is detected).

    Raises
    ------
    ValueError
        If ``null`` holds no finite score.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.nulls import detect
    >>> null = np.random.default_rng(0).normal(0, 0.1, 1000)
    >>> detect(np.array([0.0, 0.1, 0.6]), null).detected.tolist()
    [False, False, True]
    """
    from scipy.stats import false_discovery_control

    pool = np.sort(null[np.isfinite(null)].ravel())
    if pool.size == 0:
        raise ValueError("null has no finite score: it needs at least one")
    valid = np.isfinite(scores)
    p_values = np.full(scores.shape, np.nan)
    above = pool.size - np.searchsorted(pool, scores[valid], side="left")
    p_values[valid] = (1 + above) / (1 + pool.size)
    detected = np.zeros(scores.shape, dtype=bool)
    if valid.any():
        detected[valid] = false_discovery_control(p_values[valid]) <= rate
    threshold = float(scores[detected].min()) if detected.any() else float("inf")
    return Detection(p_values, detected, threshold, rate)
