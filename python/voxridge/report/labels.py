"""Names beside points, placed so that they hide neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.style import INK, MUTED

Float64 = NDArray[np.float64]

_ANGLES = np.deg2rad(np.arange(0, 360, 30))
_REACHES = (6.0, 11.0, 17.0, 24.0, 32.0)  # points from the marker to the text
_LEADER = 10.0  # from this far on a line says which point is meant
_ROUNDS = 4


def label_points(
    axes: Any,
    x: Float64,
    y: Float64,
    texts: Sequence[str],
    *,
    size: float = 8.0,
    boxes: Sequence[Any] = (),
    curve: tuple[Float64, Float64] | None = None,
) -> None:
    """Write a name beside every point of finished axes.

    The figure is laid out first; names are then tried at several angles and distances, and kept where they
    overlap least with names, points and ``boxes``. Those far from their point get a thin line.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    x, y : ndarray (n_points,)
        In data coordinates.
    texts : sequence of str (n_points,)
    size : float
        Of the letters, in points.
    boxes : sequence of matplotlib artists
        Texts of the axes that must stay readable too.
    curve : (x, y), two ndarrays (n_samples,), optional
        A line that names should rather not cross.
    """
    from matplotlib.patheffects import withStroke

    figure = axes.figure
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what was measured must not move any more
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    points = axes.transData.transform(np.column_stack([x, y]))
    sizes = np.array([_extent(axes, text, size, renderer) for text in texts]).reshape(-1, 2)
    fixed = [_corners(box.get_window_extent(renderer)) for box in boxes]
    places = _offsets(sizes, scale)
    frame = _corners(axes.get_window_extent(renderer))
    line = np.zeros((0, 2)) if curve is None else axes.transData.transform(np.column_stack(curve))
    markers = _around(points, 3.5 * scale)
    chosen = _choose(
        points, places, sizes, markers, np.array(fixed).reshape(-1, 4), _around(line, scale), frame
    )
    for i, text in enumerate(texts):
        centre = places[i, chosen[i]]
        far = np.hypot(*(np.maximum(np.abs(centre) - sizes[i] / 2, 0.0))) > _LEADER * scale
        axes.annotate(
            text,
            (x[i], y[i]),
            xytext=tuple(centre / scale),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
            if far
            else None,
            zorder=6,
            path_effects=[withStroke(linewidth=2.0, foreground="white", alpha=0.85)],
        )


def _extent(axes: Any, text: str, size: float, renderer: Any) -> tuple[float, float]:
    artist = axes.text(0, 0, text, fontsize=size)
    box = artist.get_window_extent(renderer)
    artist.remove()
    return box.width, box.height


def _corners(box: Any) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def _offsets(sizes: Float64, scale: float) -> Float64:
    """Centres of the tried places relative to the point, in pixels: (n_points, n_places, 2)."""
    directions = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    tried = [reach * scale * directions + directions * sizes[:, None, :] / 2 for reach in _REACHES]
    return np.concatenate(tried, axis=1)


def _around(points: Float64, radius: float) -> Float64:
    return np.concatenate([points - radius, points + radius], axis=1)


def _choose(
    points: Float64,
    places: Float64,
    sizes: Float64,
    markers: Float64,
    fixed: Float64,
    line: Float64,
    frame: Any,
) -> NDArray[np.intp]:
    """The place of each name: greedily, the most crowded points first, then rounds of second thoughts."""
    n, n_places = places.shape[:2]
    centres = points[:, None, :] + places
    half = sizes[:, None, :] / 2
    boxes = np.concatenate([centres - half, centres + half], axis=2)  # (n, n_places, 4)
    cost = 0.05 * np.arange(n_places)[None, :] * np.ones((n, 1))
    for i in range(n):
        others = np.concatenate([np.delete(markers, i, axis=0), fixed])
        cost[i] += 30 * np.sum(_overlap(boxes[i], others) > 0, axis=1)
        cost[i] += 4 * np.any(_overlap(boxes[i], line) > 0, axis=1)
        cost[i] += 200 * _outside(boxes[i], frame)
    chosen = np.full(n, -1)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(n)
    order = np.argsort(np.sort(distances, axis=1)[:, : min(3, n)].mean(axis=1))
    for _ in range(_ROUNDS):
        for i in order:
            placed = [j for j in range(n) if j != i and chosen[j] >= 0]
            taken = np.array([boxes[j, chosen[j]] for j in placed]).reshape(-1, 4)
            clash = np.sum(_overlap(boxes[i], taken), axis=1) / max(float(sizes[i].prod()), 1.0)
            chosen[i] = int(np.argmin(cost[i] + 100 * clash))
    return chosen


def _overlap(a: Float64, b: Float64) -> Float64:
    """Areas that boxes (n, 4) and (m, 4) share, (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray(np.prod(np.maximum(high - low, 0.0), axis=2))


def _outside(boxes: Float64, frame: Any) -> Float64:
    left, bottom, right, top = frame
    inside = (boxes[:, 0] >= left) & (boxes[:, 1] >= bottom) & (boxes[:, 2] <= right) & (boxes[:, 3] <= top)
    return np.where(inside, 0.0, 1.0)
