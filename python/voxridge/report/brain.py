"""Maps on the inflated surface: lateral and medial views of both hemispheres, one row per map, one colour
bar.

The triangles are projected and painted back to front here, so that the views can be cropped to the brain
and set close together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voxridge.report.style import INK, MUTED, look, new_figure

if TYPE_CHECKING:
    from voxridge.responses.cortex import Cortex, Hemisphere

Float64 = NDArray[np.float64]
_VIEWS = (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))
COLOURS = "inferno"


@dataclass(frozen=True)
class SurfaceMap:
    """A row of a figure of maps.

    Attributes
    ----------
    title : str
    values : ndarray (n_vertices,)
        Over the whole cortex, left hemisphere first.
    """

    title: str
    values: NDArray[Any]


def surface_figure(
    cortex: Cortex,
    maps: Sequence[SurfaceMap],
    *,
    threshold: float,
    maximum: float | None = None,
    label: str = "correlation r",
) -> Any:
    """Draw maps as rows of four views with one shared colour bar.

    Parameters
    ----------
    cortex : Cortex
    maps : sequence of SurfaceMap
    threshold : float
        Values below it, and NaN, show the grey surface.
    maximum : float, optional
        Top of the colour scale; default: the 99.8th percentile over all maps.
    label : str
        Under the colour bar.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    Two maps on fsaverage5, whose surface comes with nilearn:

    >>> import numpy as np
    >>> from voxridge.responses.cortex import load_cortex
    >>> from voxridge.report.brain import SurfaceMap, surface_figure
    >>> values = np.linspace(0, 0.5, 2 * 10_242)
    >>> maps = [SurfaceMap("truth", values), SurfaceMap("recovered", 0.8 * values)]
    >>> surface_figure(load_cortex(), maps, threshold=0.05).savefig("maps.png")
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    if maximum is None:
        maximum = float(np.nanpercentile(np.concatenate([m.values for m in maps]), 99.8))
    norm = Normalize(threshold, max(maximum, threshold + 1e-6))
    with look():
        figure = new_figure(10.0, 0.55 + 2.15 * len(maps))
        figure.set_layout_engine("none")
        bottom, gap = 0.62 / figure.get_figheight(), 0.30 / figure.get_figheight()
        height = (1.0 - bottom) / len(maps)
        for row, surface in enumerate(maps):
            top = 1.0 - row * height
            figure.text(0.012, top - 0.05 * height, surface.title, va="top", weight="bold", fontsize=11.5)
            for column, (side, view) in enumerate(_VIEWS):
                axes = figure.add_axes((column * 0.25, top - height, 0.25, height - gap))
                _paint(axes, cortex, side, view, surface.values, norm)
        for column, (side, view) in enumerate(_VIEWS):
            figure.text(
                column * 0.25 + 0.125, bottom * 0.86, f"{side} {view}", ha="center", color=MUTED, fontsize=9
            )
        bar = figure.add_axes((0.36, bottom * 0.56, 0.28, bottom * 0.17))
        colorbar = figure.colorbar(ScalarMappable(norm, _colours()), cax=bar, orientation="horizontal")
        colorbar.outline.set_visible(False)
        colorbar.ax.tick_params(labelsize=9, length=2, pad=2)
        figure.text(0.35, bottom * 0.64, label, ha="right", va="center", fontsize=9.5, color=INK)
    return figure


def _colours() -> Any:
    """The upper part of a perceptually even map: its dark end would vanish in the sulci."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("voxridge", colormaps[COLOURS](np.linspace(0.22, 0.95, 256)))


def _paint(axes: Any, cortex: Cortex, side: str, view: str, values: NDArray[Any], norm: Any) -> None:
    from matplotlib.collections import PolyCollection

    hemisphere = cortex.left if side == "left" else cortex.right
    own = cortex.split(np.asarray(values, dtype=np.float64))[0 if side == "left" else 1]
    points, depth, light = _project(hemisphere, side, view)
    faces = hemisphere.faces
    shown = np.flatnonzero(light > -0.05)
    order = shown[np.argsort(depth[faces[shown]].mean(axis=1))]
    colours = _face_colours(hemisphere, own, norm)[order]
    colours[:, :3] *= (0.72 + 0.28 * np.clip(light[order], 0.0, 1.0))[:, None]
    # Edges in the colour of their face close the hairlines between triangles.
    axes.add_collection(
        PolyCollection(list(points[faces[order]]), facecolors=colours, edgecolors=colours, linewidths=0.35)
    )
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.02 * (high - low)
    axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    axes.set_aspect("equal")
    axes.set_axis_off()


def _project(hemisphere: Hemisphere, side: str, view: str) -> tuple[Float64, Float64, Float64]:
    """Screen coordinates, depth towards the viewer per vertex, and cosine to the viewer per face."""
    from_left = (side == "left") == (view == "lateral")
    towards = -1.0 if from_left else 1.0
    x, y, z = hemisphere.inflated.T
    points = np.column_stack([y * towards, z])
    corners = hemisphere.inflated[hemisphere.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return points, x * towards, normals[:, 0] * towards


def _face_colours(hemisphere: Hemisphere, values: Float64, norm: Any) -> Float64:
    """RGBA per face: the map where it passes the threshold, light gyri and darker sulci elsewhere."""
    grey = np.where(hemisphere.sulcal[hemisphere.faces].mean(axis=1) > 0, 0.74, 0.88)
    base = np.column_stack([grey, grey, grey, np.ones_like(grey)])
    # Averaging only what passes keeps the border where the vertices put it.
    per_face = values[hemisphere.faces]
    passing = np.isfinite(per_face) & (per_face >= norm.vmin)
    count = passing.sum(axis=1)
    mean = np.where(passing, per_face, 0.0).sum(axis=1) / np.maximum(count, 1)
    return np.where((count >= 2)[:, None], _colours()(norm(mean)), base)
