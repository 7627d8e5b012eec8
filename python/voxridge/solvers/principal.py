"""The primal spectral route on principal components instead of features.

Products with features round the strong directions and the weak ones at the level of the strong ones, so
ill-conditioned features need float64. The components ``Z = (X - mean) Q`` of all samples, each a column of
its own, are rounded at their own level: then float32 does for X'Y, for the folds' ``Q'(X'Y)`` and for the
held-out rows, at any condition number, as long as the training samples of every fold span what the others lie
in (:meth:`~voxridge.solvers.spectrum.Spectrum.gain`). Z is as large as the delayed design, which no other
route holds; the plan says whether there is room for it. The refit comes for free: in these coordinates the
Gram of all samples is diagonal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.design import DelayedDesign, Design
from voxridge.solvers.rows import Ranges, n_rows
from voxridge.solvers.spectral import PrimalFolds
from voxridge.solvers.spectrum import Spectrum
from voxridge.solvers.trust import MAX_FLOAT32_GAIN

Floating = NDArray[Any]

_ROWS = 512  # rows of the design that are turned at a time: small enough for the heap to reuse


class GainTooLarge(Exception):
    """A fold would magnify the rounding of the components too much: features have to stay as they are."""


class PrincipalFolds(PrimalFolds):
    """Fold factors as those of :class:`~voxridge.solvers.spectral.PrimalFolds`, of the components."""

    turned = True

    def __init__(self, design: Design, *, fit_intercept: bool, alpha_min: float) -> None:
        super().__init__(design, fit_intercept=fit_intercept, alpha_min=alpha_min)
        spectrum, mean = super().full()
        self.whole = spectrum.astype(design.dtype), mean
        self.design = turn(design, spectrum.q_t, mean)
        self.total_sums = self.design.sums(self.design.everything())

    def full(self) -> tuple[Spectrum, Floating]:
        """Spectrum and means of the features, all samples."""
        return self.whole

    def product_dtype(self, spectrum: Spectrum) -> np.dtype[Any]:
        """Of Z'Y and Q'(Z'Y)."""
        return self.design.dtype

    def _subtract_from_total(self, g: Floating) -> None:
        np.negative(g, out=g)
        g[np.diag_indices_from(g)] += self.whole[0].l

    def _rows(self, spectrum: Spectrum, ranges: Ranges) -> Floating:
        gain = spectrum.gain(self.whole[0].l, self.alpha_min)
        if gain > MAX_FLOAT32_GAIN:
            raise GainTooLarge(gain)
        a = self._in_eigenbasis(spectrum, ranges, self.design.dtype)
        self._require_small_offsets(spectrum, ranges, a)
        return a

    def _require_small_offsets(self, spectrum: Spectrum, ranges: Ranges, a: Floating) -> None:
        """Rows are rounded before their mean is taken off: in a run far from the others that would show."""
        count = n_rows(ranges)
        square = np.zeros(self.design.n_columns)
        for begin, end in ranges:
            rows = self.design.rows(begin, end)
            square += np.einsum("ij,ij->j", rows, rows)
        rounded = np.einsum("ij,ij,j->i", spectrum.q_t, spectrum.q_t, square)
        kept = count * a.var(axis=0) + self.alpha_min * count / self.design.n_samples
        gain = float(np.sqrt(np.mean(rounded / kept))) if rounded.size else 1.0
        if gain > MAX_FLOAT32_GAIN:
            raise GainTooLarge(gain)


def turn(design: Design, q_t: Floating, mean: Floating) -> DelayedDesign:
    """``(X - mean) Q`` in the dtype of the design, made in float64; ``q_t`` (k, p)."""
    q = np.ascontiguousarray(q_t.T)
    shift = mean @ q
    out = np.empty((design.n_samples, q.shape[1]), dtype=design.dtype)
    for begin in range(0, design.n_samples, _ROWS):
        end = min(begin + _ROWS, design.n_samples)
        np.subtract(design.xw(q, [(begin, end)]), shift, out=out[begin:end], casting="same_kind")
    return DelayedDesign(out)
