"""Scores against numpy's own formulas, and what must hold for any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.science.scores import correlation_score, r2_score


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((40, 7))
    return y, y + rng.standard_normal((40, 7))


def test_correlation_equals_numpy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = pair
    expected = [np.corrcoef(y[:, t], p[:, t])[0, 1] for t in range(7)]
    np.testing.assert_allclose(correlation_score(y, p), expected, rtol=1e-13)


def test_r2_equals_the_textbook(pair: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = pair
    expected = 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(r2_score(y, p), expected, rtol=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(-1e4, 1e4), st.floats(1e-9, 1e9))
def test_correlation_ignores_shift_and_scale(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((30, 3))
    p = rng.standard_normal((30, 3))
    # A shift much larger than the spread costs digits by their ratio.
    np.testing.assert_allclose(
        correlation_score(y, (p + shift) * scale),
        correlation_score(y, p),
        atol=1e-13 * max(1.0, abs(shift)),
        rtol=0,
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_bounds_and_targets_alone_equal_targets_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.standard_normal((2, 12, 5))
    r, r2 = correlation_score(y, p), r2_score(y, p)
    assert np.all(np.abs(r) <= 1)
    assert np.all(r2 <= r**2 + 1e-12)
    for t in range(5):
        assert correlation_score(y[:, t], p[:, t])[0] == pytest.approx(r[t], abs=1e-14)
        assert r2_score(y[:, t], p[:, t])[0] == pytest.approx(r2[t], abs=1e-12)


def test_constant_columns_are_nan_others_untouched(pair: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = (a.copy() for a in pair)
    before_r, before_r2 = correlation_score(y, p), r2_score(y, p)
    y[:, 2] = 0.1
    p[:, 4] = 1e5 / 3
    y[5, 6] = np.nan
    r, r2 = correlation_score(y, p), r2_score(y, p)
    np.testing.assert_array_equal(np.isnan(r), [False, False, True, False, True, False, True])
    np.testing.assert_array_equal(np.isnan(r2), [False, False, True, False, False, False, True])
    np.testing.assert_array_equal(r[[0, 1, 3, 5]], before_r[[0, 1, 3, 5]])
    np.testing.assert_array_equal(r2[[0, 1, 3, 5]], before_r2[[0, 1, 3, 5]])


def test_float32_is_accumulated_in_float64() -> None:
    rng = np.random.default_rng(1)
    y = (1e4 + rng.standard_normal((5000, 2))).astype(np.float32)
    p = y + rng.standard_normal((5000, 2)).astype(np.float32)
    np.testing.assert_allclose(
        correlation_score(y, p), correlation_score(y.astype(float), p.astype(float)), rtol=1e-14
    )


def test_small_and_large_units_do_not_underflow() -> None:
    rng = np.random.default_rng(2)
    y, p = rng.standard_normal((2, 20, 2))
    np.testing.assert_allclose(correlation_score(y * 1e-180, p * 1e180), correlation_score(y, p), rtol=1e-12)
    np.testing.assert_allclose(r2_score(y * 1e-180, p * 1e-180), r2_score(y, p), rtol=1e-12)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    y, p = rng.standard_normal((2, 10, 23))
    whole = correlation_score(y, p)
    monkeypatch.setattr("voxridge.science.scores._BLOCK_ELEMENTS", 40)
    np.testing.assert_array_equal(correlation_score(y, p), whole)


@pytest.mark.parametrize("score", [correlation_score, r2_score])
def test_bad_input_is_named(score) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"\(4, 2\).*\(4, 3\)"):
        score(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="at least 2"):
        score(np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="y_true has shape"):
        score(np.zeros((4, 2, 2)), np.zeros((4, 2, 2)))
    with pytest.raises(TypeError, match="y_pred has dtype complex128"):
        score(np.zeros((4, 2)), np.zeros((4, 2), dtype=complex))
    assert score(np.zeros((4, 0)), np.zeros((4, 0))).shape == (0,)
