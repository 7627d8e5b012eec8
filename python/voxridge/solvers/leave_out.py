"""The leave-out route: exact held-out predictions of any sets of samples, from one factorisation of all of
them.

Ridge with an unpenalised intercept is a linear smoother, ``S(alpha) = r r' + H`` with ``H = K (K + alpha
I)^-1`` of the centred kernel K and ``r = 1 / sqrt(n)``. For a set f of samples the model fitted without f
predicts ``m + q`` there, m the training mean of y and

    (I - r_f r_f' - H_ff) q = (H y)_f - H_ff (y_f - m)

(solver.md writes the same for the residuals; here q is small where H is, so nothing cancels under large
penalties). One H per penalty serves every set: leave-one-run-out, chunks with purged gaps, bootstraps and
leave-one-out are the same code. Sample weights s scale the rows by sqrt(s), and ``r = sqrt(s) / |sqrt(s)|``.

H comes from an eigendecomposition (primal, dual), from an SVD of the design, or from one Cholesky inverse per
penalty (:mod:`voxridge.solvers.cholesky`), whichever the plan says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.folds import Fold
from voxridge.solvers.linalg import blas_threads_for, cholesky, gram, matmul
from voxridge.solvers.rows import Ranges, ranges_of

Floating = NDArray[Any]
Rows = NDArray[np.intp]

_FLOAT32_LEVERAGE = 30.0  # 1 / (smallest eigenvalue of I - S_ff) past which float32 products would show


@dataclass(frozen=True)
class HeldOut:
    """One set: the rows that the model does not see, and the places of the scored ones among them."""

    rows: Rows
    scored: Rows | slice

    @property
    def ranges(self) -> Ranges:
        return ranges_of(self.rows)

    def take(self, a: Floating) -> Floating:
        """The set's rows of ``a``; a view where they lie together."""
        ranges = self.ranges
        return a[ranges[0][0] : ranges[0][1]] if len(ranges) == 1 else a[self.rows]


def held_out_sets(folds: Sequence[Fold], n_samples: int) -> list[HeldOut]:
    """The rows outside each fold's training set: scored or purged, they are left out together."""
    sets = []
    for fold in folds:
        rows = fold.excluded(n_samples)
        every = rows.size == fold.validation.size
        sets.append(HeldOut(rows, slice(None) if every else np.searchsorted(rows, fold.validation)))
    return sets


@dataclass(frozen=True)
class SetFactor:
    """``H_ff`` and ``(I - S_ff)^-1`` of one set under one penalty, in the precision of the wide products."""

    h: Floating
    inverse: Floating


@dataclass(frozen=True)
class Leverage:
    """One penalty: its factors for every set. ``sets`` is empty where every set is a single sample;
    then ``diagonal`` holds h_ii and 1 - s_ii (2, n)."""

    alpha: float
    dtype: np.dtype[Any]
    sets: list[SetFactor]
    diagonal: Floating | None = None


class Smoother(Protocol):
    """H of every penalty. ``root`` is sqrt(sample_weight) or None; ``r`` the unit constant direction or None
    without an intercept."""

    n_samples: int
    dtype: np.dtype[Any]
    root: Floating | None
    r: Floating | None

    @property
    def needs_float64(self) -> bool:
        """Whether float32 products under the present penalty would lose more than rounding."""
        ...

    def set_penalty(self, alpha: float) -> None:
        """Make ``alpha`` the penalty of what follows."""
        ...

    def block(self, rows: Rows) -> tuple[Floating, Floating]:
        """``H_ff`` and ``I - H_ff`` of some rows, float64; each accurate where it is small."""
        ...

    def diagonal(self) -> tuple[Floating, Floating]:
        """``h_ii`` and ``1 - h_ii`` of every row, float64."""
        ...


def leverage(smoother: Smoother, alpha: float, sets: Sequence[HeldOut]) -> Leverage:
    """Factors of every set under ``alpha``.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the samples that a set leaves do not determine the model (``alpha`` too small for their rank).
    """
    smoother.set_penalty(alpha)
    if all(held.rows.size == 1 for held in sets):
        h, rest = smoother.diagonal()
        if smoother.r is not None:
            rest = rest - smoother.r**2
        least = float(rest.min(initial=1.0))
        _require_positive(least, alpha)
        return Leverage(alpha, _precision(smoother, 1.0 / least), [], np.stack([h, rest]))
    factors, worst = [], 1.0
    for held in sets:
        h, rest = smoother.block(held.rows)
        if smoother.r is not None:
            part = smoother.r[held.rows]
            rest -= np.outer(part, part)
        inverse = _inverse(rest, alpha)
        worst = max(worst, float(np.sqrt((inverse**2).sum(axis=1).max(initial=0.0))))
        factors.append(SetFactor(h, inverse))
    dtype = _precision(smoother, worst)
    return Leverage(alpha, dtype, [SetFactor(f.h.astype(dtype), f.inverse.astype(dtype)) for f in factors])


