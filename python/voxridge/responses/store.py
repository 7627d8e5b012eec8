"""The geometry inside a response store, and the blocks that are counted while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from voxridge.responses.geometry import Geometry
from voxridge.streams.checks import row_chunks
from voxridge.streams.files import open_h5
from voxridge.streams.journal import append_h5
from voxridge.streams.segments import Array
from voxridge.streams.sources import Source

GROUP = "geometry"


def write_geometry(path: str | os.PathLike[str], geometry: Geometry) -> None:
    """Put a geometry into a store that has none.

    Raises
    ------
    ValueError
        The store has one already.
    """
    with append_h5(Path(path)) as file:
        if GROUP in file:
            raise ValueError(f"{path} already has a geometry")
        group = file.create_group(GROUP)
        group.attrs["kind"] = geometry.kind
        group.attrs["n_columns"] = geometry.n_columns
        group["shape"] = np.array(geometry.shape, np.int64)
        text = h5py.string_dtype("utf-8")
        for name in ("hemispheres", "names"):
            if found := getattr(geometry, name):
                group.create_dataset(name, data=np.array(found, dtype=object), dtype=text)
        if geometry.mask is not None:
            group["mask"] = np.packbits(geometry.mask)
        if geometry.affine is not None:
            group["affine"] = geometry.affine
        if geometry.xml:
            group.create_dataset("xml", data=geometry.xml, dtype=text)


def keep_geometry(path: str | os.PathLike[str], geometry: Geometry) -> None:
    """Put a geometry into a store, or check that it is the one that is there.

    Raises
    ------
    ValueError
        The store has another one; the message says what differs.
    """
    present = read_geometry(path)
    if present is None:
        write_geometry(path, geometry)
    elif apart := present.difference(geometry):
        raise ValueError(
            f"{path} was made of other voxels and cannot be continued: {apart} (stored, given). Give another "
            "path, the old mask, or overwrite=True"
        )


def read_geometry(path: str | os.PathLike[str]) -> Geometry | None:
    """The geometry of a store, None if it has none (made by hand, or elsewhere)."""
    with open_h5(path) as file:
        group = file.get(GROUP)
        if not isinstance(group, h5py.Group):
            return None
        kind, shape = str(group.attrs["kind"]), tuple(int(n) for n in group["shape"][()])
        size = int(np.prod(shape)) if kind == "volume" else sum(shape)
        return Geometry(
            kind,  # type: ignore[arg-type]
            int(group.attrs["n_columns"]),
            shape,
            np.unpackbits(group["mask"][()], count=size).astype(bool) if "mask" in group else None,
            group["affine"][()] if "affine" in group else None,
            _texts(group, "hemispheres"),
            group["xml"][()].decode("utf-8") if "xml" in group else "",
            _texts(group, "names"),
        )


def _texts(group: Any, name: str) -> tuple[str, ...]:
    return tuple(text.decode("utf-8") for text in group[name][()]) if name in group else ()


class Ranges:
    """Smallest and largest value of every column of what passed, NaN where one was NaN."""

    def __init__(self, n_columns: int) -> None:
        self._low = np.full(n_columns, np.inf)
        self._high = np.full(n_columns, -np.inf)

    def add(self, rows: Array) -> None:
        """Take in some rows."""
        with np.errstate(invalid="ignore"):
            np.minimum(self._low, rows.min(axis=0), out=self._low)
            np.maximum(self._high, rows.max(axis=0), out=self._high)

    @property
    def nonfinite(self) -> Array:
        """Columns with NaN or infinity."""
        found: Array = ~(np.isfinite(self._low) & np.isfinite(self._high))
        return found

    @property
    def constant(self) -> Array:
        """Finite columns that never change."""
        found: Array = ~self.nonfinite & (self._low == self._high)
        return found

    @property
    def problem(self) -> str:
        """Why nothing can be done with the data, "" if something can."""
        if not self._low.any() and not self._high.any():
            return "every value is zero: there is no recording in it"
        if self.nonfinite.all():
            return "every column has NaN or infinite values"
        unusable = self.nonfinite | self.constant
        return "no column varies over time" if unusable.all() else ""


class CountedPieces:
    """The rows of a source in the order of the file, counted, and added up where a mean is wanted."""

    def __init__(self, source: Source, total: Array | None = None) -> None:
        self.shape = source.shape
        self.dtype = np.dtype(getattr(source, "stored_dtype", source.dtype))
        self.ranges = Ranges(source.shape[1])
        self._source, self._total = source, total

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        for rows in row_chunks(self._source):
            values = self._source.read(rows)
            self.ranges.add(values)
            if self._total is not None:
                self._total[rows] += values
            yield rows, values.astype(self.dtype, copy=False)


class MeanPieces:
    """The mean of the presentations that were written before, from their sum, which is used up."""

    def __init__(self, total: Array, n_repeats: int, dtype: np.dtype[Any]) -> None:
        self.shape: tuple[int, int] = (total.shape[0], total.shape[1])
        self.dtype = dtype
        self.ranges = Ranges(total.shape[1])
        self._total, self._n_repeats = total, n_repeats

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        step = max(1, (8 << 20) // (8 * self.shape[1]))
        for first in range(0, self.shape[0], step):
            rows = slice(first, min(first + step, self.shape[0]))
            values = (self._total[rows] / self._n_repeats).astype(self.dtype)
            self.ranges.add(values)
            yield rows, values
