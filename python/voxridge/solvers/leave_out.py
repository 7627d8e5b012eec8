"""The leave-out route: exact held-out predictions of any sets of samples, from one factorisation of all of
them.

Ridge with an unpenalised intercept is a linear smoother, ``S(alpha) = r r' + H`` with ``H = K (K + alpha
I)^-1`` of the centred kernel K and ``r = 1 / sqrt(n)``. For a set f of samples the model fitted without f
predicts ``m + q`` there, m the training mean of y and

    (I - r_f r_f' - H_ff) q = (H y)_f - H_ff (y_f - m)

Here q is small where H is, so nothing cancels under large penalties. Small ones leave next to nothing of y,
and there the residual comes first:

    e = (I - S_ff)^-1 ((I - S) y)_f,    q = y_f - m - e

One H per penalty serves every set: leave-one-run-out, chunks with purged gaps, bootstraps and
leave-one-out are the same code. Sample weights s scale the rows by sqrt(s), and ``r = sqrt(s) / |sqrt(s)|``.

H comes from an eigendecomposition (primal, dual), from an SVD of the design, or from one Cholesky inverse per
penalty (:mod:`voxridge.solvers.cholesky`), whichever the plan says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads, side_by_side
from voxridge.solvers.folds import Fold
from voxridge.solvers.linalg import blas_threads_for, cholesky, matmul
from voxridge.solvers.rows import Ranges, ranges_of

Floating = NDArray[Any]
Rows = NDArray[np.intp]

FLOAT32_LEVERAGE = 30.0  # 1 / (smallest eigenvalue of I - S_ff) past which float32 products would show
_FLOAT32_RESIDUAL = 100.0  # the same of residuals, times their level


@dataclass(frozen=True)
class HeldOut:
    """One set: the rows that the model does not see, and the places of the scored ones among them."""

    rows: Rows
    scored: Rows | slice

    @cached_property
    def ranges(self) -> Ranges:
        return ranges_of(self.rows)

    @cached_property
    def index(self) -> slice | Rows:
        """The set's rows as an index, which gives a view where they lie together."""
        ranges = self.ranges
        return slice(*ranges[0]) if len(ranges) == 1 else self.rows

    def take(self, a: Floating) -> Floating:
        """The set's rows of ``a``; a view where they lie together."""
        return a[self.index]


def held_out_sets(folds: Sequence[Fold], n_samples: int) -> list[HeldOut]:
    """The rows outside each fold's training set: scored or purged, they are left out together."""
    sets = []
    for fold in folds:
        rows = fold.excluded(n_samples)
        every = rows.size == fold.validation.size
        sets.append(HeldOut(rows, slice(None) if every else np.searchsorted(rows, fold.validation)))
    return sets


def are_single(sets: Sequence[HeldOut], n_samples: int) -> bool:
    """Whether the sets are all samples, one by one."""
    if len(sets) != n_samples or any(held.rows.size != 1 for held in sets):
        return False
    return len({int(held.rows[0]) for held in sets}) == n_samples


@dataclass(frozen=True)
class SetFactor:
    """Of one set under one penalty, in the precision of the wide products: ``(I - S_ff)^-1 H_ff`` and
    ``(I - S_ff)^-1 r_f`` (None without an intercept), or ``(I - S_ff)^-1`` where residuals come first."""

    matrix: Floating
    constant: Floating | None = None


@dataclass(frozen=True)
class Leverage:
    """One penalty: its factors for every set. ``sets`` is empty where they are all samples, one by one; then
    ``diagonal`` holds h_ii and 1 - s_ii (2, n). ``residual``: they are for ``(I - S) y``, not for ``H y``."""

    alpha: float
    dtype: np.dtype[Any]
    sets: list[SetFactor]
    diagonal: Floating | None = None
    residual: bool = False


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

    def rest(self, rows: Rows) -> Floating:
        """``I - H_ff`` of some rows, float64, accurate where it is small."""
        ...

    def diagonal(self) -> tuple[Floating, Floating]:
        """``h_ii`` and ``1 - h_ii`` of every row, float64."""
        ...

    def residual_level(self) -> float | None:
        """The share of white noise that ``I - S`` leaves under the penalty (root mean square of directions),
        where residuals can be had without the cancellation of ``y - S y``; None where they cannot."""
        ...


