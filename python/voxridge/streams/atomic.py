"""Files appear whole or not at all: write beside the target, then rename."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, needed: int | None = None) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path``; rename it to ``path`` when the block succeeds.

    The temporary name keeps the suffix, because ``numpy.save`` and matplotlib look at it. On success the
    file is forced to disk and takes the place of ``path`` in one step (``os.replace``); a reader sees the
    old file or the new one. On any failure, an interrupt included, the temporary file is removed and an
    older ``path`` is untouched. A symbolic link at ``path`` is followed: the file it names is replaced.

    Parameters
    ----------
    path
        The file to make. Its folder must exist.
    needed
        Bytes the file will take, if known. The free space is then checked before anything is written.

    Raises
    ------
    FileNotFoundError
        The folder of ``path`` does not exist, or the block wrote nothing.
    IsADirectoryError
        ``path`` is a folder.
    OSError
        The disk is full (``errno.ENOSPC``): the message names ``path``, what was written and what is free.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "scores.csv") as temporary:
    ...     _ = temporary.write_text("voxel,r")
    >>> [p.name for p in folder.iterdir()]
    ['scores.csv']
    """
    asked = Path(path)
    target = Path(os.path.realpath(asked))
    _check_target(asked, target, needed)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}.tmp{target.suffix}")
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"nothing was written for {asked}; write to the path that was given")
        fsync_path(temporary)
        os.replace(temporary, target)
    except BaseException as error:
        written = _remove(temporary)
        if is_disk_full(error):
            raise disk_full(asked, written, needed) from error
        raise
    # The rename itself must survive a power cut; some file systems cannot sync a folder.
    with contextlib.suppress(OSError):
        fsync_path(target.parent)


def _check_target(asked: Path, target: Path, needed: int | None) -> None:
    if target.is_dir():
        raise IsADirectoryError(f"{asked} is a folder; give the name of a file")
    if not target.parent.is_dir():
        text = f"{asked} cannot be written: the folder {target.parent} does not exist; create it"
        raise FileNotFoundError(text)
    if needed is not None and shutil.disk_usage(target.parent).free < needed:
        raise disk_full(asked, 0, needed)


def fsync_path(path: Path) -> None:
    """Force a file or a folder to disk."""
    # Windows wants a file open for writing here, and has no such call for folders.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Whether the error says that no space is left; HDF5 wraps the system's error in text of its own."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return isinstance(error, (OSError, RuntimeError)) and any(
        os.strerror(code) in str(error) for code in _FULL
    )


def disk_full(path: Path, written: int, needed: int | None) -> OSError:
    """The error for a full disk: which file, how much was written, how much is free."""
    folder = path.parent if path.parent.is_dir() else Path(path.anchor or ".")
    free = shutil.disk_usage(folder).free
    want = "" if needed is None else f"{needed:,} bytes are needed, "
    text = (
        f"no space left while writing {path}: {want}{written:,} bytes had been written, {free:,} bytes "
        "are free now that the unfinished part is removed. Free some space or choose another folder"
    )
    return OSError(errno.ENOSPC, text)


def _remove(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
