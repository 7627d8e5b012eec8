"""Files of one matrix that are made in full length at once and then filled in place: HDF5 and .npy.

HDF5 allocates the dataset when the file is made, as one contiguous piece, and is then left alone: the numbers
go to their place in the file by the system's own write. So no structure of HDF5 is ever half-written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from voxridge.streams.files import H5_SUFFIXES
from voxridge.streams.journal import append_h5, discard_journal, recover
from voxridge.streams.numpy_files import read_header

_TOKEN, _TRANSPOSED = "voxridge_token", "transposed"
_TRAILER = b"voxridge "


class MatrixFile(Protocol):
    """A file that holds ``shape`` numbers of ``dtype`` in one contiguous piece.

    ``transposed``: the piece is the matrix's transpose in C order, its columns one after the other.
    """

    def create(self, path: Path, token: str | None) -> int:
        """Make the file in its full length, of zeros; the byte at which the numbers begin."""
        ...

    def find(self, path: Path, token: str) -> int | None:
        """The byte at which the numbers begin, if the file is one that `create` made with that token."""
        ...

    def annotate(self, path: Path, attributes: Mapping[str, Any]) -> None:
        """Add what describes the numbers: all of it, or nothing if the process dies."""
        ...

    def trim(self, descriptor: int, end: int) -> None:
        """Remove what was only there so that `find` would find it; ``end`` is where the numbers end."""
        ...


class H5File:
    """An HDF5 file with one dataset, (columns, rows) where transposed, and the attribute ``transposed``."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any], transposed: bool, dataset: str) -> None:
        self.stored = shape[::-1] if transposed else shape
        self.dtype, self.transposed, self.dataset = dtype, transposed, dataset

    def create(self, path: Path, token: str | None) -> int:
        discard_journal(path)
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.CONTIGUOUS)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plan.set_obj_track_times(False)
        links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        links.set_create_intermediate_group(True)
        with h5py.File(path, "w", locking=False) as file:
            kind = h5py.h5t.py_create(self.dtype, logical=True)
            space = h5py.h5s.create_simple(self.stored)
            made = h5py.h5d.create(file.id, self.dataset.encode(), kind, space, dcpl=plan, lcpl=links)
            dataset = h5py.Dataset(made)
            dataset.attrs[_TRANSPOSED] = self.transposed
            if token is not None:
                dataset.attrs[_TOKEN] = token
            return int(made.get_offset())

    def find(self, path: Path, token: str) -> int | None:
        try:
            recover(path)
            with h5py.File(path, "r", locking=False) as file:
                dataset = file.get(self.dataset)
                if not isinstance(dataset, h5py.Dataset) or dataset.attrs.get(_TOKEN) != token:
                    return None
                same = (dataset.shape, dataset.dtype) == (self.stored, self.dtype) and dataset.chunks is None
                place = dataset.id.get_offset()
                return int(place) if same and place is not None else None
        except (OSError, RuntimeError, KeyError, ValueError):
            return None  # cut off while it was made, or no HDF5 file

    def annotate(self, path: Path, attributes: Mapping[str, Any]) -> None:
        with h5py.File(path, "r", locking=False) as file:
            dataset = file[self.dataset]
            for key in attributes:
                if key == dataset.name.rpartition("/")[2] or key in (_TOKEN, _TRANSPOSED):
                    raise ValueError(f"{path}: the attribute {key!r} has a name that the file uses itself")
            # Written already if the process died after this and before the file had its name.
            missing = [key for key, value in attributes.items() if not _is_there(dataset, key, value)]
        if not missing:
            return
        with append_h5(path) as file:
            dataset = file[self.dataset]
            for key in missing:
                value = attributes[key]
                if _is_matrix(value):
                    dataset.parent.pop(key, None)
                    dataset.parent[key] = value
                else:
                    dataset.attrs[key] = value

    def trim(self, descriptor: int, end: int) -> None:
        return None


class NpyFile:
    """An .npy file, in Fortran order where transposed. It has no attributes; the token stands at its end."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any], transposed: bool) -> None:
        self.shape, self.dtype, self.transposed = shape, dtype, transposed

    def create(self, path: Path, token: str | None) -> int:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": self.transposed,
            "shape": self.shape,
        }
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            begin = file.tell()
            file.truncate(begin + self._length())
            if token is not None:
                file.seek(0, os.SEEK_END)
                file.write(_TRAILER + json.dumps(token).encode())
        return begin

    def find(self, path: Path, token: str) -> int | None:
        try:
            with path.open("rb") as file:
                layout = read_header(file)
                file.seek(layout.end)
                trailer = file.read()
        except (OSError, ValueError, EOFError, SyntaxError):
            return None
        there = (layout.shape, layout.fortran, layout.dtype)
        same = there == (self.shape, self.transposed, self.dtype)
        return layout.begin if same and trailer == _TRAILER + json.dumps(token).encode() else None

    def annotate(self, path: Path, attributes: Mapping[str, Any]) -> None:
        return None

    def trim(self, descriptor: int, end: int) -> None:
        if os.fstat(descriptor).st_size > end:
            os.ftruncate(descriptor, end)

    def _length(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


def _is_matrix(value: Any) -> bool:
    """Whether a value becomes a dataset beside the numbers: an attribute ends at 64 kB."""
    return isinstance(value, np.ndarray) and value.ndim > 0


def _is_there(dataset: Any, key: str, value: Any) -> bool:
    found = dataset.parent.get(key) if _is_matrix(value) else dataset.attrs.get(key)
    if found is None or isinstance(found, h5py.Group):
        return False
    return bool(np.array_equal(np.asarray(found), np.asarray(value)))


def matrix_file(
    path: Path, shape: tuple[int, int], dtype: np.dtype[Any], transposed: bool, dataset: str
) -> MatrixFile:
    """The kind of file that the ending of ``path`` asks for.

    Raises
    ------
    ValueError
        Another ending.
    """
    suffix = path.suffix.lower()
    if suffix in H5_SUFFIXES:
        return H5File(shape, dtype, transposed, dataset)
    if suffix == ".npy":
        return NpyFile(shape, dtype, transposed)
    known = ", ".join((".npy", *H5_SUFFIXES))
    raise ValueError(f"{path}: the ending {suffix!r} cannot be written; give one of {known}")
