"""Opening files with errors that say what is wrong and what to do."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

H5_SUFFIXES = (".h5", ".hf5", ".hdf5", ".hdf")
_LISTED = 20
# What h5py's own errors begin with when the inner structure of a file is damaged.
_HDF5_SAYS = re.compile(r"^'?(Can't|Unable to|Link iteration|Error iterating|Unknown string encoding)")
_HDF5_RAISES = (KeyError, OSError, RuntimeError, TypeError)
_QUOTES = "'\""


def check_readable(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` as a Path if it is a file with content of its own.

    Raises
    ------
    FileNotFoundError
        Nothing is there, or only a link into a git-annex that was not fetched.
    IsADirectoryError
        A folder is there.
    ValueError
        The file is empty, or a git-annex or git-lfs pointer stands in for it.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        if "annex/objects" in target:
            remedy = f"run: git annex get {path.name}"
            raise FileNotFoundError(f"{path} is a git-annex link whose content is not here; {remedy}")
        raise FileNotFoundError(f"{path} is a link to {target}, which does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file, or a list of files (one per run)")
    if not path.exists():
        folder = path.parent
        where = "" if folder.is_dir() else f" (nor does the folder {folder})"
        raise FileNotFoundError(f"{path} does not exist{where}")
    with path.open("rb") as file:
        head = file.read(256)
    if not head:
        raise ValueError(f"{path} is empty (0 bytes); copy or fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a git-lfs pointer, not the data; run: git lfs pull -I {path.name}")
    if b"annex/objects/" in head and path.stat().st_size < 32768:
        raise ValueError(f"{path} is a git-annex pointer, not the data; run: git annex get {path.name}")
    return path


@contextlib.contextmanager
def open_h5(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open an HDF5 file for reading; see `check_readable` for the first checks.

    Raises
    ------
    ValueError
        The file is truncated, damaged (also where that shows up only while it is open), or no HDF5 file.
    BlockingIOError
        Another program is writing it.
    """
    path = check_readable(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _h5_error(path, error) from error
    try:
        with file:
            yield file
    except _HDF5_RAISES as error:
        if type(error) in _HDF5_RAISES and _HDF5_SAYS.search(str(error)):
            text = f"{path} cannot be read, it is probably damaged: {str(error).strip(_QUOTES)}"
            raise ValueError(text) from error
        raise


def _h5_error(path: Path, error: OSError) -> Exception:
    text = str(error)
    if "unable to lock file" in text or "already open for write" in text:
        return BlockingIOError(f"{path} is being written by another program; wait until it is finished")
    if isinstance(error, PermissionError):
        return PermissionError(f"{path} may not be read: permission denied")
    size = path.stat().st_size
    sizes = re.search(r"stored_eof = (\d+)", text)
    if "truncated file" in text and sizes:
        whole = int(sizes.group(1))
        return truncated(path, size, whole)
    if "signature not found" in text:
        return ValueError(f"{path} ({size:,} bytes) is not an HDF5 file, or its beginning is damaged")
    return ValueError(f"{path} ({size:,} bytes) cannot be opened as HDF5, it is probably damaged: {text}")


def truncated(path: Path, size: int, whole: int) -> ValueError:
    """The error for a file that is shorter than it says."""
    return ValueError(f"{path} is truncated: {size:,} of {whole:,} bytes are here; copy or fetch it again")


def get_dataset(file: Any, dataset: str, path: Path) -> Any:
    """The dataset of that name in an open file.

    Raises
    ------
    ValueError
        No such dataset; the message lists the datasets that are there.
    """
    # Damage to the inner structure shows up here as a KeyError, a RuntimeError or an OSError.
    try:
        found = file.get(dataset)
    except (KeyError, OSError, RuntimeError) as error:
        text = f"{path}: dataset {dataset!r} cannot be opened, the file is probably damaged: {error}"
        raise ValueError(text) from error
    if isinstance(found, h5py.Dataset):
        return found
    what = "is a group, not a dataset" if isinstance(found, h5py.Group) else "is not there"
    raise ValueError(f"{path}: dataset {dataset!r} {what}; the file holds {list_datasets(file)}")


def list_datasets(file: Any) -> str:
    """The datasets of an open file with their shapes, at most twenty, for an error message."""
    found: list[str] = []

    def visit(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset):
            found.append(f"{name} {item.shape}")
        return True if len(found) > _LISTED else None

    try:
        file.visititems(visit)
    except (KeyError, OSError, RuntimeError):
        return "a structure that cannot be read (damaged)"
    if not found:
        return "no dataset at all"
    return ", ".join(found[:_LISTED]) + (", ..." if len(found) > _LISTED else "")
