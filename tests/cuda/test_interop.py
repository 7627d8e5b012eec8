"""Arrays on a device, of whatever library, as features and responses, and what comes back."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from voxridge import EncodingRidge, _linear_spectral, fit_many, nested_scores
from voxridge import Ridge as TypedRidge
from voxridge import RidgeCV as TypedRidgeCV
from voxridge._warnings import SingularDesignWarning
from voxridge.streams import as_source, check_finite, fingerprint, scan_targets
from voxridge.streams.device_source import DeviceSource

pytestmark = pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")

RUNS = [50, 30, 40]
Ridge: Any = TypedRidge  # whose types know nothing of devices, as scikit-learn's do not
RidgeCV: Any = TypedRidgeCV
HANDED_OVER = ("alpha_", "cv_scores_", "best_cv_scores_", "intercept_", "coef_")


class ByDLPack:
    """An array of a library that speaks DLPack only."""

    def __init__(self, a: Any, number: int = 0) -> None:
        self.a, self.shape, self.number = a, a.shape, number
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.number

    def __dlpack__(self, *, stream: int, max_version: Any = None) -> Any:
        self.streams.append(stream)
        return self.a.__dlpack__(stream=stream, max_version=max_version)


class ByInterface:
    """An array of a library that speaks ``__cuda_array_interface__`` only."""

    def __init__(self, a: Any, **changes: Any) -> None:
        self.a, self.shape, self.changes = a, a.shape, changes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        found: dict[str, Any] = self.a.__cuda_array_interface__ | self.changes
        return found


class Tensor(ByDLPack):
    """As of torch, by the name of its module."""

    requires_grad = False


Tensor.__module__ = "torch"
FAKE_TORCH = SimpleNamespace(from_dlpack=Tensor)


class Library:
    """``put`` makes its arrays on the device, ``get`` brings them and our own back; ``kind`` is that of
    results."""

    def __init__(self, name: str, cuda: ModuleType, put: Callable[[np.ndarray], Any], kind: type) -> None:
        self.name, self.cuda, self.put, self.kind = name, cuda, put, kind

    def get(self, a: Any) -> np.ndarray:
        assert isinstance(a, self.kind)
        queue = self.cuda.Queue()
        there = a if isinstance(a, self.cuda.Array) else self.cuda.from_dlpack(a, queue)
        out = np.empty(there.shape, there.dtype)
        self.cuda.download(there, out, queue)
        queue.synchronize()
        return out

    def address(self, a: Any) -> int:
        if self.name == "real torch":
            return int(a.data_ptr())
        if self.name == "real cupy":
            return int(a.data.ptr)
        return int(a.a.__cuda_array_interface__["data"][0])


@pytest.fixture
def put(on_cuda: ModuleType) -> Callable[[np.ndarray], Any]:
    """A matrix of ours on the device."""

    def upload(x: np.ndarray) -> Any:
        out = on_cuda.empty(x.shape, x.dtype)
        with on_cuda.Queue() as queue:
            on_cuda.upload(np.ascontiguousarray(x), out, queue)
        return out

    return upload


@pytest.fixture(params=["interface", "dlpack", "torch", "real torch", "real cupy"])
def library(
    request: pytest.FixtureRequest, on_cuda: ModuleType, put: Any, monkeypatch: pytest.MonkeyPatch
) -> Library:
    name = request.param
    if name == "interface":
        return Library(name, on_cuda, lambda x: ByInterface(put(x)), on_cuda.Array)
    if name == "dlpack":
        return Library(name, on_cuda, lambda x: ByDLPack(put(x)), on_cuda.Array)
    if name == "torch":
        monkeypatch.setitem(sys.modules, "torch", FAKE_TORCH)
        return Library(name, on_cuda, lambda x: Tensor(put(x)), Tensor)
    if on_cuda.build_info()["emulated"] == "yes":
        pytest.skip(f"NO GPU: {name} has no arrays in the emulator's memory")
    if name == "real torch":
        torch = pytest.importorskip("torch", reason="NO TORCH")
        if not torch.cuda.is_available():
            pytest.skip("NO CUDA IN TORCH")
        return Library(name, on_cuda, lambda x: torch.from_numpy(x.copy()).cuda(), torch.Tensor)
    cupy = pytest.importorskip("cupy", reason="NO CUPY")
    return Library(name, on_cuda, cupy.asarray, cupy.ndarray)


def problem(rng: np.random.Generator, dtype: Any = np.float32, v: int = 30) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal((sum(RUNS), 6)) * np.linspace(0.5, 2, 6) + 1
    y = np.roll(x, 1, axis=0) @ rng.standard_normal((6, v)) + 3 * rng.standard_normal((len(x), v)) + 2
    return x.astype(dtype), y.astype(dtype)


def model(**options: Any) -> EncodingRidge:
    alphas: Any = np.logspace(0, 4, 5)
    return EncodingRidge(alphas, delays=(1, 2), progress=False, **options)


def tolerance(dtype: Any) -> float:
    return 5e-5 if dtype == np.float32 else 1e-9


@pytest.fixture
def uploads(on_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what is sent to the device."""
    sent: list[tuple[int, ...]] = []
    original = on_cuda.upload

    def upload(a: np.ndarray, out: Any, queue: Any) -> None:
        sent.append(a.shape)
        original(a, out, queue)

    monkeypatch.setattr(on_cuda, "upload", upload)
    return sent


