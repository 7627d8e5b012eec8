"""Ridge with a penalty per target, chosen by cross-validation: one pass over the targets, a tile at a
time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.folds import Fold
from voxridge.solvers.linalg import matmul
from voxridge.solvers.plan import Plan, Problem, make_plan
from voxridge.solvers.rows import check_alphas
from voxridge.solvers.spectral import DualFolds, FoldFactor, PrimalFolds, Scoring, Spectrum
from voxridge.solvers.tiles import Targets, TileProducts
from voxridge.solvers.weights import DualWeights, PrimalWeights, Weights

Floating = NDArray[Any]
Report = Callable[[str, float], None]


@dataclass
class RidgeCVResult:
    """What :func:`solve_ridge_cv` returns. Arrays over targets have length n_targets; masked targets hold NaN
    (coefficients: 0)."""

    alphas: Floating
    alpha: Floating
    cv_scores: Floating  # (n_alphas, n_targets), mean over folds
    best_scores: Floating
    intercept: Floating
    plan: Plan
    weights: Weights
    n_edge: tuple[int, int] = (0, 0)  # targets at the smallest and at the largest penalty

    @property
    def edge_fraction(self) -> float:
        chosen = int(np.isfinite(self.alpha).sum())
        return sum(self.n_edge) / chosen if chosen and self.alphas.size > 1 else 0.0


def solve_ridge_cv(
    design: DelayedDesign,
    targets: Targets,
    alphas: Any,
    folds: Sequence[Fold],
    *,
    scoring: Scoring = "correlation",
    fit_intercept: bool = True,
    alpha_per_target: bool = True,
    solver: str = "auto",
    memory_limit: int | None = None,
    n_targets_batch: int | None = None,
    report: Report | None = None,
) -> RidgeCVResult:
    """Choose a penalty for every target by its mean held-out score, then refit on all samples.

    Minimises ``||y - b - X w||^2 + alpha ||w||^2`` with b unpenalised. The score of a penalty is the mean
    over folds of the held-out correlation or R2; **ties go to the larger penalty**. Every target is refitted
    once, with its own penalty.

    Parameters
    ----------
    design : DelayedDesign
        float32 or float64; its dtype is the working precision of everything as wide as the targets.
    targets : Targets
    alphas : sequence of float
        The grid, in any order, penalties as in scikit-learn (the loss adds ``alpha ||w||^2``). Zero needs
        full rank.
    folds : sequence of Fold
    scoring : "correlation" or "r2"
    alpha_per_target : bool
        False chooses one penalty for all targets, by the mean score over the valid ones.
    solver : "auto", "primal" or "dual"
    memory_limit : int, optional
        Bytes beside the inputs.
    report : callable, optional
        Called with what is being done and the fraction done.

    Returns
    -------
    RidgeCVResult

    Raises
    ------
    ValueError, MemoryError
        See :func:`check_alphas` and :func:`make_plan`.

    References
    ----------
    The spectral route: see :mod:`voxridge.solvers.spectral`.
    """
    grid = check_alphas(alphas)
    if scoring not in ("correlation", "r2"):
        raise ValueError(f'scoring={scoring!r} is not known here; use "correlation" or "r2"')
    if not folds:
        raise ValueError("folds is empty")
    problem = Problem(
        design.n_samples,
        design.n_columns,
        targets.n_targets,
        grid.size,
        folds,
        design.dtype.itemsize,
        targets.in_memory,
    )
    plan = make_plan(problem, solver=solver, memory_limit=memory_limit, n_targets_batch=n_targets_batch)
    fit = CrossValidatedFit(
        design,
        targets,
        grid,
        list(folds),
        scoring,
        fit_intercept,
        alpha_per_target,
        plan,
        report or (lambda step, done: None),
    )
    return fit.run()


@dataclass
class CrossValidatedFit:
    """The passes over the targets. Fold factors are made in groups that fit in memory; the refit joins the
    last group's pass."""

    design: DelayedDesign
    targets: Targets
    alphas: Floating
    folds: list[Fold]
    scoring: Scoring
    fit_intercept: bool
    alpha_per_target: bool
    plan: Plan
    report: Report
    scores: Floating = field(init=False)
    alpha: Floating = field(init=False)
    weights: Floating = field(init=False)
    intercept: Floating = field(init=False)
    buffers: dict[str, Floating] = field(init=False, default_factory=dict)

    def run(self) -> RidgeCVResult:
        v, dtype = self.targets.n_targets, self.design.dtype
        self.scores = np.zeros((self.alphas.size, v))
        self.alpha = np.full(v, np.nan)
        route = PrimalFolds if self.plan.route == "primal" else DualFolds
        self.engine = route(self.design, fit_intercept=self.fit_intercept, alpha_min=float(self.alphas.min()))
        size = self.design.n_columns if self.plan.route == "primal" else self.design.n_samples
        self.weights = np.empty((size, v), dtype=dtype)
        self.intercept = np.zeros(v)
        groups = [
            self.folds[i : i + self.plan.folds_per_pass]
            for i in range(0, len(self.folds), self.plan.folds_per_pass)
        ]
        refit_now = self.alpha_per_target
        for number, group in enumerate(groups):
            last = number == len(groups) - 1
            factors = self._factors(group, number)
            full = self._full() if last and refit_now else None
            self._pass(factors, full, "scoring and refitting" if full else "scoring")
            del factors
        if not refit_now:
            self._choose_one()
            self._pass([], self._full(), "refitting")
        return self._result()

    def _factors(self, group: list[Fold], number: int) -> list[FoldFactor]:
        factors = []
        for i, fold in enumerate(group):
            self.report("decomposing folds", (number * self.plan.folds_per_pass + i) / len(self.folds))
            factors.append(self.engine.factor(fold, self.scoring))
        return factors

    def _full(self) -> tuple[Spectrum, Floating]:
        spectrum, x_mean = self.engine.full()
        self.refit_vectors = spectrum.q_t.astype(self.design.dtype, copy=False)
        # In the dual, the mean over samples of X w is (X x_mean)' dual.
        if self.plan.route == "dual":
            mean = self.design.sums(self.design.everything()) / self.design.n_samples
            x_mean = self.design.xw(mean[:, None])[:, 0]
        return spectrum, x_mean

    def _pass(self, factors: list[FoldFactor], full: tuple[Spectrum, Floating] | None, name: str) -> None:
        for begin, end in self._tiles():
            self.report(name, begin / max(1, self.targets.n_targets))
            y = self.targets.tile(
                begin, end, self.take("y", self.design.n_samples, end - begin), self.fit_intercept
            )
            products = TileProducts(self, y, factors)
            for factor in factors:
                self.scores[:, begin:end] += products.scores(factor) / len(self.folds)
            if full is not None:
                if self.alpha_per_target:
                    self.alpha[begin:end] = self.alphas[_best(self.scores[:, begin:end], self.alphas)]
                self._refit(full, products, begin, end)
        self.report(name, 1.0)

    def _tiles(self) -> Iterator[tuple[int, int]]:
        for begin in range(0, self.targets.n_targets, self.plan.n_targets_batch):
            yield begin, min(begin + self.plan.n_targets_batch, self.targets.n_targets)

    def take(self, name: str, rows: int, cols: int, dtype: Any = None) -> Floating:
        """A contiguous (rows, cols) matrix in memory called ``name``, which every tile uses again."""
        buffer = self.buffers.get(name)
        if buffer is None or buffer.size < rows * cols:
            self.buffers[name] = buffer = np.empty(
                rows * self.plan.n_targets_batch, dtype=dtype or self.design.dtype
            )
        return buffer[: rows * cols].reshape(rows, cols)

    def _choose_one(self) -> None:
        valid = self.targets.valid
        mean = (
            self.scores[:, valid].mean(axis=1, keepdims=True)
            if valid.any()
            else np.zeros((self.alphas.size, 1))
        )
        self.alpha[:] = self.alphas[_best(mean, self.alphas)[0]]

    def _refit(self, full: tuple[Spectrum, Floating], products: TileProducts, begin: int, end: int) -> None:
        spectrum, x_mean = full
        z = self.take("z", spectrum.rank, end - begin)
        products.project_all(spectrum, z)
        _cpu.apply_penalty(z, spectrum.l, self.alpha[begin:end], n_threads())
        weights = self.weights[:, begin:end]
        matmul(self.refit_vectors, z, trans_a=True, out=weights)
        if self.fit_intercept:
            mean_prediction = matmul(x_mean.astype(weights.dtype)[None], weights)[0]
            self.intercept[begin:end] = self.targets.mean[begin:end] - mean_prediction

    def _result(self) -> RidgeCVResult:
        masked = ~self.targets.valid
        best = (
            _best(self.scores, self.alphas)
            if self.alpha_per_target
            else np.flatnonzero(self.alphas == self.alpha[:1])[:1]
        )
        best_scores = (
            self.scores[best, np.arange(self.targets.n_targets)] if self.targets.n_targets else np.empty(0)
        )
        n_edge = (
            int((self.alpha[~masked] == self.alphas.min()).sum()),
            int((self.alpha[~masked] == self.alphas.max()).sum()),
        )
        for array in (self.alpha, best_scores):
            array[masked] = np.nan
        self.scores[:, masked] = np.nan
        self.weights[:, masked] = 0
        self.intercept[masked] = np.nan
        weights = (
            PrimalWeights(self.weights, self.design.delays)
            if self.plan.route == "primal"
            else DualWeights(self.weights, self.design)
        )
        return RidgeCVResult(
            alphas=self.alphas,
            alpha=self.alpha,
            cv_scores=self.scores,
            best_scores=best_scores,
            intercept=self.intercept.astype(self.design.dtype),
            plan=self.plan,
            weights=weights,
            n_edge=n_edge,
        )


def _best(scores: Floating, alphas: Floating) -> NDArray[np.intp]:
    """Index of the best penalty for each target; ties go to the larger penalty."""
    largest_first = np.argsort(-alphas, kind="stable")
    best: NDArray[np.intp] = largest_first[np.argmax(scores[largest_first], axis=0)]
    return best
