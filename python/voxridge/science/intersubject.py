"""How much subjects who had the same stimulus share, target by target: inter-subject correlation.

:mod:`voxridge.science.intersubject_ridge` predicts one half of the subjects from all targets of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science.ceilings import Ceiling
from voxridge.science.conditions import Conditions, Float64
from voxridge.science.moments import Series, as_series
from voxridge.science.repeat_ceilings import half_weights, spearman_brown
from voxridge.science.run_scores import RunCombine
from voxridge.science.subject_products import (
    halves,
    jackknife_interval,
    leave_one_out,
    leave_two_out,
    mean_over,
    subject_products,
)

LEAVE_ONE_OUT, SPLIT_HALF, RIDGE = "leave-one-out", "split-half", "split-half ridge"


@dataclass(frozen=True)
class IntersubjectCorrelation:
    """Correlation between subjects, one per target, with an interval.

    Attributes
    ----------
    values : ndarray (n_targets,) float64
        Mean over subjects ("leave-one-out") or over splits into halves. NaN where it is not defined.
    low, high : ndarray (n_targets,) float64
        Ends of the interval that ``interval`` describes.
    level : float
        Its confidence.
    interval : str
        What the interval is about, in words.
    method : {"leave-one-out", "split-half", "split-half ridge"}
    n_subjects, n_averaged : int
        All subjects, and how many were averaged in what was predicted: 1, or half of them.
    n_samples, n_runs : int
        Rows that were scored, and runs that they are in.
    combine : {"concatenated", "mean of runs"}
    by_subject : ndarray (n_subjects, n_targets) float64, or None
        For "leave-one-out": each subject with the mean of the others.
    by_split : ndarray (n_splits, n_targets) float64, or None
        For halves: each way to split, the mean over both directions where there are two.
    details : dict
        Further settings.
    """

    values: Float64
    low: Float64
    high: Float64
    level: float
    interval: str
    method: str
    n_subjects: int
    n_averaged: int
    n_samples: int
    n_runs: int
    combine: RunCombine
    by_subject: Float64 | None = None
    by_split: Float64 | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def ceiling(self, conditions: Conditions, *, as_published: bool = False) -> Ceiling:
        """The ceiling of r that this gives for scores made under ``conditions``.

        "leave-one-out": what the mean of the other subjects says of one subject, a ceiling of scores on
        single subjects (``conditions.repeats`` is 1). "split-half": with the reliability of the mean over
        m = ``conditions.repeats`` subjects by Spearman and Brown, its root. "split-half ridge": of scores on
        the mean over half of the subjects (m is their number).

        Parameters
        ----------
        conditions : Conditions
            Of the scores; ``repeats`` is the number of subjects averaged in the responses.
        as_published : bool, default False
            "split-half ridge" only: take what was made of halves for the ceiling of scores on the mean over
            all subjects, as Bonnasse-Gahot and Pallier 2024 did. It is too low for them.

        Returns
        -------
        Ceiling

        Raises
        ------
        ValueError
            If the conditions describe other responses than this was made of.
        """
        wrong = self._differences(conditions, as_published)
        if wrong:
            raise ValueError(
                f"this {self.method} correlation is no ceiling for these scores: {'; '.join(wrong)}"
            )
        made = Conditions(**(conditions.to_dict() | {"n_samples": self.n_samples}))
        ends = [self.values, self.low, self.high]
        text = f"{self.method} correlation of {self.n_subjects} subjects"
        if self.method == SPLIT_HALF:
            ends = _ceilings(*ends, factor=conditions.repeats / self.n_averaged)
            text += f", brought to the mean of {conditions.repeats} (Spearman-Brown)"
        if as_published:
            text += f", made of halves of {self.n_averaged}, taken for the whole group's as published"
        values, low, high = ends
        details = dict(self.details) | {"interval": self.interval}
        return Ceiling(values, "r", made, text, low, high, self.level, details=details)

    def _differences(self, conditions: Conditions, as_published: bool) -> list[str]:
        wrong = []
        expected = conditions.repeats if self.method == SPLIT_HALF else self.n_averaged
        if as_published:
            if self.method != RIDGE:
                wrong.append(f"as_published is for {RIDGE!r}")
            expected = self.n_subjects
        if conditions.repeats != expected:
            wrong.append(f"it is about the mean of {expected} subject(s), and repeats={conditions.repeats}")
        if len(conditions.runs) != self.n_runs:
            wrong.append(f"it is of {self.n_runs} run(s), and conditions name {len(conditions.runs)}")
        if conditions.n_samples not in (None, self.n_samples):
            wrong.append(f"it is of {self.n_samples} samples, and n_samples={conditions.n_samples}")
        # Where every fold is a run the two means are one.
        averaged = "concatenated" if conditions.combine == "concatenated" else "mean of runs"
        if self.n_runs > 1 and averaged != self.combine:
            wrong.append(f"runs were combined as {self.combine!r}, and combine={conditions.combine!r}")
        return wrong


def leave_one_out_isc(
    subjects: Any,
    runs: Sequence[int] | None = None,
    *,
    standardise: bool = True,
    combine: RunCombine = "concatenated",
    level: float = 0.95,
    skip: tuple[int, int] = (0, 0),
) -> IntersubjectCorrelation:
    """Correlation of each subject with the mean of all others, averaged over subjects.

    .. math:: ISC_t = \\frac 1 S \\sum_s r\\Big(y_{st}, \\sum_{u \\ne s} y_{ut}\\Big)

    The data are read once. The interval is a jackknife over subjects on Fisher's scale: each subject in turn
    is taken out altogether, so that it knows what the correlations share. (In simulations its 95 % intervals
    hold the truth in 94 to 97 % of cases; Student's over ``by_subject`` in 82 to 90 %.)

    Parameters
    ----------
    subjects : array (n_subjects, n_samples, n_targets), or list
        A list holds one recording for each subject (matrices, paths, sources, stores, lists of runs), or one
        array (n_subjects, n_samples, n_targets) for each run.
    runs : sequence of int, optional
        Run lengths in rows, where a subject is a single matrix.
    standardise : bool, default True
        z-score each target in each run of each subject, so that none counts more for its units. False takes
        the responses as they are.
    combine : "concatenated" or "mean of runs"
        One correlation over all rows, or the mean of those of single runs.
    level : float, default 0.95
        Confidence of the interval.
    skip : tuple of two int
        Rows to leave out at the start and the end of each run.

    Returns
    -------
    IntersubjectCorrelation
        A subject whose target is constant or not finite is left out of that target alone.

    Raises
    ------
    ValueError
        Fewer than two subjects, subjects that differ in shape, or an unknown ``combine``.

    References
    ----------
    Hasson et al. 2004 (Science 303). Nastase, Gazzola, Hasson and Keysers 2019 (SCAN 14).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.standard_normal((300, 1))
    >>> found = leave_one_out_isc(shared + rng.standard_normal((20, 300, 1)))
    >>> found.values.round(2), bool(found.low[0] < np.sqrt(0.5 / (1 + 1 / 19)) < found.high[0])
    (array([0.7]), True)
    """
    series = as_series(subjects, "subjects", runs=runs, skip=skip)
    _check_choices(combine, level)
    by_subject = np.full((series.n_series, series.n_targets), np.nan)
    values, low, high = np.full((3, series.n_targets), np.nan)
    for columns, grams in subject_products(series, standardise, combine):
        each = mean_over([leave_one_out(gram) for gram in grams], axis=0)
        dropped = mean_over([leave_two_out(gram) for gram in grams], axis=0)
        by_subject[:, columns] = each.T
        values[columns] = mean_over(each, axis=-1)
        low[columns], high[columns] = jackknife_interval(values[columns], dropped, level)
    return IntersubjectCorrelation(
        values,
        low,
        high,
        level,
        "jackknife over subjects",
        LEAVE_ONE_OUT,
        n_averaged=1,
        combine=combine,
        by_subject=by_subject,
        details={"standardise": standardise},
        **_sizes(series),
    )


def split_half_isc(
    subjects: Any,
    runs: Sequence[int] | None = None,
    *,
    n_splits: int = 10,
    seed: int = 1234,
    standardise: bool = True,
    combine: RunCombine = "concatenated",
    level: float = 0.95,
    skip: tuple[int, int] = (0, 0),
) -> IntersubjectCorrelation:
    """Correlation of the means of two halves of the subjects, averaged over random ways to halve them.

    Target by target; :func:`~voxridge.science.intersubject_ridge.ridge_isc` predicts each target of one half
    from all of the other. The formula of Spearman and Brown takes it to the mean over any number of subjects
    (:meth:`IntersubjectCorrelation.ceiling`).

    Parameters
    ----------
    subjects : array (n_subjects, n_samples, n_targets), or list
        As in :func:`leave_one_out_isc`.
    runs : sequence of int, optional
        Run lengths in rows, where a subject is a single matrix.
    n_splits : int, default 10
        Ways to halve the subjects; all ways where there are no more. Of an odd number one is left out,
        another one each time.
    seed : int, default 1234
        Of the random halves.
    standardise : bool, default True
        z-score each target in each run of each subject.
    combine : "concatenated" or "mean of runs"
    level : float, default 0.95
        Confidence of the interval, a jackknife over subjects.
    skip : tuple of two int
        Rows to leave out at the start and the end of each run.

    Returns
    -------
    IntersubjectCorrelation
        NaN for targets that are constant or not finite in any subject.

    Raises
    ------
    ValueError
        As :func:`leave_one_out_isc`, or ``n_splits`` below 1.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.standard_normal((300, 1))
    >>> found = split_half_isc(shared + 2 * rng.standard_normal((20, 300, 1)))
    >>> found.values.round(2), found.ceiling(Conditions("none", ("run",), repeats=20)).values.round(2)
    (array([0.72]), array([0.91]))
    """
    series = as_series(subjects, "subjects", runs=runs, skip=skip)
    _check_choices(combine, level)
    if n_splits < 1:
        raise ValueError(f"n_splits={n_splits}: give 1 or more")
    weights = half_weights(series.n_series, n_splits, seed)
    by_split = np.full((len(weights), series.n_targets), np.nan)
    values, low, high = np.full((3, series.n_targets), np.nan)
    for columns, grams in subject_products(series, standardise, combine):
        pairs = [halves(gram, weights) for gram in grams]
        each = mean_over([whole for whole, _ in pairs], axis=0)
        dropped = mean_over([without for _, without in pairs], axis=0)
        by_split[:, columns] = each.T
        values[columns] = each.mean(axis=-1)
        low[columns], high[columns] = jackknife_interval(values[columns], dropped.mean(axis=-1), level)
    return IntersubjectCorrelation(
        values,
        low,
        high,
        level,
        "jackknife over subjects",
        SPLIT_HALF,
        n_averaged=series.n_series // 2,
        combine=combine,
        by_split=by_split,
        details={"standardise": standardise, "n_splits": len(weights), "seed": seed},
        **_sizes(series),
    )


def reliable_mask(isc: IntersubjectCorrelation | ArrayLike, percentile: float = 75.0) -> NDArray[np.bool_]:
    """Targets above a percentile of the inter-subject correlation.

    Parameters
    ----------
    isc : IntersubjectCorrelation or array_like of shape (n_targets,)
        NaN targets are not in the mask, nor in the percentile.
    percentile : float, default 75
        Bonnasse-Gahot and Pallier 2024 kept the quarter of the voxels above 75.

    Returns
    -------
    numpy.ndarray of bool (n_targets,)

    Raises
    ------
    ValueError
        If the percentile is outside 0 to 100, or no value is finite.

    Examples
    --------
    >>> reliable_mask([0.1, 0.2, 0.3, 0.4, float("nan")])
    array([False, False, False,  True, False])
    """
    values = isc.values if isinstance(isc, IntersubjectCorrelation) else np.asarray(isc, dtype=np.float64)
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile={percentile}: give a number from 0 to 100")
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError("isc has no finite value: a percentile needs at least one")
    return finite & (values > np.percentile(values[finite], percentile))


def _ceilings(values: Float64, low: Float64, high: Float64, *, factor: float) -> list[Float64]:
    """Roots of reliabilities by Spearman and Brown; NaN where halves do not correlate."""
    defined = values > 0
    ends = []
    for end in (values, low, high):
        with np.errstate(invalid="ignore"):
            reliability = np.where(end > 0, spearman_brown(np.maximum(end, 0.0), factor), 0.0)
        known = defined & np.isfinite(end)
        ends.append(np.where(known, np.sqrt(reliability), np.nan))
    return ends


# --- what is given


def _sizes(series: Series) -> dict[str, Any]:
    return {"n_subjects": series.n_series, "n_samples": series.n_rows, "n_runs": len(series.spans)}


def _check_choices(combine: str, level: float) -> None:
    if combine not in get_args(RunCombine):
        raise ValueError(f"combine={combine!r}: give 'concatenated' or 'mean of runs'")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a number between 0 and 1, such as 0.95")
