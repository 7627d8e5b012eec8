from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features.pooling import group_rows, pool_groups, pool_words
from voxridge.features.tokens import TokenisedWords


def _tokens() -> TokenisedWords:
    """Two words of blank, core, core, mark and of mark, core; a word without a token between them."""
    return TokenisedWords(
        ids=np.arange(7),
        word=np.array([-1, 0, 0, 0, -1, 2, 2]),
        core=np.array([0, 1, 1, 0, 0, 0, 1], dtype=bool),
        blank=np.array([1, 0, 0, 0, 1, 0, 0], dtype=bool),
        first=np.array([1, -1, 6]),
        last=np.array([2, -1, 6]),
        stop=np.array([4, 0, 7]),
    )


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("last", [2.0, 6.0]), ("mean", [1.5, 6.0]), ("mean+punctuation", [2.0, 5.5])],
)
def test_tokens_that_count(pooling: Any, expected: list[float]) -> None:
    states = np.arange(7, dtype=np.float32)[:, None] + np.array([0, 100], dtype=np.float32)
    pooled = pool_words(states, _tokens(), np.array([0, 2]), 0, pooling)
    np.testing.assert_allclose(pooled, np.array(expected)[:, None] + [0, 100], rtol=1e-6)
    assert pooled.dtype == np.float32
    part = pool_words(states[4:], _tokens(), np.array([2]), 4, pooling)
    np.testing.assert_array_equal(part, pooled[1:])


def test_unknown_pooling() -> None:
    with pytest.raises(ValueError, match="pooling='first' is unknown: use one of 'last', 'mean'"):
        pool_words(np.ones((7, 1)), _tokens(), np.array([0]), 0, "first")  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 4), max_size=6), st.sampled_from(["float32", "float64", "float16"]))
def test_groups_equal_a_loop(sizes: list[int], dtype: str) -> None:
    labels = np.repeat([f"s{i * 7 % 10}" for i in range(len(sizes))], sizes)
    values = np.random.default_rng(len(labels)).normal(size=(len(labels), 3)).astype(dtype)
    parts = np.split(values, np.cumsum(sizes)[:-1]) if sizes else []
    last, mean = pool_groups(values, labels, "last"), pool_groups(values, labels)
    assert last.shape == mean.shape == (len(sizes), 3)
    assert last.dtype == mean.dtype == values.dtype
    for row, part in enumerate(parts):
        np.testing.assert_array_equal(last[row], part[-1])
        np.testing.assert_allclose(
            mean[row], part.astype(float).mean(axis=0), rtol=4 * np.finfo(dtype).eps, atol=1e-7
        )


def test_bad_groups() -> None:
    values = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"values has shape \(3, 2\) and groups \(2,\)"):
        pool_groups(values, [0, 1])
    with pytest.raises(ValueError, match="0 comes up again at place 2"):
        pool_groups(values, [0, 1, 0])
    with pytest.raises(ValueError, match="how='first' is unknown"):
        pool_groups(values, [0, 1, 1], "first")  # type: ignore[arg-type]
    assert group_rows(np.array([4, 4, 1])).tolist() == [0, 0, 1]
