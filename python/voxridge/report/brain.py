"""Maps on the cortical surface: inflated from outside and from the middle, or laid out flat; both
hemispheres, one colour bar.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.report._paint import Layer, paint
from voxridge.report._scales import Palette, Scale, grey_note, make_scale
from voxridge.report.style import INK, MUTED, look, new_figure

if TYPE_CHECKING:
    from voxridge.responses.cortex import Cortex
    from voxridge.science.hemispheres import Hemispheres

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
View = Literal["lateral", "medial", "flat"]
_GAP = 6.0  # mm
_NARROWEST, _WIDEST = 5.2, 8.0  # inches
_LETTER = 0.098  # inches: a bold letter of a title
_KEY = 0.86  # inches: the height of the colour bar's strip
_LONG = 95  # letters in a line of notes
_PANEL = {"lateral": (1.48, 1.0), "medial": (1.48, 1.0), "flat": (1.13, 1.0)}  # width to height


@dataclass(frozen=True)
class SurfaceMap:
    """A map of a figure of maps.

    Attributes
    ----------
    title : str
    values : ndarray (n_vertices,)
        Over the whole cortex, left hemisphere first; NaN shows the grey surface.
    significant : ndarray (n_vertices,) bool, optional
        Where it is False the colours are faded (or not drawn).
    below_ceiling : ndarray (n_vertices,) bool, optional
        Hatched: where the noise ceiling is so low that the score says nothing.
    outlines : mapping of name to ndarray (n_vertices,) bool
        Regions whose border is drawn.
    """

    title: str
    values: NDArray[Any]
    significant: NDArray[np.bool_] | None = None
    below_ceiling: NDArray[np.bool_] | None = None
    outlines: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


def surface_figure(
    cortex: Cortex,
    maps: Sequence[SurfaceMap],
    *,
    threshold: float = 0.0,
    maximum: float | None = None,
    label: str = "correlation r",
    palette: Palette = "sequential",
    categories: Sequence[str] = (),
    views: Sequence[View] = ("lateral", "medial"),
    sides: Sequence[str] = ("left", "right"),
    columns: int = 1,
    not_significant: Literal["fade", "hide"] = "fade",
) -> Any:
    """Draw maps in rows of views with one shared colour bar.

    Parameters
    ----------
    cortex : Cortex
    maps : sequence of SurfaceMap
    threshold : float
        Values below it show the grey surface ("diverging": those with a smaller magnitude).
    maximum : float, optional
        Top of the colour scale; default: the 99.8th percentile over all maps. The bar ends in a point where
        values go beyond.
    label : str
        What the colours are, with the unit.
    palette : "sequential", "diverging", "ordinal" or "categorical"
        Sequential: scores. Diverging: blue below 0, vermilion above, symmetric. Ordinal: layers, depth.
        Categorical: values are positions in ``categories``.
    categories : sequence of str
        At most six names of the codes of a categorical map.
    views : sequence of "lateral", "medial" and "flat"
    sides : sequence of "left" and "right"
    columns : int
        Maps side by side, for small multiples over subjects or models.
    not_significant : "fade" or "hide"
        What happens outside ``significant``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No map, arrays that are not (n_vertices,), an unknown view, side, palette or ``not_significant``, no
        flat coordinates, codes without a category, or a maximum that is not above the threshold.

    Examples
    --------
    Two maps on fsaverage5, whose surface comes with nilearn:

    >>> import numpy as np
    >>> from voxridge.report.brain import SurfaceMap, surface_figure
    >>> from voxridge.responses.cortex import load_cortex
    >>> values = np.linspace(0, 0.5, 2 * 10_242)
    >>> maps = [SurfaceMap("truth", values), SurfaceMap("recovered", 0.8 * values)]
    >>> surface_figure(load_cortex(), maps, threshold=0.05).savefig("maps.png")
    """
    _check(cortex, maps, views, sides, columns)
    if not_significant not in ("fade", "hide"):
        raise ValueError(f"not_significant={not_significant!r}: give 'fade' or 'hide'")
    scale, beyond = make_scale([surface.values for surface in maps], palette, threshold, maximum, categories)
    panels = [(side, view) for side in sides for view in (views if side == "left" else tuple(views)[::-1])]
    with look():
        notes = _notes(maps, scale, hide=not_significant == "hide")
        figure, cells = _layout(panels, [surface.title for surface in maps], columns, 0.2 * len(notes))
        for number, (surface, cell) in enumerate(zip(maps, cells, strict=True)):
            figure.text(cell.left, cell.top, cell.title, va="top", weight="bold", fontsize=11)
            for (side, view), box in zip(panels, cell.boxes, strict=True):
                hemisphere = cortex.left if side == "left" else cortex.right
                axes = figure.add_axes(box)
                hide = not_significant == "hide"
                paint(axes, hemisphere, view, _of_side(cortex, surface, side), scale, hide=hide)
                if number >= len(maps) - columns:
                    middle = box[0] + box[2] / 2
                    figure.text(middle, cell.caption, f"{side} {view}", ha="center", color=MUTED, fontsize=9)
        _key(figure, scale, beyond, label, categories, notes)
    return figure


def lateralisation_figure(
    cortex: Cortex,
    hemispheres: Hemispheres,
    maps: Mapping[str, ArrayLike],
    *,
    threshold: float = 0.0,
    maximum: float | None = None,
    label: str = "left \N{MINUS SIGN} right, correlation r",
    views: Sequence[View] = ("lateral", "medial"),
    columns: int = 1,
    significant: Mapping[str, ArrayLike] | None = None,
) -> Any:
    """Left minus right at each pair of homologous vertices, drawn on the left hemisphere.

    One vertex in ten of fsaverage5 has no homologue; it is drawn like the nearest one that has, if that is
    less than 6 mm away.

    Parameters
    ----------
    cortex : Cortex
    hemispheres : Hemispheres
        Of all vertices of ``cortex``.
    maps : mapping of title to (n_pairs,) float
        ``pair_difference`` of :class:`~voxridge.science.Lateralisation`, or its index.
    threshold, maximum, label, views, columns
        As for :func:`surface_figure`.
    significant : mapping of title to (n_pairs,) bool, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The hemispheres are of other targets than the vertices of the cortex; what :func:`surface_figure`
        refuses.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.brain import lateralisation_figure
    >>> from voxridge.responses.cortex import load_cortex
    >>> from voxridge.science.hemispheres import hemispheres_from_surfaces
    >>> cortex = load_cortex()
    >>> pairs = hemispheres_from_surfaces(cortex.left.pial, cortex.right.pial)
    >>> lean = np.linspace(-0.1, 0.1, pairs.n_pairs)
    >>> lateralisation_figure(cortex, pairs, {"model": lean}).savefig("lean.png")
    """
    if hemispheres.n_targets != cortex.n_vertices:
        raise ValueError(
            f"hemispheres has {hemispheres.n_targets} targets and the cortex {cortex.n_vertices} vertices: "
            "make it with hemispheres_from_surfaces(cortex.left.pial, cortex.right.pial)"
        )
    places = np.concatenate([cortex.left.pial, cortex.right.pial])
    rows = []
    for title, values in maps.items():
        certain = None
        if significant is not None and title in significant:
            sure = hemispheres.to_map(np.asarray(significant[title], dtype=np.float64))
            certain = _fill_gaps(sure, hemispheres, places) == 1.0
        shown = _fill_gaps(hemispheres.to_map(values), hemispheres, places)
        rows.append(SurfaceMap(title, shown, certain))
    return surface_figure(
        cortex,
        rows,
        threshold=threshold,
        maximum=maximum,
        label=label,
        palette="diverging",
        views=views,
        sides=("left",),
        columns=columns,
    )


def _fill_gaps(values: Float64, hemispheres: Hemispheres, places: Float64) -> Float64:
    """Left vertices without a homologue get the value of the nearest one that has it."""
    from scipy.spatial import cKDTree

    alone = np.setdiff1d(np.flatnonzero(hemispheres.side < 0), hemispheres.left)
    near, which = cKDTree(places[hemispheres.left]).query(places[alone], distance_upper_bound=_GAP)
    filled = values.copy()
    filled[alone[np.isfinite(near)]] = values[hemispheres.left[which[np.isfinite(near)]]]
    return filled


@dataclass(frozen=True)
class _Cell:
    """Where a map stands, in shares of the figure."""

    title: str
    left: float
    top: float
    caption: float
    boxes: list[tuple[float, float, float, float]]


def _layout(
    panels: Sequence[tuple[str, str]], titles: Sequence[str], columns: int, notes: float
) -> tuple[Any, list[_Cell]]:
    """Figure and cells; ``notes``: inches below the colour bar."""
    across = sum(_PANEL[view][0] for _, view in panels)
    columns, rows = min(columns, len(titles)), -(-len(titles) // columns)
    # Inches: no wider than a page, so that the words can still be read when it is narrow.
    height = min(1.5, (_WIDEST - 0.3) / (across * columns))
    gap = 0.1
    width = columns * across * height + gap * (columns + 1)
    margin = max(0.0, _NARROWEST - width) / 2
    width = max(width, _NARROWEST)
    room = width - 2 * gap if columns == 1 else across * height
    wrapped = [textwrap.fill(title, max(12, int(room / _LETTER))) for title in titles]
    title = 0.09 + 0.18 * max(text.count("\n") + 1 for text in wrapped)
    total = rows * (height + title) + _KEY + notes
    figure = new_figure(width, total)
    figure.set_layout_engine("none")
    cells = []
    for number, text in enumerate(wrapped):
        row, column = divmod(number, columns)
        x = margin + gap + column * (across * height + gap)
        top = total - row * (height + title)
        cell = _Cell(text, x / width, (top - 0.05) / total, (top - title - height - 0.16) / total, [])
        for _, view in panels:
            wide = _PANEL[view][0] * height
            cell.boxes.append((x / width, (top - title - height) / total, wide / width, height / total))
            x += wide
        cells.append(cell)
    return figure, cells


def _notes(maps: Sequence[SurfaceMap], scale: Scale, *, hide: bool) -> list[str]:
    """What is not in the colour bar: thresholds, fading, hatching, outlines."""
    marked = any(surface.significant is not None for surface in maps)
    grey = [grey_note(scale)] if scale.threshold > 0 else []
    grey += ["not significant"] if marked and hide else []
    notes = [f"grey: {' or '.join(grey)}"] if grey else []
    notes += ["faded: not significant"] if marked and not hide else []
    if any(surface.below_ceiling is not None for surface in maps):
        notes.append("hatched: noise ceiling too low to tell")
    if outlined := dict.fromkeys(name for surface in maps for name in surface.outlines):
        notes.append("outlined: " + ", ".join(outlined))
    half = -(-len(notes) // 2) if len("; ".join(notes)) > _LONG else len(notes)
    return ["; ".join(part) for part in (notes[:half], notes[half:]) if part]


def _key(
    figure: Any, scale: Scale, beyond: bool, label: str, categories: Sequence[str], notes: Sequence[str]
) -> None:
    """Colour bar (or patches of categories), its label, and the notes."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Patch

    inch = 1.0 / figure.get_figheight()
    lift = 0.2 * len(notes)
    for number, note in enumerate(reversed(notes)):
        height = (0.06 + 0.2 * number) * inch
        figure.text(0.5, height, note, ha="center", color=MUTED, fontsize=9)
    figure.text(0.5, (lift + 0.45) * inch, label, ha="center", va="bottom", fontsize=9.5, color=INK)
    if categories:
        handles = [
            Patch(color=scale.colours(scale.norm(code)), label=name) for code, name in enumerate(categories)
        ]
        figure.legend(
            handles=handles,
            loc="center",
            bbox_to_anchor=(0.5, (lift + 0.27) * inch),
            ncols=len(categories),
            fontsize=9,
            handlelength=1.1,
            columnspacing=1.2,
        )
        return
    wide = min(0.5, 2.8 / figure.get_figwidth())
    bar = figure.add_axes((0.5 - wide / 2, (lift + 0.28) * inch, wide, 0.12 * inch))
    extend = ("both" if scale.two_sided else "max") if beyond else "neither"
    colorbar = figure.colorbar(
        ScalarMappable(scale.norm, scale.colours), cax=bar, orientation="horizontal", extend=extend
    )
    colorbar.outline.set_visible(False)
    colorbar.ax.tick_params(labelsize=9, length=2, pad=2)
    colorbar.ax.grid(visible=False)


