"""Independent references for the tests: float64 textbook code, problem generators and the tolerance policy.

Nothing in here shares code with the solvers it judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floating = NDArray[Any]

# Policy: relative to the scale of the answer, floor[dtype] * slack. The floor is what the format and the
# products of a few thousand terms allow; the slack is for what the problem amplifies (condition,
# cancellation) and is given where a test uses it, with its reason.
_FLOOR = {np.dtype(np.float64): 1e-13, np.dtype(np.float32): 2e-6}


def tolerance(dtype: Any, slack: float = 1.0) -> float:
    """Largest accepted error relative to the scale of the answer."""
    return _FLOOR[np.dtype(dtype)] * slack


def relative_error(actual: Any, expected: Any) -> float:
    """``max |actual - expected| / max |expected|`` in float64."""
    expected = np.asarray(expected, dtype=np.float64)
    if expected.size == 0:
        return 0.0
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(np.asarray(actual, dtype=np.float64) - expected).max() / scale)


def delayed_matrix(features: Floating, delays: Sequence[int], runs: Sequence[int]) -> Floating:
    """The delayed design, element by element, float64: X[t, (i, j)] = features[t - delays[i], j] inside the
    run of t, else 0."""
    n, p = features.shape
    design = np.zeros((n, len(delays) * p))
    start = 0
    for length in runs:
        for t in range(start, start + length):
            for i, delay in enumerate(delays):
                if start <= t - delay < start + length:
                    design[t, i * p : (i + 1) * p] = features[t - delay]
        start += length
    return design


def textbook_ridge(
    x: Floating, y: Floating, alpha: Any, fit_intercept: bool = True
) -> tuple[Floating, Floating]:
    """(coef (p, v), intercept (v,)) of ridge with one penalty per target, by the SVD of the centred design,
    float64."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    x_mean = x.mean(axis=0) if fit_intercept else np.zeros(x.shape[1])
    y_mean = y.mean(axis=0) if fit_intercept else np.zeros(y.shape[1])
    u, s, v_t = np.linalg.svd(x - x_mean, full_matrices=False)
    # An exactly singular direction carries rounding only; with alpha near 0 it would be blown up.
    kept = s > (s[0] if s.size else 0.0) * max(x.shape) * np.finfo(np.float64).eps
    u, s, v_t = u[:, kept], s[kept], v_t[kept]
    shrink = s[:, None] / (s[:, None] ** 2 + np.broadcast_to(alpha, y.shape[1]))
    coef: Floating = v_t.T @ (shrink * (u.T @ (y - y_mean)))
    return coef, y_mean - x_mean @ coef


def textbook_scores(
    x: Floating,
    y: Floating,
    alphas: Iterable[float],
    folds: Iterable[tuple[Any, Any]],
    scoring: str,
    fit_intercept: bool = True,
) -> Floating:
    """Mean held-out score (n_alphas, v), a fit for every fold and penalty, float64."""
    x, y, folds = np.asarray(x, np.float64), np.asarray(y, np.float64), list(folds)
    alphas = list(alphas)
    scores = np.zeros((len(alphas), y.shape[1]))
    for train, test in folds:
        for a, alpha in enumerate(alphas):
            coef, intercept = textbook_ridge(x[train], y[train], alpha, fit_intercept)
            scores[a] += textbook_score(y[test], x[test] @ coef + intercept, scoring) / len(folds)
    return scores


def textbook_score(y: Floating, prediction: Floating, scoring: str) -> Floating:
    """Correlation or R2 of each column."""
    centred = y - y.mean(axis=0)
    if scoring == "r2":
        return np.asarray(1 - ((y - prediction) ** 2).sum(axis=0) / (centred**2).sum(axis=0))
    moved = prediction - prediction.mean(axis=0)
    scale = np.sqrt((moved**2).sum(axis=0) * (centred**2).sum(axis=0))
    correlation: Floating = np.divide(
        (moved * centred).sum(axis=0), scale, out=np.zeros(y.shape[1]), where=scale > 0
    )
    return correlation


DESIGNS = ("generic", "ill-conditioned", "rank-deficient", "duplicated", "orthonormal")


def make_design(kind: str, n: int, p: int, seed: int = 0) -> Floating:
    """(n, p) float64 features of one of the kinds that break solvers.

    generic: independent normal; ill-conditioned: Gram spectrum over 8 decades; rank-deficient: rank min(n, p)
    // 2; duplicated: every feature twice; orthonormal: X'X = I (or XX' = I).
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    if kind == "generic":
        return x
    k = min(n, p)
    u, _, v_t = np.linalg.svd(x, full_matrices=False)
    if kind == "ill-conditioned":
        return np.asarray((u * np.logspace(0, -4, k)) @ v_t * np.sqrt(n))
    if kind == "rank-deficient":
        s = np.where(np.arange(k) < k // 2, 1.0, 0.0)
        return np.asarray((u * s) @ v_t * np.sqrt(n))
    if kind == "duplicated":
        return np.concatenate([x[:, : (p + 1) // 2], x[:, : p // 2]], axis=1)
    if kind == "orthonormal":
        return np.asarray(u @ v_t)
    raise ValueError(f"kind={kind!r} is not one of {DESIGNS}")


def make_responses(x: Floating, n_targets: int, noise: float = 1.0, seed: int = 0) -> Floating:
    """(n, n_targets) float64: a linear response of unit variance plus noise, with means that differ."""
    rng = np.random.default_rng(seed + 1)
    signal = x @ rng.standard_normal((x.shape[1], n_targets))
    signal /= np.maximum(signal.std(axis=0), np.finfo(np.float64).tiny)
    return np.asarray(signal + noise * rng.standard_normal(signal.shape) + rng.standard_normal(n_targets))
