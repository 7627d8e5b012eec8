"""Times of the compiled kernels: `python -m pytest bench --benchmark-enable --benchmark-only`.

pytest-benchmark's own options compare with earlier runs: --benchmark-autosave, --benchmark-compare. Without
--benchmark-enable every kernel runs once. ``gflops`` in the extra information is of the arithmetic that the
kernel needs; passes over memory have ``gbytes`` instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers import delayed_gram, delayed_kernel
from voxridge.solvers.linalg import eigh_inplace, gram, matmul

_N, _TARGETS, _ALPHAS = 768, 2048, 20
Floats = Any


@pytest.fixture(scope="module", params=["float32", "float64"])
def square(request: pytest.FixtureRequest) -> Floats:
    return np.random.default_rng(0).standard_normal((_N, _N)).astype(request.param)


@pytest.fixture(scope="module")
def definite() -> Floats:
    a = np.random.default_rng(0).standard_normal((_N, _N))
    return a @ a.T + _N * np.eye(_N)


def _timed(benchmark: Any, work: Any, *, flops: float = 0, n_bytes: float = 0, setup: Any = None) -> None:
    """Five rounds after one that warms up, with the rate of the median."""
    benchmark.pedantic(work, setup=setup, rounds=5, warmup_rounds=1)
    if benchmark.stats:
        name, amount = ("gflops", flops) if flops else ("gbytes", n_bytes)
        benchmark.extra_info[name] = round(amount / benchmark.stats.stats.median / 1e9, 2)


def test_gemm(benchmark: Any, square: Floats) -> None:
    out = np.empty_like(square)
    _timed(benchmark, lambda: matmul(square, square, out=out), flops=2 * _N**3)
    assert np.isfinite(out).all()


def test_syrk(benchmark: Any, square: Floats) -> None:
    _timed(benchmark, lambda: gram(square), flops=_N**3)


def test_cholesky(benchmark: Any, definite: Floats) -> None:
    work = np.empty_like(definite)
    _timed(benchmark, lambda: _cpu.cholesky(work), setup=lambda: np.copyto(work, definite), flops=_N**3 / 3)


def test_cholesky_inverse(benchmark: Any, definite: Floats) -> None:
    factor = definite.copy()
    assert _cpu.cholesky(factor) == 0
    work = np.empty_like(factor)
    setup = lambda: np.copyto(work, factor)  # noqa: E731
    _timed(benchmark, lambda: _cpu.cholesky_inverse(work), setup=setup, flops=2 * _N**3 / 3)


def test_eigh(benchmark: Any, definite: Floats) -> None:
    work = np.empty_like(definite)
    _timed(benchmark, lambda: eigh_inplace(work), setup=lambda: np.copyto(work, definite), flops=9 * _N**3)


@pytest.mark.parametrize("function", [delayed_gram, delayed_kernel])
def test_delayed(benchmark: Any, function: Any) -> None:
    """Four delays of 256 features in 8 runs; counted as the rank update of the delayed matrix."""
    features = np.random.default_rng(0).standard_normal((_N, 256), dtype=np.float32)
    runs = [_N // 8] * 8
    columns = 4 * features.shape[1]
    flops = _N * columns**2 if function is delayed_gram else _N**2 * columns
    _timed(benchmark, lambda: function(features, (1, 2, 3, 4), runs=runs, dtype="float64"), flops=flops)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reduce_scores(benchmark: Any, dtype: str) -> None:
    """The filters of every penalty, summed over the rank: three multiply-adds each."""
    rank = 512
    z = np.random.default_rng(0).standard_normal((rank, _TARGETS)).astype(dtype)
    l, alphas = np.linspace(1, 1e4, rank), np.logspace(0, 8, _ALPHAS)
    products, norms = np.empty((2, _ALPHAS, _TARGETS))
    arguments = z, z, z, z, l, alphas, float(l.mean()), products, norms, n_threads()
    _timed(benchmark, lambda: _cpu.reduce_scores(*arguments), flops=6 * rank * _TARGETS * _ALPHAS)
    assert np.isfinite(products).all()


def test_column_moments(benchmark: Any) -> None:
    y = np.random.default_rng(0).standard_normal((_N, _TARGETS), dtype=np.float32)
    sums, squares = np.empty((2, _TARGETS))
    arguments = y, [(0, _N)], sums, squares, n_threads()
    _timed(benchmark, lambda: _cpu.column_moments(*arguments), n_bytes=y.nbytes)
    np.testing.assert_allclose(sums, y.sum(axis=0, dtype=np.float64), atol=1e-3)


def test_product_moments(benchmark: Any) -> None:
    y, q = np.random.default_rng(0).standard_normal((2, _N, _TARGETS), dtype=np.float32)
    moments = np.zeros((3, _TARGETS))
    _timed(benchmark, lambda: _cpu.product_moments(y, q, None, moments, n_threads()), n_bytes=2 * y.nbytes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_residual_products(benchmark: Any, dtype: str) -> None:
    models = 8
    parts = list(np.random.default_rng(0).standard_normal((models, _N, _TARGETS)).astype(dtype))
    sums = np.zeros((models * (models + 1) // 2, _TARGETS))
    _timed(
        benchmark,
        lambda: _cpu.residual_products(parts, None, sums, n_threads()),
        flops=2 * len(sums) * _N * _TARGETS,
    )
    assert (sums[0] > 0).all()


@pytest.mark.parametrize("models", [8, 32])
def test_simplex_qp(benchmark: Any, models: int) -> None:
    """The matrices are read once; the rate says little but how it compares between versions."""
    residuals = np.random.default_rng(0).standard_normal((_TARGETS, 2 * models, models))
    residuals += np.random.default_rng(1).standard_normal((_TARGETS, 2 * models, 1))
    p = (residuals.swapaxes(1, 2) @ residuals).reshape(_TARGETS * models, models)
    weights, gaps = np.empty((_TARGETS, models)), np.empty(_TARGETS)
    _timed(benchmark, lambda: _cpu.simplex_qp(p, None, weights, gaps, n_threads()), n_bytes=p.nbytes)
    assert (gaps < 1e-12 * p.max()).all()
