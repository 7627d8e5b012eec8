"""The pieces a source is made of: 2-D blocks in memory or in a file, read by rows and columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from voxridge.streams.files import get_dataset, open_h5
from voxridge.streams.identity import Identity, array_identity, content_digest, dataset_files, identity
from voxridge.streams.mapped import copy_mapped, file_place, is_memory_map
from voxridge.streams.numpy_files import NpzMember, npy_layout, read_npy

Array = np.ndarray[Any, Any]

# Stored numbers of another type pass through a scratch block of this size, never through a second whole copy.
_SCRATCH_BYTES = 4 << 20

_TO_FLOAT32 = ("float16", "bool", "int8", "int16", "uint8", "uint16")
_TO_FLOAT64 = ("int32", "int64", "uint32", "uint64")


def read_dtype(stored: np.dtype[Any], name: str) -> np.dtype[Any]:
    """The float type in which numbers of a stored type are read.

    float16, bool and integers up to 16 bits fit float32 exactly; wider integers become float64.

    Raises
    ------
    TypeError
        Any other type (long double, complex, text, objects).
    """
    kind = stored.newbyteorder("=").name
    if kind in ("float32", "float64"):
        return np.dtype(kind)
    if kind in _TO_FLOAT32:
        return np.dtype(np.float32)
    if kind in _TO_FLOAT64:
        return np.dtype(np.float64)
    raise TypeError(f"{name} has dtype {stored}; give real numbers, for example .astype(numpy.float32)")


class Segment(Protocol):
    """A block of rows. ``row_multiple``: rows that the storage keeps together, worth reading together."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def in_memory(self) -> bool: ...

    @property
    def row_multiple(self) -> int: ...

    def view(self, rows: slice, columns: slice) -> Array | None:
        """The block itself where it is memory that can be addressed, else None."""
        ...

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        """Fill ``out``, C-contiguous, of the read type."""
        ...

    def identity(self, *, contents: bool = True) -> Identity:
        """What tells this block from others; without ``contents`` no number is looked at."""
        ...


class ArraySegment:
    """An array or a memory map. A one-dimensional array is one column.

    A map is copied and never handed out as a view: whoever works through a view of a whole file has the whole
    file in memory at the end.
    """

    row_multiple = 1

    def __init__(self, array: Array) -> None:
        self.array = array[:, None] if array.ndim == 1 else array
        self.shape = self.array.shape
        self.dtype = self.array.dtype
        self.in_memory = not is_memory_map(array)

    def view(self, rows: slice, columns: slice) -> Array | None:
        return np.asarray(self.array[rows, columns]) if self.in_memory else None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        part = self.array[rows, columns]
        if self.in_memory:
            np.copyto(out, part, casting="same_kind")
        else:
            copy_mapped(out, part)

    def identity(self, *, contents: bool = True) -> Identity:
        place = file_place(self.array)
        if place is None:
            return array_identity(self.array, contents=contents)
        path, byte = place
        return identity([path], self, byte=byte, strides=list(self.array.strides))


class DatasetSegment:
    """An HDF5 dataset that the caller has opened. A one-dimensional dataset is one column."""

    in_memory = False

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.shape = (dataset.shape[0], 1) if len(dataset.shape) == 1 else tuple(dataset.shape)
        self.dtype = dataset.dtype
        self.row_multiple = int(dataset.chunks[0]) if dataset.chunks else 1
        self._files = dataset_files(dataset)

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        if not self.dataset:
            raise ValueError("the file of an HDF5 dataset was closed; keep it open, or give its path")
        place = f"{self.dataset.file.filename}: dataset {self.dataset.name!r}"
        read_dataset(self.dataset, out, (), rows, columns, place)

    def identity(self, *, contents: bool = True) -> Identity:
        found = identity(self._files, self, dataset=self.dataset.name)
        if contents and not self._files:
            found["content"] = content_digest(self.shape, self.dtype, self._rows)
        return found

    def _rows(self, rows: slice) -> Array:
        found: Array = self.dataset[rows]
        return found


