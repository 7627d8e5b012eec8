"""The cost model against the work that fits do: every product counted, every array weighed."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from voxridge import _cpu
from voxridge.solvers import DelayedDesign, Targets, make_folds, solve_ridge_cv
from voxridge.solvers.candidates import ROUTES
from voxridge.solvers.costs import Tiling, n_passes
from voxridge.solvers.footprints import BASE, footprint
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import EIGH_FLOPS
from voxridge.solvers.route_costs import once, passes

FITTED = [route for route in ROUTES if route != "svd"]


class Counter:
    """Flops of everything that the solver asks of BLAS and of our own ops."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flops: dict[str, float] = {}
        self._patch = monkeypatch
        for name, count in COUNTS.items():
            self._wrap(name, count)
        for name in ("QuadraticForm32", "QuadraticForm64"):
            self._wrap_form(name)

    def add(self, name: str, flops: float) -> None:
        self.flops[name] = self.flops.get(name, 0.0) + flops

    def _wrap(self, name: str, count: Callable[..., float]) -> None:
        original = getattr(_cpu, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.add(name, count(*args, **options))
            return original(*args, **options)

        self._patch.setattr(_cpu, name, counted)

    def _wrap_form(self, name: str) -> None:
        original, counter = getattr(_cpu, name), self

        class Form:
            def __init__(self, *args: Any) -> None:
                self.form = original(*args)

            def apply(self, z: Any, lz: Any, nz: Any) -> None:
                counter.add("form", 2.0 * z.shape[0] ** 2 * z.shape[1])
                self.form.apply(z, lz, nz)

        self._patch.setattr(_cpu, name, Form)


def _rows_of(ranges: Any) -> int:
    return sum(end - begin for begin, end in ranges)


def _gram(features: Any, offsets: Any, ranges: Any, delays: Any, out: Any, *_: Any) -> float:
    lags = len({abs(a - b) for a in delays for b in delays})
    return float(_rows_of(ranges) * features.shape[1] ** 2 * (1 + 2 * (lags - 1)))


COUNTS: dict[str, Callable[..., float]] = {
    "gemm": lambda a, b, out, **_: 2.0 * out.size * a.size / out.shape[0],
    "syrk": lambda a, out, **_: float(a.size * out.shape[0]),
    "cholesky": lambda a, *_, **__: a.shape[0] ** 3 / 3,
    "cholesky_inverse": lambda a, *_, **__: 2 * a.shape[0] ** 3 / 3,
    "cholesky_solve": lambda factor, b: 2.0 * factor.shape[0] ** 2 * b.shape[1],
    "solve_lower": lambda factor, b: float(factor.shape[0] ** 2 * b.shape[1]),
    "eigh": lambda a, w, work: EIGH_FLOPS * a.shape[0] ** 3,
    "delayed_gram": _gram,
    "base_kernel": lambda features, out, *_: float(features.size * features.shape[0]),
    "delayed_xty": lambda x, y, offsets, ranges, delays, out: 2.0 * _rows_of(ranges) * out.size,
    "delayed_xw": lambda x, w, offsets, ranges, delays, out: 2.0 * _rows_of(ranges) * w.size,
    "reduce_scores": lambda z, c, lz, nz, l, alphas, *_: 3.0 * alphas.size * z.size,
}


def data_of(n: int, width: int, v: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, width)).astype(dtype), rng.standard_normal((n, v)).astype(dtype)


def fit(problem: Problem, route: str, x: np.ndarray, y: np.ndarray, runs: Any = None) -> Any:
    design = DelayedDesign(x, problem.delays, runs)
    targets = Targets(
        problem.n, problem.n_targets, lambda i, j: y[:, i:j], np.zeros(y.shape[1]), np.ones(y.shape[1], bool)
    )
    alphas = np.logspace(-2, 0, problem.n_alphas)
    return solve_ridge_cv(design, targets, alphas, problem.folds, solver=route, weights=problem.weights).plan


# Products with single rows and columns (means, intercepts) are not in the model: the sizes are not tiny.
TALL = Problem(600, 60, 200, 5, make_folds(4, [600], gap=0), 8)
WIDE = Problem(240, 400, 200, 5, make_folds(4, [240], gap=0), 8)
SCORES_ONLY = Problem(600, 60, 200, 5, make_folds(4, [600], gap=0), 8, weights="none")
ONE_OUT = Problem(150, 90, 200, 5, make_folds("leave-one-out", [150], gap=0), 8)
DELAYED = Problem(600, 120, 150, 5, make_folds(3, [100] * 6, gap=0), 8, delays=(1, 2, 4))


@pytest.mark.parametrize("route", FITTED)
@pytest.mark.parametrize(
    "problem",
    [TALL, WIDE, DELAYED, SCORES_ONLY, ONE_OUT],
    ids=["tall", "wide", "delayed", "scores only", "one out"],
)
def test_flops_are_those_of_a_fit(problem: Problem, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if problem is ONE_OUT and route.endswith("spectral"):
        pytest.skip("an eigendecomposition per sample")
    x, y = data_of(problem.n, problem.n_features, problem.n_targets, np.float64)
    runs = [100] * 6 if problem is DELAYED else None
    counter = Counter(monkeypatch)
    plan = fit(problem, route, x, y, runs)
    tiling = Tiling(
        plan.n_targets_batch,
        plan.folds_per_pass,
        plan.alphas_per_pass,
        plan.rows_per_chunk,
        plan.columns_per_chunk,
        plan.folds_at_once,
    )
    steps = [*once(problem, route), *passes(problem, route, tiling)]
    counted = sum(step.flops for step in steps if step.kind != "calls")
    assert counted == pytest.approx(sum(counter.flops.values()), rel=0.06)
    eigh = sum(step.flops for step in steps if step.kind == "eigh")
    assert eigh == pytest.approx(counter.flops.get("eigh", 0.0))
    assert plan.flops == pytest.approx(sum(step.flops for step in steps))


@pytest.mark.parametrize("route", FITTED)
@pytest.mark.parametrize("weights", ["memory", "none"])
@pytest.mark.parametrize("shape", [(400, 120), (200, 350)], ids=["tall", "wide"])
def test_memory_is_that_of_a_fit(shape: tuple[int, int], weights: Any, route: str) -> None:
    """numpy's arrays, that is; of a process, bench/plan_accuracy.py tells."""
    n, width = shape
    problem = Problem(n, width, 500, 8, make_folds(5, [n], gap=0), 8, weights=weights, resident_bytes=0)
    x, y = data_of(n, width, 500, np.float64)
    fit(problem, route, x, y)  # imports and caches
    gc.collect()
    tracemalloc.start()
    plan = fit(problem, route, x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tiling = Tiling(
        plan.n_targets_batch,
        plan.folds_per_pass,
        plan.alphas_per_pass,
        plan.rows_per_chunk,
        plan.columns_per_chunk,
        plan.folds_at_once,
    )
    arrays = footprint(problem, route, tiling).peak - BASE
    assert 0.75 < peak / arrays < 1.15


def test_passes() -> None:
    problem = Problem(100, 10, 50, 7, make_folds(5, [100], gap=0), 8)
    assert n_passes(problem, "dual-spectral", Tiling(50, 2, 7, 100, 10)) == 3
    assert n_passes(problem, "dual-leave-out", Tiling(50, 5, 3, 100, 10)) == 3
    assert n_passes(problem, "dual-cholesky", Tiling(50, 5, 1, 100, 10)) == 7
