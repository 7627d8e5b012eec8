"""Where the columns of a response matrix lie in the brain: what is needed to write a map back as an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.responses.extras import need_nibabel

Array = NDArray[Any]
Kind = Literal["volume", "surface", "cifti", "columns"]
_HEMISPHERES = {"L": "CortexLeft", "R": "CortexRight"}
_AFFINE_TOLERANCE = 1e-4  # mm: programs round affines when they write them


@dataclass(frozen=True, eq=False)
class Geometry:
    """The brain space of the columns of a response matrix.

    ``volume``: the voxels of a mask, in the order of ``data[mask]`` (x slowest), as in nilearn.
    ``surface``: the vertices of a hemisphere, or of both with the left one first, without those outside the
    mask. ``cifti``: the brain models of a CIFTI-2 file, in its order. ``columns``: no place known.

    Parameters
    ----------
    kind : "volume", "surface", "cifti" or "columns"
    n_columns : int
        Width of the response matrix.
    shape : tuple of int
        (x, y, z) of a volume; vertices of each hemisphere of a surface; else (n_columns,).
    mask : (prod or sum of ``shape``,) bool, optional
        Which voxels or vertices are columns; None: all.
    affine : (4, 4) float64, optional
        Of a volume: from voxel indices to mm.
    hemispheres : tuple of "L" and "R"
        Of a surface.
    xml : str
        Of a CIFTI file: its brain model axis, as CIFTI-2 XML.
    names : tuple of str
        Names of the columns, where there are any.

    Examples
    --------
    >>> import numpy
    >>> mask = numpy.zeros((2, 3, 1), bool)
    >>> mask[0, 1], mask[1, 2] = True, True
    >>> geometry = Geometry.volume(mask, numpy.eye(4))
    >>> geometry.unmask([5.0, 7.0], fill=0.0)[..., 0].tolist()
    [[0.0, 5.0, 0.0], [0.0, 0.0, 7.0]]
    """

    kind: Kind
    n_columns: int
    shape: tuple[int, ...]
    mask: NDArray[np.bool_] | None = None
    affine: NDArray[np.float64] | None = None
    hemispheres: tuple[str, ...] = ()
    xml: str = ""
    names: tuple[str, ...] = ()

    @classmethod
    def volume(cls, mask: NDArray[np.bool_], affine: ArrayLike) -> Geometry:
        """The voxels of a mask.

        Parameters
        ----------
        mask : (x, y, z) bool
        affine : (4, 4), mm

        Raises
        ------
        ValueError
            Not three-dimensional, no voxel inside, or no 4 x 4 affine.
        """
        grid, matrix = np.array(mask, dtype=bool), np.array(affine, dtype=np.float64)
        if grid.ndim != 3 or not grid.any():
            raise ValueError(
                f"mask has shape {grid.shape} and {int(grid.sum())} voxels; give (x, y, z) with some"
            )
        if matrix.shape != (4, 4):
            raise ValueError(f"affine has shape {matrix.shape}; give (4, 4), from voxel indices to mm")
        return cls("volume", int(grid.sum()), grid.shape, grid.ravel(), matrix)

    @classmethod
    def surface(
        cls,
        n_vertices: Sequence[int],
        hemispheres: Sequence[str],
        mask: NDArray[np.bool_] | None = None,
    ) -> Geometry:
        """The vertices of one hemisphere or two.

        Parameters
        ----------
        n_vertices : sequence of int
            Vertices of each hemisphere.
        hemispheres : sequence of "L" or "R"
            Two in the order left, right.
        mask : (sum of ``n_vertices``,) bool, optional
            False on the medial wall. Default: every vertex is a column.

        Raises
        ------
        ValueError
            Other hemispheres, or a mask of another length, or an empty one.
        """
        shape, sides = tuple(int(n) for n in n_vertices), tuple(hemispheres)
        if sides not in (("L",), ("R",), ("L", "R")) or len(shape) != len(sides):
            raise ValueError(
                f"hemispheres {sides} with {shape} vertices; give L, R, or L and R in this order"
            )
        if mask is None:
            return cls("surface", sum(shape), shape, hemispheres=sides)
        flat = np.array(mask, dtype=bool)
        if flat.shape != (sum(shape),) or not flat.any():
            raise ValueError(
                f"the surface mask has shape {flat.shape} with {int(flat.sum())} vertices inside, but the "
                f"hemispheres {sides} have {shape} vertices: give one value per vertex, some inside"
            )
        return cls("surface", int(flat.sum()), shape, flat, hemispheres=sides)

    @classmethod
    def cifti(cls, axis: Any) -> Geometry:
        """The brain models of a CIFTI-2 file.

        Parameters
        ----------
        axis : nibabel.cifti2.BrainModelAxis
        """
        cifti2 = need_nibabel().cifti2
        header = cifti2.Cifti2Header.from_axes((cifti2.ScalarAxis(["map"]), axis))
        return cls("cifti", len(axis), (len(axis),), xml=header.to_xml().decode("utf-8"))

    @classmethod
    def columns(cls, n_columns: int, names: Sequence[str] = ()) -> Geometry:
        """Columns whose place in the brain is not known.

        Parameters
        ----------
        n_columns : int
        names : sequence of str
            One per column, or none.

        Raises
        ------
        ValueError
            As many names as columns, or none.
        """
        if names and len(names) != n_columns:
            raise ValueError(f"{len(names)} names for {n_columns} columns: give one per column, or none")
        return cls("columns", int(n_columns), (int(n_columns),), names=tuple(names))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Geometry) and not self.difference(other)

    __hash__ = None  # type: ignore[assignment]

    def difference(self, other: Geometry) -> str:
        """What tells two geometries apart, "" if they are the same (names of columns included).

        Parameters
        ----------
        other : Geometry
        """
        for what in ("kind", "shape", "hemispheres", "n_columns", "names"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                return f"{what} is {mine} and {theirs}"
        if self.affine is not None and not same_affine(self.affine, other.affine):
            there = None if other.affine is None else other.affine.tolist()
            return f"affine is {self.affine.tolist()} and {there}"
        if self.xml != other.xml:
            return "the brain models (structures or vertices) differ"
        mine, theirs = self._inside(), other._inside()
        apart = int(np.count_nonzero(mine != theirs))
        return f"the masks differ in {apart} of {mine.size} places" if apart else ""

    def unmask(self, values: ArrayLike, *, fill: float = np.nan) -> Array:
        """Values of the columns put in their places.

        Parameters
        ----------
        values : (..., n_columns)
            Numbers; integers become float64, because places outside the mask get ``fill``.
        fill : float
            What stands outside the mask.

        Returns
        -------
        ndarray (..., space)
            Space is (x, y, z) of a volume, (vertices of all hemispheres,) of a surface, else (n_columns,).

        Raises
        ------
        ValueError
            The last axis is not ``n_columns`` long.
        """
        given = np.asarray(values)
        if given.ndim == 0 or given.shape[-1] != self.n_columns:
            raise ValueError(
                f"values has shape {given.shape}; the last axis must be the {self.n_columns} columns"
            )
        space = self.shape if self.kind == "volume" else (sum(self.shape),)
        if given.dtype.kind != "f":
            given = given.astype(np.float64)
        out = np.full((*given.shape[:-1], int(np.prod(space))), fill, dtype=given.dtype)
        out[..., self._inside()] = given
        return out.reshape(*given.shape[:-1], *space)

    def image(self, values: ArrayLike, *, names: Sequence[str] = (), hemisphere: str | None = None) -> Any:
        """A map, or several, as an image that other programs read.

        Parameters
        ----------
        values : (n_columns,) or (n_maps, n_columns)
        names : sequence of str
            Names of the maps, written to CIFTI and GIFTI. Default: "map 0", ...
        hemisphere : "L" or "R", optional
            Which one, where the surface has two: GIFTI has one file for each.

        Returns
        -------
        nibabel image
            Nifti1Image (x, y, z) or (x, y, z, n_maps), float32, 0 outside the mask; Cifti2Image (n_maps,
            n_columns) with a scalar axis; GiftiImage with one data array per map, NaN outside the mask.

        Raises
        ------
        ValueError
            Another shape; columns without a place; a hemisphere that is not there or must be named.
        """
        maps = np.atleast_2d(np.asarray(values, dtype=np.float32))
        if maps.ndim != 2 or maps.shape[1] != self.n_columns:
            given = np.shape(values)
            raise ValueError(
                f"values has shape {given}; give ({self.n_columns},) or (n_maps, {self.n_columns})"
            )
        titles = list(names) or [f"map {number}" for number in range(len(maps))]
        if len(titles) != len(maps):
            raise ValueError(f"{len(titles)} names for {len(maps)} maps: give one per map")
        if self.kind == "volume":
            space = self.unmask(maps, fill=0.0)
            data = space[0] if np.ndim(values) == 1 else np.moveaxis(space, 0, -1)
            return need_nibabel().Nifti1Image(data, self.affine)
        if self.kind == "cifti":
            cifti2 = need_nibabel().cifti2
            return cifti2.Cifti2Image(maps, header=(cifti2.ScalarAxis(titles), self.brain_models()))
        if self.kind == "surface":
            return self._gifti(maps, titles, hemisphere)
        raise ValueError(
            "the place of these columns in the brain is not known (they came from a table or an array)"
        )

    def brain_models(self) -> Any:
        """The brain model axis of a CIFTI geometry (nibabel.cifti2.BrainModelAxis).

        Raises
        ------
        ValueError
            The geometry is of another kind.
        """
        if self.kind != "cifti":
            raise ValueError(f"a geometry of kind {self.kind!r} has no brain models")
        need_nibabel()
        from nibabel.cifti2.parse_cifti2 import Cifti2Parser

        parser = Cifti2Parser()
        parser.parse(string=self.xml.encode("utf-8"))
        return parser.header.get_axis(1)

    def _gifti(self, maps: Array, titles: list[str], hemisphere: str | None) -> Any:
        side = self.hemispheres[0] if hemisphere is None and len(self.hemispheres) == 1 else hemisphere
        if side not in self.hemispheres:
            raise ValueError(
                f"hemisphere is {hemisphere!r}; this surface has {self.hemispheres}: name one of them"
            )
        gifti = need_nibabel().gifti
        number = self.hemispheres.index(side)
        first = sum(self.shape[:number])
        image = gifti.GiftiImage(meta=gifti.GiftiMetaData({"AnatomicalStructurePrimary": _HEMISPHERES[side]}))
        for title, data in zip(titles, self.unmask(maps)[:, first : first + self.shape[number]], strict=True):
            image.add_gifti_data_array(
                gifti.GiftiDataArray(
                    np.ascontiguousarray(data),
                    intent="NIFTI_INTENT_NONE",
                    datatype="float32",
                    meta={"Name": title},
                )
            )
        return image

    def _inside(self) -> NDArray[np.bool_]:
        return np.ones(int(np.prod(self._space())), bool) if self.mask is None else self.mask

    def _space(self) -> tuple[int, ...]:
        return self.shape if self.kind == "volume" else (sum(self.shape),)


def same_affine(one: Array | None, other: Array | None) -> bool:
    """Whether two affines agree but for what programs round when they write them."""
    if one is None or other is None:
        return one is other
    return bool(np.allclose(one, other, rtol=0, atol=_AFFINE_TOLERANCE))
