"""A fitted linear map, as features' weights or as samples' weights. Both predict; both give coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.linalg import matmul

Floating = NDArray[Any]


@dataclass
class PrimalWeights:
    """``X -> X coef`` with ``coef`` (p, n_targets)."""

    coef: Floating
    delays: tuple[int, ...]

    @property
    def n_features(self) -> int:
        return int(self.coef.shape[0]) // len(self.delays)

    def owned(self) -> PrimalWeights:
        """Weights that share no memory with the caller's features."""
        return self

    def coefficients(self) -> Floating:
        """(p, n_targets)."""
        return self.coef

    def predict(self, features: Floating, runs: tuple[int, ...]) -> Floating:
        """(n_samples, n_targets) without the intercept; each run from its own features only."""
        return DelayedDesign(features, self.delays, runs).xw(self.coef)


@dataclass
class DualWeights:
    """``X -> X X_train' dual`` with ``dual`` (n_train, n_targets): smaller than coefficients where there are
    more columns than samples."""

    dual: Floating
    train: DelayedDesign

    @property
    def delays(self) -> tuple[int, ...]:
        return self.train.delays

    @property
    def n_features(self) -> int:
        return int(self.train.features.shape[1])

    def owned(self) -> DualWeights:
        """Weights that share no memory with the caller's features: a fit must not change when they do."""
        features = self.train.features
        if features.base is None and features.flags.writeable:
            return self
        runs = np.diff(self.train.offsets).tolist()
        return DualWeights(self.dual, DelayedDesign(features.copy(), self.delays, runs))

    def coefficients(self) -> Floating:
        """(p, n_targets), formed here."""
        return self.train.xty(self.dual, self.train.everything())

    def predict(self, features: Floating, runs: tuple[int, ...]) -> Floating:
        """(n_samples, n_targets) without the intercept; each run from its own features only."""
        prediction = np.empty((features.shape[0], self.dual.shape[1]), dtype=self.dual.dtype)
        begin = 0
        for length in runs:
            run = DelayedDesign(features[begin : begin + length], self.delays)
            kernel = self.train.cross_kernel_of(run).astype(prediction.dtype, copy=False)
            matmul(kernel, self.dual, out=prediction[begin : begin + length])
            begin += length
        return prediction


Weights = PrimalWeights | DualWeights
