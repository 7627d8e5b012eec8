"""The unfinished run of a store, kept beside it block by block until it is whole.

A run of a large model takes hours, and HDF5 has no safe half-written state. So the blocks of a run go, as
they are computed, to the end of a side file ``<store>.<group>.partial``; when the last one is there, the run
moves into the store at once. The side file is a magic line and then records:

* the head: JSON with what is being written (store's provenance, run, layers and widths, dtype, rows);
* for each block a JSON note (rows, companions, totals), the numbers of each layer and of each companion one
  after the other, and a checksum.

A process that is killed leaves at most one record cut off, which its length or its checksum gives away: the
next writer cuts it off and goes on after the last whole block. The lock of this file is the lock of the
store's writer; it is removed when the writer is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxridge.streams.atomic import disk_full, fsync_path, is_disk_full
from voxridge.streams.locks import need_locks, open_locked
from voxridge.streams.segments import Array

_MAGIC = b"voxridge partial run 1\n"
_RECORD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_SCAN_BYTES = 4 << 20
# A killed process loses nothing that was written; a power cut may lose what was written since the last sync.
_SYNC_SECONDS = 1.0


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows of all layers of a run.

    Parameters
    ----------
    start, stop : int
        Rows of the run, ``start < stop``.
    layers : dict of str to (stop - start, width) array
        Every layer of the run, in the dtype of its reader.
    side : dict of str to (stop - start,) array
        Companions of the rows, such as ``"surprisal"`` in bits; the same names in every block.
    totals : dict of str to float
        What is added up over the blocks of a run and kept as attributes of the run, such as ``"n_scored"``.
    """

    start: int
    stop: int
    layers: dict[str, Array]
    side: dict[str, Array] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """Where a whole block lies: its note, and the byte at which its numbers begin."""

    note: dict[str, Any]
    begin: int

    @property
    def rows(self) -> slice:
        return slice(self.note["start"], self.note["stop"])


def partial_path(path: Path, group: str) -> Path:
    """Where the unfinished run of a group of a store lies."""
    return path.with_name(f"{path.name}.{group}.partial")


