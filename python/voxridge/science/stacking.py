"""Stacked regression: for every target the convex mixture of several models' predictions that errs least.

The weights come from predictions that were themselves cross-validated within the training rows, and are
applied to predictions for rows that took part in nothing. Two flaws that published code has had are ruled out
by what these functions take: a base model that was fitted to the rows whose errors then choose the weights
makes the most flexible model look best, so only cross-validated predictions are asked for; and held-out
responses standardised by themselves would borrow their mean and scale from what is to be predicted, so
nothing here standardises. Stacking need not win, either: the authors' later simulations over 576 settings
show cases in which the best single model, or one model of all features, does as well or better. That is why
every result holds the score of the best single model, chosen by the same training rows, beside the stack's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge.science.intervals import MeanInterval, mean_interval
from voxridge.science.mixture import (
    Predictions,
    ResidualProducts,
    StackWeights,
    stack_weights,
    stacked_prediction,
)
from voxridge.science.scores import correlation_score, r2_score

__all__ = [
    "ResidualProducts",
    "StackWeights",
    "StackedResult",
    "StackingFold",
    "stack_weights",
    "stacked_prediction",
    "stacked_scores",
]

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class StackingFold:
    """One outer fold: what chooses the weights, and what they are judged by.

    Attributes
    ----------
    inner_truth : ndarray (n_inner, n_targets)
        Measured responses of training rows.
    inner_predictions : mapping of name to ndarray (n_inner, n_targets)
        Of the same rows, cross-validated within the training rows.
    truth : ndarray (n_held_out, n_targets)
        Measured responses of the rows that the outer fold held out.
    predictions : mapping of name to ndarray (n_held_out, n_targets)
        Of the same rows, by models fitted to training rows only.
    """

    inner_truth: NDArray[Any]
    inner_predictions: Predictions
    truth: NDArray[Any]
    predictions: Predictions


@dataclass(frozen=True)
class StackedResult:
    """Held-out scores of the stack, of every model, and of the best single model, per outer fold.

    Means over folds leave out the folds in which a target has no number; NaN where it has none at all.

    Attributes
    ----------
    names : tuple of str
        The models.
    metric : {"r2", "correlation"}
        What the scores are.
    fold_weights : ndarray (n_folds, n_models, n_targets) float64
        Chosen by each fold's training rows.
    fold_scores : ndarray (n_folds, n_targets) float64
        Of the stack.
    fold_model_scores : ndarray (n_folds, n_models, n_targets) float64
        Of each model alone.
    fold_best : ndarray (n_folds, n_targets) of int
        Position of the model that errs least alone on the training rows; -1 where undefined.
    fold_best_scores : ndarray (n_folds, n_targets) float64
        Held-out score of that model: what the stack has to beat.
    """

    names: tuple[str, ...]
    metric: Literal["r2", "correlation"]
    fold_weights: Float64
    fold_scores: Float64
    fold_model_scores: Float64
    fold_best: NDArray[np.intp]
    fold_best_scores: Float64

    @property
    def weights(self) -> Float64:
        """Mean weights over folds, (n_models, n_targets)."""
        return _mean(self.fold_weights)

    @property
    def scores(self) -> Float64:
        """Mean held-out score of the stack, (n_targets,)."""
        return _mean(self.fold_scores)

    @property
    def model_scores(self) -> Float64:
        """Mean held-out score of each model, (n_models, n_targets)."""
        return _mean(self.fold_model_scores)

    @property
    def best_scores(self) -> Float64:
        """Mean held-out score of the single model chosen on training rows, (n_targets,)."""
        return _mean(self.fold_best_scores)

    @property
    def gain(self) -> Float64:
        """Mean over folds of the stack's score less the chosen single model's, (n_targets,); below 0 where
        the stack did worse."""
        return _mean(self.fold_scores - self.fold_best_scores)

    @property
    def effective_models(self) -> Float64:
        """:math:`1 / \\sum_m w_m^2`, mean over folds, (n_targets,)."""
        return _mean(1.0 / np.square(self.fold_weights).sum(axis=1))

    def gain_interval(self, targets: Any = None, *, level: float = 0.95) -> MeanInterval:
        """Mean gain over some targets, with an interval over folds.

        Folds share training rows, so the interval describes how much they differ and is not a test; a test
        needs subjects.

        Parameters
        ----------
        targets : mask or positions, optional
            All targets by default; those without a number in every fold are left out.
        level : float
            Confidence of the interval.

        Returns
        -------
        MeanInterval
            Of shape ().

        Raises
        ------
        ValueError
            When no target has a number in every fold.
        """
        gains = self.fold_scores - self.fold_best_scores
        gains = gains if targets is None else gains[:, targets]
        gains = gains[:, np.isfinite(gains).all(axis=0)]
        if gains.shape[1] == 0:
            raise ValueError("targets: none has a gain in every fold; choose others")
        return mean_interval(gains.mean(axis=1), level=level)


def stacked_scores(
    folds: Iterable[StackingFold], *, metric: Literal["r2", "correlation"] = "r2"
) -> StackedResult:
    """Score stacked regression on rows that chose neither weights nor models.

    In each outer fold the weights come from ``inner_predictions`` alone, as does the choice of the single
    model that the stack is compared with; both are then scored on the held-out rows.

    Parameters
    ----------
    folds : iterable of StackingFold
        One is in memory at a time if they come from a generator (:func:`voxridge.stacking.stacking_folds`
        makes them from features and responses).
    metric : {"r2", "correlation"}
        Weights minimise squared error, so r2 is the score they aim at; correlation ignores the scale of
        predictions. A constant prediction of a response that varies correlates 0.

    Returns
    -------
    StackedResult

    Raises
    ------
    ValueError
        For no folds, an unknown metric, or folds whose models or targets differ.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> def rows(n):
    ...     truth = rng.standard_normal((n, 4))
    ...     return truth, {name: truth + rng.standard_normal((n, 4)) for name in ("text", "audio")}
    >>> result = stacked_scores(StackingFold(*rows(400), *rows(200)) for _ in range(3))
    >>> result.weights.round(1)
    array([[0.5, 0.5, 0.5, 0.5],
           [0.5, 0.5, 0.5, 0.5]])
    >>> bool(result.gain.min() > 0.3)
    True
    """
    if metric not in ("r2", "correlation"):
        raise ValueError(f"metric={metric!r}: give 'r2' or 'correlation'")
    scored: list[StackedResult] = []
    for number, fold in enumerate(folds):
        scored.append(_score_fold(number, fold, metric))
        if scored[-1].names != scored[0].names or scored[-1].fold_scores.shape != scored[0].fold_scores.shape:
            first, last = scored[0], scored[-1]
            raise ValueError(
                f"outer fold {number} has models {last.names} of {last.fold_scores.shape[1]} targets, fold 0 "
                f"{first.names} of {first.fold_scores.shape[1]}: give the same in every fold, in one order"
            )
    if not scored:
        raise ValueError("folds is empty: give at least one outer fold")
    joined = {
        field.name: np.concatenate([getattr(one, field.name) for one in scored])
        for field in fields(StackedResult)
        if field.name.startswith("fold_")
    }
    return StackedResult(scored[0].names, metric, **joined)


def _score_fold(number: int, fold: StackingFold, metric: Literal["r2", "correlation"]) -> StackedResult:
    try:
        weights = stack_weights(fold.inner_truth, fold.inner_predictions)
        score = _score(fold.truth, stacked_prediction(weights, fold.predictions), metric)
    except (ValueError, TypeError) as error:
        raise type(error)(f"outer fold {number}: {error}") from error
    alone = np.stack([_score(fold.truth, fold.predictions[name], metric) for name in weights.names])
    best = np.take_along_axis(alone, np.maximum(weights.best, 0)[None], axis=0)[0]
    best = np.where(weights.best >= 0, best, np.nan)
    chosen = weights.best[None]
    return StackedResult(
        weights.names, metric, weights.weights[None], score[None], alone[None], chosen, best[None]
    )


def _score(truth: NDArray[Any], prediction: NDArray[Any], metric: str) -> Float64:
    r2 = r2_score(truth, prediction)
    if metric == "r2":
        return r2
    r = correlation_score(truth, prediction)
    return np.where(np.isnan(r) & np.isfinite(r2), 0.0, r)


def _mean(values: Float64) -> Float64:
    """Over the first axis, NaN left out."""
    defined = np.isfinite(values)
    total, count = np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
