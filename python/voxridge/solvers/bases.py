"""A centred design in its principal components: what the leave-out route, closed-form scores and the refit
share.

With the centred design ``X_c = V diag(sqrt(l)) Q'`` (rows scaled by the roots of the sample weights) and ``z
= V'y``, the fit under alpha is ``V (z l / (l + alpha))``, its coefficients are ``Q (z sqrt(l) / (l +
alpha))`` and its dual coefficients ``V (z / (l + alpha))``. Three ways to V and l: the p x p Gram, the n x n
kernel, and an SVD of the design.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.design import Design
from voxridge.solvers.dual_weights import expand, remove_constant
from voxridge.solvers.eigen_smoother import EigenSmoother
from voxridge.solvers.linalg import eigh_inplace, matmul
from voxridge.solvers.svd import svd_of_design
from voxridge.solvers.trust import full_rank, gram_noise, require_trust
from voxridge.solvers.weights import DualBasis

Floating = NDArray[Any]

_ROWS = 2048  # rows of the design that are turned at a time


@dataclass
class Basis:
    """``smoother`` holds V and l; ``vectors`` (k, p) the rows of Q', or None in the dual."""

    smoother: EigenSmoother
    vectors: Floating | None
    x_mean: Floating  # (p,) weighted means over all samples; zeros without an intercept

    @property
    def dual(self) -> bool:
        return self.vectors is None

    def dual_basis(self) -> DualBasis:
        """What :meth:`components` are components of."""
        smoother = self.smoother
        return DualBasis(smoother.v_t[smoother.used], smoother.r, smoother.root)

    def components(self, z: Floating, alphas: Floating, out: Floating) -> None:
        """Components (k, v) of the dual coefficients, of the eigenvectors that carry signal, into ``out``."""
        used = self.smoother.used
        np.copyto(out, z[used])
        _cpu.apply_penalty(out, self.smoother.values[used], alphas, n_threads())

    def weights(self, z: Floating, alphas: Floating, out: Floating) -> None:
        """Coefficients (p, v), or dual coefficients (n, v) for the design as it is, into ``out``; ``z`` is
        overwritten."""
        values = self.smoother.values
        used = values > 0
        scale = np.where(used, 1.0 if self.vectors is None else np.sqrt(values), 0.0)
        z *= scale.astype(z.dtype)[:, None]
        _cpu.apply_penalty(z, np.where(used, values, 1.0), alphas, n_threads())
        if self.vectors is not None:
            matmul(self.vectors.astype(z.dtype, copy=False), z, trans_a=True, out=out)
            return
        expand(self.smoother.wide, z, alphas, float(values.max(initial=0.0)), out)
        remove_constant(out, self.smoother.r)
        if self.smoother.root is not None:
            out *= self.smoother.root.astype(out.dtype)[:, None]


def primal_basis(
    design: Design, *, fit_intercept: bool, root: Floating | None = None, alpha_min: float = np.inf
) -> Basis:
    """From the Gram of the features, p x p.

    Raises
    ------
    UntrustedFactor
        If the Gram with ``alpha_min`` on its diagonal is singular to working precision.
    """
    g, x_mean = centred_gram(design, fit_intercept=fit_intercept, root=root)
    values = eigh_inplace(g)
    require_trust(values, full_rank(design.n_columns, design.n_samples, fit_intercept), alpha_min)
    first = _first_above_rounding(values)
    values, q_t = np.ascontiguousarray(values[first:]), g[first:]
    v_t = np.empty((values.size, design.n_samples))
    q = np.ascontiguousarray(q_t.T)
    inverse_root = 1.0 / np.sqrt(values)
    shift = x_mean @ q
    for begin in range(0, design.n_samples, _ROWS):
        end = min(begin + _ROWS, design.n_samples)
        b = design.xw(q, [(begin, end)])
        b -= shift
        if root is not None:
            b *= root[begin:end, None]
        b *= inverse_root
        v_t[:, begin:end] = b.T
    smoother = EigenSmoother(
        v_t, values, dtype=design.dtype, root=root, r=constant_direction(design, root, fit_intercept)
    )
    return Basis(smoother, q_t.astype(design.dtype, copy=False), x_mean)


def dual_basis(
    design: Design, *, fit_intercept: bool, root: Floating | None = None, alpha_min: float = np.inf
) -> Basis:
    """From the kernel of the samples, n x n; errors as in :func:`primal_basis`."""
    kernel = centred_kernel(design, fit_intercept=fit_intercept, root=root)
    values = eigh_inplace(kernel)
    require_trust(values, full_rank(design.n_columns, design.n_samples, fit_intercept), alpha_min)
    values[: _first_above_rounding(values)] = 0.0
    smoother = EigenSmoother(
        kernel,
        values,
        dtype=design.dtype,
        root=root,
        r=constant_direction(design, root, fit_intercept),
        complete=True,
    )
    return Basis(smoother, None, feature_means(design, root, fit_intercept))


