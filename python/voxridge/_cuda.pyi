"""CUDA ops: the names and contracts of ``_cpu``, on matrices in the memory of a device.

Every op takes a ``Queue`` where ``_cpu`` takes ``n_threads``, and returns once its work is queued;
``cholesky``, ``cholesky_inverse`` and ``eigh`` wait. Vectors of indices are int64.
"""

from collections.abc import Sequence
from typing import Any, Self

from numpy.typing import DTypeLike, NDArray

_Index = int | slice | tuple[slice, slice]
_Offsets = Sequence[int]
_Ranges = Sequence[tuple[int, int]]

class Failure(RuntimeError): ...

class Array:
    """A matrix or vector of float32, float64, int64 or uint8 on a device. Rows may be strided."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def device(self) -> int: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    def __getitem__(self, index: _Index) -> Array: ...  # a view: a row of a matrix, or a part in steps of 1
    def reshape(self, rows: int, cols: int) -> Array: ...  # of contiguous elements, as many or fewer
    def __dlpack__(
        self, *, stream: Any = ..., max_version: Any = ..., dl_device: Any = ..., copy: Any = ...
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

class Event:
    def synchronize(self) -> None: ...

class Queue:
    def __init__(self, device: int = ...) -> None: ...
    @property
    def device(self) -> int: ...
    @property
    def stream(self) -> int: ...  # the address of the cudaStream_t
    def synchronize(self) -> None: ...
    def record(self) -> Event: ...
    def wait(self, event: Event) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...

def build_info() -> dict[str, str]: ...
def missing() -> str: ...
def devices() -> list[dict[str, Any]]: ...

# --- memory
def empty(shape: tuple[int, ...], dtype: DTypeLike, device: int = ...) -> Array: ...
def pinned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]: ...
def is_pinned(a: NDArray[Any]) -> bool: ...
def from_interface(a: Any, queue: Queue) -> Array: ...  # __cuda_array_interface__, without a copy
def from_dlpack(a: Any, queue: Queue) -> Array: ...  # __dlpack__, without a copy
def upload(a: NDArray[Any], out: Array, queue: Queue) -> None: ...
def download(a: Array, out: NDArray[Any], queue: Queue) -> None: ...
def copy(a: Array, out: Array, queue: Queue) -> None: ...
def zero(out: Array, queue: Queue) -> None: ...

# --- blas: precision is "float32", "tf32" or "bf16"
def gemm(
    a: Array,
    b: Array,
    out: Array,
    trans_a: bool = ...,
    trans_b: bool = ...,
    alpha: float = ...,
    beta: float = ...,
    precision: str = ...,
    *,
    queue: Queue,
) -> None: ...
def syrk(
    a: Array, out: Array, trans: bool = ..., alpha: float = ..., beta: float = ..., *, queue: Queue
) -> None: ...
def cholesky(a: Array, *, queue: Queue) -> int: ...
def cholesky_solve(factor: Array, b: Array, *, queue: Queue) -> None: ...
def cholesky_inverse(factor: Array, *, queue: Queue) -> None: ...
def solve_lower(factor: Array, b: Array, *, queue: Queue) -> None: ...
def eigh(a: Array, w: Array, *, queue: Queue) -> None: ...

# --- delayed
def delayed_gram(
    features: Array, run_offsets: _Offsets, ranges: _Ranges, delays: _Offsets, out: Array, *, queue: Queue
) -> None: ...
def delayed_xty(
    features: Array,
    y: Array,
    run_offsets: _Offsets,
    ranges: _Ranges,
    delays: _Offsets,
    out: Array,
    *,
    queue: Queue,
) -> None: ...
def delayed_xw(
    features: Array,
    w: Array,
    run_offsets: _Offsets,
    ranges: _Ranges,
    delays: _Offsets,
    out: Array,
    *,
    queue: Queue,
) -> None: ...
def delayed_sums(
    features: Array, run_offsets: _Offsets, ranges: _Ranges, delays: _Offsets, out: Array, *, queue: Queue
) -> None: ...
def base_kernel(features: Array, out: Array, accumulate: bool = ..., *, queue: Queue) -> None: ...
def base_cross_kernel(left: Array, right: Array, out: Array, *, queue: Queue) -> None: ...
def shift_kernel(
    kernel: Array,
    row_offsets: _Offsets,
    col_offsets: _Offsets,
    delays: _Offsets,
    symmetric: bool,
    *,
    queue: Queue,
) -> None: ...
def design_columns(
    features: Array,
    rows: Array,
    run_begin: Array,
    run_end: Array,
    delays: Array,
    mean: Array | None,
    root: Array | None,
    out: Array,
    *,
    queue: Queue,
) -> None: ...

# --- passes (csrc/cuda/passes.hpp)
def restore_lower(a: Array, *, queue: Queue) -> None: ...
def symmetric_rows(
    a: Array, begin: int, scale: float, diagonal: float, out: Array, *, queue: Queue
) -> None: ...
def set_diagonal(a: Array, diagonal: Array, alpha: float, *, queue: Queue) -> None: ...
def get_diagonal(a: Array, out: Array, *, queue: Queue) -> None: ...
def centre_kernel(a: Array, mean: Array, grand: float, root: Array | None, *, queue: Queue) -> None: ...
def symmetric_block(
    a: Array,
    rows: Array,
    scale: float,
    diagonal: float,
    share: float,
    r: Array | None,
    out: Array,
    *,
    queue: Queue,
) -> None: ...
def centre(raw: Array, mean: Array | None, valid: Array, out: Array, *, queue: Queue) -> None: ...
def column_moments(y: Array, begin: int, end: int, sums: Array, squares: Array, *, queue: Queue) -> None: ...
def product_moments(
    y: Array, q: Array, rows: Array | None, weights: Array | None, moments: Array, *, queue: Queue
) -> None: ...
def single_moments(
    y: Array,
    smoothed: Array,
    h: Array,
    rest: Array,
    weights: Array | None,
    sums: Array | None,
    total: float,
    moments: Array,
    *,
    queue: Queue,
) -> None: ...
def moved_rows(
    y: Array,
    mean: Array | None,
    root: Array | None,
    smoothed: Array | None,
    rows: Array | None,
    out: Array,
    *,
    queue: Queue,
) -> None: ...
def accumulate(alpha: float, x: Array, beta: float, out: Array, *, queue: Queue) -> None: ...
def scale(a: Array, row: Array | None, column: Array | None, *, queue: Queue) -> None: ...
def apply_penalty(z: Array, l: Array, alphas: Array, *, queue: Queue) -> None: ...
def rank_one(a: Array, alpha: float, row: Array, column: Array, *, queue: Queue) -> None: ...
def take_columns(a: Array, columns: Array, out: Array, *, queue: Queue) -> None: ...
def put_columns(a: Array, columns: Array, out: Array, *, queue: Queue) -> None: ...
def take_rows(a: Array, rows: Array, out: Array, *, queue: Queue) -> None: ...

# --- scores
def heldout_scratch(m: int, n_targets: int) -> int: ...  # bytes
def heldout_moments(
    factor: Array,
    residual: Array,
    y: Array,
    moments: Array,
    scratch: Array,
    *,
    inner: Array | None = ...,
    base: Array | None = ...,
    rows: Array | None = ...,
    constant: Array | None = ...,
    along: Array | None = ...,
    scale: Array | None = ...,
    shift: Array | None = ...,
    weights: Array | None = ...,
    sign: float = ...,
    precision: str = ...,
    queue: Queue,
) -> None: ...
