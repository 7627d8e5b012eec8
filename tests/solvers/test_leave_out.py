"""The leave-out routes against refitting without the held-out samples, whatever is held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge._warnings import FallbackWarning
from voxridge.solvers import DelayedDesign, RidgeCVResult, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.bases import dual_basis, primal_basis
from voxridge.solvers.folds import Fold
from voxridge.solvers.leave_out import held_out_sets, leverage
from voxridge.solvers.weights import coefficients
from voxridge.testing import (
    DESIGNS,
    make_design,
    make_responses,
    relative_error,
    textbook_ridge,
    textbook_score,
    textbook_scores,
    tolerance,
)

ROUTES = ("primal-leave-out", "dual-leave-out", "primal-cholesky", "dual-cholesky", "svd")
RUNS = [31, 24, 35, 30]
N = sum(RUNS)


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def targets_of(y: np.ndarray, centre: bool = True) -> Targets:
    mean = y.mean(axis=0, dtype=np.float64) if centre else np.zeros(y.shape[1])
    return Targets(y.shape[0], y.shape[1], lambda b, e: y[:, b:e], mean, np.ones(y.shape[1], dtype=bool))


def solve(x: np.ndarray, y: np.ndarray, alphas: Any, folds: list[Fold], **options: Any) -> RidgeCVResult:
    return solve_ridge_cv(DelayedDesign(x), targets_of(y), alphas, folds, **options)


def pairs(folds: list[Fold]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(fold.train, fold.validation) for fold in folds]


def bootstraps(n: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Chunks of 5 samples held out at random, overlapping from one to the next."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(count):
        chunks = rng.choice(n // 5, 6, replace=False)
        held = np.sort((chunks[:, None] * 5 + np.arange(5)).ravel())
        found.append((np.setdiff1d(np.arange(n), held), held))
    return found


HELD_OUT: dict[str, Any] = {
    "runs": lambda: make_folds("leave-one-run-out", RUNS),
    "purged": lambda: make_folds(4, [N], gap=3),
    "bootstraps": lambda: make_folds(bootstraps(N, 8), [N], gap=0),
    "half": lambda: make_folds([(np.arange(50), np.arange(60, N))], [N], gap=0),
}


@pytest.mark.parametrize("held_out", HELD_OUT)
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("p", [15, 90, 200])
def test_float64_scores_equal_refits(route: str, held_out: str, scoring: str, p: int) -> None:
    """1e-8, over 8 decades of penalties."""
    x = make_design("generic", N, p)
    y = make_responses(x, 5)
    folds = HELD_OUT[held_out]()
    alphas = np.logspace(-3, 5, 5)
    result = solve(x, y, alphas, folds, scoring=scoring, solver=route)
    expected = textbook_scores(x, y, alphas, pairs(folds), scoring)
    assert relative_error(result.cv_scores, expected) < 1e-8
    coef, intercept = textbook_ridge(x, y, result.alpha)
    assert relative_error(coefficients(result.weights), coef) < 1e-8
    assert relative_error(result.intercept, intercept) < 1e-8


@pytest.mark.parametrize("kind", DESIGNS)
@pytest.mark.parametrize("p", [40, 160])
def test_float32_scores_are_within_2e_6_of_float64(route: str, kind: str, p: int) -> None:
    """Over 6 decades of penalties below the largest eigenvalue. Not where no sample says anything of another
    (orthonormal rows): there a prediction is the float32 rounding of the features, and so is its score."""
    if kind == "orthonormal" and p > N:
        pytest.skip("nothing is predicted")
    x = make_design(kind, N, p).astype(np.float32)
    y = make_responses(x.astype(np.float64), 6).astype(np.float32)
    folds = make_folds("leave-one-run-out", RUNS)
    alphas = np.linalg.norm(x.astype(np.float64), 2) ** 2 * np.logspace(-6, 0, 7)
    result = solve(x, y, alphas, folds, solver=route)
    assert np.abs(result.cv_scores - textbook_scores(x, y, alphas, pairs(folds), "correlation")).max() < 2e-6
    assert coefficients(result.weights).dtype in (np.float32, np.float64)
    coef, intercept = textbook_ridge(x, y, result.alpha)
    fitted = x @ coefficients(result.weights).astype(float) + result.intercept
    # How far 1e-5 is from it depends on the kernels that BLAS has for a processor.
    slack = 10 if kind == "ill-conditioned" else 5
    assert relative_error(fitted, x @ coef + intercept) < tolerance(np.float32, slack)


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("p", [15, 90])
def test_leave_one_out_pools_the_predictions(
    route: str, scoring: str, p: int, dtype: type, rng: np.random.Generator
) -> None:
    n = 60
    x = rng.standard_normal((n, p)).astype(dtype)
    y = make_responses(x.astype(float), 4).astype(dtype)
    alphas = np.logspace(0, 3, 4)
    folds = make_folds("leave-one-out", [n])
    result = solve(x, y, alphas, folds, scoring=scoring, evaluation="pooled", solver=route)
    for a, alpha in enumerate(alphas):
        prediction = np.empty((n, 4))
        for fold in folds:
            coef, intercept = textbook_ridge(x[fold.train], y[fold.train], alpha)
            prediction[fold.validation] = x[fold.validation] @ coef + intercept
        expected = textbook_score(y.astype(float), prediction, scoring)
        assert relative_error(result.cv_scores[a], expected) < (1e-8 if dtype == np.float64 else 2e-6)


def test_pooled_scores_of_larger_folds(route: str) -> None:
    x = make_design("generic", N, 30)
    y = make_responses(x, 4)
    folds = make_folds(10, [N], gap=2)
    result = solve(x, y, [1.0, 100.0], folds, evaluation="pooled", solver=route, scoring="r2")
    for a, alpha in enumerate([1.0, 100.0]):
        prediction = np.empty_like(y)
        for fold in folds:
            coef, intercept = textbook_ridge(x[fold.train], y[fold.train], alpha)
            prediction[fold.validation] = x[fold.validation] @ coef + intercept
        assert relative_error(result.cv_scores[a], textbook_score(y, prediction, "r2")) < 1e-8


def test_without_an_intercept(route: str) -> None:
    x = make_design("generic", N, 40) + 0.5
    y = make_responses(x, 4)
    folds, alphas = make_folds("leave-one-run-out", RUNS), np.logspace(-1, 3, 4)
    result = solve_ridge_cv(
        DelayedDesign(x), targets_of(y, centre=False), alphas, folds, fit_intercept=False, solver=route
    )
    expected = textbook_scores(x, y, alphas, pairs(folds), "correlation", fit_intercept=False)
    assert relative_error(result.cv_scores, expected) < 1e-8
    assert not result.intercept.any()


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("p", [15, 90])
def test_an_integer_weight_is_that_many_samples(
    route: str, scoring: str, p: int, rng: np.random.Generator
) -> None:
    weight = rng.integers(0, 4, N)
    x = rng.standard_normal((N, p)) + 1.0
    y = make_responses(x, 3)
    folds, alphas = make_folds("leave-one-run-out", RUNS), np.logspace(-1, 3, 4)
    result = solve(x, y, alphas, folds, scoring=scoring, sample_weight=weight, solver=route)
    repeated = np.repeat(np.arange(N), weight)
    times = [np.flatnonzero(np.isin(repeated, fold.validation)) for fold in folds]
    again = [(np.setdiff1d(np.arange(repeated.size), held), held) for held in times]
    expected = textbook_scores(x[repeated], y[repeated], alphas, again, scoring)
    assert relative_error(result.cv_scores, expected) < 1e-8
    coef, intercept = textbook_ridge(x[repeated], y[repeated], result.alpha)
    assert relative_error(coefficients(result.weights), coef) < 1e-8
    assert relative_error(result.intercept, intercept) < 1e-8


@pytest.mark.parametrize("p", [15, 200])
@pytest.mark.parametrize("solver", ["primal-leave-out", "dual-leave-out", "svd"])
def test_generalised_cross_validation(solver: str, p: int, rng: np.random.Generator) -> None:
    x = rng.standard_normal((N, p))
    y = make_responses(x, 4)
    alphas = np.logspace(0, 4, 5)
    result = solve(
        x, y, alphas, make_folds("leave-one-out", [N]), scoring="r2", evaluation="gcv", solver=solver
    )
    centred = x - x.mean(axis=0)
    for a, alpha in enumerate(alphas):
        smoother = centred @ np.linalg.solve(centred.T @ centred + alpha * np.eye(p), centred.T) + 1 / N
        residual = y - smoother @ y
        gcv = N * (residual**2).sum(axis=0) / np.trace(np.eye(N) - smoother) ** 2
        assert relative_error(result.cv_scores[a], 1 - gcv / y.var(axis=0)) < 1e-8


def test_groups_share_their_best_mean_score(route: str) -> None:
    x = make_design("generic", N, 30)
    y = make_responses(x, 9)
    folds, alphas = make_folds("leave-one-run-out", RUNS), np.logspace(-1, 4, 6)
    labels = np.array(["V1", "V1", "A1", "A1", "A1", "x", "V1", "x", "x"])
    result = solve(x, y, alphas, folds, alpha_per_target=labels, solver=route)
    scores = textbook_scores(x, y, alphas, pairs(folds), "correlation")
    for label in ("V1", "A1", "x"):
        best = alphas[scores[:, labels == label].mean(axis=1).argmax()]
        assert (result.alpha[labels == label] == best).all()
    coef, _ = textbook_ridge(x, y, result.alpha)
    assert relative_error(coefficients(result.weights), coef) < 1e-8


def test_ties_go_to_the_larger_penalty(route: str) -> None:
    x = make_design("generic", N, 10)
    y = make_responses(x, 3)
    result = solve(
        x, y, [10.0, 1.0, 10.0, 1.0], make_folds("leave-one-run-out", RUNS), solver=route, scoring="r2"
    )
    assert set(result.alpha) <= {1.0, 10.0}
    y[:, 1] = 0.0  # every penalty scores 0
    tied = solve(x, y, [1.0, 10.0, 3.0], make_folds("leave-one-run-out", RUNS), solver=route)
    assert tied.alpha[1] == 10.0


@pytest.mark.parametrize("solver", [*ROUTES, "primal-spectral", "dual-spectral"])
def test_bits_do_not_depend_on_the_tile(solver: str, dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal((N, 40)).astype(dtype)
    y = make_responses(x.astype(float), 1700).astype(dtype)
    folds, alphas = make_folds("leave-one-run-out", RUNS), np.logspace(0, 4, 3)
    whole = solve(x, y, alphas, folds, solver=solver, n_targets_batch=1700)
    for batch in (512, 1024):
        tiled = solve(x, y, alphas, folds, solver=solver, n_targets_batch=batch)
        assert tiled.plan.n_targets_batch == batch
        if tiled.plan.panels_at_once != whole.plan.panels_at_once:  # one thread rounds not as several do
            assert np.abs(tiled.cv_scores - whole.cv_scores).max() < tolerance(dtype)
            continue
        np.testing.assert_array_equal(tiled.cv_scores, whole.cv_scores)
        np.testing.assert_array_equal(tiled.alpha, whole.alpha)
        np.testing.assert_array_equal(coefficients(tiled.weights), coefficients(whole.weights))
        np.testing.assert_array_equal(tiled.intercept, whole.intercept)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(8, 40), p=st.integers(1, 60), log_alpha=st.floats(-2, 4))
def test_any_held_out_set_equals_a_refit(seed: int, n: int, p: int, log_alpha: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, p)), rng.standard_normal((n, 2))
    held = np.sort(rng.choice(n, int(rng.integers(3, max(4, n - 3))), replace=False))
    folds = make_folds([(np.setdiff1d(np.arange(n), held), held)], [n], gap=0)
    expected = textbook_scores(x, y, [10**log_alpha], pairs(folds), "r2")
    for solver in ROUTES:
        result = solve(x, y, [10**log_alpha], folds, scoring="r2", solver=solver)
        assert relative_error(result.cv_scores, expected) < 1e-8


def test_an_interpolated_set_falls_back_and_says_so(rng: np.random.Generator) -> None:
    """At alpha = 0 with more columns than samples every sample is fitted exactly: no leverage is left."""
    x = rng.standard_normal((40, 90))
    y = make_responses(x, 3)
    folds = make_folds(4, [40], gap=0)
    with pytest.warns(FallbackWarning, match=r"dual-leave-out cannot be trusted: .* Using dual-spectral"):
        result = solve(x, y, [0.0], folds, solver="dual-leave-out")
    expected = textbook_scores(x, y, [0.0], pairs(folds), "correlation")
    assert relative_error(result.cv_scores, expected) < 1e-8


@pytest.mark.parametrize("solver", ["primal-spectral", "primal-leave-out", "primal-cholesky"])
def test_a_singular_gram_falls_back_on_the_svd(solver: str, rng: np.random.Generator) -> None:
    """Condition 1e10: the Gram has lost what an SVD of the design still sees."""
    u, _ = np.linalg.qr(rng.standard_normal((N, 12)))
    x = u * np.logspace(0, -10, 12)
    x -= x.mean(axis=0)
    y = make_responses(u, 3)
    folds = make_folds("leave-one-run-out", RUNS)
    with pytest.warns(FallbackWarning, match="Using svd instead; a larger alpha avoids this"):
        result = solve(x, y, [1e-22], folds, solver=solver)
    assert result.plan.route == "svd"
    expected = textbook_scores(x, y, [1e-22], pairs(folds), "correlation")
    assert relative_error(result.cv_scores, expected) < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sample_weight": np.ones(3)},
            r"sample_weight has shape \(3,\); give one weight per sample, \(120,\)",
        ),
        ({"sample_weight": -np.ones(N)}, "sample_weight must be finite, not negative, and not all zero"),
        ({"sample_weight": np.zeros(N)}, "not all zero"),
        ({"alpha_per_target": ["a", "b"]}, r"alpha_per_target has shape \(2,\)"),
        ({"sample_weight": np.ones(N), "solver": "dual-spectral"}, "without sample weights"),
        ({"evaluation": "gcv"}, "scoring='correlation' must be \"r2\""),
        ({"evaluation": "gcv", "scoring": "r2", "solver": "cholesky"}, "cannot do generalised"),
        ({"solver": "magic"}, "solver='magic' is not known"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    x = make_design("generic", N, 5)
    with pytest.raises(ValueError, match=message):
        solve(x, make_responses(x, 3), [1.0], make_folds("leave-one-run-out", RUNS), **options)


@pytest.mark.parametrize("solver", ["dual-spectral", "dual-leave-out", "dual-cholesky"])
@pytest.mark.parametrize("decades", [6, 10])
def test_float32_predictions_of_ill_conditioned_wide_designs(solver: str, decades: int) -> None:
    """Dual coefficients of a small penalty are large and cancel; their rounding must not show."""
    rng = np.random.default_rng(5)
    u, _ = np.linalg.qr(rng.standard_normal((60, 60)))
    v, _ = np.linalg.qr(rng.standard_normal((150, 60)))
    x = ((u * np.logspace(0, -decades / 2, 60)) @ v.T).astype(np.float32)
    y = make_responses(x.astype(float), 4).astype(np.float32)
    alpha = 10.0**-decades
    result = solve(x, y, [alpha], make_folds(3, [60], gap=0), solver=solver)
    coef, intercept = textbook_ridge(x, y, alpha)
    fitted = np.empty((60, 4))
    for begin, end, block in result.weights.prediction_tiles(DelayedDesign(x)):
        fitted[:, begin:end] = block + result.intercept[begin:end]
    assert relative_error(fitted, x @ coef + intercept) < 2e-6


# --- many penalties: their filters share products


MANY = np.logspace(-3, 6, 19)


@pytest.mark.parametrize("held_out", ["runs", "purged", "bootstraps", "singles"])
@pytest.mark.parametrize(("route", "p"), [("primal-leave-out", 220), ("dual-leave-out", 500), ("svd", 500)])
def test_shared_filters_give_the_scores_of_each_penalty_alone(route: str, p: int, held_out: str) -> None:
    n = 260
    x = make_design("generic", n, p).astype(np.float32)
    y = make_responses(x, 6).astype(np.float32)
    sets = {
        "runs": make_folds("leave-one-run-out", [90, 60, 110]),
        "purged": make_folds(4, [n], gap=3),
        "bootstraps": make_folds(bootstraps(n, 9), [n], gap=0),
        "singles": make_folds("leave-one-out", [n], gap=0),
    }
    folds = sets[held_out]
    evaluation = "pooled" if held_out == "singles" else "folds"
    alphas = MANY * float(np.linalg.norm(x, 2) ** 2) / 1e4
    together = solve(x, y, alphas, folds, solver=route, evaluation=evaluation)
    doubles = x.astype(np.float64), y.astype(np.float64)
    exact = solve(*doubles, alphas, folds, solver=route, evaluation=evaluation)
    np.testing.assert_allclose(together.cv_scores, exact.cv_scores, rtol=0, atol=3e-6)
    for a in range(0, alphas.size, 6):
        alone = solve(x, y, alphas[[a]], folds, solver=route, evaluation=evaluation)
        np.testing.assert_allclose(together.cv_scores[[a]], alone.cv_scores, rtol=0, atol=3e-6)


def test_penalties_far_below_the_spectrum_keep_to_float32() -> None:
    """Where the features are many, next to nothing is left of the targets, and that is what is computed."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3000)).astype(np.float32)
    basis = dual_basis(DelayedDesign(x), fit_intercept=True)
    sets = held_out_sets(make_folds(4, [200], gap=0), 200)
    small, large = (leverage(basis.smoother, alpha, sets) for alpha in (1e-2, 1e4))
    assert small.residual
    assert small.dtype == np.float32
    assert not large.residual
    tall = primal_basis(DelayedDesign(x[:, :50]), fit_intercept=True)
    assert not leverage(tall.smoother, 1e-2, sets).residual
    y = make_responses(x, 6).astype(np.float32)
    alphas, folds = [1e-4, 1e-2, 1.0], make_folds(4, [200], gap=0)
    result = solve(x, y, alphas, folds, solver="dual-leave-out")
    expected = textbook_scores(
        x.astype(np.float64), y.astype(np.float64), alphas, pairs(folds), "correlation"
    )
    np.testing.assert_allclose(result.cv_scores, expected, rtol=0, atol=5e-6)


