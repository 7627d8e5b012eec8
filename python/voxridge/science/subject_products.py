"""Products of the responses of every two subjects, and the correlations that are made of them without another
look at the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from voxridge.science.conditions import Float64
from voxridge.science.moments import Series, block_moments, bytes_per_target


def subject_products(
    series: Series, standardise: bool, combine: str
) -> Iterator[tuple[slice, list[Float64]]]:
    """Targets, and their centred products between subjects (n_targets, n, n): one array for all rows, or one
    per run. The row and column of a subject without a value are NaN."""
    for columns in series.tiles(bytes_per_target(series, series.spans, copies=8)):
        moments = block_moments(series, series.spans, columns)
        if combine == "concatenated" and not standardise:
            yield columns, [_without_constants(moments.total().covariance())]
            continue
        counts = moments.count[:, None, None, None]
        with np.errstate(invalid="ignore"):
            each = moments.products - moments.sums[..., :, None] * moments.sums[..., None, :] / counts
        if standardise:
            each = _standardised(each, moments.products) * counts
        whole = [each.sum(axis=0)] if combine == "concatenated" else list(each)
        yield columns, [_without_constants(gram) for gram in whole]


def _standardised(centred: Float64, products: Float64) -> Float64:
    """Correlations; 0 for what is constant in the run, as a z-score that is not defined is taken for 0."""
    variances = np.diagonal(centred, axis1=-2, axis2=-1)
    # A constant away from the origin leaves rounding of its square.
    flat = variances <= 64 * np.finfo(np.float64).eps * np.diagonal(products, axis1=-2, axis2=-1)
    scale = np.where(flat, np.inf, np.sqrt(np.where(flat, 0.0, variances)))
    return np.asarray(centred / (scale[..., :, None] * scale[..., None, :]))


def _without_constants(gram: Float64) -> Float64:
    own = np.diagonal(gram, axis1=-2, axis2=-1)
    lost = ~(np.isfinite(own) & (own > 0))
    return np.where(lost[..., :, None] | lost[..., None, :], np.nan, gram)


def leave_one_out(gram: Float64) -> Float64:
    """Correlation of each subject with the sum of the others, (n_targets, n)."""
    own = np.diagonal(gram, axis1=-2, axis2=-1)
    with_all = np.nansum(gram, axis=-1)
    return _correlation_with_rest(own, with_all, np.nansum(gram, axis=(-2, -1))[:, None])


def leave_two_out(gram: Float64) -> Float64:
    """Mean of :func:`leave_one_out` without each subject in turn, (n_targets, n)."""
    n = gram.shape[-1]
    own = np.diagonal(gram, axis1=-2, axis2=-1)
    with_all = np.nansum(gram, axis=-1)
    zeros = np.nan_to_num(gram)
    total = np.nansum(gram, axis=(-2, -1))[:, None] - 2 * with_all + np.nan_to_num(own)
    # Element (k, i): subject i with the others, k taken out.
    r = _correlation_with_rest(own[:, None, :], with_all[:, None, :] - zeros, total[:, :, None])
    r[:, np.arange(n), np.arange(n)] = np.nan
    return np.where(np.isfinite(own), mean_over(r, axis=-1), np.nan)


def _correlation_with_rest(own: Float64, with_all: Float64, total: Float64) -> Float64:
    rest = total - 2 * with_all + own
    with np.errstate(invalid="ignore", divide="ignore"):
        defined = rest > 8 * np.finfo(np.float64).eps * total
        return np.asarray(np.where(defined, (with_all - own) / np.sqrt(own * rest), np.nan))


def halves(gram: Float64, weights: Float64) -> tuple[Float64, Float64]:
    """Correlation of the halves (n_targets, n_splits), and without each subject (n_targets, n, n_splits)."""
    first, second = weights[:, 0].T, weights[:, 1].T  # (n, n_splits)
    diagonal = np.diagonal(gram, axis1=-2, axis2=-1)[..., None]
    of_first, of_second = gram @ first, gram @ second  # (n_targets, n, n_splits)
    across = (of_second * first).sum(axis=1)
    own, other = (of_first * first).sum(axis=1), (of_second * second).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = across / np.sqrt(own * other)
        without = across[:, None] - first * of_second - second * of_first
        own_without = own[:, None] - first * (2 * of_first - diagonal)
        other_without = other[:, None] - second * (2 * of_second - diagonal)
        return whole, without / np.sqrt(own_without * other_without)


# --- means and intervals


def mean_over(values: Any, axis: int) -> Float64:
    """Mean of what is finite; NaN where nothing is."""
    data = np.asarray(values)
    finite = np.isfinite(data)
    count = finite.sum(axis=axis)
    total = np.where(finite, data, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def jackknife_interval(values: Float64, dropped: Float64, level: float) -> tuple[Float64, Float64]:
    """Ends of the interval of ``values`` (n_targets,) from those without each subject (n_targets, n), on
    Fisher's scale."""
    from scipy.stats import t as student

    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.arctanh(np.clip(dropped, -1.0, 1.0))
        z = np.where(np.isfinite(z), z, np.nan)
        count = np.isfinite(z).sum(axis=-1)
        squares = np.nansum((z - mean_over(z, axis=-1)[:, None]) ** 2, axis=-1)
        error = np.sqrt(squares * (count - 1) / count)
        half = np.where(count > 2, student.ppf(0.5 + level / 2, np.maximum(count - 1, 1)) * error, np.nan)
        centre = np.arctanh(values)
        return np.tanh(centre - half), np.tanh(centre + half)
