"""Looking through a source once, in chunks: bad numbers, constant targets, subjects without data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxridge.streams.segments import Array
from voxridge.streams.sources import Source

# Large enough to stream at the speed of the disk, small enough to stay near the processor.
_CHUNK_BYTES = 8 << 20
_MOST_BYTES = 64 << 20


def row_chunks(source: Source, *, chunk_rows: int | None = None) -> Iterator[slice]:
    """Slices of consecutive rows that cover a source, each inside one run.

    Without ``chunk_rows`` a slice holds about 8 MiB, more (up to 64 MiB) where the file keeps more rows
    together: an HDF5 chunk that is compressed should be unpacked once.

    Parameters
    ----------
    source : Source
        (n_samples, n_columns).
    chunk_rows : int, optional
        Rows of a slice. Default: about 8 MiB.

    Raises
    ------
    ValueError
        ``chunk_rows`` is below 1.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source, row_chunks
    >>> list(row_chunks(as_source(numpy.ones((5, 2)), name="features", runs=(3, 2)), chunk_rows=2))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 5, None)]
    """
    if chunk_rows is None:
        row_bytes = max(1, source.shape[1] * source.dtype.itemsize)
        chunk_rows = max(1, _CHUNK_BYTES // row_bytes)
        together = int(getattr(source, "row_multiple", 1))
        if together > 1:
            rounded = -(-chunk_rows // together) * together
            chunk_rows = min(rounded, max(chunk_rows, _MOST_BYTES // row_bytes))
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows is {chunk_rows}; give at least 1")
    start = 0
    for length in source.runs:
        for first in range(start, start + length, chunk_rows):
            yield slice(first, min(first + chunk_rows, start + length))
        start += length


def locate_row(source: Source, row: int) -> tuple[str, int]:
    """The name of the run that holds a row, and the row's index inside it.

    Parameters
    ----------
    source : Source
        (n_samples, n_columns).
    row : int
        Below ``source.shape[0]``.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source, locate_row
    >>> locate_row(as_source(numpy.ones((5, 2)), name="features", runs=(3, 2)), 4)
    ('run 1', 1)
    """
    ends = np.cumsum(source.runs)
    run = int(np.searchsorted(ends, row, side="right"))
    return source.run_names[run], int(row - ends[run] + source.runs[run])


def check_finite(source: Source, *, name: str | None = None, chunk_rows: int | None = None) -> None:
    """Raise at the first NaN or infinity of a source (meant for features; responses go to `scan_targets`).

    Parameters
    ----------
    source : Source
        (n_samples, n_columns).
    name : str, optional
        What the message calls the data. Default: the source's name.
    chunk_rows : int, optional
        Rows to read at a time. Default: about 8 MiB.

    Raises
    ------
    ValueError
        Names the run, the row inside the run, and the column of the first bad value.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source
    >>> x = numpy.zeros((5, 3))
    >>> x[4, 1] = numpy.nan
    >>> check_finite(as_source(x, name="features", runs=(3, 2)))
    Traceback (most recent call last):
    ValueError: features has nan at run 'run 1', row 1 of that run, column 1; remove or repair it
    """
    if getattr(source, "finite", False):  # by the device that it is on
        return
    for rows in row_chunks(source, chunk_rows=chunk_rows):
        chunk = source.read(rows)
        # NaN and infinity show in the extremes, so the usual case needs no mask as large as the chunk.
        if not (np.isfinite(chunk.min()) and np.isfinite(chunk.max())):
            row, column = _first_bad(chunk)
            run, inside = locate_row(source, rows.start + row)
            label = name or getattr(source, "name", "source")
            raise ValueError(
                f"{label} has {chunk[row, column]} at run {run!r}, row {inside} of that run, column {column}"
                "; remove or repair it"
            )


@dataclass(frozen=True)
class TargetScan:
    """What `scan_targets` found; every mask has shape (n_targets,) and dtype bool.

    ``valid`` is ``~(constant | nonfinite)``. ``first_bad`` is (run name, row inside the run, column) of the
    first NaN or infinity in reading order. ``mean`` (n_targets,) float64 is NaN where a target is not finite.

    Attributes
    ----------
    valid, constant, nonfinite : ndarray of bool (n_targets,)
        A target is valid unless it is one of the other two.
    first_bad : tuple or None
        (run name, row inside the run, column) of the first NaN or infinity.
    mean : ndarray (n_targets,) float64
        NaN where a target is not finite.
    all_zero : bool
        There is nothing but zeros.
    """

    valid: Array
    constant: Array
    nonfinite: Array
    first_bad: tuple[str, int, int] | None
    mean: Array
    all_zero: bool

    @property
    def n_masked(self) -> int:
        """How many targets are not valid."""
        return int(np.count_nonzero(~self.valid))

    def message(self, name: str = "responses") -> str:
        """One sentence on the targets that were masked; empty if there are none.

        Parameters
        ----------
        name : str
            What the sentence calls the data.
        """
        if not self.n_masked:
            return ""
        parts = []
        if self.constant.any():
            columns = np.flatnonzero(self.constant)
            parts.append(f"{columns.size} constant (first: column {columns[0]})")
        if self.first_bad is not None:
            run, row, column = self.first_bad
            count = int(np.count_nonzero(self.nonfinite))
            where = f"run {run!r}, row {row} of that run, column {column}"
            parts.append(f"{count} with NaN or infinity (first: {where})")
        return f"{self.n_masked} of {self.valid.size} targets of {name} are left out: {', '.join(parts)}"

    def require_valid(self, name: str = "responses") -> None:
        """Raise if nothing is left to fit.

        Parameters
        ----------
        name : str
            What the sentence calls the data.

        Raises
        ------
        ValueError
            Every value is zero (a subject without data), or no target is valid.
        """
        if self.all_zero:
            raise ValueError(f"{name}: every value is zero, there is no data in it; leave this subject out")
        if not self.valid.any():
            raise ValueError(f"{name}: no target can be fitted; {self.message(name)}")


def scan_targets(source: Source, *, chunk_rows: int | None = None) -> TargetScan:
    """Find the targets (voxels) that can be fitted, in one pass over the responses.

    A target is constant if its range is at the level of rounding,
    ``max - min <= 4 eps max(abs(max), abs(min))``, with eps of ``source.dtype``. One sample makes every
    target constant.

    Parameters
    ----------
    source : Source
        (n_samples, n_columns).
    chunk_rows : int, optional
        Rows to read at a time. Default: about 8 MiB.

    Returns
    -------
    TargetScan
        Masks, first bad value, means, and whether all of the responses are zero.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source
    >>> y = numpy.array([[1.0, 2.0, 3.0], [1.0, numpy.nan, 4.0]])
    >>> scan = scan_targets(as_source(y, name="responses"))
    >>> scan.valid, scan.constant, scan.first_bad
    (array([False, False,  True]), array([ True, False, False]), ('run 0', 1, 1))
    """
    from voxridge.streams.device_source import DeviceSource  # built on the sources

    if isinstance(source, DeviceSource):
        return _scan_on_device(source)
    n_samples, n_targets = source.shape
    low = np.full(n_targets, np.inf, source.dtype)
    high = np.full(n_targets, -np.inf, source.dtype)
    total = np.zeros(n_targets)
    first_bad: tuple[str, int, int] | None = None
    with np.errstate(invalid="ignore", over="ignore"):
        for rows in row_chunks(source, chunk_rows=chunk_rows):
            chunk = source.read(rows)
            np.minimum(low, chunk.min(axis=0), out=low)
            np.maximum(high, chunk.max(axis=0), out=high)
            total += chunk.sum(axis=0, dtype=np.float64)
            if first_bad is None and not (np.isfinite(low).all() and np.isfinite(high).all()):
                row, column = _first_bad(chunk)
                first_bad = (*locate_row(source, rows.start + row), column)
        nonfinite = ~(np.isfinite(low) & np.isfinite(high))
        size = np.maximum(np.abs(low), np.abs(high))
        # Halves, because high - low may overflow where both are near the largest number.
        constant = (high / 2 - low / 2 <= 2 * np.finfo(source.dtype).eps * size) & ~nonfinite
    mean: np.ndarray[Any, np.dtype[np.float64]] = np.where(nonfinite, np.nan, total / max(1, n_samples))
    all_zero = n_targets > 0 and bool(np.all(low == 0) and np.all(high == 0))
    return TargetScan(~(constant | nonfinite), constant, nonfinite, first_bad, mean, all_zero)


def _scan_on_device(source: Any) -> TargetScan:
    """The device says which targets are beyond doubt; the others are looked at here."""
    from voxridge.streams.device_scan import screen, some_targets

    mean, clear = screen(source)
    rest = np.flatnonzero(~clear)
    constant, nonfinite = np.zeros(clear.size, dtype=bool), np.zeros(clear.size, dtype=bool)
    if not rest.size:
        return TargetScan(clear, constant, nonfinite, None, mean, False)
    found = scan_targets(some_targets(source, rest))
    constant[rest], nonfinite[rest], mean[rest] = found.constant, found.nonfinite, found.mean
    first_bad = found.first_bad and (*found.first_bad[:2], int(rest[found.first_bad[2]]))
    all_zero = found.all_zero and rest.size == clear.size
    return TargetScan(~(constant | nonfinite), constant, nonfinite, first_bad, mean, all_zero)


def _first_bad(chunk: Array) -> tuple[int, int]:
    bad = int(np.argmin(np.isfinite(chunk).ravel()))
    row, column = divmod(bad, chunk.shape[1])
    return row, column