SINGLE_ROUTES = ["dual-leave-out", "primal-leave-out", "dual-cholesky", "primal-cholesky", "svd"]


@pytest.mark.parametrize("solver", [*SINGLE_ROUTES, "auto"])
def test_folds_of_some_single_samples_are_not_leave_one_out(solver: str, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 5))
    folds = [Fold(np.delete(np.arange(30), row), np.array([row])) for row in (3, 11)]
    targets = Targets(30, 5, lambda begin, end: y[:, begin:end], y.mean(axis=0), np.ones(5, dtype=bool))
    found = solve_ridge_cv(DelayedDesign(x), targets, [1.0, 10.0], folds, solver=solver)
    assert (found.cv_scores == 0).all()  # a sample alone has no correlation


@pytest.mark.parametrize("solver", [*SINGLE_ROUTES, "auto"])
def test_folds_of_all_single_samples_are_leave_one_out(solver: str, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 5))
    folds = [Fold(np.delete(np.arange(30), row), np.array([row])) for row in rng.permutation(30)]
    targets = Targets(30, 5, lambda begin, end: y[:, begin:end], y.mean(axis=0), np.ones(5, dtype=bool))
    for evaluation in ("folds", "pooled"):
        found = solve_ridge_cv(
            DelayedDesign(x), targets, [1.0, 10.0], folds, solver=solver, evaluation=evaluation, scoring="r2"
        )
        held_out = np.empty_like(y)
        for row in range(30):
            rest = np.delete(np.arange(30), row)
            coef, intercept = textbook_ridge(x[rest], y[rest], 10.0)
            held_out[row] = x[row] @ coef + intercept
        np.testing.assert_allclose(found.cv_scores[1], textbook_score(y, held_out, "r2"), atol=1e-10)
