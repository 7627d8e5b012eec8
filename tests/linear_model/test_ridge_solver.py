"""solve_ridge against scikit-learn, against itself on every route, and against what the mathematics says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SkRidge

import voxridge.solvers.dense as dense
from voxridge._warnings import SingularDesignWarning
from voxridge.solvers.ridge import solve_ridge

SHAPES = [(40, 7), (7, 40), (20, 20), (21, 20), (20, 21), (2, 1), (2, 9), (1, 1), (1, 4)]


def problem(n, p, v=5, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * rng.uniform(0.5, 2.0, p) + 3
    return x.astype(dtype), (rng.normal(size=(n, v)) + 5).astype(dtype)


def assert_close(a, b, rtol=1e-10):
    scale = max(np.abs(b).max(initial=0.0), 1e-3)
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["auto", "cholesky", "eigen", "svd"])
@pytest.mark.parametrize("per_target", [False, True])
def test_equals_scikit_learn(shape, fit_intercept, weighted, solver, per_target):
    x, y = problem(*shape)
    alpha = np.geomspace(0.1, 30, 5) if per_target else 0.7
    weight = np.linspace(0.5, 2, shape[0]) if weighted else None
    expected = SkRidge(alpha, fit_intercept=fit_intercept).fit(x, y, weight)
    got = solve_ridge(x, y, alpha, fit_intercept=fit_intercept, sample_weight=weight, solver=solver)
    assert_close(got.coef, expected.coef_)
    assert_close(got.intercept, np.broadcast_to(expected.intercept_, 5))


@pytest.mark.parametrize(("n", "p"), [(30, 6), (6, 30)])
@pytest.mark.parametrize("solver", ["cholesky", "eigen", "svd"])
def test_tiles_and_blocks_do_not_change_the_result(n, p, solver, monkeypatch):
    x, y = problem(n, p, v=11)
    alpha = np.geomspace(0.1, 10, 11)
    whole = solve_ridge(x, y, alpha, solver=solver)
    monkeypatch.setattr(dense, "BLOCK_BYTES", 8 * 7)
    tiled = solve_ridge(x, y, alpha, solver=solver, n_targets_batch=3)
    assert_close(tiled.coef, whole.coef, 1e-12)
    assert_close(tiled.intercept, whole.intercept, 1e-12)


def test_auto_takes_the_eigenbasis_only_for_many_distinct_alphas():
    x, y = problem(60, 10, v=200)
    assert solve_ridge(x, y, 1.0).route == "primal-cholesky"
    assert solve_ridge(x.T.copy(), problem(10, 1, v=200)[1], 1.0).route == "dual-cholesky"
    few = np.repeat([1.0, 2.0], 100)
    assert solve_ridge(x, y, few).route == "primal-cholesky"
    x, y = problem(60, 50, v=200)
    assert solve_ridge(x, y, np.geomspace(1, 9, 200)).route == "primal-eigen"
    x, y = problem(40, 70, v=200)
    assert solve_ridge(x, y, np.geomspace(1, 9, 200)).route == "dual-eigen"


@pytest.mark.parametrize(("n", "p"), [(30, 8), (8, 30)])
def test_rank_deficient_unpenalised_gives_the_least_norm_solution(n, p):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 3)) @ rng.normal(size=(3, p)) + 2
    y = rng.normal(size=(n, 4))
    with pytest.warns(SingularDesignWarning, match="alpha = 0"):
        got = solve_ridge(x, y, 0.0)
    centred = x - x.mean(0)
    expected = np.linalg.pinv(centred, rcond=1e-12) @ (y - y.mean(0))
    assert got.route == "svd"
    assert_close(got.coef, expected.T, 1e-9)


def test_alpha_zero_on_full_rank_is_least_squares():
    x, y = problem(50, 6)
    expected = np.linalg.lstsq(np.column_stack([np.ones(50), x]), y, rcond=None)[0]
    got = solve_ridge(x, y, 0.0)
    assert got.route == "primal-cholesky"
    assert_close(got.coef, expected[1:].T, 1e-9)
    assert_close(got.intercept, expected[0], 1e-9)


def test_features_of_very_different_units_are_not_called_singular():
    x, y = problem(50, 4)
    scale = np.array([1.0, 1e-9, 1e6, 1.0])
    got = solve_ridge(x * scale, y, 0.0)
    assert_close(got.coef * scale, solve_ridge(x, y, 0.0).coef, 1e-8)


def test_constant_feature_gets_weight_zero_even_unpenalised():
    x, y = problem(30, 4)
    x[:, 2] = 0.1
    with pytest.warns(SingularDesignWarning):
        got = solve_ridge(x, y, 0.0)
    assert (got.coef[:, 2] == 0).all()
    keep = [0, 1, 3]
    assert_close(got.coef[:, keep], solve_ridge(x[:, keep], y, 0.0).coef, 1e-9)


@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
@pytest.mark.parametrize("solver", ["cholesky", "eigen", "svd"])
def test_float32_is_kept_and_accurate(shape, solver):
    x, y = problem(*shape, dtype=np.float32)
    got = solve_ridge(x, y, 0.5, solver=solver)
    assert got.coef.dtype == got.intercept.dtype == np.float32
    exact = solve_ridge(x.astype(float), y.astype(float), 0.5)
    assert_close(got.coef, exact.coef, 2e-6)
    assert_close(got.intercept, exact.intercept, 5e-6)


@pytest.mark.parametrize("shape", [(300, 60), (60, 300)])
@pytest.mark.parametrize("solver", ["cholesky", "eigen", "svd"])
def test_float32_on_a_steep_spectrum(shape, solver):
    """Seven decades of eigenvalues above alpha: the error stays near float32's own rounding of the answer."""
    rng = np.random.default_rng(0)
    k = min(shape)
    u, v = np.linalg.qr(rng.normal(size=(shape[0], k)))[0], np.linalg.qr(rng.normal(size=(shape[1], k)))[0]
    x = ((u * np.geomspace(3e3, 1.0, k)) @ v.T).astype(np.float32)
    y = (u @ rng.normal(size=(k, 4))).astype(np.float32)
    got = solve_ridge(x, y, 1.0, solver=solver)
    exact = solve_ridge(x.astype(float), y.astype(float), 1.0, solver="svd")
    assert_close(got.coef, exact.coef, 3e-6)


