"""Locks on open files, and the word for systems without them."""

from __future__ import annotations

import errno
from pathlib import Path

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
