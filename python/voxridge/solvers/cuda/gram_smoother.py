"""H of a centred Gram, p x p: the twin of :class:`voxridge.solvers.cholesky.GramSmoother`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from voxridge.solvers.cuda.design import DeviceDesign
from voxridge.solvers.cuda.inverse import DeviceInverse
from voxridge.solvers.cuda.session import Array, Floating
from voxridge.solvers.cuda.target_tile import TargetTile

_SAMPLES = 4096  # whose Z is formed at once


@dataclass
class HeldFactor:
    """Lower Cholesky factor (p, p) of the penalised Gram, float64."""

    alpha: float
    factor: Array


class GramSmootherOnDevice:
    """``H = X_c (G + alpha I)^-1 X_c'`` of a design with more samples than columns. With ``G + alpha I = L
    L'``, ``H_ff = Z_f' Z_f`` for ``Z = L^-1 X_c'``, which is formed for some samples at a time."""

    def __init__(self, design: DeviceDesign) -> None:
        session = self.session = design.session
        self.design, self.r = design, design.r
        self.n, self.p = design.host.n_samples, design.host.n_columns
        self.everything = design.host.everything()
        self._mean = session.up(design.x_mean)
        self._r = None if design.r is None else session.up(design.r)
        self._ones = session.up(np.ones(self.n))
        self.inverse = DeviceInverse(session, self._centred_gram())
        self.norm = self.inverse.norm

    def _centred_gram(self) -> Array:
        design, session, root = self.design, self.session, self.design.root
        if root is None:
            gram = design.gram(self.everything)
            if design.fit_intercept:
                session.ops.rank_one(gram, -float(self.n), self._mean, self._mean, queue=session.queue)
            return gram
        gram = session.empty((self.p, self.p), np.float64)
        session.ops.zero(gram, session.queue)
        for rows in self._some_samples():
            x = design.columns(rows, "some columns")
            session.matmul(x, x, gram, trans_b=True, beta=1.0)
        return gram

    def _some_samples(self) -> list[Array]:
        every = np.arange(self.n)
        return [self.session.rows(every[i : i + _SAMPLES]) for i in range(0, self.n, _SAMPLES)]

    def set_penalty(self, alpha: float) -> None:
        self.inverse.factorise(alpha, invert=False)

    def _solved(self, rows: Array, name: str) -> Array:
        """Z of some samples, (p, n_rows)."""
        z = self.design.columns(rows, name)
        self.session.ops.solve_lower(self.inverse.matrix, z, queue=self.session.queue)
        return z

    def rest(self, rows: Array, out: Array) -> None:
        session, m = self.session, rows.shape[0]
        for i in range(0, m, _SAMPLES):
            left = self._solved(rows[i : i + _SAMPLES], "left")
            for j in range(0, m, _SAMPLES):
                right = left if i == j else self._solved(rows[j : j + _SAMPLES], "right")
                block = out[i : i + left.shape[1], j : j + right.shape[1]]
                session.matmul(left, right, block, trans_a=True, alpha=-1.0)
        diagonal = session.empty((m,), np.float64)
        session.ops.get_diagonal(out, diagonal, queue=session.queue)
        session.ops.set_diagonal(out, diagonal, 1.0, queue=session.queue)
        if self._r is not None:
            mine = session.empty((m, 1), np.float64)
            session.ops.take_rows(self._r.reshape(self.n, 1), rows, mine, queue=session.queue)
            r = mine.reshape(1, m)[0]
            session.ops.rank_one(out, -1.0, r, r, queue=session.queue)

    def diagonal(self) -> tuple[Floating, Floating]:
        session, found = self.session, []
        for rows in self._some_samples():
            z = self._solved(rows, "left")
            sums = session.empty((2, z.shape[1]), np.float64)
            session.ops.column_moments(z, 0, self.p, sums[0], sums[1], queue=session.queue)
            found.append(session.down(sums)[1])
        h = np.concatenate(found)
        return h, 1.0 - h if self.r is None else 1.0 - h - self.r**2

    def hold(self, dtype: Any) -> HeldFactor:
        factor = self.session.empty((self.p, self.p), np.float64)
        self.session.ops.copy(self.inverse.matrix, factor, self.session.queue)
        return HeldFactor(self.inverse.alpha, factor)

    def _coefficients(self, held: HeldFactor, tile: TargetTile) -> Array:
        """``(G + alpha I)^-1 X_c'y`` (p, v) float64."""
        if tile.coefficients_of is held:
            return tile.take("coefficients", self.p, np.float64)
        session = self.session
        out = tile.take("coefficients", self.p, np.float64)
        session.ops.copy(self._products(tile), out, session.queue)
        session.ops.cholesky_solve(held.factor, out, queue=session.queue)
        tile.coefficients_of = held
        return out

    def _products(self, tile: TargetTile) -> Array:
        """``X_c'`` of the scaled tile, (p, v) float64, made once."""
        session = self.session
        out = tile.take("products", self.p, np.float64)
        if tile.has_products:
            return out
        y = tile.scaled(np.float64)
        if tile.root is not None:
            weighted = tile.take("weighted", self.n, np.float64)
            session.ops.moved_rows(y, None, tile.root, None, None, weighted, queue=session.queue)
            y = weighted
        self.design.xty(y, self.everything, out)
        if self.design.fit_intercept:
            session.ops.rank_one(out, -1.0, self._mean, tile.sums_there, queue=session.queue)
        tile.has_products = True
        return out

    def smooth(self, held: HeldFactor, tile: TargetTile, dtype: Any, *, exact: bool) -> Array:
        """``exact`` is not asked for: the products with the features keep the precision of ``dtype``."""
        session, coef = self.session, self._coefficients(held, tile)
        narrow = tile.cast(coef, "coefficients", dtype)
        out = tile.take("smoothed", self.n, dtype)
        self.design.xw(narrow, self.everything, out)
        if self.design.fit_intercept:
            along = tile.take("along", 1, np.float64)
            session.matmul(self._mean.reshape(1, self.p), coef, along)
            session.ops.rank_one(out, -1.0, self._ones, along[0], queue=session.queue)
        if tile.root is not None:
            session.ops.scale(out, tile.root, None, queue=session.queue)
        return out

    def weights(self, held: HeldFactor, tile: TargetTile, dtype: Any) -> Array:
        """Coefficients (p, v)."""
        return tile.cast(self._coefficients(held, tile), "weights cast", dtype)
