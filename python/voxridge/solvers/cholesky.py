"""The leave-out route without eigenvectors: one Cholesky inverse per penalty, all of it inside one n x n
matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.leave_out import Rows
from voxridge.solvers.linalg import matmul

Floating = NDArray[Any]

PANEL_ROWS = 1024  # rows of H that are formed at a time for a product


class CholeskySmoother:
    """``H = I - alpha P`` with ``P = (K + alpha I)^-1``.

    The strict upper triangle of ``kernel`` (n, n, float64, overwritten) keeps K, its diagonal is kept aside,
    and the lower triangle holds the factor and then P: memory for one matrix serves every penalty.
    """

    def __init__(self, kernel: Floating, *, dtype: Any, root: Floating | None, r: Floating | None) -> None:
        self.dtype, self.root, self.r = np.dtype(dtype), root, r
        self.n_samples = int(kernel.shape[0])
        self._matrix, self._diagonal = kernel, kernel.diagonal().copy()
        self._restored = True
        self._alpha = np.nan

    def set_penalty(self, alpha: float) -> None:
        """Factorise and invert.

        Raises
        ------
        numpy.linalg.LinAlgError
            If ``K + alpha I`` is singular to working precision.
        """
        if alpha == self._alpha:
            return
        self._alpha = np.nan
        if not self._restored:
            _cpu.restore_lower(self._matrix, n_threads())
        self._restored = False
        np.fill_diagonal(self._matrix, self._diagonal + alpha)
        failed = _cpu.cholesky(self._matrix)
        pivots = self._matrix.diagonal() ** 2
        floor = self.n_samples * np.finfo(np.float64).eps * (self._diagonal + alpha)
        if failed or bool((pivots <= floor).any()):
            raise np.linalg.LinAlgError(f"the kernel is singular to working precision at alpha = {alpha:g}")
        _cpu.cholesky_inverse(self._matrix)
        self._alpha = alpha

    def block(self, rows: Rows) -> tuple[Floating, Floating]:
        lower = self._matrix[np.ix_(rows, rows)]  # rows ascend, so its lower triangle is one of P
        rest, h = np.empty_like(lower), np.empty_like(lower)
        _cpu.symmetric_rows(lower, 0, self._alpha, 0.0, rest, n_threads())
        _cpu.symmetric_rows(lower, 0, -self._alpha, 1.0, h, n_threads())
        return h, rest

    def diagonal(self) -> tuple[Floating, Floating]:
        rest = self._alpha * self._matrix.diagonal()
        return 1.0 - rest, rest

    def smooth(self, y: Floating, out: Floating) -> Floating:
        """``H y`` (n, v) into ``out``, in the dtype of ``y``."""
        panel = np.empty((min(PANEL_ROWS, self.n_samples), self.n_samples), dtype=y.dtype)
        for begin in range(0, self.n_samples, PANEL_ROWS):
            end = min(begin + PANEL_ROWS, self.n_samples)
            rows = panel[: end - begin]
            _cpu.symmetric_rows(self._matrix, begin, -self._alpha, 1.0, rows, n_threads())
            matmul(rows, y, out=out[begin:end])
        return out
