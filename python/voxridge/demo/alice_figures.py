"""Dots with intervals, region by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.style import GRID, INK, MUTED, SERIES, look, new_figure

Float64 = NDArray[np.float64]
Ends = tuple[Float64, Float64, Float64]


@dataclass(frozen=True)
class Panel:
    """Values (n_regions,) with the ends of their intervals, by name; ``ceiling`` likewise, drawn as a bar."""

    title: str
    series: Mapping[str, Ends]
    ceiling: Ends | None = None


def regions_figure(regions: Sequence[str], panels: Sequence[Panel], *, label: str, title: str) -> Any:
    """A panel each, side by side; dots have 95 % intervals, ceilings are bars with theirs.

    Parameters
    ----------
    regions : names along the axis
    panels : with the same series
    label : of the vertical axis
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    with look():
        figure = new_figure(4.1 * len(panels) + (0.6 if len(panels) > 1 else 3.0), 4.2)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _panel(axis, regions, panel)
        axes[0].set_ylabel(label)
        figure.suptitle(title, fontsize=11.5, fontweight="bold", x=0.01, ha="left")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=2, fontsize=9.5)
    return figure


def _panel(axis: Any, regions: Sequence[str], panel: Panel) -> None:
    x = np.arange(len(regions), dtype=np.float64)
    if panel.ceiling is not None:
        value, low, high = panel.ceiling
        axis.bar(x, value, width=0.82, color=GRID, label="ceiling")
        _whiskers(axis, x + 0.36, value, low, high, MUTED)
    step = 0.62 / max(len(panel.series), 1)
    for position, ((name, (value, low, high)), colour) in enumerate(
        zip(panel.series.items(), SERIES, strict=False)
    ):
        place = x - 0.3 + step * (position + 0.5) - (0.0 if panel.ceiling is None else 0.05)
        _whiskers(axis, place, value, low, high, colour)
        axis.scatter(place, value, s=32, color=colour, label=name, zorder=4)
    axis.axhline(0.0, color=INK, linewidth=0.8)
    axis.set_xticks(x, regions, fontsize=9)
    axis.tick_params(axis="x", length=0)
    if panel.title:
        axis.set_title(panel.title, fontsize=10.5, fontweight="normal")


def _whiskers(axis: Any, x: Float64, value: Float64, low: Float64, high: Float64, colour: str) -> None:
    error = np.nan_to_num(np.stack([value - low, high - value])).clip(min=0.0)
    axis.errorbar(x, value, yerr=error, fmt="none", ecolor=colour, elinewidth=1.4, capsize=2.5, zorder=3)
