"""The ceiling of a model's correlation with the mean over repeats, and its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from math import comb
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science.ceilings import Ceiling
from voxridge.science.conditions import Conditions, Float64
from voxridge.science.moments import Moments, Series, Span, block_moments, bytes_per_target, time_blocks
from voxridge.science.repeats import TotalPower, as_repeats, powers, warn_of_no_signal

Method = Literal["signal power", "split-half"]
Resampled = Literal["blocks", "repeats"]
# Of covariances (n_targets, n, n): the reliability of a mean over as many repeats as were given at first.
_Reliability = Callable[[Float64], Float64]


def spearman_brown(correlation: ArrayLike, factor: float) -> Float64:
    """Reliability of measurements that are ``factor`` times as long, from the correlation of two of equal
    length.

    .. math:: \\rho_k = \\frac{k r}{1 + (k - 1) r}

    Parameters
    ----------
    correlation : array_like of any shape
    factor : float
        2 for the whole from the correlation of its halves.

    Returns
    -------
    numpy.ndarray
        Of the same shape. NaN where the correlation is so negative that there is no such reliability.

    Raises
    ------
    ValueError
        If ``factor`` is not positive.

    References
    ----------
    Spearman 1910, Brown 1910 (British Journal of Psychology 3).

    Examples
    --------
    >>> float(spearman_brown(0.5, 2).round(3))
    0.667
    """
    if not factor > 0:
        raise ValueError(f"factor={factor}: give a positive number, such as 2")
    r = np.asarray(correlation, dtype=np.float64)
    below = 1 + (factor - 1) * r
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(below > 0, factor * r / below, np.nan))


def repeat_ceiling(
    repeats: Any,
    conditions: Conditions,
    *,
    method: Method = "signal power",
    total_power: TotalPower = "variance",
    interval: Resampled | None = "blocks",
    block: int = 20,
    level: float = 0.95,
    floor: float | None = None,
    n_splits: int = 100,
    seed: int = 0,
    runs: Sequence[int] | None = None,
    skip: tuple[int, int] = (0, 0),
) -> Ceiling:
    """Ceiling of a model's correlation with the mean over the repeats of a stimulus: CCmax.

    With :math:`\\rho` the reliability of the mean over all N repeats,

    .. math:: CC_{max} = \\sqrt \\rho, \\qquad
              \\rho = \\frac{SP}{\\mathrm{Var}(y)} = \\frac{1}{1 + (TP / SP - 1) / N}

    where method is "signal power" (see :func:`~voxridge.science.repeats.signal_power`), or :math:`\\rho` is
    the correlation of two halves of the repeats, averaged over ways to halve them and brought to N repeats by
    the formula of Spearman and Brown, where it is "split-half". Several runs are one long recording, so the
    scores must be of concatenated runs; where runs are scored apart, make a ceiling of each.

    Parameters
    ----------
    repeats : array (n_repeats, n_samples, n_targets), or list
        The repeats whose mean was scored, in any form that ``signal_power`` takes, each trimmed and
        standardised as it was before they were averaged.
    conditions : Conditions
        Of the scores: ``repeats`` is N, and ``runs`` names the runs.
    method : "signal power" or "split-half"
        The formula of Spearman and Brown is for repeats with equally much noise. "split-half" is too high
        where they differ (0.69 for 0.66 with standard deviations of 0.5, 1, 2 and 4); "signal power" is not.
    total_power : "variance" or "unit"
        For "signal power": "variance" measures TP; "unit" takes 1, for z-scored repeats.
    interval : "blocks", "repeats" or None
        What the jackknife behind the interval leaves out in turn: blocks of time (what another stretch of
        the stimulus would give) or repeats (what other presentations would). It is symmetric in
        :math:`\\log(1 - \\rho)`.
    block : int, default 20
        Rows in a block of time, longer than the memory of the responses (20 TRs of 2 s: 40 s).
    level : float, default 0.95
        Confidence of the interval.
    floor : float, optional
        Scores are divided by no less than this (see :meth:`~voxridge.science.ceilings.Ceiling.with_floor`).
    n_splits : int, default 100
        For "split-half": ways to halve the repeats, drawn at random where there are more. An odd one is left
        out, another one each time.
    seed : int
        Of that draw.
    runs : sequence of int, optional
        Run lengths in rows, where a repeat is a single matrix.
    skip : tuple of two int
        Rows to leave out at the start and the end of each run, of those that are given.

    Returns
    -------
    Ceiling
        Metric "r"; :meth:`~voxridge.science.ceilings.Ceiling.as_metric` squares it. NaN where
        :math:`\\rho \\le 0`.

    Raises
    ------
    ValueError
        As ``signal_power``; conditions that do not describe these repeats; a level, block, method or interval
        that does not exist; fewer than three blocks or repeats for the jackknife.

    Warns
    -----
    NoSignalWarning
        Some targets have no ceiling.

    References
    ----------
    Schoppe, Harper, Willmore, King and Schnupp 2016 (Frontiers in Computational Neuroscience 10:10). Hsu,
    Borst and Theunissen 2004 (Network 15).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.standard_normal((400, 1))
    >>> repeats = signal + 2 * rng.standard_normal((10, 400, 1))
    >>> ceiling = repeat_ceiling(repeats, Conditions("held-out runs", ("story",), repeats=10))
    >>> ceiling.values.round(2), bool(ceiling.low[0] < np.sqrt(1 / (1 + 4 / 10)) < ceiling.high[0])
    (array([0.84]), True)
    """
    series = as_repeats(repeats, total_power, runs, skip)
    _check_choices(method, interval, level)
    made = describe(conditions, series)
    find = _reliability(method, total_power, series.n_series, n_splits, seed)
    blocks = _blocks(series, interval, block)
    details: dict[str, Any] = {"n_splits": n_splits, "seed": seed}
    if method == "signal power":
        details = {"total_power": total_power}
    if interval is not None:
        what = f"{len(blocks)} blocks of time" if interval == "blocks" else f"{series.n_series} repeats"
        details["interval"] = f"jackknife over {what}"
    copies = 4 if method == "signal power" else 4 + 3 * n_splits // series.n_series
    tiles = series.tiles(bytes_per_target(series, blocks, copies))
    parts = [_tile(block_moments(series, blocks, columns), find, interval, level) for columns in tiles]
    values, low, high = np.concatenate(parts, axis=1)
    warn_of_no_signal(values)
    return Ceiling(
        values,
        "r",
        made,
        f"{method} of {series.n_series} repeats",
        low=None if interval is None else low,
        high=None if interval is None else high,
        level=None if interval is None else level,
        floor=floor,
        details=details,
    )


def _tile(moments: Moments, find: _Reliability, interval: Resampled | None, level: float) -> Float64:
    """Ceiling and ends of its interval of some targets, (3, n_targets); NaN where rho is not positive."""
    covariance = moments.total().covariance()
    rho = find(covariance)
    half = np.full(rho.shape, np.nan)
    if interval is not None:
        left_out = _without_blocks(moments) if interval == "blocks" else _without_repeats(covariance)
        half = _half_width(left_out, find, level)
    with np.errstate(invalid="ignore"):
        return np.where(rho > 0, np.stack([np.sqrt(rho), *_ends(rho, half)]), np.nan)


# --- reliability


def _reliability(
    method: Method, total_power: TotalPower, n_repeats: int, n_splits: int, seed: int
) -> _Reliability:
    if method == "signal power":
        return partial(_from_power, n_repeats=n_repeats, total_power=total_power)
    halves = {n: half_weights(n, n_splits, seed) for n in (n_repeats, n_repeats - 1) if n >= 2}
    return partial(_from_halves, n_repeats=n_repeats, halves=halves)


def _from_power(covariance: Float64, n_repeats: int, total_power: TotalPower) -> Float64:
    total, _, signal = powers(covariance, total_power)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(signal / (signal + (total - signal) / n_repeats))


def _from_halves(covariance: Float64, n_repeats: int, halves: dict[int, NDArray[Any]]) -> Float64:
    n_given = covariance.shape[-1]
    variances = np.diagonal(covariance, axis1=-2, axis2=-1)
    correlation = split_correlations(covariance, halves[n_given]).mean(axis=-1)
    correlation[~np.all(variances > 0, axis=-1)] = np.nan
    return spearman_brown(correlation, n_repeats / (n_given // 2))


def half_weights(n: int, n_splits: int, seed: int) -> NDArray[np.float64]:
    """(n_splits, 2, n) of 0 and 1: the members of two halves of equal size, of an odd number all but one.

    All ways to split are taken where there are no more than ``n_splits``, and else that many at random.
    """
    half = n // 2
    n_ways = comb(n, half) * comb(n - half, half) // 2
    if n_ways <= n_splits:
        pairs = [
            (first, second)
            for first in combinations(range(n), half)
            for second in combinations(sorted(set(range(n)) - set(first)), half)
            if first < second
        ]
    else:
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(n) for _ in range(n_splits)]
        pairs = [(tuple(order[:half]), tuple(order[half : 2 * half])) for order in orders]
    weights = np.zeros((len(pairs), 2, n))
    for number, (first, second) in enumerate(pairs):
        weights[number, 0, list(first)] = 1
        weights[number, 1, list(second)] = 1
    return weights


def split_correlations(covariance: Float64, weights: Float64) -> Float64:
    """Correlation of the means of two halves, (n_targets, n_splits), for ``weights`` (n_splits, 2, n)."""
    first, second = weights[:, 0], weights[:, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        of_first = covariance @ first.T
        across = np.einsum("vns,sn->vs", of_first, second)
        own = np.einsum("vns,sn->vs", of_first, first)
        other = np.einsum("vns,sn->vs", covariance @ second.T, second)
        return np.asarray(across / np.sqrt(own * other))


# --- the interval


def _without_blocks(moments: Moments) -> Iterable[Float64]:
    return (left.covariance() for left in moments.without_each())


def _without_repeats(covariance: Float64) -> Iterable[Float64]:
    for out in range(covariance.shape[-1]):
        kept = np.delete(np.arange(covariance.shape[-1]), out)
        yield covariance[:, kept[:, None], kept]


def _half_width(left_out: Iterable[Float64], find: _Reliability, level: float) -> Float64:
    """Of the interval of log(1 - reliability), (n_targets,): Student's quantile of jackknife errors."""
    from scipy.stats import t as student

    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.stack([np.log1p(-find(covariance)) for covariance in left_out])
        error = np.sqrt((len(logs) - 1) * logs.var(axis=0))
    return np.asarray(student.ppf(0.5 + level / 2, len(logs) - 1) * error)


