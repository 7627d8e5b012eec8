"""Scores over the layers of one model or several, with what they depend on: intervals, controls, and where
the curve is highest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.style import GRID, INK, MUTED, SERIES, look, new_figure
from voxridge.science.depths import PreferredLayers, peak_depth, relative_depths
from voxridge.science.intervals import mean_interval

if TYPE_CHECKING:
    from voxridge.report.brain import SurfaceMap

Float64 = NDArray[np.float64]

# Two of Tol's muted colours beyond Okabe and Ito's.
_COLOURS = (*SERIES, INK, "#882255", "#999933")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h")
_DASHES = (0, (4, 3))


@dataclass(frozen=True)
class Curve:
    """One group of targets, a line of the layer curve.

    Attributes
    ----------
    name : str
    layers : ndarray (n_layers, n_repeats)
        Scores.
    control : ndarray (n_repeats,), or None
        Scores of a control model, drawn beside.
    """

    name: str
    layers: Float64
    control: Float64 | None = None


@dataclass(frozen=True)
class DepthCurve:
    """One model, a line over relative depth.

    Attributes
    ----------
    model : str
    scores : ndarray (n_layers, n_repeats)
        Repeats are folds or subjects.
    depths : ndarray (n_layers,), or None
        From 0 to 1; None: evenly from the embedding to the last layer.
    control : ndarray (n_repeats,), or None
        Scores of a control model, drawn dashed.
    """

    model: str
    scores: Float64
    depths: Float64 | None = None
    control: Float64 | None = None


def layer_figure(
    numbers: Sequence[int],
    curves: Sequence[Curve],
    *,
    control: str,
    repeats: str,
    true_layer: int | None = None,
    chosen: Sequence[int] = (),
) -> Any:
    """Mean score of every layer with a 95 % band over folds or subjects, and below it where each curve is
    highest.

    Parameters
    ----------
    numbers : layer numbers, rising; 0 is the embedding
    curves : one line each
    control : name of the control model, a dashed line per group with its interval as a bar at the right
    repeats : what the band runs over, "outer folds" or "listeners"
    true_layer : marked when the truth is known
    chosen : layers chosen in the folds, marked along the bottom

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For more curves than can be told apart (nine).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.layers import Curve, layer_figure
    >>> curve = Curve("language", np.array([[0.1, 0.2], [0.3, 0.2], [0.2, 0.1]]), np.array([0.05, 0.1]))
    >>> figure = layer_figure([0, 1, 2], [curve], control="word rate", repeats="outer folds")
    >>> figure.savefig("layers.png")
    """
    if len(curves) > len(_COLOURS):
        raise ValueError(f"{len(curves)} curves cannot be told apart: draw at most {len(_COLOURS)} at once")
    place = np.asarray(numbers, dtype=np.float64)
    with look():
        figure = new_figure(7.4, 4.4 + 0.2 * len(curves))
        axes, strip = _panel(figure, figure.add_gridspec(1, 1)[0], len(curves))
        for row, (curve, colour) in enumerate(zip(curves, _COLOURS, strict=False)):
            _line(axes, place, curve.layers, colour, _MARKERS[0], curve.name)
            if curve.control is not None:
                _control(axes, place[-1] + 0.45, curve.control, colour, f"{curve.name}: {control} alone")
            _peak(strip, row, curve.layers, place, colour)
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        if true_layer is not None:
            axes.axvline(true_layer, color=INK, linewidth=1.2, linestyle=":", label="layer of the truth")
            strip.axvline(true_layer, color=INK, linewidth=1.2, linestyle=":")
        _mark_choices(axes, chosen)
        strip.set_xlabel("layer of the language model (0 = word embedding)")
        axes.set_ylabel("held-out correlation r")
        axes.set_xlim(place[0] - 0.6, place[-1] + 0.75)
        axes.set_title(f"Score by layer; band: 95 % over {repeats}")
        figure.legend(loc="outside lower left", ncols=2, fontsize=9.5)
    return figure


def depth_figure(
    groups: Mapping[str, Sequence[DepthCurve]],
    *,
    repeats: str,
    control: str = "control",
    score: str = "held-out correlation r",
    columns: int = 2,
) -> Any:
    """Several models over relative depth: a panel for each group of targets, all with the same axes.

    Bands are 95 % intervals of the mean over repeats. The strip below a panel has the depth of every model's
    peak with its bootstrap interval; a hollow mark is at the first or last layer, so that the peak may lie
    beyond.

    Parameters
    ----------
    groups : mapping of name to sequence of DepthCurve
        A model has the same colour in every panel.
    repeats : str
        What the bands run over, "outer folds" or "subjects".
    control : str
        What the dashed lines are; the bar at the right end of one is its interval.
    score : str
        Label of the vertical axis.
    columns : int
        Panels side by side.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without groups, or for more models than can be told apart (nine).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.layers import DepthCurve, depth_figure
    >>> rng = np.random.default_rng(0)
    >>> small, large = rng.random((7, 5)), rng.random((13, 5))
    >>> curves = [DepthCurve("small", small), DepthCurve("large", large)]
    >>> depth_figure({"all targets": curves}, repeats="outer folds").savefig("depths.png")
    """
    models = list(dict.fromkeys(curve.model for curves in groups.values() for curve in curves))
    if not models:
        raise ValueError("groups is empty: give at least one group with one curve")
    if len(models) > len(_COLOURS):
        raise ValueError(f"{len(models)} models cannot be told apart: draw at most {len(_COLOURS)} at once")
    columns = min(columns, len(groups))
    rows = -(-len(groups) // columns)
    with look():
        width = 7.4 if columns == 1 else 4.4 * columns
        figure = new_figure(width, (3.3 + 0.19 * len(models)) * rows + 0.5)
        grid = figure.add_gridspec(rows, columns)
        first = None
        for number, (name, curves) in enumerate(groups.items()):
            at = grid[number // columns, number % columns]
            axes, strip = _panel(figure, at, len(models), like=first)
            first = first or axes
            for curve in curves:
                _draw_model(axes, strip, curve, models.index(curve.model))
            for level, colour in _controls(curves, models):
                _control(axes, 1.03, level, colour, None)
            axes.axhline(0.0, color=MUTED, linewidth=0.8)
            axes.set_title(name)
            axes.set_xlim(-0.03, 1.06)
            strip.set_xlabel("relative depth (0 = embedding, 1 = last layer)")
            if number % columns == 0:
                axes.set_ylabel(score)
        _legend(figure, models, groups, control)
        if len(groups) == 1 and first is not None:
            first.set_title(f"{next(iter(groups))}; band: 95 % over {repeats}")
        else:
            figure.suptitle(
                f"Score by depth; bands: 95 % over {repeats}", x=0.01, ha="left", fontsize=11.5, weight="bold"
            )
    return figure


def preferred_map(preferred: PreferredLayers, title: str = "Preferred layer") -> SurfaceMap:
    """The depth of each vertex's best layer for :func:`voxridge.report.brain.surface_figure`; grey where the
    layers cannot be told apart.

    Parameters
    ----------
    preferred : PreferredLayers
        Of all vertices of the cortex, left hemisphere first.
    title : str
        The share of vertices that have a layer is added to it.

    Returns
    -------
    SurfaceMap
        Values from 0 to 1: draw it with ``threshold=0``, ``maximum=1`` and a label such as "relative depth".

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.layers import preferred_map
    >>> from voxridge.science.depths import preferred_layer
    >>> curve = np.array([0.1, 0.4, 0.2])[:, None, None] * [1.0, 0.0]
    >>> found = preferred_layer(curve + np.random.default_rng(0).normal(0, 0.01, (3, 6, 2)))
    >>> preferred_map(found).title
    'Preferred layer (50 % of targets have one)'
    """
    from voxridge.report.brain import SurfaceMap

    known = np.isfinite(preferred.p_values)
    share = np.mean(preferred.differ[known]) if known.any() else 0.0
    return SurfaceMap(f"{title} ({100 * share:.0f} % of targets have one)", preferred.depth)


def _panel(figure: Any, at: Any, n_rows: int, like: Any = None) -> tuple[Any, Any]:
    """Axes for curves, and below them a strip with a row for every peak."""
    inner = at.subgridspec(2, 1, height_ratios=[1.0, 0.06 + 0.062 * n_rows], hspace=0.03)
    axes = figure.add_subplot(inner[0], sharex=like, sharey=like)
    strip = figure.add_subplot(inner[1], sharex=axes)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.spines["bottom"].set_color(GRID)
    strip.set_ylim(n_rows - 0.4, -0.6)
    strip.set_yticks([(n_rows - 1) / 2], ["peak"])
    strip.tick_params(axis="y", length=0)
    strip.grid(visible=True, axis="x")
    strip.grid(visible=False, axis="y")
    return axes, strip


def _line(axes: Any, place: Float64, scores: Float64, colour: str, marker: str, label: str | None) -> None:
    """The mean of every layer and the band around it; no band where there is a single repeat."""
    interval = mean_interval(scores, axis=1)
    axes.fill_between(place, interval.low, interval.high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(place, interval.mean, color=colour, marker=marker, markersize=3.5, label=label)


def _control(axes: Any, x: float, scores: Float64, colour: str, label: str | None) -> None:
    """A dashed line at the mean, and its interval at the right end, beside the curve."""
    interval = mean_interval(scores)
    level = float(interval.mean)
    axes.axhline(level, color=colour, linestyle=_DASHES, linewidth=1.3, label=label)
    if np.isfinite(interval.low):
        axes.plot([x, x], [interval.low, interval.high], color=colour, linewidth=2.6, alpha=0.55)


def _peak(strip: Any, row: int, scores: Float64, place: Float64, colour: str, marker: str = "o") -> None:
    """Where the curve is highest, with its interval over repeats; nothing where there is a single layer."""
    if len(scores) < 2:
        return
    peak = peak_depth(scores, depths=place)
    if np.isfinite(peak.low):
        strip.plot([peak.low, peak.high], [row, row], color=colour, linewidth=2.2, alpha=0.6)
    face = "white" if peak.at_edge else colour
    strip.plot(peak.depth, row, marker=marker, markersize=5.5, color=colour, markerfacecolor=face)


def _draw_model(axes: Any, strip: Any, curve: DepthCurve, position: int) -> None:
    scores = np.asarray(curve.scores, dtype=np.float64)
    place = relative_depths(len(scores)) if curve.depths is None else np.asarray(curve.depths)
    colour, marker = _COLOURS[position], _MARKERS[position]
    _line(axes, place, scores, colour, marker, None)
    _peak(strip, position, scores, place, colour, marker)


def _controls(curves: Sequence[DepthCurve], models: Sequence[str]) -> list[tuple[Float64, str]]:
    """Control scores with their colour: grey where all models share them."""
    found = [(np.asarray(curve.control), curve.model) for curve in curves if curve.control is not None]
    if all(np.array_equal(level, found[0][0], equal_nan=True) for level, _ in found):
        return [(level, MUTED) for level, _ in found[:1]]
    return [(level, _COLOURS[models.index(model)]) for level, model in found]


def _legend(
    figure: Any, models: Sequence[str], groups: Mapping[str, Sequence[DepthCurve]], control: str
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4.5, label=model)
        for model, colour, marker in zip(models, _COLOURS, _MARKERS, strict=False)
    ]
    if any(curve.control is not None for curves in groups.values() for curve in curves):
        handles.append(
            Line2D([], [], color=MUTED, linestyle=_DASHES, linewidth=1.3, label=f"{control} (bar: 95 %)")
        )
    figure.legend(handles=handles, loc="outside lower left", ncols=min(5, len(handles)), fontsize=9.5)


def _mark_choices(axes: Any, chosen: Sequence[int]) -> None:
    """Small triangles on the lower edge, one per fold, for the layer that its inner folds chose."""
    if not chosen:
        return
    for layer, count in zip(*np.unique(np.asarray(chosen), return_counts=True), strict=True):
        axes.plot(
            layer,
            0.0,
            marker="^",
            color=INK,
            markersize=7,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            zorder=5,
        )
        if count > 1:
            axes.annotate(
                f"×{count}",
                (layer, 0.0),
                xycoords=("data", "axes fraction"),
                xytext=(6, 4),
                textcoords="offset points",
                fontsize=8.5,
            )
