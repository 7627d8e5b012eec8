"""Adding to an HDF5 file so that a kill, a full disk or a power cut at any moment loses only the addition.

HDF5 itself gives no such promise: a file that was open for writing when its process died can be unreadable as
a whole, and a store of features that grows for days cannot be copied and renamed for each run. So the writes
are sorted here, between HDF5 and the disk:

1. A side file ``<name>.journal`` is locked and notes the length of the main file.
2. What HDF5 writes beyond that length goes straight to the main file. Nothing points to it yet: readers of
   the main file see it as it was.
3. What HDF5 overwrites inside that length (links, sizes: a few kB) is kept in memory, by pages.
4. At the end the new part is forced to disk, then the pages go to the journal with a checksum, and the
   journal is forced to disk. From here the addition counts as made.
5. The pages are put in place, and the journal is removed.

Died before 4: the main file is cut back to the noted length. Died after: the pages are put in place again.
Either is done by `recover`, which the stores call when they open a file. A plain HDF5 reader of the main file
sees a valid file too, except if the process died inside 5, which takes milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from voxridge.streams.atomic import disk_full, is_disk_full
from voxridge.streams.files import check_readable
from voxridge.streams.locks import need_locks, open_locked

_PAGE = 4096
_MAGIC = b"voxridge journal 1\n"
_WHOLE = 3  # records of a journal whose addition counts as made: start, list of pages, pages
_RECORD = struct.Struct("<QI")


def journal_path(path: Path) -> Path:
    """Where the journal of a file lies."""
    return path.with_name(f"{path.name}.journal")


@contextlib.contextmanager
def append_h5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for an addition that happens as a whole or not at all.

    Raises
    ------
    BlockingIOError
        Another writer is at work.
    OSError
        The disk is full: nothing was added.
    """
    path = Path(os.path.realpath(check_readable(path)))
    with _locked_journal(path) as journal:
        _finish(path, journal)
        with path.open("r+b", buffering=0) as main:
            base = os.fstat(main.fileno()).st_size
            _start(journal, main, base)
            held = _HeldWrites(main, base)
            try:
                with _closing(held) as file:
                    yield file
                if held.failure is not None:
                    raise held.failure
                _commit(held, journal, base)
            except BaseException as error:
                held.discard()
                reached = held.size
                _cut(main, base)
                _clear(journal)
                if is_disk_full(error):
                    raise disk_full(path, max(0, reached - base), None) from error
                raise
            _put_in_place(main, held.pages, held.size)
            _clear(journal)


@contextlib.contextmanager
def _closing(held: _HeldWrites) -> Iterator[Any]:
    file = h5py.File(held, "r+")
    try:
        yield file
    except BaseException:
        # HDF5 still wants to write when it closes; from here on that goes nowhere.
        held.discard()
        raise
    finally:
        try:
            file.close()
        except BaseException:
            held.discard()
            with contextlib.suppress(Exception):
                file.close()
            raise


def recover(path: str | os.PathLike[str]) -> bool:
    """Finish or take back an addition that was cut off; True if there was one.

    Does nothing while a writer is at work: the file is then valid without the addition.

    Raises
    ------
    OSError
        The file needs repair and may not be written.
    """
    path = Path(os.path.realpath(path))
    place = journal_path(path)
    if not place.exists() or not path.exists():
        return False
    try:
        with _locked_journal(path) as journal:
            return _finish(path, journal)
    except BlockingIOError:
        return False
    except OSError as error:
        with place.open("rb") as journal:
            if len(_records(journal)) < _WHOLE:
                return False  # the file is valid as it is; the next writer tidies up
        text = f"{path} needs the repair noted in {place.name}, but may not be written: {error}"
        raise OSError(error.errno, text) from error


