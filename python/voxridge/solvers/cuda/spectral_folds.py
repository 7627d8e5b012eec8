"""Factors of the folds of the spectral route on a device: the twins of ``DualFolds`` and ``PrimalFolds`` in
:mod:`voxridge.solvers.spectral`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from voxridge.solvers.cuda.design import DeviceDesign
from voxridge.solvers.cuda.session import Array, Floating, Session
from voxridge.solvers.cuda.target_tile import TargetTile
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring
from voxridge.solvers.rows import Ranges, ranges_of
from voxridge.solvers.spectrum import first_trusted
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION, full_rank

_SAMPLES = 4096  # whose columns of the design are formed at once


@dataclass
class DeviceSpectrum:
    """Eigenvalues, ascending, on the host; eigenvectors (rows of ``q_t``) on the device."""

    l: Floating
    q_t: Array

    @property
    def rank(self) -> int:
        return int(self.l.size)

    def needs_float64(self, alpha_min: float) -> bool:
        """Whether products of the features' Gram lose too much in float32."""
        if not self.rank:
            return False
        return float((self.l[-1] + alpha_min) / (self.l[0] + alpha_min)) > MAX_FLOAT32_CONDITION


def decompose(session: Session, a: Array, rank: int, alpha_min: float) -> DeviceSpectrum:
    """Spectrum of symmetric ``a`` (overwritten, both triangles set), float64; the eigenvectors lie in its
    memory.

    Raises
    ------
    UntrustedFactor
        See :func:`~voxridge.solvers.trust.require_trust`, which is given ``rank`` and ``alpha_min``.
    """
    there = session.empty((a.shape[0],), np.float64)
    session.ops.eigh(a, there, queue=session.queue)
    values = session.down(there)
    first = first_trusted(values, rank, alpha_min)
    return DeviceSpectrum(np.ascontiguousarray(values[first:]), a[first:])


@dataclass
class FoldFactor:
    """What scores of a tile on one fold take.

    ``spectrum`` is (k, n_train) or (k, p), in the dtype of its products. ``a`` (S_f, k), in the dtype of the
    tiles, holds the scored rows in the eigenbasis about the training means, or, where only their differences
    count, about their own.
    """

    spectrum: DeviceSpectrum
    a: Array
    n_train: int
    train: Array | None  # (n_train,) samples; in the dual
    ranges: Ranges  # in the primal: samples whose X'Y is asked for,
    subtracted: bool  # and whether it is taken off that of all samples
    x_mean: Array | None  # (p,) training means; in the primal, with an intercept


