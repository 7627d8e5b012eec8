"""Fits whose files are ten times what they may add to memory, and every place that weights may go to."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge import EncodingRidge
from voxridge.testing import relative_error

pytestmark = pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")

MIB = 2**20

FIT = """
import json, sys, warnings
import h5py, numpy as np
warnings.simplefilter("ignore")
from voxridge import EncodingRidge
from voxridge.solvers.memory import peak_memory, resident_memory

folder, features, responses, out, options = sys.argv[1], *sys.argv[2:5], json.loads(sys.argv[5])
rng = np.random.default_rng(0)
small = rng.standard_normal((90, 4)), rng.standard_normal((90, 5))
for solver in ("spectral", "leave-out", "cholesky"):  # what is imported when it is first needed
    EncodingRidge(alphas=[1.0], cv=3, gap=0, solver=solver, progress=False).fit(*small)
room, runs = options.pop("room"), options.pop("runs")
limit = resident_memory() + room
model = EncodingRidge(progress=False, memory_limit=limit, weights=out, **options)
model.fit(features, responses, runs=runs)
peak = peak_memory()
np.savez(folder + "/found.npz", model.cv_scores_, model.alpha_, model.intercept_)
plan = model.plan_
print(json.dumps([peak, limit, plan.peak_bytes, plan.resident_bytes, plan.route, plan.n_targets_batch,
                  plan.folds_per_pass, plan.rows_per_chunk, plan.columns_per_chunk]))