# --- sources


def test_a_source_is_the_memory_itself(library: Library, rng: Any, dtype: Any) -> None:
    x, _ = problem(rng, dtype)
    there = library.put(x)
    source = as_source(there, name="features", runs=RUNS)
    assert isinstance(source, DeviceSource)
    assert (source.shape, source.runs, source.dtype) == (x.shape, tuple(RUNS), dtype)
    assert source.in_memory
    assert source.cuda.name == "cuda:0"
    assert source.on_device.__cuda_array_interface__["data"][0] == library.address(there)
    np.testing.assert_array_equal(source.read(), x)
    np.testing.assert_array_equal(source.read(slice(3, 60), slice(2, 5)), x[3:60, 2:5])
    assert isinstance(as_source(source, name="features"), DeviceSource)


def test_one_array_per_run_is_copied_once(library: Library, rng: Any, uploads: Any) -> None:
    x, _ = problem(rng)
    parts = np.split(x, np.cumsum(RUNS)[:-1])
    source = as_source([library.put(part) for part in parts], name="features")
    assert isinstance(source, DeviceSource)
    assert source.runs == tuple(RUNS)
    uploads.clear()
    first = source.on_device
    assert source.on_device is first
    assert uploads == []
    queue = library.cuda.Queue()
    out = np.empty(x.shape, x.dtype)
    library.cuda.download(first, out, queue)
    np.testing.assert_array_equal(out, x)
    np.testing.assert_array_equal(source.read(slice(40, 90)), x[40:90])


def test_a_source_with_other_runs_stays_on_the_device(put: Any, rng: Any) -> None:
    x, y = problem(rng)
    source = as_source(ByDLPack(put(x)), name="features")
    split = as_source(source, name="features", runs=RUNS)
    assert isinstance(split, DeviceSource)
    assert split.runs == tuple(RUNS)
    one = as_source(ByDLPack(put(y[:, 0])), name="responses")
    assert one.shape == (len(y), 1)
    np.testing.assert_array_equal(one.read()[:, 0], y[:, 0])


def test_checks_and_fingerprints(put: Any, rng: Any) -> None:
    x, _ = problem(rng)
    a, b = (fingerprint(as_source(m, name="features")) for m in (x, ByDLPack(put(x))))
    assert a == b
    check_finite(as_source(ByDLPack(put(x)), name="features"))
    large = np.full((9, 2), 1e200)  # whose squares are not finite
    check_finite(as_source(ByDLPack(put(large)), name="features"))
    x[60, 2] = np.inf
    with pytest.raises(ValueError, match="features has inf at run 'run 1', row 10 of that run, column 2"):
        check_finite(as_source(ByDLPack(put(x)), name="features", runs=RUNS))


