"""The ceiling that infinitely many subjects would give, extrapolated from subsets of those there are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge._warnings import SmallSampleWarning
from voxridge.science._redraws import draws, interval_quantiles, size_means
from voxridge.science.asymptotes import CURVES, CurveName, fit_asymptotes, is_flat, shape_of

if TYPE_CHECKING:
    from voxridge.science.ceilings import Ceiling
    from voxridge.science.conditions import Conditions

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Value = Literal["asymptote", "step"]
STEP = 0.0005  # of Schrimpf et al.: the curve has ended where one more subject adds less
_LAST_SIZE = 999
_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class AggregateCeiling:
    """One number for all targets: the median over each subject's targets, then over subjects.

    Attributes
    ----------
    value : float
    low, high : float
        Bootstrap interval over the resampled scores. It says how well the subjects at hand determine the
        number, not what other subjects would give.
    by_subject : mapping of subject to float
        Median over the targets of one subject, those with a defined ceiling.
    n_targets, n_undefined : int
        All targets, and those left out because no curve could be fitted.
    level : float
    """

    value: float
    low: float
    high: float
    by_subject: Mapping[Any, float]
    n_targets: int
    n_undefined: int
    level: float


@dataclass(frozen=True)
class ExtrapolatedCeiling:
    """Ceilings of all targets, with what they were extrapolated from.

    Attributes
    ----------
    values : ndarray (n_targets,) float64
        The ceiling: ``v0``, or the curve at ``endpoint`` when ``value`` is "step". NaN where undefined.
    low, high : ndarray (n_targets,) float64
        Percentile interval over the bootstraps.
    median : ndarray (n_targets,) float64
        Median over the bootstraps, the number that Schrimpf et al. report.
    v0, tau : ndarray (n_targets,) float64
        Asymptote and scale of the curve through the mean scores; tau is NaN where v0 is 0.
    endpoint : ndarray (n_targets,) float64
        The first number of subjects from which one more adds less than .0005 (at most 999).
    at_one, at_zero : ndarray of bool (n_targets,)
        The asymptote is at its bound: scores still rise in a straight line, or are not above 0.
    flat : ndarray of bool (n_targets,)
        The curve is at its limit from the smallest subset on: the scores do not rise with subjects.
    converged : ndarray of bool (n_targets,)
        Of the fit to the mean scores; False also where it is undefined.
    failures : ndarray of int (n_targets,)
        Bootstraps without a fitted curve.
    bootstraps : ndarray (n_bootstraps, n_targets) float32
        The value in every bootstrap; NaN where it failed. A row is the same resample for all targets.
    sizes : ndarray (n_sizes,) float64
        Subjects in a subset, the held-out one among them.
    means : ndarray (n_sizes, n_targets) float64
        Mean score at each size.
    curve : {"exponential", "reliability"}
    value : {"asymptote", "step"}
    level : float
    n_groups : int or None
        Groups of points that were drawn together; None: points were drawn one by one.
    """

    values: Float64
    low: Float64
    high: Float64
    median: Float64
    v0: Float64
    tau: Float64
    endpoint: Float64
    at_one: Bools
    at_zero: Bools
    flat: Bools
    converged: Bools
    failures: NDArray[np.int64]
    bootstraps: NDArray[np.float32]
    sizes: Float64
    means: Float64
    curve: CurveName
    value: Value
    level: float
    n_groups: int | None = None

    @property
    def n_undefined(self) -> int:
        """Targets without a ceiling."""
        return int(np.sum(~np.isfinite(self.values)))

    def predicted(self, x: ArrayLike) -> Float64:
        """The fitted curves at these numbers of subjects, (n_x, n_targets), for drawing.

        Parameters
        ----------
        x : array_like (n_x,)
            Subjects, the held-out one among them.
        """
        at = np.atleast_1d(np.asarray(x, dtype=np.float64))[:, None]
        tau = np.where(np.isfinite(self.tau), self.tau, 1.0)
        return np.asarray(self.v0 * shape_of(self.curve, at, tau))

    def aggregate(self, subject: ArrayLike | None = None) -> AggregateCeiling:
        """The median over the targets of each subject, and the median of these over subjects.

        The median is taken in every bootstrap too: targets of one bootstrap share its resample, so the
        interval does not shrink with the number of targets.

        Parameters
        ----------
        subject : array_like (n_targets,), optional
            Whose target each is. Default: all are of one subject, or of a group in one space.

        Returns
        -------
        AggregateCeiling

        Raises
        ------
        ValueError
            If ``subject`` does not name a subject for every target.
        """
        n_targets = self.values.size
        owner = np.zeros(n_targets, dtype=np.intp) if subject is None else np.asarray(subject)
        if owner.shape != (n_targets,):
            raise ValueError(
                f"subject has shape {owner.shape}, the ceiling {n_targets} targets: give one each"
            )
        names = np.unique(owner).tolist()
        table = np.vstack([self.values, self.bootstraps])
        medians = np.stack([_nan_quantiles(table[:, owner == name], [0.5], axis=1)[0] for name in names])
        over_subjects = _nan_quantiles(medians, [0.5], axis=0)[0]
        low, high = _nan_quantiles(over_subjects[1:], interval_quantiles(self.level, self.n_groups), axis=0)
        by_subject = {name: float(value) for name, value in zip(names, medians[:, 0], strict=True)}
        return AggregateCeiling(
            float(over_subjects[0]),
            float(low),
            float(high),
            by_subject,
            n_targets,
            self.n_undefined,
            self.level,
        )

    def ceiling(self, conditions: Conditions) -> Ceiling:
        """As a ceiling that scores can be divided by.

        Parameters
        ----------
        conditions : Conditions
            How the scores of the held-out subjects were made; those of
            :class:`voxridge.science.subsets.SubsetScores`.

        Returns
        -------
        Ceiling
            Metric "r". A ceiling of 0 divides nothing; a score above its ceiling stays above 1.
        """
        from voxridge.science.ceilings import Ceiling

        return Ceiling(
            values=self.values,
            metric="r",
            conditions=conditions,
            method=f"extrapolated over subjects ({self.curve}, {self.value})",
            low=self.low,
            high=self.high,
            level=self.level,
            details={
                "sizes": [float(size) for size in self.sizes],
                "n_bootstraps": int(self.bootstraps.shape[0]),
                "n_at_one": int(self.at_one.sum()),
                "n_at_zero": int(self.at_zero.sum()),
                "n_flat": int(self.flat.sum()),
                "n_failed_bootstraps": int(self.failures.sum()),
            },
        )


def extrapolate_ceiling(
    sizes: ArrayLike,
    scores: ArrayLike,
    *,
    n_bootstraps: int = 100,
    level: float = 0.95,
    value: Value = "asymptote",
    curve: CurveName = "exponential",
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> ExtrapolatedCeiling:
    """Fit how the score of a held-out subject rises with the number of others, and take the limit.

    .. math:: v(x) = v_0 (1 - e^{-x / \\tau_0}), \\qquad 0 \\le v_0 \\le 1, \\; \\tau_0 > 0

    by least squares on the mean score at each size, for every target and every bootstrap at once. This
    exponential is the published form; the score of a mean over subjects with independent noise rises as
    :math:`v_0 \\sqrt{(x - 1) / (x - 1 + \\tau_0)}` instead, far more slowly in the end, so with few subjects
    the exponential's limit is too low. ``curve="reliability"`` fits that form.

    Parameters
    ----------
    sizes : array_like of shape (n_points,)
        Subjects in the subset of each point, the held-out one among them; at least 2.
    scores : array_like of shape (n_points, n_targets)
        Score of the held-out subject from the pooled others; NaN where there is none. Float32 or float64.
    n_bootstraps : int
    level : float
    value : {"asymptote", "step"}
        "step" takes the curve where one more subject adds less than .0005 in place of its limit.
    curve : {"exponential", "reliability"}
    groups : array_like of shape (n_points,), optional
        Points that are drawn together in a bootstrap: best the fold, which all pools and subjects share. The
        interval is then widened for the number of groups (Hesterberg's expanded percentiles), and with few of
        them wants more bootstraps. Default, as published: points are drawn one by one within each size, as
        though they were independent. They are not, since they share folds and subjects, and in simulations
        with 10 subjects more than half of the 95 % intervals miss what they should hold.
    seed : int

    Returns
    -------
    ExtrapolatedCeiling

    Raises
    ------
    ValueError
        For shapes that do not match, sizes below 2 or of one kind only, fewer than one bootstrap, a level
        outside (0, 1), an unknown curve or value, or fewer than two groups.

    Warns
    -----
    SmallSampleWarning
        With two sizes only: the curve goes through both whatever they are.

    References
    ----------
    Schrimpf et al. 2021, "The neural architecture of language: Integrative modeling converges on predictive
    processing", PNAS 118(45).
    Hesterberg 2015, "What teachers should know about the bootstrap", The American Statistician 69(4).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.extrapolation import extrapolate_ceiling
    >>> rng = np.random.default_rng(0)
    >>> sizes = np.repeat(np.arange(2, 9), 20)
    >>> truth = 0.4 * (1 - np.exp(-sizes / 2.0))
    >>> found = extrapolate_ceiling(sizes, truth[:, None] + rng.normal(0, 0.05, (sizes.size, 3)))
    >>> bool(abs(found.v0 - 0.4).max() < 0.03), bool(np.all(found.low < found.high))
    (True, True)
    """
    x, points = _checked(sizes, scores)
    _check_options(n_bootstraps, level, value, curve)
    levels = np.unique(x)
    if levels.size == 2:
        warnings.warn(
            f"scores at {levels.size} sizes only ({levels[0]:g} and {levels[1]:g} subjects): the curve goes "
            "through both, so nothing checks its form",
            SmallSampleWarning,
            stacklevel=2,
        )
    drawn = draws(x, groups, n_bootstraps, np.random.default_rng(seed))
    n_groups = None if groups is None else np.unique(np.asarray(groups)).size
    ends = interval_quantiles(level, n_groups)
    rows = [np.flatnonzero(x == size) for size in levels]
    blocks = [
        _fit_block(levels, size_means(rows, drawn, points[:, columns]), value, curve, ends)
        for columns in _blocks(drawn.shape[0] * levels.size, points.shape[1])
    ]
    joined = {name: np.concatenate([block[name] for block in blocks], axis=-1) for name in blocks[0]}
    return ExtrapolatedCeiling(
        **joined, sizes=levels, curve=curve, value=value, level=level, n_groups=n_groups
    )


def _fit_block(
    levels: Float64, means: Float64, value: Value, curve: CurveName, ends: list[float]
) -> dict[str, NDArray[Any]]:
    """All that is known of one block of targets; means (n_sizes, 1 + n_bootstraps, n_targets), the first of
    all points."""
    shape = means.shape[1:]
    fit = fit_asymptotes(levels, means.reshape(levels.size, -1), curve=curve)
    v0, tau = fit.limit.reshape(shape), fit.tau.reshape(shape)
    scale = np.where(np.isfinite(tau), tau, 1.0)
    endpoint = _endpoint(curve, v0[0], scale[0])
    table = v0 if value == "asymptote" else v0 * shape_of(curve, endpoint, scale)
    low, middle, high = _nan_quantiles(table[1:], [ends[0], 0.5, ends[1]], axis=0)
    return {
        "values": table[0],
        "low": low,
        "high": high,
        "median": middle,
        "v0": v0[0],
        "tau": tau[0],
        "endpoint": np.where(np.isfinite(v0[0]), endpoint, np.nan),
        "at_one": v0[0] >= 1.0,
        "at_zero": v0[0] <= 0.0,
        "flat": np.isfinite(tau[0]) & is_flat(curve, levels, scale[0]),
        "converged": fit.converged.reshape(shape)[0],
        "failures": np.sum(~np.isfinite(v0[1:]), axis=0, dtype=np.int64),
        "bootstraps": table[1:].astype(np.float32),
        "means": means[:, 0],
    }


def _endpoint(curve: CurveName, v0: Float64, tau: Float64) -> Float64:
    """The first whole number of subjects from which one more adds less than STEP. Both curves rise ever more
    slowly, so it is found by halving."""
    first = 0.0 if curve == "exponential" else 1.0
    low, high = np.full(v0.shape, first - 1), np.full(v0.shape, float(_LAST_SIZE))
    while np.any(high - low > 1):
        middle = np.maximum(np.floor((low + high) / 2), first)
        rise = v0 * (shape_of(curve, middle + 1, tau) - shape_of(curve, middle, tau))
        between, over = high - low > 1, np.nan_to_num(rise) < STEP
        high, low = np.where(between & over, middle, high), np.where(between & ~over, middle, low)
    return high


def _nan_quantiles(table: Float64, q: list[float], *, axis: int) -> Float64:
    """Quantiles over the finite entries, NaN where there are none; the fast way where all are finite."""
    if np.isfinite(table).all() and table.size:
        return np.asarray(np.quantile(table, q, axis=axis))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a slice of NaN has no quantile, which NaN says
        return np.asarray(np.nanquantile(table, q, axis=axis))


def _checked(sizes: ArrayLike, scores: ArrayLike) -> tuple[Float64, NDArray[Any]]:
    x, points = np.asarray(sizes, dtype=np.float64), np.asarray(scores)
    if points.ndim == 1:
        points = points[:, None]
    if x.ndim != 1 or points.ndim != 2 or points.shape[0] != x.size:
        raise ValueError(
            f"sizes has shape {x.shape} and scores {np.shape(scores)}: give (n_points,) and "
            "(n_points, n_targets)"
        )
    if x.size == 0 or not np.isfinite(x).all() or x.min() < 2:
        raise ValueError("sizes must be at least 2 everywhere: a held-out subject and one to predict it from")
    if np.unique(x).size < 2:
        raise ValueError(f"all points have {x[0]:g} subjects: a curve needs at least two sizes of subset")
    return x, points


def _check_options(n_bootstraps: int, level: float, value: str, curve: str) -> None:
    if n_bootstraps < 1:
        raise ValueError(f"n_bootstraps={n_bootstraps}: give at least 1, such as 100")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a number between 0 and 1, such as 0.95")
    if value not in get_args(Value):
        raise ValueError(f"value={value!r}: give 'asymptote' or 'step'")
    if curve not in CURVES:
        raise ValueError(f"curve={curve!r}: give {' or '.join(map(repr, CURVES))}")


def _blocks(elements_per_target: int, n_targets: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // elements_per_target // 10)
    for start in range(0, n_targets, step):
        yield slice(start, min(start + step, n_targets))
