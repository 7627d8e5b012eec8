"""The cross-validated solver against a textbook fit for every fold and penalty."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge import _cpu
from voxridge.solvers import DelayedDesign, RidgeCVResult, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.plan import Problem, make_plan, parse_memory
from voxridge.solvers.weights import coefficients
from voxridge.testing import (
    DESIGNS,
    delayed_matrix,
    make_design,
    make_responses,
    relative_error,
    textbook_ridge,
    textbook_scores,
    tolerance,
)


def targets_of(y: np.ndarray, valid: np.ndarray | None = None) -> Targets:
    valid = np.ones(y.shape[1], bool) if valid is None else valid
    with np.errstate(invalid="ignore"):
        mean = np.where(valid, y.mean(axis=0, dtype=np.float64), 0.0)
    return Targets(y.shape[0], y.shape[1], lambda begin, end: y[:, begin:end], mean, valid)


def solve(x: np.ndarray, y: np.ndarray, alphas: Any, folds: Any, **options: Any) -> RidgeCVResult:
    return solve_ridge_cv(DelayedDesign(x), targets_of(y), alphas, folds, **options)


def splits(folds: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(fold.train, fold.validation) for fold in folds]


CASES = {
    "runs": (3, [40, 50, 60], "auto"),
    "leave one run out": ("leave-one-run-out", [40, 50, 60], "auto"),
    "blocks with gaps": (5, [150], "auto"),
    "few training rows": ([(np.arange(40), np.arange(60, 150))], [150], 0),
    "scattered": ([(np.arange(0, 150, 2), np.arange(1, 150, 2))], [150], 0),
    "rows left out": (
        [(np.arange(0, 50), np.arange(60, 100)), (np.arange(70, 150), np.arange(20, 60))],
        [150],
        0,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_equals_the_textbook(
    case: str, scoring: str, fit_intercept: bool, route: str, dtype: type, rng: np.random.Generator
) -> None:
    cv, runs, gap = CASES[case]
    delays = (0, 1, 3)
    features = (rng.standard_normal((150, 12)) + 0.5).astype(dtype)
    x = delayed_matrix(features, delays, runs)
    y = make_responses(x, 7, noise=2.0).astype(dtype)
    alphas = np.logspace(-2, 5, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some of these cases leak on purpose
        folds = make_folds(cv, runs, gap=gap, longest_delay=3)
    design = DelayedDesign(features, delays, runs)
    result = solve_ridge_cv(
        design,
        targets_of(y),
        alphas,
        folds,
        scoring=scoring,
        fit_intercept=fit_intercept,
        solver=f"{route}-spectral",
        n_targets_batch=3,
    )
    expected = textbook_scores(x, y, alphas, splits(folds), scoring, fit_intercept)
    assert np.abs(result.cv_scores - expected).max() <= tolerance(
        dtype, 10 * np.abs(expected).max()
    )  # 40 rows, 36 columns
    np.testing.assert_array_equal(result.alpha, alphas[expected.argmax(axis=0)])
    coef, intercept = textbook_ridge(x, y, result.alpha, fit_intercept)
    assert relative_error(coefficients(result.weights), coef) <= tolerance(
        dtype, 10
    )  # condition of the refit
    assert np.abs(result.intercept - intercept).max() <= tolerance(dtype, 20)
    assert result.cv_scores.dtype == np.float64
    assert coefficients(result.weights).dtype == dtype


@pytest.mark.parametrize("kind", DESIGNS)
@pytest.mark.parametrize(("n", "p"), [(700, 300), (300, 500), (1536, 1024)])
def test_float32_scores_are_within_2e_6_of_float64(kind: str, n: int, p: int, route: str) -> None:
    """The promise of the spectral route, over 9 decades of penalties below the largest eigenvalue."""
    x = make_design(kind, n, p).astype(np.float32)
    y = make_responses(x.astype(np.float64), 24).astype(np.float32)
    folds = make_folds(3, [n], gap=0)[:2]
    largest = np.linalg.norm(x.astype(np.float64), 2) ** 2
    alphas = largest * np.logspace(-9, 0, 10)
    result = solve(x, y, alphas, folds, solver=f"{route}-spectral")
    expected = textbook_scores_fast(x, y, alphas, splits(folds))
    assert np.abs(result.cv_scores - expected).max() < 2e-6


def textbook_scores_fast(x: np.ndarray, y: np.ndarray, alphas: np.ndarray, folds: Any) -> np.ndarray:
    """As textbook_scores, one float64 SVD a fold."""
    scores = np.zeros((alphas.size, y.shape[1]))
    for train, test in folds:
        mean, y_mean = x[train].mean(axis=0, dtype=float), y[train].mean(axis=0, dtype=float)
        u, s, v_t = np.linalg.svd(x[train].astype(float) - mean, full_matrices=False)
        kept = s > s[0] * 1e-13
        projected, held_out = u[:, kept].T @ (y[train] - y_mean), (x[test] - mean) @ v_t[kept].T
        for a, alpha in enumerate(alphas):
            prediction = held_out @ ((s[kept] / (s[kept] ** 2 + alpha))[:, None] * projected)
            prediction -= prediction.mean(axis=0)
            truth = y[test] - y[test].mean(axis=0, dtype=float)
            scale = np.sqrt((prediction**2).sum(axis=0) * (truth**2).sum(axis=0))
            scores[a] += (prediction * truth).sum(axis=0) / scale / len(folds)
    return scores


@pytest.mark.parametrize("tile", [1, 5, 64, 200])
def test_any_tile_of_targets_gives_the_same(tile: int, route: str, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((90, 20)), rng.standard_normal((90, 130))
    folds = make_folds(3, [90], gap=0)
    whole = solve(x, y, [1.0, 10.0], folds, solver=f"{route}-spectral")
    tiled = solve(x, y, [1.0, 10.0], folds, solver=f"{route}-spectral", n_targets_batch=tile)
    assert relative_error(tiled.cv_scores, whole.cv_scores) <= tolerance("f8")
    np.testing.assert_array_equal(tiled.alpha, whole.alpha)


def test_folds_in_several_passes_give_the_same(route: str, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((300, 150)), rng.standard_normal((300, 40))
    folds = make_folds(6, [300], gap=0)
    whole = solve(x, y, np.logspace(0, 4, 5), folds, solver=f"{route}-spectral")
    whole_plan = make_plan(
        Problem(300, 150, 40, 5, folds, 8, False), solver=f"{route}-spectral", memory_limit=None
    )
    limit = whole_plan.worst_bytes - whole_plan.factor_bytes // 2
    passes = solve(x, y, np.logspace(0, 4, 5), folds, solver=f"{route}-spectral", memory_limit=limit)
    assert whole_plan.folds_per_pass == 6
    assert passes.plan.folds_per_pass < 6
    assert relative_error(passes.cv_scores, whole.cv_scores) <= tolerance("f8")
    assert relative_error(passes.intercept, whole.intercept) <= tolerance("f8", 10)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_targets_together_equal_each_alone_and_order_of_alphas_is_free(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((60, 8)), rng.standard_normal((60, 5))
    folds = make_folds(4, [60], gap=0)
    alphas = rng.permutation(np.logspace(-1, 3, 6))
    together = solve(x, y, alphas, folds)
    for v in range(5):
        alone = solve(x, y[:, v : v + 1].copy(), alphas[::-1], folds)
        assert alone.alpha[0] == together.alpha[v]
        assert relative_error(alone.cv_scores[::-1, 0], together.cv_scores[:, v]) <= tolerance("f8", 100)


def test_ties_go_to_the_larger_penalty(rng: np.random.Generator) -> None:
    """No feature at all predicts anything: every penalty scores 0."""
    x, y = np.zeros((40, 3)), rng.standard_normal((40, 4))
    result = solve(x, y, [1.0, 100.0, 10.0], make_folds(4, [40], gap=0))
    np.testing.assert_array_equal(result.alpha, 100.0)
    np.testing.assert_array_equal(result.cv_scores, 0.0)
    assert result.n_edge == (0, 4)
    assert result.edge_fraction == 1.0


def test_one_penalty_for_all_targets(route: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((120, 10))
    y = make_responses(x, 9, noise=3.0)
    alphas = np.logspace(-1, 5, 13)
    folds = make_folds(4, [120], gap=0)
    result = solve(x, y, alphas, folds, solver=f"{route}-spectral", alpha_per_target=False)
    best = alphas[textbook_scores(x, y, alphas, splits(folds), "correlation").mean(axis=1).argmax()]
    np.testing.assert_array_equal(result.alpha, best)
    coef, _ = textbook_ridge(x, y, best)
    assert relative_error(coefficients(result.weights), coef) <= tolerance("f8", 10)
    np.testing.assert_array_equal(result.best_scores, result.cv_scores[alphas == best][0])


def test_masked_targets_leave_the_others_bit_identical(route: str, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((60, 8)), rng.standard_normal((60, 6))
    folds = make_folds(3, [60], gap=0)
    whole = solve(x, y, [1.0, 10.0], folds, solver=f"{route}-spectral")
    broken = y.copy()
    broken[3, 2] = np.nan
    valid = np.arange(6) != 2
    masked = solve_ridge_cv(
        DelayedDesign(x), targets_of(broken, valid), [1.0, 10.0], folds, solver=f"{route}-spectral"
    )
    for name in ("alpha", "best_scores", "intercept"):
        np.testing.assert_array_equal(getattr(masked, name)[valid], getattr(whole, name)[valid])
        assert np.isnan(getattr(masked, name)[2])
    np.testing.assert_array_equal(
        coefficients(masked.weights)[:, valid], coefficients(whole.weights)[:, valid]
    )
    np.testing.assert_array_equal(coefficients(masked.weights)[:, 2], 0.0)


def test_a_target_constant_over_the_scored_rows_scores_zero(route: str, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((60, 4)), rng.standard_normal((60, 2))
    y[:20, 0] = 7.0
    for scoring in ("correlation", "r2"):
        result = solve(
            x, y, [1.0], make_folds(3, [60], gap=0)[:1], solver=f"{route}-spectral", scoring=scoring
        )
        assert result.cv_scores[0, 0] == 0.0
        assert np.isfinite(result.cv_scores).all()


def test_inputs_are_not_modified(route: str, dtype: type, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((60, 8)).astype(dtype), rng.standard_normal((60, 6)).astype(dtype)
    before = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    solve(x, y, [1.0, 10.0], make_folds(3, [60]), solver=f"{route}-spectral")
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        ([], "alphas is empty"),
        ([1.0, -1.0], r"alphas holds \[-1.0\]"),
        ([np.nan], "finite"),
        ([[1.0]], r"shape \(1, 1\)"),
    ],
)
def test_bad_alphas_are_named(alphas: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(np.zeros((9, 2)), np.zeros((9, 2)), alphas, make_folds(3, [9]))


def test_bad_options_are_named() -> None:
    x, y, folds = np.zeros((9, 2)), np.zeros((9, 2)), make_folds(3, [9])
    with pytest.raises(ValueError, match="scoring='mse' is not known"):
        solve(x, y, [1.0], folds, scoring="mse")
    with pytest.raises(ValueError, match="solver='qr' is not known"):
        solve(x, y, [1.0], folds, solver="qr")
    with pytest.raises(ValueError, match="folds is empty"):
        solve(x, y, [1.0], [])
    with pytest.raises(MemoryError, match=r"needs at least \d+ bytes"):
        solve(x, y, [1.0], folds, memory_limit=10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8GB", 8 * 10**9), ("512 MiB", 512 * 2**20), (1000, 1000), ("1.5e9", 1_500_000_000), (None, None)],
)
def test_memory_limits_in_words(text: Any, expected: int | None) -> None:
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["8 apples", "", "-1GB", "nanGB", "GB"])
def test_bad_memory_limits_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="memory_limit="):
        parse_memory(text)


def test_the_plan_takes_the_cheaper_route_and_prints() -> None:
    tall, wide = make_folds(5, [5000], gap=0), make_folds(5, [500], gap=0)
    assert make_plan(Problem(5000, 300, 1000, 20, tall, 4), solver="auto", memory_limit=None).side == "primal"
    plan = make_plan(Problem(500, 3000, 1000, 20, wide, 4), solver="auto", memory_limit=None)
    assert plan.side == "dual"
    assert "peak memory" in str(plan)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), clustered=st.booleans(), decades=st.integers(0, 6))
def test_the_quadratic_form_gives_every_norm(seed: int, clustered: bool, decades: int) -> None:
    """|A (z d)|^2 for any spectrum, near pairs and clusters included, from L and N."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 150))
    l = np.sort(10.0 ** rng.uniform(-decades, 0, k))
    if clustered:
        l = np.sort(np.repeat(l[: k // 2 + 1], 2)[:k] * (1 + 1e-9 * rng.standard_normal(k)))
    s = np.sqrt(l)[
        :, None
    ]  # held-out data and projected targets scale with the singular values, as they do in a fit
    a, z, c = (
        rng.standard_normal((2 * k, k)) * s.T,
        rng.standard_normal((k, 9)) * s,
        rng.standard_normal((k, 9)) * s,
    )
    alphas = np.array([1e-4, 1e-1, 1e3])
    m = a.T @ a
    form = _cpu.QuadraticForm64(m, l, float(alphas.min()))
    lz, nz = np.empty_like(z), np.empty_like(z)
    form.apply(z, lz, nz)
    products, norms = np.empty((3, 9)), np.empty((3, 9))
    _cpu.reduce_scores(z, c, lz, nz, l, alphas, float(l @ np.diag(m) / np.trace(m)), products, norms, 2)
    for i, alpha in enumerate(alphas):
        d = 1 / (l + alpha)
        assert relative_error(norms[i], ((a @ (z * d[:, None])) ** 2).sum(axis=0)) <= tolerance(
            "f8", 1e3
        )  # kNearTolerance
        assert relative_error(products[i], (c * z * d[:, None]).sum(axis=0)) <= tolerance("f8", 100)