def leverage(smoother: Smoother, alpha: float, sets: Sequence[HeldOut], at_once: int = 1) -> Leverage:
    """Factors of every set under ``alpha``, ``at_once`` of them side by side.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the samples that a set leaves do not determine the model (``alpha`` too small for their rank).
    """
    smoother.set_penalty(alpha)
    if are_single(sets, smoother.n_samples):
        h, rest = smoother.diagonal()
        if smoother.r is not None:
            rest = rest - smoother.r**2
        least = float(rest.min(initial=1.0))
        require_positive(least, alpha)
        return Leverage(alpha, _precision(smoother, 1.0 / least), [], np.stack([h, rest]))
    inverses = list(side_by_side([partial(_set_inverse, smoother, alpha, held) for held in sets], at_once))
    worst = max(1.0, *(magnification(inverse) for inverse in inverses))
    residual = takes_residuals(smoother, worst)
    dtype = smoother.dtype if residual else _precision(smoother, worst)
    factors = []
    for inverse, held in zip(inverses, sets, strict=True):
        r = None if smoother.r is None else smoother.r[held.rows]
        factors.append(SetFactor(inverse.astype(dtype)) if residual else prediction_factor(inverse, r, dtype))
    return Leverage(alpha, dtype, factors, residual=residual)


def magnification(inverse: Floating) -> float:
    """By how much a solve magnifies rounding at most: the largest norm of a row of ``(I - S_ff)^-1``."""
    return float(np.sqrt(np.einsum("ij,ij->i", inverse, inverse).max(initial=0.0)))


def takes_residuals(smoother: Smoother, worst: float) -> bool:
    """Whether residuals come first under the present penalty, whose solves magnify rounding by ``worst``."""
    level = smoother.residual_level()
    return worst > FLOAT32_LEVERAGE and level is not None and worst * level <= _FLOAT32_RESIDUAL


def prediction_factor(inverse: Floating, r: Floating | None, dtype: np.dtype[Any]) -> SetFactor:
    """``(I - S_ff)^-1 H_ff = (I - S_ff)^-1 - I - (I - S_ff)^-1 r_f r_f'``; ``inverse`` is overwritten."""
    constant = None
    if r is not None:
        constant = matmul(inverse, r[:, None])[:, 0]
        matmul(constant[:, None], -r[None], out=inverse, beta=1.0)
    inverse[np.diag_indices_from(inverse)] -= 1.0
    return SetFactor(inverse.astype(dtype, copy=False), None if constant is None else constant.astype(dtype))


def _precision(smoother: Smoother, worst: float) -> np.dtype[Any]:
    """Of the wide products; ``worst`` is the largest factor by which a solve magnifies their rounding."""
    exact = smoother.needs_float64 or worst > FLOAT32_LEVERAGE
    return np.dtype(np.float64) if exact else smoother.dtype


def _set_inverse(smoother: Smoother, alpha: float, held: HeldOut) -> Floating:
    return inverse_of(smoother.rest(held.rows), smoother.r, held, alpha)


def inverse_of(rest: Floating, r: Floating | None, held: HeldOut, alpha: float) -> Floating:
    """``(I - S_ff)^-1`` from the lower triangle of ``I - H_ff``, which is overwritten.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the samples outside the set do not determine the model.
    """
    if r is not None:
        part = r[held.rows]
        rest -= np.outer(part, part)
    return _inverse(rest, alpha)


def _inverse(a: Floating, alpha: float) -> Floating:
    with blas_threads_for(a.shape[0]):
        try:
            factor = cholesky(a)
        except np.linalg.LinAlgError:
            require_positive(-1.0, alpha)
        require_positive(float(factor.diagonal().min(initial=1.0)) ** 2, alpha)
        _cpu.cholesky_inverse(factor)
    out = np.empty_like(factor)
    _cpu.symmetric_rows(factor, 0, 1.0, 0.0, out, n_threads())
    return out


def require_positive(share: float, alpha: float) -> None:
    """``share``: the part of a held-out sample that the others do not explain, at the least."""
    if not share > 1e3 * np.finfo(np.float64).eps:
        raise np.linalg.LinAlgError(
            f"a held-out set is interpolated to working precision at alpha = {alpha:g}: the samples outside "
            "it do not determine the model"
        )


def held_out_predictions(
    leveraged: Leverage, number: int, smoothed: Floating, moved: Floating, r: Floating | None, out: Floating
) -> Floating:
    """q (T_f, v) of set ``number`` into ``out``: predictions are the training mean + q, in the scaled
    coordinates of the sample weights.

    ``smoothed`` holds the set's rows of ``H y``, or of ``(I - S) y`` where the factors are for residuals;
    ``moved`` those of y less the training mean; ``r`` the rows of the constant direction, if there is one.
    From ``(I - S_ff)^-1 = I + (I - S_ff)^-1 S_ff``:

        q = H y - (I - S_ff)^-1 (H_ff (y - m - H y) - r_f (r_f' H y))
    """
    factor = leveraged.sets[number]
    if leveraged.residual:
        np.copyto(out, moved)
        _cpu.gemm(factor.matrix, smoothed, out, alpha=-1.0, beta=1.0)
        return out
    np.copyto(out, smoothed)
    _cpu.gemm(factor.matrix, moved - smoothed, out, alpha=-1.0, beta=1.0)
    if factor.constant is not None and r is not None:
        along = matmul(r.astype(smoothed.dtype)[None], smoothed)
        matmul(factor.constant[:, None], along, out=out, beta=1.0)
    return out
