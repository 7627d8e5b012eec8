"""Which of two models predicts the same responses better."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge._warnings import AutocorrelationWarning
from voxridge.science._flips import flips
from voxridge.science._terms import Statistic, check_statistic, row_shares, sampled_shares, target_blocks
from voxridge.science.blocks import Float64, memory_of_shares, paired, run_lengths, run_slices
from voxridge.science.multiple import max_statistic, tail

_FEWEST_BLOCKS = 6
_WANTED_BLOCKS = 8
_MANY_RUNS = 10
_KEPT = 0.85
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ModelComparison:
    """The first model's score minus the second's, and how often flipped signs of blocks reach it.

    Attributes
    ----------
    difference : ndarray (n_targets,) float64
        Of ``statistic``; positive where the first model is better. NaN where a score is not defined.
    p_values : ndarray (n_targets,) float64
        Of each target alone, (b + 1) / (m + 1).
    p_family : ndarray (n_targets,) float64
        Against the largest difference over targets, in standard errors of each, under the same flips.
    statistic : str
        "r", "mean r" or "R2".
    alternative : str
        "two-sided" or "greater" (the first model is better).
    block : int
        Rows of a block, at least.
    n_blocks : int
        Blocks over all runs: the samples of the test.
    n_permutations : int
        Patterns of signs.
    exact : bool
        Whether these were all patterns, each once.
    """

    difference: Float64
    p_values: Float64
    p_family: Float64
    statistic: str
    alternative: str
    block: int
    n_blocks: int
    n_permutations: int
    exact: bool


def compare_models(
    y_true: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    runs: Sequence[int] | None = None,
    *,
    statistic: Statistic = "r",
    block: int | None = None,
    longest_delay: int = 4,
    alternative: Literal["two-sided", "greater"] = "two-sided",
    n_permutations: int = 1000,
    seed: int = 0,
) -> ModelComparison:
    """Test two models' held-out predictions of the same responses by flipping the signs of blocks.

    The difference of two scores is a sum over rows of what each adds, to first order. Its sums :math:`d_b`
    over contiguous blocks change their signs at random, as if the models had changed places there:

    .. math:: p = \\frac{1 + \\#\\{|\\sum_b s_b d_b| \\ge |\\sum_b d_b|\\}}{1 + m}

    Blocks are as long as the autocorrelation of the differences asks for. The test speaks of these subjects
    and of new stimuli like these; a claim about new people needs
    :func:`voxridge.science.subjects.subject_test` on the differences. Where predictions come from a
    cross-validation, folds share training data, which no flip of signs can undo: trust small p-values less.

    Parameters
    ----------
    y_true, first, second : array_like of shape (n_samples, n_targets) or (n_samples,)
        Responses, and the held-out predictions of both models.
    runs : sequence of int, optional
        Run lengths, in the order of the rows. Default: one run.
    statistic : {"r", "mean r", "R2"}
        Correlation over all rows, the mean over runs of the correlation within, or the coefficient of
        determination (a difference of squared errors).
    block : int, optional
        Shortest length in rows; by default from the data, but at least 8 blocks over all runs. For "mean r"
        over 10 or more runs that hold fewer than 8 blocks each, whole runs.
    longest_delay : int, default 4
        Of the models, in rows: the least that the default block has.
    alternative : {"two-sided", "greater"}
        Greater: the first model is better.
    n_permutations : int, default 1000
        Random patterns of signs; all patterns are made instead where these are no more.
    seed : int
        Of the random patterns.

    Returns
    -------
    ModelComparison

    Raises
    ------
    TypeError
        For complex or non-numeric input.
    ValueError
        For shapes or runs that do not match, unknown names, or fewer than six blocks.

    Warns
    -----
    AutocorrelationWarning
        When blocks are so short that the null misses over 15 % of the variance.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.comparison import compare_models
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.standard_normal((400, 2))
    >>> better, worse = signal + 0.1, signal + rng.standard_normal((400, 2)) * [2.0, 0.0]
    >>> result = compare_models(signal + rng.standard_normal((400, 2)), better, worse, runs=[200, 200])
    >>> result.p_values < 0.05
    array([ True, False])
    """
    truth, one = paired(y_true, first, "first")
    two = paired(y_true, second, "second")[1]
    lengths = run_lengths(runs, len(truth))
    check_statistic(statistic, lengths)
    if alternative not in ("two-sided", "greater"):
        raise ValueError(f'alternative={alternative!r}: give "two-sided" or "greater"')
    if n_permutations < 19:
        raise ValueError(f"n_permutations={n_permutations}: no p-value could be below 0.05; give 19 or more")
    sample = sampled_shares(truth, one, lengths, statistic) - sampled_shares(truth, two, lengths, statistic)
    if block is None and statistic == "mean r" and len(lengths) >= _MANY_RUNS:
        # What the rows of a short run add sums to its r, which hides their memory: whole runs need none.
        wanted = _block(sample, lengths, None, longest_delay)
        block = max(lengths) if max(lengths) < _WANTED_BLOCKS * wanted else wanted
    size = _block(sample, lengths, block, longest_delay)
    starts = _starts(lengths, size)
    signs, exact = flips(len(starts), n_permutations, np.random.default_rng(seed))
    difference, p_values, scaled = (np.full(truth.shape[1], np.nan) for _ in range(3))
    null_max = np.full(len(signs), -np.inf)
    for part in target_blocks(truth.shape[1], max(len(truth), len(signs))):
        shares = [row_shares(truth[:, part], each[:, part], lengths, statistic) for each in (one, two)]
        sums = np.add.reduceat(shares[0] - shares[1], starts, axis=0)
        # The rounding of predictions that are alike but for their units has signs, too.
        size_of_both = np.abs(shares[0]).sum(axis=0) + np.abs(shares[1]).sum(axis=0)
        sums[:, np.abs(sums).max(axis=0) <= _ROUNDING * size_of_both] = 0.0
        difference[part] = sums.sum(axis=0)
        # The sum of squares stays the same under flips, so this scale is fair and makes targets comparable.
        with np.errstate(invalid="ignore", divide="ignore"):
            sums /= np.sqrt(np.einsum("ij,ij->j", sums, sums))
        reached, null = sums.sum(axis=0), signs @ sums
        if alternative == "two-sided":
            reached, null = np.abs(reached), np.abs(null)
        known = np.isfinite(reached)
        scaled[part] = reached
        p_values[part] = np.where(known, tail(reached, null), np.nan)
        if known.any():
            null_max = np.maximum(null_max, null[:, known].max(axis=1))
    same = difference == 0  # predictions that are alike
    p_values[same] = 1.0
    family = np.where(same, 1.0, max_statistic(scaled, null_max))
    return ModelComparison(
        difference,
        p_values,
        family,
        statistic,
        alternative,
        size,
        len(starts),
        len(signs),
        exact,
    )


def _block(sample: Float64, lengths: tuple[int, ...], block: int | None, longest_delay: int) -> int:
    """The length that is asked for, or that the differences of some targets ask for."""
    memory = memory_of_shares(sample, lengths)
    if block is None:
        least = max(1, longest_delay)
        wanted = max(least, memory.for_permutation(0.05))
        enough = (n for n in range(wanted, least, -1) if len(_starts(lengths, n)) >= _WANTED_BLOCKS)
        block = next(enough, least)
    n_blocks = len(_starts(lengths, block)) if block >= 1 else 0
    if n_blocks < _FEWEST_BLOCKS:
        raise ValueError(
            f"block={block} makes {n_blocks} blocks of runs={list(lengths)}: a test by signs needs at least "
            f"{_FEWEST_BLOCKS}; give shorter blocks, or longer responses"
        )
    if memory.kept(block) < _KEPT:
        warnings.warn(
            f"blocks of {block} rows keep {memory.kept(block):.0%} of the variance that autocorrelation "
            "gives the difference, so p-values are too small; "
            f"{memory.for_permutation(0.05)} rows would keep 95 %",
            AutocorrelationWarning,
            stacklevel=3,
        )
    return int(block)


def _starts(lengths: Sequence[int], size: int) -> NDArray[np.int64]:
    """First rows of blocks of at least ``size`` rows (or a whole run), alike in length within a run."""
    starts = [
        rows.start + np.arange(count) * (rows.stop - rows.start) // count
        for rows in run_slices(lengths)
        for count in [max(1, (rows.stop - rows.start) // size)]
    ]
    return np.concatenate(starts)
