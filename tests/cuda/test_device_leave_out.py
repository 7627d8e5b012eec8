"""The leave-out routes on a device against the processor's and against refits."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from voxridge._warnings import FallbackWarning
from voxridge.solvers import DelayedDesign, StreamedDesign, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.weights import coefficients
from voxridge.streams import as_source
from voxridge.testing import tolerance

ALPHAS = np.logspace(0, 5, 7)
ROUTES = ["dual-cholesky", "primal-cholesky"]


def problem(
    rng: np.random.Generator, n: int = 90, p: int = 12, v: int = 40, dtype: Any = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal((n, p)) * np.linspace(0.5, 2, p) + 1.0
    y = x @ rng.standard_normal((p, v)) + 4 * rng.standard_normal((n, v)) + 3.0
    return x.astype(dtype), y.astype(dtype)


def targets_of(y: np.ndarray, valid: np.ndarray | None = None) -> Targets:
    everyone = np.ones(y.shape[1], dtype=bool) if valid is None else valid
    mean = y.mean(axis=0, dtype=np.float64)
    return Targets(y.shape[0], y.shape[1], lambda begin, end: y[:, begin:end], mean, everyone)


def fit(x: np.ndarray, y: np.ndarray, device: str, **options: Any) -> Any:
    runs = options.pop("runs", [len(x)])
    delays = options.pop("delays", (0,))
    folds = options.pop("folds", None) or make_folds(options.pop("cv", 4), runs, gap=options.pop("gap", 0))
    targets = targets_of(y, options.pop("valid", None))
    design = DelayedDesign(x, delays, runs)
    return solve_ridge_cv(design, targets, ALPHAS, folds, device=device, **options)


def score_tolerance(dtype: Any) -> float:
    """Leaving a set out magnifies rounding; float64 answers differ by what small penalties cancel, too."""
    return tolerance(dtype, slack=2.5 if dtype == np.float32 else 1000)


def assert_same(there: Any, here: Any, dtype: Any) -> None:
    tol = score_tolerance(dtype)
    assert there.plan.device == "cuda:0"
    assert here.plan.device == "cpu"
    np.testing.assert_allclose(there.cv_scores, here.cv_scores, atol=tol)
    np.testing.assert_allclose(there.best_scores, here.best_scores, atol=tol)
    near = np.sort(here.cv_scores, axis=0)
    clear = near[-1] - near[-2] > 4 * tol
    np.testing.assert_array_equal(there.alpha[clear], here.alpha[clear])
    chosen = there.alpha == here.alpha
    ours, theirs = coefficients(there.weights)[:, chosen], coefficients(here.weights)[:, chosen]
    np.testing.assert_allclose(ours, theirs, atol=20 * tol * np.abs(theirs).max())
    scale = np.abs(here.intercept).max() + 1
    np.testing.assert_allclose(there.intercept[chosen], here.intercept[chosen], atol=20 * tol * scale)


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_as_on_the_processor(
    on_cuda: ModuleType, rng: Any, dtype: Any, solver: str, scoring: str, fit_intercept: bool
) -> None:
    x, y = problem(rng, dtype=dtype)
    options = {"solver": solver, "scoring": scoring, "fit_intercept": fit_intercept}
    assert_same(fit(x, y, "cuda", **options), fit(x, y, "cpu", **options), dtype)


@pytest.mark.parametrize("solver", ROUTES)
def test_either_order_of_the_queues(on_cuda: ModuleType, rng: Any, order: str, solver: str) -> None:
    x, y = problem(rng, v=1100)
    there = fit(x, y, "cuda", solver=solver, n_targets_batch=512)
    assert_same(there, fit(x, y, "cpu", solver=solver), np.float32)


@pytest.mark.parametrize("solver", ROUTES)
def test_delays_runs_and_gaps(on_cuda: ModuleType, rng: Any, dtype: Any, solver: str) -> None:
    x, y = problem(rng, n=120, p=5, dtype=dtype)
    for options in (
        {"cv": "leave-one-run-out", "runs": [50, 30, 40]},
        {"cv": 3, "runs": [120], "gap": 4},
    ):
        options |= {"delays": (1, 2, 4), "solver": solver}
        assert_same(fit(x, y, "cuda", **options), fit(x, y, "cpu", **options), dtype)


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("evaluation", ["folds", "pooled"])
def test_sample_weights(on_cuda: ModuleType, rng: Any, dtype: Any, solver: str, evaluation: str) -> None:
    x, y = problem(rng, dtype=dtype)
    weight = rng.integers(0, 3, len(x)).astype(float)
    options = {"solver": solver, "sample_weight": weight, "evaluation": evaluation}
    assert_same(fit(x, y, "cuda", **options), fit(x, y, "cpu", **options), dtype)


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_leave_one_out(
    on_cuda: ModuleType, rng: Any, dtype: Any, solver: str, weighted: bool, fit_intercept: bool
) -> None:
    x, y = problem(rng, dtype=dtype)
    options = {"solver": solver, "evaluation": "pooled", "fit_intercept": fit_intercept, "scoring": "r2"}
    if weighted:
        options["sample_weight"] = rng.uniform(0.5, 2, len(x))
    folds = make_folds("leave-one-out", [len(x)], gap=0)
    there = fit(x, y, "cuda", folds=folds, **options)
    assert_same(there, fit(x, y, "cpu", folds=folds, **options), dtype)


def test_float64_scores_equal_refits(on_cuda: ModuleType, rng: Any) -> None:
    x, y = problem(rng, dtype=np.float64)
    folds = make_folds(3, [len(x)], gap=2)
    found = fit(x, y, "cuda", folds=folds, solver="dual-cholesky")
    for a, alpha in enumerate(ALPHAS):
        scores = np.zeros(y.shape[1])
        for fold in folds:
            train, val = fold.train, fold.validation
            mx, my = x[train].mean(0), y[train].mean(0)
            g = (x[train] - mx).T @ (x[train] - mx) + alpha * np.eye(x.shape[1])
            pred = (x[val] - mx) @ np.linalg.solve(g, (x[train] - mx).T @ (y[train] - my)) + my
            scores += [np.corrcoef(pred[:, i], y[val, i])[0, 1] for i in range(y.shape[1])]
        np.testing.assert_allclose(found.cv_scores[a], scores / len(folds), atol=1e-10)


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("labels", [False, True])
def test_shared_penalties(on_cuda: ModuleType, rng: Any, solver: str, labels: bool) -> None:
    x, y = problem(rng)
    groups: Any = np.arange(y.shape[1]) % 3 if labels else False
    options = {"solver": solver, "alpha_per_target": groups}
    assert_same(fit(x, y, "cuda", **options), fit(x, y, "cpu", **options), np.float32)


@pytest.mark.parametrize("solver", ROUTES)
def test_masked_and_constant_targets(on_cuda: ModuleType, rng: Any, solver: str) -> None:
    x, y = problem(rng)
    y[:, 3], valid = 2.0, np.arange(y.shape[1]) != 5
    there = fit(x, y, "cuda", solver=solver, valid=valid)
    here = fit(x, y, "cpu", solver=solver, valid=valid)
    assert np.isnan(there.alpha[5])
    assert (there.cv_scores[:, 3] == 0).all()
    rest = valid & (np.arange(y.shape[1]) != 3)
    np.testing.assert_allclose(there.cv_scores[:, rest], here.cv_scores[:, rest], atol=5e-6)


@pytest.mark.parametrize("solver", ROUTES)
def test_inputs_are_left_alone(on_cuda: ModuleType, rng: Any, solver: str) -> None:
    x, y = problem(rng)
    before = x.copy(), y.copy()
    fit(x, y, "cuda", solver=solver)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


# --- passes, files, precision


class Several:
    """A plan with so many penalties in a pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        from voxridge.solvers.cuda import fits

        make = fits.make_device_plan

        def planned(*arguments: Any, **options: Any) -> Any:
            return dataclasses.replace(make(*arguments, **options), alphas_per_pass=step)

        monkeypatch.setattr(fits, "make_device_plan", planned)


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("step", [1, 3, 7])
def test_penalties_in_a_pass(
    on_cuda: ModuleType, rng: Any, monkeypatch: pytest.MonkeyPatch, solver: str, step: int
) -> None:
    x, y = problem(rng, v=600)
    Several(monkeypatch, step)
    there = fit(x, y, "cuda", solver=solver, n_targets_batch=512)
    assert there.plan.alphas_per_pass == step
    assert_same(there, fit(x, y, "cpu", solver=solver), np.float32)


