"""Leave-one-out errors of ridge for every penalty from one decomposition, equal to refitting n times.

In the coordinates of ``voxridge.solvers.dense`` ridge with an intercept is the linear smoother with hat
matrix U diag(l / (l + alpha)) U' + r r', r = sqrt(s) / |sqrt(s)|. With c = alpha / (l + alpha) and N = I - U
U' - r r',

    residual      = U (c * U'Yt) + N Yt
    1 - leverage  = (U * U) c    + diag(N)
    sqrt(s) error = residual / (1 - leverage)

Every term of the denominator is non-negative, so nothing cancels at small alpha, where 1 - h is tiny. In the
dual N = 0 exactly, because U spans everything but r.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge import _cpu
from voxridge._threads import n_threads, side_by_side
from voxridge.solvers.buffers import Spares
from voxridge.solvers.costs import PANEL
from voxridge.solvers.dense import (
    Centred,
    Columns,
    Float64Array,
    FloatArray,
    blocks,
    centre,
    check_problem,
)
from voxridge.solvers.eigenbasis import EigenBasis, decompose
from voxridge.solvers.filters import FEWEST, SMALLEST, FilterBank, filter_bank
from voxridge.solvers.linalg import matmul
from voxridge.solvers.ridge import RidgeSolution, solve_in_basis, tile_width

_ROWS = 96  # samples whose errors are summed at once
_SMALLEST = 1e-12  # of the largest eigenvalue: where filters no longer tell smaller ones apart


def leave_one_out(
    x: FloatArray,
    y: FloatArray,
    alphas: ArrayLike,
    *,
    fit_intercept: bool = True,
    sample_weight: NDArray[Any] | None = None,
    mode: Literal["auto", "eigen", "svd"] = "auto",
) -> LeaveOneOut:
    """Decompose x once; the result gives errors, scores and weights for every alpha and target.

    The error of sample i is y_i minus the prediction of the model fitted to all other samples (with their
    weights).

    Parameters
    ----------
    x : ndarray (n_samples, n_features), float32 or float64
        Only read.
    y : ndarray (n_samples, n_targets), float32 or float64
        Brought to x's dtype; only read.
    alphas : array_like (n_alphas,)
        Penalties, each > 0.
    fit_intercept : bool
        Fit an unpenalised intercept (in every one of the n models).
    sample_weight : ndarray (n_samples,), optional
        Weights >= 0; None for ones.
    mode : "auto", "eigen" or "svd"
        Eigendecomposition of the smaller Gram matrix, or SVD of x; "auto" takes the former unless an alpha is
        below its rounding.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    TypeError
        x or y is neither float32 nor float64.
    ValueError
        Shapes that do not fit, no alpha or one that is not a positive number, bad weights, or fewer than two
        samples (one without an intercept) with a positive weight.

    References
    ----------
    Rifkin and Lippert (2007), Notes on Regularized Least Squares, MIT-CSAIL-TR-2007-025.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import leave_one_out
    >>> x = np.array([[0.0], [1.0], [2.0], [4.0]])
    >>> leave_one_out(x, x**2, [0.1, 1.0]).mean_squared_errors().shape
    (2, 1)
    """
    x, y, weight = check_problem(x, y, sample_weight)
    grid = np.asarray(alphas, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0 or not np.isfinite(grid).all() or (grid <= 0).any():
        raise ValueError(f"alphas must be a non-empty list of positive numbers; got {alphas!r}")
    used = np.ones(x.shape[0], dtype=bool) if weight is None else weight > 0
    if used.sum() < 1 + fit_intercept:
        raise ValueError(
            f"leave-one-out needs at least {1 + fit_intercept} samples with a positive weight; "
            f"got n_samples={int(used.sum())} (x has shape {x.shape})"
        )
    kept = slice(None) if used.all() else used
    xt, yt = centre(
        x[kept], y[kept], fit_intercept=fit_intercept, sample_weight=None if weight is None else weight[kept]
    )
    basis = decompose(xt, smallest_alpha=float(grid.min()), mode=mode)
    left_t = basis.left()
    unexplained = _unexplained(basis, left_t)
    shrunk = grid / (basis.values[:, None] + grid)
    remaining = matmul(np.ascontiguousarray(shrunk.T), left_t * left_t)
    if unexplained is not None:
        remaining += unexplained
    dtype = x.dtype
    return LeaveOneOut(
        x=x,
        y=y,
        alphas=grid,
        used=used,
        weight=weight,
        basis=basis,
        centred_y=yt,
        left_t=left_t.astype(dtype, copy=False),
        shrunk=shrunk,
        remaining=remaining,
        complete=unexplained is None,
    )


def _unexplained(basis: EigenBasis, left_t: FloatArray) -> Float64Array | None:
    """diag(N), (n,), or None where N = 0."""
    n = basis.x.shape[0]
    if left_t.shape[0] == n - (basis.x.mean is not None) and basis.kind != "primal":
        return None
    rest = 1.0 - np.einsum("kn,kn->n", left_t, left_t)
    if basis.x.mean is not None:
        root = basis.x.root
        rest -= 1.0 / n if root is None else root**2 / (root @ root)
    return np.asarray(np.maximum(rest, 0.0))


@dataclass(frozen=True)
class LeaveOneOut:
    """One decomposition of a problem, and what follows from it. Made by ``leave_one_out``.

    ``shrunk`` (k, n_alphas) is alpha / (l + alpha); ``remaining`` (n_alphas, n) is 1 - leverage. Rows of zero
    weight are in no model: their error is that of the model fitted to all the others.
    """

    x: FloatArray
    y: FloatArray
    alphas: Float64Array
    used: NDArray[np.bool_]
    weight: Float64Array | None
    basis: EigenBasis
    centred_y: Centred
    left_t: FloatArray
    shrunk: Float64Array
    remaining: Float64Array
    complete: bool

    def tile(self, columns: Columns) -> LeaveOneOutTile:
        """The part of the work that does not depend on alpha, for some targets."""
        yt = self.centred_y.columns(columns, self.left_t.dtype)
        coordinates = matmul(self.left_t, yt)
        outside = None if self.complete else yt - matmul(self.left_t, coordinates, trans_a=True)
        return LeaveOneOutTile(self, columns, coordinates, outside)

    def mean_squared_errors(self, *, n_targets_batch: int | None = None) -> Float64Array:
        """mean over samples of s_i error_i^2, (n_alphas, n_targets) float64. Loops over tiles and alphas."""
        n_targets = self.y.shape[1]
        if self._share:
            return shared_squared_errors(self)
        out = np.empty((self.alphas.size, n_targets))
        width = n_targets_batch or tile_width(self.y.shape[0], self.left_t.dtype)
        for columns in blocks(n_targets, width):
            tile = self.tile(columns)
            for i in range(self.alphas.size):
                out[i, columns] = np.mean(tile.weighted_squared_errors(i), axis=0, dtype=np.float64)
        return out

    @property
    def _share(self) -> bool:
        """Whether the penalties' filters are worth compressing; rows without weight are done one by one."""
        enough = self.alphas.size >= FEWEST and self.left_t.shape[0] >= SMALLEST
        return enough and self.left_t.dtype == np.float32 and bool(self.used.all())

    def solve(self, alphas: Float64Array) -> RidgeSolution:
        """The ridge solution on all samples for one alpha per target, (n_targets,), from the same
        decomposition; in float64 where that costs little."""
        basis, n_targets = self.basis, self.y.shape[1]
        if n_targets >= self.x.shape[1]:
            basis = basis.narrowed(self.y.dtype, float(self.alphas.min()), n_targets)
        return solve_in_basis(basis, self.centred_y, alphas)


