"""Locks on open files, and the word for systems without them."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def need_locks(path: Path) -> None:
    """Refuse to write ``path`` in pieces where the system is not POSIX.

    Such files are locked, renamed while they are open and cut at their end; Windows does none of this.

    Raises
    ------
    OSError
        The system has no ``fcntl`` (``errno.ENOTSUP``).
    """
    if fcntl is None:
        raise OSError(
            errno.ENOTSUP,
            f"{path} cannot be written in pieces: that needs the file locks of Linux or macOS, which this "
            "system lacks; keep the result in memory and save it as a whole, or use WSL",
        )


def lock(descriptor: int) -> None:
    """Take the lock of an open file at once or not at all.

    Raises
    ------
    OSError
        Somebody else has it (``errno.EWOULDBLOCK`` or ``errno.EACCES``), or the file system has no locks.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def unlock(descriptor: int) -> None:
    """Give the lock of an open file back."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def open_locked(place: Path, guarded: Path) -> BinaryIO:
    """Open ``place`` for reading and writing, made if it is not there, and take its lock at once.

    Parameters
    ----------
    place : Path
        The side file that holds the lock; unbuffered.
    guarded : Path
        The file that the lock guards, for the error message.

    Raises
    ------
    BlockingIOError
        Another program has the lock.
    """
    while True:
        file = place.open("a+b", buffering=0)
        try:
            _lock_or_say(file, guarded)
            # A writer that finished in between has removed the file that we opened.
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == place.stat().st_ino:
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock_or_say(file: BinaryIO, guarded: Path) -> None:
    try:
        lock(file.fileno())
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            text = f"{guarded} is being written by another program; wait until it is finished"
            raise BlockingIOError(text) from error
        # Some network file systems have no locks at all: go on without.
