"""A matrix written to a file tile by tile, which a kill at any moment leaves either unfinished or whole."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from voxridge.streams.atomic import fsync_path, is_disk_full
from voxridge.streams.locks import lock, need_locks, unlock
from voxridge.streams.raw_write import read_all, reserve, write_all
from voxridge.streams.segments import Array
from voxridge.streams.sink_base import check_tile
from voxridge.streams.sink_files import MatrixFile, matrix_file

# A tile that has to be turned over, or changed in type, passes through a scratch block of this size.
_SCRATCH_BYTES = 8 << 20


class FileSink:
    """A (size, n_targets) matrix in an HDF5 or .npy file, written in tiles of targets or of rows.

    While it is written the file is called ``<path>.partial``; `finish` gives it its name in one step. It is
    made in its full length at once, so a full disk shows before the work and not after it, and each tile goes
    to its place by a plain write of the system: nothing in HDF5's own structures changes, and a kill or a
    power cut costs at most what was written since the last `flush`.

    Parameters
    ----------
    path
        Ends in .h5, .hf5, .hdf5, .hdf or .npy; its folder must exist. `finish` replaces a file of that name.
    shape
        (size, n_targets): (n_features, n_targets) for weights, (n_samples, n_targets) for predictions.
    dtype
        float32 or float64.
    axis
        What a tile is a range of: 1 for targets, 0 for rows. With 1 the targets lie one after the other in
        the file, so that a tile is one piece of it: the HDF5 dataset is the **transpose**, (n_targets, size),
        and has the attribute ``transposed`` True; the .npy file is the matrix itself in Fortran order.
    dataset
        Name of the dataset in an HDF5 file.
    token
        What this content depends on, as text. A sink with a token keeps its unfinished file when it is
        closed or dies, and a sink of the same path, shape, dtype, axis and token continues it.
    resume
        Whether to continue, where that is possible; False starts anew.

    Attributes
    ----------
    resumed : bool
        Whether earlier tiles are in the file: those before the last `flush` for certain.
    finished : bool
        Whether the file has its name. True at once if `finish` was the last thing that happened.
    result : Path
        ``path``.

    Raises
    ------
    OSError
        The disk is too small: the message names the path, the bytes needed and the bytes free. Or the system
        is Windows, which lacks what such a file needs.
    BlockingIOError
        Another program writes the same file.
    FileNotFoundError
        The folder does not exist.
    ValueError
        Unknown ending, or an empty shape.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.h5"
    >>> with FileSink(path, (3, 4), numpy.float32) as sink:
    ...     sink.write(0, 2, numpy.ones((3, 2)))
    ...     sink.write(2, 4, numpy.zeros((3, 2)))
    ...     path.exists(), sink.read(1, 3)[0]
    ...     sink.finish({"units": "percent"})
    (False, array([1., 0.], dtype=float32))
    >>> path.exists()
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, int],
        dtype: Any,
        *,
        axis: int = 1,
        dataset: str = "data",
        token: str | None = None,
        resume: bool = True,
    ) -> None:
        self.result = Path(path)
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.axis = axis
        _check(self.result, self.shape, self.dtype, axis)
        need_locks(self.result)
        self._target = Path(os.path.realpath(self.result))
        self._partial = self._target.with_name(f"{self._target.name}.partial")
        self._kept = token is not None
        self._file: MatrixFile = matrix_file(self.result, self.shape, self.dtype, axis == 1, dataset)
        self.resumed = self.finished = False
        self._descriptor = -1
        if not self._target.parent.is_dir():
            text = f"{path} cannot be written: the folder {self._target.parent} does not exist; create it"
            raise FileNotFoundError(text)
        if not (resume and token is not None and self._continue(token)):
            self._start(token)

    def write(self, begin: int, end: int, block: Array) -> None:
        """Put a tile in its place: targets (or rows, axis 0) begin to end.

        Parameters
        ----------
        block
            (size, end - begin), or (end - begin, n_targets) with axis 0; any real floating type and order.
            No copy is made of one that has the sink's dtype and lies in memory as the file does.

        Raises
        ------
        ValueError
            The range or the block's shape does not fit, or the sink is finished or closed.
        OSError
            The disk refuses; the message names the path.
        """
        begin, end = check_tile(self, begin, end, block)
        if self.finished:
            raise ValueError(f"{self.result} is finished; to write it again make a sink with resume=False")
        lines = block.T if self.axis == 1 else block
        ready = lines.dtype == self.dtype and lines.flags.c_contiguous
        step = max(1, end - begin if ready else _SCRATCH_BYTES // self._line_bytes)
        for first in range(begin, end, step):
            piece = lines[first - begin : min(first + step, end) - begin]
            with self._named("written"):
                write_all(self._open(), np.ascontiguousarray(piece, self.dtype), self._place(first))

    def place(self, begin: int, end: int) -> Array | None:
        """None: what is written goes to the file.

        Parameters
        ----------
        begin, end : int
            The targets (axis 1) or rows (axis 0) of the tile.
        """
        return None

    def read(self, begin: int, end: int) -> Array:
        """A tile as it was written: (size, end - begin), or (end - begin, n_targets) with axis 0, new memory.

        Contiguous as in the file: in Fortran order with axis 1. Never written before: zeros.

        Raises
        ------
        ValueError
            The range does not fit, or the sink is closed.
        """
        begin, end = check_tile(self, begin, end, None)
        lines = np.empty((end - begin, self.shape[1 - self.axis]), self.dtype)
        with self._named("read"):
            read_all(self._open(), lines, self._place(begin))
        return lines.T if self.axis == 1 else lines

    def flush(self) -> None:
        """Force what was written to the disk. A tile may be noted as done only after this."""
        with self._named("written"):
            os.fsync(self._open())

    def finish(self, attributes: Mapping[str, Any] | None = None) -> None:
        """Force everything to the disk and give the file its name. A second time it does nothing.

        Parameters
        ----------
        attributes
            What describes the numbers. In HDF5 arrays become datasets beside them, anything else attributes
            of the dataset. An .npy file has no place for them and leaves them out.

        Raises
        ------
        OSError
            The disk refuses: the unfinished file stays.
        """
        if self.finished:
            return
        self.flush()
        self._file.annotate(self._partial, attributes or {})
        if not self._kept:
            self._file.trim(self._open(), self._end)
        self.flush()
        os.replace(self._partial, self._target)
        self.finished = True
        unlock(self._descriptor)
        # The rename itself must survive a power cut; some file systems cannot sync a folder.
        with contextlib.suppress(OSError):
            fsync_path(self._target.parent)

    def close(self) -> None:
        """Let go of the file; unfinished, it stays only if there is a token to continue it by.

        Close after the note that says how far the work is has been removed: up to then a finished file is
        recognised by its token, also an .npy file.
        """
        if self._descriptor < 0:
            return
        try:
            if self.finished:
                with contextlib.suppress(OSError):
                    self._file.trim(self._descriptor, self._end)
            elif not self._kept:
                self._partial.unlink(missing_ok=True)
        finally:
            self._shut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()

    def _start(self, token: str | None) -> None:
        self._open_locked(os.O_RDWR | os.O_CREAT)
        try:
            # Emptied, not removed: the lock is on this file.
            os.ftruncate(self._descriptor, 0)
            # First without HDF5, which does not take it well when the disk is full.
            reserve(self._descriptor, self._partial, self._size())
            self._offset = self._file.create(self._partial, token)
            reserve(self._descriptor, self._partial, os.fstat(self._descriptor).st_size)
        except BaseException as error:
            self._partial.unlink(missing_ok=True)
            self._shut()
            if is_disk_full(error):
                raise self._no_space("made") from error
            if isinstance(error, OSError):
                raise OSError(error.errno or errno.EIO, f"{self.result} cannot be made: {error}") from error
            raise

    def _continue(self, token: str) -> bool:
        if self._partial.exists():
            self._open_locked(os.O_RDWR)
            self.resumed = self._recognise(self._partial, token)
        if not self.resumed and self._target.is_file() and os.access(self._target, os.R_OK | os.W_OK):
            self._descriptor = os.open(self._target, os.O_RDWR | os.O_CLOEXEC)
            self.resumed = self.finished = self._recognise(self._target, token)
        return self.resumed

    def _recognise(self, path: Path, token: str) -> bool:
        offset = self._file.find(path, token)
        if offset is None:
            self._shut()
            return False
        self._offset = offset
        return True

    def _open_locked(self, flags: int) -> None:
        """Open the unfinished file, so that no other sink takes it for its own."""
        while True:
            self._descriptor = os.open(self._partial, flags | os.O_CLOEXEC, 0o666)
            try:
                lock(self._descriptor)
            except OSError as error:
                # Some network file systems have no locks at all: go on without.
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    self._shut()
                    text = f"{self.result} is being written by another program; wait until it is finished"
                    raise BlockingIOError(text) from error
            # One that finished in between has given its name to the file that we opened.
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(self._descriptor).st_ino == self._partial.stat().st_ino:
                    return
            self._shut()
            flags |= os.O_CREAT

    def _shut(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Errors of the system that say which file, and what is free where that was the trouble."""
        try:
            yield
        except OSError as error:
            if is_disk_full(error):
                raise self._no_space(what) from error
            raise OSError(error.errno or errno.EIO, f"{self.result} cannot be {what}: {error}") from error

    def _no_space(self, what: str) -> OSError:
        free = shutil.disk_usage(self._target.parent).free
        text = (
            f"{self.result} cannot be {what}: no space left. It takes {self._size():,} bytes, of which those "
            f"still to come must be free; {free:,} bytes are. Free some space or choose another folder"
        )
        return OSError(errno.ENOSPC, text)

    def _open(self) -> int:
        if self._descriptor < 0:
            raise ValueError(f"the sink of {self.result} is closed")
        return self._descriptor

    def _size(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def _end(self) -> int:
        return self._offset + self._size()

    @property
    def _line_bytes(self) -> int:
        return self.shape[1 - self.axis] * self.dtype.itemsize

    def _place(self, line: int) -> int:
        return self._offset + line * self._line_bytes


def _check(path: Path, shape: tuple[int, int], dtype: np.dtype[Any], axis: int) -> None:
    if min(shape) < 1:
        raise ValueError(f"{path}: a matrix of shape {shape} has nothing to write")
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"{path}: dtype is {dtype}; give float32 or float64")
    if axis not in (0, 1):
        raise ValueError(f"{path}: axis is {axis}; give 1 for tiles of targets, 0 for tiles of rows")
