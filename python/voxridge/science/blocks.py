"""Blocks of rows for tests and intervals on autocorrelated responses: how long they must be, and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science import scores

Float64 = NDArray[np.float64]
_SAMPLED_TARGETS = 2000
_SAMPLED_VALUES = 1 << 21
_LAGS_FOR_NOISE = 20


def block_length(
    y_true: ArrayLike,
    y_pred: ArrayLike | None = None,
    runs: Sequence[int] | None = None,
    *,
    longest_delay: int = 4,
    tolerance: float = 0.05,
    purpose: Literal["permutation", "bootstrap"] = "permutation",
) -> int:
    """Rows per block that the autocorrelation of the data asks for.

    The sum of products of two independent series has a variance proportional to
    :math:`g_\\infty = 1 + 2 \\sum_{k \\ge 1} c_k` with :math:`c_k = \\rho^y_k \\rho^p_k`, of which
    permuting blocks of L rows keeps only :math:`g_L = 1 + 2 \\sum_{k < L} (1 - k/L)\\, c_k`.

    For a permutation the length is the smallest L with
    :math:`g_L \\ge (1 - \\text{tolerance})\\, g_\\infty`. For a bootstrap, where blocks that are too long
    leave too few, it is that of least mean squared error for circular blocks,
    :math:`(\\tfrac32 (G/g_\\infty)^2 n)^{1/3}` with :math:`G = 2\\sum k\\, c_k`. The :math:`c_k` are averaged
    over targets, taken within runs, and cut off by a flat-top window where they vanish in the noise.

    Parameters
    ----------
    y_true : array_like of shape (n_samples, n_targets) or (n_samples,)
        Responses; or the series itself, where ``y_pred`` is not given. Of many targets, at most 2000
        evenly spaced ones are looked at; targets that are constant or not finite are left out.
    y_pred : array_like of the same shape, optional
        Predictions.
    runs : sequence of int, optional
        Run lengths, in the order of the rows. Default: one run.
    longest_delay : int, default 4
        Of the model, in rows. No block is shorter.
    tolerance : float, default 0.05
        Share of the variance that a permutation may lose.
    purpose : {"permutation", "bootstrap"}

    Returns
    -------
    int
        Rows, at most the length of the longest run.

    Raises
    ------
    TypeError
        For complex or non-numeric input.
    ValueError
        For shapes or runs that do not match, a tolerance outside 0 to 1, or when no target varies.

    References
    ----------
    Politis, D. N. and White, H. (2004). Automatic block-length selection for the dependent bootstrap.
    Econometric Reviews 23, 53-70, doi:10.1081/ETC-120028836, with the correction by Patton, Politis and White
    (2009), doi:10.1080/07474930802459016.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.blocks import block_length
    >>> noise = np.random.default_rng(0).standard_normal((600, 50))
    >>> block_length(noise, longest_delay=4)
    4
    >>> block_length(np.cumsum(noise, axis=0), runs=[300, 300]) > 20
    True
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance={tolerance}: give a number between 0 and 1, such as 0.05")
    if purpose not in ("permutation", "bootstrap"):
        raise ValueError(f'purpose={purpose!r}: give "permutation" or "bootstrap"')
    truth, prediction = paired(y_true, y_true if y_pred is None else y_pred)
    lengths = run_lengths(runs, len(truth))
    memory = memory_of(truth, None if y_pred is None else prediction, lengths)
    if not memory.known:
        raise ValueError("y_true or y_pred is constant or not finite in every target: it has no memory")
    wanted = memory.for_permutation(tolerance) if purpose == "permutation" else memory.for_bootstrap()
    return min(max(wanted, longest_delay, 1), max(lengths))


@dataclass(frozen=True)
class Memory:
    """Autocorrelation that the terms of a sum share, averaged over targets.

    Attributes
    ----------
    shared : ndarray (n_lags,) float64
        From lag 1, tapered to zero.
    lengths : tuple of int
        Run lengths.
    known : bool
        Whether any target varies.
    """

    shared: Float64
    lengths: tuple[int, ...]
    known: bool

    @property
    def variance(self) -> float:
        """Of the sum, over that of independent terms; 0 or less for series that alternate."""
        return float(1 + 2 * self.shared.sum())

    def kept(self, size: int) -> float:
        """Share of the variance that blocks of ``size`` rows keep."""
        if self.variance <= 0:
            return 1.0
        lags = np.arange(1, min(size, len(self.shared) + 1))
        return float(1 + 2 * ((1 - lags / size) * self.shared[: len(lags)]).sum()) / self.variance

    def for_permutation(self, tolerance: float) -> int:
        """Shortest blocks that lose no more than ``tolerance`` of the variance."""
        longest = max(self.lengths)
        return next((size for size in range(1, longest) if self.kept(size) >= 1 - tolerance), longest)

    def for_bootstrap(self) -> int:
        """Length of least mean squared error for the variance of a mean over circular blocks."""
        if self.variance <= 0:
            return 1
        share = 2 * float((np.arange(1, len(self.shared) + 1) * self.shared).sum()) / self.variance
        return int(np.ceil((1.5 * share**2 * sum(self.lengths)) ** (1 / 3)))