def _of_side(cortex: Cortex, surface: SurfaceMap, side: str) -> Layer:
    which = 0 if side == "left" else 1

    def own(values: Any) -> Any:
        return None if values is None else cortex.split(np.asarray(values))[which]

    return Layer(
        own(np.asarray(surface.values, dtype=np.float64)),
        own(surface.significant),
        own(surface.below_ceiling),
        {name: own(inside) for name, inside in surface.outlines.items()},
    )


def _check(
    cortex: Cortex,
    maps: Sequence[SurfaceMap],
    views: Sequence[str],
    sides: Sequence[str],
    columns: int,
) -> None:
    if not maps or not views or not sides or columns < 1:
        raise ValueError(
            f"{len(maps)} maps, views {tuple(views)}, sides {tuple(sides)}, columns {columns}: give one or "
            "more of each"
        )
    if unknown := [side for side in sides if side not in ("left", "right")]:
        raise ValueError(f"sides has {unknown}; give 'left', 'right' or both")
    if unknown := [view for view in views if view not in _PANEL]:
        raise ValueError(f"views has {unknown}; give 'lateral', 'medial' and 'flat'")
    for surface in maps:
        arrays = {"values": surface.values, "significant": surface.significant}
        arrays |= {"below_ceiling": surface.below_ceiling, **surface.outlines}
        for name, array in arrays.items():
            if array is not None and np.shape(array) != (cortex.n_vertices,):
                raise ValueError(
                    f"{name} of the map {surface.title!r} has shape {np.shape(array)}; the cortex has "
                    f"({cortex.n_vertices},) vertices, left first"
                )
            if array is not None and name != "values" and np.asarray(array).dtype != bool:
                raise ValueError(f"{name} of the map {surface.title!r} must be bool, one value per vertex")