def shared_squared_errors(loo: LeaveOneOut) -> Float64Array:
    """:meth:`LeaveOneOut.mean_squared_errors` from filters that the penalties share, panels of targets side
    by side: five or so products instead of one for every penalty (:mod:`voxridge.solvers.filters`)."""
    values = np.maximum(loo.basis.values, _SMALLEST * loo.basis.values.max())
    bank = filter_bank(np.ascontiguousarray(loo.shrunk.T), values, loo.left_t.dtype)
    spares, columns = Spares(), blocks(loo.y.shape[1], PANEL)
    jobs = [partial(_panel_squared_errors, loo, bank, spares, some) for some in columns]
    found = list(side_by_side(jobs, min(n_threads(), len(jobs))))
    errors: Float64Array = np.concatenate(found, axis=1) / loo.y.shape[0]
    return errors


def _panel_squared_errors(loo: LeaveOneOut, bank: FilterBank, spares: Spares, columns: slice) -> Float64Array:
    """Sums over the samples of s_i error_i^2, (n_alphas, v)."""
    tile, dtype = loo.tile(columns), loo.left_t.dtype
    v, weights = tile.coordinates.shape[1], 1.0 / loo.remaining**2
    moments, coefficients = np.zeros((bank.n_filters, 3, v)), bank.coefficients.astype(dtype)
    with spares.borrow() as buffers:
        shared = buffers.take("shared", bank.share_rows, v, dtype).reshape(-1)
        bank.share(tile.coordinates, shared)
        for rows in blocks(loo.left_t.shape[1], _ROWS):
            size = rows.stop - rows.start
            products = buffers.take("products", bank.n_shared, size * v, dtype)
            residuals = buffers.take("residuals", bank.n_filters, size * v, dtype)
            bank.products(loo.left_t[:, rows], shared, v, products)
            _cpu.mix_rows(coefficients, products, residuals, n_threads())
            for i, flat in enumerate(residuals):
                residual = flat.reshape(size, v)
                if tile.outside is not None:
                    residual += tile.outside[rows]
                _cpu.product_moments(residual, residual, weights[i, rows], moments[i], n_threads())
    return moments[:, 1]


