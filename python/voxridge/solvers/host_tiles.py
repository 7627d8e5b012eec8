"""Centred tiles of the targets in the memory of the host."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.buffers import Buffers
from voxridge.solvers.tiles import Targets
from voxridge.streams.read_ahead import read_ahead

Floating = NDArray[Any]


class TileReader(Protocol):
    """Centred tiles (n, end - begin) of the targets, where a fit wants them."""

    def read(self, tiles: Sequence[tuple[int, int]]) -> Generator[Any]:
        """One after the other; each is gone when the next is asked for."""
        ...


class HostTiles:
    """Tiles in ``dtype``; those in files are read while the one before is worked on."""

    def __init__(self, targets: Targets, dtype: Any, *, centre: bool) -> None:
        self.targets, self.dtype, self.centre = targets, dtype, centre
        self._buffers = Buffers()

    def read(self, tiles: Sequence[tuple[int, int]]) -> Generator[Floating]:
        """See :class:`TileReader`.

        Raises
        ------
        ValueError
            Where a target is not finite.
        """
        targets = self.targets
        jobs = [partial(targets.read, begin, end) for begin, end in tiles]
        with read_ahead(jobs, depth=0 if targets.in_memory else 1) as blocks:
            for begin, end in tiles:
                y = self._buffers.take("y", targets.n_samples, end - begin, self.dtype)
                targets.place(next(blocks), begin, end, y, self.centre)
                sums, squares = np.empty(y.shape[1]), np.empty(y.shape[1])
                _cpu.column_moments(y, [(0, y.shape[0])], sums, squares, n_threads())
                require_finite(squares, begin)
                yield y


def require_finite(squares: Floating, begin: int) -> None:
    """``squares``: sums of squares of the targets from ``begin``. Scores hide what is not finite: the
    correlation of a bad target is 0.

    Raises
    ------
    ValueError
        Naming the first target that is not finite.
    """
    bad = ~np.isfinite(squares)
    if bad.any():
        raise ValueError(
            f"target {begin + int(np.argmax(bad))} of the responses is not finite, though it was when "
            "it was checked: the data have changed since; start again when nothing writes them any more"
        )