@pytest.mark.parametrize("solver", ROUTES)
def test_the_same_bits_every_time(on_cuda: ModuleType, rng: Any, solver: str) -> None:
    x, y = problem(rng, v=700)
    one, other = (fit(x, y, "cuda", solver=solver, n_targets_batch=512) for _ in range(2))
    np.testing.assert_array_equal(one.cv_scores, other.cv_scores)
    np.testing.assert_array_equal(coefficients(one.weights), coefficients(other.weights))


@pytest.mark.parametrize("solver", ROUTES)
def test_tiles_differ_by_rounding(on_cuda: ModuleType, rng: Any, dtype: Any, solver: str) -> None:
    x, y = problem(rng, v=1200, dtype=dtype)
    one = fit(x, y, "cuda", solver=solver, n_targets_batch=2048)
    many = fit(x, y, "cuda", solver=solver, n_targets_batch=512)
    assert many.plan.n_targets_batch == 512
    np.testing.assert_allclose(one.cv_scores, many.cv_scores, atol=score_tolerance(dtype))


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("solver", ROUTES)
def test_chosen_scores_are_float32_whatever_compared_them(
    on_cuda: ModuleType, rng: Any, precision: str, solver: str
) -> None:
    x, y = problem(rng, n=200, p=30, v=300)
    here = fit(x, y, "cpu", solver="dual-cholesky")
    there = fit(x, y, "cuda", solver=solver, precision=precision)
    assert there.plan.precision == precision
    columns = np.arange(y.shape[1])
    place = np.searchsorted(ALPHAS, there.alpha)
    np.testing.assert_allclose(there.best_scores, here.cv_scores[place, columns], atol=5e-6)
    # What rounding costs the choice: float32 scores of the penalties chosen, against the best ones.
    rounding = {"tf32": 1e-3, "bf16": 1e-2}[precision]
    assert (here.best_scores - there.best_scores).max() < rounding
    assert np.abs(there.cv_scores - here.cv_scores).max() < 4 * rounding
    if solver == "dual-cholesky":
        assert (there.cv_scores != here.cv_scores).any()


