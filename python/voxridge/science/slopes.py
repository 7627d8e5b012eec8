"""A slope with its interval, and a gain in percent with what it is a percentage of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from voxridge.science._lines import Float64, half_width, two_sided_p

OVER = {
    "classical": "models, as if they were independent",
    "families": "families of models, cluster-robust",
    "within families": "models inside their families, one slope for all",
    "wild": "families of models, wild bootstrap",
    "subjects": "subjects",
}


@dataclass(frozen=True)
class SlopeInterval:
    """A slope with its interval, and what the interval is over.

    Attributes
    ----------
    method : str
        "classical", "families", "within families", "wild" or "subjects".
    slope, low, high, p, dof : ndarray () or (n_targets,)
        Slope, ends of the interval, two-sided p of a slope of zero, degrees of freedom; NaN where undefined.
    n_groups : int
        How many models, families or subjects there were.
    level : float
        Confidence.
    """

    method: str
    slope: Float64
    low: Float64
    high: Float64
    p: Float64
    dof: Float64
    n_groups: int
    level: float

    def sentence(self) -> str:
        """The numbers of a single slope in words."""
        over = f"{OVER[self.method]}, n = {self.n_groups}"
        numbers = f"{self.slope:.4g} ({100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g}"
        return f"{numbers}; p = {self.p:.2g}; over {over})"


@dataclass(frozen=True)
class Gain:
    """What a step in x adds, in percent of a score that is named.

    Attributes
    ----------
    per_decade, per_doubling : ndarray () or (n_targets,)
        Percent for ten times and for twice as much; NaN for a linear predictor.
    per_unit : ndarray () or (n_targets,)
        Percent for one unit of a linear predictor; NaN for a logarithmic one.
    low, high : ndarray () or (n_targets,)
        Interval of ``per_decade``, or of ``per_unit``, by Fieller's theorem; NaN where the baseline is not
        clearly different from zero.
    baseline : str
        What 100 % is, in words.
    value : ndarray () or (n_targets,)
        The fitted score that is 100 %.
    method : str
        Which interval's errors were used, "classical" or "families".
    """

    per_decade: Float64
    per_doubling: Float64
    per_unit: Float64
    low: Float64
    high: Float64
    baseline: str
    value: Float64
    method: str

    def sentence(self) -> str:
        """The gain of a single series with its baseline."""
        if np.isfinite(self.per_unit):
            return f"{self.per_unit:+.3g} % per unit ({self.low:.3g} to {self.high:.3g}), of {self.baseline}"
        decade = f"{self.per_decade:+.3g} % per decade ({self.low:.3g} to {self.high:.3g})"
        return f"{decade}, {self.per_doubling:+.3g} % per doubling, of {self.baseline}"


def fieller(
    slope: Float64, value: Float64, var_slope: Float64, covariance: Float64, dof: Float64, level: float
) -> tuple[Float64, Float64]:
    """Interval of slope / value by Fieller's theorem; covariance: (var value, that of value and slope)."""
    var_value, both = covariance
    t2 = half_width(1.0, dof, level) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = value**2 - t2 * var_value, slope * value - t2 * both
        root = np.sqrt(np.maximum(b**2 - a * (slope**2 - t2 * var_slope), 0.0))
        low, high = (b - root) / a, (b + root) / a
    bounded = a > 0
    return np.where(bounded, low, np.nan), np.where(bounded, high, np.nan)


def slope_interval(
    method: str, slope: Any, error: Any, dof: Any, n_groups: int, level: float, shape: tuple[int, ...]
) -> SlopeInterval:
    """A Student t interval as a :class:`SlopeInterval` of the given shape."""
    half = half_width(error, dof, level)
    p = two_sided_p(slope, error, dof)
    numbers = (slope, slope - half, slope + half, p, np.broadcast_to(dof, slope.shape))
    middle, low, high, p, free = (np.array(value).reshape(shape) for value in numbers)
    return SlopeInterval(method, middle, low, high, p, free, n_groups, level)
