"""Grids of penalties: HuthLab's a and scikit-learn's alpha, and multiples of an eigenvalue of the design."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.solvers import (
    DelayedDesign,
    reference_eigenvalue,
    relative_alphas,
    squared_alphas,
    unsquared_alphas,
)
from voxridge.solvers.alphas import largest_eigenvalue
from voxridge.testing import DESIGNS, delayed_matrix, make_design, relative_error, textbook_ridge, tolerance


def eigenvalues(
    features: np.ndarray, delays: Sequence[int], runs: Sequence[int], centred: bool
) -> np.ndarray:
    """Of the Gram of the delayed design, ascending, from its singular values."""
    x = delayed_matrix(features, delays, runs)
    s = np.linalg.svd(x - x.mean(axis=0) * centred, compute_uv=False)
    return np.sort(np.concatenate([s**2, np.zeros(max(0, x.shape[1] - s.size))]))


def test_converters_are_each_others_inverse() -> None:
    a = np.logspace(1, 4, 15)
    np.testing.assert_array_equal(squared_alphas(a), a**2)
    np.testing.assert_allclose(unsquared_alphas(squared_alphas(a)), a, rtol=1e-15)
    assert squared_alphas(3.0) == 9.0
    assert squared_alphas([[1, 2]]).shape == (1, 2)
    assert squared_alphas(np.float32(0.1)).dtype == np.float64


def test_the_squared_alpha_gives_the_weights_of_the_formula_with_a() -> None:
    """``V diag(s / (s^2 + a^2)) U'y``, which defines a."""
    rng = np.random.default_rng(0)
    x, y, a = rng.standard_normal((40, 6)), rng.standard_normal((40, 3)), 7.0
    u, s, v_t = np.linalg.svd(x, full_matrices=False)
    coef, _ = textbook_ridge(x, y, float(squared_alphas(a)), fit_intercept=False)
    np.testing.assert_allclose(coef, v_t.T @ ((s / (s**2 + a**2))[:, None] * (u.T @ y)), rtol=1e-10)


@pytest.mark.parametrize("convert", [squared_alphas, unsquared_alphas])
@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_penalties_are_named(convert: Any, bad: float) -> None:
    with pytest.raises(ValueError, match=r"holds \[.*\]; every value must be finite and not negative"):
        convert([1.0, bad])


def test_a_square_that_overflows_is_an_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"a\*\*2 holds \[inf\]"):
            squared_alphas(1e200)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n", "p"), [(120, 7), (60, 40)])
def test_eigenvalues_of_delayed_runs(n: int, p: int, fit_intercept: bool, dtype: type) -> None:
    rng = np.random.default_rng(1)
    features = (rng.standard_normal((n, p)) * np.linspace(1, 3, p) + 4).astype(dtype)
    delays, runs = (0, 2, -1), [n // 2, n // 4, n - n // 2 - n // 4]
    expected = eigenvalues(features, delays, runs, fit_intercept)
    options: dict[str, Any] = {"delays": delays, "runs": runs, "fit_intercept": fit_intercept}
    assert reference_eigenvalue(features, **options) == pytest.approx(expected.mean(), rel=1e-12)
    assert reference_eigenvalue(features, "largest", **options) == pytest.approx(expected[-1], rel=1e-6)
    design = DelayedDesign(features, delays, runs)
    for reference in ("mean", "largest"):
        whole = reference_eigenvalue(features, reference, **options)
        assert reference_eigenvalue(design, reference, fit_intercept=fit_intercept) == whole


@pytest.mark.parametrize("kind", DESIGNS)
def test_the_largest_eigenvalue_of_designs_that_break_solvers(kind: str) -> None:
    """Equal eigenvalues, eight decades of them, and ranks below the order."""
    for n, p in ((90, 30), (30, 90)):
        x = make_design(kind, n, p)
        expected = eigenvalues(x, (0,), [n], True)[-1]
        assert reference_eigenvalue(x, "largest") == pytest.approx(expected, rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 40), decades=st.integers(0, 12))
def test_lanczos_finds_the_largest_eigenvalue(seed: int, size: int, decades: int) -> None:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((size, size)))
    values = 10.0 ** rng.uniform(-decades, 0, size)
    a = (q * values) @ q.T
    assert largest_eigenvalue(lambda v: a @ v, size, tolerance=1e-12) == pytest.approx(
        values.max(), rel=1e-10
    )


def test_a_zero_matrix_has_largest_eigenvalue_zero() -> None:
    assert largest_eigenvalue(lambda v: 0 * v, 5, tolerance=1e-6) == 0.0


def test_lanczos_that_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of springs: its largest eigenvalues lie too close together to be told apart."""
    monkeypatch.setattr("voxridge.solvers.alphas._MOST_STEPS", 60)
    with pytest.raises(RuntimeError, match="in 60 steps"):
        largest_eigenvalue(lambda v: np.convolve(v, [-1, 2, -1], "same"), 2000, tolerance=1e-14)


def test_relative_grids_scale_with_the_design() -> None:
    rng = np.random.default_rng(2)
    x, grid = rng.standard_normal((80, 5)), np.array([0.1, 1.0, 10.0])
    for reference in ("mean", "largest"):
        alphas = relative_alphas(grid, x, reference)
        np.testing.assert_allclose(alphas, grid * reference_eigenvalue(x, reference))
        np.testing.assert_allclose(relative_alphas(grid, 10 * x, reference), 100 * alphas, rtol=1e-5)
        # an offset does not matter to a fit with an intercept
        np.testing.assert_allclose(relative_alphas(grid, x + 1000, reference), alphas, rtol=1e-5)


def test_results_do_not_vary(dtype: type) -> None:
    x = make_design("generic", 70, 20).astype(dtype)
    assert reference_eigenvalue(x, "largest") == reference_eigenvalue(x.copy(), "largest")


def test_the_sum_of_squares_is_the_same_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = make_design("generic", 50, 6)
    whole = reference_eigenvalue(x, delays=(0, 1))
    monkeypatch.setattr("voxridge.solvers.alphas._BLOCK_BYTES", 1000)
    assert relative_error(reference_eigenvalue(x, delays=(0, 1)), whole) <= tolerance("f8")


def test_integers_are_features_too() -> None:
    x = np.arange(12).reshape(6, 2)
    assert reference_eigenvalue(x) == reference_eigenvalue(x.astype(float))


@pytest.mark.parametrize("constant", [1.0, 1 / 3, 1e8 / 3])
def test_constant_features_have_no_scale(constant: float) -> None:
    x = np.full((1000, 3), constant)
    assert reference_eigenvalue(x, "largest") == 0.0
    with pytest.raises(ValueError, match="features are constant"):
        relative_alphas([1.0], x)
    assert reference_eigenvalue(x, fit_intercept=False) == pytest.approx(1000 * constant**2)


def test_bad_options_are_named() -> None:
    x = np.ones((9, 2))
    with pytest.raises(ValueError, match="reference='median' is not known"):
        reference_eigenvalue(x, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the design given has its own delays"):
        relative_alphas([1.0], DelayedDesign(x), delays=(1, 2))
    with pytest.raises(ValueError, match="alphas holds"):
        relative_alphas([-1.0], np.eye(3))