@pytest.mark.parametrize("solver", ROUTES)
def test_streamed_features_and_weights_in_a_file(
    on_cuda: ModuleType, rng: Any, tmp_path: Any, solver: str
) -> None:
    x, y = problem(rng, n=100, p=9)
    design = StreamedDesign(
        as_source(x, name="features", runs=[60, 40]), (1, 2), rows_per_chunk=17, columns_per_chunk=4
    )
    folds = make_folds("leave-one-run-out", [60, 40], gap=0)
    options: dict[str, Any] = {"solver": solver, "weights": tmp_path / "w.h5", "device": "cuda"}
    there = solve_ridge_cv(design, targets_of(y), ALPHAS, folds, **options)
    here = fit(x, y, "cpu", folds=folds, runs=[60, 40], delays=(1, 2), solver=solver)
    assert_same(there, here, np.float32)


@pytest.mark.parametrize("solver", ROUTES)
def test_resumes_to_the_same_bits(on_cuda: ModuleType, rng: Any, tmp_path: Any, solver: str) -> None:
    x, y = problem(rng, v=1200)
    options: dict[str, Any] = {"solver": solver, "n_targets_batch": 512, "identity": {"data": 1}}
    whole = fit(x, y, "cuda", checkpoint=tmp_path / "whole", **options)

    class Stop(Exception):
        pass

    seen = 0

    def stop(step: str, done: float) -> None:
        nonlocal seen
        seen += step.startswith("scoring") and done > 0
        if seen > 1:
            raise Stop

    with pytest.raises(Stop):
        fit(x, y, "cuda", checkpoint=tmp_path / "cut", report=stop, **options)
    again = fit(x, y, "cuda", checkpoint=tmp_path / "cut", **options)
    np.testing.assert_array_equal(again.cv_scores, whole.cv_scores)
    np.testing.assert_array_equal(coefficients(again.weights), coefficients(whole.weights))