class PartialRun:
    """The side file of one writer, locked for as long as it is open.

    Parameters
    ----------
    place : Path
        The side file, see `partial_path`.
    store : Path
        The store, for error messages.

    Raises
    ------
    BlockingIOError
        Another program writes this store.
    OSError
        The system has no file locks.
    """

    def __init__(self, place: Path, store: Path) -> None:
        need_locks(place)
        self.place, self.store = place, store
        self._file: Any = open_locked(place, store)
        self.head: dict[str, Any] | None = None
        self._blocks: list[_Place] = []
        self._end = 0
        self._synced = time.monotonic()
        try:
            self._scan()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> PartialRun:
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            if not self._blocks:
                self.place.unlink(missing_ok=True)
            else:
                self._sync()
        finally:
            self._file.close()

    @property
    def n_rows(self) -> int:
        """Rows in whole blocks."""
        return int(self._blocks[-1].note["stop"]) if self._blocks else 0

    def clear(self) -> None:
        """Forget what is there."""
        self.head, self._blocks, self._end = None, [], 0
        os.ftruncate(self._file.fileno(), 0)

    def begin(self, head: Mapping[str, Any]) -> None:
        """Start a run: ``head`` holds ``run``, ``n_rows``, ``dtype``, ``layers`` {name: width}, and more."""
        self.clear()
        content = json.dumps(head, allow_nan=False).encode()
        self._append([_MAGIC + _packed(content)])
        self.head = json.loads(content)
        self._end = len(_MAGIC) + _RECORD.size + len(content)

    def append(self, block: RowBlock) -> None:
        """Add the next block; a kill at any moment leaves it whole or not there.

        Raises
        ------
        OSError
            The disk is full; the blocks before are kept.
        """
        assert self.head is not None
        layers = [np.ascontiguousarray(block.layers[name], self._dtype) for name in self.head["layers"]]
        side = {name: np.ascontiguousarray(values) for name, values in block.side.items()}
        note = {
            "start": block.start,
            "stop": block.stop,
            "alive": [not is_zero(values) for values in layers],
            "side": {name: values.dtype.str for name, values in side.items()},
            "totals": block.totals,
        }
        content = json.dumps(note, allow_nan=False).encode()
        pieces = [_bytes(values) for values in (*layers, *side.values())]
        checksum = 0
        for piece in pieces:
            checksum = zlib.crc32(piece, checksum)
        self._append([_packed(content), *pieces, _CHECKSUM.pack(checksum)])
        begin = self._end + _RECORD.size + len(content)
        self._blocks.append(_Place(note, begin))
        self._end = begin + sum(map(len, pieces)) + _CHECKSUM.size
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            fsync_path(self.place.parent)
        self._synced = time.monotonic()

    def last_rows(self) -> dict[str, Array] | None:
        """The last row of every layer, or None if there is no block."""
        if not self._blocks:
            return None
        place = self._blocks[-1]
        last = slice(self.n_rows - place.rows.start - 1, self.n_rows - place.rows.start)
        return {name: self._read(place, name, last)[0] for name in self._layers}

    def layer(self, name: str) -> LayerPieces:
        """One layer over all blocks, read when it is written."""
        return LayerPieces(self, name)

    def pieces(self, name: str) -> Iterator[tuple[slice, Array]]:
        """Rows and numbers of one layer, block by block."""
        for place in self._blocks:
            yield place.rows, self._read(place, name, slice(0, place.rows.stop - place.rows.start))

    def side(self) -> dict[str, Array]:
        """The companions of the rows (n_rows,), as far as they go."""
        if not self._blocks:
            return {}
        columns: dict[str, list[Array]] = {name: [] for name in self._blocks[0].note["side"]}
        for place in self._blocks:
            n_rows = place.rows.stop - place.rows.start
            at = place.begin + n_rows * sum(self._layers.values()) * self._dtype.itemsize
            for name, kind in place.note["side"].items():
                values = np.empty(n_rows, kind)
                self._fill(values, at)
                columns[name].append(values)
                at += values.nbytes
        return {name: np.concatenate(parts) for name, parts in columns.items()}

    def side_kinds(self) -> dict[str, str] | None:
        """Names and types of the companions, or None before the first block."""
        return dict(self._blocks[0].note["side"]) if self._blocks else None

    def totals(self) -> dict[str, float]:
        """What the blocks add up to, from the first to the last."""
        found: dict[str, float] = {}
        for place in self._blocks:
            for name, value in place.note["totals"].items():
                found[name] = found.get(name, 0) + value
        return found

    def dead_layers(self) -> list[str]:
        """The layers in which every number so far is zero."""
        alive = np.any([place.note["alive"] for place in self._blocks], axis=0)
        return [name for name, is_alive in zip(self._layers, alive, strict=True) if not is_alive]

    @property
    def _layers(self) -> dict[str, int]:
        assert self.head is not None
        found: dict[str, int] = self.head["layers"]
        return found

    @property
    def _dtype(self) -> np.dtype[Any]:
        assert self.head is not None
        found: np.dtype[Any] = np.dtype(self.head["dtype"])
        return found

    def _read(self, place: _Place, name: str, rows: slice) -> Array:
        names = list(self._layers)
        before = sum(self._layers[other] for other in names[: names.index(name)])
        width, n_rows = self._layers[name], place.rows.stop - place.rows.start
        values = np.empty((rows.stop - rows.start, width), self._dtype)
        self._fill(values, place.begin + (before * n_rows + rows.start * width) * self._dtype.itemsize)
        return values

    def _fill(self, values: Array, at: int) -> None:
        into = _bytes(values)
        while into:
            done = os.preadv(self._file.fileno(), [into], at)
            if not done:
                raise OSError(f"{self.place} was cut off while it was being read; start again")
            into, at = into[done:], at + done

    def _append(self, pieces: list[Any]) -> None:
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(self._file.fileno(), view) :]
        except BaseException as error:
            written = os.fstat(self._file.fileno()).st_size
            os.ftruncate(self._file.fileno(), self._end)
            if is_disk_full(error):
                raise disk_full(self.place, written, None) from error
            raise

    def _scan(self) -> None:
        """Find the whole blocks and cut off what follows them."""
        size = os.fstat(self._file.fileno()).st_size
        content = _record(self._file, len(_MAGIC), size) if self._starts_with_magic() else None
        if content is None:
            self.clear()
            return
        self.head = json.loads(content)
        self._end = len(_MAGIC) + _RECORD.size + len(content)
        while (place := self._next_block(size)) is not None:
            self._blocks.append(place)
        if self._end < size:
            os.ftruncate(self._file.fileno(), self._end)

    def _starts_with_magic(self) -> bool:
        return os.pread(self._file.fileno(), len(_MAGIC), 0) == _MAGIC

    def _next_block(self, size: int) -> _Place | None:
        content = _record(self._file, self._end, size)
        if content is None:
            return None
        note = json.loads(content)
        place = _Place(note, self._end + _RECORD.size + len(content))
        n_rows = place.rows.stop - place.rows.start
        row_bytes = sum(self._layers.values()) * self._dtype.itemsize
        end = place.begin + n_rows * (row_bytes + sum(np.dtype(k).itemsize for k in note["side"].values()))
        if end + _CHECKSUM.size > size or self._checksum(place.begin, end) != _CHECKSUM.unpack(
            os.pread(self._file.fileno(), _CHECKSUM.size, end)
        ):
            return None
        self._end = end + _CHECKSUM.size
        return place

    def _checksum(self, begin: int, end: int) -> tuple[int]:
        checksum = 0
        for at in range(begin, end, _SCAN_BYTES):
            piece = os.pread(self._file.fileno(), min(_SCAN_BYTES, end - at), at)
            checksum = zlib.crc32(piece, checksum)
        return (checksum,)


