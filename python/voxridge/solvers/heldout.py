"""Held-out scores from sums: products, norms and variations that the routes form without keeping
predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floating = NDArray[Any]
Scoring = Literal["correlation", "r2"]

_CONSTANT = 1e-13  # share of the sum of squares that float64 sums leave of a constant
NOTHING = 1e-20  # share of the targets' sum of squares below which predictions are rounding only


def variation(sums: Floating, squares: Floating, count: float) -> Floating:
    """``sum w (y - mean)^2`` (v,) from the weighted sums, the sums of squares and the sum of weights; 0 where
    y is constant."""
    about: Floating = squares - sums**2 / count
    about[about < _CONSTANT * squares] = 0.0
    return about


def correlation(products: Floating, norms: Floating, y_variation: Floating) -> Floating:
    """``products / sqrt(norms * y_variation)``; 0 where the target or the prediction is constant."""
    scale = np.sqrt(np.maximum(norms, 0.0) * y_variation)
    return np.asarray(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0))


def r2(residual: Floating, y_variation: Floating) -> Floating:
    """``1 - residual / y_variation``; 0 where the target is constant over the scored rows."""
    return np.asarray(
        1.0 - np.divide(residual, y_variation, out=np.ones_like(residual), where=y_variation > 0)
    )


@dataclass(frozen=True)
class TargetMoments:
    """Weighted sums of one tile's targets over the scored rows of a set, and their training means, (v,)
    float64."""

    count: float
    sums: Floating
    squares: Floating
    train_mean: Floating

    def of(self, columns: slice) -> TargetMoments:
        """Those of some of the targets."""
        parts = (self.sums[columns], self.squares[columns], self.train_mean[columns])
        return TargetMoments(self.count, *parts)

    def scores(self, moments: Floating, scoring: Scoring) -> Floating:
        """Scores (v,) of predictions ``train_mean + q`` from ``moments`` (3, v): sums of q, q^2 and q y."""
        q, qq, qy = moments
        about = variation(self.sums, self.squares, self.count)
        if scoring == "correlation":
            spread = variation(q, qq, self.count)
            spread[qq <= NOTHING * self.squares] = 0.0
            return correlation(qy - q * self.sums / self.count, spread, about)
        m = self.train_mean
        residual = self.squares - 2 * m * self.sums + self.count * m**2 - 2 * (qy - m * q) + qq
        return r2(residual, about)
