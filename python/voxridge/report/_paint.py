"""One view of one hemisphere: triangles projected and painted back to front.

Drawn here and not by a three-dimensional plot, so that the views can be cropped to the brain and set close
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report._scales import Scale
from voxridge.report.style import INK

if TYPE_CHECKING:
    from voxridge.responses.cortex import Hemisphere

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
_FADE = 0.72  # share of grey in the colour of what is not significant


@dataclass(frozen=True)
class Layer:
    """What one hemisphere shows; arrays are (n_vertices,) of that side."""

    values: Float64
    significant: Bools | None
    hidden: Bools | None
    outlines: Mapping[str, Bools]


@dataclass(frozen=True)
class Projection:
    """Screen coordinates (n_vertices, 2), and the faces that are seen, the farthest first."""

    points: Float64
    faces: NDArray[np.int64]
    light: Float64


def project(hemisphere: Hemisphere, view: str) -> Projection:
    """The hemisphere from outside, from the middle, or laid out flat.

    Raises
    ------
    ValueError
        An unknown view, or a surface without flat coordinates.
    """
    if view == "flat":
        if hemisphere.flat is None or hemisphere.flat_faces is None:
            raise ValueError(
                f"the {hemisphere.side} surface has no flat coordinates; fsaverage5 from load_cortex() has "
                "them; other surfaces: views=('lateral', 'medial')"
            )
        return Projection(hemisphere.flat, hemisphere.flat_faces, np.ones(len(hemisphere.flat_faces)))
    if view not in ("lateral", "medial"):
        raise ValueError(f"view={view!r}: give 'lateral', 'medial' or 'flat'")
    towards = -1.0 if (hemisphere.side == "left") == (view == "lateral") else 1.0
    x, y, z = hemisphere.inflated.T
    corners = hemisphere.inflated[hemisphere.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    light = normals[:, 0] * towards / np.linalg.norm(normals, axis=1)
    depth = (x * towards)[hemisphere.faces].mean(axis=1)
    shown = np.flatnonzero(light > -0.05)
    order = shown[np.argsort(depth[shown])]
    return Projection(np.column_stack([y * towards, z]), hemisphere.faces[order], light[order])


def paint(axes: Any, hemisphere: Hemisphere, view: str, layer: Layer, scale: Scale, *, hide: bool) -> None:
    """Draw a view. ``hide``: what is not significant is not coloured at all, instead of faded."""
    from matplotlib.collections import LineCollection, PolyCollection

    seen = project(hemisphere, view)
    colours = face_colours(hemisphere, seen.faces, layer, scale, hide=hide)
    if view != "flat":
        colours[:, :3] *= (0.72 + 0.28 * np.clip(seen.light, 0.0, 1.0))[:, None]
    triangles = seen.points[seen.faces]
    # Edges in the colour of their face close the hairlines between triangles.
    axes.add_collection(
        PolyCollection(list(triangles), facecolors=colours, edgecolors=colours, linewidths=0.35)
    )
    if layer.hidden is not None:
        over = most(layer.hidden, seen.faces)
        axes.add_collection(LineCollection(hatching(seen, over), colors="#55606b", linewidths=0.55, zorder=3))
    for inside in layer.outlines.values():
        edges = border(seen.faces, inside)
        axes.add_collection(
            LineCollection(list(seen.points[edges]), colors=INK, linewidths=1.1, capstyle="round", zorder=4)
        )
    low, high = triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))
    margin = 0.02 * (high - low)
    axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    axes.set_aspect("equal")
    axes.set_axis_off()


def face_colours(
    hemisphere: Hemisphere, faces: NDArray[np.int64], layer: Layer, scale: Scale, *, hide: bool
) -> Float64:
    """RGBA per face: the map where it passes the threshold, light gyri and darker sulci elsewhere."""
    grey = np.where(hemisphere.sulcal[faces].mean(axis=1) > 0, 0.74, 0.88)
    base = np.column_stack([grey, grey, grey, np.ones_like(grey)])
    values = layer.values[faces]
    # Averaging only what passes keeps the border where the vertices put it.
    passing = scale.passing(values)
    shown = passing.sum(axis=1) >= 2
    if scale.codes:
        value = commonest(np.where(passing, values, np.nan))
    else:
        value = np.where(passing, values, 0.0).sum(axis=1) / np.maximum(passing.sum(axis=1), 1)
    colours = np.where(shown[:, None], scale.colours(scale.norm(value)), base)
    if layer.significant is not None:
        doubtful = shown & ~most(layer.significant, faces)
        share = 1.0 if hide else _FADE
        colours[doubtful] = share * base[doubtful] + (1 - share) * colours[doubtful]
    return np.asarray(colours, dtype=np.float64)


def most(inside: Bools, faces: NDArray[np.int64]) -> Bools:
    """Faces with two corners or three inside."""
    return np.asarray(inside[faces].sum(axis=1) >= 2)


def commonest(codes: Float64) -> Float64:
    """The code that two of the three corners share, else that of the first that has one."""
    first, second, third = codes.T
    pair = np.where((second == third) & (first != second), second, first)
    alone = np.where(np.isfinite(second), second, np.nan_to_num(third))
    return np.asarray(np.where(np.isfinite(pair), pair, alone))


def border(faces: NDArray[np.int64], inside: Bools) -> NDArray[np.int64]:
    """(n_edges, 2) edges between the seen faces of a region and the others."""
    own = faces[most(inside, faces)]
    edges = np.sort(np.concatenate([own[:, [0, 1]], own[:, [1, 2]], own[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.asarray(unique[count == 1])


def hatching(seen: Projection, over: Bools, *, n_lines: int = 50) -> list[Float64]:
    """Parallel line pieces at 45 degrees, ``n_lines`` across the view, where faces lie under ``over``."""
    step = float(np.ptp(seen.points[seen.faces].sum(axis=2))) / n_lines
    corners = seen.points[seen.faces[over]]
    height = corners.sum(axis=2)  # x + y is constant along a line that falls from left to right
    pieces = []
    for shift in np.arange(np.floor(height.min() / step) * step, height.max(), step) if len(corners) else ():
        above = height > shift
        cut = above.any(axis=1) & ~above.all(axis=1)
        # The corner that is alone on its side: both cut edges start from it.
        alone = np.where(above[cut].sum(axis=1) == 1, above[cut].argmax(axis=1), above[cut].argmin(axis=1))
        rows = np.arange(len(alone))
        start, level = corners[cut][rows, alone], height[cut][rows, alone]
        ends = []
        for turn in (1, 2):
            other = (alone + turn) % 3
            share = (shift - level) / (height[cut][rows, other] - level)
            ends.append(start + share[:, None] * (corners[cut][rows, other] - start))
        pieces += list(np.stack(ends, axis=1))
    return pieces
