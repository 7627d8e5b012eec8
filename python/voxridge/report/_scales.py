"""Values to colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge.report.style import BLUE, SERIES, VERMILION

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Palette = Literal["sequential", "diverging", "ordinal", "categorical"]
COLOURS = "inferno"
_DIVERGING = ("#08335c", BLUE, "#8cc0e0", "#f4f4f2", "#f2b68c", VERMILION, "#6e2f00")


@dataclass(frozen=True)
class Scale:
    """Values to colours: those with \\|value\\| (or value) below ``threshold``, and NaN, are not coloured."""

    norm: Any
    colours: Any
    threshold: float
    two_sided: bool
    codes: bool

    def passing(self, values: Float64) -> Bools:
        size = np.abs(values) if self.two_sided else values
        with np.errstate(invalid="ignore"):
            return np.isfinite(values) & (size >= self.threshold)


def make_scale(
    maps: Sequence[NDArray[Any]],
    palette: Palette,
    threshold: float,
    maximum: float | None,
    categories: Sequence[str],
) -> tuple[Scale, bool]:
    """The colours of maps that share them, and whether values go beyond the top of the scale.

    Raises
    ------
    ValueError
        An unknown palette, codes without a category, or a maximum that is not above the threshold.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize

    values = np.concatenate([np.ravel(np.asarray(values, dtype=np.float64)) for values in maps])
    values = values[np.isfinite(values)]
    # On one side only what is above 0 is shown, however far below it the rest of an R2 map may be.
    sizes = values if palette in ("sequential", "ordinal") else np.abs(values)
    least = max(threshold, 0.0) if palette == "diverging" else threshold
    if maximum is not None and palette != "categorical" and not maximum > least:
        raise ValueError(f"maximum={maximum} and threshold={threshold}: give a maximum above the threshold")
    if palette == "categorical":
        if not 1 <= len(categories) <= len(SERIES) or not np.isin(sizes, np.arange(len(categories))).all():
            raise ValueError(
                f"categorical maps hold the codes {np.unique(sizes)[:8].tolist()} and categories has "
                f"{len(categories)} names: give a name for every code from 0 on, at most {len(SERIES)}"
            )
        norm = Normalize(-0.5, len(categories) - 0.5)
        return Scale(norm, ListedColormap(SERIES[: len(categories)]), 0.0, False, True), False
    top = maximum
    if top is None:
        top = float(np.percentile(sizes, 99.8)) if len(sizes) else least
        top = top if top > least else least + 1.0
    beyond = bool(len(sizes) and sizes.max() > 1.02 * top)
    if palette == "diverging":
        colours: Any = LinearSegmentedColormap.from_list("left and right", _DIVERGING)
        return Scale(Normalize(-top, top), colours, max(threshold, 0.0), True, False), beyond
    if palette == "ordinal":
        colours = colormaps["viridis"]
    elif palette == "sequential":
        # The dark end would vanish in the sulci.
        colours = LinearSegmentedColormap.from_list(
            "voxridge", colormaps[COLOURS](np.linspace(0.22, 0.95, 256))
        )
    else:
        raise ValueError(f"palette={palette!r}: give 'sequential', 'diverging', 'ordinal' or 'categorical'")
    return Scale(Normalize(threshold, top), colours, threshold, False, False), beyond


def grey_note(scale: Scale) -> str:
    """Which values are not coloured, in words."""
    if scale.two_sided:
        return f"between \N{MINUS SIGN}{scale.threshold:g} and {scale.threshold:g}"
    return f"below {scale.threshold:g}"
