"""A null distribution that keeps the autocorrelation: predictions shifted around within their run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def shifted_scores(measured: NDArray[Any], predicted: NDArray[Any], *, margin: int) -> Float64:
    """Correlations of one run's responses with its predictions after every circular shift beyond
    ``margin`` rows.

    Shifting keeps each time course's own autocorrelation and breaks only the match between them. All
    shifts come from one Fourier transform.

    Parameters
    ----------
    measured, predicted : numpy.ndarray of shape (n_samples, n_targets)
    margin : int
        Shifts closer to zero than this, from either side, are left out; longer than the response's memory.

    Returns
    -------
    numpy.ndarray of shape (n_samples - 2 * margin + 1, n_targets), float64
        NaN for a target that is constant on either side.

    Raises
    ------
    ValueError
        For different shapes, or a margin that leaves no shift.
    """
    if measured.shape != predicted.shape:
        raise ValueError(
            f"measured has shape {measured.shape} and predicted {predicted.shape}: they must agree"
        )
    n_samples = len(measured)
    if not 1 <= margin <= n_samples // 2:
        raise ValueError(f"margin={margin} for {n_samples} samples: give 1 to {n_samples // 2}")
    spectra = [np.fft.rfft(_unit(array), axis=0) for array in (measured, predicted)]
    scores = np.fft.irfft(spectra[0] * np.conj(spectra[1]), n=n_samples, axis=0)
    return np.asarray(scores[margin : n_samples - margin + 1], dtype=np.float64)


def _unit(array: NDArray[Any]) -> Float64:
    values = np.asarray(array, dtype=np.float64)
    values = values - values.mean(axis=0)
    norm = np.sqrt(np.einsum("ij,ij->j", values, values))
    return np.asarray(values / np.where(norm > 0, norm, np.nan))


@dataclass(frozen=True)
class Detection:
    """p-values against the pooled null, and which targets pass at the false discovery rate."""

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
