"""Fits on a device in pieces, fits that end early, and models that are kept."""

from __future__ import annotations

import dataclasses
import gc
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from sklearn.base import clone

import voxridge.solvers.cuda.fits as device_fits
from voxridge import EncodingRidge, fit_many, nested_scores
from voxridge.solvers import DelayedDesign, RidgeCVResult, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.cuda import design as device_design
from voxridge.solvers.cuda import factors
from voxridge.solvers.cuda import plan as device_plan
from voxridge.solvers.weights import coefficients
from voxridge.testing import relative_error, textbook_ridge, textbook_scores

ROUTES = ["dual-cholesky", "primal-cholesky", "dual-spectral", "primal-spectral"]
ALPHAS = np.array([1e3, 10.0, 1e4, 100.0, 30.0])
N, V = 60, 1100  # three tiles
FOLDS = make_folds(4, [N], gap=1)


@pytest.fixture
def data(rng: Any) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal((N, 7)) + 1
    y = x @ rng.standard_normal((7, V)) + 3 * rng.standard_normal((N, V)) + 2
    return x.astype(np.float32), y.astype(np.float32)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``passes(k)``: plans take k folds (spectral routes) or penalties (the others) a pass from now on."""
    make = device_fits.make_device_plan

    def limit(held: int) -> None:
        def planned(*arguments: Any, **options: Any) -> Any:
            plan = make(*arguments, **options)
            name = "folds_per_pass" if plan.method == "spectral" else "alphas_per_pass"
            return dataclasses.replace(plan, **{name: held})

        monkeypatch.setattr(device_fits, "make_device_plan", planned)

    return limit


def solve(x: np.ndarray, y: np.ndarray, **options: Any) -> RidgeCVResult:
    options = {"device": "cuda", "n_targets_batch": 512, "alphas": ALPHAS, **options}
    read = options.pop("read", lambda begin, end: y[:, begin:end])
    targets = Targets(*y.shape, read, y.mean(axis=0, dtype=np.float64), np.ones(y.shape[1], bool))
    return solve_ridge_cv(DelayedDesign(x), targets, options.pop("alphas"), FOLDS, **options)


def expected_scores(x: np.ndarray, y: np.ndarray, alphas: np.ndarray = ALPHAS) -> np.ndarray:
    return textbook_scores(x, y, alphas, [(fold.train, fold.validation) for fold in FOLDS], "correlation")


def assert_same_bits(one: RidgeCVResult, other: RidgeCVResult) -> None:
    for name in ("cv_scores", "alpha", "best_scores", "intercept"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    if one.weights is not None:
        np.testing.assert_array_equal(coefficients(one.weights), coefficients(other.weights))


# --- tiles and passes


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("v", [1, 513, 1025])
def test_widths_around_a_panel(
    on_cuda: ModuleType, data: Any, order: str, passes: Any, solver: str, v: int
) -> None:
    x, y = data[0], data[1][:, :v]
    passes(2)
    found = solve(x, y, solver=solver)
    assert found.plan.route == solver
    np.testing.assert_allclose(found.cv_scores, expected_scores(x, y), atol=5e-6)
    coef, intercept = textbook_ridge(x, y, found.alpha)
    assert relative_error(coefficients(found.weights), coef) < 2e-6
    np.testing.assert_allclose(found.intercept, intercept, atol=2e-5)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("held", [2])
def test_best_scores_are_exact_in_any_passes(
    on_cuda: ModuleType, data: Any, passes: Any, precision: str, solver: str, shared: bool, held: int
) -> None:
    """Whatever products were rounded to, for penalties that targets share as well."""
    x, y = data[0], data[1][:, :530]
    passes(held)
    labels = np.arange(530) % 4 if shared else True
    found = solve(x, y, solver=solver, precision=precision, alpha_per_target=labels)
    place = {alpha: number for number, alpha in enumerate(ALPHAS)}
    chosen = [place[alpha] for alpha in found.alpha]
    np.testing.assert_allclose(found.best_scores, expected_scores(x, y)[chosen, np.arange(530)], atol=3e-6)
    coef, _ = textbook_ridge(x, y, found.alpha)
    assert relative_error(coefficients(found.weights), coef) < 2e-6


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("kind", ["h5", "npy", "none", "memory"])
@pytest.mark.parametrize("shared", [False, True])
def test_weights_wherever_they_go(
    on_cuda: ModuleType, data: Any, passes: Any, tmp_path: Path, solver: str, kind: str, shared: bool
) -> None:
    passes(2)
    weights: Any = tmp_path / f"w.{kind}" if kind in ("h5", "npy") else kind
    options: dict[str, Any] = {"solver": solver, "alpha_per_target": not shared}
    usual, found = solve(*data, **options), solve(*data, weights=weights, **options)
    np.testing.assert_array_equal(found.cv_scores, usual.cv_scores)
    np.testing.assert_array_equal(found.alpha, usual.alpha)
    assert shared == (np.unique(found.alpha).size == 1)
    assert (found.weights is None) == (kind == "none")
    if kind != "none":
        np.testing.assert_array_equal(coefficients(found.weights), coefficients(usual.weights))


@pytest.mark.parametrize("solver", ROUTES)
def test_targets_laid_out_otherwise(on_cuda: ModuleType, data: Any, solver: str) -> None:
    x, y = data
    usual = solve(x, y, solver=solver)
    for other in (np.asfortranarray(y), np.repeat(y, 2, axis=0)[::2], y[::-1].copy()[::-1]):
        assert_same_bits(solve(np.asfortranarray(x), other, solver=solver), usual)


@pytest.mark.parametrize("solver", ROUTES[:2])
def test_sets_go_to_the_host_a_few_at_once(
    on_cuda: ModuleType, data: Any, monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    whole = solve(*data, solver=solver)
    monkeypatch.setattr(factors, "_AT_ONCE_BYTES", 2 * 8 * 17**2)
    assert_same_bits(solve(*data, solver=solver), whole)


@pytest.mark.parametrize("solver", ROUTES)
def test_features_are_sent_a_few_columns_at_a_time(
    on_cuda: ModuleType, data: Any, order: str, monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    x, y = data[0], data[1][:, :20]
    monkeypatch.setattr(device_design, "GROUP_BYTES", 2 * x.itemsize * N)
    found = solve(x, y, solver=solver)
    np.testing.assert_allclose(found.cv_scores, expected_scores(x, y), atol=5e-6)


@pytest.mark.parametrize("solver", ROUTES)
def test_ties_go_to_the_larger_penalty_of_any_pass(
    on_cuda: ModuleType, data: Any, passes: Any, solver: str
) -> None:
    passes(2)
    found = solve(0 * data[0], data[1][:, :20], solver=solver)
    assert (found.alpha == ALPHAS.max()).all()


# --- interruptions


class Stop(Exception):
    pass


def stopped_at(
    call: int, error: type[BaseException] = Stop
) -> tuple[Callable[[str, float], None], list[str]]:
    """A report that raises when it is called for the ``call``-th time, and what it was told."""
    seen: list[str] = []

    def report(step: str, done: float) -> None:
        seen.append(step)
        if len(seen) == call:
            raise error

    return report, seen


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize(("shared", "weights", "first"), [(False, "memory", 1), (True, "file", 2)])
def test_goes_on_from_any_report(
    on_cuda: ModuleType,
    data: Any,
    passes: Any,
    tmp_path: Path,
    solver: str,
    shared: bool,
    weights: str,
    first: int,
) -> None:
    passes(3)
    options: dict[str, Any] = {"solver": solver, "alpha_per_target": not shared, "identity": {"data": 1}}
    report, seen = stopped_at(-1)
    whole = solve(*data, report=report, **options)
    assert len(seen) > 6
    for call in range(first, len(seen) + 1, 2):
        place = tmp_path / str(call)
        place.mkdir()
        kept = options | {
            "checkpoint": place / "fit",
            "weights": place / "w.h5" if weights == "file" else weights,
        }
        with pytest.raises(Stop):
            solve(*data, report=stopped_at(call)[0], **kept)
        assert not (place / "w.h5").exists()
        assert_same_bits(solve(*data, **kept), whole)


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("ending", ["h5", "npy"])
def test_ctrl_c_leaves_no_file(
    on_cuda: ModuleType, data: Any, tmp_path: Path, solver: str, ending: str
) -> None:
    place = tmp_path / f"w.{ending}"
    place.write_bytes(b"of an earlier fit")
    report, seen = stopped_at(-1)
    solve(*data, solver=solver, report=report)
    for call in range(1, len(seen) + 1):
        with pytest.raises(KeyboardInterrupt):
            solve(*data, solver=solver, weights=place, report=stopped_at(call, KeyboardInterrupt)[0])
        assert place.read_bytes() == b"of an earlier fit"
        assert [entry.name for entry in tmp_path.iterdir()] == [place.name]
    solve(*data, solver=solver, weights=place)
    if ending == "npy":
        assert V in np.load(place).shape
        return
    with h5py.File(place) as file:
        assert any(V in file[name].shape for name in file)


@pytest.mark.parametrize("solver", ROUTES)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_error_of_the_reading_thread(on_cuda: ModuleType, data: Any, solver: str, which: int) -> None:
    x, y = data
    usual = solve(x, y, solver=solver)
    before = set(threading.enumerate())

    def read(begin: int, end: int) -> np.ndarray:
        if begin == 512 * which:
            raise OSError(f"the disk has no target {begin}")
        return y[:, begin:end]

    with pytest.raises(OSError, match=f"the disk has no target {512 * which}"):
        solve(x, y, solver=solver, read=read)
    assert set(threading.enumerate()) <= before
    assert_same_bits(solve(x, y, solver=solver), usual)


# --- too little memory


@pytest.mark.parametrize("solver", ROUTES)
def test_memory_that_ends_in_the_middle(
    emulator: ModuleType, monkeypatch: pytest.MonkeyPatch, data: Any, solver: str
) -> None:
    """Wherever it ends: the error says so, all memory is given back, and the next fit is as ever."""
    monkeypatch.setattr("voxridge._dispatch.load_cuda", lambda: emulator)
    emulator.selftest.take_peak(0)
    usual = solve(*data, solver=solver)
    most = emulator.selftest.take_peak(0)
    monkeypatch.setattr(device_plan, "usable_bytes", lambda *facts: 2**60)

    def used() -> int:
        gc.collect()
        emulator.selftest.take_peak(0)
        return int(emulator.selftest.take_peak(0))

    before = used()
    for share in np.linspace(0.02, 0.85, 12):  # how early the next tile comes is another one's every time
        monkeypatch.setenv("VOXRIDGE_EMULATED_BYTES", str(before + int(share * (most - before))))
        with pytest.raises(MemoryError, match="bytes"):
            solve(*data, solver=solver)
        assert used() == before
    monkeypatch.delenv("VOXRIDGE_EMULATED_BYTES")
    assert_same_bits(solve(*data, solver=solver), usual)


# --- models


def model(device: str, **options: Any) -> EncodingRidge:
    return EncodingRidge(
        **{"alphas": ALPHAS, "delays": (0, 2), "progress": False, "device": device, **options}
    )


RUNS = [20, 18, 22]
quiet = pytest.mark.filterwarnings(
    "ignore::voxridge._warnings.AlphaEdgeWarning", "ignore::voxridge._warnings.SmallFoldWarning"
)


@quiet
@pytest.mark.parametrize("solver", ["auto", *ROUTES])
def test_many_models(on_cuda: ModuleType, data: Any, rng: Any, solver: str) -> None:
    x, y = data
    sets = {"narrow": x[:, :2], "all": x, "wide": rng.standard_normal((N, 80)).astype(np.float32)}
    there = fit_many(sets, y, runs=RUNS, model=model("cuda", solver=solver))
    for name, features in sets.items():
        one, alone = there[name], model("cuda", solver=solver).fit(features, y, runs=RUNS)
        assert one.plan_.device == "cuda:0"
        here = model("cpu").fit(features, y, runs=RUNS)
        for other in (alone, here):
            np.testing.assert_allclose(one.cv_scores_, other.cv_scores_, atol=2e-5)
        same = one.alpha_ == here.alpha_
        assert same.mean() > 0.99
        assert relative_error(one.coef_[same], here.coef_[same]) < 1e-4
        if one.plan_.route == alone.plan_.route:
            np.testing.assert_allclose(one.coef_, alone.coef_, atol=1e-5)


@quiet
def test_nested_scores_of_models_on_a_device(on_cuda: ModuleType, data: Any, rng: Any) -> None:
    x, y = data[0], data[1][:, :40]
    sets = {"all": x, "wide": rng.standard_normal((N, 30)).astype(np.float32)}
    there, here = (nested_scores(sets, y, runs=RUNS, model=model(device)) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-5)
    np.testing.assert_allclose(there.mean_scores, here.mean_scores, atol=1e-5)


@quiet
@pytest.mark.parametrize("solver", ROUTES)
def test_models_are_kept(on_cuda: ModuleType, data: Any, tmp_path: Path, solver: str) -> None:
    x, y = data
    fitted = model("cuda", solver=solver, precision="tf32").fit(x, y, runs=RUNS)
    fitted.save(tmp_path / "model.h5")
    predicted = fitted.predict(x, runs=RUNS)
    for kept in (EncodingRidge.load(tmp_path / "model.h5"), pickle.loads(pickle.dumps(fitted))):
        assert (kept.device, kept.precision) == ("cuda", "tf32")
        assert kept.plan_ == fitted.plan_
        assert kept.plan_.device == "cuda:0"
        np.testing.assert_array_equal(kept.coef_, fitted.coef_)
        np.testing.assert_allclose(kept.predict(x, runs=RUNS), predicted, atol=1e-5)
    again = clone(fitted)
    np.testing.assert_equal(again.get_params(), fitted.get_params())
    assert not hasattr(again, "coef_")
    np.testing.assert_array_equal(again.fit(x, y, runs=RUNS).coef_, fitted.coef_)
    again.set_params(device="cpu").fit(x, y, runs=RUNS)
    assert again.plan_.device == "cpu"


@quiet
def test_a_model_is_read_where_there_is_no_device(
    on_cuda: ModuleType, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = data
    fitted = model("cuda").fit(x, y, runs=RUNS)
    fitted.save(tmp_path / "model.h5")
    predicted = fitted.predict(x, runs=RUNS)

    def missing() -> ModuleType:
        raise ImportError("this build of voxridge has no CUDA module")

    monkeypatch.setattr("voxridge._dispatch.load_cuda", missing)
    kept = EncodingRidge.load(tmp_path / "model.h5")
    np.testing.assert_allclose(kept.predict(x, runs=RUNS), predicted, atol=1e-5)
    with pytest.raises(RuntimeError, match="no CUDA module"):
        kept.fit(x, y, runs=RUNS)
