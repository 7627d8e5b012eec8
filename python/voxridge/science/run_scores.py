"""Scores of several runs: each run alone and then averaged, or all rows together; and scores that carry how
they were made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science.conditions import METRICS, Conditions, Float64, Metric, Scores
from voxridge.science.intervals import MeanInterval, mean_interval
from voxridge.science.scores import correlation_score, r2_score, signed_r2_score, spe_score

RowMetric = Literal["r", "signed r2", "R2"]
RunCombine = Literal["mean of runs", "concatenated"]
_SCORES: dict[str, Callable[[ArrayLike, ArrayLike], Float64]] = {
    "r": correlation_score,
    "signed r2": signed_r2_score,
    "R2": r2_score,
}


@dataclass(frozen=True)
class RunScores:
    """Scores of every run, and one for all.

    Attributes
    ----------
    values : ndarray (n_targets,) float64
        What ``combine`` says.
    by_run : ndarray (n_runs, n_targets) float64
        Each run scored alone, about its own mean.
    n_defined : ndarray of int (n_targets,)
        Runs in which the target has a score.
    lengths : tuple of int
        Rows of each run.
    metric : {"r", "signed r2", "R2"}
    combine : {"mean of runs", "concatenated"}
    """

    values: Float64
    by_run: Float64
    n_defined: NDArray[np.intp]
    lengths: tuple[int, ...]
    metric: RowMetric
    combine: RunCombine

    def interval(self, level: float = 0.95) -> MeanInterval:
        """Mean over runs and its Student t interval, which describes how much the runs differ.

        Parameters
        ----------
        level : float, default 0.95

        Returns
        -------
        MeanInterval
        """
        return mean_interval(self.by_run, level=level)


def score_by_run(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    runs: Sequence[int],
    *,
    metric: RowMetric = "r",
    combine: RunCombine = "mean of runs",
) -> RunScores:
    """Scores of each run, and the one number per target that ``combine`` names.

    "mean of runs" scores each run about its own mean and averages, every run counting the same;
    "concatenated" scores all rows at once, so that long runs count more and differences between the means of
    runs count as well. They are different numbers: published ones should say which they are.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n_samples, n_targets) or (n_samples,)
        Measured and predicted responses, run after run.
    runs : sequence of int
        Run lengths in rows.
    metric : "r", "signed r2" or "R2"
    combine : "mean of runs" or "concatenated"

    Returns
    -------
    RunScores
        A run in which a target has no score (it is constant there) is left out of that target's mean.

    Raises
    ------
    ValueError
        Lengths that do not add up to the rows, or an unknown ``metric`` or ``combine``.

    Examples
    --------
    >>> import numpy as np
    >>> measured = np.array([1.0, 2.0, 3.0, 11.0, 12.0, 13.0])
    >>> predicted = np.array([3.0, 2.0, 1.0, 13.0, 12.0, 11.0])
    >>> score_by_run(measured, predicted, [3, 3]).values
    array([-1.])
    >>> score_by_run(measured, predicted, [3, 3], combine="concatenated").values.round(2)
    array([0.95])
    """
    truth, prediction = np.asarray(y_true), np.asarray(y_pred)
    score = _score_of(metric)
    if combine not in get_args(RunCombine):
        raise ValueError(f"combine={combine!r}: give 'mean of runs' or 'concatenated'")
    whole = score(truth, prediction)
    if any(length != int(length) for length in runs):
        raise ValueError(f"runs={tuple(runs)}: numbers of rows are whole")
    runs = [int(length) for length in runs]
    ends = np.cumsum(runs)
    if min(runs, default=0) < 2 or ends[-1] != len(truth):
        raise ValueError(
            f"runs={tuple(runs)} add up to {sum(runs)}, and y_true has shape {truth.shape}: give the rows of "
            "each run, 2 or more"
        )
    by_run = np.stack(
        [
            score(truth[end - length : end], prediction[end - length : end])
            for end, length in zip(ends, runs, strict=True)
        ]
    )
    n_defined = np.isfinite(by_run).sum(axis=0)
    values = mean_interval(by_run).mean if combine == "mean of runs" else whole
    return RunScores(values, by_run, n_defined, tuple(runs), metric, combine)


def make_scores(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    conditions: Conditions,
    *,
    metric: Metric = "r",
    runs: Sequence[int] | None = None,
) -> Scores:
    """Scores that carry how they were made, such as a ceiling asks for.

    Parameters
    ----------
    y_true : array_like of shape (n_samples, n_targets)
        Measured responses; for "SPE" those to each repeat, (n_repeats, n_samples, n_targets).
    y_pred : array_like of shape (n_samples, n_targets)
        Predictions of the same rows.
    conditions : Conditions
        ``combine`` decides whether runs (or folds) are scored alone and averaged; ``n_samples`` is filled in.
    metric : "r", "signed r2", "R2" or "SPE"
    runs : sequence of int, optional
        Rows of each run (or fold) where they are averaged.

    Returns
    -------
    Scores

    Raises
    ------
    ValueError
        Where the conditions say otherwise than the arrays, lengths of runs are missing, or SPE is asked of
        averaged runs.

    Examples
    --------
    >>> import numpy as np
    >>> made = Conditions("held-out runs", ("smoke",))
    >>> scores = make_scores(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]), made)
    >>> scores.values.round(3), scores.conditions.n_samples
    (array([0.982]), 3)
    """
    n_samples = len(np.asarray(y_pred))
    if conditions.n_samples not in (None, n_samples):
        raise ValueError(
            f"conditions says n_samples={conditions.n_samples}, and y_pred has shape {np.shape(y_pred)}"
        )
    made = replace(conditions, n_samples=n_samples)
    if metric == "SPE":
        return Scores(_spe(y_true, y_pred, made), metric, made)
    if made.combine == "concatenated":
        return Scores(_score_of(metric)(y_true, y_pred), metric, made)
    if runs is None or (made.combine == "mean of runs" and len(runs) != len(made.runs)):
        raise ValueError(
            f"runs={runs}, and scores are the {made.combine} of {made.runs}: give the rows of each in runs"
        )
    return Scores(score_by_run(y_true, y_pred, runs, metric=metric).values, metric, made)


def _score_of(metric: str) -> Callable[[ArrayLike, ArrayLike], Float64]:
    if metric not in _SCORES:
        known = ", ".join(map(repr, METRICS if metric not in METRICS else _SCORES))
        raise ValueError(f"metric={metric!r}: give one of {known}")
    return _SCORES[metric]


def _spe(y_true: ArrayLike, y_pred: ArrayLike, made: Conditions) -> Float64:
    repeats = np.asarray(y_true)
    if made.combine != "concatenated" and len(made.runs) > 1:
        raise ValueError(
            f"SPE is of concatenated runs, and conditions say {made.combine!r}: score each alone"
        )
    if repeats.ndim != 3 or len(repeats) != made.repeats:
        raise ValueError(
            f"y_true has shape {repeats.shape} and conditions say {made.repeats} repeats: SPE needs "
            "(n_repeats, n_samples, n_targets)"
        )
    return spe_score(repeats, y_pred)
