"""Which OpenBLAS? `python -m bench.blas_choice` times the calls that a fit leans on, in every one at hand.

scipy: the LP64 OpenBLAS in scipy's wheel, through voxridge._cpu (syrk mirrors its triangle). numpy: the ILP64
OpenBLAS in numpy's wheel, as numpy calls it (numpy.linalg copies its argument; `a.T @ a` mirrors, too).
scipy-openblas32 and -64: builds on PyPI, through ctypes, where they are installed.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, describe
from bench.problems import Floating
from bench.tables import Row, interleaved, show, write_csv, write_json

Call = Callable[[], object]
CALLS = ("sgemm", "dsyrk", "dsyevd", "dpotrf")
_SETTLE = (
    0.1  # s between calls: the threads of the library called before spin for some 30 ms before they sleep
)


class Inputs:
    """Square matrices of order n, and outputs that every library writes into."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(0)
        self.n = n
        self.a32 = rng.standard_normal((n, n), dtype=np.float32)
        self.a64 = self.a32.astype(np.float64)
        self.positive = self.a64.T @ self.a64 + n * np.eye(n)
        self.out32 = np.empty_like(self.a32)
        self.out64 = np.empty_like(self.a64)


def scipy_calls(inputs: Inputs) -> dict[str, Call]:
    from voxridge import _cpu

    work, values = np.empty(_cpu.eigh_work(inputs.n)), np.empty(inputs.n)
    return {
        "sgemm": lambda: _cpu.gemm(inputs.a32, inputs.a32, inputs.out32),
        "dsyrk": lambda: _cpu.syrk(inputs.a64, inputs.out64, trans=True),
        "dsyevd": lambda: _cpu.eigh(_refill(inputs), values, work),
        "dpotrf": lambda: _cpu.cholesky(_refill(inputs)),
    }


def numpy_calls(inputs: Inputs) -> dict[str, Call]:
    return {
        "sgemm": lambda: np.matmul(inputs.a32, inputs.a32, out=inputs.out32),
        "dsyrk": lambda: np.matmul(inputs.a64.T, inputs.a64, out=inputs.out64),
        "dsyevd": lambda: np.linalg.eigh(inputs.positive),
        "dpotrf": lambda: np.linalg.cholesky(inputs.positive),
    }


def wheel_calls(inputs: Inputs, package: str) -> dict[str, Call]:
    """The library of a scipy-openblas wheel, by its Fortran names (row order is immaterial here)."""
    suffix, integer = ("_64_", ctypes.c_int64) if package.endswith("64") else ("_", ctypes.c_int32)
    library = ctypes.CDLL(str(_wheel_library(package)))
    n, info = ctypes.byref(integer(inputs.n)), ctypes.byref(integer())
    one, zero = ctypes.c_double(1), ctypes.c_double(0)
    one32, zero32 = ctypes.c_float(1), ctypes.c_float(0)
    lwork, liwork = 1 + 6 * inputs.n + 2 * inputs.n**2, 3 + 5 * inputs.n
    work, iwork, values = np.empty(lwork), np.empty(liwork, dtype=integer), np.empty(inputs.n)

    def call(name: str, *arguments: Any) -> None:
        letters = sum(isinstance(value, bytes) for value in arguments)
        plain = [_pointer(value) for value in arguments]
        getattr(library, f"scipy_{name}{suffix}")(
            *plain, *[ctypes.c_size_t(1)] * letters
        )  # lengths of the letters

    a32, a64 = inputs.a32, inputs.a64
    sizes = ctypes.byref(integer(lwork)), ctypes.byref(integer(liwork))
    return {
        "sgemm": lambda: call("sgemm", b"N", b"N", n, n, n, one32, a32, n, a32, n, zero32, inputs.out32, n),
        "dsyrk": lambda: call("dsyrk", b"L", b"N", n, n, one, a64, n, zero, inputs.out64, n),
        "dsyevd": lambda: call(
            "dsyevd", b"V", b"L", n, _refill(inputs), n, values, work, sizes[0], iwork, sizes[1], info
        ),
        "dpotrf": lambda: call("dpotrf", b"L", n, _refill(inputs), n, info),
    }


def _pointer(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.ctypes.data_as(ctypes.c_void_p)
    if isinstance(value, bytes):
        return ctypes.c_char_p(value)
    return ctypes.byref(value) if isinstance(value, ctypes.c_double | ctypes.c_float) else value


def _wheel_library(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("lib/libscipy_openblas*"))


def _refill(inputs: Inputs) -> Floating:
    """The positive definite matrix, in memory that may be overwritten: a copy, as numpy makes one too."""
    np.copyto(inputs.out64, inputs.positive)
    return inputs.out64


def measure(n: int, n_rounds: int) -> list[Row]:
    """Median seconds of each call in each library, after a warm-up; libraries interleaved."""
    inputs = Inputs(n)
    libraries = {"scipy": scipy_calls(inputs), "numpy": numpy_calls(inputs)}
    for package in ("scipy_openblas32", "scipy_openblas64"):
        if importlib.util.find_spec(package):
            libraries[package] = wheel_calls(inputs, package)
        else:
            print(f"LEFT OUT: {package} is not installed (pip install {package.replace('_', '-')})")
    rows = []
    for name in CALLS:
        seconds: dict[str, list[float]] = {library: [] for library in libraries}
        for number, library in interleaved(list(libraries), n_rounds + 1):
            time.sleep(_SETTLE)
            start = time.perf_counter()
            libraries[library][name]()
            if number:  # the first round warms up
                seconds[library].append(time.perf_counter() - start)
        rows.append(
            {"call": name, "n": n, **{key: float(np.median(values)) for key, values in seconds.items()}}
        )
        rows += [{"call": f"{name} least", "n": n, **{key: min(values) for key, values in seconds.items()}}]
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS, help="a folder blas is made in it")
    options = parser.parse_args(arguments)
    rows = measure(options.n, options.rounds)
    write_csv(options.out / "blas" / "summary.csv", rows)
    write_json(options.out / "blas" / "machine.json", describe(n=options.n, rounds=options.rounds))
    print("seconds, median and least of the rounds\n" + show(rows, list(rows[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
