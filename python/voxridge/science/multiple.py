"""Many targets at once: false discovery rate, and the chance of any false positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Discoveries:
    """Targets that pass at a false discovery rate.

    Attributes
    ----------
    q_values : ndarray float64, shaped like the p-values
        The lowest rate at which each target is detected (adjusted p-values); NaN where the p-value is.
    detected : ndarray of bool, of the same shape
        ``q_values <= rate``.
    rate : float
        The rate that is controlled.
    method : str
        "bh" or "by".
    """

    q_values: Float64
    detected: NDArray[np.bool_]
    rate: float
    method: str


def fdr(p_values: ArrayLike, rate: float = 0.05, *, method: Literal["bh", "by"] = "bh") -> Discoveries:
    """Control the expected share of false ones among the detected targets.

    Of m finite p-values in ascending order, the adjusted ones are

    .. math:: q_{(i)} = \\min_{j \\ge i} \\min\\left(1, \\frac{c\\, m}{j} p_{(j)}\\right)

    with c = 1 for Benjamini and Hochberg (independent or positively correlated targets, as brain maps are),
    and :math:`c = \\sum_{k=1}^m 1/k` for Benjamini and Yekutieli (any dependence).

    Parameters
    ----------
    p_values : array_like of any shape
        NaN are left out of the count and never detected.
    rate : float, default 0.05
        Between 0 and 1.
    method : {"bh", "by"}

    Returns
    -------
    Discoveries

    Raises
    ------
    ValueError
        For p-values outside 0 to 1, a rate outside 0 to 1, or an unknown method.

    References
    ----------
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. J. R. Stat. Soc. B
    57, 289-300.
    Benjamini, Y. and Yekutieli, D. (2001). The control of the false discovery rate in multiple testing under
    dependency. Ann. Stat. 29, 1165-1188.

    Examples
    --------
    >>> from voxridge.science.multiple import fdr
    >>> found = fdr([0.001, 0.02, 0.5, float("nan")])
    >>> found.q_values
    array([0.003, 0.03 , 0.5  ,   nan])
    >>> found.detected
    array([ True,  True, False, False])
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p_values, dtype=np.float64)
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate}: give a number between 0 and 1, such as 0.05")
    if method not in ("bh", "by"):
        raise ValueError(f'method={method!r}: give "bh" or "by"')
    known = ~np.isnan(values)
    if np.any((values[known] < 0) | (values[known] > 1)):
        raise ValueError(f"p_values reach from {np.nanmin(values)} to {np.nanmax(values)}: give 0 to 1")
    adjusted = np.full(values.shape, np.nan)
    if known.any():
        adjusted[known] = false_discovery_control(values[known], method=method)
    with np.errstate(invalid="ignore"):
        return Discoveries(adjusted, adjusted <= rate, rate, method)


def max_statistic(observed: ArrayLike, null: ArrayLike, *, step_down: bool = False) -> Float64:
    """p-values that control the chance of any false positive among all targets, by the largest statistic.

    .. math:: p_t = \\frac{1 + \\#\\{m : \\max_u s^{(m)}_u \\ge s_t\\}}{1 + M}

    Targets may depend on each other in any way: the null must come from permutations that move all of them
    together. Step-down (Westfall and Young) goes through the targets from the largest statistic on and takes
    each maximum over those that are left only; it finds more, never less.

    Parameters
    ----------
    observed : array_like of shape (n_targets,)
        Statistics, large for an effect; magnitudes for a two-sided test. NaN give NaN.
    null : array_like of shape (n_permutations,), or (n_permutations, n_targets)
        The largest statistic of every permutation; or all statistics of every permutation.
    step_down : bool
        Needs all statistics of every permutation.

    Returns
    -------
    numpy.ndarray of shape (n_targets,), float64

    Raises
    ------
    ValueError
        For shapes that do not match, step-down without all statistics, or an empty null.

    References
    ----------
    Nichols, T. E. and Holmes, A. P. (2002). Nonparametric permutation tests for functional neuroimaging.
    Hum. Brain Mapp. 15, 1-25, doi:10.1002/hbm.1058.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.multiple import max_statistic
    >>> null = np.random.default_rng(0).standard_normal((999, 50)).max(axis=1)
    >>> max_statistic([5.0, 1.0], null).round(3)
    array([0.001, 1.   ])
    """
    scores, draws = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    _check_null(scores, draws, step_down)
    valid = np.flatnonzero(np.isfinite(scores))
    p_values = np.full(scores.shape, np.nan)
    if len(valid) == 0:
        return p_values
    if draws.ndim == 1:
        p_values[valid] = _exceeded(scores[valid], draws)
        return p_values
    draws = draws[:, valid]
    if not step_down:
        p_values[valid] = _exceeded(scores[valid], np.fmax.reduce(draws, axis=1))
        return p_values
    order = np.argsort(-scores[valid], kind="stable")
    left = np.fmax.accumulate(draws[:, order[::-1]], axis=1)[:, ::-1]
    single = [_exceeded(scores[valid[k : k + 1]], left[:, i])[0] for i, k in enumerate(order)]
    p_values[valid[order]] = np.maximum.accumulate(single)
    return p_values


def tail(observed: Float64, null: Float64) -> Float64:
    """:math:`(b + 1) / (m + 1)` over the first axis; ties count, to rounding."""
    slack = 1e-12 * np.maximum(1.0, np.abs(observed))
    return np.asarray((1 + np.sum(null >= observed - slack, axis=0)) / (1 + len(null)))


def _exceeded(scores: Float64, maxima: Float64) -> Float64:
    ordered = np.sort(maxima[np.isfinite(maxima)])
    slack = 1e-12 * np.maximum(1.0, np.abs(scores))  # ties count, to rounding
    above = len(ordered) - np.searchsorted(ordered, scores - slack, side="left")
    return np.asarray((1 + above) / (1 + len(ordered)))


def _check_null(scores: Float64, draws: Float64, step_down: bool) -> None:
    if scores.ndim != 1:
        raise ValueError(f"observed has shape {scores.shape}: give (n_targets,)")
    if draws.ndim not in (1, 2) or len(draws) == 0 or (draws.ndim == 2 and draws.shape[1] != len(scores)):
        raise ValueError(
            f"null has shape {draws.shape} and observed {scores.shape}: give (n_permutations,) maxima or "
            "(n_permutations, n_targets)"
        )
    if step_down and draws.ndim == 1:
        raise ValueError(f"step_down needs null of shape (n_permutations, n_targets), not {draws.shape}")
