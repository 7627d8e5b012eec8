"""How homologous targets are found in each kind of space."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from voxridge.responses.geometry import Geometry

Float64 = NDArray[np.float64]
Indices = NDArray[np.intp]
_MIRROR = np.array([-1.0, 1.0, 1.0])
_FSLR = (32492, 59292)
_FSAVERAGE5 = 10242
_ROUNDING = 1e-3  # voxels: affines are rounded when they are written
_NAMED = (
    re.compile(r"^(?P<side>left|right|lh|rh|l|r)[\s._-]+(?P<area>.+)$", re.IGNORECASE),
    re.compile(r"^(?P<area>.+?)[\s._-]+(?P<side>left|right|lh|rh|l|r)$", re.IGNORECASE),
    re.compile(r"^(?P<side>Left|Right)(?P<area>[A-Z0-9].*)$"),
    re.compile(r"^(?P<side>[LR])(?P<area>\w.*)$"),
    re.compile(r"^(?P<side>[lr])(?P<area>[A-Z0-9].*)$"),
)


@dataclass(frozen=True)
class Found:
    """Pairs before they are checked; ``side`` is -1, 0 or 1 per target."""

    left: Indices
    right: Indices
    side: NDArray[np.int8]
    n_midline: int
    description: str


def side_and_area(name: str, names: Collection[str]) -> tuple[str, str]:
    """("L" or "R", the rest) of a region's name; ("", name) where the partner is not among the names."""
    for pattern in _NAMED:
        found = pattern.match(name)
        if found is None:
            continue
        side = found["side"]
        start, stop = found.span("side")
        if name[:start] + other_side(side) + name[stop:] in names:
            return side[0].upper(), name[:start] + "*" + name[stop:]
    return "", name


def other_side(word: str) -> str:
    """ "left" for "right" and so on, in the same letters."""
    swap = {"left": "right", "right": "left", "lh": "rh", "rh": "lh", "l": "r", "r": "l"}
    other = swap[word.lower()]
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def nearest_pairs(one: Float64, two: Float64, tolerance: float) -> Indices:
    """(n_pairs, 2) rows of ``one`` and ``two``, each other's nearest among those still free, in rounds: one
    to one, the same whichever side is called first."""
    from scipy.spatial import cKDTree

    free_one, free_two, pairs = np.arange(len(one)), np.arange(len(two)), []
    while len(free_one) and len(free_two):
        distance, there = cKDTree(two[free_two]).query(one[free_one], distance_upper_bound=tolerance)
        _, back = cKDTree(one[free_one]).query(two[free_two], distance_upper_bound=tolerance)
        close = np.flatnonzero(np.isfinite(distance))
        if not len(close):
            break
        mutual = close[back[there[close]] == close]
        if not len(mutual):  # all distances equal, each the nearest of another
            mutual = close[[np.argmin(distance[close])]]
        pairs.append(np.column_stack([free_one[mutual], free_two[there[mutual]]]))
        free_one, free_two = np.delete(free_one, mutual), np.delete(free_two, there[mutual])
    return np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.intp)


def in_volume(geometry: Geometry, midline: str) -> Found:
    """Voxels of a volume."""
    assert geometry.mask is not None
    assert geometry.affine is not None
    inside = np.argwhere(geometry.mask.reshape(geometry.shape))
    return of_voxels(inside, geometry.affine, midline, np.zeros(len(inside), dtype=np.intp))


