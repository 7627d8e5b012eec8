"""CIFTI-2 time series: dense (``.dtseries.nii``) and by parcels (``.ptseries.nii``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from voxridge.responses.geometry import Geometry
from voxridge.responses.volumes import DAMAGE, damaged, load_image, stored_type
from voxridge.streams.identity import Identity, identity
from voxridge.streams.segments import Array

_BLOCK_BYTES = 16 << 20


class CiftiSegment:
    """The time courses of a CIFTI file: rows (n_TR), columns (n_grayordinates).

    The file keeps each time course together, so a read of some rows passes over the whole file, in blocks of
    16 MiB; ``row_multiple`` asks for as many rows at once as the reader can hold.
    """

    in_memory = False

    def __init__(self, path: Path) -> None:
        self.path = path
        image, _, _ = open_cifti(path)
        self.shape = (int(image.shape[0]), int(image.shape[1]))
        self.dtype = stored_type(image, path)
        self.row_multiple = self.shape[0]

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        proxy = open_cifti(self.path)[0].dataobj
        width = max(1, _BLOCK_BYTES // (8 * self.shape[0]))
        for first in range(columns.start, columns.stop, width):
            last = min(first + width, columns.stop)
            try:
                block = np.asanyarray(proxy[:, first:last])
            except DAMAGE as error:
                raise damaged(self.path, f"columns {first} to {last}", error) from error
            into = out[:, first - columns.start : last - columns.start]
            np.copyto(into, block[rows], casting="same_kind")

    def identity(self, *, contents: bool = True) -> Identity:
        return identity([self.path], self)


def open_cifti(path: Path) -> tuple[Any, Any, Any]:
    """The image, its series axis and its axis of places.

    Raises
    ------
    ValueError
        No CIFTI file, truncated, or no time series.
    """
    image = load_image(path)
    if not hasattr(image.header, "get_axis"):
        raise ValueError(f"{path} is a {type(image).__name__}, not a CIFTI-2 file")
    if len(image.shape) != 2:
        raise ValueError(f"{path} has shape {image.shape}; a time series (n_TR, n_grayordinates) is needed")
    axes = [image.header.get_axis(index) for index in (0, 1)]
    kinds = [type(axis).__name__ for axis in axes]
    if kinds[0] != "SeriesAxis" or kinds[1] not in ("BrainModelAxis", "ParcelsAxis"):
        raise ValueError(f"{path} has the axes {kinds}; a .dtseries.nii has SeriesAxis and BrainModelAxis")
    return image, axes[0], axes[1]


def cifti_geometry(path: Path) -> Geometry:
    """Brain models of a dense file; the names of the parcels of the other kind."""
    _, _, places = open_cifti(path)
    if type(places).__name__ == "BrainModelAxis":
        return Geometry.cifti(places)
    return Geometry.columns(len(places), [str(name) for name in places.name])


def cifti_tr(path: Path) -> float | None:
    """Seconds between two rows, or None where the series is not one of times."""
    series = open_cifti(path)[1]
    return float(series.step) if series.unit == "SECOND" and series.step > 0 else None
