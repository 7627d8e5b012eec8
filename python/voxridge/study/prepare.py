"""Small, leak-free steps between raw arrays and a fit: high-pass, z-scores, delays, principal components.

Everything here works inside one run (or one contiguous chunk), or takes its statistics from the rows it is
told to use, so that a held-out chunk never shapes what is fitted on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.features import PrincipalComponents

Array = NDArray[Any]
Float64 = NDArray[np.float64]


def drift_basis(n_samples: int, tr: float, cutoff: float) -> Float64:
    """Constant and slow cosines of one run, the high-pass basis that SPM and nilearn use.

    Parameters
    ----------
    n_samples : int
        Rows of the run.
    tr : float
        Seconds between rows.
    cutoff : float
        Longest period kept, in seconds; 0 gives the constant alone.

    Returns
    -------
    numpy.ndarray of shape (n_samples, 1 + floor(2 * n_samples * tr / cutoff)), float64
        Orthonormal columns.
    """
    order = int(2 * n_samples * tr / cutoff) if cutoff > 0 else 0
    if order + 1 >= n_samples:
        raise ValueError(
            f"high_pass={cutoff:g} s leaves nothing of a run of {n_samples} rows at TR {tr:g} s: "
            "give a longer period or 0"
        )
    rows = np.arange(n_samples) + 0.5
    basis = np.cos(np.pi * np.outer(rows, np.arange(order + 1)) / n_samples)
    return np.asarray(basis / np.linalg.norm(basis, axis=0), dtype=np.float64)


def high_pass(data: Array, tr: float, cutoff: float) -> Array:
    """One run with its mean and everything slower than ``cutoff`` seconds projected out (a new array).

    ``data`` is (n_samples, n_columns); float32 stays float32. With ``cutoff=0`` only the mean goes.
    """
    basis = drift_basis(len(data), tr, cutoff).astype(data.dtype if data.dtype.kind == "f" else np.float64)
    return np.asarray(data - basis @ (basis.T @ data))


def zscore(data: Array) -> Array:
    """Columns with mean 0 and standard deviation 1; a constant column becomes zeros."""
    centred = data - data.mean(axis=0, dtype=np.float64).astype(data.dtype)
    spread = centred.std(axis=0, dtype=np.float64)
    scale = np.abs(data).max(axis=0, initial=0.0)
    spread = np.where(spread > 1e-7 * np.where(scale > 0, scale, 1.0), spread, np.inf)
    return np.asarray(centred / spread.astype(data.dtype))


def delayed(data: Array, delays: Sequence[int]) -> Array:
    """Columns of one run delayed by each number of rows, side by side (delay-major), zeros where nothing
    came yet.

    Used where folds cut inside one run: the delays then reach over the chunk border into the stimulus that
    was really heard before, and only afterwards are the rows cut.
    """
    out = np.zeros((len(data), len(delays) * data.shape[1]), dtype=data.dtype)
    for position, delay in enumerate(delays):
        columns = slice(position * data.shape[1], (position + 1) * data.shape[1])
        if delay >= 0:
            out[delay:, columns] = data[: len(data) - delay]
        else:
            out[:delay, columns] = data[-delay:]
    return out


class CommonScale:
    """All columns divided by one number, which brings their mean variance in the training rows to 1."""

    def __init__(self) -> None:
        self._divisor = 1.0

    def fit(self, rows: Array) -> CommonScale:
        """Learn the divisor from (n_rows, n_features) training rows."""
        spread = float(np.sqrt(np.var(rows, axis=0, dtype=np.float64).mean()))
        self._divisor = spread if spread > 0 else 1.0
        return self

    def transform(self, rows: Array) -> Array:
        """The rows on the new scale, of the same float type."""
        return np.asarray(rows / self._divisor, dtype=rows.dtype)


class ScaledComponents:
    """Principal components of the training rows, all divided by the standard deviation of the first one's
    scores.

    One common divisor (no whitening) keeps the later components small, so a ridge penalty shrinks them
    first, and puts the first on the scale of a standardised control feature beside it.
    """

    def __init__(self, n_components: int) -> None:
        self._components = PrincipalComponents(n_components)
        self._divisor = 1.0

    def fit(self, rows: Array) -> ScaledComponents:
        """Learn axes and divisor from (n_rows, n_features) training rows."""
        scores = self._components.fit(rows).transform(rows)
        spread = float(np.std(scores[:, 0], dtype=np.float64))
        self._divisor = spread if spread > 0 else 1.0
        return self

    def transform(self, rows: Array) -> Array:
        """Scaled scores (n_rows, n_components) of the same float type."""
        return np.asarray(self._components.transform(rows) / self._divisor, dtype=rows.dtype)