@pytest.mark.parametrize("tile", [1, 2**27])
def test_scans_of_targets(
    put: Any, on_cuda: ModuleType, rng: Any, dtype: Any, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxridge.streams.device_scan._TILE_BYTES", tile)
    _, y = problem(rng, dtype, v=1100)
    eps = np.finfo(dtype).eps
    y[:, 3], y[7, 4], y[60, 1099], y[90, 5], y[:, 6] = 2.0, np.nan, np.inf, -np.inf, 0.0
    y[:, 7] = 1 + eps * rng.integers(0, 4, len(y))  # at the level of rounding
    y[:, 8] = 1 + eps * rng.integers(0, 9, len(y))  # above it, by little
    y[:, 9] = 1e4 + y[:, 9]
    y[1:, 10], y[0, 10] = y[1:, 10] * 1e-3, 1e3
    sent: list[int] = []
    download = on_cuda.download

    def counted(a: Any, out: np.ndarray, queue: Any) -> None:
        sent.append(out.nbytes)
        download(a, out, queue)

    monkeypatch.setattr(on_cuda, "download", counted)
    here, there = (scan_targets(as_source(a, name="responses", runs=RUNS)) for a in (y, ByInterface(put(y))))
    assert 0 < sum(sent) < y.nbytes / 4
    for name in ("valid", "constant", "nonfinite"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    np.testing.assert_allclose(there.mean, here.mean, rtol=1e-12, atol=10 * eps)
    assert there.first_bad == here.first_bad == ("run 0", 7, 4)
    assert not there.all_zero
    assert scan_targets(as_source(ByDLPack(put(np.zeros_like(y))), name="responses")).all_zero


def test_what_is_not_taken(put: Any, on_cuda: ModuleType, rng: Any) -> None:
    x, _ = problem(rng)
    there = put(x)
    tensor = Tensor(there)
    tensor.requires_grad = True
    with pytest.raises(ValueError, match=r"features needs gradients.*\.detach\(\)"):
        as_source(tensor, name="features")
    strides = {"shape": (6, len(x)), "strides": (4, 24)}
    with pytest.raises(ValueError, match=r"features: .*row-major.*contiguous\(\)"):
        as_source(ByInterface(there, **strides), name="features")
    with pytest.raises(TypeError, match=r"features has dtype int64 on cuda:0; give float32 or float64"):
        as_source(ByDLPack(put(np.ones((3, 2), np.int64))), name="features")
    half = ByInterface(there, typestr="<f2")
    with pytest.raises(ValueError, match="features: arrays of type <f2 are not taken; convert it to float32"):
        as_source(half, name="features")
    with pytest.raises(ValueError, match=r"features has shape \(6,\); give 2-D"):
        as_source(ByDLPack(put(np.ones(6))), name="features")
    with pytest.raises(RuntimeError, match=r"features is on cuda:7, which cannot be used .*\.cpu\(\)"):
        as_source(ByDLPack(there, number=7), name="features")
    with pytest.raises(ValueError, match=r"features\[1\] is on a CUDA device and features\[0\] is not"):
        as_source([x, ByDLPack(there)], name="features")


def test_without_cuda(put: Any, rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there = ByDLPack(put(problem(rng)[0]))

    def absent() -> Any:
        raise ImportError("this voxridge was built without CUDA")

    monkeypatch.setattr("voxridge._dispatch.load_cuda", absent)
    with pytest.raises(RuntimeError, match=r"features is on cuda:0.*built without CUDA.*\.cpu\(\)"):
        as_source(there, name="features")


# --- fits


@pytest.mark.parametrize("solver", ["primal-cholesky", "dual-cholesky"])
@pytest.mark.parametrize("where", ["features", "responses", "both"])
def test_a_fit_equals_that_of_the_host(
    library: Library, rng: Any, dtype: Any, solver: str, where: str
) -> None:
    x, y = problem(rng, dtype)
    features = library.put(x) if where != "responses" else x
    responses = library.put(y) if where != "features" else y
    here = model(solver=solver, device="cuda").fit(x, y, RUNS)
    there = model(solver=solver).fit(features, responses, RUNS)
    assert there.plan_.device == "cuda:0"
    for name in HANDED_OVER:
        found = getattr(there, name)
        found = found if where == "responses" else library.get(found)
        assert found.dtype == getattr(here, name).dtype
        np.testing.assert_allclose(found, getattr(here, name), rtol=1e-5, atol=4 * tolerance(dtype))
    assert isinstance(there.valid_targets_, np.ndarray)
    for kept, given in ((x, features), (y, responses)):
        if not isinstance(given, np.ndarray):
            np.testing.assert_array_equal(as_source(given, name="responses").read(), kept)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["primal-cholesky", "dual-cholesky"])
def test_features_are_not_sent(
    put: Any, rng: Any, uploads: list[tuple[int, ...]], solver: str, weighted: bool
) -> None:
    x, y = problem(rng)
    features, responses = ByDLPack(put(x)), ByDLPack(put(y))
    weight = rng.uniform(0.5, 2, len(x)) if weighted else None
    uploads.clear()
    fitted = model(solver=solver).fit(features, responses, RUNS, sample_weight=weight)
    assert fitted.plan_.device == "cuda:0"
    assert x.shape not in uploads
    assert not any(len(shape) == 2 and shape[0] == len(y) and shape[1] > 1 for shape in uploads)
    here = model(solver=solver, device="cpu").fit(x, y, RUNS, sample_weight=weight)
    host = np.empty((len(x), y.shape[1]), np.float32)
    np.testing.assert_allclose(fitted.predict(features, RUNS, out=host), here.predict(x, RUNS), atol=1e-3)


def test_features_and_responses_of_other_types(put: Any, on_cuda: ModuleType, rng: Any) -> None:
    x, y = problem(rng)
    there = model().fit(ByDLPack(put(x)), y.astype(np.float64), RUNS)
    here = model(device="cuda").fit(x, y.astype(np.float64), RUNS)
    library = Library("dlpack", on_cuda, ByDLPack, object)
    np.testing.assert_allclose(library.get(there.coef_), here.coef_, atol=1e-9)
    assert there.coef_.dtype == np.float64


def test_device_cpu_downloads(library: Library, rng: Any) -> None:
    x, y = problem(rng)
    features = library.put(x)
    there = model(device="cpu").fit(features, library.put(y), RUNS)
    here = model(device="cpu").fit(x, y, RUNS)
    assert there.plan_.device == "cpu"
    np.testing.assert_allclose(library.get(there.coef_), here.coef_, atol=1e-4)
    np.testing.assert_allclose(library.get(there.predict(features, RUNS)), here.predict(x, RUNS), atol=1e-3)


def test_devices_that_disagree(put: Any, rng: Any) -> None:
    x, y = (ByDLPack(put(a)) for a in problem(rng))
    with pytest.raises(ValueError, match=r"device='cuda:1', but features is on cuda:0"):
        model(device="cuda:1").fit(x, y, RUNS)
    with pytest.raises(ValueError, match="device='gpu' is not known"):
        model(device="gpu").fit(x, y, RUNS)


def test_gcv_wants_the_processor(put: Any, rng: Any) -> None:
    x, y = problem(rng)
    with pytest.raises(ValueError, match='device="cpu"'):
        model(cv="gcv", scoring="r2").fit(ByDLPack(put(x)), y, RUNS)


# --- what comes back


@pytest.mark.parametrize("solver", ["primal-cholesky", "dual-cholesky", "primal-spectral", "dual-spectral"])
def test_predictions(library: Library, rng: Any, dtype: Any, solver: str) -> None:
    x, y = problem(rng, dtype, v=700)
    y[:, 5] = 1.0
    new = rng.standard_normal((70, 6)).astype(dtype)
    with pytest.warns(match="left out"):
        fitted = model(solver=solver, device="cpu").fit(x, y, RUNS)
    expected = fitted.predict(new, [40, 30])
    fitted.device = "auto"
    found = library.get(fitted.predict(library.put(new), [40, 30]))
    assert found.dtype == dtype
    assert np.isnan(found[:, 5]).all()
    np.testing.assert_allclose(found, expected, atol=100 * tolerance(dtype), rtol=1e-4)
    kept = np.full_like(expected, 3)
    assert fitted.predict(library.put(new), [40, 30], out=kept) is kept
    np.testing.assert_array_equal(kept, found)


@pytest.mark.parametrize("solver", ["primal-cholesky", "dual-cholesky"])
def test_tiles_of_predictions(
    put: Any, on_cuda: ModuleType, rng: Any, dtype: Any, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxridge.solvers.cuda.predict._MOST_BYTES", 1)
    x, y = problem(rng, dtype, v=1100)
    fitted = model(solver=solver, device="cuda").fit(x, y, RUNS)
    found = fitted.predict(x, RUNS)
    assert isinstance(found, np.ndarray)
    fitted.device = "cpu"
    np.testing.assert_allclose(found, fitted.predict(x, RUNS), atol=100 * tolerance(dtype), rtol=1e-4)


def test_host_features_are_predicted_where_the_fit_was(
    put: Any, rng: Any, monkeypatch: pytest.MonkeyPatch, uploads: list[tuple[int, ...]]
) -> None:
    x, y = problem(rng)
    fitted = model(device="cuda").fit(x, y, RUNS)
    uploads.clear()
    there = fitted.predict(x, RUNS)
    assert x.shape in uploads
    uploads.clear()
    monkeypatch.setattr("voxridge.solvers.cuda.predict._ROOM", 0.0)
    here = fitted.predict(x, RUNS)
    assert uploads == []
    np.testing.assert_allclose(there, here, atol=1e-4)


def test_scores(library: Library, rng: Any) -> None:
    x, y = problem(rng)
    features = library.put(x)
    fitted = model().fit(features, y, RUNS)
    here = model(device="cpu").fit(x, y, RUNS)
    expected = here.score(x, y, RUNS)
    np.testing.assert_allclose(library.get(fitted.score(features, y, RUNS)), expected, atol=1e-4)
    mean = fitted.score(features, library.put(y), RUNS, per_target=False)
    assert mean == pytest.approx(float(np.mean(expected)), abs=1e-4)
    assert isinstance(fitted.score(x, y, RUNS), np.ndarray)


@pytest.mark.parametrize("solver", ["primal-cholesky", "dual-cholesky"])
def test_saved_pickled_and_copied(
    put: Any, on_cuda: ModuleType, rng: Any, tmp_path: Path, solver: str
) -> None:
    x, y = problem(rng)
    features = put(x)
    fitted = model(solver=solver).fit(ByDLPack(features), y, RUNS)
    expected = fitted.predict(x, RUNS)
    assert not isinstance(fitted.coef_, np.ndarray)
    fitted.save(tmp_path / "fit.h5")
    others = [EncodingRidge.load(tmp_path / "fit.h5"), pickle.loads(pickle.dumps(fitted))]
    others.append(copy.deepcopy(fitted))
    for other in others:
        for name in HANDED_OVER:
            assert isinstance(getattr(other, name), np.ndarray)
        np.testing.assert_allclose(other.predict(x, RUNS), expected, atol=1e-5)
    with on_cuda.Queue() as queue:
        on_cuda.zero(features, queue)  # the fit keeps nothing of the caller's memory
    np.testing.assert_array_equal(fitted.predict(x, RUNS), expected)


# --- the drop-ins


def tall(rng: np.random.Generator, n: int, p: int, dtype: Any, v: int = 40) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal((n, p)) + 30
    y = x @ rng.standard_normal((p, v)) + rng.standard_normal((n, v)) + 2
    return x.astype(dtype), y.astype(dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", [(80, 12), (40, 60)])
def test_ridge(
    library: Library, rng: Any, dtype: Any, shape: tuple[int, int], fit_intercept: bool, weighted: bool
) -> None:
    x, y = tall(rng, *shape, dtype)
    weight = rng.uniform(0.5, 2, len(x)) if weighted else None
    alpha: Any = rng.choice([1.0, 10.0, 300.0], y.shape[1])
    exact = x.astype(np.float64), y.astype(np.float64)
    here = Ridge(alpha, fit_intercept=fit_intercept).fit(*exact, weight)
    features = library.put(x)
    there = Ridge(alpha, fit_intercept=fit_intercept).fit(features, library.put(y), weight)
    assert there.solver_ == "cholesky"
    scale = float(np.abs(here.coef_).max())
    tol = (1e-6 if dtype == np.float32 else 1e-9) * scale
    np.testing.assert_allclose(library.get(there.coef_), here.coef_, atol=tol)
    if fit_intercept:
        np.testing.assert_allclose(library.get(there.intercept_), here.intercept_, atol=100 * tol)
    predicted = library.get(there.predict(features))
    assert predicted.dtype == dtype
    np.testing.assert_allclose(predicted, here.predict(exact[0]), atol=400 * tol)
    np.testing.assert_allclose(there.predict(x), predicted, atol=400 * tol)
    assert there.score(features, library.put(y)) == pytest.approx(here.score(x, y), abs=1e-3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(there)).coef_, library.get(there.coef_))


def test_ridge_uses_the_device(put: Any, rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = tall(rng, 60, 8, np.float64, v=1)

    def host(*_: Any, **__: Any) -> Any:
        raise AssertionError("the processor solves")

    expected = Ridge(0.5).fit(x, y[:, 0])
    monkeypatch.setattr("voxridge._linear_ridge.solve_ridge", host)
    one = Ridge(0.5).fit(ByDLPack(put(x)), ByDLPack(put(y[:, 0])))
    assert one.coef_.shape == (8,)
    np.testing.assert_allclose(one._host("coef_"), expected.coef_, atol=1e-9)
    assert one.intercept_ == pytest.approx(expected.intercept_)
    assert one.predict(ByDLPack(put(x))).shape == (60,)
    with pytest.raises(AssertionError, match="the processor solves"):
        Ridge(0.0).fit(ByDLPack(put(x)), y)
    with pytest.raises(ValueError, match="X has 7 features, but Ridge is expecting 8"):
        one.predict(ByDLPack(put(x[:, :7])))
    x[4, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        Ridge(0.5).fit(ByDLPack(put(x)), y)
    with pytest.raises(ValueError, match="X has nan"):
        one.predict(ByDLPack(put(x)))


def test_a_singular_ridge_is_solved_by_the_processor(put: Any, rng: Any) -> None:
    x, y = tall(rng, 60, 8, np.float64)
    x[:, 7] = x[:, 6]
    with pytest.warns(SingularDesignWarning):
        here = Ridge(1e-14).fit(x, y)
    with pytest.warns(SingularDesignWarning):
        there = Ridge(1e-14).fit(ByDLPack(put(x)), y)
    np.testing.assert_array_equal(there._host("coef_"), here.coef_)


@pytest.mark.parametrize("scoring", [None, "correlation"])
@pytest.mark.parametrize("per_target", [False, True])
def test_ridge_cv_with_folds(
    library: Library, rng: Any, dtype: Any, per_target: bool, scoring: str | None, monkeypatch: Any
) -> None:
    x, y = tall(rng, 90, 12, dtype)
    asked: list[str] = []
    solve = vars(_linear_spectral)["solve_ridge_cv"]

    def solve_ridge_cv(*arguments: Any, **options: Any) -> Any:
        result = solve(*arguments, **options)
        asked.append(result.plan.device)
        return result

    monkeypatch.setattr(_linear_spectral, "solve_ridge_cv", solve_ridge_cv)
    options: dict[str, Any] = {"cv": 3, "alpha_per_target": per_target, "scoring": scoring}
    alphas = (1.0, 30.0, 1000.0)
    here = RidgeCV(alphas, **options).fit(x, y)
    asked.clear()
    there = RidgeCV(alphas, **options).fit(library.put(x), y)
    assert asked == ["cuda:0"]
    np.testing.assert_allclose(there.cv_scores_, here.cv_scores_, atol=tolerance(dtype))
    np.testing.assert_array_equal(there.best_alphas_, here.best_alphas_)
    scale = float(np.abs(here.coef_).max())
    np.testing.assert_allclose(library.get(there.coef_), here.coef_, atol=20 * tolerance(dtype) * scale)
    expected = here.predict(x)
    np.testing.assert_allclose(
        library.get(there.predict(library.put(x))), expected, atol=400 * tolerance(dtype) * scale
    )


def test_ridge_cv_without_folds(library: Library, rng: Any) -> None:
    x, y = tall(rng, 60, 8, np.float64)
    here, there = RidgeCV().fit(x, y), RidgeCV().fit(library.put(x), library.put(y))
    np.testing.assert_array_equal(library.get(there.coef_), here.coef_)
    assert there.alpha_ == here.alpha_


def test_drop_ins_of_the_host_stay_there(put: Any, rng: Any, uploads: list[tuple[int, ...]]) -> None:
    x, y = tall(rng, 90, 12, np.float32)
    RidgeCV((1.0, 30.0), cv=3, alpha_per_target=True).fit(x, y)
    assert uploads == []
    again = Ridge().fit(ByDLPack(put(x)), y).fit(x, y)
    assert isinstance(again.coef_, np.ndarray)
    np.testing.assert_array_equal(again.predict(x), Ridge().fit(x, y).predict(x))


# --- several devices, queues, and models


@pytest.fixture
def second(emulator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A matrix of ours on a device of a machine with two."""
    monkeypatch.setenv("VOXRIDGE_EMULATED_DEVICES", "2")
    monkeypatch.setattr("voxridge._dispatch.load_cuda", lambda: emulator)

    def upload(x: np.ndarray, number: int = 1) -> Any:
        out = emulator.empty(x.shape, x.dtype, number)
        with emulator.Queue(number) as queue:
            emulator.upload(x, out, queue)
        return out

    return upload


@pytest.mark.parametrize("kind", [ByInterface, lambda a: ByDLPack(a, a.device)])
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:1"])
def test_a_fit_on_the_second_device(second: Any, rng: Any, device: str, kind: Any) -> None:
    x, y = problem(rng)
    there = model(device=device).fit(kind(second(x)), kind(second(y)), RUNS)
    assert there.plan_.device == "cuda:1"
    assert there.coef_.device == 1
    assert there.predict(kind(second(x)), RUNS).device == 1
    here = model(device="cuda:0").fit(x, y, RUNS)
    np.testing.assert_array_equal(there._host("alpha_"), here.alpha_)
    assert RidgeCV((1.0, 30.0), cv=3).fit(kind(second(x)), y).coef_.device == 1


def test_inputs_on_two_devices(second: Any, rng: Any) -> None:
    x, y = problem(rng)
    with pytest.raises(ValueError, match="features is on cuda:0 and responses on cuda:1"):
        model().fit(ByInterface(second(x, 0)), ByInterface(second(y, 1)), RUNS)
    with pytest.raises(ValueError, match="device='cuda:0', but responses is on cuda:1"):
        model(device="cuda:0").fit(x, ByInterface(second(y)), RUNS)
    parts = [ByInterface(second(x[:60], 0)), ByInterface(second(x[60:], 1))]
    with pytest.raises(ValueError, match=r"features\[0\] is on cuda:0 and features\[1\] on cuda:1"):
        model().fit(parts, y)
    fitted = model(device="cuda:0").fit(x, y, RUNS)
    with pytest.raises(ValueError, match="device='cuda:0', but features is on cuda:1"):
        fitted.predict(ByInterface(second(x)), RUNS)


def test_what_the_producer_has_queued_comes_first(
    order: str, put: Any, on_cuda: ModuleType, rng: Any
) -> None:
    x, y = problem(rng)
    there, change = put(x), put(x)
    described = there.__cuda_array_interface__  # which waits for all queues, so before anything is queued
    producer = on_cuda.Queue()
    on_cuda.accumulate(1.0, change, 1.0, there, queue=producer)
    late = SimpleNamespace(
        shape=x.shape, held=there, __cuda_array_interface__=described | {"stream": producer.stream}
    )
    found = model().fit(late, y, RUNS)
    expected = model(device="cuda").fit(2 * x, y, RUNS)
    np.testing.assert_array_equal(found._host("alpha_"), expected.alpha_)
    there = Library("interface", on_cuda, put, on_cuda.Array).get(found.coef_)
    np.testing.assert_allclose(there, expected.coef_, atol=1e-5)


def test_many_models_and_nested_scores(put: Any, rng: Any) -> None:
    x, y = problem(rng)
    sets = {"one": ByDLPack(put(x)), "two": ByDLPack(put(x[:, :4].copy()))}
    there = fit_many(sets, ByDLPack(put(y)), RUNS, model=model())
    here = fit_many({"one": x, "two": x[:, :4].copy()}, y, RUNS, model=model(device="cpu"))
    for name, one in there.items():
        assert one.plan_.device == "cuda:0"
        np.testing.assert_allclose(one.coef_, here[name].coef_, atol=1e-4)
    found = nested_scores(sets, ByDLPack(put(y)), RUNS, model=model())
    expected = nested_scores({"one": x, "two": x[:, :4].copy()}, y, RUNS, model=model())
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
