"""The smoother H of an eigendecomposition or an SVD, for every penalty."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.buffers import Spares
from voxridge.solvers.leave_out import Leverage, Rows
from voxridge.solvers.linalg import gram, matmul

Floating = NDArray[Any]

_SUBTRACTED = 1e-3  # the least alpha / (l + alpha) that 1 - l / (l + alpha) gives to 13 digits


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
        self.spares = Spares()  # what `rest` works in
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

    def rest(self, rows: Rows) -> Floating:
        if self.complete and self.kept.min(initial=1.0) < _SUBTRACTED:
            return self._weighted_gram(rows, self.kept)
        rest = self._weighted_gram(rows, self.shrunk)
        np.negative(rest, out=rest)
        rest[np.diag_indices_from(rest)] += 1.0
        return rest

    def _weighted_gram(self, rows: Rows, weights: Floating) -> Floating:
        """``V_f diag(weights) V_f'``."""
        part = self.part(rows)
        with self.spares.borrow() as buffers:  # new pages would take longer than the product
            scaled = buffers.take("scaled", part.shape[0], part.shape[1], np.float64)
            np.multiply(part, np.sqrt(weights)[:, None], out=scaled)
            return gram(scaled)

    def part(self, rows: Rows) -> Floating:
        """V_f' (k, T); a view where the rows lie together."""
        together = rows.size > 0 and rows[-1] - rows[0] == rows.size - 1
        return self.v_t[:, rows[0] : rows[-1] + 1] if together else np.take(self.v_t, rows, axis=1)

    def diagonal(self) -> tuple[Floating, Floating]:
        square = self.v_t**2
        h = self.shrunk @ square
        return h, (self.kept @ square if self.complete else 1.0 - h)

    def residual_level(self) -> float | None:
        """V must span everything but the constant direction, whose part of y the intercept takes."""
        outside = int((self.values <= 0).sum()) - int(self.r is not None)
        if not self.complete or outside > 0 or self.rank == 0:
            return None
        return float(np.sqrt(np.mean(self.kept[self.used] ** 2)))

    def filters(self, leverages: Sequence[Leverage]) -> Floating:
        """What ``smoothed`` of :func:`held_out_predictions` keeps of the components that carry signal,
        (n_leverages, rank)."""
        rows = [self.keep(one.alpha) if one.residual else self.shrink(one.alpha) for one in leverages]
        return np.stack(rows)[:, self.used]

    @cached_property
    def used(self) -> slice:
        """The components that carry signal; they lie together."""
        places = np.flatnonzero(self.values > 0)
        return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)

    def project(self, y: Floating, out: Floating | None = None) -> Floating:
        """``z = V'y`` (k, v) in the dtype of ``y``."""
        return matmul(self.wide(y.dtype), y, out=out)
