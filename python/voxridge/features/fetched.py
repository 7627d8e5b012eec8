"""Stimulus files that are there in name only: git-annex and Git LFS leave pointers until they are fetched."""

from __future__ import annotations

from pathlib import Path

_HEAD, _LONGEST_POINTER = 200, 1000


def check_fetched(file: Path) -> None:
    """Raise FileNotFoundError if a file is missing, or is only a git-annex or Git LFS pointer."""
    if not file.is_file():
        if file.is_symlink():
            raise FileNotFoundError(
                f"{file}: a link to {file.readlink()}, which is not there (git-annex content that was not "
                "fetched?)"
            )
        raise FileNotFoundError(f"{file}: no such file")
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(b"version https://git-lfs"):
        raise FileNotFoundError(f"{file}: a Git LFS pointer, not the file itself: run `git lfs pull`")
    if b"annex/objects/" in head and file.stat().st_size < _LONGEST_POINTER:
        raise FileNotFoundError(f"{file}: a git-annex pointer, not the file itself: run `git annex get`")
