"""Scaling laws: a line through the scores of several models against their size, and what it rests on.

The samples of such a fit are the models: 28 models are 28 samples, however many voxels each score is
the mean of. Models of one family share data, tokeniser and recipe, so the families are what is independent:
with families given, intervals over families stand beside the classical ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge._warnings import SmallSampleWarning
from voxridge.science._lines import (
    TRAINING_UNITS,
    Float64,
    check_level,
    check_models,
    complete_blocks,
    family_codes,
    fit_lines,
    gaussian_aic,
    half_width,
    is_downward,
    logged_by_default,
    named_value,
    two_sided_p,
)
from voxridge.science.scaling_families import cluster_covariance, within_families
from voxridge.science.slopes import Gain, SlopeInterval, fieller, slope_interval

_FEW_FAMILIES = 4
_PER_TARGET = ("slope", "intercept", "standard_error", "r", "p", "r2", "aic", "n_models", "residual_sd")
_MOMENTS = ("centre", "spread")


@dataclass(frozen=True)
class ScalingFit:
    """Least-squares line of scores on log10(x), or on x, for one series or for many targets.

    Attributes
    ----------
    predictor : str
        What x is.
    log : bool
        Whether log10(x) was taken.
    x : ndarray (n_models,)
    scores : ndarray (n_models,) or (n_models, n_targets)
        As given.
    names : tuple of str (n_models,)
    families : tuple of str (n_models,), or None
    level : float
        Confidence of all intervals.
    slope, intercept : ndarray () or (n_targets,)
        ``score = intercept + slope * log10(x)``: the slope is per decade; or per unit of x.
    standard_error, r, p, r2 : ndarray () or (n_targets,)
        Classical standard error of the slope, Pearson's r, its two-sided p, and R^2.
    aic : ndarray () or (n_targets,)
        Of the normal likelihood, three parameters with the variance.
    n_models : ndarray () or (n_targets,)
        Models with a score.
    residual_sd : ndarray () or (n_targets,)
        Root of RSS / (n - 2).
    centre, spread : ndarray () or (n_targets,)
        Mean of log10(x) or x, and its sum of squared deviations.
    intervals : dict of str to SlopeInterval
        "classical"; with at least two families "families" and "within families".
    """

    predictor: str
    log: bool
    x: Float64
    scores: NDArray[Any]
    names: tuple[str, ...]
    families: tuple[str, ...] | None
    level: float
    slope: Float64
    intercept: Float64
    standard_error: Float64
    r: Float64
    p: Float64
    r2: Float64
    aic: Float64
    n_models: Float64
    residual_sd: Float64
    centre: Float64
    spread: Float64
    intervals: dict[str, SlopeInterval]
    _covariance: Float64 = field(repr=False)

    @property
    def u(self) -> Float64:
        """log10(x), or x itself."""
        return np.log10(self.x) if self.log else self.x

    @property
    def points(self) -> str:
        """What a point is: "models", or "training sets"."""
        return "training sets" if self.predictor in TRAINING_UNITS else "models"

    @property
    def slope_ln(self) -> Float64:
        """Slope per unit of the natural logarithm, as some papers print it; NaN for a linear predictor."""
        return np.asarray(self.slope / np.log(10) if self.log else np.full_like(self.slope, np.nan))

    @property
    def fitted(self) -> Float64:
        """The line at each model, shaped as the scores."""
        return self.predict(self.x)

    @property
    def residuals(self) -> Float64:
        """Scores minus the line; NaN where there is no score."""
        return np.asarray(self.scores - self.fitted, dtype=np.float64)

    @property
    def interval(self) -> SlopeInterval:
        """Over families where they were given, or else the classical one."""
        return self.intervals.get("families", self.intervals["classical"])

    def predict(self, x: ArrayLike) -> Float64:
        """The line at x (n_points,): (n_points,) or (n_points, n_targets)."""
        return np.asarray(self.intercept + self._steps(x) * self.slope)

    def band(
        self, x: ArrayLike, *, kind: str = "mean", level: float | None = None
    ) -> tuple[Float64, Float64]:
        """Lower and upper edge of the classical band at x (n_points,), of ``level`` or that of the fit.

        ``kind`` "mean" is for the line, "prediction" for the score of one more model.

        Raises
        ------
        ValueError
            For another ``kind``.
        """
        if kind not in ("mean", "prediction"):
            raise ValueError(f'kind={kind!r}: give "mean" or "prediction"')
        with np.errstate(invalid="ignore", divide="ignore"):
            share = 1 / self.n_models + (self._steps(x) - self.centre) ** 2 / self.spread
        error = self.residual_sd * np.sqrt(share + (kind == "prediction"))
        half = half_width(error, self.n_models - 2, self.level if level is None else level)
        return self.predict(x) - half, self.predict(x) + half

    def _steps(self, x: ArrayLike) -> Float64:
        points = np.atleast_1d(np.asarray(x, dtype=np.float64))
        steps = np.log10(points) if self.log else points
        return steps[:, None] if self.slope.ndim else steps

    def gain(self, baseline: str | float = "smallest") -> Gain:
        """What ten times and twice as much of x add, in percent of the fitted score at ``baseline``.

        Published gains differ by their baseline: the same line gives less percent of the score of the largest
        model than of the smallest.

        Parameters
        ----------
        baseline : "smallest", "largest", "mean" or float
            The smallest or largest model (for perplexity: the one with the highest or lowest), the mean of
            the scores, or a value of x.

        Raises
        ------
        ValueError
            For another word, or an x that has no logarithm.
        """
        at, words = self._baseline(baseline)
        step = np.asarray((np.log10(at) if self.log else at) - self.centre if at is not None else 0.0)
        value = self.intercept + self.slope * (self.centre + step)
        var_level, both, var_slope = self._covariance
        covariance = np.stack([var_level + 2 * step * both + step**2 * var_slope, both + step * var_slope])
        low, high = fieller(self.slope, value, var_slope, covariance, self.interval.dof, self.level)
        with np.errstate(divide="ignore", invalid="ignore"):
            percent = np.asarray(100 * self.slope / value)
        none = np.full_like(percent, np.nan)
        decade, unit = (percent, none) if self.log else (none, percent)
        return Gain(
            decade, decade * np.log10(2), unit, 100 * low, 100 * high, words, value, self.interval.method
        )

    def _baseline(self, baseline: str | float) -> tuple[float | None, str]:
        if baseline == "mean":
            return None, "the mean score of the models"
        if baseline in ("smallest", "largest"):
            lowest = (baseline == "smallest") != is_downward(self.predictor)
            at = float(self.x.min() if lowest else self.x.max())
            model = self.names[int(np.argmin(np.abs(self.x - at)))]
            size = named_value(at, self.predictor)
            return at, f"the fitted score at {size if model == size else f'{model} ({size})'}"
        if isinstance(baseline, str) or not np.isfinite(baseline) or (self.log and baseline <= 0):
            raise ValueError(
                f'baseline={baseline!r}: give "smallest", "largest", "mean" or a value of {self.predictor}'
            )
        return float(baseline), f"the fitted score at {named_value(baseline, self.predictor)}"


def fit_scaling(
    x: ArrayLike,
    scores: ArrayLike,
    *,
    predictor: str = "parameters",
    log: bool | None = None,
    families: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    level: float = 0.95,
) -> ScalingFit:
    """Line of the scores of models on the logarithm of their size, by ordinary least squares.

    .. math:: s_m = a + b \\log_{10} x_m + e_m

    Three intervals of the slope may be had. The classical one takes the models as independent, which models
    of one family are not. "families" is cluster-robust (CR2 with Satterthwaite degrees of freedom), for new
    families. "within families" gives each family a level of its own, so that families that are better at
    every size cannot make the slope. :func:`~voxridge.science.scaling_families.wild_interval` adds a
    bootstrap, and :func:`subject_scaling` an interval over subjects. None treats voxels as samples.

    Parameters
    ----------
    x : array_like of shape (n_models,)
        Number of parameters, perplexity, benchmark score, number of stories, ...
    scores : array_like of shape (n_models,) or (n_models, n_targets)
        One score for each model, or one for each model and voxel or region. NaN: the model is left out of
        that target's line.
    predictor : str
        What x is; used in texts and labels, and for the default of ``log``.
    log : bool, optional
        Take log10(x). Default: true, but for names with "benchmark", "hellaswag" or "accuracy".
    families : sequence of str (n_models,), optional
    names : sequence of str (n_models,), optional
        Of the models.
    level : float, default 0.95

    Returns
    -------
    ScalingFit

    Raises
    ------
    TypeError
        For scores that are no real numbers.
    ValueError
        For shapes that do not match, fewer than three different models, or x that has no logarithm.

    Warns
    -----
    SmallSampleWarning
        Fewer than 4 families: intervals over families then rest on very little.

    References
    ----------
    Antonello, Vaidya & Huth 2023 (NeurIPS 36); Bonnasse-Gahot & Pallier 2024 (NeurIPS 37); Bell & McCaffrey
    2002 (Survey Methodology 28) for CR2.

    Examples
    --------
    >>> fit = fit_scaling([125e6, 1.3e9, 13e9, 30e9], [0.20, 0.24, 0.28, 0.29], names=["S", "M", "L", "XL"])
    >>> print(f"{fit.slope:.4f} per decade, r = {fit.r:.3f}")
    0.0384 per decade, r = 0.999
    >>> print(fit.gain("smallest").sentence())
    +19.1 % per decade (16.3 to 22.2), +5.76 % per doubling, of the fitted score at S (125M parameters)
    """
    check_level(level)
    logged = logged_by_default(predictor) if log is None else log
    values, given = check_models(x, scores, logged, predictor)
    labels = tuple(str(name) for name in names) if names is not None else _numbers(len(values))
    if len(labels) != len(values):
        raise ValueError(f"names has {len(labels)} entries for {len(values)} models: give one for each model")
    codes, kin = None, None
    if families is not None:
        kin, codes = family_codes(families, len(values))
        _warn_of_few(kin)
    u = np.log10(values) if logged else values
    columns = given.reshape(len(values), -1)
    found = _fit_columns(u, columns, codes)
    shape = given.shape[1:]
    numbers = {name: found[name].reshape(shape) for name in (*_PER_TARGET, *_MOMENTS)}
    intervals = _intervals(found, shape, level, None if kin is None else len(set(kin)))
    covariance = found["classical" if "families" not in intervals else "families"].reshape((3, *shape))
    return ScalingFit(
        predictor,
        logged,
        values,
        given,
        labels,
        kin,
        level,
        **numbers,
        intervals=intervals,
        _covariance=covariance,
    )


def _numbers(n: int) -> tuple[str, ...]:
    return tuple(f"model {i + 1}" for i in range(n))


def _warn_of_few(families: tuple[str, ...]) -> None:
    count = len(set(families))
    if count < _FEW_FAMILIES:
        warnings.warn(
            f"{count} famil{'y' if count == 1 else 'ies'} of models: intervals over families rest on very "
            f"little below {_FEW_FAMILIES}; add families, or state the slope for these only",
            SmallSampleWarning,
            stacklevel=3,
        )


def _fit_columns(u: Float64, scores: NDArray[Any], codes: NDArray[np.intp] | None) -> dict[str, Float64]:
    """All numbers of every column (n_targets,); NaN where a column has fewer than 3 different models."""
    n_targets = scores.shape[1]
    names = (*_PER_TARGET, *_MOMENTS, "families_dof", "within", "within_error", "within_dof")
    out = {name: np.full(n_targets, np.nan) for name in names}
    out |= {name: np.full((3, n_targets), np.nan) for name in ("classical", "families")}
    for rows, columns in complete_blocks(scores):
        n = int(rows.sum())
        out["n_models"][columns] = n
        if n < 3 or np.ptp(u[rows]) == 0:
            continue
        block = scores[rows][:, columns].astype(np.float64)
        for name, value in _fit_block(u[rows], block, None if codes is None else codes[rows]).items():
            out[name][..., columns] = value
    return out


def _fit_block(u: Float64, scores: Float64, codes: NDArray[np.intp] | None) -> dict[str, Any]:
    n, lines = len(u), fit_lines(u, scores)
    variance = lines.rss / (n - 2)
    error = np.sqrt(variance / lines.spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(lines.tss > 0, 1 - lines.rss / lines.tss, np.nan)
    varies = np.isfinite(r2)
    found: dict[str, Any] = {
        "slope": np.where(varies, lines.slope, 0.0),
        "intercept": lines.level - np.where(varies, lines.slope, 0.0) * lines.centre,
        "standard_error": error,
        "r": np.sign(lines.slope) * np.sqrt(np.clip(r2, 0.0, 1.0)),
        "p": np.where(varies, two_sided_p(lines.slope, error, n - 2), np.nan),
        "r2": r2,
        "aic": np.where(varies, gaussian_aic(lines.rss, n, 3), np.nan),
        "residual_sd": np.sqrt(variance),
        "centre": lines.centre,
        "spread": lines.spread,
        "classical": np.stack([variance / n, np.zeros_like(variance), variance / lines.spread]),
    }
    if codes is not None and len(np.unique(codes)) > 1:
        found["families"], found["families_dof"] = cluster_covariance(lines, codes)
        found["within"], found["within_error"], found["within_dof"] = within_families(u, scores, codes)
    return found


def _intervals(
    found: Mapping[str, Float64], shape: tuple[int, ...], level: float, n_families: int | None
) -> dict[str, SlopeInterval]:
    n = found["n_models"]
    slope = found["slope"]
    rows = {"classical": (slope, found["standard_error"], n - 2)}
    if n_families is not None and n_families > 1:
        rows["families"] = slope, np.sqrt(found["families"][2]), found["families_dof"]
        rows["within families"] = found["within"], found["within_error"], found["within_dof"]
    intervals = {}
    for method, (middle, error, dof) in rows.items():
        count = int(np.nanmax(n, initial=0)) if method != "families" else int(n_families or 0)
        intervals[method] = slope_interval(method, middle, error, dof, count, level, shape)
    return intervals
