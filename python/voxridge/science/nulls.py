"""Nulls of models fitted anew: responses shifted around within their run, which keeps the autocorrelation.

Which null when: for predictions of a test set that no fold trained on,
:func:`voxridge.science.permutation.permutation_test` with ``cross_validated=False``. For scores of a
cross-validation the same with True, which is careful and free, or :func:`refit_test`, which is exact for any
model and costs a fit per permutation; with few fits and many targets, :func:`detect` pools them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.science.multiple import fdr, max_statistic, tail
from voxridge.science.permutation import Alternative, PermutationTest

Float64 = NDArray[np.float64]


def shift_runs(runs: Sequence[NDArray[Any]], *, margin: int, rng: np.random.Generator) -> list[NDArray[Any]]:
    """Responses with every run shifted around in time by a random number of rows.

    Shifting keeps each target's autocorrelation and the correlations between targets, and breaks the match
    with the stimulus. Fit anew on the shifted responses: scores of pure noise are correlated across folds,
    because what two runs share by chance helps to predict either from the other, and a null made from the
    finished predictions would be too narrow.

    Parameters
    ----------
    runs : list of numpy.ndarray of shape (n_rows, n_targets)
    margin : int
        No shift is closer to zero than this, from either side; longer than the response's memory.
    rng : numpy.random.Generator

    Returns
    -------
    list of numpy.ndarray
        New arrays.

    Raises
    ------
    ValueError
        When the margin leaves no shift in some run.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.nulls import shift_runs
    >>> run = np.arange(6.0)[:, None]
    >>> shift_runs([run], margin=3, rng=np.random.default_rng(0))[0].ravel().tolist()
    [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]
    """
    shifted = []
    for run in runs:
        if not 1 <= margin <= len(run) // 2:
            raise ValueError(f"margin={margin} for a run of {len(run)} rows: give 1 to {len(run) // 2}")
        shifted.append(np.roll(run, int(rng.integers(margin, len(run) - margin + 1)), axis=0))
    return shifted


@dataclass(frozen=True)
class Detection:
    """p-values against the pooled null, and which targets pass at the false discovery rate.

    Attributes
    ----------
    p_values : ndarray (n_targets,) float64
        NaN where the score is.
    detected : ndarray of bool (n_targets,)
    threshold : float
        The lowest detected score; inf where nothing is detected.
    rate : float
        The false discovery rate.
    """

    p_values: Float64
    detected: NDArray[np.bool_]
    threshold: float
    rate: float


def detect(scores: Float64, null: Float64, *, rate: float = 0.05) -> Detection:
    """One-sided test of each target's score against null scores pooled over targets, Benjamini-Hochberg
    corrected.

    .. math:: p_t = \\frac{1 + \\#\\{\\text{null} \\ge s_t\\}}{1 + \\#\\text{null}}

    so a p-value is never 0. Targets with real signal are part of the pool, which makes the test a little
    careful.

    Parameters
    ----------
    scores : numpy.ndarray of shape (n_targets,)
        NaN targets are never detected.
    null : numpy.ndarray of any shape
        Scores under the null hypothesis; NaN are left out.
    rate : float
        False discovery rate.

    Returns
    -------
    Detection
        ``threshold`` is the lowest detected score (inf when nothing is detected).

    Raises
    ------
    ValueError
        If ``null`` holds no finite score, or for a rate outside 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.nulls import detect
    >>> null = np.random.default_rng(0).normal(0, 0.1, 1000)
    >>> detect(np.array([0.0, 0.1, 0.6]), null).detected.tolist()
    [False, False, True]
    """
    scores, null = np.asarray(scores, dtype=np.float64), np.asarray(null)
    pool = np.sort(null[np.isfinite(null)].ravel())
    if pool.size == 0:
        raise ValueError("null has no finite score: it needs at least one")
    valid = np.isfinite(scores)
    p_values = np.full(scores.shape, np.nan)
    above = pool.size - np.searchsorted(pool, scores[valid], side="left")
    p_values[valid] = (1 + above) / (1 + pool.size)
    detected = fdr(p_values, rate).detected
    threshold = float(scores[detected].min()) if detected.any() else float("inf")
    return Detection(p_values, detected, threshold, rate)


def refit_test(
    score: Callable[[list[NDArray[Any]]], Float64],
    responses: Sequence[NDArray[Any]],
    *,
    margin: int,
    n_permutations: int = 100,
    together: int = 1,
    alternative: Alternative = "greater",
    seed: int = 0,
) -> PermutationTest:
    """Permutation test that fits and scores anew on responses shifted around within their runs.

    The reference for any cross-validated score, whatever the model: chance agreement between runs, choice of
    penalties and of layers all happen under the null as they did for the data. It costs ``n_permutations``
    fits, and p-values are :math:`(b + 1)/(m + 1)`, so 100 fits give none below 0.0099.

    Parameters
    ----------
    score : callable
        Takes a list of responses (one array per run, as given) and returns scores (n_targets,): the whole
        pipeline, from fit to held-out score.
    responses : list of numpy.ndarray of shape (n_rows, n_targets)
        One per run; never modified.
    margin : int
        No run is shifted by fewer rows than this, from either side: longer than the response's memory.
    n_permutations : int, default 100
        At least 19.
    together : int, default 1
        So many permutations are handed to ``score`` side by side, as more targets, which costs a ridge
        regression hardly more than one of them. Right for any ``score`` whose targets do not depend on each
        other (with a penalty shared by all targets they do).
    alternative : {"greater", "two-sided"}
        Two-sided compares magnitudes.
    seed : int
        Of the shifts.

    Returns
    -------
    PermutationTest
        With ``statistic="score"``, ``scheme="refit"`` and no quantiles. A permutation in which a target has
        no score (a constant prediction) is left out of that target's null.

    Raises
    ------
    ValueError
        When the margin leaves no shift in some run or fewer than 20 distinct sets of shifts, for too few
        permutations, or scores of different shapes.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.nulls import refit_test
    >>> rng = np.random.default_rng(0)
    >>> feature = rng.standard_normal((3, 60, 1))
    >>> responses = [run * [0.6, 0.0] + rng.standard_normal((60, 2)) for run in feature]
    >>> def score(runs):  # leave-one-run-out with a single feature
    ...     slopes = np.array([x.T @ y for x, y in zip(feature, runs)])[:, 0]
    ...     others = slopes.sum(axis=0) - slopes
    ...     return np.mean([np.mean(w * x * y, axis=0) for w, x, y in zip(others, feature, runs)], axis=0)
    >>> refit_test(score, responses, margin=5, n_permutations=99).p_values < 0.05
    array([ True, False])
    """
    if n_permutations < 19:
        raise ValueError(f"n_permutations={n_permutations}: no p-value could be below 0.05; give 19 or more")
    if alternative not in ("greater", "two-sided"):
        raise ValueError(f'alternative={alternative!r}: give "greater" or "two-sided"')
    distinct = math.prod(max(0, len(run) - 2 * margin + 1) for run in responses)
    if together < 1:
        raise ValueError(f"together={together}: give 1 or more")
    if margin < 1 or 0 < distinct < 20:
        raise ValueError(
            f"margin={margin} leaves {distinct} distinct sets of shifts: give at least 1, and so many rows "
            "that there are 20"
        )
    observed = np.array(score(list(responses)), dtype=np.float64)
    size = observed.size
    reference = np.abs(observed) if alternative == "two-sided" else observed
    mean, squares, above, known = np.zeros((4, size))
    null_max: list[float] = []
    for drawn in _refitted(score, responses, margin, n_permutations, together, np.random.default_rng(seed)):
        if drawn.shape != observed.shape:
            raise ValueError(f"score returned shape {observed.shape} first and {drawn.shape} later")
        drawn = np.abs(drawn) if alternative == "two-sided" else drawn
        above += 2 * tail(reference, drawn[None]) - 1
        finite = np.isfinite(drawn)
        known += finite
        null_max.append(float(np.fmax.reduce(drawn[np.isfinite(reference)], initial=-np.inf)))
        step = np.where(finite, drawn - mean, 0.0)
        mean = mean + step / np.maximum(known, 1)
        squares += np.where(finite, step * (drawn - mean), 0.0)
    mean, spread = (np.where(known > 0, x, np.nan) for x in (mean, np.sqrt(squares / np.maximum(known, 1))))
    p_values = np.where(np.isfinite(observed), (above + 1) / (known + 1), np.nan)
    return PermutationTest(
        observed,
        p_values,
        max_statistic(reference, null_max),
        np.array(null_max),
        mean,
        spread,
        np.empty((0, size)),
        (),
        "score",
        alternative,
        "refit",
        None,
        n_permutations,
        exact=False,
        cross_validated=True,
    )


def _refitted(
    score: Callable[[list[NDArray[Any]]], Float64],
    responses: Sequence[NDArray[Any]],
    margin: int,
    n_permutations: int,
    together: int,
    rng: np.random.Generator,
) -> Iterator[Float64]:
    """Scores (n_targets,) of every permutation."""
    for start in range(0, n_permutations, together):
        several = min(together, n_permutations - start)
        shifted = [shift_runs(responses, margin=margin, rng=rng) for _ in range(several)]
        joined = [np.concatenate(run, axis=1) for run in zip(*shifted, strict=True)]
        drawn = np.asarray(score(joined if several > 1 else shifted[0]), dtype=np.float64)
        yield from np.split(drawn, several) if len(drawn) % several == 0 else [drawn]
