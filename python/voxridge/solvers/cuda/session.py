"""What a fit holds on a device: queues, and matrices by name that every tile uses again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.solvers.cuda.copies import copy_rows

Floating = NDArray[Any]
Array = Any  # voxridge._cuda.Array, whose module may not exist


_BLOCK_BYTES = 32 * 2**20  # on their way to the host at once, twice


def _arrived(here: Floating, done: Any) -> Floating:
    done.synchronize()
    return here


class Session:
    """A device in use by one fit.

    ``ops`` is the module ``voxridge._cuda``; ``queue`` does the arithmetic, ``copies`` brings the next tile
    meanwhile. Two threads may hold a session: one queues copies, the other everything else.

    Parameters
    ----------
    ops : module
        ``voxridge._cuda``.
    device : int
        Its number.
    precision : "float32", "tf32" or "bf16"
        Of the inputs of float32 products as wide as the targets.
    """

    def __init__(self, ops: Any, device: int = 0, precision: str = "float32") -> None:
        self.ops, self.device, self.precision = ops, device, precision
        self.queue, self.copies = ops.Queue(device), ops.Queue(device)
        self._kept: dict[tuple[str, np.dtype[Any]], Array] = {}
        self._pinned: dict[tuple[str, np.dtype[Any]], Floating] = {}

    # --- memory

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Memory of the device, as long as somebody holds it."""
        return self.ops.empty(shape, np.dtype(dtype), self.device)

    def aligned(self, rows: int, cols: int, dtype: Any) -> Array:
        """A (rows, cols) matrix whose rows begin at multiples of 16 bytes, which kernels read fastest."""
        pack = 16 // np.dtype(dtype).itemsize
        return self.empty((rows, -(-cols // pack) * pack), dtype)[:, :cols]

    def take(self, name: str, rows: int, cols: int, dtype: Any) -> Array:
        """A contiguous (rows, cols) matrix called ``name``; its content is what the last user left."""
        key = name, np.dtype(dtype)
        kept = self._kept.get(key)
        if kept is None or kept.shape[0] < rows * cols:
            self._kept.pop(key, None)  # before the larger one is asked for
            kept = None
            self._kept[key] = kept = self.empty((max(rows * cols, 1),), dtype)
        return kept.reshape(rows, cols)

    def take_pinned(self, name: str, rows: int, cols: int, dtype: Any) -> Floating:
        """The same in page-locked memory of the host."""
        key = name, np.dtype(dtype)
        kept = self._pinned.get(key)
        if kept is None or kept.size < rows * cols:
            self._pinned.pop(key, None)
            kept = None
            self._pinned[key] = kept = self.ops.pinned((max(rows * cols, 1),), np.dtype(dtype))
        return kept[: rows * cols].reshape(rows, cols)

    def cast(self, a: Array, dtype: Any, name: str | None = None) -> Array:
        """``a`` in ``dtype``: itself, or a matrix called ``name``; without one, in memory of its own."""
        if np.dtype(a.dtype) == np.dtype(dtype):
            return a
        out = self.empty(a.shape, dtype) if name is None else self.take(name, a.shape[0], a.shape[1], dtype)
        self.ops.accumulate(1.0, a, 0.0, out, queue=self.queue)
        return out

    def clear(self) -> None:
        """Give all named matrices back."""
        self.queue.synchronize()
        self.copies.synchronize()
        self._kept.clear()
        self._pinned.clear()

    # --- to the device and back

    def up(self, a: ArrayLike, dtype: Any = None) -> Array:
        """A copy on the device; it may be used at once by what is queued on ``queue``."""
        host = np.ascontiguousarray(a, dtype=dtype)
        out = self.empty(host.shape, host.dtype)
        self.ops.upload(host, out, self.queue)
        return out

    def rows(self, index: ArrayLike) -> Array:
        """A vector of indices on the device."""
        return self.up(index, np.int64)

    def down(self, a: Array) -> Floating:
        """A copy on the host, complete when this returns."""
        out: Floating = np.empty(a.shape, dtype=a.dtype)
        self.ops.download(a, out, self.queue)
        self.queue.synchronize()
        return out

    def down_into(self, a: Array, out: Floating) -> None:
        """A copy in ``out``, complete when this returns. It goes through page-locked memory a block of rows
        at a time, since a device sends to other memory slowly."""
        rows, cols = a.shape
        step = max(1, _BLOCK_BYTES // max(1, cols * np.dtype(a.dtype).itemsize))
        parts = [slice(begin, min(begin + step, rows)) for begin in range(0, rows, step)]
        for part, here in zip(parts, self.down_in_turn("down", (a[p] for p in parts)), strict=True):
            copy_rows(here, out[part])

    def down_in_turn(self, name: str, made: Iterable[Array]) -> Iterator[Floating]:
        """Copies of matrices (m, v), each given once the work for the next one is queued: the host may look
        at it meanwhile, until it asks for the next. They lie in page-locked memory called ``name``."""
        waiting: tuple[Floating, Any] | None = None
        for number, there in enumerate(made):
            here = self.take_pinned(f"{name} {number % 2}", there.shape[0], there.shape[1], there.dtype)
            self.ops.download(there, here, self.queue)
            done = self.queue.record()
            if waiting is not None:
                yield _arrived(*waiting)
            waiting = here, done
        if waiting is not None:
            yield _arrived(*waiting)

    # --- products

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        trans_a: bool = False,
        trans_b: bool = False,
        alpha: float = 1.0,
        beta: float = 0.0,
        exact: bool = True,
    ) -> Array:
        """``out = alpha op(a) op(b) + beta out``; ``exact=False``: ``precision`` may round the inputs."""
        precision = "float32" if exact else self.precision
        self.ops.gemm(a, b, out, trans_a, trans_b, alpha, beta, precision, queue=self.queue)
        return out