def of_voxels(inside: Indices, affine: Float64, midline: str, partner: NDArray[Any]) -> Found:
    """Voxels given by their (n, 3) indices. ``partner``: 0, or the number of the structure, negative on the
    other side; only voxels of opposite numbers are paired."""
    places = inside @ affine[:3, :3].T + affine[:3, 3]
    width = voxel_width(affine)
    mirrored = (places * _MIRROR - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    # Where a mirrored centre falls between two voxels all must round to the same side, the left one,
    # whichever way the array's axes run: else every other voxel would be without a partner.
    leftwards = np.where(affine[0, :3] < 0, -1.0, 1.0)
    target = np.floor(mirrored + 0.5 - _ROUNDING * leftwards).astype(np.intp)
    here = np.ravel_multi_index((inside - inside.min(axis=0)).T, np.ptp(inside, axis=0) + 1)
    low, high = inside.min(axis=0), inside.max(axis=0)
    reachable = np.all((target >= low) & (target <= high), axis=1)
    table = np.full(int(np.prod(high - low + 1)), -1, dtype=np.intp)
    table[here] = np.arange(len(inside))
    there = np.full(len(inside), -1, dtype=np.intp)
    there[reachable] = table[np.ravel_multi_index((target[reachable] - low).T, high - low + 1)]
    own = np.arange(len(inside))
    x, slack = places[:, 0], _ROUNDING * width
    near = np.abs(x) < (width - slack if midline == "exclude" else slack)
    near |= there == own
    side = np.where(near, 0, np.sign(x)).astype(np.int8)
    good = (there >= 0) & (side < 0)
    good[good] = there[there[good]] == own[good]
    good[good] = (side[there[good]] > 0) & (partner[there[good]] == -partner[good])
    left_out = "less than a voxel from" if midline == "exclude" else "on"
    text = (
        f"voxels nearest to the mirrored centre of each other ({width:g} mm), without those {left_out} the "
        "midline"
    )
    return Found(own[good], there[good], side, int(near.sum()), text)


def voxel_width(affine: Float64) -> float:
    """mm from a voxel to the next along the array axis that runs most from left to right."""
    axes = affine[:3, :3]
    sizes = np.linalg.norm(axes, axis=0)
    return float(sizes[np.argmax(np.abs(axes[0]) / sizes)])


def on_surface(geometry: Geometry, surfaces: Any, tolerance: float) -> Found:
    """Vertices of both hemispheres, those outside the mask taken out after the pairs were found."""
    if geometry.hemispheres != ("L", "R"):
        raise ValueError(
            f"the surface has the hemisphere(s) {geometry.hemispheres}; lateralisation needs both, L and R"
        )
    sizes = (geometry.shape[0], geometry.shape[1])
    found = of_mesh(sizes, surfaces, tolerance)
    inside = np.ones(sum(sizes), dtype=bool) if geometry.mask is None else geometry.mask
    column = np.cumsum(inside) - 1
    keep = inside[found.left] & inside[found.right]
    return Found(
        column[found.left[keep]], column[found.right[keep]], found.side[inside], 0, found.description
    )


def of_mesh(sizes: tuple[int, int], surfaces: Any, tolerance: float) -> Found:
    """All vertices of two meshes, the left ones first."""
    given = surfaces
    if given is None:
        given = default_surfaces(sizes)
    if isinstance(given, str):
        if given != "same number":
            raise ValueError(f"surfaces={given!r}: give 'same number' or (left, right) coordinates")
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"the hemispheres have {sizes[0]} and {sizes[1]} vertices: 'same number' needs as many each"
            )
        numbers = np.arange(sizes[0], dtype=np.intp)
        side = np.repeat(np.array([-1, 1], dtype=np.int8), sizes[0])
        return Found(numbers, numbers + sizes[0], side, 0, "vertices of the same number")
    if len(given) != 2 or (len(given[0]), len(given[1])) != sizes:
        raise ValueError(
            f"surfaces has coordinates of {[np.shape(part) for part in given]}; the hemispheres have {sizes} "
            "vertices: give (left, right), each (n_vertices, 3)"
        )
    return of_vertices(given[0], given[1], tolerance)


def default_surfaces(sizes: tuple[int, int]) -> Any:
    """What is known about the pairs of a mesh from its size."""
    if sizes == (_FSAVERAGE5, _FSAVERAGE5):
        from voxridge.responses.cortex import load_cortex

        cortex = load_cortex()
        return cortex.left.pial, cortex.right.pial
    if sizes[0] == sizes[1] and sizes[0] in _FSLR:
        return "same number"
    raise ValueError(
        f"hemispheres of {sizes[0]:,} and {sizes[1]:,} vertices: give surfaces=(left, right), the "
        "coordinates of the pial surfaces in mm (fsaverage6, fsaverage: "
        "nilearn.datasets.fetch_surf_fsaverage), or surfaces='same number' if the mesh has its sides in "
        "correspondence, as fsLR (163,842 vertices may be either)"
    )


