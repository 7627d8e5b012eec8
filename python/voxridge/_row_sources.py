"""Some rows of a source as a source: the pieces that a fold leaves of the runs, each a run of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.rows import Ranges, ranges_of
from voxridge.streams import RunSource, Source
from voxridge.streams.identity import Identity, array_identity, content_digest, identity

Array = NDArray[Any]


def pieces(rows: NDArray[np.intp], runs: Sequence[int]) -> Ranges:
    """Sorted rows as ranges of neighbours, each inside one run."""
    ends = np.cumsum(runs)
    found: Ranges = []
    for begin, end in ranges_of(rows):
        cuts = [begin, *ends[(ends > begin) & (ends < end)].tolist(), end]
        found += itertools.pairwise(cuts)
    return found


def rows_of(source: Source, ranges: Ranges, name: str) -> RunSource:
    """The rows of ``ranges``, one run each; nothing is read."""
    return RunSource(
        [_Rows(source, begin, end) for begin, end in ranges],
        name=name,
        run_names=[f"rows {begin} to {end}" for begin, end in ranges],
    )


class _Rows:
    """Rows [begin, end) of a source as a segment of another."""

    def __init__(self, source: Source, begin: int, end: int) -> None:
        self.source, self.begin, self.end = source, begin, end
        self.shape = (end - begin, source.shape[1])
        self.dtype, self.in_memory = source.dtype, source.in_memory
        self.row_multiple = int(getattr(source, "row_multiple", 1))

    def view(self, rows: slice, columns: slice) -> Array | None:
        return self._read(rows, columns) if self.in_memory else None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        out[...] = self._read(rows, columns)

    def identity(self, *, contents: bool = True) -> Identity:
        if self.in_memory:
            return array_identity(self._read(slice(None), slice(None)), contents=contents)
        if isinstance(self.source, RunSource):
            parts = self.source.identities(contents=contents)
            paths = dict.fromkeys(file["path"] for part in parts for file in part["files"])
            return identity(paths, self, rows=[self.begin, self.end], parts=parts)
        found = identity([], self)
        if contents:
            found["content"] = content_digest(
                self.shape, self.dtype, lambda rows: self._read(rows, slice(None))
            )
        return found

    def _read(self, rows: slice, columns: slice) -> Array:
        start, stop, _ = rows.indices(self.end - self.begin)
        return self.source.read(slice(self.begin + start, self.begin + stop), columns)