def memory_of(truth: NDArray[Any], prediction: NDArray[Any] | None, lengths: tuple[int, ...]) -> Memory:
    """The memory of products of ``truth`` and ``prediction``, or of the series ``truth`` itself.

    None where no target varies.
    """
    n_samples, n_targets = truth.shape
    few = max(1, min(_SAMPLED_TARGETS, _SAMPLED_VALUES // n_samples))
    columns = np.unique(np.linspace(0, n_targets - 1, few).astype(int))
    shared = _autocorrelation(truth[:, columns], lengths)
    if prediction is not None:
        shared = shared * _autocorrelation(prediction[:, columns], lengths)
    return _averaged(shared, lengths)


def memory_of_shares(shares: Float64, lengths: tuple[int, ...]) -> Memory:
    """The memory of what rows add to a score, about its mean over all runs.

    Their level in a run is part of the chance that an interval is about, and taking it away would hide the
    memory of short runs.
    """
    return _averaged(_autocorrelation(shares - shares.mean(axis=0), lengths, by_run=False), lengths)


def _averaged(shared: Float64, lengths: tuple[int, ...]) -> Memory:
    known = np.isfinite(shared[0])
    mean = shared[:, known].mean(axis=1) if known.any() else np.zeros(1)
    return Memory(_tapered(mean, sum(lengths)), lengths, bool(known.any()))


def _autocorrelation(values: NDArray[Any], lengths: Sequence[int], by_run: bool = True) -> Float64:
    """Of lags from 1 to half the longest run, (n_lags, n_targets); about run means, or about zero."""
    from scipy.fft import irfft, next_fast_len, rfft

    n_lags = max(1, max(lengths) // 2)
    summed = np.zeros((n_lags + 1, values.shape[1]))
    power = np.zeros(values.shape[1])
    for rows in run_slices(lengths):
        run = np.array(values[rows], dtype=np.float64)
        power += np.einsum("ij,ij->j", run, run)
        if by_run:
            with np.errstate(invalid="ignore"):
                run -= run.mean(axis=0)
        size = next_fast_len(2 * len(run))
        products = irfft(np.abs(rfft(run, size, axis=0)) ** 2, size, axis=0)
        reach = min(len(run), n_lags + 1)
        summed[:reach] += products[:reach]
    # A constant run leaves the rounding of its mean, which is no variance.
    varies = summed[0] > 1e-26 * power
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(summed[1:] / np.where(varies, summed[0], np.nan))


def _tapered(shared: Float64, n_samples: int) -> Float64:
    """Cut off by the flat-top window of Politis and White: whole to m, falling to zero at 2 m.

    Their limit of noise is that of a single series; a mean over targets, or a product, is quieter, as the
    lags of the second half tell, which are beyond all memory or so loud that the limit stands.
    """
    noise = 2 * np.sqrt(np.log10(n_samples) / n_samples)
    if len(shared) >= _LAGS_FOR_NOISE:
        noise = min(noise, 4 * float(np.sqrt(np.mean(shared[len(shared) // 2 :] ** 2))))
    patience = max(5, int(np.ceil(np.sqrt(np.log10(n_samples)))))
    loud = np.flatnonzero(np.abs(shared) >= noise)
    gaps = np.diff(np.concatenate([[-1], loud, [len(shared) + patience]]))
    last = (
        int(np.concatenate([[-1], loud])[np.argmax(gaps > patience)]) + 1
    )  # lag before the first long silence
    lags = np.arange(1, len(shared) + 1)
    window = np.clip(2 - lags / max(last, 1), 0, 1) if last else np.zeros(len(shared))
    return np.asarray((window * shared)[: max(1, 2 * last)])


def run_lengths(runs: Sequence[int] | None, n_samples: int) -> tuple[int, ...]:
    """Run lengths that add up to the rows.

    Raises
    ------
    ValueError
        When they do not.
    """
    lengths = (n_samples,) if runs is None else tuple(int(length) for length in runs)
    if min(lengths, default=0) < 1 or sum(lengths) != n_samples:
        raise ValueError(
            f"runs={list(lengths)} has {sum(lengths)} rows in all and y_true has {n_samples}: "
            "give the length of each run, in the order of the rows"
        )
    return lengths


def run_slices(lengths: Sequence[int]) -> Iterator[slice]:
    """The rows of every run."""
    start = 0
    for length in lengths:
        yield slice(start, start + length)
        start += length


def paired(y_true: ArrayLike, y_pred: ArrayLike, name: str = "y_pred") -> tuple[NDArray[Any], NDArray[Any]]:
    """Two real matrices of one shape with rows enough for a test, never copied.

    Raises
    ------
    TypeError
        For complex or non-numeric input.
    ValueError
        For different shapes, more than two dimensions, no target, or fewer than three samples.
    """
    truth, prediction = scores.paired(y_true, y_pred, name, fewest=3, why="tests and intervals need")
    if truth.shape[1] == 0:
        raise ValueError(
            f"y_true has shape {np.shape(y_true)}: give (n_samples, n_targets), one target or more"
        )
    return truth, prediction
