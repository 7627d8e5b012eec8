"""From words to scans through a haemodynamic response: the linear map of nilearn as one sparse product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from voxridge.features.lanczos import FloatArray, _finite, _rising, apply_matrix
from voxridge.features.words import Words

HrfModel = Literal["glover", "spm"]


def hrf_matrix(
    onset: npt.ArrayLike,
    duration: npt.ArrayLike,
    frame_times: npt.ArrayLike,
    *,
    model: HrfModel = "glover",
    oversampling: int = 50,
    min_onset: float = -24.0,
) -> Any:
    """Return the response of every scan to every event as a sparse matrix.

    Event j is 1 from its onset to its end on a grid of `oversampling` points per TR; it is convolved with the
    kernel h of nilearn and read off at the scans by linear interpolation. With H the cumulative sum of h, and
    [a, b) the grid points of the event, its response at grid point k is H[k - a] - H[k - b], so that nothing
    has to be convolved. ``hrf_matrix(...) @ values`` is what
    ``nilearn.glm.first_level.compute_regressor((onset, duration, values), model, frame_times)`` returns, for
    all columns of ``values`` at once: the response is a linear function of the values.

    Parameters
    ----------
    onset : (n_words,) float, seconds
        Start of each event on the clock of the scans; any order, overlaps add up.
    duration : (n_words,) float >= 0, seconds
        An event of no length lasts for one point of the grid.
    frame_times : (n_trs,) float, seconds, strictly rising, n_trs >= 2
        The scans, such as ``tr_times(n_trs, tr)``.
    model : "glover" or "spm"
        Kernels ``glover_hrf`` and ``spm_hrf`` of nilearn, 32 s long, with sum 1.
    oversampling : int >= 1
        Points of the grid per TR (the least distance of two scans).
    min_onset : float <= 0, seconds
        The grid starts so long before the first scan.

    Returns
    -------
    scipy.sparse.csr_array, (n_trs, n_words) float64

    Raises
    ------
    ValueError
        If lengths differ, a time is not finite, a duration is negative, the scans do not rise or are fewer
        than two, an event starts before the grid does, or `model` or `oversampling` is unknown.
    ImportError
        If nilearn is not installed.

    References
    ----------
    Glover 1999, NeuroImage 9(4), doi:10.1006/nimg.1998.0419; used for language models by Bonnasse-Gahot and
    Pallier 2024, arXiv:2405.17992.

    Examples
    --------
    >>> scans = np.arange(20) * 2.0
    >>> weights = hrf_matrix([4.0], [0.5], scans)
    >>> float(scans[weights.toarray().argmax()])
    10.0
    """
    starts, lengths = _events(onset, duration)
    scans = _rising(frame_times)
    if len(scans) < 2:
        raise ValueError("frame_times holds a single scan, so its length is not known: give at least two")
    if oversampling < 1 or oversampling != int(oversampling):
        raise ValueError(f"oversampling={oversampling}: a whole number of grid points per TR, at least 1")
    if not (np.isfinite(min_onset) and min_onset <= 0):
        raise ValueError(f"min_onset={min_onset}: 0 or a negative number of seconds")
    _check_starts(starts, scans, min_onset)
    grid = _fine_grid(scans, int(oversampling), min_onset)
    first, last = _grid_span(grid, starts, starts + lengths)
    total = np.append(0.0, np.cumsum(_kernel(model)(float(np.diff(scans).min()), int(oversampling))))
    return _sampled(total, grid, scans, first, last)


def convolve_hrf(
    features: npt.ArrayLike,
    words: Words,
    frame_times: npt.ArrayLike,
    *,
    model: HrfModel = "glover",
    oversampling: int = 50,
    min_onset: float = -24.0,
) -> npt.NDArray[np.floating]:
    """Bring features of words to the scans: ``hrf_matrix(onsets, durations, frame_times) @ features``.

    Parameters
    ----------
    features : (n_words, n_features) float
        One row per word: the height of the event that lasts from the word's onset to its offset.
    words : Words
        On the clock of the scans.
    frame_times : (n_trs,) float, seconds, strictly rising
    model, oversampling, min_onset
        See :func:`hrf_matrix`.

    Returns
    -------
    (n_trs, n_features) array
        float64 if `features` are float64 or integers, else float32; the sum itself is done in float64.

    Raises
    ------
    ValueError
        If the number of rows and of words differ, or as in :func:`hrf_matrix`.
    ImportError
        If nilearn is not installed.

    Examples
    --------
    >>> words = Words(("so", "it", "went"), [0.1, 0.5, 2.2], [0.4, 0.9, 3.0])
    >>> convolve_hrf(np.ones((3, 4)), words, np.arange(10) * 2.0).shape
    (10, 4)
    """
    matrix = np.asarray(features)
    if matrix.ndim != 2 or len(matrix) != len(words):
        raise ValueError(
            f"features has shape {matrix.shape}, but there are {len(words)} words: give (n_words, n_features)"
        )
    weights = hrf_matrix(
        words.onset,
        words.offset - words.onset,
        frame_times,
        model=model,
        oversampling=oversampling,
        min_onset=min_onset,
    )
    return apply_matrix(weights, matrix)


def _events(onset: npt.ArrayLike, duration: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    starts, lengths = _finite(onset, "onset"), _finite(duration, "duration")
    if starts.shape != lengths.shape:
        raise ValueError(
            f"onset has shape {starts.shape} and duration has shape {lengths.shape}: give one of each per "
            "word"
        )
    if (lengths < 0).any():
        i = int(np.argmax(lengths < 0))
        raise ValueError(f"duration[{i}] is {lengths[i]:g} s: an event cannot end before it starts")
    return starts, lengths


def _check_starts(starts: FloatArray, scans: FloatArray, min_onset: float) -> None:
    # nilearn warns here that such events are left out, and then puts them at the start of its grid.
    early = starts < scans[0] + min_onset
    if early.any():
        i = int(np.argmax(early))
        raise ValueError(
            f"{int(early.sum())} of {len(starts)} events start more than {-min_onset:g} s before the first "
            f"scan ({scans[0]:g} s); the first is event {i} at {starts[i]:g} s: check the unit (seconds) and "
            "the start of the scan, leave them out, or lower min_onset"
        )


def _fine_grid(scans: FloatArray, oversampling: int, min_onset: float) -> FloatArray:
    """Return the grid on which nilearn convolves: from before the first scan to one TR after the last."""
    gaps = len(scans) - 1
    stop = scans[-1] * (1 + 1.0 / gaps)
    if stop < scans[-1]:
        raise ValueError(
            f"frame_times end at {scans[-1]:g} s, before time 0: put the start of the scan at 0 and shift "
            "the events by as much (Words.shift)"
        )
    n_points = gaps / (scans[-1] - scans[0]) * (stop - scans[0] - min_onset) * oversampling + 1
    return np.linspace(scans[0] + min_onset, stop, int(np.rint(n_points)))


def _grid_span(
    grid: FloatArray, starts: FloatArray, stops: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first grid point of every event, and the one after its last."""
    end = len(grid) - 1
    first = np.minimum(np.searchsorted(grid, starts), end)
    last = np.minimum(np.searchsorted(grid, stops), end)
    return first, np.where((last == first) & (last < end), last + 1, last)


