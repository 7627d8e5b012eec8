"""What a stimulus shown several times says of its responses: signal power, and scores relative to it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from voxridge._warnings import NoSignalWarning
from voxridge.science.conditions import Float64
from voxridge.science.moments import Series, as_series, block_moments, bytes_per_target
from voxridge.science.scores import correlation_score

TotalPower = Literal["variance", "unit"]


@dataclass(frozen=True)
class SignalPower:
    """Power of the responses that repeats share, and that which they do not.

    Attributes
    ----------
    total : ndarray (n_targets,) float64
        TP, of a single presentation.
    mean_power : ndarray (n_targets,) float64
        Variance over time of the mean over repeats.
    signal : ndarray (n_targets,) float64
        SP, unbiased: zero or negative where there is nothing to be seen. NaN where a repeat is constant or
        not finite.
    n_repeats, n_samples : int
    """

    total: Float64
    mean_power: Float64
    signal: Float64
    n_repeats: int
    n_samples: int

    @property
    def noise(self) -> Float64:
        """TP - SP, of a single presentation, (n_targets,)."""
        return self.total - self.signal

    @property
    def explainable(self) -> Float64:
        """Explainable variance, SP / TP: the share of a single presentation that a model could explain,
        (n_targets,)."""
        return self.signal / self.total

    @property
    def reliability(self) -> Float64:
        """SP / power of the mean: the share of the mean over repeats that a model could explain,
        (n_targets,)."""
        return self.signal / self.mean_power

    @property
    def n_undefined(self) -> int:
        """Targets without signal: SP <= 0 or NaN."""
        return int(np.count_nonzero(~(self.signal > 0)))


def signal_power(
    repeats: Any,
    *,
    total_power: TotalPower = "variance",
    runs: Sequence[int] | None = None,
    skip: tuple[int, int] = (0, 0),
) -> SignalPower:
    """Power of the signal in responses to a stimulus that was shown several times.

    With :math:`y` the mean over the N repeats and variances over time divided by (rows - 1),

    .. math:: SP = \\frac{N \\, \\mathrm{Var}(y) - TP}{N - 1}, \\qquad
              TP = \\frac 1 N \\sum_r \\mathrm{Var}(y_r),

    which is the mean covariance of two different repeats. Several runs are taken as one long recording: means
    are over all its rows.

    Parameters
    ----------
    repeats : array (n_repeats, n_samples, n_targets), or list
        A list holds one recording for each repeat (matrices, paths, sources, lists of runs), as
        ``ResponseStore.repeats(run)`` gives it, or one array (n_repeats, n_samples, n_targets) for each run.
        Read a block of targets at a time.
    total_power : "variance" or "unit"
        "variance" measures TP; "unit" takes it as 1, for repeats that were z-scored.
    runs : sequence of int, optional
        Run lengths in rows, where a repeat is a single matrix.
    skip : tuple of two int
        Rows to leave out at the start and the end of each run.

    Returns
    -------
    SignalPower

    Raises
    ------
    ValueError
        Fewer than two repeats or two rows, repeats that differ in shape, or ``total_power="unit"`` where
        responses are not z-scored.

    References
    ----------
    Sahani and Linden 2003 (NeurIPS 15). Schoppe, Harper, Willmore, King and Schnupp 2016 (Frontiers in
    Computational Neuroscience 10:10).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.standard_normal((2000, 1))
    >>> power = signal_power(signal + 2 * rng.standard_normal((10, 2000, 1)))  # signal 1, noise 4
    >>> power.signal.round(1), power.noise.round(1), power.explainable.round(1)
    (array([1.]), array([4.]), array([0.2]))
    """
    series = as_repeats(repeats, total_power, runs, skip)
    total, mean_power, signal = np.full((3, series.n_targets), np.nan)
    for columns in series.tiles(bytes_per_target(series, series.spans)):
        covariance = block_moments(series, series.spans, columns).total().covariance()
        total[columns], mean_power[columns], signal[columns] = powers(covariance, total_power)
    return SignalPower(total, mean_power, signal, series.n_series, series.n_rows)


def normalised_correlation(
    repeats: Any,
    y_pred: ArrayLike,
    *,
    total_power: TotalPower = "variance",
    runs: Sequence[int] | None = None,
) -> Float64:
    """Correlation of predictions with the mean over repeats, divided by its ceiling: CCnorm.

    .. math:: CC_{norm} = r(y, p) / CC_{max}, \\qquad CC_{max} = \\sqrt{SP / \\mathrm{Var}(y)}

    Parameters
    ----------
    repeats : array (n_repeats, n_samples, n_targets), or list
        As in :func:`signal_power`.
    y_pred : array_like of shape (n_samples, n_targets)
        Predictions of the same rows.
    total_power : "variance" or "unit"
    runs : sequence of int, optional
        Run lengths in rows.

    Returns
    -------
    numpy.ndarray of shape (n_targets,), float64
        Above 1 where the estimates put it there. NaN where the signal power is not positive.

    Raises
    ------
    ValueError
        As :func:`signal_power`, or predictions of another shape.

    Warns
    -----
    NoSignalWarning
        Some targets have no signal power.

    References
    ----------
    Schoppe, Harper, Willmore, King and Schnupp 2016 (Frontiers in Computational Neuroscience 10:10).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.standard_normal((500, 1))
    >>> repeats = signal + 2 * rng.standard_normal((10, 500, 1))
    >>> normalised_correlation(repeats, signal).round(2)
    array([1.01])
    """
    series = as_repeats(repeats, total_power, runs, (0, 0))
    prediction = np.asarray(y_pred)
    if prediction.shape != series.sources[0].shape:
        raise ValueError(
            f"y_pred has shape {prediction.shape} and each repeat has shape {series.sources[0].shape}: give "
            "predictions of the same rows and targets"
        )
    values = np.full(series.n_targets, np.nan)
    for columns in series.tiles(bytes_per_target(series, series.spans)):
        covariance = block_moments(series, series.spans, columns).total().covariance()
        _, mean_power, signal = powers(covariance, total_power)
        score = correlation_score(
            series.mean(range(series.n_series), columns=columns), prediction[:, columns]
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            values[columns] = np.where(signal > 0, score / np.sqrt(signal / mean_power), np.nan)
    warn_of_no_signal(values)
    return values


def as_repeats(
    data: Any, total_power: TotalPower, runs: Sequence[int] | None, skip: tuple[int, int]
) -> Series:
    """The repeats that were given, and a check of ``total_power``."""
    if total_power not in get_args(TotalPower):
        raise ValueError(f"total_power={total_power!r}: give 'variance', or 'unit' for z-scored repeats")
    return as_series(data, "repeats", runs=runs, skip=skip)


def powers(covariance: Float64, total_power: TotalPower) -> tuple[Float64, Float64, Float64]:
    """TP, power of the mean, and SP of covariances (n_targets, n_repeats, n_repeats); NaN for targets with a
    repeat that is constant or not finite."""
    n_repeats = covariance.shape[-1]
    variances = np.diagonal(covariance, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        valid = np.all(np.isfinite(variances) & (variances > 0), axis=-1)
        total = np.where(valid, variances.mean(axis=-1), np.nan)
        mean_power = np.where(valid, covariance.sum(axis=(-2, -1)) / n_repeats**2, np.nan)
    if total_power == "unit":
        total = _unit(total)
    return total, mean_power, (n_repeats * mean_power - total) / (n_repeats - 1)


def _unit(measured: Float64) -> Float64:
    typical = float(np.median(measured[np.isfinite(measured)])) if np.isfinite(measured).any() else 1.0
    if not 0.25 < typical < 4:  # rows that were trimmed after the z-scoring move it a little
        raise ValueError(
            f"total_power='unit' is for repeats that were z-scored, but their variance is {typical:.3g}: "
            "use 'variance'"
        )
    return np.where(np.isnan(measured), np.nan, 1.0)


def warn_of_no_signal(ceiling: Float64) -> None:
    """Say how many targets have no ceiling."""
    n_undefined = int(np.count_nonzero(np.isnan(ceiling)))
    if n_undefined:
        warnings.warn(
            f"{n_undefined} of {ceiling.size} targets show no signal over the repeats (signal power <= 0, or "
            "values that are constant or not finite): their ceiling and normalised scores are NaN",
            NoSignalWarning,
            stacklevel=3,
        )
