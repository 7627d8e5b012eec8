"""Dual weights that stay components of the eigenvectors, against float64 textbook ridge."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from voxridge import EncodingRidge
from voxridge.solvers import DelayedDesign, RidgeCVResult, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.weights import DualBasis, DualWeights, coefficients
from voxridge.testing import (
    delayed_matrix,
    make_design,
    make_responses,
    relative_error,
    textbook_ridge,
    textbook_scores,
    tolerance,
)

pytestmark = pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")

ROUTES = ("dual-spectral", "dual-leave-out")
N, P, V = 60, 150, 140
SMALL = 1e-6  # penalty over the largest eigenvalue


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def wide_design(n: int = N, p: int = P, seed: int = 0) -> np.ndarray:
    """Largest eigenvalue 1, over 6 decades, float32 numbers in float64."""
    rng = np.random.default_rng(seed)
    u, _ = np.linalg.qr(rng.standard_normal((n, n)))
    v, _ = np.linalg.qr(rng.standard_normal((p, n)))
    return np.asarray(((u * np.logspace(0, -3, n)) @ v.T).astype(np.float32).astype(np.float64))


def responses(x: np.ndarray, n_targets: int = V) -> np.ndarray:
    return make_responses(x, n_targets).astype(np.float32).astype(np.float64)


def solve(
    x: np.ndarray, y: np.ndarray, alphas: Any, dtype: Any = np.float32, **options: Any
) -> RidgeCVResult:
    """``valid`` may mask targets; three folds."""
    x, y = x.astype(dtype), y.astype(dtype)
    valid = options.pop("valid", np.ones(y.shape[1], dtype=bool))
    mean = np.where(valid, y.mean(axis=0, dtype=np.float64), 0.0)
    if not options.get("fit_intercept", True):
        mean[:] = 0.0
    targets = Targets(*y.shape, lambda begin, end: y[:, begin:end], mean, valid)
    folds = make_folds(3, [y.shape[0]], gap=0)
    return solve_ridge_cv(DelayedDesign(x), targets, alphas, folds, **options)


def predicted(result: RidgeCVResult, x: np.ndarray) -> np.ndarray:
    out = np.full((x.shape[0], result.alpha.size), np.nan)
    assert result.weights is not None
    for begin, end, tile in result.weights.prediction_tiles(DelayedDesign(x.astype(result.weights.dtype))):
        out[:, begin:end] = tile + result.intercept[begin:end]
    return out


def assert_components(result: RidgeCVResult) -> DualWeights:
    weights = result.weights
    assert result.plan.components
    assert isinstance(weights, DualWeights)
    assert weights.basis is not None
    assert weights.matrix.dtype == np.float32
    return weights


def assert_textbook(result: RidgeCVResult, x: np.ndarray, y: np.ndarray, fit_intercept: bool = True) -> None:
    """Coefficients, intercepts, fitted values and predictions of new samples. These carry the rounding of the
    new features, which coefficients of small penalties magnify."""
    coef, intercept = textbook_ridge(x, y, result.alpha, fit_intercept)
    assert relative_error(coefficients(result.weights), coef) <= tolerance(np.float32, 5)
    assert np.abs(result.intercept - intercept).max() <= tolerance(np.float32, 5) * np.abs(y).max()
    new = wide_design(31, x.shape[1], seed=1)
    for samples in (x, new):
        expected = samples @ coef + intercept
        assert relative_error(predicted(result, samples), expected) <= tolerance(np.float32, 5)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [1.0, 1e-2, 1e-4, SMALL])
def test_equals_the_textbook(route: str, fit_intercept: bool, alpha: float) -> None:
    x = wide_design()
    y = responses(x)
    result = solve(x, y, [alpha], solver=route, fit_intercept=fit_intercept)
    assert_components(result)
    assert_textbook(result, x, y, fit_intercept)


def test_float32_dual_coefficients_would_lose_the_predictions(route: str) -> None:
    x = wide_design()
    y = responses(x)
    centred = x - x.mean(axis=0)
    dual = np.linalg.solve(centred @ centred.T + SMALL * np.eye(N), y - y.mean(axis=0))
    coef, intercept = textbook_ridge(x, y, SMALL)
    expected = x @ coef + intercept
    exact, rounded = ((x @ centred.T) @ dual.astype(kind) for kind in (np.float64, np.float32))
    assert relative_error(expected + rounded - exact, expected) > 100 * tolerance(np.float32)
    result = solve(x, y, [SMALL], solver=route)
    assert_components(result)
    assert relative_error(predicted(result, x), expected) <= tolerance(np.float32)


def test_each_target_with_its_own_penalty(route: str) -> None:
    """Several panels and tiles, a grid over 8 decades."""
    x = wide_design()
    y = make_responses(x, 1100) + np.logspace(-3, 1, 1100) * np.random.default_rng(2).standard_normal(
        (N, 1100)
    )
    y = y.astype(np.float32).astype(np.float64)
    alphas = np.logspace(-7, 1, 9)
    result = solve(x, y, alphas, solver=route, scoring="r2")
    tiled = solve(x, y, alphas, solver=route, scoring="r2", n_targets_batch=512)
    assert np.unique(result.alpha).size > 4
    for found in (result, tiled):
        assert_components(found)
        assert_textbook(found, x, y)


@pytest.mark.parametrize("kind", ["ill-conditioned", "rank-deficient", "duplicated", "large mean"])
def test_designs_that_break_solvers(route: str, kind: str) -> None:
    """Fewer eigenvectors carry signal than there are samples."""
    x = make_design("generic", N, P) + 20 if kind == "large mean" else make_design(kind, N, P)
    x = x.astype(np.float32).astype(np.float64)
    y = responses(x)
    alpha = np.linalg.norm(x - x.mean(axis=0), 2) ** 2 * 1e-5
    result = solve(x, y, [alpha], solver=route)
    weights = assert_components(result)
    assert weights.matrix.shape[0] <= N
    assert weights.matrix.shape[0] == N // 2 or kind != "rank-deficient"
    coef, intercept = textbook_ridge(x, y, alpha)
    expected = x @ coef + intercept
    assert relative_error(predicted(result, x), expected) <= tolerance(np.float32, 5)


# --- where they are not kept


@pytest.mark.parametrize("kept", ["file", "checkpoint", "float64", "few targets", "primal", "cholesky"])
def test_elsewhere_weights_stay_as_they_are_and_predict_the_same(kept: str, tmp_path: Path) -> None:
    x = wide_design()
    y = responses(x)
    options: dict[str, Any] = {"solver": "dual-spectral"}
    if kept == "file":
        options["weights"] = tmp_path / "w.h5"
    elif kept == "checkpoint":
        options |= {"checkpoint": tmp_path / "c", "identity": {"data": 1}}
    elif kept == "float64":
        options["dtype"] = np.float64
    elif kept in ("primal", "cholesky"):
        options["solver"] = {"primal": "primal-leave-out", "cholesky": "dual-cholesky"}[kept]
    some = 2 * N - 1 if kept == "few targets" else V
    other = solve(x, y[:, :some], [1e-4], **options)
    assert not other.plan.components
    assert getattr(other.weights, "basis", None) is None
    result = solve(x, y, [1e-4], solver="dual-spectral")
    assert_components(result)
    for samples in (x, wide_design(31, seed=1)):
        expected = predicted(result, samples)[:, :some]
        assert relative_error(predicted(other, samples), expected) <= tolerance(np.float32, 5)
    assert relative_error(coefficients(other.weights), coefficients(result.weights)[:, :some]) <= tolerance(
        np.float32, 5
    )


def test_no_weights_at_all(route: str) -> None:
    x = wide_design()
    y = responses(x)
    alphas = [1e-4, 1e-2]
    none, kept = (solve(x, y, alphas, solver=route, weights=weights) for weights in ("none", "memory"))
    assert none.weights is None
    assert not none.plan.components
    np.testing.assert_array_equal(none.cv_scores, kept.cv_scores)


# --- options of a fit


@pytest.mark.parametrize("grouped", [False, True])
def test_penalties_that_targets_share(route: str, grouped: bool) -> None:
    x = wide_design()
    y = responses(x)
    labels = np.arange(V) % 3
    alphas = np.logspace(-5, 0, 6)
    result = solve(x, y, alphas, solver=route, alpha_per_target=labels if grouped else False)
    assert_components(result)
    pairs = [(fold.train, fold.validation) for fold in make_folds(3, [N], gap=0)]
    scores = textbook_scores(x, y, alphas, pairs, "correlation")
    for label in range(3):
        members = labels == label if grouped else np.ones(V, dtype=bool)
        assert (result.alpha[members] == alphas[scores[:, members].mean(axis=1).argmax()]).all()
    assert_textbook(result, x, y)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("some_are_zero", [True, False])
def test_sample_weights(fit_intercept: bool, some_are_zero: bool) -> None:
    x, rng = wide_design(), np.random.default_rng(3)
    y = responses(x)
    weight = rng.uniform(0.2, 3.0, N)
    if some_are_zero:
        weight[rng.choice(N, 7, replace=False)] = 0.0
    result = solve(x, y, [1e-4], solver="dual-leave-out", sample_weight=weight, fit_intercept=fit_intercept)
    weights = assert_components(result)
    assert weights.basis is not None
    np.testing.assert_allclose(weights.basis.root, np.sqrt(weight))
    peer = Ridge(alpha=1e-4, fit_intercept=fit_intercept, solver="svd").fit(x, y, sample_weight=weight)
    assert relative_error(coefficients(weights), peer.coef_.T) <= tolerance(np.float32, 5)
    new = wide_design(31, seed=1)
    assert relative_error(predicted(result, new), peer.predict(new)) <= tolerance(np.float32, 5)


@pytest.mark.parametrize("evaluation", ["gcv", "pooled"])
def test_other_evaluations(evaluation: str) -> None:
    x = wide_design()
    y = responses(x)
    result = solve(x, y, np.logspace(-5, 0, 4), solver="dual-leave-out", evaluation=evaluation, scoring="r2")
    assert_components(result)
    assert_textbook(result, x, y)


def test_masked_targets_have_no_coefficients(route: str) -> None:
    x = wide_design()
    y = responses(x)
    whole = solve(x, y, [1e-4, 1e-2], solver=route)
    broken, valid = y.copy(), np.ones(V, dtype=bool)
    broken[:, 3], broken[5, 70] = 7.0, np.nan
    valid[[3, 70, V - 1]] = False
    masked = solve(x, broken, [1e-4, 1e-2], solver=route, valid=valid)
    assert_components(masked)
    found = coefficients(masked.weights)
    np.testing.assert_array_equal(found[:, ~valid], 0.0)
    np.testing.assert_array_equal(found[:, valid], coefficients(whole.weights)[:, valid])
    for name in ("alpha", "intercept"):
        assert np.isnan(getattr(masked, name)[~valid]).all()
        np.testing.assert_array_equal(getattr(masked, name)[valid], getattr(whole, name)[valid])


# --- EncodingRidge


RUNS, DELAYS = [40, 50, 30], (0, 1, 3)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(0).standard_normal((120, 60)).astype(np.float32)
    x = delayed_matrix(features, DELAYS, RUNS)
    return features, make_responses(x, 260).astype(np.float32)


def fitted_model(route: str, data: tuple[Any, Any], **options: Any) -> EncodingRidge:
    alphas = options.pop("alphas", [1e-2])
    model = EncodingRidge(alphas, DELAYS, solver=route, progress=False, **options)
    return model.fit(*data, runs=RUNS)


def test_encoding_ridge_keeps_components(route: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    features, targets = data
    fitted = fitted_model(route, data)
    assert fitted.plan_.components
    coef, intercept = textbook_ridge(delayed_matrix(features, DELAYS, RUNS), targets, 1e-2)
    assert relative_error(fitted.coef_, coef.T) <= tolerance(np.float32, 5)
    new = np.random.default_rng(5).standard_normal((70, 60)).astype(np.float32)
    expected = delayed_matrix(new, DELAYS, [30, 40]) @ coef + intercept
    assert relative_error(fitted.predict(new, runs=[30, 40]), expected) <= tolerance(np.float32, 5)


@pytest.mark.parametrize("how", ["save", "pickle", "save of a pickle"])
def test_a_model_comes_back(
    route: str, how: str, data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    fitted = fitted_model(route, data)
    again = pickle.loads(pickle.dumps(fitted)) if "pickle" in how else fitted
    if "save" in how:
        again.save(tmp_path / "model.h5")
        again = EncodingRidge.load(tmp_path / "model.h5")
    assert again.plan_.components
    assert relative_error(again.coef_, fitted.coef_) <= tolerance(np.float32)
    new = np.random.default_rng(5).standard_normal((70, 60)).astype(np.float32)
    predictions = again.predict(new, runs=[30, 40])
    assert predictions.dtype == np.float32
    assert relative_error(predictions, fitted.predict(new, runs=[30, 40])) <= tolerance(np.float32)


@pytest.mark.parametrize("name", ["coef.h5", "coef.npy"])
def test_save_coef(route: str, name: str, data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    fitted = fitted_model(route, data)
    fitted.save_coef(tmp_path / name)
    if name.endswith(".npy"):
        found = np.load(tmp_path / name).T
    else:
        with h5py.File(tmp_path / name) as file:
            found = file["data"][()]
    np.testing.assert_array_equal(found, fitted.coef_)


def test_predictions_of_features_in_a_file(
    route: str, data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    fitted = fitted_model(route, data)
    np.save(tmp_path / "x.npy", data[0])
    found = np.empty((120, 260), dtype=np.float32)
    fitted.predict(tmp_path / "x.npy", runs=RUNS, out=found)
    assert relative_error(found, fitted.predict(data[0], runs=RUNS)) <= tolerance(np.float32)


def test_training_features_in_a_file(route: str, data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = data[0]
    fitted = fitted_model(route, (tmp_path / "x.h5", data[1]), memory_limit="8GB")
    assert fitted.plan_.components
    expected = fitted_model(route, data)
    assert relative_error(fitted.coef_, expected.coef_) <= tolerance(np.float32)
    fitted.save(tmp_path / "model.h5")
    again = EncodingRidge.load(tmp_path / "model.h5")
    predictions = again.predict(data[0], runs=RUNS)
    assert relative_error(predictions, expected.predict(data[0], runs=RUNS)) <= tolerance(np.float32, 5)


def test_a_fit_does_not_change_with_the_callers_features(
    route: str, data: tuple[np.ndarray, np.ndarray]
) -> None:
    features, targets = data
    given = features.copy()
    fitted = fitted_model(route, (given, targets))
    before = fitted.predict(features, runs=RUNS)
    given[:] = 0.0
    np.testing.assert_array_equal(fitted.predict(features, runs=RUNS), before)


# --- the basis


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 25), centred=st.booleans(), weighted=st.booleans())
def test_the_basis_expands_and_turns(seed: int, n: int, centred: bool, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    k, m, v = (int(rng.integers(1, most + 1)) for most in (n, 7, 5))
    vectors = np.ascontiguousarray(np.linalg.qr(rng.standard_normal((n, n)))[0][:k])
    root = rng.uniform(0.0, 2.0, n) if weighted else None
    r = None
    if centred:
        r = np.ones(n) if root is None else root
        r = r / np.linalg.norm(r)
    c = rng.standard_normal((k, v)).astype(np.float32)
    kernel = rng.standard_normal((m, n))
    expected = vectors.T @ c.astype(np.float64)
    if r is not None:
        expected = (np.eye(n) - np.outer(r, r)) @ expected
    if root is not None:
        expected = np.diag(root) @ expected
    basis = DualBasis(vectors, r, root)
    dual = basis.expand(c)
    assert dual.dtype == np.float64
    np.testing.assert_allclose(dual, expected, rtol=0, atol=1e-12)
    turned = basis.turn(kernel.copy())
    assert turned.shape == (m, k)
    np.testing.assert_allclose(turned @ c.astype(np.float64), kernel @ expected, rtol=0, atol=1e-11)
