"""The spectral route: one eigendecomposition a fold, every penalty for every target from one product.

For one fold let the centred training Gram be ``Q diag(l) Q'`` (primal: of the features; dual: of the
samples). With ``z = Q' C_train``, the held-out design in the eigenbasis ``A = X_val Q``, ``M = A'A``, ``c =
A' Y_val`` and ``d_i(alpha) = 1 / (l_i + alpha)``

    pred . y   = sum_i d_i c_i z_i
    |pred|^2   = sum_ij M_ij z_i z_j d_i d_j

and since ``d_i d_j = (d_i - d_j) / (l_j - l_i)``, the second needs one k x k x n_targets product whatever the
number of penalties (csrc/core/spectral_scores.hpp states the op). Eigenvalues below ``k eps l_max`` are
dropped: they carry rounding only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.design import Design
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import NOTHING, Scoring, correlation, r2, variation
from voxridge.solvers.linalg import gram, matmul
from voxridge.solvers.rows import Ranges, n_rows, ranges_of
from voxridge.solvers.spectrum import Spectrum, decompose
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION, full_rank

Floating = NDArray[Any]
Route = Literal["primal", "dual"]

_ROUNDINGS = 16.0  # of the mean prediction, which a constant one may vary by


@dataclass
class FoldFactor:
    """All that scoring a tile of targets on one fold needs."""

    spectrum: Spectrum
    train: Ranges
    validation: Ranges
    a: Floating  # (T_f, k) held-out design in the eigenbasis, centred as the score asks
    shift: Floating  # (k,) what was subtracted from every row of X_val Q
    x_mean: Floating  # (p,) training means; empty in the dual
    form: Any
    mean_l: float
    purged: Ranges  # neither trained on nor scored
    offset: Floating | None = None  # (k,) what centring took off predictions that no intercept had centred


class PrimalFolds:
    """Fold factors from the p x p Gram: training Gram = total - held out, centred by the training means."""

    route: Route = "primal"
    turned = False  # the features are as they were given

    def __init__(self, design: Design, *, fit_intercept: bool, alpha_min: float) -> None:
        self.design, self.fit_intercept, self.alpha_min = design, fit_intercept, alpha_min
        self.total_gram: Floating = design.gram(design.everything())
        self.total_sums = design.sums(design.everything())

    def centred_gram(self, fold: Fold) -> tuple[Floating, Floating]:
        """Training Gram of a fold about the training means, and the means."""
        excluded, count = ranges_of(fold.excluded(self.design.n_samples)), fold.train.size
        if n_rows(excluded) < count:
            g = self.design.gram(excluded)
            self._subtract_from_total(g)
            return self._centre(g, self.total_sums - self.design.sums(excluded), count)
        train = fold.train_ranges()
        return self._centre(self.design.gram(train), self.design.sums(train), count)

    def _subtract_from_total(self, g: Floating) -> None:
        """``g = total - g`` in place."""
        np.subtract(self.total_gram, g, out=g)

    def _centre(self, g: Floating, sums: Floating, count: int) -> tuple[Floating, Floating]:
        """``g - count mean mean'`` in place, and the mean."""
        if not self.fit_intercept:
            return g, np.zeros_like(sums)
        mean = sums / count
        matmul(mean[:, None], mean[None] * -count, out=g, beta=1.0)
        return g, mean

    def factor(self, fold: Fold, scoring: Scoring) -> FoldFactor:
        g, mean = self.centred_gram(fold)
        spectrum = decompose(g, self._rank(fold.train.size), self.alpha_min)
        a = self._rows(spectrum, fold.validation_ranges())
        shift = a.mean(axis=0) if scoring == "correlation" else spectrum.q_t @ mean
        offset = None if self.fit_intercept or scoring != "correlation" else shift
        return _finish(spectrum, fold, a, shift, offset, mean, self.alpha_min, self.design)

    def _rows(self, spectrum: Spectrum, ranges: Ranges) -> Floating:
        """Some rows of the design in the eigenbasis of a fold."""
        return self._in_eigenbasis(spectrum, ranges, np.float64)

    def _in_eigenbasis(self, spectrum: Spectrum, ranges: Ranges, dtype: Any) -> Floating:
        return self.design.xw(np.ascontiguousarray(spectrum.q_t.T.astype(dtype, copy=False)), ranges)

    def full(self) -> tuple[Spectrum, Floating]:
        """Spectrum and feature means for the refit on all samples; overwrites the Gram, so it comes last."""
        g, mean = self._centre(self.total_gram, self.total_sums, self.design.n_samples)
        spectrum = decompose(g, self._rank(self.design.n_samples), self.alpha_min)
        del self.total_gram
        return spectrum, mean

    def _rank(self, n_train: int) -> int:
        return full_rank(self.design.n_columns, n_train, self.fit_intercept)

    def product_dtype(self, spectrum: Spectrum) -> np.dtype[Any]:
        """Of X'Y and Q'(X'Y). X'Y holds the strong directions of X times s_max and the weak ones times s_min.
        float32 rounds both at the level of the first, so past a condition number of 1e4 these products are
        done in float64 (measured: 1e-4 off at 1e9 otherwise).
        """
        exact = spectrum.condition(self.alpha_min) > MAX_FLOAT32_CONDITION
        return np.dtype(np.float64) if exact else self.design.dtype


