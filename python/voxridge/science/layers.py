"""Choosing the layer of a model without the samples that are reported, and what it does to choose with them.

A layer picked by its score on the test samples scores higher than it is, and the more so the more layers
there are to pick from: a deeper model gains by having more draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
_BLOCK_ELEMENTS = 1 << 21


class LayerScores(Protocol):
    """What is needed of each layer: held-out scores, and inner scores that never saw the held-out part.

    Attributes
    ----------
    scores : ndarray (n_folds, n_targets)
        On the part left out of each outer fold.
    inner : ndarray (n_folds, n_targets)
        Best score over penalties in the inner folds.
    inner_mean : ndarray (n_folds,)
        Inner score averaged over targets before the best penalty is taken.
    """

    scores: Float64
    inner: Float64
    inner_mean: Float64


def choose_layers(
    models: Sequence[LayerScores], *, labels: ArrayLike | None = None, per_target: bool = False
) -> NDArray[np.intp]:
    """The best layer of each outer fold by its inner scores, so without the part that is left out.

    Parameters
    ----------
    models : sequence of LayerScores
        The layers, such as :class:`voxridge.study.ModelScores`.
    labels : array_like (n_targets,), optional
        Regions: one layer for all targets of a region, by the mean of their inner scores.
    per_target : bool
        A layer for every target of its own, by its own inner score.

    Returns
    -------
    ndarray of int, (n_folds,) or, with ``labels`` or ``per_target``, (n_folds, n_targets)
        Position in ``models``; -1 where no layer has an inner score.

    Raises
    ------
    ValueError
        Without models, with both ``labels`` and ``per_target``, or with labels of another length.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> from voxridge.science.layers import choose_layers
    >>> inner = np.array([[[0.1, 0.5, 0.3]], [[0.3, 0.2, 0.1]]])
    >>> layers = [SimpleNamespace(scores=i, inner=i, inner_mean=i.mean(axis=1)) for i in inner]
    >>> choose_layers(layers), choose_layers(layers, per_target=True)
    (array([0]), array([[1, 0, 0]]))
    >>> choose_layers(layers, labels=["temporal", "temporal", "frontal"])
    array([[0, 0, 0]])
    """
    if not models:
        raise ValueError("models is empty: give at least one layer")
    if labels is not None and per_target:
        raise ValueError("labels and per_target exclude each other: one layer per region, or one per target")
    if labels is None and not per_target:
        return _best(np.stack([np.asarray(model.inner_mean, dtype=np.float64) for model in models]))
    inner = np.stack([np.asarray(model.inner, dtype=np.float64) for model in models])
    if labels is None:
        return _best(inner)
    regions = np.asarray(labels)
    if regions.shape != inner.shape[2:]:
        raise ValueError(f"labels has shape {regions.shape} for {inner.shape[2]} targets: give one each")
    choice = np.full(inner.shape[1:], -1, dtype=np.intp)
    for region in np.unique(regions):
        members = regions == region
        part = inner[:, :, members]
        known = np.isfinite(part).all(axis=0)  # a target that a layer lacks would favour the others
        total, count = np.where(known, part, 0.0).sum(axis=2), known.sum(axis=1)
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        choice[:, members] = _best(mean)[:, None]
    return choice


def chosen_scores(models: Sequence[LayerScores], choice: ArrayLike) -> Float64:
    """The held-out scores of the layers that were chosen.

    Parameters
    ----------
    models : sequence of LayerScores
    choice : array_like of int (n_folds,) or (n_folds, n_targets)
        From :func:`choose_layers`.

    Returns
    -------
    ndarray (n_folds, n_targets) float64
        NaN where the choice is -1.

    Raises
    ------
    ValueError
        If ``choice`` has another shape, or points beyond the models.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> from voxridge.science.layers import chosen_scores
    >>> chosen_scores([SimpleNamespace(scores=np.full((2, 2), s)) for s in (0.1, 0.2)], [[0, 1], [1, -1]])
    array([[0.1, 0.2],
           [0.2, nan]])
    """
    scores = np.stack([np.asarray(model.scores, dtype=np.float64) for model in models])
    position = np.asarray(choice)
    if position.shape not in (scores.shape[1:2], scores.shape[1:]):
        raise ValueError(
            f"choice has shape {position.shape} and scores have {scores.shape[1:]}: give (n_folds,) or "
            "(n_folds, n_targets)"
        )
    if position.size and (position.max() >= len(models) or position.min() < -1):
        raise ValueError(f"choice goes to {position.max()} with {len(models)} models")
    if position.ndim == 1:
        position = np.broadcast_to(position[:, None], scores.shape[1:])
    taken = np.take_along_axis(scores, np.maximum(position, 0)[None], axis=0)[0]
    return np.asarray(np.where(position >= 0, taken, np.nan))


@dataclass(frozen=True)
class MaxOnTest:
    """The highest test score over layers, which is not a fair estimate, beside fair ones.

    Attributes
    ----------
    values : ndarray (n_targets,) float64
        The maximum over layers of the mean test score.
    layer : ndarray of int (n_targets,)
        Its layer; -1 where undefined.
    honest : ndarray (n_targets,) float64
        Mean over folds of the score of the layer that was best on the *other* folds. NaN without folds.
    optimism : ndarray (n_targets,) float64
        ``values - honest``: what picking on the test samples added here, at these layers' differences.
    inflation : ndarray (n_targets,) float64
        What it would add if all layers were equally good: the mean maximum of their fold-to-fold deviations
        with random signs. It grows with the number of layers. NaN without folds.
    n_layers : int
    """

    values: Float64
    layer: NDArray[np.intp]
    honest: Float64
    optimism: Float64
    inflation: Float64
    n_layers: int


def max_on_test(scores: ArrayLike, *, n_flips: int = 200, seed: int = 0) -> MaxOnTest:
    """The best layer picked by its test score, with the inflation that this brings.

    Models with more layers have more draws: do not compare this number between models of different depth.
    :func:`choose_layers` makes the fair choice; where only test scores exist, compare ``honest``.

    Parameters
    ----------
    scores : array_like (n_layers, n_folds, n_targets), or (n_layers, n_targets) without folds
        Test scores. A layer counts for a target where it has a score in every fold.
    n_flips : int
        Random signs; all of them where there are no more. A sign belongs to a fold, and is the same for all
        layers and targets.
    seed : int

    Returns
    -------
    MaxOnTest

    Raises
    ------
    ValueError
        For another number of dimensions, or no layers, folds or flips.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.layers import max_on_test
    >>> noise = np.random.default_rng(0).normal(0.2, 0.05, (24, 6, 500))  # 24 layers, all equally good
    >>> found = max_on_test(noise)
    >>> [round(float(x.mean()), 2) for x in (found.values, found.honest, found.optimism, found.inflation)]
    [0.24, 0.2, 0.04, 0.04]
    """
    data = np.asarray(scores)
    if data.ndim not in (2, 3) or 0 in data.shape[:-1]:
        raise ValueError(f"scores has shape {data.shape}: give (n_layers, n_folds, n_targets)")
    if n_flips < 1:
        raise ValueError(f"n_flips={n_flips}: give at least 1")
    if data.ndim == 2:
        data = data[:, None]
    n_layers, n_folds, n_targets = data.shape
    signs = _signs(n_folds, n_flips, np.random.default_rng(seed))
    values, honest, inflation = (np.full(n_targets, np.nan) for _ in range(3))
    layer = np.full(n_targets, -1, dtype=np.intp)
    step = max(1, _BLOCK_ELEMENTS // (n_layers * max(n_folds, len(signs))))
    for start in range(0, n_targets, step):
        at = slice(start, start + step)
        block = np.asarray(data[:, :, at], dtype=np.float64)
        known: Bools = np.asarray(np.isfinite(block).all(axis=1))
        mean = np.where(known, np.where(known[:, None], block, 0.0).mean(axis=1), np.nan)
        layer[at] = _best(mean)
        values[at] = _taken(mean, layer[at])
        if n_folds > 1:
            honest[at] = _from_other_folds(block, known, mean)
            inflation[at] = _flipped_maximum(block, known, mean, signs)
    return MaxOnTest(values, layer, honest, values - honest, inflation, n_layers)


def max_inflation(
    n_layers: int,
    standard_error: float,
    correlation: float | ArrayLike,
    *,
    structure: Literal["equal", "neighbours"] = "equal",
    n_draws: int = 20_000,
    seed: int = 0,
) -> float:
    """How far the maximum over equally good layers lies above their common score, on average.

    .. math:: \\mathrm{E} \\max_l \\varepsilon_l, \\qquad \\varepsilon \\sim N(0, \\sigma^2 R)

    With equal correlations this is :math:`\\sigma \\sqrt{1 - \\rho}` times the expected maximum of
    independent standard normals.

    Parameters
    ----------
    n_layers : int
    standard_error : float
        Of one layer's score, in units of the score.
    correlation : float or array_like (n_layers, n_layers)
        Between the errors of layers.
    structure : {"equal", "neighbours"}
        Of one number: the same between any two layers, or between neighbours, falling as its power with
        distance, as it does in deep models.
    n_draws : int
        Random draws where there is no closed form.
    seed : int

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For no layers, a negative standard error, or correlations that are none.

    Examples
    --------
    Two equally good models, of 13 and of 41 layers; the standard error of a score is .02:

    >>> from voxridge.science.layers import max_inflation
    >>> [round(max_inflation(n, 0.02, 0.95, structure="neighbours"), 3) for n in (13, 41)]
    [0.013, 0.024]
    """
    if n_layers < 1:
        raise ValueError(f"n_layers={n_layers}: give at least 1")
    if not standard_error >= 0:
        raise ValueError(f"standard_error={standard_error}: give a number from 0 on")
    if structure not in ("equal", "neighbours"):
        raise ValueError(f"structure={structure!r}: give 'equal' or 'neighbours'")
    given = np.asarray(correlation, dtype=np.float64)
    if given.ndim == 0 and structure == "equal":
        if not 0 <= given <= 1:
            raise ValueError(f"correlation={given}: give a number from 0 to 1")
        return float(standard_error * np.sqrt(1.0 - given) * _expected_maximum(n_layers))
    matrix = given
    if given.ndim == 0:
        matrix = given ** np.abs(np.subtract.outer(np.arange(n_layers), np.arange(n_layers)))
    if matrix.shape != (n_layers, n_layers):
        raise ValueError(f"correlation has shape {matrix.shape}: give a number, or ({n_layers}, {n_layers})")
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    if not np.allclose(np.diag(matrix), 1.0) or values[0] < -1e-8 * values[-1]:
        raise ValueError("correlation is no correlation matrix: 1 on the diagonal, no negative eigenvalue")
    draws = np.random.default_rng(seed).standard_normal((n_draws, n_layers))
    errors = (draws * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    # A draw and its negative together halve the noise.
    return float(standard_error * 0.5 * np.mean(errors.max(axis=1) - errors.min(axis=1)))


def _expected_maximum(n: int) -> float:
    """Of n independent standard normals: the integral of 1 - F^n above 0 less that of F^n below, by
    midpoints."""
    from scipy.special import log_ndtr

    width = 1 / 256
    x = np.arange(0, 12, width) + width / 2
    return float(width * np.sum(-np.expm1(n * log_ndtr(x)) - np.exp(n * log_ndtr(-x))))


def _best(scores: Float64) -> NDArray[np.intp]:
    """Position of the largest finite score along the first axis; -1 where there is none."""
    filled = np.where(np.isfinite(scores), scores, -np.inf)
    return np.where(np.isneginf(filled).all(axis=0), -1, filled.argmax(axis=0)).astype(np.intp)


def _taken(scores: Float64, position: NDArray[np.intp]) -> Float64:
    taken = np.take_along_axis(scores, np.maximum(position, 0)[None], axis=0)[0]
    return np.asarray(np.where(position >= 0, taken, np.nan))


def _from_other_folds(block: Float64, known: Bools, mean: Float64) -> Float64:
    """Each fold's score of the layer that is best on the others, averaged over folds."""
    n_folds = block.shape[1]
    total = np.zeros(block.shape[2])
    for fold in range(n_folds):
        others = np.where(known, mean - np.where(known, block[:, fold], 0.0) / n_folds, np.nan)
        total += _taken(block[:, fold], _best(others))
    return np.asarray(total / n_folds)


