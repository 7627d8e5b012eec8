"""Finished work in .npz files: written whole or not at all, and made anew where a file is damaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.streams.atomic import atomic_path


def keep(path: Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Write arrays by name."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: np.asarray(values) for name, values in arrays.items()})


def kept(path: Path, needed: Iterable[str]) -> dict[str, NDArray[Any]] | None:
    """Arrays by name; None where there is no file, or none that can be read and has all that is needed.

    A damaged file is no reason to stop: the work is done again and the file replaced.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = dict(file)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):
        return None
    return found if all(name in found for name in needed) else None
