"""Held-out predictions of one bootstrap, from the decomposition of all samples.

With the design ``X = V diag(s) Q'`` and ``z = V'y``, the samples outside a held-out set f have ``z_g = z -
V_f'y_f``, and ridge without an intercept, fitted to them, predicts in f

    P z_g,    P = (I - H_ff)^-1 V_f D,    H_ff = V_f D V_f',    D = diag(s^2 / (s^2 + alpha))

one T_f x k operator for each penalty. (:mod:`voxridge.solvers.leave_out` has the algebra; here the penalties
may differ from set to set, so that smoothed targets cannot be shared and the operator is the cheaper form.)
Where T_f is large, all penalties come from one eigendecomposition of the training samples' Gram in the
components, ``diag(s) (I - V_f'V_f) diag(s)``, through the quadratic form of
:mod:`voxridge.solvers.spectral`. And penalties that the Gram cannot resolve get an SVD of the training
samples.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.bootstrap_components import EPS, unresolved
from voxridge.solvers.eigen_smoother import EigenSmoother
from voxridge.solvers.heldout import variation
from voxridge.solvers.linalg import EighWorkspace, cholesky, cholesky_solve, eigh_inplace, gram, matmul
from voxridge.solvers.trust import gram_noise

Floating = NDArray[Any]
Rows = NDArray[np.intp]

F64: np.dtype[Any] = np.dtype(np.float64)
_FLOAT32_GAIN = 30.0  # what an operator may multiply rounding of its input by and still be used in float32


class Tile:
    """Targets ``y`` (n, v) in the working precision and what is made of them, each when first asked for."""

    def __init__(self, smoother: EigenSmoother, y: Floating) -> None:
        self.smoother, self.y = smoother, y
        self._forms: dict[np.dtype[Any], tuple[Floating, Floating]] = {}

    def _form(self, dtype: np.dtype[Any]) -> tuple[Floating, Floating]:
        if dtype not in self._forms:
            y = self.y.astype(dtype, copy=False)
            self._forms[dtype] = y, self.smoother.project(y)
        return self._forms[dtype]

    def z(self, dtype: np.dtype[Any]) -> Floating:
        """``V'y`` (k, v)."""
        return self._form(dtype)[1]

    def without(self, part: Floating, rows: Rows) -> Floating:
        """``z_g`` (k, v): z without ``rows``; ``part`` is V_f' (k, T_f) in the dtype of the result."""
        y, z = self._form(part.dtype)
        out = np.array(z)
        _cpu.gemm(part, y[rows], out, alpha=-1.0, beta=1.0)
        return out


class Scorer(Protocol):
    """Held-out predictions q of one bootstrap at the penalties with the indices ``which``."""

    which: NDArray[np.intp]

    def moments(self, tile: Tile) -> tuple[Floating, Floating]:
        """``sum (q - mean q) y`` and ``sum (q - mean q)^2`` over the held-out samples, (n_which, v)
        float64."""
        ...


def target_sums(y: Floating) -> tuple[Floating, Floating]:
    """Sums and sums of squares of the columns, (v,) float64."""
    moments = np.zeros((3, y.shape[1]))
    _cpu.product_moments(y, y, None, moments, n_threads())
    return moments[0], moments[1]


def centred_moments(q: Floating, y: Floating, y_sums: Floating) -> tuple[Floating, Floating]:
    """``sum (q - mean q) y`` and ``sum (q - mean q)^2`` of the columns, (v,) float64."""
    moments = np.zeros((3, q.shape[1]))
    _cpu.product_moments(y.astype(q.dtype, copy=False), q, None, moments, n_threads())
    sums, squares, products = moments
    count = q.shape[0]
    return products - sums * y_sums / count, variation(sums, squares, count)


def signed_root(r: Floating) -> Floating:
    """``sign(r) sqrt|r|``."""
    return np.asarray(np.sign(r) * np.sqrt(np.abs(r)))


class OperatorScorer:
    """One T_f x k operator for each penalty.

    ``failed`` holds the indices of the penalties at which an operator would lose more than ``trust`` of its
    predictions to rounding: there the held-out samples are almost determined by the others.
    """

    def __init__(
        self, smoother: EigenSmoother, rows: Rows, which: NDArray[np.intp], alphas: Floating, trust: float
    ) -> None:
        self.rows, self.operators = rows, []
        largest = float(smoother.values.max(initial=0.0))
        left = np.ascontiguousarray(smoother.v_t[:, rows].T)
        kept = []
        for index, alpha in zip(which, alphas, strict=True):
            smoother.set_penalty(float(alpha))
            try:
                factor = cholesky(_remainder(left, smoother))
            except np.linalg.LinAlgError:
                continue
            if unresolved(alpha, largest, trust, _inverse_norm(factor)):
                continue
            operator = cholesky_solve(factor, left * smoother.shrunk)
            exact = float((operator**2).sum(axis=1).max(initial=0.0)) > _FLOAT32_GAIN**2
            self.operators.append(operator if exact else operator.astype(smoother.dtype))
            kept.append(index)
        self.which = np.array(kept, dtype=np.intp)
        self.failed = np.setdiff1d(which, self.which)
        dtypes = {operator.dtype for operator in self.operators}
        self._parts = {d: np.ascontiguousarray(smoother.wide(d)[:, rows]) for d in dtypes}

    def moments(self, tile: Tile) -> tuple[Floating, Floating]:
        y = tile.y[self.rows]
        y_sums = target_sums(y)[0]
        trained = {dtype: tile.without(part, self.rows) for dtype, part in self._parts.items()}
        found = [centred_moments(matmul(op, trained[op.dtype]), y, y_sums) for op in self.operators]
        return np.stack([products for products, _ in found]), np.stack([norms for _, norms in found])