class DualFoldsOnDevice:
    """Fold factors from the kernel.

    Held: the kernel (n, n) float64, till :meth:`full`. While a fold is decomposed: its sub-matrix (n_train,
    n_train), what ``eigh`` wants, and (S_f, n) twice, all float64; eigenvectors are then kept in the dtype of
    the tiles.
    """

    def __init__(self, design: DeviceDesign, *, alpha_min: float) -> None:
        self.design, self.session, self.alpha_min = design, design.session, alpha_min
        self.dtype = design.host.dtype
        self.kernel: Array = design.kernel()
        self.norm = self._centred_norm()

    def _centred_norm(self) -> float:
        """See ``_centred_norm`` of :mod:`voxridge.solvers.spectral`."""
        session, n = self.session, self.kernel.shape[0]
        sums = session.empty((2, n), np.float64)
        session.ops.column_moments(self.kernel, 0, n, sums[0], sums[1], queue=session.queue)
        mean, squares = session.down(sums)
        total = float(squares.sum())
        if self.design.fit_intercept:
            mean /= n
            total -= 2 * n * float(mean @ mean) - n * n * float(mean.mean()) ** 2
        return float(np.sqrt(max(total, 0.0)))

    def factor(self, fold: Fold, scoring: Scoring) -> FoldFactor:
        session, rows = self.session, self.session.rows(fold.train)
        cross = self._cross(fold, rows)
        train = session.empty((fold.n_train, fold.n_train), np.float64)
        session.ops.symmetric_block(self.kernel, rows, 1.0, 0.0, 0.0, None, train, queue=session.queue)
        if self.design.fit_intercept:
            self._centre_rows(cross, self._centre(train))
        spectrum = decompose(session, train, self._rank(fold.n_train), self.alpha_min)
        a = session.empty((cross.shape[0], spectrum.rank), np.float64)
        session.matmul(cross, spectrum.q_t, a, trans_b=True)
        a = _scored_rows(self.design, a, scoring, self.dtype)
        return FoldFactor(_narrow(session, spectrum, self.dtype), a, fold.n_train, rows, [], False, None)

    def _cross(self, fold: Fold, rows: Array) -> Array:
        session, m = self.session, int(fold.validation.size)
        some = session.empty((m, self.kernel.shape[1]), np.float64)
        session.ops.take_rows(self.kernel, session.rows(fold.validation), some, queue=session.queue)
        cross = session.empty((m, fold.n_train), np.float64)
        session.ops.take_columns(some, rows, cross, queue=session.queue)
        return cross

    def _centre(self, kernel: Array) -> Array:
        """``(I - 11'/n) K (I - 11'/n)`` in place; returns the mean of each column, (1, n)."""
        session = self.session
        mean = _column_mean(session, kernel)
        grand = float(session.down(mean).mean())
        session.ops.centre_kernel(kernel, mean[0], grand, None, queue=session.queue)
        return mean

    def _centre_rows(self, cross: Array, mean: Array) -> None:
        """Held-out rows about the training means, in place."""
        session, (m, n) = self.session, cross.shape
        ones = session.up(np.ones(max(m, n)))
        session.ops.rank_one(cross, -1.0, ones[:m], mean[0], queue=session.queue)
        of_rows = session.empty((m, 1), np.float64)
        session.matmul(cross, ones[:n].reshape(n, 1), of_rows, alpha=1.0 / n)
        session.ops.rank_one(cross, -1.0, of_rows.reshape(1, m)[0], ones[:n], queue=session.queue)

    def project(
        self, factor: FoldFactor, tile: TargetTile, mean: Array | None, z: Array, *, exact: bool
    ) -> None:
        """z (k, v) <- Q'Y_train: Q is orthogonal to ``mean``, the training means, already."""
        assert factor.train is not None
        session = self.session
        rows = tile.take("training rows", factor.n_train, tile.dtype)
        session.ops.take_rows(tile.y, factor.train, rows, queue=session.queue)
        session.matmul(factor.spectrum.q_t, rows, z, exact=exact)

    def project_all(self, spectrum: DeviceSpectrum, tile: TargetTile, z: Array) -> None:
        """z (k, v) <- Q'Y for the spectrum of :meth:`full`."""
        self.session.matmul(spectrum.q_t, tile.y, z)

    def full(self) -> DeviceSpectrum:
        """Of all samples, float64; the kernel is overwritten, so this comes last."""
        kernel, self.kernel = self.kernel, None
        if self.design.fit_intercept:
            self._centre(kernel)
        return decompose(self.session, kernel, self._rank(self.design.host.n_samples), self.alpha_min)

    def product_dtype(self, spectrum: DeviceSpectrum) -> np.dtype[Any]:
        """Of Q'Y, which has no strong and weak directions."""
        return self.dtype

    def _rank(self, n_train: int) -> int:
        return full_rank(self.design.host.n_columns, n_train, self.design.fit_intercept)


