"""Matrices in .npz files, read and written from their first row to their last, a few rows at a time."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from voxridge.streams.atomic import atomic_path
from voxridge.streams.numpy_files import NpzMember, read_header
from voxridge.streams.segments import Array, read_dtype
from voxridge.streams.sources import Source


class NpzRows:
    """The rows of a matrix in an .npz file, unpacked once if they are asked for in order.

    Parameters
    ----------
    path : path
        An .npz file with one array, or with one called ``data``, ``features`` or ``arr_0``.

    Raises
    ------
    FileNotFoundError
        No such file, or a link into a git-annex that was not fetched.
    ValueError
        Not an .npz file, truncated, a pointer in its place, or not a matrix.
    TypeError
        It holds Python objects, which would have to be unpickled, or no real numbers.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        member = NpzMember(path)
        self.path, self._name, self._layout = member.path, member.member, member.layout
        if len(self._layout.shape) != 2:
            raise ValueError(f"{self.path}: {self._name} has shape {self._layout.shape}; a matrix is needed")
        self.shape: tuple[int, int] = (self._layout.shape[0], self._layout.shape[1])
        self.stored_dtype = stored_dtype(self._layout.dtype, str(self.path))
        self._whole: Array | None = None
        self._file: Any = None
        self._next = 0

    def read(self, rows: slice) -> Array:
        """Return the rows in their stored type.

        Raises
        ------
        ValueError
            The file is damaged.
        """
        if self._layout.fortran:
            return self._columns_first()[rows]
        out = np.empty((rows.stop - rows.start, self.shape[1]), self._layout.dtype)
        row_bytes = self.shape[1] * self._layout.dtype.itemsize
        with self._damage_named():
            if self._file is None or rows.start != self._next:
                self._reopen()
                self._file.seek(self._file.tell() + rows.start * row_bytes)
            into = out.reshape(-1).view(np.uint8).data
            while into:
                done = self._file.readinto(into)
                if not done:
                    raise EOFError("the array ends too early")
                into = into[done:]
        self._next = rows.stop
        return out.astype(self.stored_dtype, copy=False)

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _reopen(self) -> None:
        self.close()
        # The member keeps the archive open for as long as it needs it.
        with zipfile.ZipFile(self.path) as archive:
            self._file = archive.open(self._name)
        read_header(self._file)

    def _columns_first(self) -> Array:
        if self._whole is None:
            with self._damage_named(), np.load(self.path, allow_pickle=False) as archive:
                self._whole = archive[self._name.removesuffix(".npy")].astype(self.stored_dtype, copy=False)
        return self._whole

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        import zlib

        try:
            yield
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{self.path} is truncated or damaged: {error}") from error


def stored_dtype(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """The float type in which numbers are kept in a store: float16, float32 and float64 as they are.

    Raises
    ------
    TypeError
        Not real numbers.
    """
    kind = dtype.newbyteorder("=")
    return kind if kind == np.float16 else read_dtype(kind, name)


def save_npz(path: Path, name: str, source: Source, chunks: Iterator[slice]) -> None:
    """Write one matrix as the only array of an .npz file, in the type in which it is stored, without packing.

    The file appears as a whole or not at all.

    Raises
    ------
    OSError
        The disk is full.
    """
    kind = np.dtype(getattr(source, "stored_dtype", source.dtype))
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        # A date of its own would make two exports of the same numbers differ.
        entry = zipfile.ZipInfo(f"{name}.npy")
        with archive.open(entry, "w", force_zip64=True) as file:
            head = {"descr": kind.str, "fortran_order": False, "shape": source.shape}
            np.lib.format.write_array_header_1_0(file, head)
            for rows in chunks:
                values = source.read(rows).astype(kind, copy=False)
                file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
