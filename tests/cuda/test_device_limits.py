"""Fits on a device at the limits of their inputs, against refits in float64 that are written out here."""

from __future__ import annotations

import contextlib
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxridge.solvers import DelayedDesign, Fold, RidgeCVResult, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.cuda import factors
from voxridge.solvers.weights import coefficients
from voxridge.testing import delayed_matrix, relative_error

CHOLESKY = ["dual-cholesky", "primal-cholesky"]
ROUTES = [*CHOLESKY, "dual-spectral", "primal-spectral"]
ALPHAS = np.array([10.0, 1e4, 0.1, 300.0])


def solve(x: np.ndarray, y: np.ndarray, alphas: Any, folds: Any, **options: Any) -> RidgeCVResult:
    options = {"device": "cuda", **options}
    delays, runs = options.pop("delays", (0,)), options.pop("runs", None)
    mean = y.mean(axis=0, dtype=np.float64) * options.get("fit_intercept", True)
    targets = Targets(*y.shape, lambda begin, end: y[:, begin:end], mean, np.ones(y.shape[1], bool))
    return solve_ridge_cv(DelayedDesign(x, delays, runs), targets, alphas, folds, **options)


# --- the definition, in float64


def refit(
    x: np.ndarray, y: np.ndarray, alpha: float, weight: np.ndarray, fit_intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(coef, intercept) by least squares on rows that the penalty adds."""
    share = weight / weight.sum() * fit_intercept
    x_mean, y_mean, root = share @ x, share @ y, np.sqrt(weight)[:, None]
    rows = np.vstack([root * (x - x_mean), np.sqrt(alpha) * np.eye(x.shape[1])])
    right = np.vstack([root * (y - y_mean), np.zeros((x.shape[1], y.shape[1]))])
    coef = np.linalg.lstsq(rows, right, rcond=None)[0]
    return coef, y_mean - x_mean @ coef


def weighted_score(y: np.ndarray, prediction: np.ndarray, weight: np.ndarray, scoring: str) -> np.ndarray:
    share = weight / weight.sum()
    centred, residual = y - share @ y, y - prediction
    about = weight @ centred**2
    about[about < 1e-13 * (weight @ y**2)] = 0.0
    moved = prediction - share @ prediction
    spread = weight @ moved**2
    with np.errstate(all="ignore"):
        if scoring == "r2":
            return np.where(about > 0, 1 - weight @ residual**2 / about, 0.0)
        found = weight @ (moved * centred) / np.sqrt(spread * about)
    return np.where((about > 0) & (spread > 1e-26 * (weight @ y**2)), found, 0.0)


def expected_scores(
    x: np.ndarray,
    y: np.ndarray,
    alphas: np.ndarray,
    folds: Any,
    scoring: str = "correlation",
    fit_intercept: bool = True,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Mean over folds (n_alphas, v), one fit for every fold and penalty."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    weight = np.ones(len(x)) if weight is None else weight
    scores = np.zeros((len(alphas), y.shape[1]))
    for fold in folds:
        train, held = fold.train, fold.validation
        for place, alpha in enumerate(alphas):
            coef, intercept = refit(x[train], y[train], alpha, weight[train], fit_intercept)
            scores[place] += weighted_score(y[held], x[held] @ coef + intercept, weight[held], scoring)
    return scores / len(folds)


def assert_scores(found: RidgeCVResult, expected: np.ndarray, tolerance: float) -> None:
    """Relative to 1 + |score|: an R2 may be far below zero."""
    assert found.plan.device == "cuda:0"
    assert (np.abs(found.cv_scores - expected) / (1 + np.abs(expected))).max() < tolerance


def random_folds(rng: np.random.Generator, n: int, count: int) -> list[Fold]:
    """Overlapping, of any length up to 0.7 n, with purged rows, and one of them twice."""
    folds = []
    for _ in range(count):
        order, held = rng.permutation(n), int(rng.integers(6, int(0.7 * n)))
        scored = int(rng.integers(6, held + 1))
        folds.append(Fold(np.sort(order[held:]), np.sort(order[:scored])))
    return [*folds, folds[0]]


def data(
    rng: np.random.Generator, n: int, p: int, v: int, dtype: Any = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal((n, p)) + 1
    y = x[:, :4] @ rng.standard_normal((min(4, p), v)) + 2 * rng.standard_normal((n, v)) + 3
    return x.astype(dtype), y.astype(dtype)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(18, 60))
    cut = draw(st.integers(8, n - 8))
    delays = draw(st.lists(st.integers(-3, 4), min_size=1, max_size=3, unique=True))
    return {
        "n": n,
        "p": draw(st.sampled_from([1, 2, 5, 20, 70])),
        "v": draw(st.sampled_from([1, 2, 7, 511, 513])),
        "runs": draw(st.sampled_from([[n], [cut, n - cut]])),
        "delays": tuple(delays),
        "dtype": draw(st.sampled_from([np.float32, np.float64])),
        "solver": draw(st.sampled_from(ROUTES)),
        "scoring": draw(st.sampled_from(["correlation", "r2"])),
        "fit_intercept": draw(st.booleans()),
        "weighted": draw(st.booleans()),
        "n_folds": draw(st.integers(1, 4)),
        "border": draw(st.sampled_from([0, 6, 512])),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@given(problems())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_any_fit_equals_refits(on_cuda: ModuleType, case: dict[str, Any]) -> None:
    rng = np.random.default_rng(case["seed"])
    n, dtype, delays, runs = case["n"], case["dtype"], case["delays"], case["runs"]
    features = (rng.standard_normal((n, case["p"])) * rng.uniform(0.3, 3, case["p"]) + 0.5).astype(dtype)
    x = delayed_matrix(features, delays, runs)
    y = (x[:, :3] @ rng.standard_normal((min(3, x.shape[1]), case["v"])) + 1).astype(dtype)
    y += 2 * rng.standard_normal(y.shape).astype(dtype)
    folds = random_folds(rng, n, case["n_folds"])
    weight = rng.uniform(0.2, 3, n) * (rng.random(n) < 0.8) if case["weighted"] else None
    if weight is not None and "spectral" in case["solver"]:
        weight = None
    for fold in folds if weight is not None else []:  # something has to be left to train on and to score
        weight[fold.train[:3]], weight[fold.validation[:3]] = 1.0, 1.0
    options = {key: case[key] for key in ("solver", "scoring", "fit_intercept", "delays", "runs")}
    alphas = rng.permutation(np.r_[10 ** rng.uniform(0, 4, 3), 10.0, 10.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factors, "HOST_ORDER", case["border"])
        found = solve(features, y, alphas, folds, sample_weight=weight, **options)
    expected = expected_scores(x, y, alphas, folds, case["scoring"], case["fit_intercept"], weight)
    assert_scores(found, expected, 1e-8 if dtype == np.float64 else 5e-4)
    weight = np.ones(n) if weight is None else weight
    for alpha in np.unique(found.alpha):
        which = found.alpha == alpha
        coef, intercept = refit(x, y[:, which].astype(float), alpha, weight, case["fit_intercept"])
        tolerance = 1e-9 if dtype == np.float64 else 1e-4
        assert relative_error(coefficients(found.weights)[:, which], coef) < tolerance
        np.testing.assert_allclose(found.intercept[which], intercept, atol=10 * tolerance * np.abs(y).max())


# --- folds


@pytest.mark.parametrize("solver", CHOLESKY)
@pytest.mark.parametrize("border", [0, 5, 29])
def test_sets_inverted_by_either_side(
    on_cuda: ModuleType, rng: Any, monkeypatch: pytest.MonkeyPatch, dtype: Any, solver: str, border: int
) -> None:
    """Small sets are for the host, larger ones for the device: the same whichever it is."""
    x, y = data(rng, 70, 9, 20, dtype)
    folds = [
        *random_folds(rng, 70, 3),
        Fold(np.arange(1, 70), np.array([0])),
        Fold(np.arange(5, 70), np.arange(5)),
    ]
    weight = rng.uniform(0.5, 2, 70)
    here = solve(x, y, ALPHAS, folds, solver=solver, sample_weight=weight, scoring="r2")
    monkeypatch.setattr(factors, "HOST_ORDER", border)
    there = solve(x, y, ALPHAS, folds, solver=solver, sample_weight=weight, scoring="r2")
    expected = expected_scores(x, y, ALPHAS, folds, "r2", weight=weight)
    assert_scores(there, expected, 2e-5 if dtype == np.float32 else 1e-10)
    np.testing.assert_allclose(there.cv_scores, here.cv_scores, atol=2e-5 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("solver", CHOLESKY)
def test_a_set_beyond_the_border(on_cuda: ModuleType, rng: Any, solver: str) -> None:
    x, y = data(rng, 620, 15, 3)
    folds = [Fold(np.arange(540, 620), np.arange(530)), Fold(np.arange(100, 620), np.arange(100))]
    assert max(fold.excluded(620).size for fold in folds) > factors.HOST_ORDER
    found = solve(x, y, ALPHAS, folds, solver=solver)
    assert_scores(found, expected_scores(x, y, ALPHAS, folds), 1e-5)


@pytest.mark.parametrize("solver", CHOLESKY)
@pytest.mark.parametrize("border", [0, 512])
def test_few_samples_left_to_train_on(
    on_cuda: ModuleType, rng: Any, monkeypatch: pytest.MonkeyPatch, solver: str, border: int
) -> None:
    """Leaving out then magnifies rounding some thousandfold, which float32 scores must not show."""
    monkeypatch.setattr(factors, "HOST_ORDER", border)
    x, y = data(rng, 60, 25, 6)
    folds = [Fold(np.arange(20), np.arange(30, 60)), Fold(np.arange(40, 60), np.arange(28))]
    found = solve(x, y, [0.02, 1.0], folds, solver=solver, scoring="r2")
    assert found.plan.route == solver
    assert_scores(found, expected_scores(x, y, np.array([0.02, 1.0]), folds, "r2"), 2e-6)


@pytest.mark.parametrize("solver", CHOLESKY)
@pytest.mark.parametrize("border", [0, 512])
@pytest.mark.parametrize("alpha", [0.0, 1e-13])
def test_samples_that_do_not_determine_the_model(
    on_cuda: ModuleType, rng: Any, monkeypatch: pytest.MonkeyPatch, solver: str, border: int, alpha: float
) -> None:
    """All samples do, and those that a fold leaves do not."""
    monkeypatch.setattr(factors, "HOST_ORDER", border)
    x, y = data(rng, 30, 20, 6, np.float64)
    folds = [Fold(np.arange(12), np.arange(12, 30)), Fold(np.arange(4, 30), np.arange(4))]
    with warnings.catch_warnings(record=True) as said, contextlib.suppress(np.linalg.LinAlgError):
        warnings.simplefilter("always")
        found = solve(x, y, [alpha], folds, solver=solver)
        assert found.plan.route != solver
    assert any(f"route {solver} cannot be trusted" in str(each.message) for each in said)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("scored", [[3], [3, 11], [3, 3]])
def test_single_samples_that_are_not_all_samples(
    on_cuda: ModuleType, rng: Any, device: str, solver: str, scored: list[int]
) -> None:
    """Folds of one sample each are scored one by one, and no others are: a correlation of one is 0."""
    x, y = data(rng, 30, 4, 5)
    folds = [Fold(np.delete(np.arange(30), row), np.array([row])) for row in scored]
    found = solve(x, y, ALPHAS, folds, solver=solver, device=device)
    assert (found.cv_scores == 0).all()


# --- features


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("kind", ["constant", "duplicated", "zero", "huge mean"])
@pytest.mark.parametrize("weighted", [False, True])
def test_degenerate_features(on_cuda: ModuleType, rng: Any, solver: str, kind: str, weighted: bool) -> None:
    if weighted and "spectral" in solver:
        pytest.skip("spectral routes take no sample weights")
    x, y = data(rng, 50, 6, 9)
    if kind == "constant":
        x[:, 1], x[:, 4] = 5.0, 0.0
    if kind == "duplicated":
        x[:, 1] = x[:, 3] = x[:, 0]
    if kind == "zero":
        x[:] = 0
    if kind == "huge mean":
        x[:, 2] += 1e4
    folds = make_folds(4, [50], gap=1)
    weight = rng.uniform(0.5, 2, 50) if weighted else None
    found = solve(x, y, ALPHAS, folds, solver=solver, scoring="r2", sample_weight=weight)
    # Primal routes multiply features as they are, whose mean costs its share of float32.
    tolerance = 1e-3 if kind == "huge mean" and "primal" in solver else 1e-5
    assert_scores(found, expected_scores(x, y, ALPHAS, folds, "r2", weight=weight), tolerance)
    if kind == "zero":
        assert (coefficients(found.weights) == 0).all()
        if solver != "dual-cholesky":  # whose I - alpha (alpha I)^-1 is rounding, on the processor, too
            assert (found.alpha == ALPHAS.max()).all()
        mean = np.average(y, axis=0, weights=weight)
        np.testing.assert_allclose(found.intercept, mean, rtol=1e-5)


@pytest.mark.parametrize("solver", ROUTES)
def test_predictions_of_nothing_correlate_with_nothing(on_cuda: ModuleType, rng: Any, solver: str) -> None:
    _, y = data(rng, 40, 3, 6)
    found = solve(np.zeros((40, 3), np.float32), y, ALPHAS, make_folds(4, [40], gap=0), solver=solver)
    assert (found.cv_scores == 0).all()


# --- targets


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
def test_targets_of_every_kind(on_cuda: ModuleType, rng: Any, solver: str, scoring: str) -> None:
    """Constant, of huge mean, equal to a feature, and tiny, beside each other."""
    x, y = data(rng, 60, 7, 8)
    y[:, 0], y[:, 1], y[:, 2] = 4.25, x[:, 2], 1e-12 * y[:, 2]
    y[:, 3] = np.round(y[:, 3]) + 2**14
    folds = make_folds(4, [60], gap=0)
    found = solve(x, y, ALPHAS, folds, solver=solver, scoring=scoring)
    expected = expected_scores(x, y, ALPHAS, folds, scoring)
    assert_scores(found, expected, 1e-5)
    assert (found.cv_scores[:, 0] == 0).all()
    assert found.alpha[0] == ALPHAS.max()
    assert found.alpha[1] == ALPHAS.min()


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("kind", ["int16", "int64", "uint8", "float16", "float64", "bool", ">f4", ">f8"])
def test_targets_of_other_types(on_cuda: ModuleType, rng: Any, solver: str, kind: str) -> None:
    x, y = data(rng, 50, 5, 7)
    y = np.abs(np.round(4 * y)).astype(kind) if kind != "bool" else y > 3
    folds = make_folds(3, [50], gap=0)
    found = solve(x, y, ALPHAS, folds, solver=solver)
    assert found.intercept.dtype == np.float32
    assert_scores(found, expected_scores(x, y, ALPHAS, folds), 1e-5)


# --- sample weights


@pytest.mark.parametrize("solver", CHOLESKY)
@pytest.mark.parametrize("kind", ["zeros", "unequal", "integers"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_weights_of_every_kind(
    on_cuda: ModuleType, rng: Any, solver: str, kind: str, fit_intercept: bool
) -> None:
    x, y = data(rng, 60, 7, 8, np.float64)
    weight = rng.integers(1, 4, 60).astype(float)
    if kind == "zeros":
        weight[::3] = 0.0
    if kind == "unequal":
        weight *= 10.0 ** rng.integers(-6, 7, 60)
    folds = make_folds(4, [60], gap=0)
    options: dict[str, Any] = {"solver": solver, "sample_weight": weight, "fit_intercept": fit_intercept}
    found = solve(x, y, ALPHAS, folds, scoring="r2", **options)
    expected = expected_scores(x, y, ALPHAS, folds, "r2", fit_intercept, weight)
    assert_scores(found, expected, 1e-6 if kind == "unequal" else 1e-9)
    if kind == "integers":  # a weight is a count
        coef, _ = refit(
            *(np.repeat(a, weight.astype(int), axis=0) for a in (x, y)),
            10.0,
            np.ones(int(weight.sum())),
            fit_intercept,
        )
        whole = solve(x, y, [10.0], folds, **options)
        np.testing.assert_allclose(coefficients(whole.weights), coef, atol=1e-10)


@pytest.mark.parametrize("solver", CHOLESKY)
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("evaluation", ["folds", "pooled"])
def test_a_fold_without_weight(
    on_cuda: ModuleType, rng: Any, solver: str, scoring: str, evaluation: str
) -> None:
    """As on the processor, whatever that is."""
    x, y = data(rng, 60, 7, 8)
    weight = np.ones(60)
    weight[15:30] = 0.0
    options = {"solver": solver, "sample_weight": weight, "scoring": scoring, "evaluation": evaluation}
    folds = make_folds(4, [60], gap=0)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        there, here = (solve(x, y, ALPHAS, folds, device=device, **options) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(there.cv_scores, here.cv_scores, atol=5e-6)
    np.testing.assert_array_equal(there.alpha, here.alpha)


# --- penalties


@pytest.mark.parametrize("solver", ROUTES)
def test_penalties_in_any_order_and_twice(on_cuda: ModuleType, rng: Any, solver: str) -> None:
    x, y = data(rng, 50, 6, 12)
    folds = make_folds(3, [50], gap=0)
    once = solve(x, y, np.sort(ALPHAS), folds, solver=solver)
    mixed = np.r_[ALPHAS, ALPHAS[::-1]]
    twice = solve(x, y, mixed, folds, solver=solver)
    np.testing.assert_array_equal(twice.cv_scores[:4], twice.cv_scores[4:][::-1])
    np.testing.assert_allclose(twice.cv_scores[:4], once.cv_scores[np.argsort(np.argsort(ALPHAS))], atol=2e-6)
    np.testing.assert_array_equal(twice.alpha, once.alpha)
    assert twice.n_edge == once.n_edge


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_penalties_at_the_ends(on_cuda: ModuleType, rng: Any, solver: str, fit_intercept: bool) -> None:
    """No penalty at all, which full rank allows, next to nothing, and one that leaves nothing."""
    x, y = data(rng, 60, 6, 8)
    alphas, folds = np.array([0.0, 1e-12, 1.0, 1e12]), make_folds(4, [60], gap=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = solve(x, y, alphas, folds, solver=solver, scoring="r2", fit_intercept=fit_intercept)
        here = solve(
            x, y, alphas, folds, solver=solver, scoring="r2", fit_intercept=fit_intercept, device="cpu"
        )
    expected = expected_scores(x, y, alphas, folds, "r2", fit_intercept)
    assert (np.abs(found.cv_scores - expected) / (1 + np.abs(expected))).max() < 1e-5
    if "primal" in solver:
        assert found.plan.device == "cuda:0"
    assert found.plan.route == here.plan.route
    coef, _ = refit(x.astype(float), y.astype(float), 0.0, np.ones(60), fit_intercept)
    low = found.alpha < 1e-6
    assert relative_error(coefficients(found.weights)[:, low], coef[:, low]) < 1e-4