class PrimalFoldsOnDevice:
    """Fold factors from the Gram: training Gram = total - held out, where that is cheaper.

    Held: the features, and the Gram (p, p) float64, till :meth:`full`. While a fold is decomposed: its Gram,
    what ``eigh`` wants, ``_SAMPLES`` columns of X' and (S_f, k), all float64; eigenvectors are then kept in
    the dtype of the tiles, or in float64 (``product_dtype``).
    """

    norm = 0.0  # coefficients need no float64

    def __init__(self, design: DeviceDesign, *, alpha_min: float) -> None:
        self.design, self.session, self.alpha_min = design, design.session, alpha_min
        self.dtype = design.host.dtype
        everything = design.host.everything()
        self.total_gram: Array = design.gram(everything)
        self.total_sums = design.sums(everything)
        self._total_norm = self._centred_norm()
        self._products_of: dict[tuple[str, np.dtype[Any]], TargetTile] = {}

    def factor(self, fold: Fold, scoring: Scoring) -> FoldFactor:
        session, design = self.session, self.design
        excluded = fold.excluded(design.host.n_samples)
        subtracted = excluded.size < fold.n_train
        ranges = ranges_of(excluded) if subtracted else fold.train_ranges()
        g, mean = self._centred_gram(ranges, subtracted, fold.n_train)
        spectrum = decompose(session, g, self._rank(fold.n_train), self.alpha_min)
        a = _scored_rows(design, self._rows(spectrum, fold, mean), scoring, self.dtype)
        x_mean = session.up(mean) if design.fit_intercept else None
        narrow = _narrow(session, spectrum, self.product_dtype(spectrum))
        if subtracted and narrow.q_t.dtype == np.float32 and self._drowns(spectrum):
            ranges, subtracted = fold.train_ranges(), False
        return FoldFactor(narrow, a, fold.n_train, None, ranges, subtracted, x_mean)

    def _drowns(self, spectrum: DeviceSpectrum) -> bool:
        """Whether X'Y of all samples is so large that float32 would round a fold's weak directions away with
        it: where the held-out samples are far from the others."""
        weakest = float(spectrum.l.min(initial=np.inf)) + self.alpha_min
        return self._total_norm + self.alpha_min > MAX_FLOAT32_CONDITION * weakest

    def _centred_norm(self) -> float:
        """Frobenius norm of the centred Gram of all samples, which is not centred: ``|G - n m m'|``."""
        session, (p, n) = self.session, (self.total_gram.shape[0], self.design.host.n_samples)
        sums = session.empty((2, p), np.float64)
        session.ops.column_moments(self.total_gram, 0, p, sums[0], sums[1], queue=session.queue)
        total = float(session.down(sums)[1].sum())
        if self.design.fit_intercept:
            m = self.total_sums / n
            along = session.empty((1, p), np.float64)
            session.matmul(session.up(m[None]), self.total_gram, along)
            total += n * n * float(m @ m) ** 2 - 2 * n * float(session.down(along)[0] @ m)
        return float(np.sqrt(max(total, 0.0)))

    def _centred_gram(self, ranges: Ranges, subtracted: bool, count: int) -> tuple[Array, Floating]:
        """Training Gram of a fold about the training means, and the means."""
        session, design = self.session, self.design
        g, sums = design.gram(ranges), design.sums(ranges)
        if subtracted:
            session.ops.accumulate(1.0, self.total_gram, -1.0, g, queue=session.queue)
            sums = self.total_sums - sums
        return g, self._centre(g, sums, count)

    def _centre(self, g: Array, sums: Floating, count: int) -> Floating:
        """``g - count mean mean'`` in place; returns the mean."""
        if not self.design.fit_intercept:
            return np.zeros_like(sums)
        there = self.session.up(sums / count)
        self.session.ops.rank_one(g, -float(count), there, there, queue=self.session.queue)
        return np.asarray(sums / count)

    def _rows(self, spectrum: DeviceSpectrum, fold: Fold, mean: Floating) -> Array:
        """The scored rows about the training means, in the eigenbasis, float64."""
        session, design, m = self.session, self.design, int(fold.validation.size)
        a = session.empty((m, spectrum.rank), np.float64)
        for begin in range(0, m, _SAMPLES):
            rows = session.rows(fold.validation[begin : begin + _SAMPLES])
            x = design.columns(rows, "some columns")
            session.matmul(x, spectrum.q_t, a[begin : begin + _SAMPLES], trans_a=True, trans_b=True)
        if design.fit_intercept:  # those columns are about the means of all samples
            shift = session.empty((1, spectrum.rank), np.float64)
            session.matmul(session.up((mean - design.x_mean)[None]), spectrum.q_t, shift, trans_b=True)
            session.ops.rank_one(a, -1.0, session.up(np.ones(m)), shift[0], queue=session.queue)
        return a

    def project(
        self, factor: FoldFactor, tile: TargetTile, mean: Array | None, z: Array, *, exact: bool
    ) -> None:
        """z (k, v) <- Q' of X_train'Y_train about the training means, of the targets ``mean`` (v,) float64.
        ``exact`` is not asked for: products with the features keep their precision."""
        session, dtype = self.session, np.dtype(factor.spectrum.q_t.dtype)
        train = tile.take("X'y of a fold", self.design.host.n_columns, dtype)
        self.design.xty(tile.as_type(dtype), factor.ranges, train)
        if factor.subtracted:
            session.ops.accumulate(1.0, self._products(tile, dtype), -1.0, train, queue=session.queue)
        if factor.x_mean is not None:
            session.ops.rank_one(train, -float(factor.n_train), factor.x_mean, mean, queue=session.queue)
        self._turn(factor.spectrum, train, tile, z)

    def project_all(self, spectrum: DeviceSpectrum, tile: TargetTile, z: Array) -> None:
        """z (k, v) <- Q'X'Y for the spectrum of :meth:`full`: Y is centred where there is an intercept."""
        self._turn(spectrum, self._products(tile, np.dtype(spectrum.q_t.dtype)), tile, z)

    def _products(self, tile: TargetTile, dtype: np.dtype[Any]) -> Array:
        """X'Y of all samples, made once a tile; buffers keep their content while no other tile takes them."""
        out = tile.take("X'y", self.design.host.n_columns, dtype)
        if self._products_of.get((tile.name, dtype)) is not tile:
            self.design.xty(tile.as_type(dtype), self.design.host.everything(), out)
            self._products_of[tile.name, dtype] = tile
        return out

    def _turn(self, spectrum: DeviceSpectrum, c: Array, tile: TargetTile, z: Array) -> None:
        """z = Q'c, the product in the dtype of c."""
        session = self.session
        if np.dtype(z.dtype) == np.dtype(c.dtype):
            session.matmul(spectrum.q_t, c, z)
            return
        wide = tile.take("wide z", spectrum.rank, c.dtype)
        session.matmul(spectrum.q_t, c, wide)
        session.ops.accumulate(1.0, wide, 0.0, z, queue=session.queue)

    def full(self) -> DeviceSpectrum:
        """Of all samples, float64; the Gram is overwritten, so this comes last."""
        g, self.total_gram = self.total_gram, None
        self._centre(g, self.total_sums, self.design.host.n_samples)
        return decompose(self.session, g, self._rank(self.design.host.n_samples), self.alpha_min)

    def product_dtype(self, spectrum: DeviceSpectrum) -> np.dtype[Any]:
        """Of X'Y and Q'(X'Y): see ``PrimalFolds.product_dtype`` of :mod:`voxridge.solvers.spectral`."""
        return np.dtype(np.float64) if spectrum.needs_float64(self.alpha_min) else self.dtype

    def _rank(self, n_train: int) -> int:
        return full_rank(self.design.host.n_columns, n_train, self.design.fit_intercept)


def _narrow(session: Session, spectrum: DeviceSpectrum, dtype: Any) -> DeviceSpectrum:
    return DeviceSpectrum(spectrum.l, session.cast(spectrum.q_t, dtype))


def _column_mean(session: Session, a: Array) -> Array:
    """(1, n) float64."""
    m, n = a.shape
    mean = session.empty((1, n), np.float64)
    session.matmul(session.up(np.ones((1, m))), a, mean, alpha=1.0 / m)
    return mean


def _scored_rows(design: DeviceDesign, a: Array, scoring: Scoring, dtype: Any) -> Array:
    """``a`` as scores use it. A correlation does not see the mean prediction, which may be large beside its
    variation; but without an intercept, what is taken off a constant prediction leaves rounding."""
    session = design.session
    if scoring == "correlation" and design.fit_intercept:
        ones = session.up(np.ones(a.shape[0]))
        session.ops.rank_one(a, -1.0, ones, _column_mean(session, a)[0], queue=session.queue)
    return session.cast(a, dtype)
