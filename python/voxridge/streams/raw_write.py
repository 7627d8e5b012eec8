"""Plain reads and writes at a place in a file, and space for them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV)


def reserve(descriptor: int, path: Path, length: int) -> None:
    """Have the file system set ``length`` bytes aside for a file, or at least see that there are enough.

    Raises
    ------
    OSError
        The disk is too small (``errno.ENOSPC``), or the system refuses files of this size.
    """
    present = os.fstat(descriptor).st_blocks * 512
    if shutil.disk_usage(path.parent).free < length - present:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    allocate = getattr(os, "posix_fallocate", None)
    try:
        if allocate is not None:
            allocate(descriptor, 0, length)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise


def write_all(descriptor: int, lines: Array, place: int) -> None:
    """Write the numbers of a C-contiguous array from byte ``place`` of a file on."""
    left = lines.reshape(-1).view(np.uint8).data
    while left:
        done = os.pwrite(descriptor, left, place)
        left, place = left[done:], place + done


def read_all(descriptor: int, lines: Array, place: int) -> None:
    """Fill a C-contiguous array from byte ``place`` of a file on.

    Raises
    ------
    OSError
        The file is too short.
    """
    left = lines.reshape(-1).view(np.uint8).data
    while left:
        done = os.preadv(descriptor, [left], place)
        if not done:
            raise OSError(errno.EIO, "the file ends too early; another program has cut it")
        left, place = left[done:], place + done
