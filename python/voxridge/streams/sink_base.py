"""What everything that takes a matrix tile by tile has in common."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from voxridge.streams.segments import Array


class Sink(Protocol):
    """A (size, n_targets) matrix that is written a tile at a time, each tile once, in any order.

    ``axis`` says what a tile is a range of: 1 for targets (weights), 0 for rows (predictions).
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(size, n_targets), whatever the order in storage."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the numbers are stored as."""
        ...

    @property
    def axis(self) -> int:
        """0 or 1."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether tiles of an earlier process are in it."""
        ...

    @property
    def finished(self) -> bool:
        """Whether `finish` is done, in this process or in an earlier one."""
        ...

    @property
    def result(self) -> Any:
        """What the caller is given: the array, the path of the file, or the object that came in."""
        ...

    def write(self, begin: int, end: int, block: Array) -> None:
        """Copy a block to its place: (size, end - begin), or with axis 0 (end - begin, n_targets)."""
        ...

    def place(self, begin: int, end: int) -> Array | None:
        """Memory to make a block in instead of writing it, where there is such, in the shape of ``write``.

        Parameters
        ----------
        begin, end : int
            The targets (axis 1) or rows (axis 0) of the tile.
        """
        ...

    def read(self, begin: int, end: int) -> Array:
        """A tile as it was written, in the shape of ``write``; not to be written to.

        Parameters
        ----------
        begin, end : int
            The targets (axis 1) or rows (axis 0) of the tile.
        """
        ...

    def flush(self) -> None:
        """Force what was written to the disk, where there is one."""
        ...

    def finish(self, attributes: Mapping[str, Any] | None = None) -> None:
        """Every tile is there. ``attributes`` go into a file that the sink makes itself, else nowhere."""
        ...

    def close(self) -> None:
        """Let go of files that the sink has opened."""
        ...


def check_tile(sink: Sink, begin: int, end: int, block: Array | None) -> tuple[int, int]:
    """Raise a ValueError unless the tile lies inside the sink and the block has its shape and a fit type."""
    begin, end = operator.index(begin), operator.index(end)
    what = "targets" if sink.axis == 1 else "rows"
    if not 0 <= begin <= end <= sink.shape[sink.axis]:
        raise ValueError(f"{what} {begin} to {end} do not lie inside the shape {sink.shape} of the output")
    if block is not None:
        wanted = (sink.shape[0], end - begin) if sink.axis == 1 else (end - begin, sink.shape[1])
        if block.shape != wanted:
            text = f"the block of {what} {begin} to {end} has shape {block.shape}"
            raise ValueError(f"{text}; the output of shape {sink.shape} takes {wanted}")
        if not np.can_cast(block.dtype, sink.dtype, "same_kind"):
            raise ValueError(f"a block of dtype {block.dtype} does not fit an output of dtype {sink.dtype}")
    return begin, end
