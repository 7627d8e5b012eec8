"""A delayed design whose features stay on disk: the products of DelayedDesign, read a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.rows import Ranges, check_delays, n_rows, run_offsets
from voxridge.streams.read_ahead import read_ahead

Floating = NDArray[Any]


class Readable(Protocol):
    """A (n_samples, n_features) matrix read in parts; every source of :mod:`voxridge.streams` is one."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def runs(self) -> tuple[int, ...]: ...

    def read(self, rows: slice = ..., columns: slice = ...) -> Floating: ...


@dataclass(frozen=True)
class Chunk:
    """Rows [begin, end) of the design, and the feature rows [first, ...) that their delays reach."""

    begin: int
    end: int
    first: int
    design: DelayedDesign

    def local(self, ranges: Ranges) -> Ranges:
        """The part of ``ranges`` in this chunk, in rows of its design."""
        cut = [(max(begin, self.begin), min(end, self.end)) for begin, end in ranges]
        return [(begin - self.first, end - self.first) for begin, end in cut if begin < end]


class StreamedDesign:
    """``X[t, (i, j)] = features[t - delays[i], j]`` inside the run of t, else 0, features read when needed.

    Parameters
    ----------
    source : Readable
        The base features, (n_samples, n_features).
    delays : sequence of int, in samples
    runs : sequence of int or None
        Run lengths; None takes the source's.
    dtype : float32 or float64, optional
        Of the design; default: the source's.
    rows_per_chunk, columns_per_chunk : int
        How much is read at a time: rows (all columns) for Grams and products, columns (all rows) for the
        kernel. One chunk more is read ahead.
    between_passes : callable, optional
        Called before and after every pass over the source; raises where the data have changed.

    Raises
    ------
    ValueError
        Runs that do not add up, delays that repeat or are as long as a run.

    Notes
    -----
    Chunks overlap by the longest delay, so a chunk is a small delayed design of its own. Sums over chunks
    differ from :class:`DelayedDesign` by rounding only.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import StreamedDesign
    >>> from voxridge.streams import as_source
    >>> source = as_source(np.array([[1.0], [2.0], [4.0]]), name="features")
    >>> design = StreamedDesign(source, delays=(0, 1), rows_per_chunk=2)
    >>> design.gram([(0, 3)]).tolist()
    [[21.0, 10.0], [10.0, 5.0]]
    """

    def __init__(
        self,
        source: Readable,
        delays: Sequence[int] = (0,),
        runs: Sequence[int] | None = None,
        *,
        dtype: Any = None,
        rows_per_chunk: int = 4096,
        columns_per_chunk: int = 512,
        between_passes: Callable[[], None] | None = None,
    ) -> None:
        self.source = source
        self.dtype: np.dtype[Any] = np.dtype(source.dtype if dtype is None else dtype)
        self.offsets: list[int] = run_offsets(source.runs if runs is None else runs, source.shape[0])
        self.delays: tuple[int, ...] = check_delays(delays, np.diff(self.offsets).tolist())
        self.rows_per_chunk, self.columns_per_chunk = rows_per_chunk, columns_per_chunk
        self.between_passes = between_passes or (lambda: None)

    @property
    def n_samples(self) -> int:
        """Rows."""
        return int(self.source.shape[0])

    @property
    def n_features(self) -> int:
        """Columns of the features before they are delayed."""
        return int(self.source.shape[1])

    @property
    def n_columns(self) -> int:
        """Columns of the design: n_features for every delay."""
        return self.n_features * len(self.delays)

    def everything(self) -> Ranges:
        """The range of all rows."""
        return [(0, self.n_samples)]

    def chunks(self, ranges: Ranges | None = None) -> Iterator[Chunk]:
        """The design in pieces, in order; chunks without a row of ``ranges`` are not read.

        Parameters
        ----------
        ranges : list of (begin, end)
            Ascending, disjoint ranges of rows. Default: all.
        """
        self.between_passes()
        wanted = self.everything() if ranges is None else ranges
        pieces = [
            (begin, min(begin + self.rows_per_chunk, self.n_samples))
            for begin in range(0, self.n_samples, self.rows_per_chunk)
        ]
        pieces = [(b, e) for b, e in pieces if any(first < e and last > b for first, last in wanted)]
        with read_ahead(partial(self._chunk, begin, end) for begin, end in pieces) as chunks:
            yield from chunks
        self.between_passes()

    def _chunk(self, begin: int, end: int) -> Chunk:
        first, last = self._reach(begin, end)
        block = self.source.read(rows=slice(first, last)).astype(self.dtype, copy=False)
        inside = [offset - first for offset in self.offsets if first < offset < last]
        piece = DelayedDesign.piece(block, self.delays, [0, *inside, last - first])
        return Chunk(begin, end, first, piece)

    def _reach(self, begin: int, end: int) -> tuple[int, int]:
        """The feature rows that any delay of the rows [begin, end) reaches, and those rows themselves."""
        run_of = np.searchsorted(self.offsets, [begin, end - 1], side="right") - 1
        first = max(begin - max(0, *self.delays), self.offsets[run_of[0]])
        last = min(end - min(0, *self.delays), self.offsets[run_of[1] + 1])
        return first, last

    def rows(self, begin: int, end: int) -> Floating:
        """``X[begin:end]`` itself (end - begin, n_columns).

        Parameters
        ----------
        begin, end : int
            The rows [begin, end).
        """
        chunk = self._chunk(begin, end)
        self.between_passes()
        return chunk.design.rows(begin - chunk.first, end - chunk.first)

    def run(self, begin: int, end: int) -> DelayedDesign:
        """One run as a design in memory.

        Parameters
        ----------
        begin, end : int
            The rows [begin, end).
        """
        block = self.source.read(rows=slice(begin, end)).astype(self.dtype, copy=False)
        self.between_passes()
        return DelayedDesign(block, self.delays)

    def gram(self, ranges: Ranges, dtype: Any = np.float64) -> Floating:
        """``X[rows]' X[rows]`` (p, p), formed and summed in ``dtype``; a second p x p matrix is needed.

        Parameters
        ----------
        ranges : list of (begin, end)
            Ascending, disjoint ranges of rows.
        dtype : float32 or float64
        """
        out: Floating | None = None
        for chunk in self.chunks(ranges):
            part = chunk.design.gram(chunk.local(ranges), dtype)
            if out is None:
                out = part
            else:
                out += part
        return np.zeros((self.n_columns, self.n_columns), dtype=dtype) if out is None else out

    def kernel(self, dtype: Any = np.float64) -> Floating:
        """``X X'`` (n, n), formed and summed in ``dtype``, from groups of columns.

        Parameters
        ----------
        dtype : float32 or float64
        """
        out = np.empty((self.n_samples, self.n_samples), dtype=dtype)
        for number, block in enumerate(self.column_groups()):
            _cpu.base_kernel(block, out, number > 0)
        _cpu.shift_kernel(out, self.offsets, self.offsets, self.delays, True, n_threads())
        return out

    def column_groups(self) -> Iterator[Floating]:
        """The features (n_samples, n_features before delays) in groups of columns, each read while the one
        before is worked on."""
        self.between_passes()
        step = self.columns_per_chunk

        def read(begin: int) -> Floating:
            return self.source.read(columns=slice(begin, begin + step)).astype(self.dtype, copy=False)

        with read_ahead(partial(read, begin) for begin in range(0, self.n_features, step)) as groups:
            yield from groups
        self.between_passes()

    def cross_kernel_of(self, new: DelayedDesign, dtype: Any = np.float64) -> Floating:
        """``X_new X_self'`` (n_new, n_self); the delays must be the same.

        Parameters
        ----------
        new : DelayedDesign
            With the same delays.
        dtype : float32 or float64
        """
        out = np.empty((new.n_samples, self.n_samples), dtype=dtype)
        for chunk in self.chunks():
            block = chunk.design.cross_kernel_of(new, dtype)
            out[:, chunk.begin : chunk.end] = block[:, chunk.begin - chunk.first : chunk.end - chunk.first]
        return out

    def sums(self, ranges: Ranges) -> Floating:
        """Column sums of ``X[rows]`` (p,), float64.

        Parameters
        ----------
        ranges : list of (begin, end)
            Ascending, disjoint ranges of rows.
        """
        out = np.zeros(self.n_columns)
        for chunk in self.chunks(ranges):
            out += chunk.design.sums(chunk.local(ranges))
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
        out[...] = 0
        for chunk in self.chunks(ranges):
            height = chunk.design.n_samples
            out += chunk.design.xty(y[chunk.first : chunk.first + height], chunk.local(ranges))
        return out

    def xw(self, w: Floating, ranges: Ranges | None = None) -> Floating:
        """``X[rows] w`` (n_rows, k) in the dtype of ``w``; ``ranges`` ascend.

        Parameters
        ----------
        w : ndarray (n_columns, k)
        ranges : list of (begin, end)
            Ascending, disjoint ranges of rows. Default: all.
        """
        rows = self.everything() if ranges is None else ranges
        out = np.empty((n_rows(rows), w.shape[1]), dtype=w.dtype)
        done = 0
        for chunk in self.chunks(rows):
            part = chunk.design.xw(w, chunk.local(rows))
            out[done : done + part.shape[0]] = part
            done += part.shape[0]
        return out
