"""A score as a sum over rows, so that moving, swapping or repeating rows is arithmetic on sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge.science.blocks import Float64, run_slices

Statistic = Literal["r", "mean r", "R2"]
_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class Terms:
    """``score = offset + sum over rows of (left * right)``, for a block of targets.

    ``left`` is made of responses and ``right`` of predictions; rows that change places within their run
    change neither the scaling nor the offset. Where the score is not defined, ``left`` is NaN.
    """

    left: Float64
    right: Float64
    offset: Float64

    @property
    def score(self) -> Float64:
        return np.asarray(self.offset + np.einsum("ij,ij->j", self.left, self.right))


def score_terms(
    truth: NDArray[Any], prediction: NDArray[Any], lengths: Sequence[int], statistic: Statistic
) -> Terms:
    """Rows scaled for a statistic: r over all rows, the mean over runs of r within them, or R squared."""
    none = np.zeros(truth.shape[1])
    if statistic == "r":
        return Terms(_unit(truth), _unit(prediction), none)
    if statistic == "mean r":
        rows = list(run_slices(lengths))
        left = np.concatenate([_unit(truth[run]) for run in rows])
        return Terms(left / len(rows), np.concatenate([_unit(prediction[run]) for run in rows]), none)
    left, norm = _centred(truth)
    guess = np.array(prediction, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (guess - np.mean(truth, axis=0, dtype=np.float64)) / norm
        offset = -np.einsum("ij,ij->j", scaled, scaled)
        return Terms(left / norm, 2 * (scaled - scaled.mean(axis=0)), offset)


def row_shares(
    truth: NDArray[Any], prediction: NDArray[Any], lengths: Sequence[int], statistic: Statistic
) -> Float64:
    """What each row adds to a score, to first order: (n_samples, n_targets), rows that sum to the score.

    Its influence plus an even share of the score. For r of rows a, b of unit norm that is
    ``a b - r (a^2 + b^2) / 2 + r / n``, for R squared ``(SSE y^2 / SST - e^2) / SST + R2 / n``.
    """
    if statistic == "mean r":
        runs = list(run_slices(lengths))
        shares = [row_shares(truth[run], prediction[run], (), "r") for run in runs]
        return np.concatenate(shares) / len(runs)
    if statistic == "r":
        a, b = _unit(truth), _unit(prediction)
        r = np.einsum("ij,ij->j", a, b)
        return np.asarray(a * b - 0.5 * r * (a**2 + b**2) + r / len(a))
    y, norm = _centred(truth)
    with np.errstate(over="ignore", invalid="ignore"):
        errors = ((truth - np.asarray(prediction, dtype=np.float64)) / norm) ** 2
        lost = errors.sum(axis=0)
        return np.asarray(lost * (y / norm) ** 2 - errors + (1 - lost) / len(y))


def sampled_shares(
    truth: NDArray[Any], prediction: NDArray[Any], lengths: Sequence[int], statistic: Statistic
) -> Float64:
    """The same for some targets, evenly spaced, for what is a matter of all."""
    few = max(1, min(2000, _ELEMENTS // len(truth)))
    columns = np.unique(np.linspace(0, truth.shape[1] - 1, few).astype(int))
    return row_shares(truth[:, columns], prediction[:, columns], lengths, statistic)


def check_statistic(statistic: str, lengths: Sequence[int]) -> None:
    """Refuse unknown statistics, and correlations within runs of two rows.

    Raises
    ------
    ValueError
    """
    if statistic not in ("r", "mean r", "R2"):
        raise ValueError(f'statistic={statistic!r}: give "r", "mean r" or "R2"')
    if statistic == "mean r" and min(lengths) < 3:
        raise ValueError(f'statistic="mean r" needs 3 rows in every run, and one has {min(lengths)}')


def target_blocks(n_targets: int, rows: int) -> Iterator[slice]:
    """Blocks of targets such that ``rows`` float64 each take about 8 MiB."""
    step = max(1, _ELEMENTS // max(1, rows))
    for start in range(0, n_targets, step):
        yield slice(start, min(start + step, n_targets))


def _centred(values: NDArray[Any]) -> tuple[Float64, Float64]:
    """Minus the mean, and the norm of what is left; a norm of NaN where that is rounding or not finite."""
    centred = np.array(values, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.abs(centred).max(axis=0)
        centred -= centred.mean(axis=0)
        spread = np.abs(centred).max(axis=0)
        varies = np.isfinite(spread) & (spread > 8 * np.finfo(np.float64).eps * scale)
        # Through the largest deviation, so that squares of tiny or huge units stay finite.
        part = centred / np.where(varies, spread, np.nan)
        norm = spread * np.sqrt(np.einsum("ij,ij->j", part, part))
    return centred, np.asarray(np.where(varies, norm, np.nan))


def _unit(values: NDArray[Any]) -> Float64:
    centred, norm = _centred(values)
    with np.errstate(invalid="ignore"):
        centred /= norm
    return centred