def _ends(rho: Float64, half: Float64) -> tuple[Float64, Float64]:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        log = np.log1p(-rho)
        low, high = (np.sqrt(np.maximum(-np.expm1(log + sign * half), 0.0)) for sign in (1, -1))
    return np.asarray(low), np.asarray(high)


# --- what is given


def _check_choices(method: str, interval: str | None, level: float) -> None:
    for name, given, known in (("method", method, Method), ("interval", interval, Resampled)):
        if given not in get_args(known) and not (name == "interval" and given is None):
            raise ValueError(f"{name}={given!r}: give one of {', '.join(map(repr, get_args(known)))}")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a number between 0 and 1, such as 0.95")


def _blocks(series: Series, interval: Resampled | None, block: int) -> list[Span]:
    if interval == "repeats" and series.n_series < 3:
        raise ValueError(f"{series.n_series} repeats cannot be left out in turn: use interval='blocks'")
    if interval != "blocks":
        return list(series.spans)
    if block < 1:
        raise ValueError(f"block={block}: give the rows in a block of time, such as 20")
    blocks = time_blocks(series.spans, block)
    if len(blocks) < 3:
        raise ValueError(
            f"block={block} makes {len(blocks)} block(s) of {series.n_rows} rows: give fewer rows a block, "
            "or interval='repeats'"
        )
    return blocks


def describe(conditions: Conditions, series: Series) -> Conditions:
    """The conditions with the number of rows; an error where they are not about these recordings."""
    wrong = []
    if conditions.repeats != series.n_series:
        wrong.append(f"repeats={conditions.repeats}, and {series.n_series} are given")
    wrong += row_differences(conditions, series)
    if wrong:
        raise ValueError(f"conditions do not describe these repeats: {'; '.join(wrong)}")
    return replace(conditions, n_samples=series.n_rows)


def row_differences(conditions: Conditions, series: Series) -> list[str]:
    """What the conditions say otherwise of the rows than the recordings do."""
    wrong = []
    if len(conditions.runs) != len(series.spans):
        wrong.append(
            f"runs names {len(conditions.runs)} and there are {len(series.spans)} (runs= takes their lengths)"
        )
    if conditions.n_samples not in (None, series.n_rows):
        wrong.append(f"n_samples={conditions.n_samples}, and {series.n_rows} are given")
    if conditions.combine != "concatenated" and len(series.spans) > 1:
        wrong.append(
            f"combine={conditions.combine!r}, and runs are concatenated here: make a ceiling of each"
        )
    return wrong
