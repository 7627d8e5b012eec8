"""The leave-out factors of a whole grid of penalties from products that the penalties share.

``I - H_ff = V_f diag(filter) V_f'`` is linear in the filter of the penalty, so it is a sum of the matrices of
a few shared filters (:mod:`voxridge.solvers.filters`), a product each, where every penalty would need one of
its own. A relative error of the filters is one of the matrix: ``alpha / (l + alpha)`` is summed where it may
be small, and ``l / (l + alpha)`` where it is, so that neither is what is left of a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxridge._threads import side_by_side
from voxridge.solvers.buffers import Buffers
from voxridge.solvers.costs import LEVERAGE_ROWS
from voxridge.solvers.eigen_smoother import EigenSmoother
from voxridge.solvers.filters import FEWEST, SMALLEST, FilterBank, filter_bank
from voxridge.solvers.leave_out import (
    FLOAT32_LEVERAGE,
    HeldOut,
    Leverage,
    SetFactor,
    are_single,
    inverse_of,
    leverage,
    magnification,
    prediction_factor,
    takes_residuals,
)
from voxridge.solvers.linalg import gram, matmul

Floating = NDArray[Any]

_LARGE = 0.3  # the least alpha / (l + alpha) of penalties whose l / (l + alpha) is summed instead
_TOLERANCE = 2.0 * float(np.finfo(np.float32).eps)  # of filters; solves magnify it


class _Group(NamedTuple):
    """Penalties by their places, their compressed filters, and whether those are l / (l + alpha)."""

    places: NDArray[np.intp]
    bank: FilterBank
    shrinks: bool


def leverages(
    smoother: EigenSmoother, alphas: Sequence[float], sets: Sequence[HeldOut], at_once: int
) -> list[Leverage]:
    """:func:`~voxridge.solvers.leave_out.leverage` of every penalty; errors as there."""
    if not _share(smoother, len(alphas), sets):
        return [leverage(smoother, alpha, sets, at_once) for alpha in alphas]
    groups = _groups(smoother, np.asarray(alphas))
    jobs = [partial(_set_factors, smoother, alphas, groups, held) for held in sets]
    found = list(side_by_side(jobs, at_once))
    return [
        _leverage(smoother, alpha, sets, [of_set[place] for of_set in found], at_once)
        for place, alpha in enumerate(alphas)
    ]


def _share(smoother: EigenSmoother, n_alphas: int, sets: Sequence[HeldOut]) -> bool:
    """V must span everything; float64 and few penalties gain nothing."""
    enough = n_alphas >= FEWEST and smoother.rank >= SMALLEST
    narrow = smoother.complete and smoother.dtype == np.float32
    return enough and narrow and not are_single(sets, smoother.n_samples)


def _groups(smoother: EigenSmoother, alphas: Floating) -> list[_Group]:
    used, groups = smoother.used, []
    keep = np.stack([smoother.keep(float(alpha))[used] for alpha in alphas])
    shrink = np.stack([smoother.shrink(float(alpha))[used] for alpha in alphas])
    large = keep.min(axis=1) >= _LARGE
    for shrinks, filters in ((False, keep), (True, shrink)):
        places = np.flatnonzero(large == shrinks)
        if places.size:
            bank = filter_bank(filters[places], smoother.values[used], np.float32, _TOLERANCE)
            groups.append(_Group(places, bank, shrinks))
    return groups


def _set_factors(
    smoother: EigenSmoother, alphas: Sequence[float], groups: Sequence[_Group], held: HeldOut
) -> list[tuple[SetFactor, float]]:
    """Of every penalty, and by how much its solves magnify rounding."""
    r = None if smoother.r is None else smoother.r[held.rows]
    found: dict[int, tuple[SetFactor, float]] = {}
    with smoother.spares.borrow() as buffers:
        for group in groups:
            for place, rest in zip(group.places, _rests(smoother, group, held, buffers), strict=True):
                inverse = inverse_of(rest, smoother.r, held, alphas[place])
                worst = magnification(inverse)
                found[int(place)] = prediction_factor(inverse, r, smoother.dtype), worst
    return [found[place] for place in range(len(alphas))]


def _rests(smoother: EigenSmoother, group: _Group, held: HeldOut, buffers: Buffers) -> Floating:
    """Lower triangles of ``I - H_ff``, (n_penalties, T, T), in buffers."""
    part, used = smoother.part(held.rows), smoother.used
    signal, size = part[used], part.shape[1]
    rests = buffers.take("rests", group.places.size, size * size, np.float64).reshape(-1, size, size)
    for begin in range(0, size, LEVERAGE_ROWS):
        end = min(begin + LEVERAGE_ROWS, size)
        products = _products(group.bank, signal, begin, end, buffers)
        sums = buffers.take("sums", group.places.size, products.shape[1], np.float64)
        matmul(group.bank.coefficients, products, out=sums)
        rests[:, begin:end, :end] = sums.reshape(-1, end - begin, end)
    if group.shrinks:
        np.negative(rests, out=rests)
        rests[:, np.arange(size), np.arange(size)] += 1.0
    else:  # of what carries no signal, alpha / (l + alpha) is 1
        rests += gram(np.ascontiguousarray(np.delete(part, used, axis=0)))
    return rests


def _products(bank: FilterBank, signal: Floating, begin: int, end: int, buffers: Buffers) -> Floating:
    """``V_f diag(shared) V_f'`` of every shared filter, rows [begin, end) as far as the diagonal, flat."""
    products = buffers.take("products", bank.n_shared, (end - begin) * end, np.float64)
    rows = iter(products)
    for cluster in bank.clusters:
        mine = signal[cluster.begin : cluster.end]
        scaled = buffers.take("scaled", mine.shape[0], end - begin, np.float64)
        for shared in cluster.shared:
            np.multiply(mine[:, begin:end], shared[:, None], out=scaled)
            matmul(scaled, mine[:, :end], trans_a=True, out=next(rows).reshape(end - begin, end))
    return products


def _leverage(
    smoother: EigenSmoother,
    alpha: float,
    sets: Sequence[HeldOut],
    found: Sequence[tuple[SetFactor, float]],
    at_once: int,
) -> Leverage:
    """One penalty's, from what was found for its sets; anew where float32 will not do."""
    smoother.set_penalty(alpha)
    worst = max(1.0, *(magnified for _, magnified in found))
    if worst <= FLOAT32_LEVERAGE:
        return Leverage(alpha, smoother.dtype, [factor for factor, _ in found])
    if not takes_residuals(smoother, worst):
        return leverage(smoother, alpha, sets, at_once)
    return Leverage(
        alpha,
        smoother.dtype,
        [_residual_factor(factor, smoother.r, held) for (factor, _), held in zip(found, sets, strict=True)],
        residual=True,
    )


def _residual_factor(factor: SetFactor, r: Floating | None, held: HeldOut) -> SetFactor:
    """``(I - S_ff)^-1`` from ``(I - S_ff)^-1 H_ff``, in place."""
    inverse = factor.matrix
    if r is not None and factor.constant is not None:
        inverse += np.outer(factor.constant, r[held.rows].astype(inverse.dtype))
    inverse[np.diag_indices_from(inverse)] += 1.0
    return SetFactor(inverse)
