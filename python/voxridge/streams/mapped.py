"""Memory-mapped arrays, copied without leaving the whole file in the process's memory.

Every page of a mapped file that is touched counts as resident memory of the process. It can be given back:
the numbers stay in the file, and in the system's cache of it.
"""

from __future__ import annotations

import contextlib
import mmap
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# How much of a mapped file is touched before it is given back.
_BLOCK_BYTES = 16 << 20


def is_memory_map(array: Array) -> bool:
    """Whether the numbers live in a mapped file, also when the array is only a view of one."""
    return find_map(array)[1] is not None


def find_map(array: Array) -> tuple[np.memmap[Any, Any] | None, mmap.mmap | None]:
    """The first memmap and the map that an array is a view of; None where there is none."""
    found: np.memmap[Any, Any] | None = None
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        # Of a memmap and its views only the first made knows the beginning of the file.
        found = base if isinstance(base, np.memmap) else found
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return found, base


def file_place(array: Array) -> tuple[Path, int] | None:
    """The file that holds the numbers of a view of a ``numpy.memmap``, and the byte at which they begin.

    None for what is in memory, changed in memory (mode "c"), or mapped by other means.
    """
    found, _ = find_map(array)
    if found is None or found.filename is None or found.mode == "c":
        return None
    return Path(found.filename), found.offset + array.ctypes.data - found.ctypes.data


def copy_mapped(out: Array, array: Array) -> None:
    """``out[...] = array`` for arrays of one shape, giving back the mapped pages of both in between."""
    maps = [(side, pages) for side in (out, array) if (pages := _releasable(side)) is not None]
    if not maps:
        np.copyto(out, array, casting="same_kind")
        return
    strides = [max(1, abs(stride)) for stride in maps[0][0].strides]
    by_columns = strides[1] > strides[0]
    step = max(1, _BLOCK_BYTES // strides[by_columns])
    for first in range(0, array.shape[by_columns], step):
        taken = slice(first, first + step)
        part = (slice(None), taken) if by_columns else (taken, slice(None))
        np.copyto(out[part], array[part], casting="same_kind")
        for side, pages in maps:
            _give_back(side[part], pages)


def _releasable(array: Array) -> mmap.mmap | None:
    """The map whose pages may be dropped without loss: it shares the file, or nobody can write to it."""
    found, pages = find_map(array)
    if pages is None or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    shared = found is not None and found.mode in ("r", "r+", "w+")
    with memoryview(pages) as view:
        return pages if shared or view.readonly else None


def _give_back(array: Array, pages: mmap.mmap) -> None:
    if array.size == 0:
        return
    low, high = np.lib.array_utils.byte_bounds(array)
    begin = np.frombuffer(pages, np.uint8).ctypes.data
    start = (low - begin) // mmap.PAGESIZE * mmap.PAGESIZE
    with contextlib.suppress(OSError, ValueError):
        pages.madvise(mmap.MADV_DONTNEED, start, high - begin - start)
