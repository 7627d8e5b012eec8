"""The spectral route as a method: fold factors in groups that fit in memory, every penalty at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads, side_by_side
from voxridge.solvers.bases import constant_direction, feature_means, products_with_mean
from voxridge.solvers.design import Design
from voxridge.solvers.dual_weights import expand, remove_constant, weights_dtype
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring
from voxridge.solvers.linalg import matmul
from voxridge.solvers.method import Buffers, Report
from voxridge.solvers.plan import Plan
from voxridge.solvers.spectral import DualFolds, FoldFactor, PrimalFolds
from voxridge.solvers.tiles import TileProducts
from voxridge.solvers.trust import full_rank

Floating = NDArray[Any]


class SpectralMethod:
    """See :class:`~voxridge.solvers.method.Method` and :mod:`voxridge.solvers.spectral`."""

    running = False

    def __init__(
        self,
        design: Design,
        alphas: Floating,
        folds: Sequence[Fold],
        plan: Plan,
        *,
        scoring: Scoring,
        fit_intercept: bool,
    ) -> None:
        self.design, self.alphas, self.scoring, self.fit_intercept = design, alphas, scoring, fit_intercept
        self.folds = list(folds)
        self.primal = plan.side == "primal"
        route = PrimalFolds if self.primal else DualFolds
        self.engine = route(design, fit_intercept=fit_intercept, alpha_min=float(alphas.min()))
        self.dual = not self.primal
        self._step, self._at_once = plan.folds_per_pass, plan.folds_at_once
        self.n_passes = -(-len(self.folds) // self._step)
        self.buffers = Buffers()
        self.factors: list[FoldFactor] = []
        self._full: Any = None
        self.n_dependent = 0

    @property
    def weights_size(self) -> int:
        return self.design.n_samples if self.dual else self.design.n_columns

    @property
    def weights_dtype(self) -> np.dtype[Any]:
        if isinstance(self.engine, PrimalFolds):
            return self.design.dtype
        return weights_dtype(self.engine.norm, float(self.alphas.min()), self.design.dtype)

    def take(self, name: str, rows: int, cols: int, dtype: Any = None) -> Floating:
        return self.buffers.take(name, rows, cols, dtype or self.design.dtype)

    def begin(self, number: int, report: Report) -> None:
        self.factors.clear()  # in place: the last tile's products look at the same list
        self.products: TileProducts | None = None
        self.buffers.clear()  # the next pass makes its factors first
        if number and self.engine.product_dtype is None:  # a resumed fit: the first spectrum decides it
            self.engine.narrowed(self.engine.factor(self.folds[0], self.scoring).spectrum)
        begin = number * self._step
        folds = self.folds[begin : begin + self._step]
        jobs = [partial(self.engine.factor, fold, self.scoring) for fold in folds]
        together = self._at_once if self._at_once <= len(jobs) else 1
        report("decomposing folds", begin / len(self.folds))
        for i, factor in enumerate(side_by_side(jobs, together), begin + 1):
            factor.spectrum = self.engine.narrowed(factor.spectrum)
            self.factors.append(factor)
            report("decomposing folds", i / len(self.folds))
        if together > 1:
            _cpu.trim_memory()  # what the threads have freed stays theirs otherwise

    def load(self, y: Floating) -> None:
        self.products = TileProducts(self, y, self.factors)

    def score(self) -> tuple[NDArray[np.intp], Floating]:
        assert self.products is not None
        total = np.zeros((self.alphas.size, self.products.width))
        for factor in self.factors:
            total += self.products.scores(factor) / len(self.folds)
        return np.arange(self.alphas.size), total

    def begin_refit(self, alpha: float) -> None:
        if self._full is not None:
            return
        spectrum, x_mean = self.engine.full()
        rank = full_rank(self.design.n_columns, self.design.n_samples, self.fit_intercept)
        self.n_dependent = rank - spectrum.rank
        if self.dual:
            x_mean = products_with_mean(self.design, feature_means(self.design, None, self.fit_intercept))
        vectors = {np.dtype(np.float64): spectrum.q_t} if self.weights_dtype == np.float64 else {}
        narrow = spectrum.astype(self.engine.product_dtype)
        vectors[self.design.dtype] = narrow.q_t.astype(self.design.dtype, copy=False)
        self._full = narrow, x_mean, vectors

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        assert self.products is not None
        spectrum, x_mean, vectors = self._full
        z = self.take("z", spectrum.rank, out.shape[1])
        self.products.project_all(spectrum, z)
        _cpu.apply_penalty(z, spectrum.l, alphas, n_threads())
        if isinstance(self.engine, DualFolds):
            expand(vectors.__getitem__, z, alphas, self.engine.norm, out)
            remove_constant(out, constant_direction(self.design, None, self.fit_intercept))
        else:
            matmul(vectors[z.dtype], z, trans_a=True, out=out)
        return np.asarray(matmul(x_mean.astype(out.dtype)[None], out)[0], dtype=np.float64)
