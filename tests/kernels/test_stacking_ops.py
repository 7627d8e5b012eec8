"""The ops of stacked regression against numpy, and against the conditions that optimal weights meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge import _cpu
from voxridge.testing import relative_error


def weigh(p: np.ndarray, q: np.ndarray | None = None, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    n_targets, m, _ = p.shape
    weights, gaps = np.full((n_targets, m), -7.0), np.full(n_targets, -7.0)
    _cpu.simplex_qp(np.ascontiguousarray(p).reshape(n_targets * m, m), q, weights, gaps, threads)
    return weights, gaps


def products(residuals: np.ndarray) -> np.ndarray:
    """(v, n, m) to (v, m, m)."""
    return np.matmul(residuals.swapaxes(1, 2), residuals) / residuals.shape[1]


def conditions(p: np.ndarray, q: np.ndarray, weights: np.ndarray) -> float:
    """By how much the first-order conditions fail, relative to the terms of the gradient: where a weight is
    positive, it is as small as anywhere."""
    gradient = 2 * np.einsum("vij,vj->vi", p, weights) + q
    above = gradient - gradient.min(axis=1, keepdims=True)
    sizes = (2 * np.einsum("vij,vj->vi", np.abs(p), weights) + np.abs(q)).max(axis=1)
    return float(((weights * above).sum(axis=1) / np.maximum(sizes, 1e-300)).max())


# --- sums of products


@pytest.mark.parametrize("n_parts", [1, 2, 4, 5, 9])
@pytest.mark.parametrize(("n", "v"), [(1, 1), (64, 64), (70, 9), (130, 200), (0, 5), (3, 0)])
@pytest.mark.parametrize("with_truth", [False, True])
def test_residual_products(
    n_parts: int, n: int, v: int, with_truth: bool, dtype: type, rng: np.random.Generator
) -> None:
    wide = rng.standard_normal((n_parts + 1, n, v + 3)).astype(dtype)
    *parts, truth = (each[:, :v] for each in wide)  # rows are strided
    sums = np.ones((n_parts * (n_parts + 1) // 2, v))
    _cpu.residual_products(parts, truth if with_truth else None, sums, 2)
    residuals = [truth.astype(float) - part if with_truth else part.astype(float) for part in parts]
    expected = [1 + (residuals[i] * residuals[j]).sum(axis=0) for i in range(n_parts) for j in range(i + 1)]
    assert relative_error(sums, np.array(expected).reshape(sums.shape)) < 1e-13


def test_a_target_that_is_not_finite_harms_no_other(dtype: type, rng: np.random.Generator) -> None:
    parts = list(rng.standard_normal((3, 20, 30)).astype(dtype))
    clean, dirty = np.zeros((6, 30)), np.zeros((6, 30))
    _cpu.residual_products(parts, None, clean, 1)
    parts[1][7, 11], parts[2][3, 28] = np.nan, np.inf
    _cpu.residual_products(parts, None, dirty, 1)
    kept = np.setdiff1d(np.arange(30), [11, 28])
    np.testing.assert_array_equal(clean[:, kept], dirty[:, kept])
    assert np.isnan(dirty[2, 11])
    assert not np.isfinite(dirty[5, 28])


def test_sums_do_not_depend_on_threads_or_on_the_other_targets(rng: np.random.Generator) -> None:
    parts = list(rng.standard_normal((3, 150, 300), dtype=np.float32))
    whole, tiled = np.zeros((6, 300)), np.zeros((6, 300))
    _cpu.residual_products(parts, None, whole, 2)
    for begin, end in ((0, 7), (7, 100), (100, 300)):
        _cpu.residual_products([part[:, begin:end] for part in parts], None, tiled[:, begin:end], 1)
    np.testing.assert_array_equal(whole, tiled)


# --- weights


@pytest.mark.parametrize("m", [1, 2, 3, 8, 32])
@pytest.mark.parametrize("rank", [1, 2, 40])
@pytest.mark.parametrize("linear", [False, True])
def test_weights_meet_the_conditions(m: int, rank: int, linear: bool, rng: np.random.Generator) -> None:
    shared = 2 * rng.standard_normal((60, rank, 1))
    p = products(shared + rng.standard_normal((60, rank, m)))
    q = rng.standard_normal((60, m)) if linear else None
    before = p.copy(), None if q is None else q.copy()
    weights, gaps = weigh(p, q, 2)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-14)
    assert conditions(p, np.zeros((60, m)) if q is None else q, weights) < 1e-12
    assert gaps.min() >= 0
    assert gaps.max() < 1e-12 * np.abs(p).max()
    np.testing.assert_array_equal(p, before[0])
    if q is not None:
        np.testing.assert_array_equal(q, before[1])


@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 9), rank=st.integers(0, 5), linear=st.booleans())
@settings(max_examples=150, deadline=None)
def test_small_whole_numbers_are_full_of_ties(seed: int, m: int, rank: int, linear: bool) -> None:
    rng = np.random.default_rng(seed)
    p = products(rng.integers(-2, 3, (20, max(rank, 1), m)) * float(rank > 0))
    q = rng.integers(-1, 2, (20, m)).astype(float) * linear
    weights, _ = weigh(p, q)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-13)
    assert conditions(p, q, weights) < 1e-12


@pytest.mark.parametrize("decades", [3, 6])
def test_models_of_very_different_errors(decades: int, rng: np.random.Generator) -> None:
    scales = 10.0 ** rng.uniform(-decades / 2, decades / 2, (200, 1, 6))
    p = products(rng.standard_normal((200, 30, 6)) * scales)
    weights, _ = weigh(p)
    assert conditions(p, np.zeros((200, 6)), weights) < 1e-9


@pytest.mark.parametrize("exponent", [-900, -500, 500, 900])
def test_units_do_not_matter(exponent: int, rng: np.random.Generator) -> None:
    p, q = products(rng.standard_normal((30, 9, 5))), rng.standard_normal((30, 5))
    expected, _ = weigh(p, q)
    np.testing.assert_array_equal(weigh(np.ldexp(p, exponent), np.ldexp(q, exponent))[0], expected)


def test_against_scipy(rng: np.random.Generator) -> None:
    from scipy.optimize import minimize

    p, q = products(rng.standard_normal((12, 20, 4)) + rng.standard_normal((12, 20, 1))), np.zeros((12, 4))
    q[6:] = 0.3 * rng.standard_normal((6, 4))
    weights, _ = weigh(p, q)
    for one, linear, found in zip(p, q, weights, strict=True):
        best = minimize(
            lambda w, one=one, linear=linear: w @ one @ w + linear @ w,
            np.full(4, 0.25),
            jac=lambda w, one=one, linear=linear: 2 * one @ w + linear,
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-15},
        )
        np.testing.assert_allclose(found, best.x, atol=1e-6)


def test_against_cvxopt(rng: np.random.Generator) -> None:
    cvxopt: Any = pytest.importorskip("cvxopt")
    m = 8
    p = products(rng.standard_normal((25, 60, m)) + rng.standard_normal((25, 60, 1)))
    weights, _ = weigh(p)
    constraints = cvxopt.matrix(-np.eye(m)), cvxopt.matrix(np.zeros(m)), cvxopt.matrix(np.ones((1, m)))
    tight = {"show_progress": False, "abstol": 1e-13, "reltol": 1e-13, "feastol": 1e-13}
    for one, found in zip(p, weights, strict=True):
        quadratic, linear = cvxopt.matrix(2 * one), cvxopt.matrix(np.zeros(m))
        best = cvxopt.solvers.qp(quadratic, linear, *constraints, cvxopt.matrix(1.0), options=tight)
        np.testing.assert_allclose(found, np.ravel(best["x"]), atol=1e-6)


# --- what has no single answer


def test_copies_share_evenly(rng: np.random.Generator) -> None:
    residuals = rng.standard_normal((40, 50, 3))
    single, _ = weigh(products(residuals))
    doubled, _ = weigh(products(residuals[:, :, [0, 1, 2, 1, 1]]))
    np.testing.assert_allclose(doubled[:, [0, 2]], single[:, [0, 2]], atol=1e-12)
    np.testing.assert_array_equal(doubled[:, 1], doubled[:, 3])
    np.testing.assert_array_equal(doubled[:, 1], doubled[:, 4])
    np.testing.assert_allclose(doubled[:, [1, 3, 4]].sum(axis=1), single[:, 1], atol=1e-12)


def test_a_copy_in_float32_is_a_copy(rng: np.random.Generator) -> None:
    residuals = rng.standard_normal((10, 50, 3))
    residuals[:, :, 1] = residuals[:, :, 0].astype(np.float32)
    weights, _ = weigh(products(residuals))
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])


def test_no_errors_at_all_gives_even_weights() -> None:
    weights, gaps = weigh(np.zeros((2, 4, 4)))
    np.testing.assert_array_equal(weights, 0.25)
    np.testing.assert_array_equal(gaps, 0)


def test_a_perfect_model_takes_all(rng: np.random.Generator) -> None:
    residuals = rng.standard_normal((5, 20, 3))
    residuals[:, :, 1] = 0
    np.testing.assert_array_equal(weigh(products(residuals))[0], np.eye(3)[[1] * 5])


def test_a_mixture_that_cancels_is_found(rng: np.random.Generator) -> None:
    residuals = rng.standard_normal((5, 20, 3))
    residuals[:, :, 2] = -3 * residuals[:, :, 0]
    weights, _ = weigh(products(residuals))
    np.testing.assert_allclose(weights, np.tile([0.75, 0, 0.25], (5, 1)), atol=1e-10)


def test_what_is_not_finite_stays_where_it_is(rng: np.random.Generator) -> None:
    p, q = products(rng.standard_normal((6, 9, 3))), np.zeros((6, 3))
    expected, _ = weigh(p, q)
    p[1, 2, 0], p[3, 0, 0], q[4, 1] = np.nan, np.inf, np.nan
    weights, gaps = weigh(p, q)
    lost = np.array([False, True, False, True, True, False])
    assert np.isnan(weights[lost]).all()
    assert np.isnan(gaps[lost]).all()
    np.testing.assert_array_equal(weights[~lost], expected[~lost])


@pytest.mark.parametrize("p", [[[-1.0, 0], [0, 1]], [[1.0, 2], [2, 1]], [[0.0, 1], [1, 0]]])
def test_negative_curvature_is_told(p: list[list[float]]) -> None:
    weights, gaps = weigh(np.array([p]))
    assert np.isinf(gaps).all()
    assert np.isnan(weights).all()


def test_weights_do_not_depend_on_threads_or_on_the_other_targets(rng: np.random.Generator) -> None:
    p = products(rng.standard_normal((700, 5, 6)))
    whole, _ = weigh(p, threads=2)
    np.testing.assert_array_equal(np.concatenate([weigh(p[:3])[0], weigh(p[3:])[0]]), whole)


def test_shapes_are_checked() -> None:
    a, sums, gaps = np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(2)
    with pytest.raises(ValueError, match="parts is empty"):
        _cpu.residual_products([], a, sums, 1)
    with pytest.raises(ValueError, match=r"a part is \(2, 2\), the first one \(2, 3\)"):
        _cpu.residual_products([a, np.zeros((2, 2))], None, sums, 1)
    with pytest.raises(ValueError, match=r"truth is \(1, 3\), the parts \(2, 3\)"):
        _cpu.residual_products([a, a], a[:1], sums, 1)
    with pytest.raises(ValueError, match=r"sums is \(3, 3\), 1 parts give \(1, 3\)"):
        _cpu.residual_products([a], None, sums, 1)
    with pytest.raises(ValueError, match=r"2 targets of 3 models need p \(6, 3\)"):
        _cpu.simplex_qp(np.zeros((5, 3)), None, np.zeros((2, 3)), gaps, 1)
    with pytest.raises(ValueError, match=r"q is \(1, 3\), weights \(2, 3\)"):
        _cpu.simplex_qp(np.zeros((6, 3)), np.zeros((1, 3)), np.zeros((2, 3)), gaps, 1)
    with pytest.raises(ValueError, match="gaps must be a contiguous vector of 2"):
        _cpu.simplex_qp(np.zeros((6, 3)), None, np.zeros((2, 3)), np.zeros(3), 1)
