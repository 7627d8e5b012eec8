"""Features that know nothing but which samples are neighbours: orthogonal autocorrelated sequences (OASM)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def oasm(run_lengths: Sequence[int], sigma: float) -> list[FloatArray]:
    """Return a feature for every sample, smoothed over its neighbours in the same run.

    With a(i) the run of sample i::

        F[i, j] = exp(-(i - j)^2 / (2 sigma^2)) if a(i) = a(j), else 0

    so that F is a block per run, and F = I for ``sigma = 0``. No row of one run says anything about another:
    a model that is tested on whole runs cannot use F, and one that is tested on samples between its training
    samples can. What F predicts is autocorrelation, and a score that does not exceed it shows nothing else.

    Parameters
    ----------
    run_lengths : sequence of int >= 1
        Samples (TRs, sentences of a passage) of each run or block, in order.
    sigma : float >= 0, samples
        Standard deviation of the Gaussian.

    Returns
    -------
    list of (n_i, n) float32 arrays
        One per run, with n the sum of the lengths: 4 n^2 bytes in all.

    Raises
    ------
    ValueError
        If there is no run, a run has no sample, or `sigma` is negative or not finite.

    References
    ----------
    Feghhi, Hadidi, Song, Blank & Kao 2024, arXiv:2406.01538.

    Examples
    --------
    >>> [run.astype(float).round(2).tolist() for run in oasm([2, 1], 1.0)]
    [[[1.0, 0.61, 0.0], [0.61, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]
    """
    lengths = list(run_lengths)
    if not lengths or any(length < 1 or length != int(length) for length in lengths):
        raise ValueError(f"run_lengths={lengths}: at least one run, each of at least one sample")
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"sigma={sigma}: 0 or a positive number of samples")
    total, start = sum(int(length) for length in lengths), 0
    runs = []
    for length in (int(length) for length in lengths):
        run = np.zeros((length, total), dtype=np.float32)
        run[:, start : start + length] = _smoother(length, sigma)
        runs.append(run)
        start += length
    return runs


def oasm_sigmas() -> npt.NDArray[np.float64]:
    """Return the 49 widths 0.1, 0.2, ..., 4.9 samples that are tried one after the other.

    The one to report is the best, chosen like any other setting within the training samples.

    Examples
    --------
    >>> sigmas = oasm_sigmas()
    >>> len(sigmas), sigmas[[0, -1]].tolist()
    (49, [0.1, 4.9])
    """
    return np.arange(1, 50) / 10


def _smoother(length: int, sigma: float) -> FloatArray:
    if sigma < 0.05:  # a neighbour's weight is 0 in float32, and far ones would overflow
        return np.eye(length, dtype=np.float32)
    distance = np.arange(length, dtype=np.float64)
    weights = np.exp(-(distance**2) / (2 * sigma**2)).astype(np.float32)
    return np.asarray(weights[np.abs(np.subtract.outer(np.arange(length), np.arange(length)))])