def test_large_offsets_do_not_cost_precision():
    x, y = problem(80, 5)
    got = solve_ridge(x + 1e6, y + 1e6, 2.0)
    assert_close(got.coef, solve_ridge(x, y, 2.0).coef, 1e-8)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 25),
    p=st.integers(1, 25),
    alpha=st.floats(1e-3, 1e3),
    intercept=st.booleans(),
    solver=st.sampled_from(["cholesky", "eigen", "svd"]),
    seed=st.integers(0, 1000),
)
def test_stationarity(n, p, alpha, intercept, solver, seed):
    """X'S(Y - b - XW) = alpha W, and the weighted residuals of a fit with an intercept sum to zero."""
    x, y = problem(n, p, v=3, seed=seed)
    weight = np.random.default_rng(seed).uniform(0.2, 3, n)
    coef, b, _ = solve_ridge(x, y, alpha, fit_intercept=intercept, sample_weight=weight, solver=solver)
    left = weight[:, None] * (y - b - x @ coef.T)
    size = np.abs(x).T @ (weight[:, None] * (np.abs(y) + np.abs(x) @ np.abs(coef.T)))
    assert (np.abs(x.T @ left - alpha * coef.T) <= 1e-11 * size + 1e-12).all()
    if intercept:
        assert np.abs(left.sum(0)).max() <= 1e-10 * np.abs(weight[:, None] * y).sum()


