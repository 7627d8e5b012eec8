"""EncodingRidge as a user meets it: against scikit-learn on an explicitly delayed matrix, on every kind of
input, and on bad input."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from voxridge import EncodingRidge
from voxridge._warnings import AlphaEdgeWarning, LeakageWarning, MaskedTargetsWarning, RankDeficientWarning
from voxridge.testing import delayed_matrix, make_responses, relative_error, tolerance

# Small samples choose penalties at the edge of a grid now and then; the tests of that warning catch it
# themselves.
pytestmark = pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")

RUNS = [40, 50, 60]
DELAYS = (1, 2, 4)
ALPHAS = np.logspace(-1, 4, 8)


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    features = rng.standard_normal((150, 10))
    return features, make_responses(delayed_matrix(features, DELAYS, RUNS), 12, noise=2.0)


def model(**options: Any) -> EncodingRidge:
    return EncodingRidge(**{"alphas": ALPHAS, "delays": DELAYS, "progress": False, **options})


@pytest.mark.parametrize("cv", ["leave-one-run-out", 2])
def test_equals_scikit_learn_fold_by_fold(cv: Any, route: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    features, responses = data
    fitted = model(cv=cv, solver=route, scoring="r2").fit(features, responses, runs=RUNS)
    x = delayed_matrix(features, DELAYS, RUNS)
    scores = np.zeros((ALPHAS.size, 12))
    for fold in fitted.folds_:
        for a, alpha in enumerate(ALPHAS):
            peer = Ridge(alpha=alpha).fit(x[fold.train], responses[fold.train])
            truth = responses[fold.validation]
            residual = ((truth - peer.predict(x[fold.validation])) ** 2).sum(axis=0)
            scores[a] += (1 - residual / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)) / len(fitted.folds_)
    assert relative_error(fitted.cv_scores_, scores) <= 1e-10
    np.testing.assert_array_equal(fitted.alpha_, ALPHAS[scores.argmax(axis=0)])
    peer = Ridge(alpha=fitted.alpha_).fit(x, responses)
    assert relative_error(fitted.coef_, peer.coef_) <= 1e-10
    assert relative_error(fitted.intercept_, peer.intercept_) <= 1e-10
    new = np.random.default_rng(5).standard_normal((70, 10))
    expected = peer.predict(delayed_matrix(new, DELAYS, [30, 40]))
    assert relative_error(fitted.predict(new, runs=[30, 40]), expected) <= 1e-10


def test_float32_stays_float32(route: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    features, responses = (array.astype(np.float32) for array in data)
    fitted = model(solver=route).fit(features, responses, runs=RUNS)
    assert (
        fitted.coef_.dtype
        == fitted.predict(features, runs=RUNS).dtype
        == fitted.intercept_.dtype
        == np.float32
    )
    exact = model(solver=route).fit(*data, runs=RUNS)
    assert np.abs(fitted.cv_scores_ - exact.cv_scores_).max() <= tolerance(np.float32)
    assert relative_error(
        fitted.predict(features, runs=RUNS), exact.predict(data[0], runs=RUNS)
    ) <= tolerance(np.float32, 10)


def test_changing_one_run_leaves_other_predictions_bit_identical(
    route: str, data: tuple[np.ndarray, np.ndarray]
) -> None:
    features, responses = data
    fitted = model(solver=route).fit(features, responses, runs=RUNS)
    changed = features.copy()
    changed[40:90] = np.random.default_rng(7).standard_normal((50, 10))
    before, after = fitted.predict(features, runs=RUNS), fitted.predict(changed, runs=RUNS)
    np.testing.assert_array_equal(after[:40], before[:40])
    np.testing.assert_array_equal(after[90:], before[90:])
    assert not np.array_equal(after[40:90], before[40:90])


@pytest.mark.parametrize(
    "kind", ["list", "fortran", "strided", "read-only", "memmap", "hdf5", "hdf5 per run", "file paths"]
)
def test_every_kind_of_input_gives_the_same_fit(
    kind: str, data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    expected = model().fit(*data, runs=RUNS)
    given, runs, files = as_given(kind, data, tmp_path)
    before = [np.array(array) for array in data]
    fitted = model().fit(*given, runs=runs)
    for file in files:
        file.close()
    np.testing.assert_array_equal(fitted.cv_scores_, expected.cv_scores_)
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)
    for array, copy in zip(data, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def as_given(
    kind: str, data: tuple[np.ndarray, np.ndarray], folder: Path
) -> tuple[list, list[int] | None, list]:
    split = np.cumsum(RUNS)[:-1]
    if kind == "list":
        return [np.split(array, split) for array in data], None, []
    if kind == "fortran":
        return [np.asfortranarray(array) for array in data], RUNS, []
    if kind == "strided":
        return [np.repeat(array, 2, axis=1)[:, ::2] for array in data], RUNS, []
    if kind == "read-only":
        locked = [array.copy() for array in data]
        for array in locked:
            array.flags.writeable = False
        return locked, RUNS, []
    if kind == "memmap":
        for name, array in zip("xy", data, strict=True):
            np.save(folder / f"{name}.npy", array)
        return [np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy"], RUNS, []
    if kind == "hdf5":
        file = h5py.File(folder / "all.h5", "w")
        return (
            [
                file.create_dataset(name, data=array, chunks=(16, 4))
                for name, array in zip("xy", data, strict=True)
            ],
            RUNS,
            [file],
        )
    paths: list[list[Path]] = [[], []]
    for side, array in enumerate(data):
        for number, part in enumerate(np.split(array, split)):
            paths[side].append(folder / f"{'xy'[side]}-{number}.hf5")
            with h5py.File(paths[side][-1], "w") as file:
                file["data"] = part
    if kind == "file paths":
        return [[str(path) for path in side] for side in paths], None, []
    opened = [[h5py.File(path) for path in side] for side in paths]
    return (
        [[file["data"] for file in side] for side in opened],
        None,
        [file for side in opened for file in side],
    )


@pytest.mark.parametrize("stored", [np.float16, np.int16, bool])
def test_small_types_are_read_as_float32(stored: type, data: tuple[np.ndarray, np.ndarray]) -> None:
    features = (data[0] > 0).astype(stored) if stored is bool else (4 * data[0]).astype(stored)
    fitted = model().fit(features, data[1].astype(np.float32), runs=RUNS)
    expected = model().fit(features.astype(np.float32), data[1].astype(np.float32), runs=RUNS)
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)
    assert fitted.coef_.dtype == np.float32


def test_bad_voxels_are_masked_reported_and_the_others_bit_identical(
    route: str, data: tuple[np.ndarray, np.ndarray]
) -> None:
    features, responses = data
    expected = model(solver=route).fit(features, responses, runs=RUNS)
    broken = responses.copy()
    broken[:, 3] = 4.0
    broken[45, 7] = np.nan
    with pytest.warns(
        MaskedTargetsWarning,
        match=r"2 of 12 targets .* 1 constant \(first: column 3\).*run 1.*row 5.*column 7",
    ):
        fitted = model(solver=route).fit(features, broken, runs=RUNS)
    good = fitted.valid_targets_
    assert np.flatnonzero(~good).tolist() == [3, 7]
    np.testing.assert_array_equal(fitted.alpha_[good], expected.alpha_[good])
    np.testing.assert_array_equal(fitted.cv_scores_[:, good], expected.cv_scores_[:, good])
    np.testing.assert_array_equal(fitted.coef_[good], expected.coef_[good])
    assert np.isnan(fitted.alpha_[~good]).all()
    assert (fitted.coef_[~good] == 0).all()
    assert np.isnan(fitted.predict(features, runs=RUNS)[:, 3]).all()
    scores = fitted.score(features, broken, runs=RUNS)
    assert np.isnan(scores[~good]).all()
    assert fitted.score(features, broken, runs=RUNS, per_target=False) == pytest.approx(scores[good].mean())


def test_a_constant_feature_changes_nothing(route: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    features, responses = data
    wider = np.concatenate([features, np.zeros((150, 1))], axis=1)
    expected = model(solver=route).fit(features, responses, runs=RUNS)
    with pytest.warns(RankDeficientWarning, match="3 directions of the delayed features"):
        fitted = model(solver=route).fit(wider, responses, runs=RUNS)
    assert relative_error(fitted.cv_scores_, expected.cv_scores_) <= tolerance(np.float64, 10)
    assert np.abs(fitted.coef_[:, 10::11]).max() < 1e-12


def test_the_edge_of_the_grid_is_reported(data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.warns(
        AlphaEdgeWarning,
        match=r"\d+ targets chose the smallest and \d+ the largest .* 100.0% .* widen alphas",
    ):
        model(alphas=[1e6, 1e7]).fit(*data, runs=RUNS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(alphas=[10.0]).fit(*data, runs=RUNS)  # one penalty is no grid


def test_saved_and_loaded_fits_are_the_same(
    route: str, data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    fitted = model(solver=route, cv=KFold(3), gap=0, delays=(0,)).fit(*data, runs=RUNS)
    fitted.save(tmp_path / "fit.h5")
    loaded = EncodingRidge.load(tmp_path / "fit.h5")
    np.testing.assert_array_equal(loaded.predict(data[0], runs=RUNS), fitted.predict(data[0], runs=RUNS))
    for name in (
        "alpha_",
        "cv_scores_",
        "best_cv_scores_",
        "coef_",
        "intercept_",
        "valid_targets_",
        "n_features_in_",
        "n_targets_",
    ):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(fitted, name))
    assert loaded.plan_ == fitted.plan_
    again = loaded.fit(*data, runs=RUNS)
    np.testing.assert_array_equal(again.cv_scores_, fitted.cv_scores_)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.h5"]
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    with pytest.raises(ValueError, match="not a saved EncodingRidge"):
        EncodingRidge.load(tmp_path / "other.h5")
    with pytest.raises(FileNotFoundError):
        EncodingRidge.load(tmp_path / "none.h5")


def test_it_clones_pickles_and_needs_fitting(data: tuple[np.ndarray, np.ndarray]) -> None:
    unfitted = clone(model())
    with pytest.raises(NotFittedError, match="call fit first"):
        unfitted.predict(data[0])
    fitted = unfitted.fit(*data, runs=RUNS)
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict(data[0]), fitted.predict(data[0]))


def test_a_fit_does_not_follow_later_changes_of_the_callers_array(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    features = data[0].copy()
    fitted = model(solver="dual").fit(features, data[1], runs=RUNS)
    before = fitted.predict(data[0], runs=RUNS)
    features[:] = 0
    np.testing.assert_array_equal(fitted.predict(data[0], runs=RUNS), before)


def test_folds_inside_a_run_leave_a_gap_of_the_longest_delay(data: tuple[np.ndarray, np.ndarray]) -> None:
    fitted = model(cv=3).fit(*data)
    assert fitted.folds_[1].train.tolist() == [*range(46), *range(104, 150)]
    with pytest.warns(LeakageWarning):
        model(cv=3, gap=0).fit(*data)


BAD = {
    "rows differ": (lambda x, y: (x[:149], y, None), ValueError, r"149.*150"),
    "runs do not add up": (lambda x, y: (x, y, [40, 50]), ValueError, r"90.*150"),
    "runs differ": (
        lambda x, y: (np.split(x, [40]), np.split(y, [41]), None),
        ValueError,
        r"differ in their runs",
    ),
    "one dimension": (lambda x, y: (x[:, 0], y, RUNS), ValueError, r"2-D|two dimensions|shape \(150,\)"),
    "nan feature": (
        lambda x, y: (np.where(np.arange(10) == 2, np.nan, x), y, RUNS),
        ValueError,
        r"run 'run 0', row 0 .* column 2",
    ),
    "all zero": (lambda x, y: (x, np.zeros_like(y), RUNS), ValueError, r"every value is zero"),
    "no targets": (lambda x, y: (x, y[:, :0], RUNS), ValueError, r"shape \(150, 0\)|no columns|zero columns"),
    "one sample": (lambda x, y: (x[:1], y[:1], None), ValueError, r"."),
    "missing file": (lambda x, y: ("no-such-file.h5", y, RUNS), FileNotFoundError, r"no-such-file\.h5"),
    "text": (lambda x, y: (x.astype(str), y, RUNS), TypeError, r"features"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    change, kind, message = BAD[case]
    features, responses, runs = change(*data)
    with pytest.raises(kind, match=message):
        model().fit(features, responses, runs=runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": []}, "alphas is empty"),
        ({"alphas": [-1.0, 1.0]}, "alphas holds"),
        ({"delays": (1, 45)}, r"delay of 45 samples is as long as the shortest run \(40"),
        ({"cv": 4}, "more folds than there are runs"),
        ({"gap": -1}, "gap="),
        ({"scoring": "accuracy"}, "scoring='accuracy'"),
        ({"solver": "magic"}, "solver='magic'"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"memory_limit": "much"}, "memory_limit='much'"),
    ],
)
def test_bad_options_are_named(
    options: dict[str, Any], message: str, data: tuple[np.ndarray, np.ndarray]
) -> None:
    with pytest.raises(ValueError, match=message):
        model(**options).fit(*data, runs=RUNS)


def test_cuda_is_refused_with_a_reason(data: tuple[np.ndarray, np.ndarray]) -> None:
    with (
        mock.patch("voxridge._cuda_libraries._MODULE", "voxridge._cuda_that_is_not_there"),
        pytest.raises(RuntimeError, match="no CUDA module"),
    ):
        model(device="cuda").fit(*data, runs=RUNS)


def test_predict_and_score_check_their_shapes(data: tuple[np.ndarray, np.ndarray]) -> None:
    fitted = model().fit(*data, runs=RUNS)
    with pytest.raises(ValueError, match=r"shape \(150, 9\).*10 features"):
        fitted.predict(data[0][:, :9], runs=RUNS)
    with pytest.raises(ValueError, match=r"shape \(150, 11\).*12 targets"):
        fitted.score(data[0], data[1][:, :11], runs=RUNS)


def test_a_memory_limit_too_small_says_what_would_do(data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(MemoryError, match=r"needs at least \d+ bytes"):
        model(memory_limit=1000).fit(*data, runs=RUNS)


_INTERRUPTED = """
import os, signal, threading, numpy as np
from voxridge import EncodingRidge
rng = np.random.default_rng(0)
x, y = rng.standard_normal((1500, 2500)).astype("f4"), rng.standard_normal((1500, 20000)).astype("f4")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
threading.Timer({delay}, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    EncodingRidge(delays=(0,), cv=8, progress=False).fit(x, y)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_ctrl_c_stops_a_long_fit() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED.format(delay=1.5)], capture_output=True, text=True, timeout=120
    )
    assert run.stdout.strip() == "interrupted", run.stderr


_MEMORY = """
import resource, sys, numpy as np
from voxridge import EncodingRidge
rng = np.random.default_rng(0)
x = rng.standard_normal((1200, 600), dtype=np.float32)
y = rng.standard_normal((1200, 20000), dtype=np.float32)
EncodingRidge(delays=(0,), cv=3, progress=False, alphas=[1.0, 1e3]).fit(x[:, :5], y[:, :5])
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) * 1024
before = resident()
open("/proc/self/clear_refs", "w").write("5")
model = EncodingRidge(alphas=[1.0, 1e3, 1e5], delays=(0,), cv=3, progress=False, solver=sys.argv[1]).fit(x, y)
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
print(peak - before, model.plan_.peak_bytes)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_peak_memory_stays_within_the_plan(route: str) -> None:
    """The promise is the plan's: 15 % and 32 MiB (thread stacks, BLAS buffers) are allowed for."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MEMORY, route], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    grown, planned = map(int, run.stdout.split())
    assert grown <= 1.15 * planned + 32 * 2**20
