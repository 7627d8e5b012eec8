"""Regions that are the same on both sides: spheres around mirrored centres."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from voxridge.responses.geometry import Geometry

Float64 = NDArray[np.float64]

#: Seven language areas of the left hemisphere, MNI coordinates in mm (Pallier et al. 2011, and the temporo-
#: parietal junction), as in the study of lateralisation by Bonnasse-Gahot and Pallier (2024).
LANGUAGE_CENTRES: dict[str, tuple[float, float, float]] = {
    "TP": (-48.0, 15.0, -27.0),
    "aSTS": (-54.0, -12.0, -12.0),
    "pSTS": (-51.0, -39.0, 3.0),
    "AG_TPJ": (-52.0, -56.0, 22.0),
    "BA44": (-50.0, 12.0, 16.0),
    "BA45": (-52.0, 28.0, 10.0),
    "BA47": (-44.0, 34.0, -8.0),
}


def target_coordinates(geometry: Geometry, surfaces: tuple[ArrayLike, ArrayLike] | None = None) -> Float64:
    """Where each column lies, in mm.

    Parameters
    ----------
    geometry : voxridge.responses.Geometry
    surfaces : (left, right) coordinates, optional
        (n_vertices, 3) each, for surfaces and for the cortex of CIFTI files. Default: fsaverage5's pial
        surfaces for 10,242 vertices, else NaN.

    Returns
    -------
    ndarray (n_targets, 3) float64
        NaN where the place is not known.

    Raises
    ------
    ValueError
        The columns have no place, or ``surfaces`` has other numbers of vertices.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.responses import Geometry
    >>> geometry = Geometry.volume(np.ones((2, 1, 1), bool), np.diag([3.0, 3.0, 3.0, 1.0]))
    >>> target_coordinates(geometry)
    array([[0., 0., 0.],
           [3., 0., 0.]])
    """
    if geometry.kind == "volume" and geometry.mask is not None and geometry.affine is not None:
        inside = np.argwhere(geometry.mask.reshape(geometry.shape))
        return np.asarray(inside @ geometry.affine[:3, :3].T + geometry.affine[:3, 3])
    if geometry.kind == "surface":
        whole = _vertices(dict(zip(geometry.hemispheres, geometry.shape, strict=True)), surfaces)
        joined = np.concatenate([whole[side] for side in geometry.hemispheres])
        return joined if geometry.mask is None else joined[geometry.mask]
    if geometry.kind == "cifti":
        return _grayordinates(geometry.brain_models(), surfaces)
    raise ValueError(
        "the place of these columns in the brain is not known (they came from a table or an array)"
    )


def mirrored_spheres(
    coordinates: ArrayLike,
    centres: Mapping[str, tuple[float, float, float]] = LANGUAGE_CENTRES,
    radius: float = 10.0,
) -> dict[str, NDArray[np.bool_]]:
    """Spheres around centres and around the same centres with x of the other sign.

    Parameters
    ----------
    coordinates : (n_targets, 3) float
        mm, from :func:`target_coordinates`; NaN is in no sphere.
    centres : mapping of name to (x, y, z)
        mm. Default: seven language areas in MNI space.
    radius : float, default 10
        mm; the border belongs to the sphere.

    Returns
    -------
    dict of name to ndarray (n_targets,) bool
        Both sides together, as :func:`voxridge.science.lateralisation` takes for ``rois``.

    Raises
    ------
    ValueError
        No (n_targets, 3), a radius that is not positive, or a centre so near the midline that its sphere
        reaches over it.

    Examples
    --------
    >>> spheres = mirrored_spheres([[-48, 15, -27], [48, 15, -27], [0, 0, 0]])
    >>> spheres["TP"].tolist()
    [True, True, False]
    """
    points = np.asarray(coordinates, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"coordinates has shape {points.shape}; give (n_targets, 3), in mm")
    if not radius > 0:
        raise ValueError(f"radius={radius}: give a positive number, in mm")
    spheres = {}
    for name, centre in centres.items():
        if abs(centre[0]) <= radius:
            raise ValueError(
                f"the sphere {name!r} around x = {centre[0]:g} mm with radius {radius:g} mm reaches over the "
                "midline: its two sides would be one; take a smaller radius or another centre"
            )
        away = points - np.asarray(centre, dtype=np.float64)
        away[:, 0] = np.abs(points[:, 0]) - abs(centre[0])
        with np.errstate(invalid="ignore"):
            spheres[name] = np.einsum("ij,ij->i", away, away) <= radius**2
    return spheres


def _vertices(sizes: Mapping[str, int], surfaces: Any) -> dict[str, Float64]:
    """Coordinates of every vertex of each side."""
    given: dict[str, Any] = {}
    if surfaces is not None:
        given = dict(zip("LR", surfaces, strict=True))
    elif set(sizes.values()) == {10242}:
        from voxridge.responses.cortex import load_cortex

        cortex = load_cortex()
        given = {"L": cortex.left.pial, "R": cortex.right.pial}
    out = {}
    for side, size in sizes.items():
        places = np.asarray(given.get(side, np.full((size, 3), np.nan)), dtype=np.float64)
        if places.shape != (size, 3):
            raise ValueError(
                f"the surface of side {side} has shape {places.shape}; its geometry has {size} vertices: "
                f"give ({size}, 3), in mm"
            )
        out[side] = places
    return out


def _grayordinates(axis: Any, surfaces: Any) -> Float64:
    out = np.full((len(axis), 3), np.nan)
    sides = {"CIFTI_STRUCTURE_CORTEX_LEFT": "L", "CIFTI_STRUCTURE_CORTEX_RIGHT": "R"}
    sizes = {sides[name]: int(n) for name, n in axis.nvertices.items() if name in sides}
    whole = _vertices(sizes, surfaces)
    for name, columns, part in axis.iter_structures():
        if name in sides:
            out[columns] = whole[sides[name]][part.vertex]
    voxels = axis.volume_mask
    if voxels.any():
        out[voxels] = axis.voxel[voxels] @ axis.affine[:3, :3].T + axis.affine[:3, 3]
    return out