def _remainder(left: Floating, smoother: EigenSmoother) -> Floating:
    """``I - H_ff`` under the smoother's penalty, from V_f (T_f, k); where V spans everything, without the
    cancellation that there is for penalties small beside every eigenvalue."""
    if smoother.complete:
        return gram(left * np.sqrt(smoother.kept), trans=False)
    rest = gram(left * np.sqrt(smoother.shrunk), trans=False)
    np.negative(rest, out=rest)
    rest[np.diag_indices_from(rest)] += 1.0
    return rest


def _inverse_norm(factor: Floating) -> float:
    """``|(L L')^-1|`` to a factor of about two, by power iteration from a fixed start."""
    v = np.random.default_rng(0).standard_normal((factor.shape[0], 1))
    size = 1.0
    for _ in range(5):
        v /= np.linalg.norm(v)
        v = cholesky_solve(factor, v)
        size = float(np.linalg.norm(v))
    return size


class SpectralScorer:
    """All penalties from the eigenvalues of the training samples' Gram, in the components."""

    def __init__(
        self,
        smoother: EigenSmoother,
        rows: Rows,
        which: NDArray[np.intp],
        alphas: Floating,
        workspace: EighWorkspace,
    ) -> None:
        self.rows, self.which, self.alphas = rows, which, np.ascontiguousarray(alphas)
        part = np.ascontiguousarray(smoother.v_t[:, rows])
        rest = -gram(part, trans=False)
        rest[np.diag_indices_from(rest)] += 1.0
        self.dtype = smoother.dtype if _well_determined(rest) else F64
        scale = np.sqrt(smoother.values)
        rest *= scale
        rest *= scale[:, None]
        values = eigh_inplace(rest, workspace)
        first = int(np.searchsorted(values, gram_noise(float(values[-1]), values.size), side="right"))
        self.l, turn = np.ascontiguousarray(values[first:]), rest[first:] * scale
        held_out = matmul(turn, part)
        held_out -= held_out.mean(axis=1, keepdims=True)
        m = gram(held_out, trans=False)
        weight = float(np.trace(m))
        self.mean_l = float(self.l @ np.diag(m)) / weight if weight > 0 else 1.0
        form = _cpu.QuadraticForm32 if smoother.dtype == np.float32 else _cpu.QuadraticForm64
        self.form = form(m, self.l, float(alphas.min()))
        self.turn = turn.astype(self.dtype, copy=False)
        self.held_out = held_out.astype(smoother.dtype, copy=False)
        self.part = part.astype(self.dtype, copy=False)

    def moments(self, tile: Tile) -> tuple[Floating, Floating]:
        dtype = self.held_out.dtype
        z = matmul(self.turn, tile.without(self.part, self.rows)).astype(dtype, copy=False)
        c = matmul(self.held_out, tile.y[self.rows])
        lz, nz = np.empty_like(z), np.empty_like(z)
        self.form.apply(z, lz, nz)
        products = np.empty((self.alphas.size, z.shape[1]))
        norms = np.empty_like(products)
        _cpu.reduce_scores(z, c, lz, nz, self.l, self.alphas, self.mean_l, products, norms, n_threads())
        return products, norms


def _well_determined(rest: Floating) -> bool:
    """Whether every component keeps more than 1 / gain of itself without the held-out samples: else rounding
    of z, which is as large in the directions that only they have, would count as training data."""
    try:
        return _inverse_norm(cholesky(rest)) <= _FLOAT32_GAIN
    except np.linalg.LinAlgError:
        return False


class SVDScorer:
    """Every penalty from the singular values of the training samples themselves, in float64.

    Singular values up to ``cutoff``, or up to the rounding of the largest, are left out.
    """

    def __init__(
        self, x: Floating, rows: Rows, which: NDArray[np.intp], alphas: Floating, cutoff: float
    ) -> None:
        from scipy.linalg import svd

        self.rows, self.which = rows, which
        self.trained = np.setdiff1d(np.arange(x.shape[0]), rows)
        train = x[self.trained].astype(np.float64)
        u, s, right_t = svd(train, full_matrices=False, check_finite=False)
        used = s > max(cutoff, max(train.shape) * EPS * float(s.max(initial=0.0)))
        s = s[used]
        self.left_t = np.ascontiguousarray(u[:, used].T)
        self.held_out = matmul(x[rows].astype(np.float64), np.ascontiguousarray(right_t[used]), trans_b=True)
        self.filters = s / (s * s + alphas[:, None])

    def moments(self, tile: Tile) -> tuple[Floating, Floating]:
        y = tile.y[self.rows].astype(np.float64)
        y_sums = target_sums(y)[0]
        z = matmul(self.left_t, tile.y[self.trained].astype(np.float64))
        found = [centred_moments(matmul(self.held_out, d[:, None] * z), y, y_sums) for d in self.filters]
        return np.stack([products for products, _ in found]), np.stack([norms for _, norms in found])
