"""Which targets on a device certainly can be fitted, found there: only the others have to be looked at."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxridge.streams.device_source import DeviceSource
from voxridge.streams.identity import Identity, identity
from voxridge.streams.segments import Array
from voxridge.streams.sources import RunSource

_TILE_BYTES = 128 * 2**20
_MARGIN = 16  # in units of rounding; four are constant by definition


def screen(source: DeviceSource) -> tuple[Array, Array]:
    """Means (n_targets,) float64, and which targets are certainly finite and not constant.

    With d the differences to a target's first sample, its range is no less than the root of their mean
    square, and its values are no larger than the first one and the root of their sum of squares.
    """
    (n, n_targets), ops, number = source.shape, source.cuda.ops, source.cuda.number
    whole, eps = source.on_device, float(np.finfo(source.dtype).eps)
    mean, clear = np.empty(n_targets), np.zeros(n_targets, dtype=bool)
    width = max(512, _TILE_BYTES // (n * source.dtype.itemsize))
    with ops.Queue(number) as queue, np.errstate(invalid="ignore", over="ignore"):
        for begin in range(0, n_targets, width):
            end = min(begin + width, n_targets)
            first = source.read(slice(0, 1), slice(begin, end))[0].astype(np.float64)
            sums, squares = _sums(ops, number, queue, whole[:, begin:end], first)
            mean[begin:end] = sums / n
            spread, size = np.sqrt(squares / n), np.abs(first) + np.sqrt(squares)
            finite = np.isfinite(sums) & np.isfinite(squares)
            clear[begin:end] = finite & (spread > _MARGIN * eps * size)
    return mean, clear


def _sums(ops: Any, number: int, queue: Any, y: Any, first: Array) -> Array:
    """Sums of y, and sums of squares of ``y - first``, (2, v)."""
    n, v = y.shape
    there, valid = ops.empty((v,), np.dtype(np.float64), number), ops.empty((v,), np.dtype(np.uint8), number)
    ops.upload(first, there, queue)
    ops.upload(np.ones(v, dtype=np.uint8), valid, queue)
    moved = ops.empty((n, v), y.dtype, number)
    ops.centre(y, there, valid, moved, queue=queue)
    sums = ops.empty((3, v), np.dtype(np.float64), number)
    ops.column_moments(moved, 0, n, sums[0], sums[1], queue=queue)
    ops.column_moments(y, 0, n, sums[0], sums[2], queue=queue)
    found = np.empty((2, v))
    ops.download(sums[:2], found, queue)
    queue.synchronize()
    return found


def some_targets(source: DeviceSource, which: Array) -> RunSource:
    """The columns ``which`` as a source of the host, in the same runs."""
    return RunSource(
        [_Columns(source, which)], name=source.name, runs=source.runs, run_names=source.run_names
    )


class _Columns:
    """Some columns of a matrix on a device as a segment; they are gathered there before they are sent."""

    in_memory = True
    row_multiple = 1

    def __init__(self, source: DeviceSource, which: Array) -> None:
        self.source, self.which = source, np.ascontiguousarray(which, dtype=np.int64)
        self.shape = source.shape[0], int(which.size)
        self.dtype = source.dtype

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        ops, number = self.source.cuda.ops, self.source.cuda.number
        which = self.which[columns]
        with ops.Queue(number) as queue:
            index = ops.empty(which.shape, which.dtype, number)
            ops.upload(which, index, queue)
            part = ops.empty(out.shape, self.dtype, number)
            ops.take_columns(self.source.on_device[rows], index, part, queue=queue)
            ops.download(part, out, queue)

    def identity(self, *, contents: bool = True) -> Identity:
        return identity([], self)
