"""scikit-learn: with folds, the loop a user writes, because its own RidgeCV refuses a penalty per target with
folds; where one sample is left out, that RidgeCV."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.adapters.base import Floating, Result
from bench.problems import Problem
from bench.shapes import Shape

_MOST_FLOPS = 1e14  # some minutes on a few cores


class ScikitLearn:
    name = "sklearn"
    takes_delays = False

    def available(self) -> bool:
        return True

    def refusal(self, shape: Shape) -> str:
        if shape.leaves_one_out:
            return ""
        n, p = shape.n_samples, shape.n_columns
        one_fit = 2.0 * n * p * min(n, p) + 4.0 * n * p * shape.n_targets
        flops = one_fit * shape.n_alphas * (shape.n_folds + 1)
        if flops < _MOST_FLOPS:
            return ""
        return f"a fit for every fold and penalty: {flops:.1e} operations, hours on a few cores"

    def run(self, problem: Problem) -> Result:
        return _leave_one_out(problem) if problem.leaves_one_out else _folds(problem)


def _leave_one_out(problem: Problem) -> Result:
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(problem.alphas, alpha_per_target=True).fit(problem.x, problem.y)
    return Result(np.asarray(model.alpha_), np.asarray(model.best_score_), "primal", model.predict)


def _folds(problem: Problem) -> Result:
    from sklearn.linear_model import Ridge

    x, y = problem.x, problem.y
    alphas = np.sort(problem.alphas)[::-1]  # argmax takes the first of equals: ties go to the larger penalty
    scores = np.zeros((alphas.size, y.shape[1]))
    for train, test in problem.folds:
        x_train, y_train, x_test, y_test = x[train], y[train], x[test], y[test]
        for row, alpha in zip(scores, alphas, strict=True):
            model: Any = Ridge(alpha).fit(x_train, y_train)
            row += score(y_test, x_test @ model.coef_.T, model.intercept_, problem.scoring)
    scores /= len(problem.folds)
    best = scores.argmax(axis=0)
    weights = np.empty((x.shape[1], y.shape[1]), dtype=x.dtype)
    intercept = np.empty(y.shape[1], dtype=x.dtype)
    for i in np.unique(best):
        chosen = best == i
        model = Ridge(alphas[i]).fit(x, y[:, chosen])
        weights[:, chosen], intercept[chosen] = np.atleast_2d(model.coef_).T, model.intercept_
    best_scores = scores[best, np.arange(best.size)]
    return Result(alphas[best], best_scores, "primal", lambda features: features @ weights + intercept)


def score(y: Floating, prediction: Floating, intercept: Floating, scoring: str) -> Floating:
    """Score of each target.

    The intercept does not change a correlation; added in float32, it would drown what a large penalty leaves.
    """
    if scoring == "r2":
        from sklearn.metrics import r2_score

        return np.asarray(r2_score(y, prediction + intercept, multioutput="raw_values"))
    y, prediction = y - y.mean(axis=0), prediction - prediction.mean(axis=0)
    norm = np.sqrt(np.square(y).sum(axis=0) * np.square(prediction).sum(axis=0))
    scores: Floating = np.divide((y * prediction).sum(axis=0), norm, out=np.zeros_like(norm), where=norm > 0)
    return scores
