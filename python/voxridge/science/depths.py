"""Where in a model the best layer lies: for every target, and as the peak of a curve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science._redraws import interval_quantiles
from voxridge.science.multiple import fdr

Float64 = NDArray[np.float64]
_BLOCK_ELEMENTS = 1 << 21


@dataclass(frozen=True)
class PreferredLayers:
    """The best layer of every target, where layers differ by more than the folds do.

    Attributes
    ----------
    layer : ndarray (n_targets,) float64
        Position of the layer; NaN where the layers do not differ beyond their folds' noise.
    depth : ndarray (n_targets,) float64
        Its depth; NaN likewise.
    best : ndarray of int (n_targets,)
        The layer with the highest mean, whether it differs or not; -1 where a score is missing.
    p_values : ndarray (n_targets,) float64
        Of the hypothesis that all layers are equally good.
    differ : ndarray of bool (n_targets,)
    epsilon : float
        Box's correction: 1 where layers vary from fold to fold as though independent, smaller the more alike
        neighbours are.
    rate : float
        The false discovery rate of ``differ``.
    """

    layer: Float64
    depth: Float64
    best: NDArray[np.intp]
    p_values: Float64
    differ: NDArray[np.bool_]
    epsilon: float
    rate: float


@dataclass(frozen=True)
class PeakDepth:
    """The depth of the best layer, and the centre of mass of the curve, with bootstrap intervals.

    Attributes
    ----------
    depth, low, high : ndarray () or (n_targets,) float64
        Of the highest point, of the parabola through the best layer and its neighbours. NaN where undefined.
    centre, centre_low, centre_high : ndarray of the same shape
        Of :func:`centre_of_mass`.
    at_edge : ndarray of bool, of the same shape
        The best layer is the first or the last: the peak may lie beyond.
    level : float
    n_repeats : int
        Folds or subjects.
    """

    depth: Float64
    low: Float64
    high: Float64
    centre: Float64
    centre_low: Float64
    centre_high: Float64
    at_edge: NDArray[np.bool_]
    level: float
    n_repeats: int


def relative_depths(n_layers: int, *, embedding: bool = True) -> Float64:
    """Depths from 0 to 1, so that models with different numbers of layers can be laid over each other.

    Parameters
    ----------
    n_layers : int
        Layers there are scores of.
    embedding : bool
        Whether the first is the embedding, at depth 0. Otherwise the first block is, at 1 / n_layers.

    Returns
    -------
    ndarray (n_layers,) float64

    Raises
    ------
    ValueError
        For fewer layers than one, or than two with an embedding.

    Examples
    --------
    >>> from voxridge.science.depths import relative_depths
    >>> relative_depths(5), relative_depths(4, embedding=False)
    (array([0.  , 0.25, 0.5 , 0.75, 1.  ]), array([0.25, 0.5 , 0.75, 1.  ]))
    """
    if n_layers < 1 + embedding:
        raise ValueError(f"n_layers={n_layers}: give at least {1 + embedding}")
    if embedding:
        return np.arange(n_layers) / (n_layers - 1.0)
    return np.arange(1, n_layers + 1) / float(n_layers)


def preferred_layer(
    scores: ArrayLike, *, depths: ArrayLike | None = None, rate: float = 0.05
) -> PreferredLayers:
    """The best layer of every target, masked where the layers cannot be told apart.

    Each target is tested by an analysis of variance with folds as blocks, whose degrees of freedom are
    multiplied by Box's epsilon, since neighbouring layers err alike; epsilon is estimated from all targets
    together. The map is for looking at: the layer was picked on the test folds, and folds share training
    data, which makes p-values somewhat small.

    .. math:: F_t = \\frac{K \\sum_l (\\bar s_{lt} - \\bar s_t)^2 / (L - 1)}
        {\\sum_{lk} (s_{lkt} - \\bar s_{lt} - \\bar s_{kt} + \\bar s_t)^2 / ((L - 1)(K - 1))}

    Parameters
    ----------
    scores : array_like (n_layers, n_folds, n_targets)
        Held-out scores; or one score per subject in place of folds. A target that lacks one has no layer.
    depths : array_like (n_layers,), optional
        Default: :func:`relative_depths`.
    rate : float
        False discovery rate over targets.

    Returns
    -------
    PreferredLayers

    Raises
    ------
    ValueError
        For fewer than two layers or folds, other dimensions, depths that do not rise, or a rate outside
        (0, 1).

    References
    ----------
    Box 1954, "Some theorems on quadratic forms applied in the study of analysis of variance problems, II",
    Annals of Mathematical Statistics 25(3).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.depths import preferred_layer
    >>> curve = np.array([0.1, 0.2, 0.4, 0.3, 0.2])[:, None, None] * [1.0, 0.0]
    >>> found = preferred_layer(curve + np.random.default_rng(0).normal(0, 0.03, (5, 8, 2)))
    >>> found.layer, found.depth
    (array([ 2., nan]), array([0.5, nan]))
    """
    from scipy.stats import f as fisher

    data = np.asarray(scores)
    if data.ndim != 3 or min(data.shape[:2]) < 2:
        raise ValueError(
            f"scores has shape {data.shape}: give (n_layers, n_folds, n_targets), at least two layers and "
            "two folds"
        )
    n_layers, n_folds, n_targets = data.shape
    place = _depths(depths, n_layers)
    ratio, best = np.full(n_targets, np.nan), np.full(n_targets, -1, dtype=np.intp)
    pooled = np.zeros((n_layers, n_layers))
    for at in _blocks(n_layers * n_folds, n_targets):
        block = np.asarray(data[:, :, at], dtype=np.float64)
        known = np.isfinite(block).all(axis=(0, 1))
        block = np.where(known, block, 0.0)
        mean = block.mean(axis=1)
        best[at] = np.where(known, mean.argmax(axis=0), -1)
        between = n_folds * ((mean - mean.mean(axis=0)) ** 2).sum(axis=0)
        rest = block - mean[:, None] - block.mean(axis=0) + mean.mean(axis=0)
        error = (rest**2).sum(axis=(0, 1))
        defined = known & (error > 0)
        ratio[at] = np.where(defined, (n_folds - 1) * between / np.where(defined, error, 1.0), np.nan)
        # Every target counts the same, whatever its units and noise.
        rest *= np.where(defined, 1.0 / np.sqrt(np.where(defined, error, 1.0)), 0.0)
        pooled += np.tensordot(rest, rest, axes=((1, 2), (1, 2)))
    spread = (n_layers - 1) * np.sum(pooled**2)
    epsilon = float(np.clip(np.trace(pooled) ** 2 / spread, 1 / (n_layers - 1), 1.0)) if spread else 1.0
    freedom = epsilon * (n_layers - 1)
    p_values = np.where(np.isfinite(ratio), fisher.sf(ratio, freedom, freedom * (n_folds - 1)), np.nan)
    differ = fdr(p_values, rate).detected
    layer = np.where(differ, best.astype(np.float64), np.nan)
    return PreferredLayers(
        layer, np.where(differ, place[best], np.nan), best, p_values, differ, epsilon, rate
    )


def peak_depth(
    scores: ArrayLike,
    *,
    depths: ArrayLike | None = None,
    n_bootstraps: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> PeakDepth:
    """How deep in the model the curve over layers is highest.

    The vertex of the parabola through the best layer and its two neighbours; an end of the curve stays as it
    is. The interval is a bootstrap over folds or subjects, widened for their small number. Over subjects it
    speaks about new subjects; folds share training data, and it describes how much they differ. Fewer than
    five repeats have too few different resamples for it to be trusted.

    Parameters
    ----------
    scores : array_like (n_layers, n_repeats) or (n_layers, n_repeats, n_targets)
        Repeats are folds or subjects; one that lacks a layer is left out.
    depths : array_like (n_layers,), optional
        Rising. Default: :func:`relative_depths`.
    n_bootstraps : int
    level : float
    seed : int

    Returns
    -------
    PeakDepth
        The interval is NaN with one repeat.

    Raises
    ------
    ValueError
        For other dimensions, fewer than two layers, depths that do not rise, fewer than one bootstrap or a
        level outside (0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.depths import peak_depth
    >>> curve = 0.4 - (np.linspace(0, 1, 13) - 0.7) ** 2
    >>> found = peak_depth(curve[:, None] + np.random.default_rng(0).normal(0, 0.002, (13, 6)))
    >>> bool(abs(found.depth - 0.7) < 0.02), bool(found.low < 0.7 < found.high)
    (True, True)
    """
    data = np.asarray(scores)
    if data.ndim not in (2, 3) or data.shape[0] < 2 or data.shape[1] < 1:
        raise ValueError(f"scores has shape {data.shape}: give (n_layers, n_repeats[, n_targets])")
    if n_bootstraps < 1 or not 0 < level < 1:
        raise ValueError(f"n_bootstraps={n_bootstraps}, level={level}: give at least 1, and between 0 and 1")
    place = _depths(depths, data.shape[0])
    table = data if data.ndim == 3 else data[:, :, None]
    n_layers, n_repeats, n_targets = table.shape
    drawn = np.ones((1 + n_bootstraps, n_repeats))
    rng = np.random.default_rng(seed)
    drawn[1:] = rng.multinomial(n_repeats, np.full(n_repeats, 1 / n_repeats), size=n_bootstraps)
    found = np.full((6, n_targets), np.nan)
    at_edge = np.zeros(n_targets, dtype=bool)
    for at in _blocks(n_layers * (1 + n_bootstraps), n_targets):
        means = _drawn_means(np.asarray(table[:, :, at], dtype=np.float64), drawn)
        peak, centre = _peaks(means, place), centre_of_mass(means, place)
        best = np.where(np.isfinite(means[:, 0]).all(axis=0), means[:, 0].argmax(axis=0), -1)
        at_edge[at] = (best == 0) | (best == n_layers - 1)
        for row, values in ((0, peak), (3, centre)):
            found[row, at] = values[0]
            if n_repeats > 1:
                found[row + 1 : row + 3, at] = _ends(values[1:], level, n_repeats)
    rows = found if data.ndim == 3 else found[:, 0]
    depth, low, high, centre, centre_low, centre_high = (np.asarray(row) for row in rows)
    edge = np.asarray(at_edge if data.ndim == 3 else at_edge[0])
    return PeakDepth(depth, low, high, centre, centre_low, centre_high, edge, level, n_repeats)


def centre_of_mass(
    scores: ArrayLike, depths: ArrayLike | None = None, *, baseline: float | Literal["minimum"] = "minimum"
) -> Float64:
    """Mean depth, each layer weighted by how far its score is above a baseline.

    .. math:: \\frac{\\sum_l d_l \\max(s_l - b, 0)}{\\sum_l \\max(s_l - b, 0)}

    It uses the whole curve and moves less with noise than the highest layer does; the parts of a curve with
    two peaks are mixed.

    Parameters
    ----------
    scores : array_like (n_layers, ...)
    depths : array_like (n_layers,), optional
        Default: :func:`relative_depths`.
    baseline : float or "minimum"
        "minimum" is the worst layer's score, so that a constant added to the curve changes nothing.

    Returns
    -------
    ndarray of the shape of ``scores`` without its first axis, float64
        NaN where no layer is above the baseline, or a score is missing.

    Raises
    ------
    ValueError
        If ``depths`` does not rise or has another length, or for another word as baseline.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.depths import centre_of_mass
    >>> centre_of_mass(np.array([0.1, 0.2, 0.3, 0.2]), [0, 1, 2, 3])
    array(2.)
    """
    data = np.asarray(scores, dtype=np.float64)
    place = _depths(depths, data.shape[0]).reshape(-1, *(1,) * (data.ndim - 1))
    if isinstance(baseline, str) and baseline != "minimum":
        raise ValueError(f"baseline={baseline!r}: give a number or 'minimum'")
    floor = data.min(axis=0) if isinstance(baseline, str) else float(baseline)
    weight = np.where(np.isfinite(data), np.maximum(data - floor, 0.0), np.nan)
    total = weight.sum(axis=0)
    out = np.full(total.shape, np.nan)
    np.divide((weight * place).sum(axis=0), total, out=out, where=total > 0)
    return out


def _peaks(means: Float64, place: Float64) -> Float64:
    """Vertex of the parabola through the best layer and its neighbours, along the first axis."""
    n_layers = len(place)
    defined = np.isfinite(means).all(axis=0)
    best = np.where(defined, means, 0.0).argmax(axis=0)
    middle = np.clip(best, 1, n_layers - 2) if n_layers > 2 else best
    peak = place[best]
    if n_layers > 2:
        left, here, right = (
            np.take_along_axis(means, (middle + step)[None], axis=0)[0] for step in (-1, 0, 1)
        )
        before, after = place[middle] - place[middle - 1], place[middle + 1] - place[middle]
        fall, rise = (here - left) / before, (right - here) / after
        with np.errstate(invalid="ignore", divide="ignore"):
            # Where the slope, which goes from `fall` to `rise` between the midpoints, is zero.
            vertex = place[middle] - 0.5 * before + 0.5 * (before + after) * fall / (fall - rise)
        inside = (best > 0) & (best < n_layers - 1) & (fall > rise)
        peak = np.where(inside, vertex, peak)
    return np.asarray(np.where(defined, peak, np.nan))


def _drawn_means(block: Float64, drawn: Float64) -> Float64:
    """Mean curve of every draw, (n_layers, n_draws, n_targets); a repeat that lacks a layer is left out."""
    n_layers, n_repeats, n_targets = block.shape
    known = np.isfinite(block).all(axis=0)
    total = drawn @ np.where(known, block, 0.0).swapaxes(0, 1).reshape(n_repeats, -1)
    count = (drawn @ known.astype(np.float64))[:, None]
    total = total.reshape(len(drawn), n_layers, n_targets)
    means = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return np.asarray(means.swapaxes(0, 1))


def _ends(values: Float64, level: float, n_repeats: int) -> Float64:
    """Both ends of the interval of every column, over the draws that are defined."""
    quantiles = interval_quantiles(level, n_repeats)
    out = np.full((2, values.shape[1]), np.nan)
    some = np.isfinite(values).any(axis=0)
    if some.any():
        out[:, some] = np.nanquantile(values[:, some], quantiles, axis=0)
    return out


def _depths(depths: ArrayLike | None, n_layers: int) -> Float64:
    if depths is None:
        return relative_depths(n_layers)
    place = np.asarray(depths, dtype=np.float64)
    if place.shape != (n_layers,) or not np.all(np.diff(place) > 0):
        raise ValueError(f"depths has shape {place.shape}: give {n_layers} numbers that rise, one per layer")
    return place


def _blocks(elements_per_target: int, n_targets: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // elements_per_target)
    for start in range(0, n_targets, step):
        yield slice(start, min(start + step, n_targets))
