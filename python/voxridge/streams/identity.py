"""What tells the data of one fit from those of another: the state of files, the bytes of arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Identity = dict[str, Any]

_BLOCK_BYTES = 8 << 20
_MOST_THREADS = 8


def identity(files: Iterable[str | os.PathLike[str]], block: Any, **details: Any) -> Identity:
    """The files that hold a block with ``shape`` and ``dtype``, and where in them it is; fit for JSON."""
    found = [file_state(path) for path in files]
    return {"files": found, "shape": list(block.shape), "dtype": block.dtype.str, **details}


def file_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Absolute path, size, modification time (ns) and inode of a file; only the path if it is gone."""
    state: dict[str, Any] = {"path": os.path.abspath(path)}
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return state
    return state | {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "inode": found.st_ino}


def array_identity(array: Array, *, contents: bool = True) -> Identity:
    """Shape, dtype and digest of an array in memory; the order in memory does not matter."""
    found = identity([], array)
    if contents:
        threads = min(_MOST_THREADS, os.cpu_count() or 1)
        found["content"] = content_digest(array.shape, array.dtype, array.__getitem__, threads=threads)
    return found


def content_digest(
    shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[slice], Array], *, threads: int = 1
) -> str:
    """blake2b over the digests of blocks of rows, each of about 8 MiB; a thread holds one block at most.

    Half a second per gigabyte with two threads.
    """
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64)))
    step = max(1, _BLOCK_BYTES // row_bytes)

    def block(first: int) -> bytes:
        numbers = np.ascontiguousarray(read(slice(first, first + step)))
        return hashlib.blake2b(numbers.reshape(-1).view(np.uint8).data, digest_size=32).digest()

    whole = hashlib.blake2b(digest_size=16)
    starts = range(0, shape[0], step)
    if threads > 1 and len(starts) > 1:
        with ThreadPoolExecutor(threads) as pool:
            for digest in pool.map(block, starts):
                whole.update(digest)
    else:
        for first in starts:
            whole.update(block(first))
    return whole.hexdigest()


def dataset_files(dataset: Any) -> list[Path]:
    """The files that the numbers of an HDF5 dataset are in; none for one that is in memory only."""
    own = Path(os.path.abspath(dataset.file.filename))
    if dataset.file.driver == "core" or not own.is_file():
        return []
    found = [own]
    if dataset.is_virtual:
        names = {source.file_name for source in dataset.virtual_sources()}
        found += [own.parent / name for name in sorted(names) if name != "."]
    found += [own.parent / name for name, _, _ in dataset.external or ()]
    return found
