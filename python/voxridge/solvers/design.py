"""The delayed design matrix that is never formed: features, runs and delays, and the products that solvers
need of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.rows import Ranges, check_delays, n_rows, run_offsets

Floating = NDArray[Any]


class Design(Protocol):
    """What solvers ask of a delayed design, in memory (:class:`DelayedDesign`) or on disk
    (:class:`~voxridge.solvers.stream_design.StreamedDesign`)."""

    offsets: list[int]
    delays: tuple[int, ...]

    @property
    def n_samples(self) -> int: ...

    @property
    def n_features(self) -> int: ...

    @property
    def n_columns(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def everything(self) -> Ranges: ...

    def rows(self, begin: int, end: int) -> Floating: ...

    def column_groups(self) -> Iterator[Floating]: ...

    def run(self, begin: int, end: int) -> DelayedDesign: ...

    def gram(self, ranges: Ranges, dtype: Any = ...) -> Floating: ...

    def kernel(self, dtype: Any = ...) -> Floating: ...

    def cross_kernel_of(self, new: DelayedDesign, dtype: Any = ...) -> Floating: ...

    def sums(self, ranges: Ranges) -> Floating: ...

    def xty(self, y: Floating, ranges: Ranges, out: Floating | None = None) -> Floating: ...

    def xw(self, w: Floating, ranges: Ranges | None = None) -> Floating: ...


class DelayedDesign:
    """``X[t, (i, j)] = features[t - delays[i], j]`` inside the run of t, else 0. Columns are delay-major.

    Parameters
    ----------
    features : ndarray (n_samples, n_features), float32 or float64, C-ordered
    delays : sequence of int, in samples
    runs : sequence of int or None
        Run lengths; None is one run.

    Raises
    ------
    ValueError
        Features that are not two-dimensional, runs that do not add up, delays that repeat or are as long as a
        run.
    TypeError
        Features that are neither float32 nor float64.

    Notes
    -----
    Products and Grams come from shifted views of ``features``; block (i, j) of the Gram depends on
    ``delays[i] - delays[j]`` but for the ends of the runs, and the kernel is a sum of shifted copies of
    ``features @ features.T``.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import DelayedDesign
    >>> design = DelayedDesign(np.array([[1.0], [2.0], [4.0]]), delays=(0, 1))
    >>> design.rows(0, 3).tolist()
    [[1.0, 0.0], [2.0, 1.0], [4.0, 2.0]]
    """

    def __init__(
        self, features: Floating, delays: Sequence[int] = (0,), runs: Sequence[int] | None = None
    ) -> None:
        if features.ndim != 2:
            raise ValueError(f"features must be 2-D (n_samples, n_features), got shape {features.shape}")
        if features.dtype not in (np.float32, np.float64):
            raise TypeError(f"features must be float32 or float64, got {features.dtype}")
        self.features = np.ascontiguousarray(features)
        self.offsets: list[int] = run_offsets(runs, features.shape[0])
        self.delays: tuple[int, ...] = check_delays(delays, np.diff(self.offsets).tolist())

    @classmethod
    def piece(cls, features: Floating, delays: tuple[int, ...], offsets: list[int]) -> DelayedDesign:
        """A part of a checked design, whose runs may be cut short.

        Parameters
        ----------
        features : ndarray (n_samples, n_features)
        delays : tuple of int
        offsets : list of int
            Where runs begin, and the end.
        """
        made = cls.__new__(cls)
        made.features, made.delays, made.offsets = features, delays, offsets
        return made

    def on_host(self) -> DelayedDesign:
        """The same with features in the memory of the host; here itself."""
        return self

    @property
    def n_samples(self) -> int:
        """Rows."""
        return int(self.features.shape[0])

    @property
    def n_features(self) -> int:
        """Columns of the features before they are delayed."""
        return int(self.features.shape[1])

    @property
    def n_columns(self) -> int:
        """Columns of the design: n_features for every delay."""
        return self.n_features * len(self.delays)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: that of the features."""
        return self.features.dtype

    def everything(self) -> Ranges:
        """The range of all rows."""
        return [(0, self.n_samples)]

    def column_groups(self) -> Iterator[Floating]:
        """The features (n_samples, n_features before delays) in groups of columns: here all of them."""
        yield self.features

    def rows(self, begin: int, end: int) -> Floating:
        """``X[begin:end]`` itself (end - begin, n_columns), for decompositions that need the rows.

        Parameters
        ----------
        begin, end : int
            The rows [begin, end).
        """
        width = self.features.shape[1]
        out = np.zeros((end - begin, self.n_columns), dtype=self.dtype)
        for first, last in pairwise(self.offsets):
            for i, delay in enumerate(self.delays):
                start, stop = max(begin, first, first + delay), min(end, last, last + delay)
                if start < stop:
                    block = out[start - begin : stop - begin, i * width : (i + 1) * width]
                    block[:] = self.features[start - delay : stop - delay]
        return out

    def run(self, begin: int, end: int) -> DelayedDesign:
        """One run as a design of its own.

        Parameters
        ----------
        begin, end : int
            The rows [begin, end).
        """
        return DelayedDesign(self.features[begin:end], self.delays)

    def gram(self, ranges: Ranges, dtype: Any = np.float64) -> Floating:
        """``X[rows]' X[rows]`` (p, p), formed and summed in ``dtype``.

        Parameters
        ----------
        ranges : list of (begin, end)
            Ascending, disjoint ranges of rows.
        dtype : float32 or float64
        """
        out = np.empty((self.n_columns, self.n_columns), dtype=dtype)
        _cpu.delayed_gram(self.features, self.offsets, ranges, self.delays, out, n_threads())
        return out

    def kernel(self, dtype: Any = np.float64) -> Floating:
        """``X X'`` (n, n), formed and summed in ``dtype``.

        Parameters
        ----------
        dtype : float32 or float64
        """
        out = np.empty((self.n_samples, self.n_samples), dtype=dtype)
        _cpu.base_kernel(self.features, out)
        _cpu.shift_kernel(out, self.offsets, self.offsets, self.delays, True, n_threads())
        return out

    def cross_kernel_of(self, new: DelayedDesign, dtype: Any = np.float64) -> Floating:
        """``X_new X_self'`` (n_new, n_self); the delays must be the same.

        Parameters
        ----------
        new : DelayedDesign
            With the same delays.
        dtype : float32 or float64
        """
        out = np.empty((new.n_samples, self.n_samples), dtype=dtype)
        _cpu.base_cross_kernel(new.features, self.features, out)
        _cpu.shift_kernel(out, new.offsets, self.offsets, self.delays, False, n_threads())
        return out

    def sums(self, ranges: Ranges) -> Floating:
        """Column sums of ``X[rows]`` (p,), float64.

        Parameters
        ----------
        ranges : list of (begin, end)
            Ascending, disjoint ranges of rows.
        """
        out = np.empty(self.n_columns)
        _cpu.delayed_sums(self.features, self.offsets, ranges, self.delays, out)
        return out

    def xty(self, y: Floating, ranges: Ranges, out: Floating | None = None) -> Floating:
        """``X[rows]' y[rows]`` (p, n_targets) in the dtype of ``y``; ``y`` has all n_samples rows.

        Parameters
        ----------
        y : ndarray (n_samples, n_targets)
        ranges : list of (begin, end)
            Ascending, disjoint ranges of rows.
        out : ndarray (n_columns, n_targets), optional
            Written to and returned.
        """
        if out is None:
            out = np.empty((self.n_columns, y.shape[1]), dtype=y.dtype)
        _cpu.delayed_xty(self.features, y, self.offsets, ranges, self.delays, out)
        return out

    def xw(self, w: Floating, ranges: Ranges | None = None) -> Floating:
        """``X[rows] w`` (n_rows, k) in the dtype of ``w``.

        Parameters
        ----------
        w : ndarray (n_columns, k)
        ranges : list of (begin, end)
            Ascending, disjoint ranges of rows. Default: all.
        """
        rows = self.everything() if ranges is None else ranges
        out = np.empty((n_rows(rows), w.shape[1]), dtype=w.dtype)
        _cpu.delayed_xw(self.features, w, self.offsets, rows, self.delays, out)
        return out
