"""Shapes that scores may take over the size of models, and how much a bend gains by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from voxridge.science._lines import Float64, gaussian_aic

ENDS = 3  # models on either side of a break
_RATES = np.geomspace(0.5, 20.0, 48)
_N_BREAKS = 48


@dataclass(frozen=True)
class Shape:
    """One shape fitted to the scores.

    Attributes
    ----------
    name : str
        "constant", "straight", "saturating" or "broken".
    n_parameters : int
        With the variance of the errors.
    rss, aic, aicc, weight : float
        Residual sum of squares, AIC, its small-sample form, and the Akaike weight from AICc.
    level, gain, bend : float
        ``score = level + gain * f(z; bend)``, z from 0 (smallest model) to 1 (largest).
    """

    name: str
    n_parameters: int
    rss: float
    aic: float
    aicc: float
    weight: float
    level: float
    gain: float
    bend: float

    def at(self, z: Float64) -> Float64:
        """The curve at z (n_points,)."""
        return np.asarray(self.level + self.gain * _basis(self.name, z, self.bend))


def _basis(name: str, z: Float64, bend: float) -> Float64:
    if name == "saturating":
        return np.asarray(-np.exp(-bend * z))
    if name == "broken":
        return np.minimum(z, bend)
    return z if name == "straight" else np.zeros_like(z)


def _breaks(z: Float64) -> Float64:
    """Break points with at least three models strictly below and three at or above."""
    ordered = np.sort(z)
    return np.linspace(ordered[ENDS - 1], ordered[-ENDS], _N_BREAKS + 1)[1:]


def _candidates(z: Float64) -> dict[str, tuple[Float64, Float64]]:
    """Bends of every shape that flattens, and its basis for each (n_bends, n_models)."""
    bends = {"saturating": _RATES, "broken": _breaks(z)}
    return {name: (grid, np.stack([_basis(name, z, bend) for bend in grid])) for name, grid in bends.items()}


def _explained(bases: Float64, scores: Float64) -> Float64:
    """Sum of squares that each basis explains with a positive slope: (n_bends, n_series)."""
    about = bases - bases.mean(axis=1, keepdims=True)
    about = about / np.linalg.norm(about, axis=1, keepdims=True)
    return np.asarray(np.maximum(about @ (scores - scores.mean(axis=0)), 0.0) ** 2)


def fit_shapes(z: Float64, scores: Float64) -> dict[str, Shape]:
    best = {"constant": (2, np.nan), "straight": (3, np.nan)}
    for name, (bends, bases) in _candidates(z).items():
        best[name] = 4, float(bends[int(np.argmax(_explained(bases, scores[:, None])[:, 0]))])
    n = len(z)
    fitted: dict[str, tuple[Any, ...]] = {}
    for name, (k, bend) in best.items():
        basis = _basis(name, z, bend)
        gain = 0.0
        if name != "constant":
            about = basis - basis.mean()
            gain = float(about @ scores / (about @ about))
            gain = max(gain, 0.0) if name != "straight" else gain
        level = float(scores.mean() - gain * basis.mean())
        rss = float(np.sum((scores - level - gain * basis) ** 2))
        aic = float(gaussian_aic(np.asarray(max(rss, 1e-300)), n, k))
        fitted[name] = k, rss, aic, aic + 2 * k * (k + 1) / (n - k - 1), level, gain, bend
    lowest = min(entry[3] for entry in fitted.values())
    likelihood = {name: np.exp(-(entry[3] - lowest) / 2) for name, entry in fitted.items()}
    total = sum(likelihood.values())
    return {
        name: Shape(name, k, rss, aic, aicc, float(likelihood[name] / total), level, gain, bend)
        for name, (k, rss, aic, aicc, level, gain, bend) in fitted.items()
    }


def _statistic(z: Float64, scores: Float64, bases: Float64) -> Float64:
    """log(RSS straight / RSS of the best shape that flattens) for each series (n_models, n_series)."""
    about = scores - scores.mean(axis=0)
    total = np.sum(about**2, axis=0)
    dz = z - z.mean()
    straight = total - (dz @ about) ** 2 / (dz @ dz)
    bent = total - _explained(bases, scores).max(axis=0)
    floor = 1e-14 * total + np.finfo(np.float64).tiny
    return np.asarray(np.log(np.maximum(straight, floor) / np.maximum(bent, floor)))


def simulated_p(z: Float64, scores: Float64, codes: Any, n_draws: int, rng: np.random.Generator) -> float:
    bases = np.concatenate([bases for _, bases in _candidates(z).values()])
    line = np.polynomial.Polynomial.fit(z, scores, 1)(z)
    shared, own = _error_variances(scores - line, codes)
    errors = rng.standard_normal((len(z), n_draws)) * np.sqrt(own)
    if shared > 0:
        errors += rng.standard_normal((int(codes.max()) + 1, n_draws))[codes] * np.sqrt(shared)
    seen = _statistic(z, scores[:, None], bases)[0]
    drawn = _statistic(z, line[:, None] + errors, bases)
    return float((1 + np.count_nonzero(drawn >= seen)) / (1 + n_draws))


def _error_variances(residuals: Float64, codes: Any) -> tuple[float, float]:
    """Variance that a family shares, and that of single models, by the method of moments."""
    n = len(residuals)
    total = float(residuals @ residuals) / (n - 2)
    if codes is None:
        return 0.0, total
    counts = np.bincount(codes).astype(np.float64)
    n_families = len(counts)
    if n_families < 2 or n_families == n:
        return 0.0, total
    means = np.bincount(codes, residuals) / counts
    inside = float(np.sum((residuals - means[codes]) ** 2)) / (n - n_families)
    between = float(np.sum(counts * means**2)) / (n_families - 1)
    size = (n - float(np.sum(counts**2)) / n) / (n_families - 1)
    shared = max(0.0, (between - inside) / size)
    return shared, inside if shared > 0 else total
