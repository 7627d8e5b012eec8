"""RidgeCV's fast path for folds: R^2 or correlation of every alpha from one product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxridge._linear_cv import FoldProblem, correlation, fold_scores, r2
from voxridge.solvers.dense import Centred, Float64Array, FloatArray, weighted_mean
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.fits import RidgeCVResult
from voxridge.solvers.folds import Fold
from voxridge.solvers.linalg import matmul
from voxridge.solvers.ridge import RidgeSolution, solve_ridge
from voxridge.solvers.ridge_cv import solve_ridge_cv
from voxridge.solvers.tiles import Targets
from voxridge.solvers.weights import coefficients


@dataclass(frozen=True)
class SpectralFit:
    """Scores (n_alphas, n_targets) of every target, and the refit that came with them."""

    problem: FoldProblem
    x: FloatArray
    x_mean: Float64Array | None
    result: RidgeCVResult
    scores: Float64Array

    def solution(self, alphas: Float64Array) -> RidgeSolution:
        """The fit to all samples for ``alphas`` (n_targets,).

        The refit used the alphas that were best with ties going to the largest and undefined scores counted
        as 0; targets for which the caller chose otherwise are solved again.
        """
        problem, result = self.problem, self.result
        assert result.weights is not None  # they are kept in memory
        coef = np.ascontiguousarray(coefficients(result.weights).T, dtype=self.x.dtype)
        intercept = result.intercept
        if self.x_mean is not None:
            intercept = intercept - matmul(coef.astype(np.float64), self.x_mean[:, None])[:, 0]
        intercept = intercept.astype(coef.dtype)
        other = np.flatnonzero(result.alpha != alphas)
        if other.size:
            again = solve_ridge(
                problem.x, problem.y[:, other], alphas[other], fit_intercept=problem.fit_intercept
            )
            coef[other], intercept[other] = again.coef, again.intercept
        return RidgeSolution(coef, intercept, f"{result.plan.side}-eigen")  # type: ignore[arg-type]


def spectral_fit(problem: FoldProblem, *, per_target: bool) -> SpectralFit | None:
    """The fast path where it applies and pays, else None.

    It applies to R^2 and correlation without sample weights, on folds that hold no sample twice, with
    alphas above the rounding error of the Gram matrix. It pays when one product per alpha, 2 T k flops a
    target for T held-out samples, would cost more than its 6 k^2.
    """
    if not applies(problem):
        return None
    if problem.device != "cpu":
        return run(problem, per_target=per_target)
    held_out = np.mean([test.size for _, test in problem.folds])
    k = min(problem.x.shape)
    return run(problem, per_target=per_target) if problem.alphas.size * held_out > 3 * k else None


def applies(problem: FoldProblem) -> bool:
    """Whether :func:`run` computes what ``problem`` asks for."""
    if problem.weight is not None or problem.score.metric not in (r2, correlation):
        return False
    if not all(_is_partition(train, test, problem.x.shape[0]) for train, test in problem.folds):
        return False
    squares = _sum_of_squares(problem.x, problem.fit_intercept)
    noise = max(problem.x.shape) * np.finfo(np.float64).eps * squares
    return squares > 0 and float(problem.alphas.min()) > noise


def run(problem: FoldProblem, *, per_target: bool) -> SpectralFit:
    """Scores and refit by :func:`voxridge.solvers.ridge_cv.solve_ridge_cv`."""
    n, n_targets = problem.y.shape
    dtype = problem.x.dtype
    x_mean = weighted_mean(problem.x, None) if problem.fit_intercept else None
    y_mean = weighted_mean(problem.y, None) if problem.fit_intercept else np.zeros(n_targets)
    # fold Grams are differences of sums; about the mean of all samples they lose no digits to an offset
    x = Centred(problem.x, x_mean, None).whole(dtype)
    result = solve_ridge_cv(
        DelayedDesign(x),
        Targets(
            n, n_targets, lambda begin, end: problem.y[:, begin:end], y_mean, np.ones(n_targets, dtype=bool)
        ),
        problem.alphas,
        [Fold(np.sort(train), np.sort(test)) for train, test in problem.folds],
        scoring="r2" if problem.score.metric is r2 else "correlation",
        fit_intercept=problem.fit_intercept,
        alpha_per_target=per_target,
        device=problem.device,
    )
    scores = np.array(result.cv_scores)
    constant = np.flatnonzero(_constant_when_held_out(problem))
    if constant.size:  # undefined scores follow scikit-learn's rules, which the metric functions know
        scores[:, constant] = fold_scores(problem.of_targets(constant), per_target=True)
    return SpectralFit(problem, x, x_mean, result, scores)


def _is_partition(train: NDArray[np.intp], test: NDArray[np.intp], n: int) -> bool:
    """No sample twice, on either side or across."""
    if min(train.min(), test.min()) < 0:
        return False
    return int(np.bincount(np.concatenate([train, test]), minlength=n).max()) == 1


def _sum_of_squares(x: FloatArray, centred: bool) -> float:
    """Trace of the Gram matrix, a bound on its largest eigenvalue; 0 for constant features if ``centred``."""
    design = Centred(x, weighted_mean(x, None) if centred else None, None)
    f64 = np.dtype(np.float64)
    return float(sum(np.vdot(b, b) for b in (design.block(r, slice(None), f64) for r in design.row_blocks())))


def _constant_when_held_out(problem: FoldProblem) -> NDArray[np.bool_]:
    """Targets (V,) that do not vary over some fold's held-out samples."""
    found = np.zeros(problem.y.shape[1], dtype=bool)
    for _, test in problem.folds:
        held_out = problem.y[test]
        found |= (held_out == held_out[0]).all(axis=0)
    return found
