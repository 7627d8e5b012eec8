"""Second moments between several recordings of the same rows (repeats of a stimulus, or subjects), target by
target: all that reliability, signal power and inter-subject correlation are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from voxridge.science.conditions import Float64

if TYPE_CHECKING:
    from voxridge.streams.sources import Source

TILE_BYTES = 1 << 25
Span = tuple[int, int]


@dataclass(frozen=True)
class Series:
    """Recordings of the same rows and targets, and which rows of each run are looked at."""

    sources: tuple[Source, ...]
    spans: tuple[Span, ...]
    name: str

    @property
    def n_series(self) -> int:
        return len(self.sources)

    @property
    def n_targets(self) -> int:
        return self.sources[0].shape[1]

    @property
    def n_rows(self) -> int:
        return sum(end - begin for begin, end in self.spans)

    def tiles(self, bytes_per_target: int) -> Iterator[slice]:
        """Blocks of targets whose temporaries keep within some tens of MiB."""
        step = max(1, TILE_BYTES // max(1, bytes_per_target))
        for start in range(0, self.n_targets, step):
            yield slice(start, min(start + step, self.n_targets))

    def mean(
        self, members: Sequence[int], rows: slice = slice(None), columns: slice = slice(None)
    ) -> Float64:
        """Mean over some of the recordings, (n_rows, n_targets) float64."""
        total = self.sources[members[0]].read(rows, columns).astype(np.float64)
        for member in members[1:]:
            total += self.sources[member].read(rows, columns)
        return total / len(members)


@dataclass(frozen=True)
class Moments:
    """Of one block of rows or of several: ``count`` rows, ``sums`` (..., n_targets, n_series) and
    ``products`` (..., n_targets, n_series, n_series), about an origin that is the same for all blocks."""

    count: Float64
    sums: Float64
    products: Float64

    def total(self) -> Moments:
        """All blocks together."""
        return Moments(self.count.sum(axis=0), self.sums.sum(axis=0), self.products.sum(axis=0))

    def without_each(self) -> Iterator[Moments]:
        """All blocks but one, for each one."""
        whole = self.total()
        for count, sums, products in zip(self.count, self.sums, self.products, strict=True):
            yield Moments(whole.count - count, whole.sums - sums, whole.products - products)

    def covariance(self) -> Float64:
        """Sample covariance (divided by rows - 1), (n_targets, n_series, n_series); exactly 0 in the row and
        column of a recording that is constant."""
        mean = self.sums / self.count
        with np.errstate(invalid="ignore", over="ignore"):
            centred = self.products - mean[..., :, None] * self.sums[..., None, :]
        return np.asarray(centred / (self.count - 1))


def as_series(
    data: Any, name: str, *, runs: Sequence[int] | None = None, skip: tuple[int, int] = (0, 0)
) -> Series:
    """Recordings in whatever they are stored in: a 3-D array (n_series, n_samples, n_targets), a list of such
    arrays (one per run), or a list with one source, path, matrix or list of runs for each recording.

    Raises
    ------
    ValueError
        Fewer than two recordings, or recordings that differ in their rows, runs or targets; nothing left
        after ``skip``.
    """
    from voxridge.streams.sources import as_source

    sources = []
    for number, recording in enumerate(_recordings(data, name)):
        sources.append(as_source(recording, name=f"{name}[{number}]", runs=runs))
    if len(sources) < 2:
        raise ValueError(f"{name} holds {len(sources)} recording(s): give at least 2")
    first = sources[0]
    for number, source in enumerate(sources):
        if source.shape != first.shape or source.runs != first.runs:
            raise ValueError(
                f"{name}[0] has shape {first.shape} in runs of {first.runs} rows and {name}[{number}] has "
                f"shape {source.shape} in runs of {source.runs}: give the same rows and targets in all"
            )
    return Series(tuple(sources), _spans(first.runs, skip), name)


def _recordings(data: Any, name: str) -> list[Any]:
    depth = getattr(data, "ndim", None)
    if depth is not None:
        if depth != 3:
            raise ValueError(
                f"{name} has shape {data.shape}: give (n_recordings, n_samples, n_targets), or a list"
            )
        return list(data)
    parts = list(data)
    if parts and all(getattr(part, "ndim", None) == 3 for part in parts):
        counts = {len(part) for part in parts}
        if len(counts) > 1:
            raise ValueError(
                f"the runs of {name} hold {sorted(counts)} recordings: give the same ones in every run"
            )
        return [[part[i] for part in parts] for i in range(len(parts[0]))]
    return parts


def _spans(runs: Sequence[int], skip: tuple[int, int]) -> tuple[Span, ...]:
    first, last = skip
    if first < 0 or last < 0:
        raise ValueError(f"skip={skip}: give the rows to leave out at the start and the end of each run")
    ends = np.cumsum(runs).tolist()
    spans = [(end - length + first, end - last) for end, length in zip(ends, runs, strict=True)]
    for (begin, end), length in zip(spans, runs, strict=True):
        if end - begin < 2:
            raise ValueError(
                f"skip={skip} leaves {max(0, end - begin)} of a run's {length} rows: keep 2 or more"
            )
    return tuple(spans)


def time_blocks(spans: Sequence[Span], length: int) -> list[Span]:
    """Spans cut into blocks of about ``length`` rows, each inside one span and none shorter than half."""
    blocks = []
    for begin, end in spans:
        n_blocks = max(1, round((end - begin) / length))
        edges = np.linspace(begin, end, n_blocks + 1).round().astype(int).tolist()
        blocks += list(pairwise(edges))
    return blocks


def block_moments(series: Series, blocks: Sequence[Span], columns: slice) -> Moments:
    """Moments of every block of rows for some targets: arrays (n_blocks, n_targets, n_series[, n_series]).

    The origin is each recording's first row, so that a constant one has moments of exactly 0.
    """
    n_targets, n_series = columns.stop - columns.start, series.n_series
    sums = np.empty((len(blocks), n_targets, n_series))
    products = np.empty((len(blocks), n_targets, n_series, n_series))
    row = series.spans[0][0]
    origin = np.stack([source.read(slice(row, row + 1), columns)[0] for source in series.sources])
    with np.errstate(invalid="ignore", over="ignore"):
        for number, (begin, end) in enumerate(blocks):
            values = np.empty((n_targets, n_series, end - begin))
            for member, source in enumerate(series.sources):
                values[:, member] = source.read(slice(begin, end), columns).T
            values -= origin.T[:, :, None]
            sums[number] = values.sum(axis=-1)
            np.matmul(values, values.transpose(0, 2, 1), out=products[number])
    return Moments(np.array([float(end - begin) for begin, end in blocks]), sums, products)


def bytes_per_target(series: Series, blocks: Sequence[Span], copies: int = 4) -> int:
    """Temporaries of :func:`block_moments`, and of ``copies`` arrays as large as its products of a block."""
    longest = max(end - begin for begin, end in blocks)
    square = series.n_series**2
    return 8 * (series.n_series * (longest + len(blocks)) + square * (len(blocks) + copies))
