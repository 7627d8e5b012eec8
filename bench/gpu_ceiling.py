"""What the device can do at the sizes of the large fits, measured op by op. How much of that the fits
reached: bench/gpu_shares.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from bench.gpu_results import Results, Row, attempt
from bench.gpu_shares import ORDERS
from voxridge.solvers.cuda.session import Session

PRECISIONS = ("float32", "tf32", "bf16", "float64")
_GEMM = 33_000, 33_000, 4096  # rows, depth, columns: H times a tile
_HELD = {
    "of a run": (347, 347, 16_384),
    "of a fold": (6600, 6600, 8192),
}  # scored rows, rows left out, targets
_BYTES = 2**30  # over the link, and inside the device's memory
_EIGH_FLOPS = 9.0  # per n^3, with vectors


def ceiling(ops: ModuleType, results: Results, scale: float) -> bool:
    """Rates of everything that a fit on a device is made of, in operations or bytes per second, the best of
    three; False where one failed."""
    cases, meter = _cases(scale), _Meter(ops)
    for name, measure in cases.items():
        if results.get("ceiling", name) is not None:
            continue
        row = attempt(results, "ceiling", name, partial(measure, meter))
        if row is not None:
            print(f"ceiling: {name}: {row['rate']:.4g} {row['unit']}", flush=True)
        meter.session.clear()
    return all(results.get("ceiling", name) is not None for name in cases)


def _cases(scale: float) -> dict[str, Callable[[_Meter], Row]]:
    def sized(*sizes: int) -> tuple[int, ...]:
        return tuple(max(16, round(size * scale)) for size in sizes)

    cases: dict[str, Callable[[_Meter], Row]] = {}
    for precision in PRECISIONS:
        cases[f"gemm {precision}"] = lambda meter, p=precision: meter.gemm(*sized(*_GEMM), p)  # type: ignore[misc]
        for name, sizes in _HELD.items():
            cases[f"heldout_moments {precision} {name}"] = lambda meter, p=precision, s=sizes: meter.held_out(
                *sized(*s), p
            )  # type: ignore[misc]
    for order in ORDERS:
        (n,) = sized(order)
        for op in ("syrk", "potrf", "potri", "syevd"):
            cases[f"{op} {order}"] = lambda meter, n=n, op=op: meter.square(op, n)  # type: ignore[misc]
    (n_bytes,) = sized(_BYTES)
    for way in ("to the device", "to the host", "inside the device"):
        cases[f"copy {way}"] = lambda meter, way=way: meter.copying(way, n_bytes)  # type: ignore[misc]
    return cases


class _Meter:
    def __init__(self, ops: ModuleType) -> None:
        self.session, self.ops = Session(ops), ops
        self.queue = self.session.queue

    def _seconds(self, work: Callable[[], Any], prepare: Callable[[], Any] = lambda: None) -> list[float]:
        """Three runs after one that warms up."""
        taken = []
        for _ in range(4):
            prepare()
            self.queue.synchronize()
            begin = time.perf_counter()
            work()
            self.queue.synchronize()
            taken.append(time.perf_counter() - begin)
        return taken[1:]

    def _row(self, seconds: list[float], amount: float, unit: str, **more: Any) -> Row:
        return {"rate": amount / min(seconds), "unit": unit, "seconds": seconds, **more}

    def _random(self, name: str, rows: int, cols: int, dtype: Any) -> Any:
        """Zeros are multiplied faster than numbers are: a device that is less busy keeps a higher clock."""
        block = (
            np.random.default_rng(0).standard_normal((min(rows, 1024), cols), dtype=np.float32).astype(dtype)
        )
        out = self.session.take(name, rows, cols, dtype)
        for begin in range(0, rows, len(block)):
            part = block[: min(len(block), rows - begin)]
            self.ops.upload(part, out[begin : begin + len(part)], self.queue)
        return out

    def gemm(self, rows: int, depth: int, cols: int, precision: str) -> Row:
        dtype = np.float64 if precision == "float64" else np.float32
        a, b = self._random("a", rows, depth, dtype), self._random("b", depth, cols, dtype)
        out = self.session.take("out", rows, cols, dtype)
        rounded = "float32" if precision == "float64" else precision
        seconds = self._seconds(lambda: self.ops.gemm(a, b, out, precision=rounded, queue=self.queue))
        return self._row(seconds, 2.0 * rows * depth * cols, "flop/s", sizes=[rows, depth, cols])

    def held_out(self, rows: int, depth: int, targets: int, precision: str) -> Row:
        dtype = np.float64 if precision == "float64" else np.float32
        session, n = self.session, max(rows, depth)
        factor, residual = self._random("a", rows, depth, dtype), self._random("b", depth, targets, dtype)
        y = self._random("y", n, targets, dtype)
        moments = session.take("moments", 3, targets, np.float64)
        scratch = session.take("scratch", 1, -(-self.ops.heldout_scratch(rows, targets) // 8), np.float64)[0]
        every, inner = session.rows(np.arange(rows)), session.rows(np.arange(depth))
        constant, along = session.up(np.ones(rows, dtype)), session.up(np.ones(targets, dtype))
        rounded = "float32" if precision == "float64" else precision

        def work() -> None:
            arguments = {
                "inner": inner,
                "base": y,
                "rows": every,
                "constant": constant,
                "along": along,
                "shift": along,
            }
            self.ops.heldout_moments(
                factor, residual, y, moments, scratch, **arguments, precision=rounded, queue=self.queue
            )

        seconds = self._seconds(work, lambda: self.ops.zero(moments, self.queue))
        return self._row(seconds, 2.0 * rows * depth * targets, "flop/s", sizes=[rows, depth, targets])

    def square(self, op: str, n: int) -> Row:
        """A rank update, or a factorisation of a positive definite matrix."""
        session, ops, queue = self.session, self.ops, self.queue
        x, spd = self._random("x", n, n, np.float64), session.take("spd", n, n, np.float64)
        work = session.take("work", n, n, np.float64)
        ops.syrk(x, spd, queue=queue)
        diagonal = session.empty((n,), np.float64)
        ops.get_diagonal(spd, diagonal, queue=queue)
        ops.set_diagonal(spd, diagonal, float(n), queue=queue)
        w = session.empty((n,), np.float64)
        calls: dict[str, tuple[float, Callable[[], Any]]] = {
            "syrk": (n**3, lambda: ops.syrk(x, work, queue=queue)),
            "potrf": (n**3 / 3, lambda: ops.cholesky(work, queue=queue)),
            "potri": (2 * n**3 / 3, lambda: ops.cholesky_inverse(work, queue=queue)),
            "syevd": (_EIGH_FLOPS * n**3, lambda: ops.eigh(work, w, queue=queue)),
        }

        def prepare() -> None:
            ops.copy(spd, work, queue)
            if op == "potri":
                ops.cholesky(work, queue=queue)

        flops, call = calls[op]
        return self._row(self._seconds(call, prepare), flops, "flop/s", sizes=[n])

    def copying(self, way: str, n_bytes: int) -> Row:
        size = max(1, n_bytes // 4)
        there, host = self.session.empty((size,), np.float32), self.ops.pinned((size,), np.float32)
        host[:] = 1.0
        other = self.session.empty((size,), np.float32)
        self.ops.upload(host, other, self.queue)
        work = {
            "to the device": lambda: self.ops.upload(host, there, self.queue),
            "to the host": lambda: self.ops.download(other, host, self.queue),
            "inside the device": lambda: self.ops.copy(other, there, self.queue),
        }[way]
        moved = 4.0 * size * (2 if way == "inside the device" else 1)  # read and written
        return self._row(self._seconds(work), moved, "byte/s", sizes=[size])
