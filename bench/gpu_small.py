"""Every op of the CUDA module and a fit of every route at small sizes, for compute-sanitizer: `python -m
bench.gpu_small`.

Exit 0 where all results are near those of the processor, so that what was watched is what is used."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from voxridge.solvers.cuda.session import Session

_N, _P, _V = (
    70,
    9,
    130,
)  # samples, features, targets: more than a block's columns, and no multiple of anything
_DELAYS = (1, 2)
_ROUTES = ("dual-cholesky", "primal-cholesky", "dual-spectral", "primal-spectral")
_NEAR = 1e-4  # of scores; rounded inputs are refined, but only the best penalty's


def ops_once(ops: ModuleType) -> list[str]:
    """Calls every op in float32 and float64; the names of those that were called."""
    called: list[str] = []
    for dtype in (np.float32, np.float64):
        kit = _Kit(ops, dtype)
        for group in (kit.blas, kit.delayed, kit.passes, kit.scores):
            group(called)
        kit.session.clear()
    return sorted(set(called))


class _Kit:
    def __init__(self, ops: ModuleType, dtype: Any) -> None:
        self.session, self.dtype = Session(ops), np.dtype(dtype)
        self.ops, self.queue = ops, self.session.queue
        self.rng = np.random.default_rng(0)

    def m(self, rows: int, cols: int, dtype: Any = None) -> Any:
        return self.session.up(self.rng.standard_normal((rows, cols)), dtype or self.dtype)

    def vector(self, size: int, dtype: Any = np.float64) -> Any:
        return self.session.up(self.rng.uniform(0.5, 1.5, size), dtype)

    def spd(self, n: int) -> Any:
        a = self.rng.standard_normal((n, n))
        return self.session.up(a @ a.T + n * np.eye(n))

    def call(self, called: list[str], name: str, *arguments: Any, **more: Any) -> None:
        called.append(name)
        getattr(self.ops, name)(*arguments, **more, queue=self.queue)
        self.queue.synchronize()

    def blas(self, called: list[str]) -> None:
        for precision in ("float32", "tf32", "bf16"):
            self.call(called, "gemm", self.m(_N, _P), self.m(_P, _V), self.m(_N, _V), precision=precision)
        self.call(called, "syrk", self.m(_N, _P, np.float64), self.m(_P, _P, np.float64))
        factor, w = self.spd(_N), self.vector(_N)
        self.call(called, "cholesky", factor)
        self.call(called, "cholesky_solve", factor, self.m(_N, _V, np.float64))
        self.call(called, "solve_lower", factor, self.m(_N, _V, np.float64))
        self.call(called, "cholesky_inverse", factor)
        self.call(called, "eigh", self.spd(_N), w)

    def delayed(self, called: list[str]) -> None:
        x, y, runs, n_columns = self.m(_N, _P), self.m(_N, _V), [0, 30, _N], _P * len(_DELAYS)
        ranges, session = [(0, 20), (25, _N)], self.session
        n_rows, kernel = 20 + _N - 25, self.m(_N, _N, np.float64)
        self.call(called, "delayed_gram", x, runs, ranges, _DELAYS, self.m(n_columns, n_columns, np.float64))
        self.call(called, "delayed_xty", x, y, runs, ranges, _DELAYS, self.m(n_columns, _V))
        self.call(called, "delayed_xw", x, self.m(n_columns, _V), runs, ranges, _DELAYS, self.m(n_rows, _V))
        self.call(called, "delayed_sums", x, runs, ranges, _DELAYS, self.vector(n_columns))
        self.call(called, "base_kernel", x, kernel)
        self.call(called, "shift_kernel", kernel, runs, runs, _DELAYS, True)
        self.call(called, "base_cross_kernel", x, self.m(20, _P), self.m(_N, 20, np.float64))
        begins, ends = np.repeat([0, 30], [30, _N - 30]), np.repeat([30, _N], [30, _N - 30])
        lookup = session.rows(np.arange(11)), session.rows(begins), session.rows(ends), session.rows(_DELAYS)
        mean, root = self.vector(n_columns), self.vector(_N)
        self.call(called, "design_columns", x, *lookup, mean, root, self.m(n_columns, 11, np.float64))

    def passes(self, called: list[str]) -> None:
        session, a, y, q = self.session, self.spd(_N), self.m(_N, _V), self.m(_N, _V)
        rows, root, moments = session.rows(np.arange(5, 40)), self.vector(_N), self.m(3, _V, np.float64)
        self.call(called, "restore_lower", self.spd(_N))
        self.call(called, "symmetric_rows", a, 3, 1.0, 0.5, self.m(20, _N))
        self.call(called, "get_diagonal", a, self.vector(_N))
        self.call(called, "set_diagonal", a, self.vector(_N), 1.0)
        self.call(called, "centre_kernel", a, self.vector(_N), 0.5, root)
        self.call(
            called, "symmetric_block", a, rows, 1.0, 0.5, 0.1, self.vector(_N), self.m(35, 35, np.float64)
        )
        self.call(called, "centre", y, self.vector(_V), session.up(np.ones(_V), np.uint8), self.m(_N, _V))
        self.call(called, "column_moments", y, 2, 60, moments[0], moments[1])
        self.call(called, "product_moments", y, q, rows, self.vector(35), moments)
        h, rest, sums = self.vector(_N), self.vector(_N), self.vector(_V)
        self.call(called, "single_moments", y, q, h, rest, root, sums, 100.0, moments)
        self.call(called, "moved_rows", y, self.vector(_V, self.dtype), root, q, rows, self.m(_N, _V))
        self.call(called, "accumulate", 1.0, y, 0.5, q)
        self.call(called, "scale", y, root, self.vector(_V))
        self.call(called, "apply_penalty", y, root, self.vector(_V))
        self.call(called, "rank_one", y, 1.0, root, self.vector(_V))
        self.call(called, "take_columns", y, session.rows([3, 1, 8]), self.m(_N, 3))
        self.call(called, "put_columns", self.m(_N, 3), session.rows([3, 1, 8]), y)
        self.call(called, "take_rows", y, rows, self.m(35, _V))
        self.call(called, "transpose", y, self.m(_V, _N)) if hasattr(self.ops, "transpose") else None

    def scores(self, called: list[str]) -> None:
        session, m, k = self.session, 33, 35
        scratch = session.empty((-(-self.ops.heldout_scratch(m, _V) // 8),), np.float64)
        more = {
            "inner": session.rows(np.arange(5, 5 + k)),
            "base": self.m(_N, _V),
            "rows": session.rows(np.arange(6, 6 + m)),
            "constant": self.vector(m, self.dtype),
            "along": self.vector(_V, self.dtype),
            "scale": self.vector(m),
            "shift": self.vector(_V, self.dtype),
            "weights": self.vector(m),
        }
        for precision in ("float32", "tf32", "bf16"):
            moments = self.m(3, _V, np.float64)
            arrays = self.m(m, k), self.m(_N, _V), self.m(_N, _V), moments, scratch
            self.call(called, "heldout_moments", *arrays, **more, precision=precision)


def fits_once() -> dict[str, float]:
    """The largest difference of best scores from the processor's, of a fit by every route."""
    from voxridge import EncodingRidge

    rng = np.random.default_rng(0)
    x = rng.standard_normal((_N, _P)).astype(np.float32)
    y = (x @ rng.standard_normal((_P, _V)) + 4 * rng.standard_normal((_N, _V))).astype(np.float32)
    found = {}

    def both(name: str, **options: Any) -> None:
        options = {"alphas": np.logspace(0, 4, 3), "delays": _DELAYS, "progress": False, **options}
        there = EncodingRidge(device="cuda", **options).fit(x, y, runs=[30, _N - 30])
        options |= {"solver": "auto", "precision": "float32"}
        here = EncodingRidge(device="cpu", **options).fit(x, y, runs=[30, _N - 30])
        assert there.plan_.device != "cpu", name
        there.predict(x, runs=[30, _N - 30])
        found[name] = float(np.abs(there.best_cv_scores_ - here.best_cv_scores_).max())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for route in _ROUTES:
            both(f"{route}, tf32", solver=route, precision="tf32")
        for route in _ROUTES[:2]:
            both(f"{route}, leave-one-out", solver=route, cv="leave-one-out", scoring="r2")
    return found


def main(load: Callable[[], ModuleType] | None = None) -> int:
    from voxridge import _dispatch

    print("ops:", *ops_once((load or _dispatch.load_cuda)()))
    found = fits_once()
    for name, difference in found.items():
        print(f"{name}: scores differ from the processor's by {difference:.1e}")
    return 0 if max(found.values()) < _NEAR else 1


if __name__ == "__main__":
    sys.exit(main())
