"""Tables of numbers in text files: one row per TR, one column per region; names may stand on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxridge.streams.files import check_readable

SUFFIXES = (".txt", ".csv", ".tsv")


def read_table(path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The numbers (n_rows, n_columns) of a text table, and the names on its first line if it has them.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Something is not a number, or the lines differ in their length.
    """
    check_readable(path)
    delimiter = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    names = _names(path, delimiter)
    try:
        data = np.loadtxt(path, dtype=np.float64, delimiter=delimiter, ndmin=2, skiprows=1 if names else 0)
    except ValueError as error:
        raise ValueError(f"{path} is not a table of numbers: {error}") from error
    if names and len(names) != data.shape[1]:
        raise ValueError(
            f"{path} has {len(names)} names on its first line, but {data.shape[1]} columns below"
        )
    return data, names


def _names(path: Path, delimiter: str | None) -> tuple[str, ...]:
    """The fields of the first line where none of them is a number and a line of numbers follows."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first, second = file.readline(), file.readline()
    fields = [field.strip().strip('"') for field in first.strip().split(delimiter)]
    follows = [field for field in second.strip().split(delimiter) if field]
    if not fields or any(_is_number(f) for f in fields) or not any(_is_number(f) for f in follows):
        return ()
    return () if fields[0].startswith("#") else tuple(fields)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
