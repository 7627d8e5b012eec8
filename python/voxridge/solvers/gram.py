"""Gram matrices of a delayed design, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.rows import Ranges, ranges_of


def delayed_gram(
    features: NDArray[Any],
    delays: Sequence[int] = (0,),
    *,
    runs: Sequence[int] | None = None,
    rows: NDArray[np.integer[Any]] | Sequence[int] | None = None,
    dtype: Any = np.float64,
) -> NDArray[Any]:
    """``X' X`` of the delayed design, which is never formed.

    ``X[t, (i, j)] = features[t - delays[i], j]`` where ``t - delays[i]`` lies in the run of t, else 0.

    Parameters
    ----------
    features : ndarray (n_samples, n_features), float32 or float64
    delays : sequence of int
        In samples; any different integers, negative ones too.
    runs : sequence of int, optional
        Run lengths, adding up to n_samples. Default: one run.
    rows : sequence of int, optional
        The samples t to sum over. Default: all.
    dtype : float32 or float64
        In which products are formed, summed and returned. float32 only for float32 features.

    Returns
    -------
    ndarray (p, p), p = len(delays) * n_features, columns delay-major, symmetric.

    Raises
    ------
    ValueError
        If runs do not add up, delays repeat or are as long as a run, or rows lie outside the data.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import delayed_gram
    >>> delayed_gram(np.array([[1.0], [2.0], [4.0]]), delays=(0, 1))
    array([[21., 10.],
           [10.,  5.]])
    """
    design = DelayedDesign(np.asarray(features), delays, runs)
    return design.gram(_row_ranges(design, rows), np.dtype(dtype))


def delayed_kernel(
    features: NDArray[Any],
    delays: Sequence[int] = (0,),
    *,
    runs: Sequence[int] | None = None,
    dtype: Any = np.float64,
) -> NDArray[Any]:
    """``X X'`` of the delayed design, which is never formed; X as in :func:`delayed_gram`.

    Parameters
    ----------
    features : ndarray (n_samples, n_features), float32 or float64
    delays : sequence of int
        In samples; any different integers, negative ones too.
    runs : sequence of int, optional
        Run lengths, adding up to n_samples. Default: one run.
    dtype : float32 or float64
        In which products are formed, summed and returned. float32 only for float32 features.

    Returns
    -------
    ndarray (n_samples, n_samples), symmetric.

    Raises
    ------
    ValueError
        If runs do not add up, or delays repeat or are as long as a run.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import delayed_kernel
    >>> delayed_kernel(np.array([[1.0], [2.0]]), delays=(0, 1))
    array([[1., 2.],
           [2., 5.]])
    """
    return DelayedDesign(np.asarray(features), delays, runs).kernel(np.dtype(dtype))


def _row_ranges(design: DelayedDesign, rows: Any) -> Ranges:
    if rows is None:
        return design.everything()
    index = np.asarray(rows)
    if index.size and (index.min() < 0 or index.max() >= design.n_samples):
        raise ValueError(
            f"rows run from {index.min()} to {index.max()}, the data have {design.n_samples} samples"
        )
    return ranges_of(np.unique(index).astype(np.intp))
