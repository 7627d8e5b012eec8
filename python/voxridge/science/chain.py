"""Variance along a chain of feature spaces that depend on each other in one order, such as layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science.joint_models import (
    Subset,
    joint_table,
    mean_over_repeats,
    require_subsets,
    unique_names,
)

Float64 = NDArray[np.float64]


def chain_subsets(order: Iterable[str]) -> list[Subset]:
    """The joint models that a chain needs: all that start at its beginning, and all that end at its end.

    Parameters
    ----------
    order : iterable of str
        Feature spaces in their order, such as the layers of a network.

    Returns
    -------
    list of tuple of str
        :math:`2 M - 1` of them.

    Raises
    ------
    ValueError
        For no names, or one that comes twice.

    Examples
    --------
    >>> chain_subsets(["a", "b", "c"])
    [('a',), ('a', 'b'), ('a', 'b', 'c'), ('b', 'c'), ('c',)]
    """
    spaces = unique_names(order)
    heads = [spaces[: i + 1] for i in range(len(spaces))]
    return heads + [spaces[i:] for i in range(1, len(spaces))]


@dataclass(frozen=True)
class ChainPartition:
    """What each space of an ordered chain adds to those before it, and to those after it.

    Attributes
    ----------
    names : tuple of str
        In the order of the chain.
    adds_to_earlier : ndarray (n_spaces, n_targets) or (n_spaces, n_repeats, n_targets) float64
        :math:`f(1..j) - f(1..j-1)`; sums to ``total`` over the spaces.
    adds_to_later : ndarray (n_spaces, n_targets) or (n_spaces, n_repeats, n_targets) float64
        :math:`f(j..M) - f(j+1..M)`; sums to ``total`` over the spaces.
    total : ndarray (n_targets,) or (n_repeats, n_targets) float64
        R2 of the full model.
    first, last : ndarray (n_targets,) of int
        The stretch of the chain that is needed: leaving out ``first`` and all before it, or ``last`` and all
        after it, takes the score below ``share`` of the total, and leaving out less does not. From means over
        folds or subjects; -1 where the total is not positive.
    share : float
    """

    names: tuple[str, ...]
    adds_to_earlier: Float64
    adds_to_later: Float64
    total: Float64
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    share: float


def chain_partition(
    scores: Mapping[Any, ArrayLike], order: Sequence[str], *, share: float = 0.95
) -> ChainPartition:
    """Divide variance along a chain of spaces that depend on each other in one order, such as layers.

    Neighbouring layers share nearly everything, so their unique parts are nearly nothing. The structured
    question is from which layer on, and up to which, the chain is needed to explain a target.

    Parameters
    ----------
    scores : mapping of tuple, frozenset or str to array_like (n_targets,) or (n_repeats, n_targets)
        R2 of the joint models that :func:`chain_subsets` lists; others are not used.
    order : sequence of str
        The chain.
    share : float
        Of the total's score that has to remain.

    Returns
    -------
    ChainPartition

    Raises
    ------
    ValueError
        For a missing subset, different shapes, or a share outside 0 to 1.

    References
    ----------
    Lin, Naselaris, Kay and Wehbe 2024, "Stacked regressions and structured variance partitioning for
    interpretable brain maps", NeuroImage.

    Examples
    --------
    >>> scores = {"1": [0.1], "12": [0.3], "123": [0.31], "23": [0.3], "3": [0.2]}
    >>> chain = chain_partition({tuple(k): v for k, v in scores.items()}, ["1", "2", "3"])
    >>> chain.adds_to_earlier.round(2).ravel(), int(chain.first[0]), int(chain.last[0])
    (array([0.1 , 0.2 , 0.01]), 1, 1)
    """
    names = unique_names(order)
    if not 0 < share <= 1:
        raise ValueError(f"share={share}: give the share of the score that has to remain, such as 0.95")
    table = joint_table(scores)
    require_subsets(table, chain_subsets(names))
    nothing = np.zeros_like(table[frozenset(names)])
    heads = np.stack([nothing] + [table[frozenset(names[: j + 1])] for j in range(len(names))])
    tails = np.stack([table[frozenset(names[j:])] for j in range(len(names))] + [nothing])
    lost = np.isnan(heads.sum(axis=0) + tails.sum(axis=0))
    heads[:, lost] = tails[:, lost] = np.nan
    total = heads[-1]
    least = share * mean_over_repeats(total)
    without_last = np.stack([mean_over_repeats(score) for score in heads[:-1]])  # of the chain up to before j
    without_first = np.stack([mean_over_repeats(score) for score in tails[1:]])
    needed = least > 0
    first = np.where(needed, (without_first < least).argmax(axis=0), -1)
    last = np.where(needed, len(names) - 1 - (without_last < least)[::-1].argmax(axis=0), -1)
    return ChainPartition(names, np.diff(heads, axis=0), -np.diff(tails, axis=0), total, first, last, share)
