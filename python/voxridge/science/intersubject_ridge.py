"""One half of the subjects predicted from all targets of the other: the ceiling of Bonnasse-Gahot and Pallier
2024."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge._warnings import AlphaEdgeWarning
from voxridge.science.conditions import Float64
from voxridge.science.intersubject import RIDGE, IntersubjectCorrelation
from voxridge.science.intervals import mean_interval
from voxridge.science.moments import Series, as_series
from voxridge.science.repeat_ceilings import half_weights

Validation = Literal["leave-one-run-out", "first run"]
_ROWS_AT_ONCE = 64


def ridge_isc(
    subjects: Any,
    runs: Sequence[int] | None = None,
    *,
    n_splits: int = 10,
    seed: int = 1234,
    alphas: ArrayLike | None = None,
    alpha_per_target: bool = False,
    validation: Validation = "leave-one-run-out",
    fit_intercept: bool = False,
    level: float = 0.95,
    skip: tuple[int, int] = (0, 0),
    device: str = "auto",
    memory_limit: int | str | None = None,
    progress: bool = False,
) -> IntersubjectCorrelation:
    """Correlation of the mean over one half of the subjects with what ridge regression predicts of it from
    the mean over the other half, all targets being features.

    For every way to halve the subjects and in both directions, each run in turn is predicted by a fit to the
    other runs, whose penalty was chosen on those alone. The correlations are averaged over runs, directions
    and splits. One eigendecomposition of the kernel between samples serves all targets of a fit; a target is
    also predicted from its own values in the other half.

    Parameters
    ----------
    subjects : array (n_subjects, n_samples, n_targets), or list
        As in :func:`~voxridge.science.intersubject.leave_one_out_isc`, standardised as they are to be; at
        least 3 runs, or 2 for "first run".
    runs : sequence of int, optional
        Run lengths in rows, where a subject is a single matrix.
    n_splits : int, default 10
        Ways to halve the subjects. Of an odd number one is left out, another one each time.
    seed : int, default 1234
        Of the random halves.
    alphas : array_like, optional
        Penalties, (n_alphas,). Default: ``np.logspace(2, 7, 16)``.
    alpha_per_target : bool, default False
        False, as published: one penalty for all targets of a fit.
    validation : "leave-one-run-out" or "first run"
        What chooses the penalty: every run of the training runs held out in turn, or, as published, the
        first of them alone.
    fit_intercept : bool, default False
        False, as published, for standardised responses.
    level : float, default 0.95
        Confidence of the interval.
    skip : tuple of two int
        Rows to leave out at the start and the end of each run (published: (10, 10)).
    device : "auto", "cpu" or "cuda"
        As in ``EncodingRidge``.
    memory_limit : int or str, optional
        As in ``EncodingRidge``.
    progress : bool, default False

    Returns
    -------
    IntersubjectCorrelation
        NaN for targets that are constant or not finite in a half; no other is predicted from those. The
        interval is Student's over splits. Splits share their subjects, so it only describes how much the
        choice of the halves matters, and says nothing of other subjects;
        :func:`~voxridge.science.intersubject.split_half_isc` has an interval over subjects.

    Raises
    ------
    ValueError
        As ``leave_one_out_isc``; fewer than two runs (three for "leave-one-run-out"), an unknown
        ``validation``, or no target that varies and is finite.

    Warns
    -----
    AlphaEdgeWarning
        Once, with how many of the fits chose penalties at an edge of the grid.

    Notes
    -----
    2 x ``n_splits`` x runs fits, each about a second of one core for 800 samples and 3,000 targets; cost
    grows with the square of the samples times the targets.

    References
    ----------
    Bonnasse-Gahot and Pallier 2024 (NeurIPS 37).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.intersubject import split_half_isc
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.standard_normal((120, 3)) @ rng.standard_normal((3, 30))
    >>> subjects = shared + 4 * rng.standard_normal((12, 120, 30))
    >>> found = ridge_isc(subjects, runs=[40, 40, 40], n_splits=2, alphas=np.logspace(0, 5, 6))
    >>> found.by_split.shape, bool(found.values.mean() > split_half_isc(subjects).values.mean())
    ((2, 30), True)
    """
    if validation not in get_args(Validation):
        raise ValueError(f"validation={validation!r}: give 'leave-one-run-out' or 'first run'")
    series = as_series(subjects, "subjects", runs=runs, skip=skip)
    needed = 3 if validation == "leave-one-run-out" else 2
    if len(series.spans) < needed:
        raise ValueError(
            f"subjects have {len(series.spans)} run(s), and validation={validation!r} needs {needed}: give "
            "the lengths of the runs in runs="
        )
    if n_splits < 1:
        raise ValueError(f"n_splits={n_splits}: give 1 or more")
    model = _template(alphas, alpha_per_target, validation, fit_intercept, device, memory_limit)
    weights = half_weights(series.n_series, n_splits, seed)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        by_split = np.stack([_score_split(series, halves, model) for halves in _watched(weights, progress)])
    _pass_on(given, 2 * len(weights) * len(series.spans))
    interval = mean_interval(by_split, level=level)
    details = {
        "alphas": [float(alpha) for alpha in model.alphas],
        "alpha_per_target": alpha_per_target,
        "validation": validation,
        "fit_intercept": fit_intercept,
        "n_splits": len(weights),
        "seed": seed,
    }
    return IntersubjectCorrelation(
        interval.mean,
        interval.low,
        interval.high,
        level,
        "over random halves, which share their subjects: not about other subjects",
        RIDGE,
        n_subjects=series.n_series,
        n_averaged=series.n_series // 2,
        n_samples=series.n_rows,
        n_runs=len(series.spans),
        combine="mean of runs",
        by_split=by_split,
        details=details,
    )


class FirstRun:
    """A splitter with one split: the first run that is there validates, the others train."""

    def split(self, x: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Any, Any]]:
        held_out = np.asarray(groups) == np.min(groups)
        yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _template(
    alphas: ArrayLike | None,
    alpha_per_target: bool,
    validation: Validation,
    fit_intercept: bool,
    device: str,
    memory_limit: int | str | None,
) -> Any:
    from voxridge.encoding import EncodingRidge  # an estimator, which has its scores from here

    return EncodingRidge(
        np.logspace(2, 7, 16) if alphas is None else np.asarray(alphas, dtype=np.float64),
        delays=(0,),
        cv=FirstRun() if validation == "first run" else validation,
        alpha_per_target=alpha_per_target,
        fit_intercept=fit_intercept,
        device=device,
        memory_limit=memory_limit,
        progress=False,
    )


def _watched(weights: Float64, progress: bool) -> Iterator[Float64]:
    from voxridge._progress import Progress

    with Progress(progress) as report:
        for number, halves in enumerate(weights):
            report("halves of the subjects", number / len(weights))
            yield halves


def _score_split(series: Series, halves: Float64, model: Any) -> Float64:
    """Mean over runs and both directions, (n_targets,)."""
    from voxridge.nested import nested_scores

    first, second = (_half_mean(series, np.flatnonzero(half)) for half in halves)
    valid = _varying(first) & _varying(second)
    if not valid.any():
        raise ValueError(f"{series.name}: no target varies and is finite in all subjects")
    if not valid.all():
        first, second = first[:, valid], second[:, valid]
    lengths = [end - begin for begin, end in series.spans]
    scores = [
        nested_scores(x, y, lengths, model=model).mean_scores for x, y in ((first, second), (second, first))
    ]
    mean = np.full(valid.size, np.nan)
    mean[valid] = (scores[0] + scores[1]) / 2
    return mean


def _varying(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).all(axis=0) & (values != values[:1]).any(axis=0))


def _pass_on(given: list[warnings.WarningMessage], n_fits: int) -> None:
    """Warnings of the fits: one for all that are about edges of the grid, others once."""
    edges = [each for each in given if issubclass(each.category, AlphaEdgeWarning)]
    if edges:
        warnings.warn(
            f"{len(edges)} of {n_fits} fits chose penalties at an edge of the grid, the first: "
            f"{edges[0].message}",
            AlphaEdgeWarning,
            stacklevel=3,
        )
    others = {(each.category, str(each.message)): each for each in given if each not in edges}
    for each in others.values():
        warnings.warn(each.message, each.category, stacklevel=3)


def _half_mean(series: Series, members: NDArray[np.intp]) -> NDArray[Any]:
    """Mean over some subjects of the rows that are looked at, in the subjects' own precision."""
    dtype = series.sources[0].dtype
    mean = np.empty((series.n_rows, series.n_targets), dtype=dtype)
    done = 0
    for begin, end in series.spans:
        for start in range(begin, end, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, end)
            mean[done : done + stop - start] = series.mean(members.tolist(), slice(start, stop))
            done += stop - start
    return mean
