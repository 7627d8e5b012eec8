"""What the bootstraps and the final fit share: the design in its components, and targets a tile at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.alphas import largest_eigenvalue
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.eigen_smoother import EigenSmoother
from voxridge.solvers.linalg import eigh_inplace, matmul
from voxridge.solvers.trust import gram_noise

Floating = NDArray[Any]
Rows = NDArray[np.intp]

EPS = float(np.finfo(np.float64).eps)

_TRUST = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-9}  # share of predictions lost to rounding
_LAPACK_ORDER = 32_766
_ROWS = 2048  # of the design that are turned at a time


def unresolved(alpha: float, largest: float, trust: float, gain: float = 1.0) -> bool:
    """Whether rounding may move a prediction under ``alpha`` by more than ``trust`` of itself.

    ``X (X'X + alpha)^-1`` turns the rounding of a Gram with this largest eigenvalue, ``eps largest``, into
    1 / (4 alpha) of it at most; ``gain`` is what a solve magnifies eps by. (Measured, on well- and
    ill-conditioned designs of seven shapes and penalties over eighteen decades: no error of a correlation
    was more than 3 times the sum of the two.)
    """
    return not (alpha > 0 and EPS * (largest / 4 + (1 + gain) * alpha) <= trust * alpha)


class Components:
    """``X = V diag(s) Q'`` from the smaller Gram, without centring.

    ``smoother`` holds V and s^2, ``vectors`` Q' (k, p) in float64 or, in the dual, None. Directions below the
    rounding of the Gram keep its level for their s^2 instead of being dropped: their part of a prediction,
    s^2 / alpha, is below rounding too, but not that of the weights, s / alpha.
    """

    def __init__(self, x: Floating) -> None:
        n, p = x.shape
        self.x, self.design, self.dual = x, DelayedDesign(x), bool(n <= p)
        self.order = int(min(n, p))
        self.trust = _TRUST[x.dtype]
        if self.order > _LAPACK_ORDER:
            raise ValueError(
                f"Rstim {x.shape} needs eigenvectors of order {self.order}; LAPACK's 32-bit integers end at "
                f'{_LAPACK_ORDER}. EncodingRidge(solver="cholesky") has no such bound'
            )

    def decompose(self) -> None:
        n, p = self.x.shape
        vectors = self.design.kernel() if self.dual else self.design.gram(self.design.everything())
        values = eigh_inplace(vectors)
        self.largest = max(float(values[-1]), 0.0)
        least = max(gram_noise(self.largest, self.order), float(np.finfo(np.float64).tiny))
        np.maximum(values, least, out=values)
        v_t = vectors
        if not self.dual:
            v_t = np.empty((p, n))
            turn = np.ascontiguousarray((vectors / np.sqrt(values)[:, None]).T)
            for begin in range(0, n, _ROWS):
                end = min(begin + _ROWS, n)
                v_t[:, begin:end] = self.design.xw(turn, [(begin, end)]).T
        self.smoother = EigenSmoother(v_t, values, dtype=self.x.dtype, root=None, r=None, complete=self.dual)
        self.vectors = None if self.dual else vectors

    def cannot_resolve(self, alpha: float) -> bool:
        return unresolved(alpha, self.largest, self.trust)

    def largest_singular_value(self, left_out: Rows) -> float:
        """Of the design without some rows."""
        scale = np.sqrt(self.smoother.values)
        part = np.ascontiguousarray(self.smoother.v_t[:, left_out])

        def times(v: Floating) -> Floating:
            moved = (scale * v)[:, None]
            return np.asarray(scale * (moved - matmul(part, matmul(part, moved, trans_a=True)))[:, 0])

        return float(np.sqrt(largest_eigenvalue(times, scale.size, tolerance=1e-12)))

    def of(self, rows: Floating) -> Floating:
        """``rows Q`` (n_rows, k) float64 of new rows."""
        if self.vectors is not None:
            return matmul(rows.astype(np.float64, copy=False), self.vectors, trans_b=True)
        kernel = self.design.cross_kernel_of(DelayedDesign(rows))
        return matmul(kernel, self.smoother.v_t, trans_b=True) / np.sqrt(self.smoother.values)

    def target_bytes(self) -> int:
        """Memory for one target of a tile while it is scored or fitted, at the most."""
        n, p, k = *self.x.shape, self.order
        return int(self.x.itemsize * n + 8 * max(n + 5 * k, n + 2 * k + p + (n if self.dual else 0)))

    def fit_bytes(self, n_test: int) -> int:
        """Memory for the final fit of any targets, beside the components."""
        n, p, k = *self.x.shape, self.order
        if self.dual:  # the kernel of the test samples; a chunk of the design in float64
            return int(8 * n_test * (n + 2 * k) + 8 * min(n, _ROWS) * p)
        return int(8 * n_test * (p + 2 * k) + self.x.itemsize * p * k)

    def n_bytes(self) -> tuple[int, int]:
        """Memory for the components while they are made, and then."""
        n, p = self.x.shape
        left = n * self.order
        if self.dual:
            return 24 * n * n, (8 + self.x.itemsize) * left
        return 24 * p * p + 8 * left, 8 * p * p + (8 + self.x.itemsize) * left


class TargetTiles:
    """Columns of ``y`` (n, n_targets) in ``dtype``, 0 where values are not finite. ``missing`` marks the
    columns read so far that hold such values; ``width`` of them make a tile."""

    def __init__(self, y: NDArray[Any], dtype: Any, width: int) -> None:
        self.y, self.dtype, self.width = y, np.dtype(dtype), width
        self.missing = np.zeros(y.shape[1], dtype=bool)

    @property
    def n_targets(self) -> int:
        return int(self.y.shape[1])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for begin in range(0, self.n_targets, self.width):
            yield begin, min(begin + self.width, self.n_targets)

    def read(self, begin: int, end: int) -> Floating:
        block = np.array(self.y[:, begin:end], dtype=self.dtype, order="C")
        with np.errstate(invalid="ignore", over="ignore"):
            suspect = not np.isfinite(block.sum(axis=0, dtype=np.float64)).all()
        if suspect:
            bad = ~np.isfinite(block)
            block[bad] = 0
            self.missing[begin:end] = bad.any(axis=0)
        return block