@dataclass(frozen=True)
class LayerPieces:
    """One layer of an unfinished run, as `voxridge.streams.store_base` writes a matrix: piece by piece."""

    partial: PartialRun
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, width)."""
        return self.partial.n_rows, self.partial._layers[self.name]

    @property
    def dtype(self) -> np.dtype[Any]:
        """As it is stored."""
        return self.partial._dtype

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        """Rows and their numbers, in order."""
        return self.partial.pieces(self.name)


def is_zero(values: Array) -> bool:
    """Whether every number is zero (of either sign)."""
    if values.dtype == np.float16:  # numpy's own loop over halves is fifteen times slower
        return not (values.view(np.uint16) & 0x7FFF).any()
    return not values.any()


def not_finite(values: Array) -> Array | None:
    """(n_rows,) booleans, true for rows with NaN or infinity, or None if there is none."""
    if values.dtype == np.float16:
        bits: Array = values.view(np.uint16) & 0x7C00
        found: Array = bits.max(axis=1) == 0x7C00
    else:
        found = np.asarray(~np.isfinite(values).all(axis=1))
    return found if found.any() else None


def _bytes(values: Array) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _packed(content: bytes) -> bytes:
    return _RECORD.pack(len(content), zlib.crc32(content)) + content


def _record(file: Any, at: int, size: int) -> bytes | None:
    """The record at a byte of the file, or None if it is not whole."""
    head = os.pread(file.fileno(), _RECORD.size, at)
    if len(head) < _RECORD.size:
        return None
    length, checksum = _RECORD.unpack(head)
    # Zeros, which a power cut may leave, are the checksum of nothing.
    if not length or at + _RECORD.size + length > size:
        return None
    content = os.pread(file.fileno(), length, at + _RECORD.size)
    return content if zlib.crc32(content) == checksum else None
