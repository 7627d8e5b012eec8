"""CPU ops.

Matrices are C-ordered float32 or float64 (rows may be strided);
outputs are written in place; the GIL is released.
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

_Matrix = NDArray[Any]
_Vector = NDArray[Any]
_Offsets = Sequence[int]
_Ranges = Sequence[tuple[int, int]]

def build_info() -> dict[str, str]: ...
def gemm(
    a: _Matrix,
    b: _Matrix,
    out: _Matrix,
    trans_a: bool = ...,
    trans_b: bool = ...,
    alpha: float = ...,
    beta: float = ...,
) -> None: ...
def syrk(
    a: _Matrix, out: _Matrix, trans: bool = ..., alpha: float = ..., beta: float = ..., block: int = ...
) -> None: ...
def cholesky(a: _Matrix, block: int = ...) -> int: ...
def cholesky_solve(factor: _Matrix, b: _Matrix) -> None: ...
def cholesky_inverse(factor: _Matrix, block: int = ...) -> None: ...
def solve_lower(factor: _Matrix, b: _Matrix) -> None: ...
def eigh_work(n: int) -> int: ...
def eigh(a: _Matrix, w: _Vector, work: _Vector) -> None: ...
def delayed_gram(
    features: _Matrix,
    run_offsets: _Offsets,
    ranges: _Ranges,
    delays: _Offsets,
    out: _Matrix,
    n_threads: int = ...,
) -> None: ...
def delayed_xty(
    features: _Matrix, y: _Matrix, run_offsets: _Offsets, ranges: _Ranges, delays: _Offsets, out: _Matrix
) -> None: ...
def delayed_xw(
    features: _Matrix, w: _Matrix, run_offsets: _Offsets, ranges: _Ranges, delays: _Offsets, out: _Matrix
) -> None: ...
def delayed_sums(
    features: _Matrix, run_offsets: _Offsets, ranges: _Ranges, delays: _Offsets, out: _Vector
) -> None: ...
def base_kernel(features: _Matrix, out: _Matrix, accumulate: bool = ...) -> None: ...
def base_cross_kernel(left: _Matrix, right: _Matrix, out: _Matrix) -> None: ...
def shift_kernel(
    kernel: _Matrix,
    row_offsets: _Offsets,
    col_offsets: _Offsets,
    delays: _Offsets,
    symmetric: bool,
    n_threads: int,
) -> None: ...
def reduce_scores(
    z: _Matrix,
    c: _Matrix,
    lz: _Matrix,
    nz: _Matrix,
    l: _Vector,
    alphas: _Vector,
    mean_l: float,
    products: _Matrix,
    norms: _Matrix,
    n_threads: int,
) -> None: ...
def apply_penalty(z: _Matrix, l: _Vector, alphas: _Vector, n_threads: int) -> None: ...
def column_moments(y: _Matrix, ranges: _Ranges, sums: _Vector, squares: _Vector, n_threads: int) -> None: ...
def restore_lower(a: _Matrix, n_threads: int) -> None: ...
def symmetric_rows(
    a: _Matrix, begin: int, scale: float, diagonal: float, out: _Matrix, n_threads: int
) -> None: ...
def product_moments(
    y: _Matrix, q: _Matrix, weights: _Vector | None, moments: _Matrix, n_threads: int
) -> None: ...

class QuadraticForm32:
    def __init__(self, m: _Matrix, l: _Vector, alpha_min: float, tolerance: float = ...) -> None: ...
    def apply(self, z: _Matrix, lz: _Matrix, nz: _Matrix) -> None: ...

class QuadraticForm64:
    def __init__(self, m: _Matrix, l: _Vector, alpha_min: float, tolerance: float = ...) -> None: ...
    def apply(self, z: _Matrix, lz: _Matrix, nz: _Matrix) -> None: ...
