"""Maps of volumes: a glass brain in MNI space, slices in any space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.report._scales import Palette, Scale, grey_note, make_scale
from voxridge.report.style import INK, MUTED, look, new_figure
from voxridge.responses.extras import need_nibabel, need_nilearn
from voxridge.responses.geometry import Geometry

Float64 = NDArray[np.float64]
_STRIP = 0.86  # inches below the pictures: colour bar, label
_LINE = 0.2  # inches below a slice


def volume_figure(
    geometry: Geometry,
    values: ArrayLike,
    *,
    title: str = "",
    kind: Literal["glass", "slices"] = "slices",
    space: str = "",
    threshold: float = 0.0,
    maximum: float | None = None,
    label: str = "correlation r",
    palette: Palette = "sequential",
    heights: Sequence[float] | None = None,
    background: ArrayLike | None = None,
) -> Any:
    """A map of a volume: seen through the head, or in axial slices.

    The glass brain shows the largest magnitude along each line of sight and needs MNI space, since it has the
    outline of that brain. Slices need no space: they are drawn in the voxels of the map, the left side on the
    left, each with its height in mm.

    Parameters
    ----------
    geometry : voxridge.responses.Geometry
        Of kind "volume".
    values : (n_columns,) float
    title : str
    kind : "glass" or "slices"
    space : str
        For the glass brain: a name that begins with MNI.
    threshold, maximum, label, palette
        As for :func:`voxridge.report.brain.surface_figure`, without "categorical".
    heights : sequence of float, optional
        mm of the slices; default: ten, evenly over the mask.
    background : (x, y, z) float, optional
        An anatomical image in the voxels of the map, under the slices; default: the mask in grey.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No volume, another width, a glass brain outside MNI space, a background of another shape, or a height
        outside the volume.
    ImportError
        nilearn (glass brain) or nibabel is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.volumes import volume_figure
    >>> from voxridge.responses import Geometry
    >>> geometry = Geometry.volume(np.ones((20, 24, 20), bool), np.diag([3.0, 3.0, 3.0, 1.0]))
    >>> volume_figure(geometry, np.linspace(0, 1, geometry.n_columns)).savefig("slices.png")
    """
    given = np.asarray(values, dtype=np.float64)
    if geometry.kind != "volume" or given.shape != (geometry.n_columns,):
        raise ValueError(
            f"values has shape {given.shape} and the geometry is a {geometry.kind} of {geometry.n_columns} "
            "columns: give a volume and one value per voxel of its mask"
        )
    if palette == "categorical":
        raise ValueError(
            "palette='categorical' is for the surface; give 'sequential', 'diverging' or 'ordinal'"
        )
    scale, beyond = make_scale([given], palette, threshold, maximum, ())
    if kind == "glass":
        figure = _glass(geometry, given, scale, space)
    elif kind == "slices":
        figure = _slices(geometry, given, scale, heights, background)
    else:
        raise ValueError(f"kind={kind!r}: give 'glass' or 'slices'")
    with look():
        figure.text(0.012, 1 - 0.06 / figure.get_figheight(), title, va="top", weight="bold", fontsize=10.5)
        _colour_bar(figure, scale, beyond, label)
    return figure


def _glass(geometry: Geometry, values: Float64, scale: Scale, space: str) -> Any:
    if not space.startswith("MNI"):
        raise ValueError(
            f"space={space!r}: the glass brain has the outline of MNI space; give space='MNI...' if the map "
            "is there, or kind='slices' for an individual brain"
        )
    plotting = need_nilearn("plotting")
    shown = np.where(scale.passing(values), values, 0.0)
    image = need_nibabel().Nifti1Image(geometry.unmask(shown, fill=0.0), geometry.affine)
    with look():
        figure = new_figure(8.4, 2.75 + _STRIP)
        figure.set_layout_engine("none")
        strip = _STRIP / figure.get_figheight()
        plotting.plot_glass_brain(
            image,
            figure=figure,
            axes=(0.0, strip, 1.0, 0.93 - strip),
            display_mode="lyrz",
            colorbar=False,
            cmap=scale.colours,
            vmin=scale.norm.vmin,
            vmax=scale.norm.vmax,
            threshold=max(scale.threshold, 1e-12),
            plot_abs=False,
            symmetric_cbar=scale.two_sided,
        )
    return figure


def _slices(
    geometry: Geometry,
    values: Float64,
    scale: Scale,
    heights: Sequence[float] | None,
    background: ArrayLike | None,
) -> Any:
    upright, affine, under, inside = _upright(geometry, values, background)
    levels = _levels(inside, affine, heights)
    columns = min(5, len(levels))
    sizes = np.linalg.norm(affine[:3, :2], axis=0)
    wide = 8.4 / columns
    tall = wide * upright.shape[1] * sizes[1] / (upright.shape[0] * sizes[0])
    rows = -(-len(levels) // columns)
    with look():
        figure = new_figure(8.4, 0.3 + rows * (tall + _LINE) + _STRIP)
        figure.set_layout_engine("none")
        inch = 1 / figure.get_figheight()
        for number, level in enumerate(levels):
            row, column = divmod(number, columns)
            bottom = 1 - (0.3 + (row + 1) * (tall + _LINE) - _LINE) * inch
            axes = figure.add_axes((column / columns, bottom, 1 / columns, tall * inch))
            shown = np.where(scale.passing(upright[..., level]), upright[..., level], np.nan)
            grey = np.where(inside[..., level], under[..., level], np.nan)
            drawn = {"origin": "lower", "aspect": sizes[1] / sizes[0], "interpolation": "nearest"}
            axes.imshow(grey.T, cmap="gray", vmin=-0.25, vmax=1.1, **drawn)
            axes.imshow(shown.T, cmap=scale.colours, norm=scale.norm, **drawn)
            axes.set_axis_off()
            height = f"z = {affine[2, 3] + affine[2, 2] * level:.0f} mm".replace("-", "\N{MINUS SIGN}")
            place = ((column + 0.5) / columns, bottom - 0.16 * inch)
            figure.text(*place, height, ha="center", color=MUTED, fontsize=8.5)
            if number == 0:
                for x, side in ((0.03, "L"), (0.92, "R")):
                    axes.text(x, 0.97, side, transform=axes.transAxes, color=INK, fontsize=9, va="top")
    return figure


def _upright(
    geometry: Geometry, values: Float64, background: ArrayLike | None
) -> tuple[Float64, Float64, Float64, NDArray[np.bool_]]:
    """Map, affine, background (0 to 1) and mask with the axes nearest to left-right, back-front, down-up."""
    nibabel = need_nibabel()
    assert geometry.mask is not None
    mask = geometry.mask.reshape(geometry.shape)
    under = np.full(geometry.shape, 0.8)
    if background is not None:
        under = np.asarray(background, dtype=np.float64)
        if under.shape != geometry.shape:
            raise ValueError(f"background has shape {under.shape}; the volume has {geometry.shape}")
        low, high = np.nanpercentile(under[mask], [1, 99])
        under = np.clip((under - low) / max(high - low, 1e-12), 0, 1)
    turned = [
        nibabel.as_closest_canonical(nibabel.Nifti1Image(array, geometry.affine))
        for array in (geometry.unmask(values), under, mask.astype(np.float64))
    ]
    data = [np.asarray(image.dataobj, dtype=np.float64) for image in turned]
    box = np.argwhere(data[2] > 0)
    first, last = np.maximum(box.min(axis=0) - 1, 0), box.max(axis=0) + 2
    # Cropped from left to right and from back to front, not in height, where levels are counted.
    part = (slice(first[0], last[0]), slice(first[1], last[1]))
    return data[0][part], np.asarray(turned[0].affine), data[1][part], data[2][part] > 0


def _levels(inside: NDArray[np.bool_], affine: Float64, heights: Sequence[float] | None) -> list[int]:
    if heights is None:
        # Percentiles of the voxels: more slices where the brain is wide than at its ends.
        each = np.repeat(np.arange(inside.shape[2]), inside.sum(axis=(0, 1)))
        count = min(10, len(np.unique(each)))
        return [int(level) for level in np.unique(np.percentile(each, np.linspace(4, 96, count)).round())]
    levels = [round((height - affine[2, 3]) / affine[2, 2]) for height in heights]
    if not levels or min(levels) < 0 or max(levels) >= inside.shape[2]:
        ends = affine[2, 3] + affine[2, 2] * np.array([0, inside.shape[2] - 1])
        raise ValueError(f"heights={list(heights)}: give some between {ends[0]:.0f} and {ends[1]:.0f} mm")
    return levels


def _colour_bar(figure: Any, scale: Scale, beyond: bool, label: str) -> None:
    from matplotlib.cm import ScalarMappable

    inch = 1 / figure.get_figheight()
    figure.text(0.5, 0.5 * inch, label, ha="center", va="bottom", fontsize=9.5, color=INK)
    bar = figure.add_axes((0.33, 0.33 * inch, 0.34, 0.12 * inch))
    extend = ("both" if scale.two_sided else "max") if beyond else "neither"
    colorbar = figure.colorbar(
        ScalarMappable(scale.norm, scale.colours), cax=bar, orientation="horizontal", extend=extend
    )
    colorbar.outline.set_visible(False)
    colorbar.ax.tick_params(labelsize=9, length=2, pad=2)
    colorbar.ax.grid(visible=False)
    if scale.threshold > 0:
        note = f"not coloured: {grey_note(scale)}"
        figure.text(0.99, 0.06 * inch, note, ha="right", color=MUTED, fontsize=8.5)
