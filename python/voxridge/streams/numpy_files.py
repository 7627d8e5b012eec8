"""Matrices in .npy and .npz files, read in parts by plain reads.

Not mapped: pages of a mapped file count as memory of the process for as long as they stay, and a file that is
cut off while it is mapped kills the process at the next touch.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxridge.streams.files import check_readable, truncated

Array = np.ndarray[Any, Any]

# Numbers that are not wanted as they are stored pass through a scratch block of this size.
_SCRATCH_BYTES = 4 << 20

# A call of the system takes about as long as copying this much: over shorter gaps, reading on is cheaper.
_GAP_BYTES = 16 << 10


@dataclass(frozen=True)
class Layout:
    """How an array lies in a file: from byte ``begin`` on, in C order or in Fortran order.

    A one-dimensional array counts as one column.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    begin: int

    @property
    def end(self) -> int:
        """The byte after the last number."""
        return self.begin + self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


def read_header(file: Any) -> Layout:
    """The layout that the header of an .npy file states; ``file`` is at its beginning.

    Raises
    ------
    ValueError, EOFError, SyntaxError
        No such header.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    return Layout((*shape, 1) if len(shape) == 1 else shape, fortran, dtype, file.tell())


def npy_layout(path: str | os.PathLike[str]) -> Layout:
    """Look at an .npy file.

    Raises
    ------
    ValueError
        Truncated, damaged, or no .npy file.
    TypeError
        The file holds Python objects.
    """
    path = check_readable(path)
    try:
        with path.open("rb") as file:
            layout = read_header(file)
    except (ValueError, EOFError, SyntaxError) as error:
        raise ValueError(f"{path} is not an .npy file, or its beginning is damaged: {error}") from error
    if layout.dtype.hasobject:
        raise TypeError(f"{path} holds Python objects, not numbers; save it again as a float array")
    size = path.stat().st_size
    if size < layout.end:
        raise truncated(path, size, layout.end)
    return layout


def read_npy(path: Path, layout: Layout, out: Array, rows: slice, columns: slice) -> None:
    """Read rows and columns into ``out`` in the type of ``out``.

    Raises
    ------
    ValueError
        The file is truncated.
    """
    with check_readable(path).open("rb", buffering=0) as file:
        try:
            _read(file, layout, out, rows, columns)
        except EOFError as error:
            raise truncated(path, os.fstat(file.fileno()).st_size, layout.end) from error


class NpzMember:
    """One array of an .npz file, read in parts without unpacking the whole of it into memory.

    ``member`` None takes the only array, else one named data, features or arr_0.
    """

    def __init__(self, path: str | os.PathLike[str], member: str | None = None) -> None:
        self.path = check_readable(path)
        with self._archive() as archive:
            self.member = self._choose(archive, member)
            with archive.open(self.member) as file:
                self.layout = read_header(file)
        if self.layout.dtype.hasobject:
            what = f"{self.path}: {self.member} holds Python objects"
            raise TypeError(f"{what}, not numbers; save it again as a float array")

    def read(self, out: Array, rows: slice, columns: slice) -> None:
        """Read rows and columns into ``out`` in the type of ``out``; what lies before them is unpacked too.

        Raises
        ------
        ValueError
            The file is damaged.
        """
        with self._archive() as archive, archive.open(self.member) as file:
            _read(file, self.layout, out, rows, columns)

    @contextlib.contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(check_readable(self.path)) as archive:
                yield archive
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{self.path} is truncated, damaged, or not an .npz file: {error}") from error

    def _choose(self, archive: zipfile.ZipFile, member: str | None) -> str:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        usual = ["data", "features", "arr_0", *(names if len(names) == 1 else [])]
        wanted = usual if member is None else [member]
        for name in wanted:
            if name in names:
                return f"{name}.npy"
        raise ValueError(f"{self.path}: none of the arrays {wanted} is there; the file holds {names}")


def _read(file: Any, layout: Layout, out: Array, rows: slice, columns: slice) -> None:
    """Read a part of a matrix by lines, which are its rows, in Fortran order its columns."""
    if out.size == 0:
        return
    target, lines, across = (out.T, columns, rows) if layout.fortran else (out, rows, columns)
    length = layout.shape[0 if layout.fortran else 1]
    width, item = across.stop - across.start, layout.dtype.itemsize
    through = (length - width) * item <= _GAP_BYTES
    taken = length if through else width
    n_lines = lines.stop - lines.start
    direct = taken == width and target.flags.c_contiguous and target.dtype == layout.dtype
    step = n_lines if direct else min(n_lines, max(1, _SCRATCH_BYTES // (taken * item)))
    scratch = target if direct else np.empty((step, taken), layout.dtype)
    for first in range(0, n_lines, step):
        block = scratch[: min(step, n_lines - first)]
        place = layout.begin + (lines.start + first) * length * item
        into = block.reshape(-1).view(np.uint8).data
        if through:
            _fill(file, place, into)
        else:
            for index in range(len(block)):
                piece = into[index * width * item : (index + 1) * width * item]
                _fill(file, place + (index * length + across.start) * item, piece)
        if not direct:
            kept = block[:, across] if through else block
            np.copyto(target[first : first + len(block)], kept, casting="same_kind")


def _fill(file: Any, place: int, into: memoryview) -> None:
    file.seek(place)
    while into:
        done = file.readinto(into)
        if not done:
            raise EOFError("the file ends too early")
        into = into[done:]
