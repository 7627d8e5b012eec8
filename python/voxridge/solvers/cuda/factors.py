"""What leaving out one set takes, under one penalty, on a device: the twin of ``leverage`` in
:mod:`voxridge.solvers.leave_out`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from voxridge._threads import n_threads, side_by_side
from voxridge.solvers.cuda.session import Array, Floating, Session
from voxridge.solvers.cuda.smoother import DeviceSmoother
from voxridge.solvers.cuda.target_tile import DeviceSet
from voxridge.solvers.leave_out import (
    FLOAT32_LEVERAGE,
    inverse_of,
    magnification,
    prediction_factor,
    require_positive,
)

HOST_ORDER = 512  # sets up to this order are inverted by the host's cores, many at once
_AT_ONCE_BYTES = 256 * 2**20  # of small sets on their way to the host


@dataclass
class DeviceFactor:
    """Of the scored rows of one set: ``(I - S_ff)^-1 H_ff`` (S_f, T_f) and ``(I - S_ff)^-1 r_f`` (S_f,)."""

    matrix: Array
    constant: Array | None


@dataclass
class DeviceLeverage:
    """One penalty: its factors for every set, or, where every set is one sample, ``h_ii`` and ``1 - s_ii``.
    ``dtype`` is what scores need."""

    dtype: np.dtype[Any]
    sets: list[DeviceFactor]
    singles: tuple[Array, Array] | None = None


def device_leverage(
    session: Session,
    smoother: DeviceSmoother,
    alpha: float,
    sets: Sequence[DeviceSet],
    r: Floating | None,
    dtype: np.dtype[Any],
    *,
    single: bool,
) -> DeviceLeverage:
    """Factors of every set under ``alpha``, for tiles in ``dtype``.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the samples that a set leaves do not determine the model.
    UntrustedFactor
        If the penalised Gram is singular to working precision.
    """
    smoother.set_penalty(alpha)
    if single:
        h, rest = smoother.diagonal()
        least = float(rest.min(initial=1.0))
        require_positive(least, alpha)
        return DeviceLeverage(_precision(dtype, 1.0 / least), [], (session.up(h), session.up(rest)))
    inverses = _Inverses(session, smoother, alpha, r)
    found = inverses.of(sets)
    worst = max(1.0, *(magnified for _, magnified in found))
    precision = _precision(dtype, worst)
    factors = [
        inverses.factor(inverse, one, precision) for (inverse, _), one in zip(found, sets, strict=True)
    ]
    return DeviceLeverage(precision, factors)


def _precision(dtype: np.dtype[Any], worst: float) -> np.dtype[Any]:
    """See ``_precision`` of :mod:`voxridge.solvers.leave_out`. An ill-conditioned K does not count here: H is
    formed in float64 and rounded once, and it is the weights that cancel (kernel_smoother.py)."""
    return np.dtype(np.float64) if worst > FLOAT32_LEVERAGE else dtype


class _Inverses:
    """``(I - S_ff)^-1`` of the sets under one penalty: small ones on the host, others on the device."""

    def __init__(self, session: Session, smoother: DeviceSmoother, alpha: float, r: Floating | None) -> None:
        self.session, self.smoother, self.alpha, self.r = session, smoother, alpha, r

    def of(self, sets: Sequence[DeviceSet]) -> list[tuple[Any, float]]:
        """Inverse of each set, and by how much it magnifies rounding."""
        found: dict[int, tuple[Any, float]] = {}
        batch: list[int] = []
        for number, one in enumerate(sets):
            if one.held.rows.size > HOST_ORDER:
                found[number] = self._on_device(one)
                continue
            batch.append(number)
            if sum(8 * sets[i].held.rows.size ** 2 for i in batch) > _AT_ONCE_BYTES:
                found |= self._on_host(sets, batch)
                batch = []
        found |= self._on_host(sets, batch)
        return [found[number] for number in range(len(sets))]

    # --- small sets

    def _on_host(self, sets: Sequence[DeviceSet], numbers: list[int]) -> dict[int, tuple[Any, float]]:
        session, rests = self.session, []
        for number in numbers:
            m = sets[number].held.rows.size
            there = session.empty((m, m), np.float64)
            self.smoother.rest(sets[number].rows, there)
            rests.append(there)
        here = [session.down(rest) for rest in rests]
        jobs = [partial(self._inverted, rest, sets[i]) for rest, i in zip(here, numbers, strict=True)]
        return dict(zip(numbers, side_by_side(jobs, n_threads()), strict=True))

    def _inverted(self, rest: Floating, one: DeviceSet) -> tuple[Floating, float]:
        inverse = inverse_of(rest, None, one.held, self.alpha)
        return inverse, magnification(inverse)

    # --- large sets

    def _on_device(self, one: DeviceSet) -> tuple[Array, float]:
        session, ops, m = self.session, self.session.ops, one.held.rows.size
        lower = session.take("I - S", m, m, np.float64)
        self.smoother.rest(one.rows, lower)
        if ops.cholesky(lower, queue=session.queue):
            require_positive(-1.0, self.alpha)
        diagonal = session.empty((m,), np.float64)
        ops.get_diagonal(lower, diagonal, queue=session.queue)
        require_positive(float(session.down(diagonal).min(initial=1.0)) ** 2, self.alpha)
        ops.cholesky_inverse(lower, queue=session.queue)
        inverse = session.empty((m, m), np.float64)
        ops.symmetric_rows(lower, 0, 1.0, 0.0, inverse, queue=session.queue)
        squares = session.empty((2, m), np.float64)
        ops.column_moments(inverse, 0, m, squares[0], squares[1], queue=session.queue)
        return inverse, float(np.sqrt(session.down(squares)[1].max(initial=0.0)))

    # --- factors

    def factor(self, inverse: Any, one: DeviceSet, dtype: np.dtype[Any]) -> DeviceFactor:
        """In ``dtype``, its scored rows only; ``inverse`` is overwritten."""
        session = self.session
        if isinstance(inverse, np.ndarray):
            held = None if self.r is None else self.r[one.held.rows]
            made = prediction_factor(inverse, held, dtype)
            scored = one.held.scored
            constant = None if made.constant is None else session.up(made.constant[scored])
            matrix = session.aligned(one.n_scored, one.held.rows.size, dtype)
            session.ops.upload(np.ascontiguousarray(made.matrix[scored]), matrix, session.queue)
            return DeviceFactor(matrix, constant)
        return self._factor_on_device(inverse, one, dtype)

    def _factor_on_device(self, inverse: Array, one: DeviceSet, dtype: np.dtype[Any]) -> DeviceFactor:
        session, ops, m = self.session, self.session.ops, one.held.rows.size
        constant = None
        if self.r is not None:
            r = session.up(self.r[one.held.rows])
            product = session.empty((m, 1), np.float64)
            session.matmul(inverse, r.reshape(m, 1), product)
            ops.rank_one(inverse, -1.0, product.reshape(1, m)[0], r, queue=session.queue)
            column = session.empty((one.n_scored, 1), dtype)
            constant = self._scored(product, one, column).reshape(1, one.n_scored)[0]
        diagonal = session.empty((m,), np.float64)
        ops.get_diagonal(inverse, diagonal, queue=session.queue)
        ops.set_diagonal(inverse, diagonal, -1.0, queue=session.queue)
        matrix = session.aligned(one.n_scored, m, dtype)
        return DeviceFactor(self._scored(inverse, one, matrix), constant)

    def _scored(self, a: Array, one: DeviceSet, out: Array) -> Array:
        """The scored rows of ``a`` into ``out``, in its dtype."""
        session = self.session
        if one.places is not None:
            rows = session.empty((one.n_scored, a.shape[1]), np.float64)
            session.ops.take_rows(a, one.places, rows, queue=session.queue)
            a = rows
        session.ops.accumulate(1.0, a, 0.0, out, queue=session.queue)
        return out
