"""The Cholesky routes as methods: weights of a penalty are kept while its factor lasts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.bases import (
    centred_gram,
    centred_kernel,
    constant_direction,
    feature_means,
    products_with_mean,
)
from voxridge.solvers.cholesky import GramSmoother, KernelSmoother
from voxridge.solvers.dual_weights import remove_constant, weights_dtype
from voxridge.solvers.heldout import TargetMoments
from voxridge.solvers.leave_out import Leverage, leverage
from voxridge.solvers.leave_out_method import LeaveOutMethod, Part, Sums

Floating = NDArray[Any]


class CholeskyLeaveOut(LeaveOutMethod):
    """One factorisation per penalty inside one matrix; a pass is a penalty."""

    running = True
    smoother: KernelSmoother | GramSmoother

    def factorise(self, alphas: list[float]) -> list[Leverage]:
        return [leverage(self.smoother, alpha, self.sets) for alpha in alphas]

    def begin_refit(self, alpha: float) -> None:
        self.smoother.set_penalty(alpha)

    def sums(self, targets: list[TargetMoments]) -> Iterator[Sums]:
        everyone = Part(slice(0, self.design.n_samples), range(len(self.sets)), is_set=False)
        columns = slice(0, self._y.shape[1])
        for place, leveraged in enumerate(self._leverages):
            block = self.smooth(leveraged)[None]
            yield from self._part_sums((place,), everyone, columns, block, targets, self.buffers)

    @abstractmethod
    def smooth(self, leveraged: Leverage) -> Floating:
        """``H y`` of the scaled tile, in the precision that the penalty needs."""


class DualCholesky(CholeskyLeaveOut):
    """Weights are dual coefficients ``(y - H y) / alpha``. Where K is ill-conditioned they are kept in
    float64: they hold all that K does not explain, which the products with X must cancel."""

    dual = True

    @cached_property
    def smoother(self) -> KernelSmoother:  # type: ignore[override]
        kernel = centred_kernel(self.design, fit_intercept=self.fit_intercept, root=self.root)
        mean = feature_means(self.design, self.root, self.fit_intercept)
        self._x_mean = products_with_mean(self.design, mean)
        r = constant_direction(self.design, self.root, self.fit_intercept)
        return KernelSmoother(kernel, dtype=self.design.dtype, root=self.root, r=r)

    @property
    def weights_dtype(self) -> np.dtype[Any]:
        return weights_dtype(self.smoother.inverse.norm, float(self.alphas.min()), self.design.dtype)

    def load(self, y: Floating) -> None:
        super().load(y)
        self._smoothed: Floating | None = None

    def smooth(self, leveraged: Leverage) -> Floating:
        y = self.scaled(leveraged.dtype)
        self._smoothed = self.smoother.smooth(y, self._take("hy", y.shape[0], y.dtype))
        return self._smoothed

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        smoothed = self._smoothed
        if smoothed is None or smoothed.dtype != out.dtype:
            y = self.scaled(out.dtype)
            smoothed = self.smoother.smooth(y, self._take("hy", y.shape[0], y.dtype))
        np.subtract(self.scaled(smoothed.dtype), smoothed, out=out)
        remove_constant(out, self.smoother.r)
        if self.root is not None:
            out *= self.root.astype(out.dtype)[:, None]
        out /= out.dtype.type(self.smoother.inverse.alpha)
        return self.mean_prediction(out)


class PrimalCholesky(CholeskyLeaveOut):
    """Weights are coefficients, from which H y follows."""

    dual = False

    @cached_property
    def smoother(self) -> GramSmoother:  # type: ignore[override]
        gram, self._x_mean = centred_gram(self.design, fit_intercept=self.fit_intercept, root=self.root)
        r = constant_direction(self.design, self.root, self.fit_intercept)
        return GramSmoother(gram, self.design, self._x_mean, root=self.root, r=r)

    def load(self, y: Floating) -> None:
        super().load(y)
        self._coef: Floating | None = None

    def smooth(self, leveraged: Leverage) -> Floating:
        self._coef = self.smoother.coefficients(self.scaled(self.design.dtype))
        return self.smoother.smooth(self._coef, self._take("hy", self._y.shape[0], leveraged.dtype))

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        coef = (
            self.smoother.coefficients(self.scaled(self.design.dtype)) if self._coef is None else self._coef
        )
        np.copyto(out, coef, casting="same_kind")
        return self.mean_prediction(out)
