"""The leave-out route without eigenvectors: one Cholesky factorisation per penalty, all of them inside one
matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.design import Design
from voxridge.solvers.leave_out import Rows
from voxridge.solvers.linalg import matmul
from voxridge.solvers.rows import ranges_of
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION, require_factor

Floating = NDArray[Any]

PANEL_ROWS = 1024  # rows of H, or columns of Z, that are formed at a time


class InPlaceInverse:
    """A symmetric matrix A and, one after the other, factors and inverses of ``A + alpha I``, in the memory
    of A.

    The strict upper triangle of ``a`` (float64, overwritten) keeps A, its diagonal is kept aside, and the
    lower triangle holds the factor or the inverse.
    """

    def __init__(self, a: Floating) -> None:
        self.matrix, self.diagonal = a, a.diagonal().copy()
        # At least the largest eigenvalue.
        self.norm = float(np.sqrt(sum(float(np.vdot(row, row)) for row in a)))
        self.alpha = np.nan
        self._inverted = self._restored = True

    @property
    def needs_float64(self) -> bool:
        """Whether A is too ill-conditioned for float32 products with the inverse."""
        return self.norm > MAX_FLOAT32_CONDITION * self.alpha

    def factorise(self, alpha: float, *, invert: bool) -> None:
        """Lower Cholesky factor of ``A + alpha I``, or its inverse.

        Raises
        ------
        UntrustedFactor
            If it is singular to working precision.
        """
        if alpha == self.alpha and invert == self._inverted:
            return
        self.alpha = np.nan
        if not self._restored:
            _cpu.restore_lower(self.matrix, n_threads())
        self._restored = False
        np.fill_diagonal(self.matrix, self.diagonal + alpha)
        failed = _cpu.cholesky(self.matrix)
        require_factor(failed, self.matrix.diagonal(), self.norm, alpha)
        if invert:
            _cpu.cholesky_inverse(self.matrix)
        self.alpha, self._inverted = alpha, invert


class KernelSmoother:
    """``H = I - alpha (K + alpha I)^-1`` of a centred kernel (n, n), which is overwritten.

    Centring has made r an eigenvector of K with eigenvalue 0, but for rounding, and a small alpha would
    magnify what is left. So ``K + c r r'`` is inverted, c the mean eigenvalue, and ``H = I - alpha (K + c r
    r' + alpha I)^-1 - c / (c + alpha) r r'``.
    """

    def __init__(self, kernel: Floating, *, dtype: Any, root: Floating | None, r: Floating | None) -> None:
        self.dtype, self.root, self.r = np.dtype(dtype), root, r
        self.n_samples = int(kernel.shape[0])
        self._c = float(kernel.trace()) / self.n_samples
        if r is not None:
            matmul(self._c * r[:, None], r[None], out=kernel, beta=1.0)
        self.inverse = InPlaceInverse(kernel)

    @property
    def needs_float64(self) -> bool:
        return self.inverse.needs_float64

    def set_penalty(self, alpha: float) -> None:
        self.inverse.factorise(alpha, invert=True)

    def rest(self, rows: Rows) -> Floating:
        lower = self.inverse.matrix[np.ix_(rows, rows)]  # rows ascend, so its lower triangle is one of P
        rest = np.empty_like(lower)
        _cpu.symmetric_rows(lower, 0, self.inverse.alpha, 0.0, rest, n_threads())
        if self.r is not None:
            rest += self._share * np.outer(self.r[rows], self.r[rows])
        return rest

    def residual_level(self) -> None:
        """Residuals come by subtraction here."""
        return

    def diagonal(self) -> tuple[Floating, Floating]:
        rest = self.inverse.alpha * self.inverse.matrix.diagonal()
        if self.r is not None:
            rest += self._share * self.r**2
        return 1.0 - rest, rest

    @property
    def _share(self) -> float:
        return self._c / (self._c + self.inverse.alpha)

    def smooth(self, y: Floating, out: Floating) -> Floating:
        """``H y`` (n, v) into ``out``, in the dtype of ``y``."""
        panel = np.empty((min(PANEL_ROWS, self.n_samples), self.n_samples), dtype=y.dtype)
        for begin in range(0, self.n_samples, PANEL_ROWS):
            end = min(begin + PANEL_ROWS, self.n_samples)
            rows = panel[: end - begin]
            _cpu.symmetric_rows(self.inverse.matrix, begin, -self.inverse.alpha, 1.0, rows, n_threads())
            matmul(rows, y, out=out[begin:end])
        if self.r is not None:
            along = self._share * matmul(self.r[None], y.astype(np.float64, copy=False))
            matmul(-self.r[:, None].astype(y.dtype), along.astype(y.dtype), out=out, beta=1.0)
        return out


class GramSmoother:
    """``H = X_c (G + alpha I)^-1 X_c'`` of a design with more samples than columns, G its centred Gram.

    With ``G + alpha I = L L'``, ``H_ff = Z_f' Z_f`` for ``Z = L^-1 X_c'``, which is formed for the rows of
    some sets at a time.
    """

    def __init__(
        self,
        gram: Floating,
        design: Design,
        x_mean: Floating,
        *,
        root: Floating | None,
        r: Floating | None,
    ) -> None:
        self.design, self.x_mean, self.root, self.r = design, x_mean, root, r
        self.dtype, self.n_samples = design.dtype, design.n_samples
        self.inverse = InPlaceInverse(gram)

    @property
    def needs_float64(self) -> bool:
        return self.inverse.needs_float64

    def set_penalty(self, alpha: float) -> None:
        self.inverse.factorise(alpha, invert=False)

    def rest(self, rows: Rows) -> Floating:
        h = np.zeros((rows.size, rows.size))
        if rows.size <= PANEL_ROWS:
            z = self._solved(rows)
            matmul(z, z, trans_a=True, out=h)
        else:
            for i in range(0, rows.size, PANEL_ROWS):
                left = self._solved(rows[i : i + PANEL_ROWS])
                for j in range(0, i + 1, PANEL_ROWS):
                    right = left if i == j else self._solved(rows[j : j + PANEL_ROWS])
                    h[i : i + left.shape[1], j : j + right.shape[1]] = matmul(left, right, trans_a=True)
            h = np.tril(h) + np.tril(h, -1).T
        rest = -h
        rest[np.diag_indices_from(rest)] += 1.0
        return rest

    def residual_level(self) -> None:
        """Residuals come by subtraction here."""
        return

    def diagonal(self) -> tuple[Floating, Floating]:
        h = np.empty(self.n_samples)
        for begin in range(0, self.n_samples, PANEL_ROWS):
            end = min(begin + PANEL_ROWS, self.n_samples)
            h[begin:end] = (self._solved(np.arange(begin, end)) ** 2).sum(axis=0)
        return h, 1.0 - h

    def _solved(self, rows: Rows) -> Floating:
        """Z of some rows, (p, n_rows)."""
        x = np.concatenate([self.design.rows(begin, end) for begin, end in ranges_of(rows)], dtype=np.float64)
        x -= self.x_mean
        if self.root is not None:
            x *= self.root[rows, None]
        z = np.ascontiguousarray(x.T)
        _cpu.solve_lower(self.inverse.matrix, z)
        return z

    def coefficients(self, y: Floating) -> Floating:
        """``(G + alpha I)^-1 X_c'y`` (p, v) float64; ``y`` is scaled, and centred or to be centred by X_c."""
        scaled = y if self.root is None else y * self.root.astype(y.dtype)[:, None]
        products = self.design.xty(scaled.astype(np.float64, copy=False), self.design.everything())
        sums = scaled.sum(axis=0, dtype=np.float64)
        matmul(self.x_mean[:, None], -sums[None], out=products, beta=1.0)
        _cpu.cholesky_solve(self.inverse.matrix, products)
        return products

    def smooth(self, coef: Floating, out: Floating) -> Floating:
        """``H y = X_c coef`` (n, v) into ``out``, in its dtype."""
        narrow = coef.astype(out.dtype, copy=False)
        out[...] = self.design.xw(narrow)
        out -= matmul(self.x_mean[None], coef)[0].astype(out.dtype)
        if self.root is not None:
            out *= self.root.astype(out.dtype)[:, None]
        return out