class FileSegment:
    """A dataset in an HDF5 file that is opened for each read: no handle stays open, and it can be pickled.

    ``rows`` takes a part of the rows; ``lead`` picks one index of a leading axis (a repetition).
    """

    in_memory = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        dataset: str,
        *,
        rows: tuple[int, int] | None = None,
        lead: int | None = None,
    ) -> None:
        self.path, self.name, self.lead = Path(path), dataset, lead
        with open_h5(path) as file:
            found = get_dataset(file, dataset, self.path)
            shape = tuple(found.shape) if lead is None else tuple(found.shape[1:])
            self.dtype = found.dtype
            self.row_multiple = int(found.chunks[0 if lead is None else 1]) if found.chunks else 1
            self._files = dataset_files(found)
        self._flat = len(shape) == 1
        shape = (shape[0], 1) if self._flat else shape
        self._first = 0 if rows is None else rows[0]
        self.shape = shape if rows is None else (rows[1] - rows[0], *shape[1:])

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        inside = slice(self._first + rows.start, self._first + rows.stop)
        lead = () if self.lead is None else (self.lead,)
        with open_h5(self.path) as file:
            dataset = get_dataset(file, self.name, self.path)
            read_dataset(dataset, out, lead, inside, columns, f"{self.path}: dataset {self.name!r}")

    def identity(self, *, contents: bool = True) -> Identity:
        return identity(self._files, self, dataset=self.name, first=self._first, lead=self.lead)


class NpySegment:
    """An .npy file, opened for each read."""

    in_memory = False
    row_multiple = 1

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.layout = npy_layout(path)
        self.shape = self.layout.shape
        self.dtype = self.layout.dtype

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        read_npy(self.path, self.layout, out, rows, columns)

    def identity(self, *, contents: bool = True) -> Identity:
        return identity([self.path], self)


class NpzSegment:
    """One array of an .npz file."""

    in_memory = False
    row_multiple = 1

    def __init__(self, path: str | os.PathLike[str], member: str | None = None) -> None:
        self.member = NpzMember(path, member)
        self.shape = self.member.layout.shape
        self.dtype = self.member.layout.dtype

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        self.member.read(out, rows, columns)

    def identity(self, *, contents: bool = True) -> Identity:
        return identity([self.member.path], self, member=self.member.member)


class MeanSegment:
    """The mean of several blocks of one shape (the repetitions of a run), added in float64."""

    def __init__(self, parts: Sequence[Segment]) -> None:
        self.parts = list(parts)
        self.shape = parts[0].shape
        self.dtype = read_dtype(parts[0].dtype, "repetitions")
        self.in_memory = False
        self.row_multiple = parts[0].row_multiple

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        total = np.zeros(out.shape, np.float64)
        part = np.empty(out.shape, self.dtype)
        for segment in self.parts:
            segment.read_into(part, rows, columns)
            total += part
        np.divide(total, len(self.parts), out=out, casting="same_kind")

    def identity(self, *, contents: bool = True) -> Identity:
        parts = [part.identity(contents=contents) for part in self.parts]
        files = [file for part in parts for file in part.pop("files")]
        return identity([], self, mean_of=parts) | {"files": files}


def read_dataset(
    dataset: Any, out: Array, lead: tuple[int, ...], rows: slice, columns: slice, place: str
) -> None:
    """Read rows and columns of an HDF5 dataset into ``out`` in the type of ``out``.

    Raises
    ------
    ValueError
        The file is damaged at this place, or needs a filter that is not installed.
    """
    if out.size == 0:
        return
    flat = len(dataset.shape) - len(lead) == 1
    n_rows = rows.stop - rows.start
    same = dataset.dtype == out.dtype
    block = n_rows if same else max(1, _SCRATCH_BYTES // max(1, out.shape[1] * dataset.dtype.itemsize))
    scratch = None if same else np.empty((min(block, n_rows), out.shape[1]), dataset.dtype)
    try:
        for first in range(0, n_rows, block):
            last = min(first + block, n_rows)
            part = slice(rows.start + first, rows.start + last)
            selection = (*lead, part) if flat else (*lead, part, columns)
            into = out[first:last] if scratch is None else scratch[: last - first]
            dataset.read_direct(into[:, 0] if flat else into, selection)
            if scratch is not None:
                np.copyto(out[first:last], into, casting="same_kind")
    except (OSError, RuntimeError) as error:
        where = f"{place}, rows {rows.start} to {rows.stop}"
        if "filter" in str(error):
            text = f"{where}: the compression is damaged, or its plugin is not installed: {error}"
            raise ValueError(text) from error
        raise ValueError(f"{where}: cannot be read, the file is probably damaged: {error}") from error