"""


def features(n: int, p: int, dtype: str) -> np.ndarray:
    """Blocks of one random matrix, its rows shifted: quickly made, and as good as independent."""
    base = np.random.default_rng(0).standard_normal((n, p // 40), dtype=np.float32).astype(dtype, copy=False)
    return np.concatenate([np.roll(base, 7 * shift, axis=0) for shift in range(40)], axis=1)


def write(path: Path, array: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, array)
        return
    with h5py.File(path, "w") as file:
        file["data"] = array


# Room in MiB beside what the process holds; times that the files are larger.
SHAPES: dict[str, dict[str, Any]] = {
    "wide": {"n": 500, "p": 560_000, "v": 40_000, "run": 100, "dtype": "f4", "room": 114, "times": 10},
    "tall": {"n": 100_000, "p": 400, "v": 3, "run": 5000, "dtype": "f4", "room": 145, "times": 1.05},
    "tall64": {"n": 50_000, "p": 400, "v": 3, "run": 2500, "dtype": "f8", "room": 135, "times": 1.05},
}


@pytest.mark.parametrize("name", SHAPES)
def test_peak_memory_stays_under_the_limit(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    n, p, v, room = shape["n"], shape["p"], shape["v"], shape["room"] * MIB
    rng = np.random.default_rng(1)
    x = features(n, p, shape["dtype"])
    w = rng.standard_normal((100, v), dtype=np.float32)
    y = (x[:, :100] @ w + 20 * rng.standard_normal((n, v), dtype=np.float32)).astype(shape["dtype"])
    suffix = ".npy" if name == "tall64" else ".h5"
    paths = [tmp_path / f"{what}{suffix}" for what in ("features", "responses")]
    for path, array in zip(paths, (x, y), strict=True):
        write(path, array)
    assert sum(path.stat().st_size for path in paths) >= shape["times"] * room
    out, options = tmp_path / "weights.h5", {"alphas": [1e2, 1e4, 1e6], "delays": [0]}
    given = options | {"room": room, "runs": [shape["run"]] * (n // shape["run"])}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FIT, str(tmp_path), *map(str, (*paths, out)), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    for path in paths:
        path.unlink()
    assert done.returncode == 0, done.stderr
    peak, limit, *plan = json.loads(done.stdout)
    assert peak <= limit, f"{(peak - limit) / MIB:.1f} MiB above the limit; {plan}"
    fit = EncodingRidge(progress=False, solver=plan[2], **options).fit(x, y, runs=given["runs"])
    exact = 1e-10 if shape["dtype"] == "f8" else 2e-6
    with np.load(tmp_path / "found.npz") as found:
        scores, alpha, intercept = (found[key] for key in found.files)
    # 560,000 random features: samples say little of each other, and float32 rounds their own share.
    rounding = max(exact, 2e-5 if name == "wide" else 0)
    assert np.abs(scores - fit.cv_scores_).max() < rounding
    same = alpha == fit.alpha_  # ties to rounding go either way: two of the penalties are next to nothing
    assert same.mean() > (0.99 if name == "wide" else 0.99999)
    chosen = np.argmax(alpha == np.array(options["alphas"])[:, None], axis=0)
    lost = fit.cv_scores_.max(axis=0) - np.take_along_axis(fit.cv_scores_, chosen[None], axis=0)[0]
    assert lost.max() < 2 * rounding
    assert np.abs(intercept - fit.intercept_)[same].max() < exact * np.abs(y).max()
    with h5py.File(out) as file:
        weights, kind = file["data"][()], file["data"].attrs["kind"]
    out.unlink()
    assert kind == ("coef" if n > p else "dual_coef")
    assert fit._weights is not None
    found = [fit.coef_] if n > p else [part.T for _, _, part in fit._weights.dual_tiles()]
    assert relative_error(weights[same], np.concatenate(found)[same]) < exact


# --- where weights go

RUNS = [30, 40, 30]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 70))
    paths = tmp_path / "x.h5", tmp_path / "y.h5"
    write(paths[0], x)
    write(paths[1], x[:, :3] @ rng.standard_normal((3, 600)) + rng.standard_normal((100, 600)))
    return paths


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("solver", ["primal-spectral", "dual-leave-out", "dual-cholesky"])
def test_weights_are_the_same_wherever_they_are(
    solver: str, streamed: bool, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if streamed:
        monkeypatch.setattr("voxridge._encoding_job._WHOLE_SHARE", 0.0)
    options: dict[str, Any] = {"alphas": [1.0, 10.0, 100.0], "delays": (0, 1), "progress": False}
    options |= {"solver": solver, "alpha_per_target": np.arange(600) % 3}
    new = np.random.default_rng(1).standard_normal((50, 70))
    write(tmp_path / "new.h5", new)
    expected = EncodingRidge(**options).fit(*files, runs=RUNS)
    prediction = expected.predict(new, runs=[20, 30])
    scores_only = EncodingRidge(**options, weights="none").fit(*files, runs=RUNS)
    np.testing.assert_array_equal(scores_only.cv_scores_, expected.cv_scores_)
    with pytest.raises(ValueError, match='weights="none" and has no coefficients'):
        scores_only.predict(new)
    for suffix in (".h5", ".npy"):
        place = tmp_path / f"w{suffix}"
        fitted = EncodingRidge(**options, weights=place).fit(*files, runs=RUNS)
        fitted.save(tmp_path / "fit.h5")
        for each in (fitted, pickle.loads(pickle.dumps(fitted)), EncodingRidge.load(tmp_path / "fit.h5")):
            for name in ("cv_scores_", "alpha_", "intercept_"):
                np.testing.assert_array_equal(getattr(each, name), getattr(expected, name))
            assert relative_error(each.coef_, expected.coef_) < 1e-12
            assert relative_error(each.predict(new, runs=[20, 30]), prediction) < 1e-10
            np.testing.assert_array_equal(each.get_params()["alpha_per_target"], np.arange(600) % 3)
            out = each.predict(tmp_path / "new.h5", runs=[20, 30], out=tmp_path / "p.npy")
            assert relative_error(np.load(out), prediction) < 1e-10
            each.save_coef(tmp_path / "coef.npy")
            np.testing.assert_array_equal(np.load(tmp_path / "coef.npy").T, each.coef_)
        place.write_bytes(place.read_bytes()[:-8])
        with pytest.raises(ValueError, match=rf"w{suffix}"):
            fitted.predict(new)


def test_a_failed_prediction_leaves_no_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    fitted = EncodingRidge(delays=(0,), alphas=[1.0], progress=False).fit(*files, runs=RUNS)
    assert fitted._weights is not None
    fitted._weights.prediction_tiles = lambda design: (_ for _ in ()).throw(OSError("gone"))  # type: ignore
    with pytest.raises(OSError, match="gone"):
        fitted.predict(files[0], out=tmp_path / "p.h5")
    assert not list(tmp_path.glob("p.h5*"))
