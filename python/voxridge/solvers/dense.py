"""A dense array as the ridge normal equations see it: centred at its weighted mean, rows scaled by
sqrt(weight).

The centred array is never kept: blocks of it are produced on demand, so that a fit needs the Gram matrix and
one block beside the data. Ridge with an unpenalised intercept and sample weights s is plain ridge on

    Xt = sqrt(s) (X - 1 m'),   Yt = sqrt(s) (Y - 1 b'),   m, b = weighted means (zero without an intercept).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.linalg import gram, matmul

FloatArray = NDArray[np.floating[Any]]
Float64Array = NDArray[np.float64]
Columns = slice | NDArray[np.intp]

BLOCK_BYTES = 32 * 2**20
"""Size of one temporary block of centred data; blocks are larger only where the Gram matrix itself is
larger."""

TILE_TARGETS = 2048
"""Targets handled together: wide enough that producing a block of X again costs little beside its product."""


def weighted_mean(a: FloatArray, weight: Float64Array | None) -> Float64Array:
    """Mean of the rows of ``a`` (n, m), weighted by ``weight`` (n,), in float64, shape (m,).

    Summed about the first row, so that a constant column gives exactly its constant: centring it then leaves
    exact zeros, not rounding noise that an unpenalised fit would blow up.
    """
    n, m = a.shape
    first = a[0].astype(np.float64)
    total = np.zeros(m)
    for rows in blocks(n, max(1, BLOCK_BYTES // (8 * max(m, 1)))):
        part = a[rows].astype(np.float64)
        part -= first
        total += part.sum(axis=0) if weight is None else weight[rows] @ part
    mean: Float64Array = first + total / (n if weight is None else weight.sum())
    return mean


def blocks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover range(total) in order."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


@dataclass(frozen=True)
class Centred:
    """An (n, m) float32 or float64 array with its centring (m,) and the roots of its sample weights (n,).

    ``mean`` None: not centred. ``root`` None: unit weights. The array is only read.
    """

    array: FloatArray
    mean: Float64Array | None
    root: Float64Array | None

    @property
    def shape(self) -> tuple[int, int]:
        return self.array.shape[0], self.array.shape[1]

    def block(self, rows: slice, columns: Columns, dtype: np.dtype[Any]) -> FloatArray:
        """Xt[rows, columns], C-contiguous in ``dtype``; centring is done in float64. A view when nothing
        changes."""
        part = self.array[rows, columns]
        if self.mean is None and self.root is None:
            return np.ascontiguousarray(part, dtype=dtype)
        work = np.array(part, dtype=np.float64, order="C")
        if self.mean is not None:
            work -= self.mean[columns]
        if self.root is not None:
            work *= self.root[rows, None]
        return work.astype(dtype, copy=False)

    def columns(self, columns: Columns, dtype: np.dtype[Any]) -> FloatArray:
        """All rows of the chosen columns, converted block by block, shape (n, len(columns))."""
        n, m = self.shape
        if self.mean is None and self.root is None:
            return self.block(slice(None), columns, dtype)
        width = len(range(*columns.indices(m))) if isinstance(columns, slice) else columns.size
        out = np.empty((n, width), dtype=dtype)
        for rows in blocks(n, max(1, BLOCK_BYTES // (8 * max(width, 1)))):
            out[rows] = self.block(rows, columns, dtype)
        return out

    def whole(self, dtype: np.dtype[Any]) -> FloatArray:
        """Xt in ``dtype``, shape (n, m)."""
        return self.columns(slice(None), dtype)

    def row_blocks(self) -> Iterator[slice]:
        """Row blocks at least as long as the array is wide, so that adding Gram matrices up stays cheap."""
        n, m = self.shape
        return blocks(n, max(m, BLOCK_BYTES // (8 * max(m, 1)), 1))

    def column_blocks(self) -> Iterator[slice]:
        n, m = self.shape
        return blocks(m, max(n, BLOCK_BYTES // (8 * max(n, 1)), 1))

    def primal_gram(self) -> Float64Array:
        """Xt'Xt, (m, m) float64, accumulated in float64 over row blocks."""
        f64 = np.dtype(np.float64)
        total: Float64Array | None = None
        for rows in self.row_blocks():
            part = gram(self.block(rows, slice(None), f64))
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        return total

    def dual_gram(self) -> Float64Array:
        """Xt Xt', (n, n) float64, accumulated in float64 over column blocks."""
        f64 = np.dtype(np.float64)
        total: Float64Array | None = None
        for columns in self.column_blocks():
            part = gram(self.block(slice(None), columns, f64), trans=False)
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        return total

    def transpose_times(self, b: FloatArray) -> FloatArray:
        """Xt' b for b (n, v): (m, v) in b's precision."""
        m = self.shape[1]
        total = np.zeros((m, b.shape[1]), dtype=b.dtype)
        for rows in self.row_blocks():
            matmul(self.block(rows, slice(None), b.dtype), b[rows], trans_a=True, out=total, beta=1.0)
        return total

    def times_transposed(self, b: FloatArray) -> FloatArray:
        """(Xt' b)' = b' Xt for b (n, v): (v, m) in b's precision."""
        out = np.empty((b.shape[1], self.shape[1]), dtype=b.dtype)
        for columns in self.column_blocks():
            out[:, columns] = matmul(b, self.block(slice(None), columns, b.dtype), trans_a=True)
        return out


def centre(
    x: FloatArray, y: FloatArray, *, fit_intercept: bool, sample_weight: Float64Array | None
) -> tuple[Centred, Centred]:
    """Xt and Yt of the module's formula for x (n, p), y (n, V) and weights (n,) or None."""
    root = None if sample_weight is None else np.sqrt(sample_weight)
    if not fit_intercept:
        return Centred(x, None, root), Centred(y, None, root)
    return (
        Centred(x, weighted_mean(x, sample_weight), root),
        Centred(y, weighted_mean(y, sample_weight), root),
    )


def check_problem(
    x: FloatArray, y: FloatArray, sample_weight: Float64Array | None
) -> tuple[FloatArray, FloatArray, Float64Array | None]:
    """The checks every dense solver shares; y is brought to x's dtype.

    Raises:
        TypeError: x or y is not float32 or float64.
        ValueError: shapes that do not fit (both are named), no sample or feature, weights that are negative,
            not finite, or all zero.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0]:
        raise ValueError(
            f"x must be (n_samples, n_features) and y (n_samples, n_targets); got x {x.shape} and y {y.shape}"
        )
    if x.size == 0:
        raise ValueError(f"x needs at least one sample and one feature; got shape {x.shape}")
    for name, a in (("x", x), ("y", y)):
        if a.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} must be float32 or float64; got {a.dtype}. Convert it with .astype")
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight, dtype=np.float64)
        if sample_weight.shape != (x.shape[0],):
            raise ValueError(
                f"sample_weight must have shape ({x.shape[0]},), one per row of x {x.shape}; "
                f"got {sample_weight.shape}"
            )
        if not np.isfinite(sample_weight).all() or (sample_weight < 0).any() or not sample_weight.any():
            raise ValueError(
                "sample_weight must be finite and non-negative, with at least one positive weight"
            )
    return x, y.astype(x.dtype, copy=False), sample_weight
