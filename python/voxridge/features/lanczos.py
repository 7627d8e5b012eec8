"""From the times of words to the times of scans: Lanczos interpolation as one sparse product."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

FloatArray = npt.NDArray[np.float64]
Outside = Literal["error", "keep"]

# Columns converted to float64 at a time: few enough that those of a story stay in a processor's cache.
_COLUMNS = 128


def tr_times(n_trs: int, tr: float, offset: float = 0.0) -> FloatArray:
    """Return the middle of every TR, ``offset + (i + 0.5) * tr``, as (n_trs,) float64 seconds.

    Parameters
    ----------
    n_trs : int >= 1
        Number of TRs (scans) of the run.
    tr : float > 0, seconds
        Repetition time.
    offset : float, seconds
        Start of the first TR on the clock of the stimulus.

    Raises
    ------
    ValueError
        If `n_trs` is below 1, or `tr` is not a positive number.

    Examples
    --------
    >>> tr_times(3, 2.0).tolist()
    [1.0, 3.0, 5.0]
    """
    if n_trs < 1:
        raise ValueError(f"n_trs={n_trs}: a run has at least one TR")
    if not (math.isfinite(tr) and tr > 0 and math.isfinite(offset)):
        raise ValueError(
            f"tr={tr} and offset={offset}: tr must be a positive number of seconds, offset a finite one"
        )
    return np.asarray(offset + (np.arange(n_trs) + 0.5) * tr, dtype=np.float64)


def lanczos_matrix(
    times: npt.ArrayLike, tr_times: npt.ArrayLike, *, lobes: int = 3, cutoff: float | None = None
) -> Any:
    """Return the Lanczos kernel between word times and scan times as a sparse matrix.

    With u = cutoff * (tr_times[i] - times[j]) and a = lobes::

        K[i, j] = a sin(pi u) sin(pi u / a) / (pi u)^2   for |u| <= a,  K = 1 at u = 0,  K = 0 elsewhere

    which is sinc(u) sinc(u / a): a low-pass filter at half of `cutoff`. The kernel is **not** renormalised:
    its rows sum to more where words are dense, so that the result also carries the word rate (the convention
    of the Huth laboratory; LeBel et al. 2023, doi:10.1038/s41597-023-02437-z, and Antonello et al. 2023).

    Parameters
    ----------
    times : (n_words,) float, seconds
        Usually the middle of each word; any order.
    tr_times : (n_trs,) float, seconds, strictly rising
        Middle of each TR.
    lobes : int >= 1
        Half width of the window, in units of 1 / cutoff.
    cutoff : float, Hz
        None: 1 / TR, with TR the mean difference of `tr_times`.

    Returns
    -------
    scipy.sparse.csr_array, (n_trs, n_words) float64

    Raises
    ------
    ValueError
        If a time is not finite, `tr_times` do not rise, `lobes` or `cutoff` is not positive, or there is one
        TR alone and no `cutoff`.

    Examples
    --------
    >>> lanczos_matrix([1.0, 2.0], [1.0, 3.0]).toarray().round(4).tolist()
    [[1.0, 0.6079], [0.0, 0.6079]]
    """
    words = _finite(times, "times")
    scans = _rising(tr_times)
    if lobes < 1:
        raise ValueError(f"lobes={lobes}: at least 1")
    if cutoff is None:
        cutoff = 1.0 / mean_step(scans, "cutoff")
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f"cutoff={cutoff}: a positive frequency in Hz")
    reach = lobes / cutoff
    first = np.searchsorted(scans, words - reach, side="left")
    counts = np.searchsorted(scans, words + reach, side="right") - first
    column = np.repeat(np.arange(len(words)), counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    row = np.repeat(first, counts) + inside
    u = cutoff * (scans[row] - words[column])
    kernel = np.sinc(u) * np.sinc(u / lobes)
    return sparse.csr_array((kernel, (row, column)), shape=(len(scans), len(words)))


def downsample(
    features: npt.ArrayLike,
    times: npt.ArrayLike,
    tr_times: npt.ArrayLike,
    *,
    lobes: int = 3,
    cutoff: float | None = None,
    outside: Outside = "error",
) -> npt.NDArray[np.floating]:
    """Bring features of words to the times of the scans: ``lanczos_matrix(times, tr_times) @ features``.

    Parameters
    ----------
    features : (n_words, n_features) float
        One row per word.
    times : (n_words,) float, seconds
        Time of each row.
    tr_times : (n_trs,) float, seconds
        Middle of each TR, on the same clock.
    lobes, cutoff
        See :func:`lanczos_matrix`.
    outside : "error" or "keep"
        What to do with words whose time lies in none of the TRs: raise, or use what their kernel reaches.

    Returns
    -------
    (n_trs, n_features) array
        float64 if `features` are float64 or integers, else float32; the sum itself is done in float64.

    Raises
    ------
    ValueError
        If the number of rows and of times differ, or a word lies outside the scan (unless
        ``outside="keep"``).

    Examples
    --------
    >>> downsample([[1.0], [1.0]], [1.0, 2.0], [1.0, 3.0]).round(4).tolist()
    [[1.6079], [0.6079]]
    """
    matrix = np.asarray(features)
    words = _finite(times, "times")
    if matrix.ndim != 2 or len(matrix) != len(words):
        raise ValueError(
            f"features has shape {matrix.shape} and times has shape {words.shape}: give (n_words, "
            "n_features) features and one time for each row"
        )
    scans = _rising(tr_times)
    check_inside(words, tr_edges(scans, cutoff), outside)
    return apply_matrix(lanczos_matrix(words, scans, lobes=lobes, cutoff=cutoff), matrix)


def apply_matrix(weights: Any, features: npt.NDArray[Any]) -> npt.NDArray[np.floating]:
    """Return ``weights @ features`` for a sparse (n_trs, n_words) `weights`, summed in float64.

    The columns go through in slices, so that no second copy of wide features is made. The result is float32
    for float16 and float32 `features`, else float64.
    """
    dtype = np.float32 if features.dtype in (np.float16, np.float32) else np.float64
    result = np.empty((weights.shape[0], features.shape[1]), dtype=dtype)
    for start in range(0, features.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        result[:, columns] = weights @ features[:, columns].astype(np.float64)
    return result


def tr_edges(scans: FloatArray, cutoff: float | None = None) -> FloatArray:
    """Return the (n_trs + 1,) borders of the TRs whose middles are given: TR i is [edge i, edge i + 1)."""
    step = mean_step(scans, "cutoff") if len(scans) > 1 or cutoff is None else 1.0 / cutoff
    return np.append(scans - step / 2, scans[-1] + step / 2)


def check_inside(times: FloatArray, edges: FloatArray, outside: Outside) -> None:
    """Raise ValueError if `outside` is "error" and a time lies before the first or after the last border."""
    if outside not in ("error", "keep"):
        raise ValueError(f"outside={outside!r} is unknown: use 'error' or 'keep'")
    # A hair of tolerance: times and borders come from sums that round differently.
    slack = 1e-6 * (edges[-1] - edges[0])
    bad = (times < edges[0] - slack) | (times > edges[-1] + slack)
    if outside == "error" and bad.any():
        i = int(np.argmax(bad))
        raise ValueError(
            f"{int(bad.sum())} of {len(times)} words lie outside the scan ({edges[0]:g} to {edges[-1]:g} s); "
            f"the first is word {i} at {times[i]:g} s: check the unit (seconds) and the start of the scan "
            "(tr_times(..., offset)), or use outside='keep'"
        )


def mean_step(scans: FloatArray, instead: str) -> float:
    """Return the mean distance of the scans in seconds; `instead` names the argument that replaces it."""
    if len(scans) < 2:
        raise ValueError(f"tr_times holds a single TR, so its length is not known: give {instead}")
    return float(scans[-1] - scans[0]) / (len(scans) - 1)


def _finite(values: npt.ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one row of times; got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}[{int(np.argmin(np.isfinite(array)))}] is not a finite number")
    return array


def _rising(values: npt.ArrayLike) -> FloatArray:
    scans = _finite(values, "tr_times")
    if len(scans) == 0 or (np.diff(scans) <= 0).any():
        raise ValueError("tr_times must hold at least one time and rise from each to the next")
    return scans
