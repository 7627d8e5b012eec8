"""The spectral routes on a device against textbook fits in float64 and the routes of the processor."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import voxridge.solvers.cuda.fits as device_fits
from voxridge._dispatch import find_device
from voxridge._warnings import FallbackWarning
from voxridge.solvers import DelayedDesign, Fold, RidgeCVResult, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.cuda import spectral_folds
from voxridge.solvers.cuda.design import DeviceDesign
from voxridge.solvers.cuda.dual_weights import expand
from voxridge.solvers.cuda.session import Session
from voxridge.solvers.cuda.spectral_folds import DualFoldsOnDevice, PrimalFoldsOnDevice
from voxridge.solvers.fits import fit_designs
from voxridge.solvers.settings import Storage, check_settings
from voxridge.solvers.stream_design import StreamedDesign
from voxridge.solvers.trust import UntrustedFactor
from voxridge.solvers.weights import coefficients
from voxridge.streams import as_source
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

ALPHAS = np.array([1.0, 1e4, 0.01, 100.0])


def targets_of(y: np.ndarray, valid: np.ndarray | None = None, *, centre: bool = True) -> Targets:
    valid = np.ones(y.shape[1], bool) if valid is None else valid
    with np.errstate(invalid="ignore"):
        mean = np.where(valid, y.mean(axis=0, dtype=np.float64), 0.0) * centre
    return Targets(y.shape[0], y.shape[1], lambda begin, end: y[:, begin:end], mean, valid)


def solve(x: np.ndarray, y: np.ndarray, alphas: Any, folds: Any, **options: Any) -> RidgeCVResult:
    options.setdefault("device", "cuda")
    return solve_ridge_cv(DelayedDesign(x), targets_of(y), alphas, folds, **options)


def splits(folds: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(fold.train, fold.validation) for fold in folds]


@pytest.fixture
def in_passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``in_passes(k)``: plans of the device take k folds a pass from now on."""
    plan = device_fits.make_device_plan

    def limit(folds: int) -> None:
        def limited(*args: Any, **options: Any) -> Any:
            return dataclasses.replace(plan(*args, **options), folds_per_pass=folds)

        monkeypatch.setattr(device_fits, "make_device_plan", limited)

    return limit


