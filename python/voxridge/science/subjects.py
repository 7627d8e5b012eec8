"""Tests over subjects: the samples that a claim about people rests on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge._warnings import IndependenceWarning, SmallSampleWarning
from voxridge.science._flips import flips
from voxridge.science._terms import target_blocks
from voxridge.science.intervals import mean_interval
from voxridge.science.multiple import max_statistic, tail

Float64 = NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]
_FEW_SUBJECTS = 6
_MANY_SUBJECTS = 1000


@dataclass(frozen=True)
class SubjectTest:
    """A one-sample test over subjects; arrays have the shape of one subject's values.

    Attributes
    ----------
    mean, low, high : ndarray float64, shape of one subject's values
        Mean over subjects, and the two-sided Student t interval at ``level``; NaN ends below two subjects.
    effect_size : ndarray float64, shape of one subject's values
        Cohen's d of one sample, (mean - null) / standard deviation over subjects.
    t, p_values : ndarray float64, shape of one subject's values
        Student's t and its p-value, for values that are normal over subjects.
    p_flips : ndarray float64, shape of one subject's values
        By sign flips, for values that are symmetric over subjects: (b + 1) / (m + 1), never 0.
    p_family : ndarray float64, shape of one subject's values
        By the largest t over all values under the same flips: controls the chance of any false positive.
    n_subjects : ndarray of int, shape of one subject's values
        Subjects with a finite value.
    smallest_p : float
        No ``p_flips`` can be smaller than this.
    null : float
        The mean that is tested.
    alternative : str
        "two-sided", "greater" or "less".
    level : float
        Confidence of the interval.
    exact : bool
        Whether every pattern of signs was made, each once.
    """

    mean: Float64
    low: Float64
    high: Float64
    effect_size: Float64
    t: Float64
    p_values: Float64
    p_flips: Float64
    p_family: Float64
    n_subjects: NDArray[np.int64]
    smallest_p: float
    null: float
    alternative: str
    level: float
    exact: bool


def subject_test(
    subjects: ArrayLike,
    *,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> SubjectTest:
    """Test the mean over subjects: Student's t, sign flips, and the largest t over all values.

    .. math:: t = \\frac{\\bar x - \\mu_0}{s / \\sqrt n}

    A claim about people in general rests on how much people differ. Voxels of one brain share noise, vessels
    and smoothing; cross-validation folds share training data; of resamples there can be as many as one likes.
    None of these is a sample of people, so a test over them has a p-value that says nothing of new subjects:
    take a mean over voxels, folds or resamples for each subject first, and test those.

    Two conditions on the same subjects (two models, two hemispheres): give the difference of each subject.

    Parameters
    ----------
    subjects : array_like of shape (n_subjects,) or (n_subjects, ...)
        One value, or one array of values, for each subject. NaN: this subject has no such value.
    null : float, default 0
        The mean under the null hypothesis.
    alternative : {"two-sided", "greater", "less"}
        What the mean is beside ``null``.
    level : float, default 0.95
        Confidence of the interval.
    n_permutations : int, default 10,000
        Random patterns of signs; all :math:`2^n` are made instead where these are no more.
    seed : int
        Of the random patterns.

    Returns
    -------
    SubjectTest

    Raises
    ------
    ValueError
        For fewer than two subjects, infinite values, or unknown options.

    Warns
    -----
    SmallSampleWarning
        With fewer than six subjects no two-sided sign-flip p-value can be below 0.05.
    IndependenceWarning
        With more than 1000 "subjects": these look like voxels or resamples.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.subjects import subject_test
    >>> gain = np.array([0.021, 0.034, 0.012, 0.028, 0.019, 0.025, 0.031, 0.008])
    >>> test = subject_test(gain)
    >>> print(f"{test.mean:.3f} [{test.low:.3f}, {test.high:.3f}], p = {test.p_flips:.4f}")
    0.022 [0.015, 0.030], p = 0.0078
    """
    values = _checked(subjects, alternative, n_permutations)
    interval = mean_interval(values, level=level)
    flat = values.reshape(len(values), -1) - null
    signs, exact = flips(len(flat), n_permutations, np.random.default_rng(seed))
    observed = _towards(_flipped(flat, np.ones((1, len(flat))))[0], alternative)
    p_flips = np.full(observed.shape, np.nan)
    null_max = np.full(len(signs), -np.inf)
    for part in target_blocks(flat.shape[1], len(signs)):
        drawn = _towards(_flipped(flat[:, part], signs), alternative)
        known = np.isfinite(observed[part])
        p_flips[part] = np.where(known, tail(observed[part], drawn), np.nan)
        if known.any():
            null_max = np.maximum(null_max, drawn[:, known].max(axis=1))
    t, p_values = _student(flat, alternative)
    shape = values.shape[1:]
    spread = np.sqrt(np.maximum(np.isfinite(flat).sum(axis=0), 1))
    return SubjectTest(
        interval.mean,
        interval.low,
        interval.high,
        np.asarray((t / spread).reshape(shape)),
        t.reshape(shape),
        p_values.reshape(shape),
        p_flips.reshape(shape),
        max_statistic(observed, null_max).reshape(shape),
        np.isfinite(values).sum(axis=0),
        _smallest(len(values), len(signs), alternative, exact),
        null,
        alternative,
        level,
        exact,
    )


def _flipped(values: Float64, signs: Float64) -> Float64:
    """Student's t (m, n_values) with every pattern of signs; NaN below two subjects."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    filled = np.where(known, values, 0.0)
    size = np.abs(filled).max(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        filled /= size
        # The sum of squares is the same with all signs, so t is a function of the sum alone.
        share = signs @ filled / np.sqrt(count * np.einsum("ij,ij->j", filled, filled))
        t = np.sqrt(np.maximum(count - 1, 0)) * share / np.sqrt(np.maximum(1 - share**2, 1e-12))
    return np.asarray(np.where((count > 1) & (size > 0), t, np.nan))


def _towards(t: Float64, alternative: Alternative) -> Float64:
    return np.abs(t) if alternative == "two-sided" else -t if alternative == "less" else t


def _student(values: Float64, alternative: Alternative) -> tuple[Float64, Float64]:
    """t and its p-value; NaN where subjects do not differ at all."""
    from scipy.stats import t as student

    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / np.maximum(count, 1)
    deviations = np.where(np.isfinite(values), values - mean, 0.0)
    size = np.nanmax(np.where(np.isfinite(values), np.abs(values), 0.0), axis=0)
    variance = np.einsum("ij,ij->j", deviations, deviations) / np.maximum(count - 1, 1)
    varies = (count > 1) & (np.sqrt(variance) > 8 * np.finfo(np.float64).eps * size)
    t = np.full(mean.shape, np.nan)
    t[varies] = mean[varies] / np.sqrt(variance[varies] / count[varies])
    freedom = np.maximum(count - 1, 1)
    p = student.sf(_towards(t, alternative), freedom) * (2 if alternative == "two-sided" else 1)
    return t, np.asarray(p)


def _smallest(n_subjects: int, n_flips: int, alternative: str, exact: bool) -> float:
    """With all patterns, the one with every sign flipped is as extreme as the data in a two-sided test."""
    return (2 if exact and alternative == "two-sided" else 1) / (n_flips + 1)


def _checked(subjects: ArrayLike, alternative: str, n_permutations: int) -> Float64:
    values = np.asarray(subjects, dtype=np.float64)
    if values.ndim == 0 or len(values) < 2 or values.size == 0:
        raise ValueError(
            f"subjects has shape {values.shape}: give the values of at least 2 subjects, (n_subjects, ...)"
        )
    if np.isinf(values).any():
        raise ValueError("subjects holds infinite values: give finite ones, and NaN for what is missing")
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f'alternative={alternative!r}: give "two-sided", "greater" or "less"')
    if n_permutations < 19:
        raise ValueError(f"n_permutations={n_permutations}: no p-value could be below 0.05; give 19 or more")
    if len(values) > _MANY_SUBJECTS:
        warnings.warn(
            f"subjects has {len(values)} rows, shape {values.shape}: if these are voxels, time points or "
            "resamples they are no independent samples; give one value for each subject",
            IndependenceWarning,
            stacklevel=3,
        )
    if len(values) < _FEW_SUBJECTS:
        smallest = (2 if alternative == "two-sided" else 1) / 2 ** len(values)
        warnings.warn(
            f"{len(values)} subjects: by sign flips no p-value can be below {smallest:.2g}, and the t test "
            "rests on normal values; show every subject",
            SmallSampleWarning,
            stacklevel=3,
        )
    return values