def _sampled(
    total: FloatArray,
    grid: FloatArray,
    scans: FloatArray,
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
) -> Any:
    """Interpolate the responses H[k - first] - H[k - last] at the scans; `total`: H, zero first."""
    below = np.clip(np.searchsorted(grid, scans) - 1, 0, len(grid) - 2)
    share = (scans - grid[below]) / (grid[below + 1] - grid[below])
    # Scans that an event reaches: from the one after its first grid point to where the kernel has run out.
    begin = np.searchsorted(below, first - 1)
    counts = np.maximum(np.searchsorted(below, last + len(total) - 2, side="right") - begin, 0)
    column = np.repeat(np.arange(len(first)), counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - begin, counts)

    def response(point: npt.NDArray[np.int64]) -> FloatArray:
        reach = len(total) - 1
        values: FloatArray = (
            total[np.clip(point - first[column] + 1, 0, reach)]
            - total[np.clip(point - last[column] + 1, 0, reach)]
        )
        return values

    weights = (1 - share[row]) * response(below[row]) + share[row] * response(below[row] + 1)
    return sparse.csr_array((weights, (row, column)), shape=(len(scans), len(first)))


def _kernel(model: HrfModel) -> Callable[[float, int], FloatArray]:
    if model not in ("glover", "spm"):
        raise ValueError(f"model={model!r} is unknown: use 'glover' or 'spm'")
    try:
        from nilearn.glm import first_level
    except ImportError as error:
        raise ImportError('the haemodynamic response needs nilearn: pip install "voxridge[brain]"') from error
    kernel: Callable[[float, int], FloatArray] = getattr(first_level, f"{model}_hrf")
    return kernel