CASES = {
    "runs": (3, [16, 20, 24], "auto"),
    "blocks with gaps": (5, [60], "auto"),
    "few training rows": ([(np.arange(20), np.arange(24, 60))], [60], 0),
    "scattered": ([(np.arange(0, 60, 2), np.arange(1, 60, 2))], [60], 0),
    "rows left out": (
        [(np.arange(0, 20), np.arange(24, 40)), (np.arange(28, 60), np.arange(8, 24))],
        [60],
        0,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_equals_the_textbook(
    on_cuda: ModuleType, case: str, scoring: str, fit_intercept: bool, route: str, dtype: type
) -> None:
    cv, runs, gap = CASES[case]
    delays, rng = (0, 1, 3), np.random.default_rng(0)
    features = (rng.standard_normal((60, 5)) + 0.5).astype(dtype)
    x = delayed_matrix(features, delays, runs)
    y = (make_responses(x, 7, noise=2.0) + 1.5).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some of these cases leak on purpose
        folds = make_folds(cv, runs, gap=gap, longest_delay=3)
    result = solve_ridge_cv(
        DelayedDesign(features, delays, runs),
        targets_of(y, centre=fit_intercept),
        ALPHAS,
        folds,
        scoring=scoring,
        fit_intercept=fit_intercept,
        solver=f"{route}-spectral",
        n_targets_batch=4,
        device="cuda",
    )
    assert (result.plan.device, result.plan.route) == ("cuda:0", f"{route}-spectral")
    expected = textbook_scores(x, y, ALPHAS, splits(folds), scoring, fit_intercept)
    # 20 rows and 15 columns at the least: a condition number of 1e3
    assert np.abs(result.cv_scores - expected).max() <= tolerance(dtype, 20 * np.abs(expected).max())
    np.testing.assert_array_equal(result.alpha, ALPHAS[expected.argmax(axis=0)])
    coef, intercept = textbook_ridge(x, y, result.alpha, fit_intercept)
    assert relative_error(coefficients(result.weights), coef) <= tolerance(dtype, 20)
    assert np.abs(result.intercept - intercept).max() <= tolerance(dtype, 40)
    assert coefficients(result.weights).dtype == dtype


@pytest.mark.parametrize("kind", DESIGNS)
@pytest.mark.parametrize(("n", "p"), [(60, 24), (24, 60)])
def test_float32_scores_are_those_of_float64(
    on_cuda: ModuleType, kind: str, n: int, p: int, route: str
) -> None:
    """Over nine decades of penalties, where products of the primal need float64."""
    x = make_design(kind, n, p).astype(np.float32)
    y = make_responses(x.astype(np.float64), 6).astype(np.float32)
    folds = make_folds(3, [n], gap=0)[:2]
    alphas = np.linalg.norm(x.astype(np.float64), 2) ** 2 * np.logspace(-9, 0, 4)
    result = solve(x, y, alphas, folds, solver=f"{route}-spectral")
    assert result.plan.route == f"{route}-spectral"
    expected = textbook_scores(x, y, alphas, splits(folds), "correlation")
    assert np.abs(result.cv_scores - expected).max() < 5e-6
    here = solve(x, y, alphas, folds, solver=f"{route}-spectral", device="cpu")
    assert result.n_dependent == here.n_dependent
    assert result.weights.matrix.dtype == here.weights.matrix.dtype or here.plan.components
    coef, _ = textbook_ridge(x, y, result.alpha)
    if kind == "rank-deficient":  # rounded features hardly depend on each other: the textbook keeps them all
        same = result.alpha == here.alpha
        assert same.sum() >= 4
        result_coef, coef = coefficients(result.weights)[:, same], coefficients(here.weights)[:, same]
        assert relative_error(result_coef, coef) <= tolerance("f4", 100)
        return
    assert relative_error(coefficients(result.weights), coef) <= tolerance("f4", 100)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_folds_in_several_passes(
    on_cuda: ModuleType, in_passes: Callable[[int], None], step: int, route: str, dtype: type
) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((50, 9)).astype(dtype), rng.standard_normal((50, 6)).astype(dtype)
    folds = make_folds(5, [50], gap=0)
    options: dict[str, Any] = {"solver": f"{route}-spectral", "n_targets_batch": 4}
    whole = solve(x, y, ALPHAS, folds, **options)
    in_passes(step)
    passes = solve(x, y, ALPHAS, folds, **options)
    assert (whole.plan.folds_per_pass, passes.plan.folds_per_pass) == (5, step)
    assert np.abs(passes.cv_scores - whole.cv_scores).max() <= tolerance("f8")
    np.testing.assert_array_equal(passes.alpha, whole.alpha)
    np.testing.assert_array_equal(coefficients(passes.weights), coefficients(whole.weights))


def test_only_the_features_of_the_design_count(on_cuda: ModuleType, route: str) -> None:
    """Features far from zero, and targets too, with an intercept: what is constant cancels."""
    rng = np.random.default_rng(2)
    x = (rng.standard_normal((48, 6)) + 30.0).astype(np.float32)
    y = (make_responses(x.astype(np.float64) - 30.0, 5) + 100.0).astype(np.float32)
    folds = make_folds(3, [48], gap=0)
    for scoring in ("correlation", "r2"):
        result = solve(x, y, ALPHAS, folds, solver=f"{route}-spectral", scoring=scoring)
        expected = textbook_scores(x, y, ALPHAS, splits(folds), scoring)
        assert np.abs(result.cv_scores - expected).max() <= tolerance("f4", 50)  # y is rounded at 100


def test_a_run_far_from_the_others(on_cuda: ModuleType, route: str) -> None:
    """Its mean prediction is large beside what varies in it, which is all that a correlation sees."""
    rng = np.random.default_rng(14)
    x = rng.standard_normal((60, 6))
    x[40:] += 300.0
    x = x.astype(np.float32)
    y = (x @ rng.standard_normal((6, 5)) + rng.standard_normal((60, 5))).astype(np.float32)
    folds = [Fold(np.arange(40), np.arange(40, 60))]
    result = solve(x, y, ALPHAS, folds, solver=f"{route}-spectral")
    expected = textbook_scores(x, y, ALPHAS, splits(folds), "correlation")
    assert np.abs(result.cv_scores - expected).max() <= tolerance("f4", 5)  # targets are rounded at 300


# --- features and targets that say nothing


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("value", "p"), [(0.0, 3), (1.0, 50), (0.1, 3), (0.7, 50), (-37.3, 3)])
@pytest.mark.parametrize("n_targets", [6, 130])
def test_constant_features(
    on_cuda: ModuleType, route: str, dtype: type, fit_intercept: bool, value: float, p: int, n_targets: int
) -> None:
    runs = [14, 11, 15]
    y = make_responses(np.random.default_rng(0).standard_normal((40, 3)), n_targets).astype(dtype)
    result = solve_ridge_cv(
        DelayedDesign(np.full((40, p), value, dtype=dtype)),
        targets_of(y, centre=fit_intercept),
        [1.0, 100.0, 10.0],
        make_folds("leave-one-run-out", runs),
        solver=f"{route}-spectral",
        fit_intercept=fit_intercept,
        device="cuda",
    )
    assert result.plan.route == f"{route}-spectral"
    np.testing.assert_array_equal(result.cv_scores, 0.0)
    np.testing.assert_array_equal(result.alpha, 100.0)
    if value == 0.0:
        np.testing.assert_array_equal(coefficients(result.weights), 0.0)


def test_constant_targets(on_cuda: ModuleType, route: str, dtype: type) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((36, 4)).astype(dtype), rng.standard_normal((36, 4)).astype(dtype)
    y[:, 1], y[:, 2] = 0.3, 0.0
    for scoring in ("correlation", "r2"):
        result = solve(x, y, ALPHAS, make_folds(3, [36], gap=0), solver=f"{route}-spectral", scoring=scoring)
        np.testing.assert_array_equal(result.cv_scores[:, [1, 2]], 0.0)
        np.testing.assert_array_equal(result.alpha[[1, 2]], 1e4)
        assert np.abs(result.cv_scores[:, [0, 3]]).min() > 0


@pytest.mark.parametrize("p", [8, 40])
def test_features_that_depend_on_each_other(on_cuda: ModuleType, route: str, dtype: type, p: int) -> None:
    x = make_design("rank-deficient", 36, p).astype(dtype)
    y = make_responses(x.astype(np.float64), 5).astype(dtype)
    folds = make_folds(3, [36], gap=0)
    options: dict[str, Any] = {"solver": f"{route}-spectral", "scoring": "r2"}
    result, here = (solve(x, y, [1.0, 10.0], folds, device=device, **options) for device in ("cuda", "cpu"))
    assert np.abs(result.cv_scores - here.cv_scores).max() <= tolerance(dtype, 10)
    assert result.n_dependent == here.n_dependent
    assert dtype == np.float32 or result.n_dependent > 0
    assert relative_error(coefficients(result.weights), coefficients(here.weights)) <= tolerance(dtype, 10)


def test_a_penalty_too_small_falls_back(on_cuda: ModuleType, route: str) -> None:
    x = make_design("duplicated", 40, 10)
    y = make_responses(x, 4)
    folds = make_folds(4, [40], gap=0)
    with pytest.warns(FallbackWarning, match=f"{route}-spectral cannot be trusted"):
        result = solve(x, y, [1e-14, 1.0], folds, solver=f"{route}-spectral")
    assert (result.plan.device, result.plan.route) == ("cpu", "svd")


# --- what is asked for of penalties and weights


def test_penalties_of_groups(on_cuda: ModuleType, route: str) -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((48, 10))
    y = make_responses(x, 9, noise=3.0)
    folds, alphas = make_folds(4, [48], gap=0), np.logspace(-1, 4, 6)
    scores = textbook_scores(x, y, alphas, splits(folds), "correlation")
    labels = np.arange(9) % 2
    for asked, groups in ((False, np.zeros(9, int)), (labels, labels)):
        result = solve(
            x, y, alphas, folds, solver=f"{route}-spectral", alpha_per_target=asked, n_targets_batch=4
        )
        for label in np.unique(groups):
            best = alphas[scores[:, groups == label].mean(axis=1).argmax()]
            np.testing.assert_array_equal(result.alpha[groups == label], best)
        coef, intercept = textbook_ridge(x, y, result.alpha)
        assert relative_error(coefficients(result.weights), coef) <= tolerance("f8", 10)
        assert np.abs(result.intercept - intercept).max() <= tolerance("f8", 40)


def test_masked_targets(on_cuda: ModuleType, route: str, dtype: type) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((40, 6)).astype(dtype), rng.standard_normal((40, 6)).astype(dtype)
    folds, solver = make_folds(4, [40], gap=0), f"{route}-spectral"
    whole = solve(x, y, ALPHAS, folds, solver=solver)
    y[3, 2] = np.nan
    valid = np.arange(6) != 2
    masked = solve_ridge_cv(
        DelayedDesign(x), targets_of(y, valid), ALPHAS, folds, solver=solver, device="cuda"
    )
    assert np.isnan(masked.alpha[2])
    assert np.isnan(masked.cv_scores[:, 2]).all()
    np.testing.assert_array_equal(coefficients(masked.weights)[:, 2], 0.0)
    np.testing.assert_array_equal(masked.cv_scores[:, valid], whole.cv_scores[:, valid])
    np.testing.assert_array_equal(
        coefficients(masked.weights)[:, valid], coefficients(whole.weights)[:, valid]
    )


def test_weights_in_float64_for_some_targets_only(on_cuda: ModuleType) -> None:
    """Dual coefficients of a tile whose small penalties need float64, beside others that do not."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((40, 60)).astype(np.float32)
    y = np.concatenate([x[:, :4], rng.standard_normal((40, 5))], axis=1).astype(np.float32)
    alphas, folds = np.array([1e-4, 1e4]), make_folds(4, [40], gap=0)
    result = solve(x, y, alphas, folds, solver="dual-spectral", scoring="r2")
    assert set(result.alpha) == {1e-4, 1e4}
    assert result.weights.matrix.dtype == np.float64
    coef, intercept = textbook_ridge(x, y, result.alpha)
    assert relative_error(coefficients(result.weights), coef) <= tolerance("f4", 10)
    assert np.abs(result.intercept - intercept).max() <= tolerance("f4", 10)
    dual = result.weights.matrix.result
    assert np.abs(dual.sum(axis=0)).max() <= tolerance("f8", 10) * np.abs(dual).sum(axis=0).max()


@pytest.mark.parametrize("ending", ["npy", "h5"])
def test_weights_in_a_file_or_not_kept(
    on_cuda: ModuleType, route: str, dtype: type, ending: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((40, 6)).astype(dtype), rng.standard_normal((40, 7)).astype(dtype)
    folds = make_folds(4, [40], gap=0)
    options: dict[str, Any] = {"solver": f"{route}-spectral", "n_targets_batch": 3}
    kept = solve(x, y, ALPHAS, folds, **options)
    filed = solve(x, y, ALPHAS, folds, weights=tmp_path / f"weights.{ending}", **options)
    none = solve(x, y, ALPHAS, folds, weights="none", **options)
    np.testing.assert_array_equal(coefficients(filed.weights), coefficients(kept.weights))
    assert none.weights is None
    np.testing.assert_array_equal(none.cv_scores, kept.cv_scores)
    np.testing.assert_array_equal(none.alpha, kept.alpha)


@pytest.mark.parametrize("step", [2, 4])
def test_a_fit_that_was_cut_short_goes_on(
    on_cuda: ModuleType, in_passes: Callable[[int], None], route: str, step: int, tmp_path: Path
) -> None:
    """Cut short in its last pass; with two passes those behind it are read from the checkpoint."""
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((40, 7))
    folds = make_folds(4, [40], gap=0)
    in_passes(step)
    options: dict[str, Any] = {
        "solver": f"{route}-spectral",
        "n_targets_batch": 3,
        "checkpoint": tmp_path / "checkpoint",
        "identity": {"data": "these"},
    }
    whole = solve(x, y, ALPHAS, folds, **options | {"checkpoint": tmp_path / "other"})

    def stop(name: str, done: float) -> None:
        if name == "scoring and refitting" and done > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(x, y, ALPHAS, folds, report=stop, **options)
    seen: list[str] = []
    resumed = solve(x, y, ALPHAS, folds, report=lambda name, done: seen.append(name), **options)
    assert "scoring" not in seen
    np.testing.assert_array_equal(resumed.cv_scores, whole.cv_scores)
    np.testing.assert_array_equal(resumed.alpha, whole.alpha)
    np.testing.assert_array_equal(coefficients(resumed.weights), coefficients(whole.weights))
    np.testing.assert_array_equal(resumed.intercept, whole.intercept)


@pytest.mark.parametrize("n_alphas", [1, 4])
def test_several_designs_at_once(
    on_cuda: ModuleType, in_passes: Callable[[int], None], route: str, n_alphas: int
) -> None:
    """They take turns at the session's buffers; one that cannot be trusted drops out."""
    rng = np.random.default_rng(11)
    designs = {"a": rng.standard_normal((40, 6)), "b": rng.standard_normal((40, 11))}
    designs["twice"] = np.concatenate([designs["a"], designs["a"]], axis=1)
    y = rng.standard_normal((40, 7))
    folds = make_folds(4, [40], gap=0)
    alphas = np.append(ALPHAS[: n_alphas - 1], 1e-14)
    in_passes(2)
    checked = check_settings(
        40,
        targets_of(y),
        alphas,
        folds,
        scoring="correlation",
        fit_intercept=True,
        alpha_per_target=True,
        sample_weight=None,
        evaluation="folds",
        memory_limit=None,
        solver=f"{route}-spectral",
        n_targets_batch=3,
        cuda=find_device("cuda"),
        device_required=True,
    )
    storage = Storage("memory", None, {})
    with pytest.warns(FallbackWarning, match=f"'twice': route {route}-spectral"):
        together = fit_designs(
            [DelayedDesign(x) for x in designs.values()],
            targets_of(y),
            checked,
            storage,
            lambda name, done: None,
            list(designs),
        )
    assert [result.plan.route for result in together] == [f"{route}-spectral"] * 2 + ["svd"]
    for x, result in zip(designs.values(), together[:2], strict=False):
        alone = solve(x, y, alphas, folds, solver=f"{route}-spectral", n_targets_batch=3)
        np.testing.assert_array_equal(result.cv_scores, alone.cv_scores)
        np.testing.assert_array_equal(coefficients(result.weights), coefficients(alone.weights))


def test_streamed_features(on_cuda: ModuleType, route: str, dtype: type, tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    features, y = rng.standard_normal((40, 6)).astype(dtype), rng.standard_normal((40, 5)).astype(dtype)
    np.save(tmp_path / "features.npy", features)
    source = as_source(tmp_path / "features.npy", name="features", runs=[18, 22])
    folds = make_folds("leave-one-run-out", [18, 22], longest_delay=2)
    streamed = StreamedDesign(source, (1, 2), rows_per_chunk=17, columns_per_chunk=4)
    held = DelayedDesign(features, (1, 2), [18, 22])
    found = [
        solve_ridge_cv(design, targets_of(y), ALPHAS, folds, solver=f"{route}-spectral", device="cuda")
        for design in (streamed, held)
    ]
    np.testing.assert_array_equal(found[0].cv_scores, found[1].cv_scores)
    np.testing.assert_array_equal(coefficients(found[0].weights), coefficients(found[1].weights))


def test_either_order_of_the_queues(
    on_cuda: ModuleType, order: str, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few scored rows at a time, too."""
    rng = np.random.default_rng(13)
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((40, 9))
    folds = make_folds(2, [40], gap=0)
    monkeypatch.setattr(spectral_folds, "_SAMPLES", 7)
    options: dict[str, Any] = {"solver": f"{route}-spectral", "n_targets_batch": 4}
    result, again = (solve(x, y, ALPHAS, folds, **options) for _ in range(2))
    expected = textbook_scores(x, y, ALPHAS, splits(folds), "correlation")
    assert np.abs(result.cv_scores - expected).max() <= tolerance("f8", 10)
    np.testing.assert_array_equal(again.cv_scores, result.cv_scores)
    np.testing.assert_array_equal(coefficients(again.weights), coefficients(result.weights))


# --- less than float32


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("step", [1, 3])
def test_scores_of_the_best_penalties_are_float32(
    on_cuda: ModuleType, in_passes: Callable[[int], None], route: str, precision: str, step: int
) -> None:
    rng = np.random.default_rng(9)
    x = rng.standard_normal((60, 12)).astype(np.float32)
    y = make_responses(x.astype(np.float64), 8, noise=2.0).astype(np.float32)
    folds = make_folds(3, [60], gap=0)
    options: dict[str, Any] = {"solver": f"{route}-spectral", "n_targets_batch": 5}
    exact = solve(x, y, ALPHAS, folds, **options)
    in_passes(step)
    rounded = solve(x, y, ALPHAS, folds, precision=precision, **options)
    off = np.abs(rounded.cv_scores - exact.cv_scores)
    chosen = np.searchsorted(np.sort(ALPHAS), rounded.alpha)
    chosen = np.argsort(ALPHAS)[chosen]
    assert off[chosen, np.arange(8)].max() <= tolerance("f4")
    assert np.abs(rounded.best_scores - exact.best_scores).max() <= tolerance("f4")
    if step == 3:
        assert off.max() > tolerance("f4", 5)  # it was rounded
        assert off.max() < 0.02
    else:
        assert off.max() <= tolerance("f8")
    coef, _ = textbook_ridge(x, y, rounded.alpha)
    assert relative_error(coefficients(rounded.weights), coef) <= tolerance("f4", 20)


# --- factors


@pytest.mark.parametrize("kind", [DualFoldsOnDevice, PrimalFoldsOnDevice])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_factors_predict(cuda: ModuleType, kind: Any, fit_intercept: bool, dtype: type) -> None:
    """A diag(1 / (l + alpha)) Q'C is the held-out prediction about the training mean."""
    session, rng = Session(cuda), np.random.default_rng(10)
    features = (rng.standard_normal((30, 4)) + 1.0).astype(dtype)
    x = delayed_matrix(features, (0, 2), [12, 18])
    fold = Fold(np.r_[0:9, 14:30], np.arange(10, 13))
    there = DeviceDesign(session, DelayedDesign(features, (0, 2), [12, 18]), fit_intercept=fit_intercept)
    factor = kind(there, alpha_min=0.5).factor(fold, "r2")
    y = rng.standard_normal((30, 3))
    train = x[fold.train] - x[fold.train].mean(axis=0) * fit_intercept
    c = (y - y[fold.train].mean(axis=0) * fit_intercept)[fold.train]
    q_t, a = session.down(factor.spectrum.q_t), session.down(factor.a)
    assert a.dtype == dtype
    z = q_t @ (c if kind is DualFoldsOnDevice else train.T @ c)
    made = a @ (z / (factor.spectrum.l + 0.5)[:, None])
    coef, intercept = textbook_ridge(x[fold.train], y[fold.train], 0.5, fit_intercept)
    mean = y[fold.train].mean(axis=0) * fit_intercept
    assert relative_error(made, x[fold.validation] @ coef + intercept - mean) <= tolerance(dtype, 20)
    assert factor.n_train == 25


@pytest.mark.parametrize("kind", [DualFoldsOnDevice, PrimalFoldsOnDevice])
def test_an_untrusted_fold_is_refused(cuda: ModuleType, kind: Any) -> None:
    x = make_design("duplicated", 30, 8)
    there = DeviceDesign(Session(cuda), DelayedDesign(x), fit_intercept=True)
    engine = kind(there, alpha_min=1e-15)
    with pytest.raises(UntrustedFactor, match="singular to working precision"):
        engine.factor(make_folds(3, [30], gap=0)[0], "correlation")


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_norms_of_the_centred_kernel_and_gram(cuda: ModuleType, fit_intercept: bool) -> None:
    x = np.random.default_rng(15).standard_normal((30, 4)) + 2.0
    there = DeviceDesign(Session(cuda), DelayedDesign(x), fit_intercept=fit_intercept)
    centred = x - x.mean(axis=0) * fit_intercept
    expected = np.linalg.norm(centred @ centred.T)  # as that of the Gram
    for found in (
        DualFoldsOnDevice(there, alpha_min=1.0).norm,
        PrimalFoldsOnDevice(there, alpha_min=1.0)._total_norm,
    ):
        assert abs(found / expected - 1) <= tolerance("f8", 10)


@pytest.mark.parametrize("out_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("small", [[], [0, 3, 4], [0, 1, 2, 3, 4]])
def test_dual_weights_are_multiplied_as_exactly_as_their_penalty_wants(
    cuda: ModuleType, out_dtype: Any, small: list[int]
) -> None:
    """Vectors twice as large in float64 show which targets used them."""
    session, rng = Session(cuda), np.random.default_rng(16)
    v_t, z = rng.standard_normal((3, 8)), rng.standard_normal((3, 5)).astype(np.float32)
    vectors = {np.dtype(np.float32): session.up(v_t, np.float32), np.dtype(np.float64): session.up(2 * v_t)}
    alphas = np.full(5, 1.0)
    alphas[small] = 0.99e-3
    out = session.empty((8, 5), out_dtype)
    expand(session, vectors, session.up(z), alphas, 10.0, out)
    expected = v_t.T @ z
    expected[:, small] *= 2
    assert relative_error(session.down(out), expected) <= tolerance("f4")
    exact = session.down(out)[:, small]
    assert relative_error(exact, expected[:, small]) <= tolerance("f8" if out_dtype == np.float64 else "f4")
