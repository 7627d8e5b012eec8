"""Scores of joint models by their feature spaces: names, shapes, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science.intervals import mean_interval

Float64 = NDArray[np.float64]
Subset = tuple[str, ...]


def joint_subsets(names: Iterable[str]) -> list[Subset]:
    """Every non-empty subset of feature spaces: the joint models that a partition needs.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    list of tuple of str
        :math:`2^M - 1` of them, small ones first, names in the order given.

    Raises
    ------
    ValueError
        For no names, or one that comes twice.

    Examples
    --------
    >>> joint_subsets(["sound", "text"])
    [('sound',), ('text',), ('sound', 'text')]
    """
    spaces = unique_names(names)
    return [subset for size in range(1, len(spaces) + 1) for subset in combinations(spaces, size)]


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else tuple(names)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"names={found!r}: give at least one feature space, each once")
    return found


def names_of(scores: Mapping[Any, Any]) -> tuple[str, ...]:
    """In the order in which they first come; within a frozenset, sorted."""
    keys = [sorted(key) if isinstance(key, frozenset) else unique_names(key) for key in scores]
    ordered = sorted(keys, key=len)
    return unique_names(dict.fromkeys(name for key in ordered for name in key))


def joint_table(scores: Mapping[Any, ArrayLike]) -> dict[frozenset[str], Float64]:
    table: dict[frozenset[str], Float64] = {}
    shape: tuple[int, ...] | None = None
    for key, values in scores.items():
        array = np.asarray(values, dtype=np.float64)
        shape = array.shape if shape is None else shape
        if array.shape != shape or array.ndim not in (1, 2):
            raise ValueError(
                f"scores of {key} have shape {array.shape}, the first ones {shape}: give (n_targets,) or "
                "(n_repeats, n_targets), the same for all"
            )
        subset = frozenset(unique_names(key))
        if subset in table:
            raise ValueError(f"scores has {sorted(subset)} twice: give each joint model once")
        table[subset] = array
    return table


def require_subsets(table: Mapping[frozenset[str], Any], subsets: Iterable[Subset]) -> None:
    missing = [subset for subset in subsets if frozenset(subset) not in table]
    if missing:
        raise ValueError(f"scores lacks the joint models of {missing}: fit these, too")


def mean_over_repeats(values: Float64) -> Float64:
    """Over folds or subjects, if there are any; NaN left out."""
    return values if values.ndim == 1 else mean_interval(values).mean