def of_vertices(left: ArrayLike, right: ArrayLike, tolerance: float) -> Found:
    """Vertices nearest to the mirrored place of each other."""
    one, two = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    for name, part, sign in (("left", one, -1.0), ("right", two, 1.0)):
        if part.ndim != 2 or part.shape[1] != 3 or not np.isfinite(part).all():
            raise ValueError(f"{name} has shape {part.shape}; give (n_vertices, 3) finite coordinates, in mm")
        if np.mean(part[:, 0] * sign > 0) < 0.9:
            raise ValueError(
                f"the {name} surface is not on the {name}: x has mean {part[:, 0].mean():.1f} mm; give the "
                "pial or white surface in mm (inflated surfaces and spheres lie around the origin)"
            )
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance}: give a positive number, in mm")
    pairs = nearest_pairs(one * _MIRROR, two, tolerance)
    side = np.repeat(np.array([-1, 1], dtype=np.int8), [len(one), len(two)])
    text = f"vertices nearest to the mirrored place of each other, within {tolerance:g} mm"
    return Found(pairs[:, 0], len(one) + pairs[:, 1], side, 0, text)


def in_cifti(geometry: Geometry, midline: str, surfaces: Any, tolerance: float) -> Found:
    """The two cortices by vertices, other structures by voxels."""
    axis = geometry.brain_models()
    side = np.zeros(len(axis), dtype=np.int8)
    parts: list[tuple[Indices, Indices]] = []
    notes, n_midline = [], 0
    cortices = {name: columns for name, columns, _ in axis.iter_structures() if name in axis.nvertices}
    pair = ("CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT")
    if all(name in cortices for name in pair):
        sizes = (int(axis.nvertices[pair[0]]), int(axis.nvertices[pair[1]]))
        mesh = of_mesh(sizes, surfaces, tolerance)
        column = np.full(sum(sizes), -1, dtype=np.intp)
        for name, first in zip(pair, (0, sizes[0]), strict=True):
            columns = np.arange(len(axis))[cortices[name]]
            column[first + axis.vertex[columns]] = columns
        one, two = column[mesh.left], column[mesh.right]
        keep = (one >= 0) & (two >= 0)
        parts.append((one[keep], two[keep]))
        notes.append(mesh.description)
    for name in cortices:
        side[cortices[name]] = -1 if name.endswith("LEFT") else 1 if name.endswith("RIGHT") else 0
    if axis.volume_mask.any():
        columns = np.flatnonzero(axis.volume_mask)
        found = of_voxels(
            np.asarray(axis.voxel[columns], dtype=np.intp),
            np.asarray(axis.affine, dtype=np.float64),
            midline,
            structure_numbers(axis.name[columns]),
        )
        parts.append((columns[found.left], columns[found.right]))
        side[columns] = found.side
        notes.append(found.description)
        n_midline = found.n_midline
    left, right = (
        np.concatenate([part[which] for part in parts] or [np.empty(0, np.intp)]) for which in (0, 1)
    )
    return Found(left, right, side, n_midline, "; ".join(notes))


def structure_numbers(names: NDArray[Any]) -> NDArray[np.intp]:
    """Opposite numbers for the two sides of a structure, 0 for structures without sides."""
    stems: dict[str, int] = {}
    codes = {}
    for name in dict.fromkeys(str(given) for given in names):
        stem = re.sub(r"_(LEFT|RIGHT)$", "", name)
        number = stems.setdefault(stem, len(stems) + 1)
        codes[name] = 0 if stem == name else -number if name.endswith("LEFT") else number
    return np.array([codes[str(name)] for name in names], dtype=np.intp)