def svd_basis(
    design: Design, *, fit_intercept: bool, root: Floating | None = None, alpha_min: float = np.inf
) -> Basis:
    """From the singular values of the design itself, whose condition number is not squared; any ``alpha_min``
    will do."""
    svd = svd_of_design(design, center=fit_intercept, root=root)
    assert svd.u is not None
    assert svd.vt is not None
    r = constant_direction(design, root, fit_intercept)
    spanned = r is not None and svd.rank + 1 == design.n_samples
    v_t = np.zeros((svd.rank + int(spanned), design.n_samples))
    v_t[: svd.rank] = svd.u[:, : svd.rank].T
    if r is not None and spanned:
        v_t[-1] = r
    values = np.zeros(v_t.shape[0])
    values[: svd.rank] = svd.s[: svd.rank] ** 2
    complete = v_t.shape[0] == design.n_samples
    smoother = EigenSmoother(v_t, values, dtype=design.dtype, root=root, r=r, complete=complete)
    vectors = np.zeros((v_t.shape[0], design.n_columns), dtype=design.dtype)
    vectors[: svd.rank] = svd.vt[: svd.rank]
    return Basis(smoother, vectors, svd.mean if fit_intercept else np.zeros(design.n_columns))


def centred_gram(design: Design, *, fit_intercept: bool, root: Floating | None) -> tuple[Floating, Floating]:
    """``X_c' X_c`` (p, p) float64, rows scaled by the roots of the weights, and the weighted means (p,)."""
    g = design.gram(design.everything()) if root is None else weighted_gram(design, root)
    x_mean = feature_means(design, root, fit_intercept)
    if not fit_intercept:
        return g, x_mean
    total = float(design.n_samples if root is None else root @ root)
    matmul(x_mean[:, None], x_mean[None] * -total, out=g, beta=1.0)
    return g, x_mean


def centred_kernel(design: Design, *, fit_intercept: bool, root: Floating | None) -> Floating:
    """``R (K - 1 m' - m 1' + c) R`` (n, n) float64, m and c the weighted means of K, R the roots of the
    weights."""
    kernel = design.kernel()
    if fit_intercept:
        weights = np.full(design.n_samples, 1.0) if root is None else root**2
        mean = matmul(weights[None], kernel)[0] / weights.sum()
        kernel -= mean
        kernel -= (mean - float(weights @ mean) / float(weights.sum()))[:, None]
    if root is not None:
        kernel *= root
        kernel *= root[:, None]
    return kernel


def feature_means(design: Design, root: Floating | None, fit_intercept: bool) -> Floating:
    """Weighted means of the columns of the design, (p,) float64; zeros without an intercept."""
    if not fit_intercept:
        return np.zeros(design.n_columns)
    if root is None:
        return design.sums(design.everything()) / design.n_samples
    sums = design.xty(np.ascontiguousarray(root[:, None] ** 2), design.everything())[:, 0]
    return np.asarray(sums / (root @ root))


def products_with_mean(design: Design, x_mean: Floating) -> Floating:
    """``X x_mean`` (n,): the mean over the samples of ``X w`` with ``w = X'a`` is its product with a."""
    return np.asarray(design.xw(x_mean[:, None])[:, 0])


def weighted_gram(design: Design, root: Floating) -> Floating:
    """``X' diag(root^2) X`` (p, p) float64. Weights break the structure of delays: the rows are formed, a
    chunk at a time."""
    out = np.zeros((design.n_columns, design.n_columns))
    for begin in range(0, design.n_samples, _ROWS):
        end = min(begin + _ROWS, design.n_samples)
        rows = design.rows(begin, end).astype(np.float64)
        rows *= root[begin:end, None]
        matmul(rows, rows, trans_a=True, out=out, beta=1.0)
    return out


def constant_direction(design: Design, root: Floating | None, fit_intercept: bool) -> Floating | None:
    """Unit vector (n,) of what the intercept takes up, or None without one."""
    if not fit_intercept:
        return None
    r = np.ones(design.n_samples) if root is None else root
    return np.asarray(r / np.linalg.norm(r))


def _first_above_rounding(values: Floating) -> int:
    """Index of the first of the ascending eigenvalues that is more than rounding of the largest."""
    floor = gram_noise(float(values[-1]), values.size) if values.size else 0.0
    return int(np.searchsorted(values, floor, side="right"))