class DualFolds:
    """Fold factors from the n x n kernel: a fold is a sub-matrix, centred by the training means."""

    route: Route = "dual"
    turned = False

    def __init__(self, design: Design, *, fit_intercept: bool, alpha_min: float) -> None:
        self.design, self.fit_intercept, self.alpha_min = design, fit_intercept, alpha_min
        self.kernel = design.kernel()
        self.norm = _centred_norm(self.kernel, fit_intercept)

    def factor(self, fold: Fold, scoring: Scoring) -> FoldFactor:
        train = self.kernel[np.ix_(fold.train, fold.train)]
        cross = self.kernel[np.ix_(fold.validation, fold.train)]
        if self.fit_intercept:
            column_mean = train.mean(axis=0)
            cross -= column_mean
            cross -= cross.mean(axis=1, keepdims=True)
            _centre(train, column_mean)
        spectrum = decompose(train, self._rank(fold.train.size), self.alpha_min)
        a = matmul(cross, spectrum.q_t, trans_b=True)
        shift = a.mean(axis=0) if scoring == "correlation" else np.zeros(a.shape[1])
        offset = None if self.fit_intercept or scoring != "correlation" else shift
        return _finish(spectrum, fold, a, shift, offset, np.empty(0), self.alpha_min, self.design)

    def product_dtype(self, spectrum: Spectrum) -> np.dtype[Any]:
        """Of Q'Y, which has no strong and weak directions."""
        return self.design.dtype

    def full(self) -> tuple[Spectrum, Floating]:
        """Spectrum in float64 for the refit on all samples; the kernel is overwritten, so this comes last."""
        if self.fit_intercept:
            _centre(self.kernel, self.kernel.mean(axis=0))
        rank = self._rank(self.design.n_samples)
        spectrum = decompose(self.kernel, rank, self.alpha_min)
        del self.kernel
        return spectrum, np.empty(0)

    def _rank(self, n_train: int) -> int:
        return full_rank(self.design.n_columns, n_train, self.fit_intercept)


def _centred_norm(kernel: Floating, fit_intercept: bool) -> float:
    """Frobenius norm of the centred kernel, a bound on its largest eigenvalue, without centring it."""
    n = kernel.shape[0]
    total = sum(float(np.vdot(row, row)) for row in kernel)
    if fit_intercept:
        mean = kernel.mean(axis=0)
        total -= 2 * n * float(mean @ mean) - n * n * float(mean.mean()) ** 2
    return float(np.sqrt(max(total, 0.0)))


def _centre(kernel: Floating, column_mean: Floating) -> None:
    """``(I - 11'/n) K (I - 11'/n)`` in place."""
    kernel -= column_mean
    kernel -= (column_mean - column_mean.mean())[:, None]


def _finish(
    spectrum: Spectrum,
    fold: Fold,
    a: Floating,
    shift: Floating,
    offset: Floating | None,
    x_mean: Floating,
    alpha_min: float,
    design: Design,
) -> FoldFactor:
    a -= shift.astype(a.dtype)
    m = gram(a.astype(np.float64, copy=False))
    weight = float(np.trace(m))
    mean_l = float(spectrum.l @ np.diag(m)) / weight if weight > 0 else 1.0
    form_type = _cpu.QuadraticForm32 if design.dtype == np.float32 else _cpu.QuadraticForm64
    purged = np.setdiff1d(fold.excluded(design.n_samples), fold.validation, assume_unique=True)
    return FoldFactor(
        spectrum=spectrum,
        train=fold.train_ranges(),
        validation=fold.validation_ranges(),
        a=a.astype(design.dtype, copy=False),
        shift=shift,
        x_mean=x_mean,
        form=form_type(m, spectrum.l, alpha_min),
        mean_l=mean_l,
        purged=ranges_of(purged),
        offset=offset,
    )


def _rounding(factor: FoldFactor, z: Floating, alphas: Floating) -> Floating:
    """What rounding leaves of the mean prediction (n_alphas, v): predictions that vary less are constant."""
    if factor.offset is None:
        return np.zeros((1, 1))
    weights = factor.offset / (factor.spectrum.l + alphas[:, None])
    mean = matmul(weights.astype(z.dtype), z).astype(np.float64)
    return np.abs(mean) * (_ROUNDINGS * float(np.finfo(z.dtype).eps))


def heldout_scores(
    factor: FoldFactor,
    z: Floating,
    c: Floating,
    y_sums: Floating,
    y_squares: Floating,
    train_mean: Floating,
    alphas: Floating,
    scoring: Scoring,
    work: tuple[Floating, Floating],
) -> Floating:
    """Scores (n_alphas, n_targets) of one fold, from z and c (k, n_targets) and the moments of y over the
    scored rows.

    A constant target or a constant prediction has correlation 0; a target that is constant over the scored
    rows has R2 0.
    """
    lz, nz = work
    factor.form.apply(z, lz, nz)
    products = np.empty((alphas.size, z.shape[1]))
    norms = np.empty_like(products)
    _cpu.reduce_scores(z, c, lz, nz, factor.spectrum.l, alphas, factor.mean_l, products, norms, n_threads())
    count = n_rows(factor.validation)
    about = variation(y_sums, y_squares, count)
    if scoring == "correlation":
        norms[norms <= np.maximum(NOTHING * y_squares, count * _rounding(factor, z, alphas) ** 2)] = 0.0
        return correlation(products, norms, about)
    about_train = y_squares - 2.0 * train_mean * y_sums + count * train_mean**2
    return r2(about_train - 2.0 * products + norms, about)
