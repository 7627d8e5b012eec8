"""The spectral route as a method: fold factors in groups that fit in memory, every penalty at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads, side_by_side
from voxridge.solvers.bases import constant_direction, feature_means, products_with_mean
from voxridge.solvers.buffers import Buffers
from voxridge.solvers.costs import PANEL
from voxridge.solvers.dense import blocks
from voxridge.solvers.design import Design
from voxridge.solvers.dual_weights import expand, remove_constant, weights_dtype
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring
from voxridge.solvers.linalg import matmul
from voxridge.solvers.method import Report
from voxridge.solvers.plan import Plan
from voxridge.solvers.principal import GainTooLarge, PrincipalFolds
from voxridge.solvers.spectral import DualFolds, FoldFactor, PrimalFolds
from voxridge.solvers.spectral_panel import Panel
from voxridge.solvers.trust import full_rank
from voxridge.solvers.weights import DualBasis

Floating = NDArray[Any]
T = TypeVar("T")


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
        turned = plan.turned and fit_intercept  # without an intercept means would be rounded, too
        route = (PrincipalFolds if turned else PrimalFolds) if self.primal else DualFolds
        self._options: dict[str, Any] = {"fit_intercept": fit_intercept, "alpha_min": float(alphas.min())}
        self.engine: PrimalFolds | DualFolds = route(design, **self._options)
        self.dual = not self.primal
        self._step, self._at_once, self._panels = plan.folds_per_pass, plan.folds_at_once, plan.panels_at_once
        self.n_passes = -(-len(self.folds) // self._step)
        self._seen = 0  # folds of the passes so far
        self.buffers = Buffers()
        self.factors: list[FoldFactor] = []
        self.product_dtype = design.dtype  # of the pass: what the most demanding of its folds needs
        self._components = plan.components
        self.basis: DualBasis | None = None
        self._full: Any = None
        self.n_dependent = 0

    @property
    def weights_size(self) -> int:
        return self.design.n_samples if self.dual else self.design.n_columns

    @property
    def weights_dtype(self) -> np.dtype[Any]:
        if isinstance(self.engine, PrimalFolds) or self._components:
            return self.design.dtype
        return weights_dtype(self.engine.norm, float(self.alphas.min()), self.design.dtype)

    def begin(self, number: int, report: Report) -> None:
        self.panels: list[Panel] = []
        self.buffers.clear()  # the next pass makes its factors first
        begin = number * self._step
        folds = self.folds[begin : begin + self._step]
        if not self._made(folds, begin, report):
            self.factors.clear()
            del self.engine  # which holds the components
            self.engine = PrimalFolds(self.design, **self._options)
            self._decompose(folds, begin, report)
        self._seen = begin + len(folds)

    def _made(self, folds: list[Fold], begin: int, report: Report) -> bool:
        """Make the factors of ``folds``; False where features must not be turned."""
        try:
            if self.engine.turned:  # a resumed fit: passes that are done may have left the components
                for fold in self.folds[self._seen : begin]:
                    self.engine.factor(fold, self.scoring)
            self._decompose(folds, begin, report)
        except GainTooLarge:
            return False
        return True

    def _decompose(self, folds: list[Fold], begin: int, report: Report) -> None:
        """Factors of ``folds``, which begin at number ``begin``."""
        self.factors.clear()
        self.product_dtype = self.design.dtype
        jobs = [partial(self.engine.factor, fold, self.scoring) for fold in folds]
        together = self._at_once if self._at_once <= len(jobs) else 1
        report("decomposing folds", begin / len(self.folds))
        for i, factor in enumerate(side_by_side(jobs, together), begin + 1):
            dtype = self.engine.product_dtype(factor.spectrum)
            factor.spectrum = factor.spectrum.astype(dtype)
            self.factors.append(factor)
            self._need(dtype)
            report("decomposing folds", i / len(self.folds))
        if together > 1:
            _cpu.trim_memory()  # what the threads have freed stays theirs otherwise

    def _need(self, dtype: np.dtype[Any]) -> None:
        """Products of this pass run in ``dtype`` at the least."""
        self.product_dtype = np.promote_types(self.product_dtype, dtype)
        for factor in self.factors:
            factor.spectrum = factor.spectrum.astype(self.product_dtype)

    def load(self, y: Floating) -> None:
        # Threads that share a product wait for each other, and those of BLAS stand in the way of ours.
        core_each = 1 < self._panels <= -(-y.shape[1] // PANEL)
        step = PANEL if core_each else max(y.shape[1], 1)
        self.columns = list(blocks(y.shape[1], step))
        self.panels = [Panel(self, y[:, some], number) for number, some in enumerate(self.columns)]

    def _each(self, work: Callable[[Panel, slice], T]) -> list[T]:
        """``work(panel, its columns)`` of every panel, in their order."""
        jobs = [partial(work, *both) for both in zip(self.panels, self.columns, strict=True)]
        return list(side_by_side(jobs, min(self._panels, len(jobs))))

    def score(self, to_beat: Floating | None = None) -> tuple[NDArray[np.intp], Floating]:
        found = self._each(lambda panel, columns: panel.scores())
        return np.arange(self.alphas.size), np.concatenate(found, axis=1)

    def begin_refit(self, alpha: float) -> None:
        if self._full is not None:
            return
        spectrum, x_mean = self.engine.full()
        rank = full_rank(self.design.n_columns, self.design.n_samples, self.fit_intercept)
        self.n_dependent = rank - spectrum.rank
        r = constant_direction(self.design, None, self.fit_intercept)
        if self.dual:
            x_mean = products_with_mean(self.design, feature_means(self.design, None, self.fit_intercept))
        if self._components:
            self.basis = DualBasis(spectrum.q_t, r)
            x_mean = self.basis.turn(x_mean[None].copy())[0]
        vectors = {np.dtype(np.float64): spectrum.q_t} if self.weights_dtype == np.float64 else {}
        if not self.engine.turned:
            self._need(self.engine.product_dtype(spectrum))
        narrow = spectrum.astype(self.product_dtype)
        vectors[self.design.dtype] = narrow.q_t.astype(self.design.dtype, copy=False)
        self._full = narrow, x_mean, vectors, r

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        means = self._each(lambda panel, some: self._refit_panel(panel, alphas[some], out[:, some]))
        return np.concatenate(means)

    def _refit_panel(self, panel: Panel, alphas: Floating, out: Floating) -> Floating:
        spectrum, x_mean, vectors, r = self._full
        if self._components:
            out = out[: spectrum.rank]
            panel.components(spectrum, out)
            _cpu.apply_penalty(out, spectrum.l, alphas, n_threads())
            return _mean(x_mean, out)
        z = panel.components(spectrum)
        _cpu.apply_penalty(z, spectrum.l, alphas, n_threads())
        if isinstance(self.engine, DualFolds):
            expand(vectors.__getitem__, z, alphas, self.engine.norm, out)
            remove_constant(out, r)
        else:
            matmul(vectors[z.dtype], z, trans_a=True, out=out)
        return _mean(x_mean, out)


def _mean(x_mean: Floating, weights: Floating) -> Floating:
    """The mean prediction (v,)."""
    return np.asarray(matmul(x_mean.astype(weights.dtype)[None], weights)[0], dtype=np.float64)
