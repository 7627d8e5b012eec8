"""Features that say nothing, and whose centred values are rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxridge.solvers import DelayedDesign, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.plan import ROUTES
from voxridge.testing import make_responses


def solve(x: np.ndarray, y: np.ndarray, alphas: Any, folds: Any, **options: Any) -> Any:
    mean = y.mean(axis=0, dtype=np.float64) * options.get("fit_intercept", True)
    targets = Targets(*y.shape, lambda begin, end: y[:, begin:end], mean, np.ones(y.shape[1], dtype=bool))
    return solve_ridge_cv(DelayedDesign(x), targets, alphas, folds, **options)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("value", "p"), [(0.1, 3), (0.1, 60), (0.7, 60), (-37.3, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("route", ROUTES)
def test_constant_features_score_zero(
    route: str, dtype: Any, value: float, p: int, fit_intercept: bool
) -> None:
    """Neither constant is exact in binary: what centring leaves of it is rounding."""
    runs = [14, 11, 15]
    y = make_responses(np.random.default_rng(0).standard_normal((40, 3)), 6).astype(dtype)
    x = np.full((40, p), value, dtype=dtype)
    folds = make_folds("leave-one-run-out", runs)
    result = solve(x, y, [1.0, 100.0, 10.0], folds, solver=route, fit_intercept=fit_intercept)
    np.testing.assert_array_equal(result.cv_scores, 0.0)
    np.testing.assert_array_equal(result.alpha, 100.0)