class _HeldWrites(io.RawIOBase):
    """The file that HDF5 sees: the old part with the changed pages laid over it, then the new part."""

    def __init__(self, main: Any, base: int) -> None:
        super().__init__()
        self._main = main
        self._base = base
        self._at = 0
        self._dead = False
        self.failure: BaseException | None = None
        self.size = base
        self.pages: dict[int, bytearray] = {}

    def discard(self) -> None:
        """Ignore all further writes."""
        self._dead = True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = start + offset
        return self._at

    def truncate(self, size: int | None = None) -> int:
        # Only the tail of the new part can go at once; the old part must stay until the end.
        self.size = self._at if size is None else size
        if not self._dead:
            self._main.truncate(max(self.size, self._base))
        return self.size

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer).cast("B")
        wanted = max(0, min(len(into), self.size - self._at))
        done = 0
        while done < wanted:
            piece = os.pread(self._main.fileno(), wanted - done, self._at + done)
            if not piece:
                into[done:wanted] = bytes(wanted - done)  # reserved by HDF5, never written
                break
            into[done : done + len(piece)] = piece
            done += len(piece)
        self._overlay(into[:wanted])
        self._at += wanted
        return wanted

    def _overlay(self, into: memoryview) -> None:
        end = self._at + len(into)
        for number in range(self._at // _PAGE, -(-min(end, self._base) // _PAGE)):
            page = self.pages.get(number)
            if page is not None:
                start = number * _PAGE
                high = min(start + len(page), end)
                low = min(max(start, self._at), high)  # the last page may end before the part that is read
                into[low - self._at : high - self._at] = page[low - start : high - start]

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if not self._dead:
            inside = max(0, min(len(view), self._base - self._at))
            try:
                if inside:
                    self._hold(view[:inside])
                self._write_through(view[inside:], self._at + inside)
            except BaseException as error:
                # HDF5 may turn this into an error of its own, or postpone it: the writer asks here.
                self.failure = error
                self.discard()
                raise
            self.size = max(self.size, self._at + len(view))
        self._at += len(view)
        return len(view)

    def _hold(self, view: memoryview) -> None:
        end = self._at + len(view)
        for number in range(self._at // _PAGE, -(-end // _PAGE)):
            start = number * _PAGE
            if number not in self.pages:
                length = min(_PAGE, self._base - start)
                self.pages[number] = bytearray(os.pread(self._main.fileno(), length, start))
            low, high = max(start, self._at), min(start + _PAGE, end)
            self.pages[number][low - start : high - start] = view[low - self._at : high - self._at]

    def _write_through(self, view: memoryview, at: int) -> None:
        while len(view):
            done = os.pwrite(self._main.fileno(), view, at)
            view, at = view[done:], at + done

    def flush(self) -> None:
        return None


@contextlib.contextmanager
def _locked_journal(path: Path) -> Iterator[Any]:
    """The journal, opened and locked; removed at the end unless something in it is still to be done."""
    need_locks(path)
    place = journal_path(path)
    journal = open_locked(place, path)
    try:
        yield journal
    finally:
        if os.fstat(journal.fileno()).st_size == 0:
            place.unlink(missing_ok=True)
        journal.close()


def discard_journal(path: Path) -> None:
    """Remove the journal that a dead writer left beside a file that is about to be replaced.

    Raises
    ------
    BlockingIOError
        The writer is alive.
    """
    path = Path(os.path.realpath(path))
    if journal_path(path).exists():
        with _locked_journal(path) as journal:
            _clear(journal)


def _start(journal: Any, main: Any, base: int) -> None:
    note = {"length": base, "first": _first_page(main, base)}
    _append(journal, _MAGIC + _packed(json.dumps(note).encode()))


def _first_page(main: Any, base: int) -> int:
    return zlib.crc32(os.pread(main.fileno(), min(base, _PAGE), 0))


def _commit(held: _HeldWrites, journal: Any, base: int) -> None:
    os.fsync(held._main.fileno())
    pages = sorted(held.pages.items())
    head = {"length": held.size, "pages": [[number, len(page)] for number, page in pages]}
    _append(journal, _packed(json.dumps(head).encode()) + _packed(b"".join(page for _, page in pages)))


def _packed(content: bytes) -> bytes:
    return _RECORD.pack(len(content), zlib.crc32(content)) + content


def _append(journal: Any, content: bytes) -> None:
    view = memoryview(content)
    while len(view):
        view = view[journal.write(view) :]
    os.fsync(journal.fileno())


def _records(journal: Any) -> list[bytes]:
    """The whole records of a journal; what a crash left half-written fails its checksum and ends the list."""
    journal.seek(0)
    content = journal.read()
    found: list[bytes] = []
    at = len(_MAGIC)
    while content.startswith(_MAGIC) and at + _RECORD.size <= len(content):
        length, checksum = _RECORD.unpack_from(content, at)
        record = content[at + _RECORD.size : at + _RECORD.size + length]
        # Zeros, which a power cut may leave, are the checksum of nothing.
        if not length or len(record) != length or zlib.crc32(record) != checksum:
            break
        found.append(record)
        at += _RECORD.size + length
    return found


def _finish(path: Path, journal: Any) -> bool:
    """Bring the main file in the state that the journal of a dead writer asks for."""
    records = _records(journal)
    if records:
        with path.open("r+b", buffering=0) as main:
            size, note = os.fstat(main.fileno()).st_size, json.loads(records[0])
            if len(records) < _WHOLE:
                # A file that was put here since is not the one that the journal speaks of.
                if size >= note["length"] and _first_page(main, note["length"]) == note["first"]:
                    _cut(main, note["length"])
            elif size >= (head := json.loads(records[1]))["length"]:
                _put_in_place(main, _unpack_pages(head["pages"], records[2]), head["length"])
    _clear(journal)
    return bool(records)


def _unpack_pages(index: list[list[int]], body: bytes) -> dict[int, bytearray]:
    pages: dict[int, bytearray] = {}
    at = 0
    for number, length in index:
        pages[number] = bytearray(body[at : at + length])
        at += length
    return pages


def _put_in_place(main: Any, pages: dict[int, bytearray], length: int) -> None:
    for number, page in sorted(pages.items()):
        os.pwrite(main.fileno(), page, number * _PAGE)
    _cut(main, length)


def _cut(main: Any, length: int) -> None:
    if os.fstat(main.fileno()).st_size > length:
        os.ftruncate(main.fileno(), length)
    os.fsync(main.fileno())


def _clear(journal: Any) -> None:
    if os.fstat(journal.fileno()).st_size:
        os.ftruncate(journal.fileno(), 0)
        os.fsync(journal.fileno())
