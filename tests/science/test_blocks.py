"""Block lengths against theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxridge.science.blocks import block_length


def in_theory(coefficient: float) -> int:
    """Shortest blocks that lose 5 % of the variance of products of two AR(1) series."""
    shared = coefficient ** (2 * np.arange(1, 1000))
    whole = 1 + 2 * shared.sum()
    for size in range(1, 999):
        kept = 1 + 2 * ((1 - np.arange(1, size) / size) * shared[: size - 1]).sum()
        if kept >= 0.95 * whole:
            return size
    raise AssertionError


@pytest.mark.parametrize("coefficient", [0.0, 0.3, 0.5, 0.7])
def test_permutation_length_is_that_of_theory(ar1: Any, coefficient: float) -> None:
    rng = np.random.default_rng(0)
    lengths = [300] * 6
    y, p = ar1(rng, coefficient, lengths, 300), ar1(rng, coefficient, lengths, 300)
    length = block_length(y, p, lengths, longest_delay=1)
    assert length == pytest.approx(in_theory(coefficient), rel=0.12, abs=0.5)
    assert block_length(y, p, lengths, longest_delay=1, tolerance=0.2) <= length


@pytest.mark.parametrize("coefficient", [0.3, 0.6])
def test_bootstrap_length_is_that_of_theory(ar1: Any, coefficient: float) -> None:
    """Of one AR(1) series: G/g = 2 a / (1 - a**2)."""
    series = ar1(np.random.default_rng(1), coefficient, [3000], 100)
    expected = (1.5 * (2 * coefficient / (1 - coefficient**2)) ** 2 * 3000) ** (1 / 3)
    assert block_length(series, purpose="bootstrap", longest_delay=0) == pytest.approx(expected, rel=0.15)


def test_what_counts_and_what_does_not(ar1: Any) -> None:
    rng = np.random.default_rng(2)
    y, p = ar1(rng, 0.5, [200] * 2, 40), ar1(rng, 0.5, [200] * 2, 40)
    length = block_length(y, p, [200, 200])
    raised = y.copy()
    raised[:200] += 50  # a run's own level
    assert block_length(raised, p, [200, 200]) == length
    spoilt, constant = y.copy(), p.copy()
    spoilt[5, :10] = np.nan
    constant[:, 10:20] = 3.3
    assert block_length(spoilt, constant, [200, 200]) == block_length(y[:, 20:], p[:, 20:], [200, 200])
    assert block_length(y, p, [200, 200], longest_delay=30) == 30
    assert block_length(y, p, [200, 200], longest_delay=1000) == 200
    assert block_length(y[:, 0], p[:, 0]) >= 4
    # Of a series that changes its sign every row no block misses anything.
    assert block_length((-1.0) ** np.arange(100), longest_delay=1) == 1


def test_refusals() -> None:
    y = np.random.default_rng(3).standard_normal((30, 2))
    with pytest.raises(ValueError, match="tolerance=5"):
        block_length(y, tolerance=5)
    with pytest.raises(ValueError, match="purpose='jackknife'"):
        block_length(y, purpose="jackknife")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"runs=\[20, 20\] has 40 rows in all and y_true has 30"):
        block_length(y, runs=[20, 20])
    with pytest.raises(ValueError, match="constant or not finite in every target"):
        block_length(y, np.ones_like(y))
    with pytest.raises(ValueError, match=r"y_true has 2 sample\(s\)"):
        block_length(y[:2])
    with pytest.raises(ValueError, match=r"y_true has shape \(30, 1, 2\)"):
        block_length(y[:, None])
