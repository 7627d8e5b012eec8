"""Permutation test of predictions against autocorrelated responses."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge._warnings import AutocorrelationWarning
from voxridge.science._moves import BlockMoves, Moves, ShiftMoves, choose_moves
from voxridge.science._terms import Statistic, check_statistic, score_terms, target_blocks
from voxridge.science.blocks import Float64, memory_of, paired, run_lengths
from voxridge.science.multiple import max_statistic, tail

Alternative = Literal["greater", "two-sided"]
_FEWEST = 20
_KEPT = 0.85
# The variance of a cross-validated score over that of the same predictions against fresh noise, at most.
_CROSSED = np.sqrt(2.0)


@dataclass(frozen=True)
class PermutationTest:
    """Scores, their p-values, and what is left of the null distribution.

    Attributes
    ----------
    observed : ndarray (n_targets,) float64
        The statistic.
    p_values : ndarray (n_targets,) float64
        Of each target alone: :math:`(b + 1) / (m + 1)` with b of m permutations at least as extreme; never 0.
        NaN where ``observed`` is.
    p_family : ndarray (n_targets,) float64
        Against the largest statistic over all targets, which controls the chance of any false positive.
    null_max : ndarray (m,) float64
        The largest statistic over targets, for every permutation.
    null_mean, null_sd : ndarray (n_targets,) float64
        Of each target's null.
    quantiles : ndarray (n_levels, n_targets) float64
        Of each target's null, at ``levels``.
    levels : tuple of float
        Between 0 and 1.
    statistic : str
        "r", "mean r" or "R2"; "score" from :func:`voxridge.science.nulls.refit_test`.
    alternative : str
        "greater" or "two-sided". Of a two-sided test the null is that of the magnitude.
    scheme : str
        "blocks", "shift" or "refit".
    block : int or None
        Shortest block, in rows; None where there are no blocks.
    n_permutations : int
        m, the permutations made.
    exact : bool
        Whether these were all there are, each once.
    cross_validated : bool
        Whether the null was widened for predictions that come from shared training data.
    """

    observed: Float64
    p_values: Float64
    p_family: Float64
    null_max: Float64
    null_mean: Float64
    null_sd: Float64
    quantiles: Float64
    levels: tuple[float, ...]
    statistic: str
    alternative: str
    scheme: str
    block: int | None
    n_permutations: int
    exact: bool
    cross_validated: bool

    @property
    def smallest_p(self) -> float:
        """No p-value can be smaller than this."""
        return 1 / (self.n_permutations + 1)


def permutation_test(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    runs: Sequence[int] | None = None,
    *,
    cross_validated: bool,
    scheme: Literal["blocks", "shift"] = "blocks",
    block: int | None = None,
    longest_delay: int = 4,
    statistic: Statistic = "r",
    alternative: Alternative = "greater",
    n_permutations: int = 1000,
    levels: Sequence[float] = (0.95,),
    seed: int = 0,
) -> PermutationTest:
    """Test held-out predictions against responses, with the autocorrelation of both kept.

    Whole blocks of predictions change places within their run (without replacement), or each run of
    predictions is shifted around in time; the same way for all targets, so that the correlations between
    targets stay, too. With b of m permutations at least as extreme as the observed statistic

    .. math:: p = \\frac{b + 1}{m + 1}

    Rows are never permuted one by one: neighbouring scans are alike, and a null made of shuffled rows is too
    narrow by the same factor that autocorrelation widens the truth.

    Predictions of a cross-validation are a harder case. Run 2 helps to predict run 1 and run 1 to predict run
    2, so what the two share by chance enters the score twice, while permuting finished predictions breaks
    every such tie. With a linear model of a fixed penalty the score then has up to twice the variance of the
    permuted ones, and never more: with H the smoother from training to held-out rows, its variance is
    :math:`\\mathrm{tr}\\,HH' + \\mathrm{tr}\\,HH` against :math:`\\mathrm{tr}\\,HH'`. With
    ``cross_validated=True`` the null is therefore widened by :math:`\\sqrt 2` about its mean: a careful test,
    at no cost. The exact one, at the cost of a fit per permutation, is
    :func:`voxridge.science.nulls.refit_test`.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n_samples, n_targets) or (n_samples,)
        Measured responses and predictions of rows that the model was not fitted to.
    runs : sequence of int, optional
        Run lengths, in the order of the rows. Default: one run.
    cross_validated : bool
        True for predictions whose folds trained on each other's responses (leave-one-run-out); False for a
        test set of its own. There is no default, as a wrong False doubles the false positives.
    scheme : {"blocks", "shift"}
        Shifts keep all autocorrelation but for one seam per run, and suit long memory in short runs; blocks
        need no stationarity beyond a block.
    block : int, optional
        Shortest length in rows. By default :func:`voxridge.science.blocks.block_length`, or less where that
        would leave fewer distinct permutations than are asked for.
    longest_delay : int, default 4
        Of the model, in rows: the least that the default block has.
    statistic : {"r", "mean r", "R2"}
        Correlation over all rows, the mean over runs of the correlation within, or the coefficient of
        determination. With "r" and "R2" differences between the means of runs stay in every permutation.
    alternative : {"greater", "two-sided"}
        Two-sided compares magnitudes, of correlations only.
    n_permutations : int, default 1000
        Where fewer are possible, all are made, each once.
    levels : sequence of float
        Quantiles of each target's null to keep. The null itself is never held for all targets.
    seed : int
        Of the random permutations.

    Returns
    -------
    PermutationTest

    Raises
    ------
    TypeError
        For complex or non-numeric input.
    ValueError
        For shapes or runs that do not match, unknown names, or when fewer than 20 distinct permutations are
        possible, so that no p-value could be below 0.05.

    Warns
    -----
    AutocorrelationWarning
        When blocks are so short that the null misses over 15 % of the variance.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.permutation import permutation_test
    >>> rng = np.random.default_rng(0)
    >>> predictions = rng.standard_normal((300, 2))
    >>> responses = np.array([0.5, 0.0]) * predictions + rng.standard_normal((300, 2))
    >>> test = permutation_test(responses, predictions, runs=[100, 100, 100], cross_validated=False)
    >>> test.p_values < 0.05
    array([ True, False])
    >>> print(f"{test.smallest_p:.4f}")
    0.0010
    """
    truth, prediction = paired(y_true, y_pred)
    lengths = run_lengths(runs, len(truth))
    _check(statistic, alternative, n_permutations, levels, lengths)
    moves = _moves(truth, prediction, lengths, scheme, block, longest_delay, n_permutations)
    chosen = choose_moves(moves, n_permutations, np.random.default_rng(seed))
    n_targets = truth.shape[1]
    observed, p_values, mean, sd = (np.full(n_targets, np.nan) for _ in range(4))
    quantiles = np.full((len(levels), n_targets), np.nan)
    null_max = np.full(chosen.n_moves, np.nan)
    for part in target_blocks(n_targets, chosen.peak_rows):
        terms = score_terms(truth[:, part], prediction[:, part], lengths, statistic)
        null = terms.offset + chosen.sums(terms.left, terms.right, _CROSSED if cross_validated else 1.0)
        score = observed[part] = terms.score
        if alternative == "two-sided":
            score, null = np.abs(score), np.abs(null)
        valid = np.isfinite(score)
        p_values[part] = np.where(valid, tail(score, null), np.nan)
        mean[part], sd[part] = null.mean(axis=0), null.std(axis=0)
        if levels and valid.any():
            quantiles[:, part][:, valid] = np.quantile(null[:, valid], levels, axis=0)
        if valid.any():
            null_max = np.fmax(null_max, null[:, valid].max(axis=1))
    family = max_statistic(np.abs(observed) if alternative == "two-sided" else observed, null_max)
    return PermutationTest(
        observed,
        p_values,
        family,
        null_max,
        mean,
        sd,
        quantiles,
        tuple(levels),
        statistic,
        alternative,
        scheme,
        moves.block if isinstance(moves, BlockMoves) else None,
        chosen.n_moves,
        chosen.exact,
        cross_validated,
    )


def _moves(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    lengths: tuple[int, ...],
    scheme: str,
    block: int | None,
    longest_delay: int,
    n_permutations: int,
) -> Moves:
    if scheme == "shift":
        if block is not None:
            raise ValueError(f'block={block} with scheme="shift", which has no blocks: leave one of them out')
        moves: Moves = ShiftMoves(lengths)
    elif scheme == "blocks":
        moves = _block_moves(truth, prediction, lengths, block, longest_delay, n_permutations)
    else:
        raise ValueError(f'scheme={scheme!r}: give "blocks" or "shift"')
    if moves.distinct < _FEWEST:
        raise ValueError(
            f"only {moves.distinct} distinct permutations of runs={list(lengths)}"
            + (f" in blocks of {moves.block} rows or more" if isinstance(moves, BlockMoves) else "")
            + f": no p-value could be below {1 / moves.distinct:.2g}. Give shorter blocks, more runs, or "
            'scheme="shift"'
        )
    return moves


def _block_moves(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    lengths: tuple[int, ...],
    block: int | None,
    longest_delay: int,
    n_permutations: int,
) -> BlockMoves:
    memory = memory_of(truth, prediction, lengths)
    if block is None:
        least = max(1, longest_delay)
        wanted = max(memory.for_permutation(0.05), least)
        enough = max(_FEWEST, n_permutations)
        sizes = (size for size in range(wanted, least, -1) if BlockMoves(lengths, size).distinct >= enough)
        moves = BlockMoves(lengths, next(sizes, least))
    elif not 1 <= block <= max(lengths):
        raise ValueError(f"block={block} with runs={list(lengths)}: give 1 to {max(lengths)} rows")
    else:
        moves = BlockMoves(lengths, int(block))
    if memory.kept(moves.block) < _KEPT:
        warnings.warn(
            f"blocks of {moves.block} rows keep {memory.kept(moves.block):.0%} of the variance that "
            "autocorrelation gives the score, so p-values are too small; "
            f"{memory.for_permutation(0.05)} rows would keep 95 %. Give longer blocks, or "
            'scheme="shift"',
            AutocorrelationWarning,
            stacklevel=4,
        )
    return moves


def _check(
    statistic: str, alternative: str, n_permutations: int, levels: Sequence[float], lengths: Sequence[int]
) -> None:
    check_statistic(statistic, lengths)
    if alternative not in ("greater", "two-sided"):
        raise ValueError(f'alternative={alternative!r}: give "greater" or "two-sided"')
    if alternative == "two-sided" and statistic == "R2":
        raise ValueError('alternative="two-sided" compares magnitudes, and R2 has none: give "greater"')
    if n_permutations < _FEWEST - 1:
        raise ValueError(f"n_permutations={n_permutations}: no p-value could be below 0.05; give 19 or more")
    if not all(0 <= level <= 1 for level in levels):
        raise ValueError(f"levels={list(levels)}: give numbers between 0 and 1")
