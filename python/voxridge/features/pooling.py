"""From the states of tokens to one row for each word, and from words to groups of words."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import sparse

from voxridge.features.tokens import BoolArray, IntArray, TokenisedWords

Pooling = Literal["last", "mean", "mean+punctuation"]
FloatArray = npt.NDArray[np.floating]


def check_pooling(pooling: str) -> None:
    """Raise ValueError unless `pooling` is one of the ways that `pool_words` knows."""
    if pooling not in get_args(Pooling):
        known = ", ".join(repr(name) for name in get_args(Pooling))
        raise ValueError(f"pooling={pooling!r} is unknown: use one of {known}")


def pool_words(
    states: FloatArray, tokens: TokenisedWords, spoken: IntArray, first_token: int, pooling: Pooling
) -> FloatArray:
    """Reduce the states of neighbouring tokens to one row for each word.

    ``"last"`` takes the state of the last token that overlaps the word without its leading and trailing
    punctuation; ``"mean"`` averages over all tokens that do; ``"mean+punctuation"`` averages over all tokens
    from the start of the word to the start of the next one, so that the punctuation between them counts for
    the word in front of it. Tokens that hold only blanks never count: whether there is one depends on the
    next word.

    Parameters
    ----------
    states : (n_tokens, width) floating
        The states of tokens `first_token`, `first_token` + 1, ...
    tokens : TokenisedWords
    spoken : (n_spoken,) int64, strictly rising
        Words whose tokens all lie in `states`, each with at least one.
    first_token : int
    pooling : "last", "mean" or "mean+punctuation"

    Returns
    -------
    (n_spoken, width) array of the dtype of `states`

    Raises
    ------
    ValueError
        If `pooling` is unknown.
    """
    check_pooling(pooling)
    if pooling == "last":
        return states[tokens.last[spoken] - first_token]
    inside = slice(first_token, first_token + len(states))
    owner = tokens.word[inside]
    counted: BoolArray = owner >= 0
    if pooling == "mean":
        counted = counted & tokens.core[inside]
    return _mean(states, np.flatnonzero(counted), np.searchsorted(spoken, owner[counted]), len(spoken))


def pool_groups(
    values: FloatArray, groups: npt.ArrayLike, how: Literal["last", "mean"] = "mean"
) -> FloatArray:
    """Reduce the rows of words to one row for each group of neighbouring words, such as sentences.

    Parameters
    ----------
    values : (n_words, width) floating
    groups : (n_words,) array
        Label of the group of each word; the words of a group follow one another.
    how : "last" or "mean"
        The row of the last word of each group, or the mean over its words (summed in float64).

    Returns
    -------
    (n_groups, width) array of the dtype of `values`
        In the order of the text.

    Raises
    ------
    ValueError
        If the shapes do not fit, a group comes up again after another one, or `how` is unknown.

    Examples
    --------
    >>> pool_groups(np.array([[1.0], [3.0], [5.0]]), [7, 7, 2]).ravel().tolist()
    [2.0, 5.0]
    """
    labels = np.asarray(groups)
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise ValueError(
            f"values has shape {values.shape} and groups {labels.shape}: give (n_words, width) and (n_words,)"
        )
    if how not in ("last", "mean"):
        raise ValueError(f"how={how!r} is unknown: use 'last' or 'mean'")
    row = group_rows(labels)
    if how == "last":
        return values[np.flatnonzero(np.diff(row, append=-1))]
    n_groups = int(row[-1]) + 1 if len(row) else 0
    return _mean(values.astype(np.float64), np.arange(len(row)), row, n_groups).astype(values.dtype)


def group_rows(labels: npt.NDArray[np.generic]) -> IntArray:
    """Number the groups of neighbouring equal labels from 0; (n,) int64.

    Raises
    ------
    ValueError
        If a label comes up again after another one.

    Examples
    --------
    >>> group_rows(np.array(["b", "b", "a"])).tolist()
    [0, 0, 1]
    """
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1])[: len(labels)])
    heads = labels[starts].tolist()
    seen = set()
    for start, label in zip(starts, heads, strict=True):
        if label in seen:
            raise ValueError(
                f"groups: {label!r} comes up again at place {start}, after another group: the members of a "
                "group must follow one another"
            )
        seen.add(label)
    is_start = np.zeros(len(labels), dtype=np.int64)
    is_start[starts] = 1
    rows: IntArray = np.cumsum(is_start) - 1
    return rows


def _mean(values: FloatArray, used: IntArray, row: IntArray, n_rows: int) -> FloatArray:
    """Average the rows `used` of `values`, which go to the rows `row` of the result."""
    weights = (1.0 / np.bincount(row, minlength=n_rows)[row]).astype(values.dtype)
    average = sparse.csr_array((weights, (row, used)), shape=(n_rows, len(values)))
    return np.asarray(average @ values)