@dataclass(frozen=True)
class LeaveOneOutTile:
    """Leave-one-out errors of some targets. Made by ``LeaveOneOut.tile``."""

    loo: LeaveOneOut
    columns: Columns
    coordinates: FloatArray
    outside: FloatArray | None

    def errors(self, i: int) -> FloatArray:
        """y - (prediction without the sample), (n_samples, v), at ``alphas[i]``."""
        loo = self.loo
        inner = self._scaled_errors(i)
        if loo.weight is None:
            return inner
        inner /= np.sqrt(loo.weight[loo.used]).astype(inner.dtype)[:, None]
        if loo.used.all():
            return inner
        out = np.empty((loo.x.shape[0], inner.shape[1]), dtype=inner.dtype)
        out[loo.used] = inner
        alphas = np.full(inner.shape[1], loo.alphas[i])
        centred = Centred(
            loo.centred_y.array[:, self.columns],
            None if loo.centred_y.mean is None else loo.centred_y.mean[self.columns],
            loo.centred_y.root,
        )
        coef, intercept, _ = solve_in_basis(loo.basis, centred, alphas)
        predicted = matmul(np.ascontiguousarray(loo.x[~loo.used]), coef, trans_b=True) + intercept
        out[~loo.used] = loo.y[~loo.used][:, self.columns] - predicted
        return out

    def weighted_squared_errors(self, i: int) -> FloatArray:
        """s * error^2, (n_samples, v), at ``alphas[i]``; zero where the weight is zero."""
        inner = self._scaled_errors(i)
        inner *= inner
        if self.loo.used.all():
            return inner
        out = np.zeros((self.loo.x.shape[0], inner.shape[1]), dtype=inner.dtype)
        out[self.loo.used] = inner
        return out

    def _scaled_errors(self, i: int) -> FloatArray:
        """sqrt(s) * error over the samples with a positive weight."""
        loo, dtype = self.loo, self.coordinates.dtype
        scaled = self.coordinates * loo.shrunk[:, i].astype(dtype)[:, None]
        residual = matmul(loo.left_t, scaled, trans_a=True)
        if self.outside is not None:
            residual += self.outside
        residual /= loo.remaining[i].astype(dtype)[:, None]
        return residual
