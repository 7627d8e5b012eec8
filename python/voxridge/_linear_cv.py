"""Held-out scores for RidgeCV: leave-one-out and folds, vectorised metrics and any scikit-learn scorer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import get_scorer, make_scorer

from voxridge._warnings import VoxridgeWarning
from voxridge.solvers.dense import Float64Array, FloatArray, blocks, centre
from voxridge.solvers.eigenbasis import EigenBasis, decompose
from voxridge.solvers.linalg import matmul
from voxridge.solvers.loo import LeaveOneOut
from voxridge.solvers.ridge import solve_in_basis, tile_width

Metric = Callable[[FloatArray, FloatArray, Float64Array | None], Float64Array]
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def _sum(values: FloatArray, weight: Float64Array | None) -> Float64Array:
    """Weighted sum over samples of (n, v), in float64."""
    if weight is None:
        return np.asarray(values.sum(axis=0, dtype=np.float64))
    return np.asarray(weight @ values.astype(np.float64, copy=False))


def _mean(values: FloatArray, weight: Float64Array | None) -> Float64Array:
    return np.asarray(_sum(values, weight) / (values.shape[0] if weight is None else weight.sum()))


def _about_mean(values: FloatArray, weight: Float64Array | None) -> Float64Array:
    """Values minus their mean, in float64; exactly zero where a column is constant."""
    shifted: Float64Array = values.astype(np.float64) - values[0]
    shifted -= _mean(shifted, weight)
    return shifted


def r2(y: FloatArray, p: FloatArray, weight: Float64Array | None) -> Float64Array:
    """1 - sum s (y - p)^2 / sum s (y - mean)^2 per target; a constant target scores 1 if predicted exactly,
    else 0."""
    if y.shape[0] < 2:
        return np.full(y.shape[1], np.nan)
    left = _sum((y - p) ** 2, weight)
    total = _sum(_about_mean(y, weight) ** 2, weight)
    ratio = np.divide(left, total, out=(left > 0).astype(np.float64), where=total > 0)
    return 1.0 - ratio


def explained_variance(y: FloatArray, p: FloatArray, weight: Float64Array | None) -> Float64Array:
    """Like :func:`r2`, with the mean error of each target forgiven."""
    left = _sum(_about_mean(y - p, weight) ** 2, weight)
    total = _sum(_about_mean(y, weight) ** 2, weight)
    return 1.0 - np.divide(left, total, out=(left > 0).astype(np.float64), where=total > 0)


def correlation(y: FloatArray, p: FloatArray, weight: Float64Array | None) -> Float64Array:
    """Pearson's r per target; NaN where y or p is constant."""
    a, b = _about_mean(y, weight), _about_mean(p, weight)
    scale = np.sqrt(_sum(a * a, weight) * _sum(b * b, weight))
    r: Float64Array = np.divide(_sum(a * b, weight), scale, out=np.full(scale.shape, np.nan), where=scale > 0)
    return r


METRICS: dict[str, Metric] = {
    "r2": r2,
    "explained_variance": explained_variance,
    "neg_mean_squared_error": lambda y, p, weight: -_mean((y - p) ** 2, weight),
    "neg_root_mean_squared_error": lambda y, p, weight: -np.sqrt(_mean((y - p) ** 2, weight)),
    "neg_mean_absolute_error": lambda y, p, weight: -_mean(np.abs(y - p), weight),
    "correlation": correlation,
}
"""Scores computed for all targets at once. scikit-learn's value for several targets is the mean over
targets."""


def mean_correlation(
    y_true: FloatArray, y_pred: FloatArray, sample_weight: Float64Array | None = None
) -> float:
    """Mean over targets of Pearson's r, leaving out constant targets: what ``scoring="correlation"``
    maximises."""
    y, p = (np.asarray(a).reshape(len(a), -1) for a in (y_true, y_pred))
    return float(mean_over_targets(correlation(y, p, sample_weight)))


