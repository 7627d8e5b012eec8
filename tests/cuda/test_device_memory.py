"""What fits on a device hold against what their plans say, by the emulator's books."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from voxridge._dispatch import find_device
from voxridge._warnings import FallbackWarning
from voxridge.solvers import DelayedDesign, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.fits import fit_designs
from voxridge.solvers.settings import Storage, check_settings


@pytest.fixture
def books(emulator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("voxridge._dispatch.load_cuda", lambda: emulator)
    return emulator


def fit(n: int, p: int, v: int, dtype: Any, small: float, **options: Any) -> Any:
    """Penalties from ``small`` on, so that float32 does or does not do."""
    rng = np.random.default_rng(n + p + v)
    x = rng.standard_normal((n, p)).astype(dtype) + 1
    y = (x[:, :5] @ rng.standard_normal((5, v)) + 3 * rng.standard_normal((n, v))).astype(dtype)
    runs, delays = options.pop("runs", [n]), options.pop("delays", (0,))
    folds = make_folds(options.pop("cv", 4), runs, gap=0)
    targets = Targets(n, v, lambda begin, end: y[:, begin:end], y.mean(axis=0, dtype=float), np.ones(v, bool))
    alphas = np.logspace(np.log10(small), 5, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        return solve_ridge_cv(
            DelayedDesign(x, delays, runs), targets, alphas, folds, device="cuda", **options
        )


CASES = {
    "dual-cholesky": [(500, 900, 1100), (700, 100, 600)],
    "primal-cholesky": [(900, 200, 1100), (700, 60, 600)],
    "dual-spectral": [(500, 900, 1100), (700, 100, 600)],
    "primal-spectral": [(900, 200, 1100), (700, 60, 600)],
}


KINDS = [("f4", "float32", 1e-1), ("f4", "float32", 1e2), ("f4", "tf32", 1e2), ("f8", "float32", 1e-1)]
ALL = [
    (name, shape, *kind)
    for name in CASES
    for shape in CASES[name]
    for kind in KINDS
    if kind[1] == "float32" or shape[2] < 1000  # the emulator's tensor cores are slow
]


@pytest.mark.parametrize(("solver", "shape", "dtype", "precision", "small"), ALL)
def test_memory_of_the_device(
    books: ModuleType, solver: str, shape: tuple[int, int, int], dtype: str, precision: str, small: float
) -> None:
    books.selftest.take_peak(0)
    plan = fit(*shape, np.dtype(dtype), small, solver=solver, precision=precision, n_targets_batch=512).plan
    peak = books.selftest.take_peak(0)
    assert plan.device == "cuda:0"
    assert 0.2 * plan.device_bytes < peak <= plan.device_bytes


@pytest.mark.parametrize("solver", ["dual-cholesky", "primal-cholesky"])
@pytest.mark.parametrize(
    "options",
    [
        {"cv": "leave-one-run-out", "runs": [70] * 10, "delays": (1, 2, 3, 4)},
        {"sample_weight": np.linspace(0.5, 2, 700)},
        {"cv": "leave-one-out", "evaluation": "pooled"},
        {"cv": 2, "weights": "none"},
    ],
    ids=["runs", "weights", "leave-one-out", "halves"],
)
def test_memory_of_other_fits(books: ModuleType, solver: str, options: dict[str, Any]) -> None:
    books.selftest.take_peak(0)
    plan = fit(700, 40, 1100, np.float32, 1.0, solver=solver, n_targets_batch=512, **options).plan
    peak = books.selftest.take_peak(0)
    assert 0.2 * plan.device_bytes < peak <= plan.device_bytes


def test_memory_of_a_fit_in_passes(books: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with less memory holds the factors of fewer penalties, and keeps to it."""
    monkeypatch.setenv("VOXRIDGE_EMULATED_BYTES", str(470 * 2**20))
    books.selftest.take_peak(0)
    plan = fit(700, 100, 600, np.float32, 1.0, solver="dual-cholesky").plan
    assert plan.alphas_per_pass < 6
    assert 0.2 * plan.device_bytes < books.selftest.take_peak(0) <= plan.device_bytes


@pytest.mark.parametrize("solver", ["auto", "primal-cholesky", "dual-spectral"])
def test_memory_of_several_designs(books: ModuleType, rng: Any, solver: str) -> None:
    n, v = 700, 900
    designs = [DelayedDesign(rng.standard_normal((n, p)).astype("f4"), (0,), [n]) for p in (40, 300, 120)]
    y = rng.standard_normal((n, v)).astype("f4")
    targets = Targets(n, v, lambda begin, end: y[:, begin:end], y.mean(axis=0, dtype=float), np.ones(v, bool))
    asked = check_settings(
        n,
        targets,
        np.logspace(0, 5, 6),
        make_folds(4, [n], gap=0),
        scoring="r2",
        fit_intercept=True,
        alpha_per_target=True,
        sample_weight=None,
        evaluation="folds",
        solver=solver,
        memory_limit=None,
        n_targets_batch=512,
        cuda=find_device("cuda"),
        device_required=True,
    )
    books.selftest.take_peak(0)
    fits = fit_designs(designs, targets, asked, Storage("memory", None, {}), lambda step, done: None)
    worst = max(fit.plan.device_bytes for fit in fits)
    assert 0.2 * worst < books.selftest.take_peak(0) <= worst