def test_a_checkpoint_of_a_device_is_not_for_the_processor(
    on_cuda: ModuleType, rng: Any, tmp_path: Any
) -> None:
    x, y = problem(rng)
    options: dict[str, Any] = {"checkpoint": tmp_path, "identity": {"data": 1}, "solver": "dual-cholesky"}
    fit(x, y, "cuda", **options)
    with pytest.raises(ValueError, match="was begun on cuda:0"):
        fit(x, y, "cpu", **options)


# --- what cannot be had


def test_an_untrusted_factor_falls_back(on_cuda: ModuleType, rng: Any) -> None:
    x, y = problem(rng, n=60, p=8, dtype=np.float64)
    x[:, 1] = x[:, 0]
    folds = make_folds(3, [60], gap=0)
    targets = targets_of(y)
    with pytest.warns(FallbackWarning, match="primal-cholesky cannot be trusted"):
        found = solve_ridge_cv(
            DelayedDesign(x), targets, [1e-14], folds, solver="primal-cholesky", device="cuda"
        )
    assert found.plan.route == "svd"
    assert found.plan.device == "cpu"


def test_targets_that_are_not_finite(on_cuda: ModuleType, rng: Any) -> None:
    x, y = problem(rng)
    y[3, 7] = np.nan
    with pytest.raises(ValueError, match="target 7 of the responses is not finite"):
        fit(x, y, "cuda", solver="dual-cholesky")


def test_without_a_device(monkeypatch: pytest.MonkeyPatch, rng: Any) -> None:
    def missing() -> ModuleType:
        raise ImportError("this build of voxridge has no CUDA module")

    monkeypatch.setattr("voxridge._dispatch.load_cuda", missing)
    x, y = problem(rng)
    assert fit(x, y, "auto").plan.device == "cpu"
    with pytest.raises(RuntimeError, match=r"device=.cuda.: this build of voxridge has no CUDA module"):
        fit(x, y, "cuda")


def test_a_device_without_memory_for_a_queue(
    on_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, rng: Any
) -> None:
    class Full:
        def __init__(self, device: int) -> None:
            raise MemoryError("cudaStreamCreate: cudaErrorMemoryAllocation")

    monkeypatch.setattr(on_cuda, "Queue", Full)
    x, y = problem(rng)
    assert fit(x, y, "auto").plan.device == "cpu"
    with pytest.raises(RuntimeError, match="device='cuda': cudaStreamCreate"):
        fit(x, y, "cuda")


def test_devices_that_do_not_exist(on_cuda: ModuleType, rng: Any) -> None:
    x, y = problem(rng)
    with pytest.raises(RuntimeError, match=r"device='cuda:7': there are \d+ CUDA devices"):
        fit(x, y, "cuda:7")
    with pytest.raises(ValueError, match="device='gpu' is not known"):
        fit(x, y, "gpu")


def test_gcv_is_for_the_processor(on_cuda: ModuleType, rng: Any) -> None:
    x, y = problem(rng)
    options: dict[str, Any] = {
        "evaluation": "gcv",
        "scoring": "r2",
        "folds": make_folds("leave-one-out", [len(x)], gap=0),
    }
    with pytest.raises(ValueError, match="generalised cross-validation"):
        fit(x, y, "cuda", **options)
    assert fit(x, y, "auto", **options).plan.device == "cpu"


def test_precision_is_checked(rng: Any) -> None:
    x, y = problem(rng)
    with pytest.raises(ValueError, match="precision='half' is not known"):
        fit(x, y, "cpu", precision="half")
