"""Closed-form leave-one-out against n refits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.solvers.loo import leave_one_out
from voxridge.solvers.ridge import solve_ridge

SHAPES = [(20, 5), (5, 20), (12, 12), (13, 12), (12, 13), (2, 1), (2, 6), (3, 1)]


def problem(n, p, v=4, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, p)) + 1).astype(dtype), (rng.normal(size=(n, v)) + 2).astype(dtype)


def brute_force(x, y, alpha, fit_intercept, weight):
    n = x.shape[0]
    errors = np.empty_like(y)
    for i in range(n):
        rest = np.arange(n) != i
        coef, b, _ = solve_ridge(
            x[rest],
            y[rest],
            alpha,
            fit_intercept=fit_intercept,
            sample_weight=None if weight is None else weight[rest],
            solver="svd",
        )
        errors[i] = y[i] - (coef @ x[i] + b)
    return errors


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weights", [None, "positive", "some zero"])
@pytest.mark.parametrize("mode", ["eigen", "svd", "auto"])
def test_equals_refitting(shape, fit_intercept, weights, mode):
    x, y = problem(*shape)
    n = shape[0]
    weight = None if weights is None else np.linspace(0.4, 3, n)
    if weights == "some zero" and n > 3:
        weight[1::4] = 0.0
    alphas = [1e-3, 1.0, 300.0]
    loo = leave_one_out(x, y, alphas, fit_intercept=fit_intercept, sample_weight=weight, mode=mode)
    tile = loo.tile(slice(None))
    scores = loo.mean_squared_errors()
    for i, alpha in enumerate(alphas):
        expected = brute_force(x, y, alpha, fit_intercept, weight)
        np.testing.assert_allclose(tile.errors(i), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
        squares = expected**2 * (1.0 if weight is None else weight[:, None])
        np.testing.assert_allclose(scores[i], squares.mean(0), rtol=1e-9)


@pytest.mark.parametrize("shape", [(15, 10), (10, 15)])
@pytest.mark.parametrize("mode", ["eigen", "svd"])
def test_rank_deficient_and_constant_features(shape, mode):
    n, p = shape
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, 3)) @ rng.normal(size=(3, p))
    x[:, 0] = 7.0
    y = rng.normal(size=(n, 2))
    loo = leave_one_out(x, y, [0.01, 10.0], mode=mode)
    for i, alpha in enumerate([0.01, 10.0]):
        expected = brute_force(x, y, alpha, True, None)
        np.testing.assert_allclose(loo.tile(slice(None)).errors(i), expected, rtol=0, atol=1e-9)


def test_interpolating_fit_keeps_its_digits_at_tiny_alpha():
    """With n - 1 <= p the fit passes through the data, and 1 - leverage is of the order of alpha."""
    x, y = problem(10, 30)
    loo = leave_one_out(x, y, [1e-9])
    expected = brute_force(x, y, 1e-9, True, None)
    np.testing.assert_allclose(loo.tile(slice(None)).errors(0), expected, rtol=1e-7)


def test_auto_turns_to_the_svd_below_the_rounding_of_the_gram_matrix():
    x, y = problem(20, 5)
    assert leave_one_out(x, y, [1.0]).basis.kind == "primal"
    assert leave_one_out(x, y, [1e-18, 1.0]).basis.kind == "svd"
    assert leave_one_out(x, y, [1e-18], mode="eigen").basis.kind == "primal"


@settings(deadline=None, max_examples=20)
@given(n=st.integers(3, 15), p=st.integers(1, 15), alpha=st.floats(1e-2, 1e2), seed=st.integers(0, 999))
def test_property_equals_refitting(n, p, alpha, seed):
    x, y = problem(n, p, v=2, seed=seed)
    loo = leave_one_out(x, y, [alpha])
    expected = brute_force(x, y, alpha, True, None)
    np.testing.assert_allclose(
        loo.tile(slice(None)).errors(0), expected, rtol=0, atol=1e-10 * np.abs(expected).max()
    )


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_weights_from_the_same_decomposition_and_tiles(shape):
    x, y = problem(*shape, v=7)
    alphas = np.geomspace(0.1, 10, 7)
    loo = leave_one_out(x, y, [0.1, 10.0])
    np.testing.assert_allclose(loo.solve(alphas).coef, solve_ridge(x, y, alphas).coef, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        loo.mean_squared_errors(n_targets_batch=2), loo.mean_squared_errors(), rtol=1e-12
    )


@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
def test_float32(shape):
    x, y = problem(*shape, dtype=np.float32)
    loo = leave_one_out(x, y, [0.1, 10.0])
    exact = leave_one_out(x.astype(float), y.astype(float), [0.1, 10.0])
    assert loo.tile(slice(None)).errors(0).dtype == np.float32
    assert loo.solve(np.ones(4)).coef.dtype == np.float32
    np.testing.assert_allclose(loo.mean_squared_errors(), exact.mean_squared_errors(), rtol=1e-4)


def test_inputs_are_not_touched():
    x, y = problem(12, 5)
    weight = np.linspace(0, 1, 12)
    before = x.copy(), y.copy(), weight.copy()
    for a in (x, y, weight):
        a.flags.writeable = False
    loo = leave_one_out(x, y, [1.0], sample_weight=weight)
    loo.tile(slice(None)).errors(0)
    assert all((a == b).all() for a, b in zip((x, y, weight), before, strict=True))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"alphas": []}, "non-empty list of positive"),
        ({"alphas": [1.0, 0.0]}, "positive"),
        ({"alphas": [np.nan]}, "positive"),
        ({"y": np.ones((4, 1))}, r"x \(5, 3\) and y \(4, 1\)"),
        ({"x": np.ones((1, 3)), "y": np.ones((1, 1))}, "at least 2 samples.*n_samples=1"),
        ({"sample_weight": np.array([1.0, 0, 0, 0, 0])}, "at least 2 samples"),
    ],
)
def test_bad_input(change, match):
    arguments = {"x": np.eye(5, 3), "y": np.ones((5, 1)), "alphas": [1.0]} | change
    with pytest.raises(ValueError, match=match):
        leave_one_out(**arguments)
