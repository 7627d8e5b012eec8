"""Bands of one delayed design, each scaled by the root of its weight, over Gram matrices made once.

Ridge on ``[sqrt(gamma_1) X_1, ..., sqrt(gamma_B) X_B]`` with penalty alpha is banded ridge with the penalties
``alpha / gamma_b``. Its kernel is ``sum_b gamma_b X_b X_b'`` and its Gram ``sqrt(gamma_a gamma_b) X_a'X_b``:
sums and multiples of what does not depend on the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.rows import Ranges

Floating = NDArray[Any]


class Bands:
    """Features of several bands side by side, and what all weights of the bands share.

    Parameters
    ----------
    design : DelayedDesign
        All bands side by side before they are delayed.
    widths : sequence of int
        Features of each band, in their order.
    keep_bytes : int
        How many bytes of Gram matrices and kernels may be kept; what does not fit is made anew each time.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import DelayedDesign
    >>> bands = Bands(DelayedDesign(np.array([[1.0, 2.0], [3.0, 0.0]])), [1, 1])
    >>> bands.scaled(np.array([0.75, 0.25])).kernel()
    array([[1.75, 2.25],
           [2.25, 6.75]])
    """

    def __init__(self, design: DelayedDesign, widths: Sequence[int], keep_bytes: int = 2**40) -> None:
        self.design, self.widths = design, tuple(widths)
        self.runs: list[int] = np.diff(design.offsets).tolist()
        self.room = keep_bytes
        self._grams: dict[tuple[tuple[int, int], ...], Floating] = {}
        self._kernels: dict[int, Floating] = {}

    @property
    def n_bands(self) -> int:
        """How many bands there are."""
        return len(self.widths)

    @property
    def slices(self) -> list[slice]:
        """The features of each band."""
        ends = np.cumsum(self.widths).tolist()
        return [slice(end - width, end) for width, end in zip(self.widths, ends, strict=True)]

    def band(self, number: int) -> DelayedDesign:
        """One band as a design of its own.

        Parameters
        ----------
        number : int
        """
        features = np.ascontiguousarray(self.design.features[:, self.slices[number]])
        return DelayedDesign(features, self.design.delays, self.runs)

    def columns_of(self, number: int) -> NDArray[np.intp]:
        """Columns of the delayed design (delay-major) that are of one band.

        Parameters
        ----------
        number : int
        """
        some, width = self.slices[number], self.design.n_features
        starts = np.arange(len(self.design.delays))[:, None] * width
        return np.asarray((starts + np.arange(some.start, some.stop)).ravel())

    def scaled(self, gammas: Floating) -> DelayedDesign:
        """The design of one candidate; bands whose weight is 0 are left out of it.

        Parameters
        ----------
        gammas : ndarray (n_bands,)
            Weights >= 0, not all 0.
        """
        if self.n_bands == 1 and gammas[0] == 1.0:
            return self.design
        return ScaledBands(self, gammas)

    def gram(self, ranges: Ranges, dtype: Any = np.float64) -> Floating:
        """``X[rows]'X[rows]`` (p, p) of all bands unscaled, not to be written to.

        Parameters
        ----------
        ranges : list of (begin, end)
        dtype : float32 or float64
        """
        key = tuple(ranges)
        found = self._grams.get(key)
        if found is not None and found.dtype == dtype:
            return found
        made = self.design.gram(ranges, dtype)
        if self._keeps(made.nbytes):
            self._grams[key] = made
        return made

    def kernel(self, gammas: Floating) -> Floating:
        """``sum_b gamma_b X_b X_b'`` (n, n) float64.

        Parameters
        ----------
        gammas : ndarray (n_bands,)
        """
        total: Floating | None = None
        for number in np.flatnonzero(gammas > 0).tolist():
            part = self.kernel_of(number) * gammas[number]
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        return total

    def kernel_of(self, number: int) -> Floating:
        """``X_b X_b'`` (n, n) float64 of one band, not to be written to.

        Parameters
        ----------
        number : int
        """
        found = self._kernels.get(number)
        if found is None:
            found = self.band(number).kernel()
            if self._keeps(found.nbytes):
                self._kernels[number] = found
        return found

    def forget(self) -> None:
        """Let go of what was kept."""
        for kept in (*self._grams.values(), *self._kernels.values()):
            self.room += kept.nbytes
        self._grams.clear()
        self._kernels.clear()

    def _keeps(self, n_bytes: int) -> bool:
        if n_bytes > self.room:
            return False
        self.room -= n_bytes
        return True


class ScaledBands(DelayedDesign):
    """The bands whose weight is not 0, each times the root of its weight.

    Features keep their values; products are scaled, so that they agree with the Grams to the last digit that
    the dtype of a product has.
    """

    def __init__(self, bands: Bands, gammas: Floating) -> None:
        on = np.flatnonzero(gammas > 0)
        keep = np.concatenate([np.arange(s.start, s.stop) for s in (bands.slices[b] for b in on)])
        whole = bands.design
        every = keep.size == whole.n_features
        self.features = whole.features if every else np.ascontiguousarray(whole.features[:, keep])
        self.offsets, self.delays = whole.offsets, whole.delays
        self._bands, self._gammas = bands, gammas
        self._each = np.sqrt(np.repeat(gammas[on], [bands.widths[b] for b in on]))
        self.scale: Floating = np.tile(self._each, len(self.delays))
        starts = np.arange(len(self.delays))[:, None] * whole.n_features
        self._columns = None if every else np.asarray((starts + keep).ravel())

    def _plain(self) -> DelayedDesign:
        features = (self.features * self._each).astype(self.dtype)
        return DelayedDesign.piece(features, self.delays, self.offsets)

    def column_groups(self) -> Iterator[Floating]:
        yield self._plain().features

    def rows(self, begin: int, end: int) -> Floating:
        return np.asarray(super().rows(begin, end) * self.scale.astype(self.dtype))

    def run(self, begin: int, end: int) -> DelayedDesign:
        return self._plain().run(begin, end)

    def cross_kernel_of(self, new: DelayedDesign, dtype: Any = np.float64) -> Floating:
        return self._plain().cross_kernel_of(new, dtype)

    def gram(self, ranges: Ranges, dtype: Any = np.float64) -> Floating:
        if 2 * self.n_columns <= self._bands.design.n_columns:  # that of all bands is four times as large
            g = super().gram(ranges, dtype)
        else:
            g = self._bands.gram(ranges, dtype)
            if self._columns is not None:
                g = g[np.ix_(self._columns, self._columns)]
        scale = self.scale.astype(dtype)
        out: Floating = g * scale
        out *= scale[:, None]
        return out

    def kernel(self, dtype: Any = np.float64) -> Floating:
        return np.asarray(self._bands.kernel(self._gammas), dtype=dtype)

    def sums(self, ranges: Ranges) -> Floating:
        return np.asarray(super().sums(ranges) * self.scale)

    def xty(self, y: Floating, ranges: Ranges, out: Floating | None = None) -> Floating:
        out = super().xty(y, ranges, out)
        out *= self.scale.astype(out.dtype)[:, None]
        return out

    def xw(self, w: Floating, ranges: Ranges | None = None) -> Floating:
        scaled: Floating = w * self.scale.astype(w.dtype)[:, None]
        return super().xw(scaled, ranges)
