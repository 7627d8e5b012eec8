"""Where outputs as wide as the targets go: memory, a file made here, or what the caller gives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from voxridge.streams.file_sink import FileSink
from voxridge.streams.mapped import copy_mapped, is_memory_map
from voxridge.streams.segments import Array
from voxridge.streams.sink_base import Sink, check_tile


class ArraySink:
    """An array in memory, or the caller's own array or memory map (``result``); see `Sink`.

    Parameters
    ----------
    array : ndarray (size, n_targets)
        Also a memory map. Written to in place.
    axis : int, default 1
        What a tile is a range of: 1 for targets, 0 for rows.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import ArraySink
    >>> sink = ArraySink(numpy.zeros((2, 3)))
    >>> sink.write(1, 3, numpy.ones((2, 2)))
    >>> sink.result.tolist()
    [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """

    def __init__(self, array: Array, *, axis: int = 1) -> None:
        self.result = array
        self.shape: tuple[int, int] = (array.shape[0], array.shape[1])
        self.dtype: np.dtype[Any] = array.dtype
        self.axis = axis
        self.resumed = self.finished = False

    def write(self, begin: int, end: int, block: Array) -> None:
        """Copy a tile to its place.

        Parameters
        ----------
        begin, end : int
            The targets (axis 1) or rows (axis 0) of the tile.
        block : ndarray (size, end - begin), or (end - begin, n_targets) with axis 0
        """
        begin, end = check_tile(self, begin, end, block)
        copy_mapped(self._tile(begin, end), block)

    def place(self, begin: int, end: int) -> Array | None:
        """A tile of the array itself; None where it is a memory map, whose pages `write` gives back.

        Parameters
        ----------
        begin, end : int
            The targets (axis 1) or rows (axis 0) of the tile.
        """
        begin, end = check_tile(self, begin, end, None)
        return None if is_memory_map(self.result) else self._tile(begin, end)

    def read(self, begin: int, end: int) -> Array:
        """A read-only view of a tile.

        Parameters
        ----------
        begin, end : int
            The targets (axis 1) or rows (axis 0) of the tile.
        """
        begin, end = check_tile(self, begin, end, None)
        view = self._tile(begin, end).view()
        view.flags.writeable = False
        return view

    def flush(self) -> None:
        """Force a memory map to the disk."""
        if isinstance(self.result, np.memmap):
            self.result.flush()

    def finish(self, attributes: Mapping[str, Any] | None = None) -> None:
        """Note that every tile is there; an array has no place for attributes.

        Parameters
        ----------
        attributes : mapping, optional
            Not written.
        """
        self.flush()
        self.finished = True

    def close(self) -> None:
        """Nothing is open."""

    def _tile(self, begin: int, end: int) -> Array:
        return self.result[:, begin:end] if self.axis == 1 else self.result[begin:end]


class DatasetSink:
    """The caller's own HDF5 dataset (``result``), open for writing; see `Sink`.

    HDF5 makes no promise about a file whose writer dies. A path, which becomes a `FileSink`, survives that.

    Parameters
    ----------
    dataset : h5py.Dataset (size, n_targets)
        Open for writing.
    axis : int, default 1
        What a tile is a range of: 1 for targets, 0 for rows.

    Examples
    --------
    >>> import h5py, numpy
    >>> from voxridge.streams import DatasetSink
    >>> with h5py.File("out.h5", "w") as file:
    ...     sink = DatasetSink(file.create_dataset("data", (2, 3), "f4"))
    ...     sink.write(0, 3, numpy.ones((2, 3), numpy.float32))
    ...     float(file["data"][()].sum())
    6.0
    """

    def __init__(self, dataset: Any, *, axis: int = 1) -> None:
        self.result = dataset
        self.shape: tuple[int, int] = (int(dataset.shape[0]), int(dataset.shape[1]))
        self.dtype: np.dtype[Any] = dataset.dtype
        self.axis = axis
        self.resumed = self.finished = False

    def write(self, begin: int, end: int, block: Array) -> None:
        """Write a tile to its place.

        Parameters
        ----------
        begin, end : int
            The targets (axis 1) or rows (axis 0) of the tile.
        block : ndarray (size, end - begin), or (end - begin, n_targets) with axis 0
        """
        begin, end = check_tile(self, begin, end, block)
        if begin < end:
            self._open()[self._selection(begin, end)] = block

    def place(self, begin: int, end: int) -> Array | None:
        """None: what is written goes through HDF5.

        Parameters
        ----------
        begin, end : int
            The targets (axis 1) or rows (axis 0) of the tile.
        """
        return None

    def read(self, begin: int, end: int) -> Array:
        """A tile, in new memory.

        Parameters
        ----------
        begin, end : int
            The targets (axis 1) or rows (axis 0) of the tile.
        """
        begin, end = check_tile(self, begin, end, None)
        found: Array = self._open()[self._selection(begin, end)]
        return found

    def flush(self) -> None:
        """Have HDF5 write what it holds back."""
        self._open().file.flush()

    def finish(self, attributes: Mapping[str, Any] | None = None) -> None:
        """Note that every tile is there; what else the file says is the caller's business.

        Parameters
        ----------
        attributes : mapping, optional
            Not written.
        """
        self.flush()
        self.finished = True

    def close(self) -> None:
        """The file belongs to the caller and stays open."""

    def _open(self) -> Any:
        if not self.result:
            raise ValueError("the file of the output dataset was closed; keep it open, or give its path")
        return self.result

    def _selection(self, begin: int, end: int) -> tuple[slice, slice]:
        across = slice(begin, end)
        return (slice(None), across) if self.axis == 1 else (across, slice(None))


def as_sink(
    out: Any,
    size: int,
    n_targets: int,
    dtype: Any,
    *,
    axis: int = 1,
    name: str = "out",
    dataset: str = "data",
    token: str | None = None,
    resume: bool = True,
) -> Sink:
    """Make one sink of a (size, n_targets) matrix from whatever it is to be stored in.

    Parameters
    ----------
    out
        None for a new array, zero until written; the path of an HDF5 or .npy file, see `FileSink`; an array,
        a ``numpy.memmap`` or an open ``h5py.Dataset`` of shape (size, n_targets) and a float type.
    dtype
        float32 or float64. What the caller gives keeps its own type, to which tiles are rounded.
    axis
        What a tile is a range of: 1 for targets, 0 for rows.
    name
        What the output is called in error messages.
    dataset, token, resume
        For a path; see `FileSink`.
    size, n_targets : int
        Shape of the matrix.

    Raises
    ------
    ValueError
        The shape of what is given is another (both are named), or it cannot be written.
    TypeError
        None of these.
    OSError
        See `FileSink`.

    Examples
    --------
    >>> import numpy
    >>> sink = as_sink(None, 2, 3, numpy.float32)
    >>> sink.write(1, 3, numpy.ones((2, 2)))
    >>> sink.result
    array([[0., 1., 1.],
           [0., 1., 1.]], dtype=float32)
    """
    if axis not in (0, 1):
        raise ValueError(f"axis is {axis}; give 1 for tiles of targets, 0 for tiles of rows")
    if out is None:
        return ArraySink(np.zeros((size, n_targets), dtype), axis=axis)
    if isinstance(out, (str, os.PathLike)):
        path, shape = Path(out), (size, n_targets)
        return FileSink(path, shape, dtype, axis=axis, dataset=dataset, token=token, resume=resume)
    if not isinstance(out, (np.ndarray, h5py.Dataset)):
        kind = type(out).__name__
        raise TypeError(f"{name} is a {kind}; give None, a path, a numpy array or memmap, or an h5py.Dataset")
    _check_given(out, (size, n_targets), name)
    return ArraySink(out, axis=axis) if isinstance(out, np.ndarray) else DatasetSink(out, axis=axis)


def _check_given(out: Any, shape: tuple[int, int], name: str) -> None:
    if isinstance(out, h5py.Dataset) and not out:
        raise ValueError(f"{name} is an HDF5 dataset whose file is closed; open it for writing")
    if tuple(out.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(out.shape)}; the output has shape {shape}")
    if out.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} has dtype {out.dtype}; give float32 or float64")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError(f"{name} is a read-only array; give one that can be written")
    if isinstance(out, h5py.Dataset) and out.file.mode == "r":
        raise ValueError(f"{name}: {out.file.filename} is open for reading only; open it with mode 'r+'")
