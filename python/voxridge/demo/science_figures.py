"""Figures that set found against true in the simulated study."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.findings import Finding
from voxridge.demo.session import SimulatedModel
from voxridge.report.style import BLUE, GRID, INK, MUTED, VERMILION, look, new_figure
from voxridge.science._lines import short_number
from voxridge.science.intervals import mean_interval

Float64 = NDArray[np.float64]


def recovery_figure(rows: Sequence[Finding]) -> Any:
    """Interval and truth of every row; rows of one unit share a panel."""
    panels = {unit: list(group) for unit, group in itertools.groupby(rows, key=lambda row: row.unit)}
    heights = [len(group) + 1.2 for group in panels.values()]
    with look():
        figure = new_figure(9.4, 0.27 * sum(heights) + 0.9)
        axes = figure.subplots(len(panels), 1, height_ratios=heights)
        for (unit, group), panel in zip(panels.items(), np.atleast_1d(axes), strict=True):
            _panel(panel, unit, group)
        handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize=9.5)
    return figure


def _panel(axes: Any, unit: str, rows: Sequence[Finding]) -> None:
    places = np.arange(len(rows))
    for place, row in zip(places, rows, strict=True):
        colour = BLUE if row.inside else VERMILION
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
        axes.plot(row.found, place, "o", color=colour, markersize=6)
    axes.plot([], [], "o-", color=BLUE, label="found, 95 % interval over listeners")
    axes.plot([], [], "o-", color=VERMILION, label="the same, truth outside")
    truth = [row.truth for row in rows]
    axes.scatter(truth, places, marker="D", s=34, facecolor="white", edgecolor=INK, zorder=4, label="truth")
    axes.set_yticks(places, [f"{row.topic}, {row.name}" for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID)
    axes.grid(visible=False, axis="y")
    if min(min(row.low, row.truth) for row in rows) < 0.02:
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
    axes.set_title(unit, fontsize=10.5)


def trends_figure(
    models: Sequence[SimulatedModel],
    panels: Mapping[str, tuple[Float64, Float64]],
    *,
    labels: Sequence[str],
) -> Any:
    """Scores of each listener against the models' size, and the truth; ``panels``: title ->
    ((n_listeners, n_models), (n_models,) truth), ``labels`` of their vertical axes."""
    with look():
        figure = new_figure(3.3 * len(panels), 3.7)
        axes = np.atleast_1d(figure.subplots(1, len(panels)))
        for panel, (title, (found, truth)), label in zip(axes, panels.items(), labels, strict=True):
            _trend(panel, models, found, truth)
            panel.set(title=title, ylabel=label, xlabel="nominal parameters")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=3, fontsize=9.5)
    return figure


def _trend(axes: Any, models: Sequence[SimulatedModel], found: Float64, truth: Float64) -> None:
    sizes = [model.parameters for model in models]
    axes.plot(sizes, found.T, color=MUTED, linewidth=0.9, alpha=0.7)
    axes.plot([], [], color=MUTED, linewidth=0.9, label="one listener")
    mean = mean_interval(found)
    error = np.stack([mean.mean - mean.low, mean.high - mean.mean])
    axes.errorbar(
        sizes, mean.mean, error, color=BLUE, marker="o", capsize=4, linewidth=1.8, label="mean, 95 % interval"
    )
    axes.plot(
        sizes,
        truth,
        color=VERMILION,
        linestyle=(0, (4, 3)),
        linewidth=1.5,
        marker="D",
        markerfacecolor="white",
        zorder=5,
        label="truth",
    )
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{short_number(model.parameters)}\n{model.name}" for model in models])
    axes.minorticks_off()
    axes.set_xlim(min(sizes) / 2.2, max(sizes) * 2.2)
    if min(found.min(), truth.min()) < 0.06:
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