def _precision(smoother: Smoother, worst: float) -> np.dtype[Any]:
    """Of the wide products; ``worst`` is the largest factor by which a solve magnifies their rounding."""
    exact = smoother.needs_float64 or worst > _FLOAT32_LEVERAGE
    return np.dtype(np.float64) if exact else smoother.dtype


def _inverse(a: Floating, alpha: float) -> Floating:
    with blas_threads_for(a.shape[0]):
        try:
            factor = cholesky(a)
        except np.linalg.LinAlgError:
            _require_positive(-1.0, alpha)
        _require_positive(float(factor.diagonal().min(initial=1.0)) ** 2, alpha)
        _cpu.cholesky_inverse(factor)
    out = np.empty_like(factor)
    _cpu.symmetric_rows(factor, 0, 1.0, 0.0, out, n_threads())
    return out


def _require_positive(share: float, alpha: float) -> None:
    """``share``: the part of a held-out sample that the others do not explain, at the least."""
    if not share > 1e3 * np.finfo(np.float64).eps:
        raise np.linalg.LinAlgError(
            f"a held-out set is interpolated to working precision at alpha = {alpha:g}: the samples outside "
            "it do not determine the model"
        )


def held_out_predictions(
    factor: SetFactor, hy: Floating, y: Floating, mean: Floating, root: Floating | None
) -> Floating:
    """q (T_f, v) of one set: predictions are the training mean + q, in the scaled coordinates of the sample
    weights. ``hy`` and ``y`` hold the set's rows; ``mean`` (v,) is the training mean."""
    moved = y - (mean.astype(y.dtype) if root is None else np.outer(root, mean).astype(y.dtype))
    inside = np.array(hy)
    _cpu.gemm(factor.h, moved, inside, alpha=-1.0, beta=1.0)
    return matmul(factor.inverse, inside)


class EigenSmoother:
    """H = V diag(1 - keep) V' with the columns of V orthonormal.

    ``v`` (n, k) float64; ``values`` (k,) eigenvalues of the centred kernel, 0 where they are rounding only.
    ``complete``: V spans everything (dual), so ``I - H = V diag(keep) V'`` with ``keep = alpha / (l +
    alpha)``, without cancellation; else ``I - H`` is formed by subtraction.
    """

    def __init__(
        self,
        v_t: Floating,
        values: Floating,
        *,
        dtype: Any,
        root: Floating | None,
        r: Floating | None,
        complete: bool = False,
    ) -> None:
        self.v_t, self.values, self.complete = v_t, values, complete
        self.dtype, self.root, self.r = np.dtype(dtype), root, r
        self.n_samples = int(v_t.shape[1])
        self._wide = {np.dtype(np.float64): v_t, self.dtype: v_t.astype(dtype, copy=False)}

    needs_float64 = False  # components are kept apart: each is rounded at its own level

    def wide(self, dtype: Any) -> Floating:
        """V' (k, n) in the dtype of a product."""
        return self._wide[np.dtype(dtype)]

    @property
    def rank(self) -> int:
        return int((self.values > 0).sum())

    def shrink(self, alpha: float) -> Floating:
        """``l / (l + alpha)`` (k,); 0 where l is, whatever alpha."""
        total = self.values + alpha
        return np.divide(self.values, total, out=np.zeros_like(total), where=self.values > 0)

    def keep(self, alpha: float) -> Floating:
        """``alpha / (l + alpha)`` (k,); 1 where l is 0."""
        total = self.values + alpha
        return np.divide(alpha, total, out=np.ones_like(total), where=self.values > 0)

    def set_penalty(self, alpha: float) -> None:
        self.shrunk, self.kept = self.shrink(alpha), self.keep(alpha)

    def block(self, rows: Rows) -> tuple[Floating, Floating]:
        part = np.ascontiguousarray(self.v_t[:, rows])
        h = gram(part * np.sqrt(self.shrunk)[:, None])
        if self.complete and self.kept.min(initial=1.0) < _SUBTRACTED:
            return h, gram(part * np.sqrt(self.kept)[:, None])
        rest = -h
        rest[np.diag_indices_from(rest)] += 1.0
        return h, rest

    def diagonal(self) -> tuple[Floating, Floating]:
        square = self.v_t**2
        h = self.shrunk @ square
        return h, (self.kept @ square if self.complete else 1.0 - h)

    def project(self, y: Floating, out: Floating | None = None) -> Floating:
        """``z = V'y`` (k, v) in the dtype of ``y``."""
        return matmul(self.wide(y.dtype), y, out=out)

    def smooth(self, z: Floating, alpha: float, out: Floating, scaled: Floating) -> Floating:
        """``H y`` (n, v) from z into ``out``; ``scaled`` is room for another z."""
        np.multiply(z, self.shrink(alpha).astype(z.dtype)[:, None], out=scaled)
        return matmul(self.wide(z.dtype), scaled, trans_a=True, out=out)


_SUBTRACTED = 1e-3  # the least alpha / (l + alpha) that 1 - l / (l + alpha) gives to 13 digits
