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
from voxridge.solvers.rows import check_alphas, n_rows
from voxridge.solvers.spectral import DualFolds, FoldFactor, PrimalFolds, Scoring, Spectrum, heldout_scores
from voxridge.solvers.weights import DualWeights, PrimalWeights, Weights

Floating = NDArray[Any]
ReadTargets = Callable[[int, int], Floating]
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


@dataclass
class Targets:
    """Targets read a tile of columns at a time.

    ``read(begin, end)`` gives (n_samples, end - begin); ``mean`` (float64) is taken off where there is an
    intercept; targets that are not ``valid`` are replaced by zeros, so the others see the same arithmetic
    whatever was masked.
    """

    n_samples: int
    n_targets: int
    read: ReadTargets
    mean: Floating
    valid: NDArray[np.bool_]
    in_memory: bool = True

    def tile(self, begin: int, end: int, out: Floating, centre: bool) -> Floating:
        block = self.read(begin, end)
        if centre:
            np.subtract(block, self.mean[begin:end].astype(out.dtype), out=out, casting="same_kind")
        else:
            np.copyto(out, block, casting="same_kind")
        out[:, ~self.valid[begin:end]] = 0
        return out


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
    fit = _Fit(
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
class _Fit:
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


class TileProducts:
    """Products of one tile of targets with the design, each row of the data used once for all folds."""

    def __init__(self, fit: _Fit, y: Floating, factors: list[FoldFactor]) -> None:
        self.fit, self.y, self.factors = fit, y, factors
        self.primal = fit.plan.route == "primal"
        self.width = y.shape[1]
        self.dtype = fit.engine.product_dtype
        if self.primal:
            self._held_out()

    def _take(self, name: str, rows: int) -> Floating:
        return self.fit.take(name, rows, self.width, self.dtype)

    def _held_out(self) -> None:
        """X_f'Y_f of every fold; their sum is X'Y where the folds of all passes are these and cover every
        sample once."""
        design, p = self.fit.design, self.fit.design.n_columns
        self.exact_y = self.y
        if self.dtype != self.y.dtype:
            self.exact_y = self._take("exact y", design.n_samples)
            np.copyto(self.exact_y, self.y)
        self.held_out = {}
        for number, factor in enumerate(self.factors):
            self.held_out[id(factor)] = design.xty(
                self.exact_y, factor.validation, self._take(f"held out {number}", p)
            )
        self.total = self._take("total", p)
        if self._covers_once():
            np.copyto(self.total, self.held_out[id(self.factors[0])])
            for factor in self.factors[1:]:
                self.total += self.held_out[id(factor)]
        else:
            design.xty(self.exact_y, design.everything(), self.total)

    def _covers_once(self) -> bool:
        rows = sorted(pair for factor in self.factors for pair in factor.validation)
        ends = [0] + [end for _, end in rows]
        return (
            bool(rows) and [begin for begin, _ in rows] == ends[:-1] and ends[-1] == self.fit.design.n_samples
        )

    def scores(self, factor: FoldFactor) -> Floating:
        fit, k = self.fit, factor.spectrum.rank
        sums, squares = _moments(self.y, factor.validation)
        train_sums = _moments(self.y, factor.train)[0]
        train_mean = train_sums / n_rows(factor.train) if fit.fit_intercept else np.zeros(self.width)
        z, c = fit.take("z", k, self.width), fit.take("c", k, self.width)
        self._project_train(factor, train_sums, z)
        self._project_held_out(factor, sums, c)
        if fit.scoring == "r2" and fit.fit_intercept:
            _add_outer(c, -factor.a.sum(axis=0, dtype=np.float64), train_mean)
        work = fit.take("lz", k, self.width), fit.take("nz", k, self.width)
        return heldout_scores(factor, z, c, sums, squares, train_mean, fit.alphas, fit.scoring, work)

    def _project_train(self, factor: FoldFactor, train_sums: Floating, z: Floating) -> None:
        """z = Q' of the centred X_train'Y_train (primal) or of Y_train (dual: Q is orthogonal to the constant
        already)."""
        q_t = factor.spectrum.q_t
        if not self.primal:
            return _project_rows(q_t, self.y, factor.train, z)
        train = self._take("train", q_t.shape[1])
        if (
            2 * n_rows(factor.train) < self.y.shape[0]
        ):  # a small part of the whole would drown in the rounding of the difference
            self.fit.design.xty(self.exact_y, factor.train, train)
        else:
            np.subtract(self.total, self.held_out[id(factor)], out=train)
            if factor.purged:
                train -= self.fit.design.xty(self.exact_y, factor.purged)
        if self.fit.fit_intercept:
            _add_outer(train, -factor.x_mean, train_sums)
        self._project(q_t, train, z)

    def _project(self, q_t: Floating, c: Floating, z: Floating) -> None:
        """z = Q' c, the product in its own dtype."""
        exact = z if z.dtype == c.dtype else self._take("exact z", q_t.shape[0])
        matmul(q_t, c, out=exact)
        if exact is not z:
            np.copyto(z, exact, casting="same_kind")

    def _project_held_out(self, factor: FoldFactor, sums: Floating, c: Floating) -> None:
        """c = A'Y_val, through the rows of A or through X_val'Y_val, whichever is fewer."""
        if self.primal and factor.a.shape[0] >= factor.spectrum.q_t.shape[1] and self.dtype == c.dtype:
            matmul(factor.spectrum.q_t, self.held_out[id(factor)], out=c)
            _add_outer(c, -factor.shift, sums)
            return
        first = 0
        for begin, end in factor.validation:
            a = factor.a[first : first + end - begin]
            matmul(a, self.y[begin:end], trans_a=True, out=c, beta=0.0 if first == 0 else 1.0)
            first += end - begin

    def project_all(self, spectrum: Spectrum, z: Floating) -> None:
        """z = Q' of the centred X'Y (primal) or of Y (dual), all samples."""
        if self.primal:
            self._project(
                spectrum.q_t, self.total, z
            )  # the mean of y is 0 where there is an intercept: nothing else to centre
        else:
            matmul(spectrum.q_t, self.y, out=z)


def _project_rows(q_t: Floating, y: Floating, ranges: list[tuple[int, int]], z: Floating) -> None:
    if len(ranges) > 32:  # scattered rows: one product on a copy beats many thin ones
        matmul(q_t, np.concatenate([y[begin:end] for begin, end in ranges]), out=z)
        return
    first = 0
    for begin, end in ranges:
        columns = q_t[:, first : first + end - begin]
        matmul(columns, y[begin:end], out=z, beta=0.0 if first == 0 else 1.0)
        first += end - begin


def _add_outer(out: Floating, left: Floating, right: Floating) -> None:
    """out += left right'."""
    matmul(left.astype(out.dtype)[:, None], right.astype(out.dtype)[None], out=out, beta=1.0)


def _moments(y: Floating, ranges: list[tuple[int, int]]) -> tuple[Floating, Floating]:
    sums, squares = np.empty(y.shape[1]), np.empty(y.shape[1])
    _cpu.column_moments(y, ranges, sums, squares, n_threads())
    return sums, squares


def _best(scores: Floating, alphas: Floating) -> NDArray[np.intp]:
    """Index of the best penalty for each target; ties go to the larger penalty."""
    largest_first = np.argsort(-alphas, kind="stable")
    best: NDArray[np.intp] = largest_first[np.argmax(scores[largest_first], axis=0)]
    return best