@settings(deadline=None, max_examples=20)
@given(n=st.integers(2, 20), p=st.integers(1, 20), seed=st.integers(0, 1000))
def test_norm_falls_with_alpha(n, p, seed):
    x, y = problem(n, p, v=3, seed=seed)
    norms = [np.linalg.norm(solve_ridge(x, y, a).coef, axis=1) for a in np.geomspace(1e-2, 1e4, 9)]
    assert (np.diff(norms, axis=0) <= 1e-12).all()


@settings(deadline=None, max_examples=15)
@given(n=st.integers(2, 20), p=st.integers(1, 20), seed=st.integers(0, 1000))
def test_targets_together_equal_each_alone(n, p, seed):
    x, y = problem(n, p, v=4, seed=seed)
    alphas = np.array([0.1, 3.0, 0.1, 50.0])
    together = solve_ridge(x, y, alphas)
    for j in range(4):
        alone = solve_ridge(x, y[:, j : j + 1], alphas[j])
        assert_close(together.coef[j], alone.coef[0], 1e-11)


@pytest.mark.parametrize("solver", ["cholesky", "eigen", "svd"])
@pytest.mark.parametrize(("n", "p"), [(12, 4), (5, 9)])
def test_weights_are_repetitions(solver, n, p):
    x, y = problem(n, p)
    times = np.arange(n) % 3
    weighted = solve_ridge(x, y, 1.5, sample_weight=times, solver=solver)
    repeated = solve_ridge(x.repeat(times, 0), y.repeat(times, 0), 1.5, solver=solver)
    assert_close(weighted.coef, repeated.coef, 1e-11)


def test_inputs_are_not_touched_and_may_have_any_layout():
    x, y = problem(30, 12)
    expected = solve_ridge(x, y, 1.0, sample_weight=np.ones(30))
    wide = np.zeros((60, 24))
    wide[::2, ::-2] = x
    layouts = [np.asfortranarray(x), wide[::2, ::-2]]
    for layout in layouts:
        layout.flags.writeable = False
        before = layout.copy()
        got = solve_ridge(layout, np.asfortranarray(y), 1.0, sample_weight=np.ones(30))
        assert_close(got.coef, expected.coef, 1e-12)
        assert (layout == before).all()


def test_no_targets():
    x, _ = problem(5, 3)
    got = solve_ridge(x, np.empty((5, 0)), 1.0)
    assert got.coef.shape == (0, 3)
    assert got.intercept.shape == (0,)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"y": np.zeros((4, 1))}, ValueError, r"\(5, 3\) and y \(4, 1\)"),
        ({"y": np.zeros(5)}, ValueError, r"y \(5,\)"),
        ({"x": np.zeros((0, 3)), "y": np.zeros((0, 1))}, ValueError, "at least one sample"),
        ({"x": np.zeros((5, 3), int)}, TypeError, "x must be float32 or float64; got int64"),
        ({"alpha": -1.0}, ValueError, "alpha must be finite and >= 0; got -1"),
        ({"alpha": np.nan}, ValueError, "got nan"),
        ({"alpha": [1.0, 2.0]}, ValueError, r"1 targets, alpha of shape \(2,\)"),
        ({"alpha": []}, ValueError, r"shape \(0,\)"),
        ({"sample_weight": np.ones(4)}, ValueError, r"shape \(5,\), one per row of x \(5, 3\); got \(4,\)"),
        ({"sample_weight": -np.ones(5)}, ValueError, "non-negative"),
        ({"sample_weight": np.zeros(5)}, ValueError, "at least one positive"),
        ({"solver": "lu"}, ValueError, "solver must be"),
        ({"n_targets_batch": 0}, ValueError, "n_targets_batch"),
    ],
)
def test_bad_input(change, error, match):
    arguments = {"x": np.eye(5, 3), "y": np.ones((5, 1)), "alpha": 1.0} | change
    with pytest.raises(error, match=match):
        solve_ridge(**arguments)
