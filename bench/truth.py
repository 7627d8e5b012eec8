"""Who is right: cross-validated scores of some targets in float64, by textbook formulas, to hold everybody
against.

Every fold and penalty is solved from the eigendecomposition of the float64 Gram (or kernel, whichever is
smaller) of the centred training samples. With penalties of 1 and more, the condition it loses is far from
float64's limit. Nothing here shares code with the solvers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.problems import Problem

Floating = NDArray[Any]


def true_scores(problem: Problem, targets: NDArray[np.intp]) -> Floating:
    """(n_alphas, targets.size): mean correlation over folds, or minus the mean squared error of samples
    left out.

    ``problem``: with its delayed design in memory.
    """
    x, y = problem.x.astype(np.float64), problem.y[:, targets].astype(np.float64)
    if problem.leaves_one_out:
        return _one_out(x, y, problem.alphas)
    scores = np.zeros((problem.alphas.size, targets.size))
    for train, test in problem.folds:
        predictions = _predictions(x[train], y[train], x[test], problem.alphas)
        for row, prediction in zip(scores, predictions, strict=True):
            row += _score(y[test], prediction, problem.scoring) / len(problem.folds)
    return scores


def _predictions(x: Floating, y: Floating, x_test: Floating, alphas: Floating) -> list[Floating]:
    """Of the test samples, for every penalty."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, x_test, y = x - x_mean, x_test - x_mean, y - y_mean
    if x.shape[1] <= x.shape[0]:
        l, v = np.linalg.eigh(x.T @ x)
        left, right = x_test @ v, v.T @ (x.T @ y)
    else:
        l, v = np.linalg.eigh(x @ x.T)
        left, right = x_test @ (x.T @ v), v.T @ y
    l = np.maximum(l, 0)
    return [left @ (right / (l + alpha)[:, None]) + y_mean for alpha in alphas]


def _one_out(x: Floating, y: Floating, alphas: Floating) -> Floating:
    """Residuals over one minus the leverage; the intercept's share of it is 1 / n."""
    n = x.shape[0]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    l, v = np.linalg.eigh(x @ x.T)
    l = np.maximum(l, 0)
    rotated, scores = v.T @ y, np.empty((alphas.size, y.shape[1]))
    for row, alpha in zip(scores, alphas, strict=True):
        kept = l / (l + alpha)
        left_out = (y - v @ (kept[:, None] * rotated)) / (1 - 1 / n - v**2 @ kept)[:, None]
        row[:] = -np.mean(left_out**2, axis=0)
    return scores


def _score(y: Floating, prediction: Floating, scoring: str) -> Floating:
    centred = y - y.mean(axis=0)
    if scoring == "r2":
        return np.asarray(1 - np.square(y - prediction).sum(axis=0) / np.square(centred).sum(axis=0))
    moved = prediction - prediction.mean(axis=0)
    norm = np.sqrt(np.square(centred).sum(axis=0) * np.square(moved).sum(axis=0))
    return np.asarray((centred * moved).sum(axis=0) / np.where(norm > 0, norm, np.inf))


def some_targets(alphas: list[Floating], n_targets: int, count: int = 200) -> NDArray[np.intp]:
    """Half of them evenly spaced, half from those that competitors gave different penalties, as far as there
    are such."""
    spaced = np.unique(np.linspace(0, n_targets - 1, min(count // 2, n_targets)).astype(np.intp))
    differ = np.zeros(n_targets, dtype=bool)
    for alpha in alphas[1:]:
        differ |= np.abs(np.log(alpha / alphas[0])) > 1e-3
    disputed = np.flatnonzero(differ)
    if disputed.size > count // 2:
        disputed = disputed[np.linspace(0, disputed.size - 1, count // 2).astype(np.intp)]
    return np.union1d(spaced, disputed)


def judge(
    truth: Floating, targets: NDArray[np.intp], alphas: Floating, alpha: Floating, score: Floating
) -> dict[str, float]:
    """How far from the truth a competitor's scores are at its own penalties, how often its penalty is the
    best, and what its choices lose at most. ``alpha``, ``score``: of all targets."""
    chosen = np.abs(np.log(alpha[targets, None] / alphas)).argmin(axis=1)
    everyone = np.arange(targets.size)
    at_choice, best = truth[chosen, everyone], truth.max(axis=0)
    return {
        "true_targets": float(targets.size),
        "score_error": float(np.abs(score[targets] - at_choice).max()),
        "right_alpha": float(np.mean(truth.argmax(axis=0) == chosen)),
        "score_lost": float((best - at_choice).max()),
    }
