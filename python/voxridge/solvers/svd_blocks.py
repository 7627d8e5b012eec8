"""A delayed design as a tall matrix in blocks of rows: its own rows where it is tall, its columns where it is
wide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.tsqr import Place
from voxridge.streams.read_ahead import read_ahead

Floating = NDArray[Any]


class RowDesign(Protocol):
    """What the SVD asks of a design: :class:`~voxridge.solvers.design.DelayedDesign`,
    :class:`~voxridge.solvers.stream_design.StreamedDesign`, or anything else with these."""

    @property
    def n_samples(self) -> int: ...

    @property
    def n_columns(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def rows(self, begin: int, end: int) -> Floating: ...


class Blocks(Protocol):
    """Blocks of rows of a tall float64 matrix T, centred already.

    ``width`` is the number of columns of a block: those of T, behind ``extra`` (0 or 1) columns that take up
    the constant direction. ``place(i)`` says which rows of T block i holds. ``recentre`` learns, after a
    pass, what the means of T's columns still were.
    """

    extra: int

    @property
    def n_rows(self) -> int: ...

    @property
    def width(self) -> int: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Floating]: ...

    def place(self, number: int) -> Place: ...

    def recentre(self, offset: Floating) -> None: ...


@dataclass
class RowBlocks:
    """Samples of a tall design, (c, n_columns) float64 with contiguous columns.

    With centring, the means of the first block are taken off and a column of ones (``root`` with sample
    weights, whose roots scale the rows) stands before the others: what is orthogonal to it is the design
    about its training means, to rounding of the deviations, in one pass.
    """

    design: RowDesign
    size: int
    center: bool
    root: Floating | None = None
    shift: Floating | None = None

    def __post_init__(self) -> None:
        self.extra = int(self.center)

    @property
    def n_rows(self) -> int:
        return self.design.n_samples

    @property
    def width(self) -> int:
        return self.design.n_columns + self.extra

    def __len__(self) -> int:
        return -(-self.n_rows // self.size)

    @property
    def mean(self) -> Floating:
        return np.zeros(self.design.n_columns) if self.shift is None else self.shift

    def recentre(self, offset: Floating) -> None:
        self.shift = self.mean + offset

    def place(self, number: int) -> Place:
        begin = number * self.size
        end = min(begin + self.size, self.n_rows)
        return [(slice(0, end - begin), slice(begin, end))]

    def __iter__(self) -> Iterator[Floating]:
        return _each_block(self)

    def _read(self, number: int) -> Floating:
        [(_, rows)] = self.place(number)
        return self.design.rows(rows.start, rows.stop)

    def _block(self, number: int, raw: Floating) -> Floating:
        [(_, rows)] = self.place(number)
        _check_finite(raw, f"in rows {rows.start} to {rows.stop} of the design")
        block = np.empty((raw.shape[0], self.width), order="F")
        inner = block[:, self.extra :]
        if self.center:
            if self.shift is None:
                self.shift = raw.mean(axis=0, dtype=np.float64)
            np.subtract(raw, self.shift, out=inner)
            block[:, 0] = 1.0
        else:
            inner[...] = raw
        if self.root is not None:
            block *= self.root[rows, None]
        return block


@dataclass
class ColumnBlocks:
    """Columns of a wide design, some features with all their delays at a time, as rows (c, n_samples).

    With centring, each column's mean is taken off, and a reflection turns the constant direction (``root``
    with sample weights) into the first coordinate, which is left out: (c, n_samples - 1). ``mean`` fills as
    the blocks go by.
    """

    design: RowDesign
    size: int
    center: bool
    root: Floating | None = None
    extra: int = 0
    mean: Floating = field(init=False)

    def __post_init__(self) -> None:
        self.n_delays = len(getattr(self.design, "delays", (0,)))
        self.n_features = self.design.n_columns // self.n_delays
        self.step = max(1, self.size // self.n_delays)
        self.mean = np.zeros(self.design.n_columns)
        self.mirror = _mirror(self.design.n_samples, self.root) if self.center else None

    @property
    def n_rows(self) -> int:
        return self.design.n_columns

    @property
    def width(self) -> int:
        return self.design.n_samples - int(self.center)

    def __len__(self) -> int:
        return -(-self.n_features // self.step)

    def recentre(self, offset: Floating) -> None:
        raise AssertionError("columns are centred one by one, when they are read")

    def place(self, number: int) -> Place:
        begin, end = self._features(number)
        height = end - begin
        firsts = [(i * height, i * self.n_features + begin) for i in range(self.n_delays)]
        return [(slice(here, here + height), slice(there, there + height)) for here, there in firsts]

    def __iter__(self) -> Iterator[Floating]:
        return _each_block(self)

    def _features(self, number: int) -> tuple[int, int]:
        begin = number * self.step
        return begin, min(begin + self.step, self.n_features)

    def _read(self, number: int) -> Floating:
        begin, end = self._features(number)
        features = getattr(self.design, "features", None)
        if features is not None:
            return np.asarray(features[:, begin:end])
        source = getattr(self.design, "source", None)
        if source is not None:
            return np.asarray(source.read(columns=slice(begin, end)), dtype=self.design.dtype)
        return _columns_from_rows(self.design, begin, end)

    def _block(self, number: int, raw: Floating) -> Floating:
        begin, end = self._features(number)
        _check_finite(raw, f"in columns {begin} to {end} of the features")
        columns = self._delayed(raw)
        if self.center:
            self._centre(number, columns)
        if self.root is not None:
            columns *= self.root[:, None]
        if self.mirror is None:
            return columns.T
        shadow = self.mirror @ columns
        for rows in _strips(columns.shape[0]):
            columns[rows] -= (2.0 * self.mirror[rows, None]) * shadow
        return columns[1:].T

    def _delayed(self, raw: Floating) -> Floating:
        """(n_samples, n_delays * width) float64: the delays of these features side by side."""
        offsets = getattr(self.design, "offsets", [0, self.design.n_samples])
        delays, width = getattr(self.design, "delays", (0,)), raw.shape[1]
        out = np.zeros((raw.shape[0], self.n_delays * width))
        for first, last in pairwise(offsets):
            for i, delay in enumerate(delays):
                start, stop = max(first, first + delay), min(last, last + delay)
                out[start:stop, i * width : (i + 1) * width] = raw[start - delay : stop - delay]
        return out

    def _centre(self, number: int, columns: Floating) -> None:
        weights = None if self.root is None else self.root**2
        mean = np.average(columns, axis=0, weights=weights)
        columns -= mean
        rest = np.average(columns, axis=0, weights=weights)  # the rounding of a mean far from zero
        columns -= rest
        for here, there in self.place(number):
            self.mean[there] = mean[here] + rest[here]

    def unreflected(self, w: Floating) -> Floating:
        """Rows (n_samples, k) in the coordinates of the samples from ``w`` (width, k), columns contiguous."""
        if self.mirror is None:
            return np.asfortranarray(w)
        out = np.zeros((w.shape[0] + 1, w.shape[1]), order="F")
        out[1:] = w
        out -= (2.0 * self.mirror[:, None]) * (self.mirror[1:] @ w)
        return out


def _columns_from_rows(design: RowDesign, begin: int, end: int) -> Floating:
    """Columns of a design that only gives rows, some rows at a time."""
    out = np.empty((design.n_samples, end - begin), dtype=design.dtype)
    for rows in _strips(design.n_samples):
        out[rows] = design.rows(rows.start, rows.stop)[:, begin:end]
    return out


def _strips(n_rows: int, size: int = 1024) -> Iterator[slice]:
    for begin in range(0, n_rows, size):
        yield slice(begin, min(begin + size, n_rows))


def _mirror(n: int, root: Floating | None) -> Floating:
    """Unit m with ``(I - 2mm') r = -|r| e_1``, r the direction that centring takes away."""
    m = np.ones(n) if root is None else np.array(root, dtype=np.float64)
    m /= np.linalg.norm(m)
    m[0] += 1.0  # entries are not negative: nothing cancels
    return np.asarray(m / np.linalg.norm(m))


def _each_block(blocks: RowBlocks | ColumnBlocks) -> Iterator[Floating]:
    """Blocks one after the other, the next one read while the caller works."""
    _require_unchanged(blocks.design)
    jobs = (partial(blocks._read, number) for number in range(len(blocks)))
    with _ahead(blocks.design, jobs) as read:
        for number, raw in enumerate(read):
            block = blocks._block(number, raw)
            del raw  # two blocks in memory, not three
            yield block
            del block


def _require_unchanged(design: RowDesign) -> None:
    """Ask a design whose features lie in files whether they are still what they were."""
    check = getattr(design, "between_passes", None)
    if check is not None:
        check()


def _ahead(
    design: RowDesign, jobs: Iterator[Callable[[], Floating]]
) -> AbstractContextManager[Iterator[Floating]]:
    """What the jobs read; from a file, the next while the caller works on the last."""
    if hasattr(design, "source"):
        return read_ahead(jobs)
    return nullcontext(job() for job in jobs)


def _check_finite(block: Floating, where: str) -> None:
    if not np.isfinite(block.sum(dtype=np.float64)) and not np.isfinite(block).all():
        count = int((~np.isfinite(block)).sum())
        raise ValueError(f"features hold NaN or infinity ({count} values {where}); an SVD needs finite data")
