"""GIFTI time series: one file per hemisphere, one data array per TR."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from voxridge.responses.extras import need_nibabel
from voxridge.responses.geometry import Geometry
from voxridge.responses.volumes import DAMAGE, as_mask, damaged
from voxridge.streams.files import check_readable
from voxridge.streams.identity import Identity, identity
from voxridge.streams.segments import Array, read_dtype

_STRUCTURES = {"CortexLeft": "L", "CortexRight": "R"}
_NAMED = re.compile(r"hemi-([LR])(?=[._])|(?:^|[._])([lr]h|[LR])(?=[._])")
_TYPES = {
    "NIFTI_TYPE_FLOAT32": "f4",
    "NIFTI_TYPE_INT32": "i4",
    "NIFTI_TYPE_UINT8": "u1",
    "NIFTI_TYPE_FLOAT64": "f8",
}


@dataclass(frozen=True)
class SurfaceLayout:
    """What a GIFTI file says before its numbers are unpacked."""

    path: Path
    n_rows: int
    n_vertices: int
    dtype: np.dtype[Any]
    hemisphere: str
    tr: float | None


class SurfaceSegment:
    """The vertices of one hemisphere or two over time: rows (n_TR), columns (n_vertices inside the mask).

    GIFTI is compressed text that must be unpacked as a whole: the run is in memory from its first row to its
    last one, ``n_TR * n_vertices`` numbers of the file's type.
    """

    in_memory = False

    def __init__(self, layouts: Sequence[SurfaceLayout], geometry: Geometry) -> None:
        self.paths = [layout.path for layout in layouts]
        self.shape = (layouts[0].n_rows, geometry.n_columns)
        self.dtype = np.result_type(*(layout.dtype for layout in layouts))
        self.row_multiple = self.shape[0]
        self._inside = None if geometry.mask is None else np.flatnonzero(geometry.mask)
        self._data: Array | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None}

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        if self._data is None:
            both = np.concatenate([_unpack(path) for path in self.paths], axis=1)
            self._data = both if self._inside is None else both[:, self._inside]
        np.copyto(out, self._data[rows, columns], casting="same_kind")
        if rows.stop == self.shape[0]:
            self._data = None

    def identity(self, *, contents: bool = True) -> Identity:
        inside = None if self._inside is None else zlib.crc32(self._inside.tobytes())
        return identity(self.paths, self, vertices=inside)


def _unpack(path: Path) -> Array:
    """All rows of one file, (n_TR, n_vertices)."""
    try:
        arrays = [array.data for array in need_nibabel().load(path).darrays]
    except (*DAMAGE, expat.ExpatError) as error:
        raise damaged(path, "its numbers", error) from error
    return arrays[0].T if arrays[0].ndim == 2 else np.stack(arrays)


def surface_layout(path: str | os.PathLike[str]) -> SurfaceLayout:
    """Rows, vertices, type and hemisphere of a GIFTI file, without its numbers being unpacked.

    Raises
    ------
    ValueError
        No GIFTI file, truncated, without time series, or of an unknown hemisphere.
    """
    path = check_readable(path)
    arrays, notes = _scan(path)
    sizes = {array["dims"] for array in arrays}
    if not arrays or len(sizes) != 1:
        raise ValueError(
            f"{path} has data arrays of {sorted(sizes)}; a time series has equal ones, one per TR"
        )
    (dims,) = sizes
    if len(dims) == 2 and len(arrays) > 1:
        raise ValueError(
            f"{path} has {len(arrays)} data arrays of {dims}; a time series has (n_vertices,) per TR"
        )
    n_rows = len(arrays) if len(dims) == 1 else dims[1]
    dtype = np.result_type(*(read_dtype(np.dtype(_TYPES.get(a["type"], "O")), str(path)) for a in arrays))
    step = notes.get("TimeStep", "")
    # The GIFTI standard has milliseconds here; programs that write seconds stay far below 100.
    tr = float(step) / (1000.0 if float(step) > 100 else 1.0) if re.fullmatch(r"[0-9.]+", step) else None
    return SurfaceLayout(path, n_rows, dims[0], dtype, _hemisphere(path, notes), tr or None)


def _hemisphere(path: Path, notes: dict[str, str]) -> str:
    told = _STRUCTURES.get(notes.get("AnatomicalStructurePrimary", ""))
    named = _NAMED.search(path.name)
    found = told or (None if named is None else (named.group(1) or named.group(2))[0].upper())
    if found is None:
        raise ValueError(
            f"{path} does not say its hemisphere: no AnatomicalStructurePrimary in its metadata, nor "
            "hemi-L, hemi-R, lh. or rh. in its name; rename it"
        )
    return found


def _scan(path: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Attributes of the data arrays and the first value of every metadata name."""
    arrays: list[dict[str, Any]] = []
    notes: dict[str, str] = {}
    state = {"text": "", "name": "", "keep": ""}

    def start(tag: str, attributes: dict[str, str]) -> None:
        state["keep"] = tag if tag in ("Name", "Value") else ""
        state["text"] = ""
        if tag == "DataArray":
            count = int(attributes.get("Dimensionality", 1))
            dims = tuple(int(attributes[f"Dim{axis}"]) for axis in range(count))
            arrays.append({"dims": dims, "type": attributes.get("DataType", "")})

    def text(data: str) -> None:
        if state["keep"]:
            state["text"] += data

    def end(tag: str) -> None:
        if tag == "Name":
            state["name"] = state["text"].strip()
        elif tag == "Value":
            notes.setdefault(state["name"], state["text"].strip())
        state["keep"] = ""

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = start, text, end
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except (expat.ExpatError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is no GIFTI file, or is truncated: {error}; copy or fetch it again"
        ) from error
    return arrays, notes


def surface_geometry(layouts: Sequence[SurfaceLayout], mask: Any) -> Geometry:
    """The vertices of the files that a mask keeps.

    ``mask``: bool (n_vertices of all hemispheres, left first), or {"L": array or GIFTI path, "R": ...}, or a
    Geometry; None: every vertex.

    Raises
    ------
    ValueError
        The hemispheres are not L and R, differ in rows, or the mask does not fit.
    """
    if len({layout.n_rows for layout in layouts}) > 1:
        lengths = {layout.path.name: layout.n_rows for layout in layouts}
        raise ValueError(f"the hemispheres of a run differ in their rows: {lengths}")
    sizes = [layout.n_vertices for layout in layouts]
    sides = [layout.hemisphere for layout in layouts]
    if isinstance(mask, Geometry):
        inside: NDArray[np.bool_] | None = mask.mask
        if mask.kind != "surface" or mask.shape != tuple(sizes):
            raise ValueError(
                f"the geometry given as mask is {mask.kind} {mask.shape}; the data has {sizes} vertices"
            )
    elif isinstance(mask, dict):
        missing = [side for side in sides if side not in mask]
        if missing:
            raise ValueError(f"mask has the hemispheres {sorted(mask)}, but the data also has {missing}")
        inside = np.concatenate([_side_mask(mask[side]) for side in sides])
    elif isinstance(mask, str):
        raise ValueError(
            f"mask is {mask!r}; on a surface give a bool array or {{'L': ..., 'R': ...}}, or None"
        )
    else:
        inside = None if mask is None else as_mask(mask, "the surface mask")
    return Geometry.surface(sizes, sides, inside)


def _side_mask(mask: Any) -> NDArray[np.bool_]:
    if isinstance(mask, (str, os.PathLike)):
        return as_mask(_unpack(check_readable(mask))[0], f"the mask {mask}")
    return as_mask(mask, "the surface mask")
