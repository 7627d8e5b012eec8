"""Centred tiles of the targets on a device."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.cuda.copies import copy_rows
from voxridge.solvers.cuda.session import Array, Session
from voxridge.solvers.host_tiles import require_finite
from voxridge.solvers.tiles import Targets
from voxridge.streams.read_ahead import read_ahead

Floating = NDArray[Any]

_SLOTS = 2  # a tile that is worked on, and the next on its way


class DeviceTiles:
    """Tiles in ``dtype`` on the session's device.

    A thread reads the next tile (from a file or the memory of the host) into page-locked memory and sends it
    off while the device works on the present one; what is page-locked already is sent from where it is.
    Targets on the device are read where they lie.
    """

    def __init__(self, session: Session, targets: Targets, dtype: Any, *, centre: bool) -> None:
        self.session, self.targets, self.dtype = session, targets, np.dtype(dtype)
        self._mean = session.up(targets.mean, np.float64) if centre else None
        self._valid = session.up(targets.valid, np.uint8)
        self._sent: list[Any] = [None] * _SLOTS  # when the host's part of a slot may be written again
        self._used: list[Any] = [None] * _SLOTS  # when the device's part may

    def read(self, tiles: Sequence[tuple[int, int]]) -> Generator[Array]:
        """See :class:`~voxridge.solvers.host_tiles.TileReader`.

        Raises
        ------
        ValueError
            Where a target is not finite.
        """
        jobs = [partial(self._bring, number % _SLOTS, *tile) for number, tile in enumerate(tiles)]
        ahead = 0 if self.targets.on_device is not None else 1
        with read_ahead(jobs, depth=ahead) as arrivals:
            for number, (begin, end) in enumerate(tiles):
                raw, arrived = next(arrivals)
                y = self._centred(raw, arrived, begin, end)
                self._used[number % _SLOTS] = self.session.queue.record()
                yield y

    def _bring(self, slot: int, begin: int, end: int) -> tuple[Array, Any]:
        """Columns [begin, end) as they are, on the device, and when they will be there."""
        session, targets = self.session, self.targets
        if targets.on_device is not None:
            return targets.on_device[:, begin:end], None
        block = np.asarray(targets.read(begin, end))
        n, width = block.shape
        if block.dtype not in (np.float32, np.float64):
            block = block.astype(self.dtype)
        if not session.ops.is_pinned(block):
            if self._sent[slot] is not None:
                self._sent[slot].synchronize()
            pinned = session.take_pinned(f"raw {slot}", n, width, block.dtype)
            copy_rows(block, pinned)
            block = pinned
        raw = session.take(f"raw {slot}", n, width, block.dtype)
        if self._used[slot] is not None:
            session.copies.wait(self._used[slot])
        session.ops.upload(block, raw, session.copies)
        self._sent[slot] = session.copies.record()
        return raw, self._sent[slot]

    def _centred(self, raw: Array, arrived: Any, begin: int, end: int) -> Array:
        session, queue = self.session, self.session.queue
        if arrived is not None:
            queue.wait(arrived)
        n, width = raw.shape
        y = session.take("y", n, width, self.dtype)
        mean = None if self._mean is None else self._mean[begin:end]
        session.ops.centre(raw, mean, self._valid[begin:end], y, queue=queue)
        moments = session.take("finite", 2, width, np.float64)
        session.ops.column_moments(y, 0, n, moments[0], moments[1], queue=queue)
        require_finite(session.down(moments)[1], begin)
        return y
