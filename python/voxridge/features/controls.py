"""Simple features that any claim about a language model has to beat: rates, word length, position.

Word rate and position alone explain most of what language models do on several data sets (Feghhi, Hadidi et
al. 2024, arXiv:2406.01538).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from voxridge.features.lanczos import FloatArray, Outside, _rising, check_inside, tr_edges
from voxridge.features.words import Words


def word_rate(
    words: Words, tr_times: npt.ArrayLike, tr: float | None = None, *, outside: Outside = "error"
) -> FloatArray:
    """Return the number of words that start in each TR, (n_trs, 1) float64.

    Parameters
    ----------
    words : Words
    tr_times : (n_trs,) float, seconds, strictly rising
        Middle of each TR on the clock of the words. A TR lasts from half a `tr` before its middle to where
        the next one starts, so that every word is counted once.
    tr : float, seconds, optional
        Repetition time; None: the mean difference of `tr_times`.
    outside : "error" or "keep"
        What to do with words that start in none of the TRs: raise, or leave them out.

    Raises
    ------
    ValueError
        If a word starts outside the scan (unless ``outside="keep"``), or `tr_times` do not rise.

    Examples
    --------
    >>> word_rate(Words(("so", "it", "went"), [0.1, 0.5, 2.2], [0.4, 0.9, 3.0]), [1.0, 3.0]).ravel().tolist()
    [2.0, 1.0]
    """
    rows = _tr_of_onset(words, tr_times, tr, outside)
    n_trs = len(np.asarray(tr_times))
    return np.bincount(rows[rows >= 0], minlength=n_trs).astype(np.float64)[:, None]


def phoneme_rate(
    phones: Words, tr_times: npt.ArrayLike, tr: float | None = None, *, outside: Outside = "error"
) -> FloatArray:
    """Return the number of phones that start in each TR, (n_trs, 1) float64.

    Parameters
    ----------
    phones : Words
        From :func:`~voxridge.features.phonemes.read_phones`.
    tr_times : (n_trs,) float, seconds, strictly rising
        Middle of each TR on the clock of the phones.
    tr : float, seconds, optional
        Repetition time; None: the mean difference of `tr_times`.
    outside : "error" or "keep"
        What to do with phones that start in none of the TRs: raise, or leave them out.

    Raises
    ------
    ValueError
        If a phone starts outside the scan (unless ``outside="keep"``), or `tr_times` do not rise.

    Examples
    --------
    >>> phones = Words(("s", "o", "ih", "t"), [0.1, 0.2, 0.5, 2.7], [0.2, 0.4, 0.7, 2.9])
    >>> phoneme_rate(phones, [1.0, 3.0]).ravel().tolist()
    [3.0, 1.0]
    """
    return word_rate(phones, tr_times, tr, outside=outside)


def word_length(
    words: Words, tr_times: npt.ArrayLike, tr: float | None = None, *, outside: Outside = "error"
) -> FloatArray:
    """Return the mean number of letters and digits of the words that start in each TR, (n_trs, 1) float64.

    A TR in which no word starts gets 0.

    Parameters
    ----------
    words : Words
    tr_times : (n_trs,) float, seconds, strictly rising
        Middle of each TR on the clock of the words.
    tr : float, seconds, optional
        Repetition time; None: the mean difference of `tr_times`.
    outside : "error" or "keep"
        What to do with words that start in none of the TRs: raise, or leave them out.

    Raises
    ------
    ValueError
        If a word starts outside the scan (unless ``outside="keep"``), or `tr_times` do not rise.

    Examples
    --------
    >>> word_length(Words(("it's", "so"), [0.1, 0.5], [0.4, 0.9]), [1.0, 3.0]).ravel().tolist()
    [2.5, 0.0]
    """
    rows = _tr_of_onset(words, tr_times, tr, outside)
    letters = count_letters(words.text)
    n_trs = len(np.asarray(tr_times))
    used = rows >= 0
    total = np.bincount(rows[used], weights=letters[used], minlength=n_trs)
    count = np.bincount(rows[used], minlength=n_trs)
    return np.asarray(total / np.maximum(count, 1), dtype=np.float64)[:, None]


def position(n_trs: int) -> FloatArray:
    """Return the position in the run, rising from 0 at its first TR to 1 at its last, (n_trs, 1) float64.

    Parameters
    ----------
    n_trs : int >= 1

    Raises
    ------
    ValueError
        If `n_trs` is below 1.

    Examples
    --------
    >>> position(3).ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    if n_trs < 1:
        raise ValueError(f"n_trs={n_trs}: a run has at least one TR")
    return np.linspace(0.0, 1.0, n_trs)[:, None]


def count_letters(words: Sequence[str]) -> FloatArray:
    """Return the number of letters and digits of each word, (n_words,) float64."""
    return np.array([sum(map(str.isalnum, word)) for word in words], dtype=np.float64)


def _tr_of_onset(
    words: Words, tr_times: npt.ArrayLike, tr: float | None, outside: Outside
) -> npt.NDArray[np.int64]:
    """Return the TR in which each word starts, -1 for none."""
    if tr is not None and not tr > 0:
        raise ValueError(f"tr={tr}: a positive number of seconds")
    scans = _rising(tr_times)
    edges = tr_edges(scans) if tr is None else np.append(scans - tr / 2, scans[-1] + tr / 2)
    check_inside(words.onset, edges, outside)
    rows = np.searchsorted(edges, words.onset, side="right") - 1
    inside = (words.onset >= edges[0]) & (words.onset <= edges[-1])
    # A word exactly on the last border passes the check above; it belongs to the last TR.
    return np.where(inside, np.minimum(rows, len(scans) - 1), -1)