def _flipped_maximum(block: Float64, known: Bools, mean: Float64, signs: Float64) -> Float64:
    """Mean over signs of the largest mean deviation; what folds and layers have in common is taken out
    first."""
    n_layers, n_folds, n_targets = block.shape
    deviations = np.where(known[:, None], block - mean[:, None], 0.0)
    count = np.maximum(known.sum(axis=0), 1)
    deviations -= deviations.sum(axis=0) / count
    # Deviations from the mean of n folds vary less than errors do, by (n - 1) / n.
    scale = np.sqrt(n_folds / (n_folds - 1)) / n_folds
    moved = scale * signs @ deviations.swapaxes(0, 1).reshape(n_folds, -1)
    highest = np.where(known, moved.reshape(len(signs), n_layers, n_targets), -np.inf).max(axis=1)
    return np.asarray(np.where(known.any(axis=0), highest.mean(axis=0), np.nan))


def _signs(n_folds: int, n_flips: int, rng: np.random.Generator) -> Float64:
    """(n_flips, n_folds) of -1 and 1; every combination where there are no more than asked for."""
    if 2**n_folds <= n_flips:
        bits = np.arange(2**n_folds)[:, None] >> np.arange(n_folds) & 1
        return np.asarray(2.0 * bits - 1.0)
    return np.asarray(rng.choice([-1.0, 1.0], size=(n_flips, n_folds)))
