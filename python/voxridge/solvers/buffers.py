"""Memory that is used again instead of asked for again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floating = NDArray[Any]


class Buffers:
    """Matrices in memory that every tile uses again, by name."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, np.dtype[Any]], Floating] = {}

    def take(self, name: str, rows: int, cols: int, dtype: Any) -> Floating:
        """A contiguous (rows, cols) matrix called ``name``; its content is what the last user left."""
        key = name, np.dtype(dtype)
        buffer = self._kept.get(key)
        if buffer is None or buffer.size < rows * cols:
            self._kept[key] = buffer = np.empty(rows * cols, dtype=dtype)
        return buffer[: rows * cols].reshape(rows, cols)

    def clear(self) -> None:
        """Give all of them back."""
        self._kept.clear()


class Spares:
    """Buffers for jobs that run side by side: as many as have ever run at once."""

    def __init__(self) -> None:
        self._idle: list[Buffers] = []

    @contextmanager
    def borrow(self) -> Iterator[Buffers]:
        """Buffers that nobody else uses meanwhile."""
        try:
            buffers = self._idle.pop()
        except IndexError:
            buffers = Buffers()
        try:
            yield buffers
        finally:
            self._idle.append(buffers)

    def clear(self) -> None:
        """Give all of them back."""
        self._idle.clear()