def mean_over_targets(scores: Float64Array) -> Any:
    """Mean over the last axis, leaving out undefined (NaN) scores; NaN where none is defined."""
    defined = ~np.isnan(scores)
    if defined.all():
        return scores.mean(axis=-1)
    count = defined.sum(axis=-1)
    total = np.where(defined, scores, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


@cache
def _scorer_named(name: str) -> Any:
    """scikit-learn's scorer; looking it up takes a tenth of a small fit."""
    return get_scorer(name)


class Predictions(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor whose prediction is its input: lets a scikit-learn scorer score predictions that exist
    already."""

    def predict(self, X: FloatArray) -> FloatArray:
        return X


@dataclass(frozen=True)
class HeldOutScore:
    """How to score held-out predictions: a vectorised metric, or a scikit-learn scorer.

    ``needs_model``: the scorer is a user's function of (estimator, X, y), so it must be given a fitted model.
    """

    metric: Metric | None
    scorer: Callable[..., Any]
    needs_model: bool = False

    @classmethod
    def from_scoring(cls, scoring: Any, default: str) -> HeldOutScore:
        """From None (``default``), a name (scikit-learn's, or "correlation"), or a callable.

        Raises:
            ValueError: an unknown name. TypeError: neither None, a name nor a callable.
        """
        name = default if scoring is None else scoring
        if isinstance(name, str):
            if name == "correlation":
                return cls(correlation, make_scorer(mean_correlation))
            try:
                return cls(METRICS.get(name), deepcopy(_scorer_named(name)))
            except ValueError as error:
                raise ValueError(
                    f"scoring={name!r} is neither 'correlation' nor a scikit-learn scorer"
                ) from error
        if not callable(name):
            raise TypeError(f"scoring must be None, a name or a callable; got {scoring!r}")
        return cls(None, name, needs_model=getattr(name, "_response_method", None) != "predict")

    def accepts_weight(self) -> bool:
        function = getattr(self.scorer, "_score_func", self.scorer)
        return "sample_weight" in signature(function).parameters

    def of_predictions(
        self, y: FloatArray, p: FloatArray, *, per_target: bool, params: Mapping[str, Any]
    ) -> Float64Array | float:
        """Score of predictions ``p`` of ``y``, (n,) or (n, V): one number, or (V,) when ``per_target``."""
        if self.metric is not None:
            shape = (y.shape[0], -1)
            scores = self.metric(y.reshape(shape), p.reshape(shape), params.get("sample_weight"))
            if per_target:
                return scores
            # only a correlation can be undefined for one target alone, and its scorer leaves that target out
            return float(mean_over_targets(scores))
        if not per_target:
            return float(self.scorer(Predictions(), p, y, **params))
        columns = zip(y.reshape(y.shape[0], -1).T, p.reshape(p.shape[0], -1).T, strict=True)
        return np.array([self.scorer(Predictions(), b, a, **params) for a, b in columns])


def first_best(scores: Float64Array) -> NDArray[np.intp]:
    """Index along axis 0 of the highest score; the first of equal ones; undefined (NaN) never wins.

    Warns where a column has no defined score at all: it takes the first alpha.
    """
    undefined = np.isnan(scores)
    empty = np.atleast_1d(undefined.all(axis=0))
    if empty.any():
        warnings.warn(
            f"The held-out score is undefined for every alpha for {int(empty.sum())} of {empty.size} "
            "score(s) (constant responses, or held-out sets too small for the score); the first alpha was "
            "taken there",
            VoxridgeWarning,
            stacklevel=4,
        )
    return np.asarray(np.where(undefined, -np.inf, scores).argmax(axis=0))


def leave_one_out_scores(
    loo: LeaveOneOut,
    y: FloatArray,
    score: HeldOutScore | None,
    *,
    per_target: bool,
    params: Mapping[str, Any],
    keep: bool,
) -> tuple[Float64Array, FloatArray | None]:
    """Leave-one-out scores (n_alphas,) or (n_alphas, V), and what scikit-learn calls ``cv_results_`` if
    ``keep``.

    ``y`` has the user's shape, (n,) or (n, V). ``score`` None: minus the mean squared error, sample weights
    inside; the kept array holds the squared errors. Otherwise it holds the predictions. Shape: y's, then
    n_alphas.
    """
    if score is None and not keep:
        errors = -loo.mean_squared_errors()
        return (errors if per_target else mean_over_targets(errors)), None
    n, n_targets = loo.y.shape
    kept = np.empty((n, n_targets, loo.alphas.size), dtype=loo.y.dtype) if keep else None
    by_target = np.empty((loo.alphas.size, n_targets))
    overall = np.empty(loo.alphas.size)
    tiled = score is None or score.metric is not None
    for columns in blocks(n_targets, tile_width(n, loo.y.dtype) if tiled else n_targets):
        tile = loo.tile(columns)
        for i in range(loo.alphas.size):
            if score is None:
                values = tile.weighted_squared_errors(i)
                by_target[i, columns] = -np.mean(values, axis=0, dtype=np.float64)
            else:
                truth = loo.y[:, columns]
                values = truth - tile.errors(i)
                whole = values if tiled else values.reshape(y.shape)
                result = score.of_predictions(
                    truth if tiled else y, whole, per_target=per_target or tiled, params=params
                )
                if per_target or tiled:
                    by_target[i, columns] = result
                else:
                    overall[i] = result
            if kept is not None:
                kept[:, columns, i] = values
    if tiled and not per_target:
        overall = mean_over_targets(by_target)
    results = None if kept is None else kept.reshape(*y.shape, loo.alphas.size)
    return (by_target if per_target else overall), results


def check_folds(splits: Iterable[Any], n_samples: int) -> list[Fold]:
    """(train, test) index arrays from a splitter; boolean masks are accepted.

    Raises:
        ValueError: no fold, an empty side, or an index outside the data; the fold is named.
    """
    folds: list[Fold] = []
    for number, (train, test) in enumerate(splits):
        sides = []
        for name, side in (("train", train), ("test", test)):
            rows = np.asarray(side)
            if rows.dtype == bool:
                if rows.shape != (n_samples,):
                    raise ValueError(
                        f"fold {number}: the {name} mask has shape {rows.shape}, not ({n_samples},)"
                    )
                rows = np.flatnonzero(rows)
            if rows.size == 0:
                raise ValueError(f"fold {number} of cv has an empty {name} set; every fold needs both sides")
            if rows.min() < -n_samples or rows.max() >= n_samples:
                raise ValueError(f"fold {number} of cv has {name} rows outside the {n_samples} samples of X")
            sides.append(rows.astype(np.intp))
        folds.append((sides[0], sides[1]))
    if not folds:
        raise ValueError("cv gave no folds")
    return folds


@dataclass(frozen=True)
class FoldProblem:
    """A fit with folds. ``y`` is (n, V). ``score_params`` holds one value per sample or values passed on as
    they are.

    ``as_model`` turns (coef (v, p), intercept (v,), alpha) into a fitted estimator; ``rows_for_user`` gives
    (X, y) of some rows as the user passed them. Both serve scorers that want a model.
    """

    x: FloatArray
    y: FloatArray
    alphas: Float64Array
    folds: Sequence[Fold]
    fit_intercept: bool
    weight: Float64Array | None
    score: HeldOutScore
    score_params: Mapping[str, Any]
    as_model: Callable[[FloatArray, FloatArray, float], Any]
    rows_for_user: Callable[[NDArray[np.intp]], tuple[Any, Any]]
    device: str = "cpu"  # where X came from

    def of_targets(self, columns: NDArray[np.intp]) -> FoldProblem:
        """The same problem for some of the targets."""
        return replace(self, y=self.y[:, columns])

    def params_of(self, rows: NDArray[np.intp]) -> dict[str, Any]:
        n = self.x.shape[0]
        return {
            name: np.asarray(value)[rows] if np.ndim(value) and len(value) == n else value
            for name, value in self.score_params.items()
        }


def fold_scores(problem: FoldProblem, *, per_target: bool) -> Float64Array:
    """Mean over folds of the held-out score: (n_alphas,) or (n_alphas, V).

    One eigendecomposition per fold serves every alpha; predictions are formed for one alpha and one tile of
    targets at a time.
    """
    total: Float64Array | None = None
    for train, test in problem.folds:
        weight = None if problem.weight is None else problem.weight[train]
        if weight is not None and not weight.any():
            raise ValueError("every training sample of a fold has zero sample_weight; use other folds")
        xt, yt = centre(
            problem.x[train], problem.y[train], fit_intercept=problem.fit_intercept, sample_weight=weight
        )
        basis = decompose(xt, smallest_alpha=float(problem.alphas.min()))
        one_fold = _scores_with_models if problem.score.needs_model else _scores_of_predictions
        scores = one_fold(problem, basis, yt, test, per_target)
        total = scores if total is None else total + scores
    assert total is not None
    return total / len(problem.folds)


def _scores_of_predictions(
    problem: FoldProblem, basis: EigenBasis, yt: Any, test: NDArray[np.intp], per_target: bool
) -> Float64Array:
    n_targets, dtype = problem.y.shape[1], problem.x.dtype
    score, params = problem.score, problem.params_of(test)
    features = basis.features(problem.x[test]).astype(dtype, copy=False)
    basis = basis.narrowed(dtype, float(problem.alphas.min()), n_targets)
    inverse = basis.inverse(problem.alphas).astype(basis.dtype, copy=False)
    tiled = score.metric is not None
    by_target = np.empty((problem.alphas.size, n_targets))
    overall = np.empty(problem.alphas.size)
    for columns in blocks(n_targets, tile_width(max(basis.x.shape), dtype) if tiled else n_targets):
        projected = basis.project(yt.columns(columns, basis.dtype))
        truth = problem.y[test, columns]
        for i in range(problem.alphas.size):
            scaled = (projected * inverse[:, i, None]).astype(dtype, copy=False)
            predicted = matmul(features, scaled)
            if yt.mean is not None:
                predicted += yt.mean[columns].astype(dtype)
            result = score.of_predictions(truth, predicted, per_target=per_target or tiled, params=params)
            if per_target or tiled:
                by_target[i, columns] = result
            else:
                overall[i] = result
    if tiled and not per_target:
        overall = mean_over_targets(by_target)
    return by_target if per_target else overall


def _scores_with_models(
    problem: FoldProblem, basis: EigenBasis, yt: Any, test: NDArray[np.intp], per_target: bool
) -> Float64Array:
    """One fitted model per alpha (and target), for a scorer that is a function of (estimator, X, y)."""
    n_targets = problem.y.shape[1]
    params = problem.params_of(test)
    x_test, y_test = problem.rows_for_user(test)
    scores = np.empty((problem.alphas.size, n_targets) if per_target else problem.alphas.size)
    for i, alpha in enumerate(problem.alphas):
        coef, intercept, _ = solve_in_basis(basis, yt, np.full(n_targets, alpha))
        if not per_target:
            scores[i] = problem.score.scorer(
                problem.as_model(coef, intercept, alpha), x_test, y_test, **params
            )
            continue
        for j in range(n_targets):
            model = problem.as_model(coef[j : j + 1], intercept[j : j + 1], alpha)
            scores[i, j] = problem.score.scorer(model, x_test, problem.y[test, j], **params)
    return scores
