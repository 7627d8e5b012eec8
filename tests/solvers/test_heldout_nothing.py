"""Features that say nothing: every penalty scores exactly 0, and the largest wins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxridge.solvers import DelayedDesign, RidgeCVResult, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.plan import ROUTES
from voxridge.solvers.weights import coefficients
from voxridge.testing import make_responses, textbook_score, tolerance

RUNS = [14, 11, 15]
N = sum(RUNS)
ALPHAS = [1.0, 100.0, 10.0]


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def solve(x: np.ndarray, n_targets: int = 6, **options: Any) -> RidgeCVResult:
    y = make_responses(np.random.default_rng(0).standard_normal((N, 3)), n_targets).astype(x.dtype)
    folds = options.pop("folds", None) or make_folds("leave-one-run-out", RUNS)
    mean = y.mean(axis=0, dtype=np.float64)
    if not options.get("fit_intercept", True):
        mean[:] = 0.0
    targets = Targets(N, n_targets, lambda begin, end: y[:, begin:end], mean, np.ones(n_targets, dtype=bool))
    return solve_ridge_cv(DelayedDesign(x), targets, ALPHAS, folds, **options)


def assert_nothing(result: RidgeCVResult) -> None:
    np.testing.assert_array_equal(result.cv_scores, 0.0)
    np.testing.assert_array_equal(result.alpha, 100.0)
    np.testing.assert_array_equal(result.best_scores, 0.0)


@pytest.mark.parametrize("p", [3, 60])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_zeros(route: str, dtype: type, p: int, fit_intercept: bool) -> None:
    result = solve(np.zeros((N, p), dtype=dtype), solver=route, fit_intercept=fit_intercept)
    assert result.plan.route == route
    assert_nothing(result)
    np.testing.assert_array_equal(coefficients(result.weights), 0.0)


@pytest.mark.parametrize("p", [3, 60])
@pytest.mark.parametrize("value", [1.0, -0.5])
def test_constants(route: str, dtype: type, p: int, value: float) -> None:
    """Of which sums and means are exact."""
    assert_nothing(solve(np.full((N, p), value, dtype=dtype), solver=route))


@pytest.mark.parametrize("p", [3, 60])
def test_constants_of_different_size(route: str, dtype: type, p: int) -> None:
    row = np.random.default_rng(1).integers(-5, 6, p).astype(dtype)
    assert_nothing(solve(np.tile(row, (N, 1)), solver=route))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_many_targets(route: str, dtype: type, value: float) -> None:
    """On components, and a panel for each core."""
    assert_nothing(solve(np.full((N, 4), value, dtype=dtype), 1100, solver=route))


@pytest.mark.parametrize("solver", [route for route in ROUTES if not route.endswith("spectral")])
@pytest.mark.parametrize("p", [3, 60])
def test_weighted_samples(solver: str, dtype: type, p: int) -> None:
    weight = np.random.default_rng(2).uniform(0.5, 2, N)
    assert_nothing(solve(np.zeros((N, p), dtype=dtype), solver=solver, sample_weight=weight))


@pytest.mark.parametrize("solver", [route for route in ROUTES if not route.endswith("spectral")])
def test_pooled_predictions_are_the_training_means(solver: str, dtype: type) -> None:
    folds = make_folds("leave-one-run-out", RUNS)
    result = solve(np.zeros((N, 3), dtype=dtype), solver=solver, evaluation="pooled", folds=folds)
    y = truth(dtype)
    prediction = np.empty_like(y)
    for fold in folds:
        prediction[fold.validation] = y[fold.train].mean(axis=0)
    expected = np.tile(textbook_score(y, prediction, "correlation"), (3, 1))
    np.testing.assert_allclose(result.cv_scores, expected, rtol=0, atol=tolerance(dtype, 10))


def truth(dtype: type) -> np.ndarray:
    return (
        make_responses(np.random.default_rng(0).standard_normal((N, 3)), 6).astype(dtype).astype(np.float64)
    )


def test_r2_is_that_of_the_training_mean(route: str, dtype: type) -> None:
    folds = make_folds("leave-one-run-out", RUNS)
    result = solve(np.zeros((N, 3), dtype=dtype), solver=route, scoring="r2", folds=folds)
    y, expected = truth(dtype), np.zeros(6)
    for fold in folds:
        held, mean = y[fold.validation], y[fold.train].mean(axis=0)
        expected += textbook_score(held, np.tile(mean, (held.shape[0], 1)), "r2") / len(folds)
    np.testing.assert_allclose(result.cv_scores, np.tile(expected, (3, 1)), rtol=0, atol=tolerance(dtype, 10))
