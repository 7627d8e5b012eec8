"""Which target on the left belongs to which on the right.

Sides are told by world coordinates (x < 0 is left, x > 0 right, in mm), never by the order in which the
voxels are stored. A mask flattened and cut in half puts the posterior half of the midline plane on one side
and the anterior half on the other, an error as large as the asymmetries that studies report: in the published
inter-subject correlations of the Little Prince (Bonnasse-Gahot and Pallier 2024), with 1,020 of 25,870 voxels
midline, left minus right is 0.0055 by halves and 0.0067 by pairs; in French 0.0037 and 0.0052.

The mirror is the plane x = 0. That is the middle of the brain in MNI space and on the template surfaces, and
is not in the space of an individual scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from voxridge.science._pairs import Hemispheres as Hemispheres
from voxridge.science._pairs import checked

if TYPE_CHECKING:
    from voxridge.responses.geometry import Geometry

Midline = Literal["exclude", "keep"]
SURFACE_TOLERANCE = 6.0  # mm; nine in ten vertices of fsaverage5 find a partner, 1.9 mm away on average


def find_hemispheres(
    geometry: Geometry,
    *,
    space: str = "",
    midline: Midline = "exclude",
    surfaces: Literal["same number"] | tuple[ArrayLike, ArrayLike] | None = None,
    tolerance: float | None = None,
) -> Hemispheres:
    """Pairs of homologous targets from where the columns of the responses lie.

    Volumes: a voxel belongs to the voxel nearest to its mirrored centre, through the affine, so the order and
    the direction of the array's axes do not matter; both must be in the mask. Surfaces with coordinates: a
    vertex belongs to the vertex of the other side nearest to its mirrored place, one to one (the closest
    pairs first). CIFTI: vertices as on a surface, voxels as in a volume, between structures of the same name.

    The same vertex *number* means the same place only on the fsLR meshes (Van Essen et al. 2012), whose two
    sides were brought into correspondence. On fsaverage it does not: the two spheres are numbered alike but
    not mirrored, and vertices of equal number lie 41 mm (median) from each other's mirrored place.

    Parameters
    ----------
    geometry : voxridge.responses.Geometry
    space : str
        Where a volume lies, if you know: one that is not MNI is refused. A geometry does not say its space,
        and without this argument a volume is taken to be in MNI space; in the space of an individual scan the
        mirrored voxels would be others.
    midline : "exclude" or "keep"
        Leave out voxels less than one voxel from x = 0 (counted in ``n_midline``). "keep" pairs those that
        have a homologue other than themselves; voxels on the plane itself belong to no side, and stay out.
    surfaces : "same number", or (left, right) coordinates, optional
        (n_vertices, 3) in mm of the two pial (or white) surfaces. Default: fsaverage5's own for 10,242
        vertices (nilearn has them), "same number" for the 32,492 and 59,292 vertices of fsLR.
    tolerance : float, optional
        mm between a vertex and its partner's mirrored place on surfaces. Default 6. Voxels: the voxel that
        holds the mirrored centre, thus within half a voxel along every axis.

    Returns
    -------
    Hemispheres

    Raises
    ------
    ValueError
        The columns have no place, one hemisphere only, a mesh whose pairs are not known, a volume in another
        space than MNI.
    ImportError
        nilearn is needed (fsaverage5) or nibabel (CIFTI), and is not installed.

    Warns
    -----
    ResponseWarning
        More than half of the targets have no homologue: not in MNI space, or a mask of one side.

    References
    ----------
    Van Essen DC et al. (2012). Parcellations and hemispheric asymmetries of human cerebral cortex analyzed on
    surface-based atlases. Cerebral Cortex 22, 2241-2262.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.responses import Geometry
    >>> affine = np.diag([2.0, 2.0, 2.0, 1.0])
    >>> affine[0, 3] = -4.0
    >>> geometry = Geometry.volume(np.ones((5, 1, 1), bool), affine)  # x = -4, -2, 0, 2, 4 mm
    >>> pairs = find_hemispheres(geometry)
    >>> pairs.left.tolist(), pairs.right.tolist(), pairs.n_midline
    ([0, 1], [4, 3], 1)
    """
    from voxridge.science import _homologues as places

    if midline not in ("exclude", "keep"):
        raise ValueError(f"midline={midline!r}: give 'exclude' or 'keep'")
    if geometry.kind == "volume" and space and not space.startswith("MNI"):
        raise ValueError(
            f"space={space!r}: voxels mirror each other at x = 0 in MNI space only; resample to MNI space, "
            "or to a surface, first"
        )
    reach = SURFACE_TOLERANCE if tolerance is None else float(tolerance)
    if geometry.kind == "volume":
        found = places.in_volume(geometry, midline)
    elif geometry.kind == "surface":
        found = places.on_surface(geometry, surfaces, reach)
    elif geometry.kind == "cifti":
        found = places.in_cifti(geometry, midline, surfaces, reach)
    elif geometry.names:
        return hemispheres_from_names(geometry.names)
    else:
        raise ValueError(
            "the place of these columns in the brain is not known: use hemispheres_from_coordinates, "
            "hemispheres_from_names or hemispheres_from_labels"
        )
    return checked(found)


def hemispheres_from_coordinates(
    coordinates: ArrayLike, *, width: float, tolerance: float, midline: Midline = "exclude"
) -> Hemispheres:
    """Pairs of targets whose places are given: parcels, electrodes, spheres.

    Parameters
    ----------
    coordinates : (n_targets, 3) float
        mm, x from left to right, the midline at x = 0.
    width : float
        mm: targets with \\|x\\| < ``width`` are midline. The distance between neighbouring targets is a good
        choice.
    tolerance : float
        Farthest that a partner may be from the mirrored place, mm.
    midline : "exclude" or "keep"
        "keep" pairs targets near the midline too, but not those at x = 0.

    Returns
    -------
    Hemispheres
        One to one, the closest pairs first.

    Raises
    ------
    ValueError
        No (n_targets, 3), NaN, or numbers that are not positive.

    Examples
    --------
    >>> parcels = [[-50, 10, 0], [51, 10, 1], [0, 0, 0], [-20, -80, 5]]
    >>> pairs = hemispheres_from_coordinates(parcels, width=4.0, tolerance=5.0)
    >>> pairs.left.tolist(), pairs.right.tolist(), pairs.n_midline, pairs.n_unpaired
    ([0], [1], 1, 1)
    """
    from voxridge.science._homologues import Found, nearest_pairs

    points = np.asarray(coordinates, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"coordinates has shape {points.shape}; give (n_targets, 3) finite numbers, in mm")
    if midline not in ("exclude", "keep"):
        raise ValueError(f"midline={midline!r}: give 'exclude' or 'keep'")
    if not (width > 0 and tolerance > 0):
        raise ValueError(f"width={width} and tolerance={tolerance}: give positive numbers, in mm")
    near = np.abs(points[:, 0]) < (width if midline == "exclude" else 1e-9)
    side = np.where(near, 0, np.sign(points[:, 0])).astype(np.int8)
    one, two = np.flatnonzero(side < 0), np.flatnonzero(side > 0)
    pairs = nearest_pairs(points[one] * [-1, 1, 1], points[two], tolerance)
    text = f"targets nearest to the mirrored place of each other, within {tolerance:g} mm"
    return checked(Found(one[pairs[:, 0]], two[pairs[:, 1]], side, int(near.sum()), text))


def hemispheres_from_surfaces(
    left: ArrayLike, right: ArrayLike, *, tolerance: float = SURFACE_TOLERANCE
) -> Hemispheres:
    """Pairs of the vertices of two surfaces; the columns are the left vertices, then the right ones.

    Parameters
    ----------
    left, right : (n_vertices, 3) float
        Coordinates of the pial (or white) surfaces, mm.
    tolerance : float
        Farthest that a partner may be from the mirrored place, mm.

    Returns
    -------
    Hemispheres

    Raises
    ------
    ValueError
        No (n_vertices, 3), or a surface that lies on the other side (inflated surfaces and spheres do not
        keep the place in the head).

    Examples
    --------
    >>> import numpy as np
    >>> left = np.array([[-40.0, 0, 0], [-40, 20, 0], [-40, 40, 0]])
    >>> pairs = hemispheres_from_surfaces(left, left[::-1] * [-1, 1, 1])
    >>> pairs.left.tolist(), pairs.right.tolist()
    ([0, 1, 2], [5, 4, 3])
    """
    from voxridge.science._homologues import of_vertices

    return checked(of_vertices(left, right, tolerance))


def hemispheres_from_names(names: Sequence[str]) -> Hemispheres:
    """Pairs of regions from their names: LATL and RATL, lh_IFG and rh_IFG, IFG_L and IFG_R, Left IFG and
    Right IFG.

    Parameters
    ----------
    names : sequence of str (n_targets,)

    Returns
    -------
    Hemispheres
        A name without a side, or without its partner, is unpaired.

    Raises
    ------
    ValueError
        A name occurs twice, or nothing has a partner.

    Examples
    --------
    >>> hemispheres_from_names(["IFG_L", "IFG_R", "brainstem"]).n_unpaired
    1
    """
    from voxridge.science._homologues import side_and_area

    told = [side_and_area(name, set(names)) for name in names]
    return hemispheres_from_labels([side for side, _ in told], [area for _, area in told])


def hemispheres_from_labels(sides: Sequence[str], areas: Sequence[Any]) -> Hemispheres:
    """Pairs of regions whose side and area are given.

    Parameters
    ----------
    sides : sequence (n_targets,)
        "L" or "R"; anything else has no side.
    areas : sequence (n_targets,)
        What the two sides have in common.

    Returns
    -------
    Hemispheres

    Raises
    ------
    ValueError
        Different lengths, an area that occurs twice on a side, or nothing has a partner.

    Examples
    --------
    >>> hemispheres_from_labels(["L", "R", "L"], [1, 1, 2]).n_pairs
    1
    """
    if len(sides) != len(areas):
        raise ValueError(f"{len(sides)} sides and {len(areas)} areas: give one of each per target")
    at: dict[str, dict[Any, int]] = {"L": {}, "R": {}}
    for number, (side, area) in enumerate(zip(sides, areas, strict=True)):
        if side in at:
            if area in at[side]:
                raise ValueError(f"area {area!r} occurs twice on side {side}: give each region once")
            at[side][area] = number
    both = [area for area in at["L"] if area in at["R"]]
    code = np.array([{"L": -1, "R": 1}.get(side, 0) for side in sides], dtype=np.int8)
    if not both:
        raise ValueError(
            f"no area has both sides among {list(areas)[:6]}: name them as L... and R..., or give sides"
        )
    left = np.array([at["L"][area] for area in both], dtype=np.intp)
    right = np.array([at["R"][area] for area in both], dtype=np.intp)
    text = "regions of the same name on the two sides"
    return Hemispheres(left, right, code, 0, len(sides) - 2 * len(both), text)
