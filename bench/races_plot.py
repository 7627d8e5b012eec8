"""The plot of a campaign: how many times what voxridge takes the fastest peer takes, in time and in
memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.shapes import SHAPES
from bench.tables import Row

_ROOM = 2.2  # a bar that long has room for its number
_TIME, _MEMORY, _OTHER, _TARGET = "#2a6f97", "#8a5a83", "#9aa5ad", "#c1440e"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars with bands for the fastest peer of every shape, marks for the other peers, lines for the
    targets."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    raced = [row for row in rows if row.get("fastest")]
    height = 1.3 + 0.48 * len(raced)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, height), sharey=True, layout="constrained", width_ratios=(3, 2)
    )
    places = list(range(len(raced)))[::-1]
    for place, row in zip(places, raced, strict=True):
        _bar(left, place, row, "time_ratio", _TIME)
        _bar(right, place, row, "peak_ratio", _MEMORY)
        others = [r for r in rows if r["shape"] == row["shape"] and r.get("time_ratio") and r is not row]
        times = [r["time_ratio"] for r in others if r["competitor"] not in ("voxridge", "null")]
        left.plot(times, [place] * len(times), "|", color=_OTHER, ms=11, mew=1.8, label="other solvers")
    for axis, targets in ((left, {3: "none below 3", 12: "mean 12"}), (right, {3: "a third"})):
        for value, words in targets.items():
            axis.axvline(value, color=_TARGET, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
            axis.text(value, 1.01, words, color=_TARGET, fontsize=8, ha="center", transform=_above(axis))
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    left.set_yticks(places, [_label(row) for row in raced], fontsize=8.5)
    left.set_xlabel("time of the fastest peer / time of voxridge")
    right.set_xlabel("its peak memory / voxridge's")
    _ticks(left, max(float(row["time_ratio_max"]) for row in rows if row.get("time_ratio_max")), 14)
    _ticks(right, max(float(row["peak_ratio"]) for row in raced), 4)
    drawn = [line for line in left.lines if line.get_label() == "other solvers" and len(line.get_xdata())]
    if drawn:
        left.legend(handles=drawn[:1], fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=140)
    plt.close(figure)


def _bar(axis: Any, place: int, row: Row, column: str, colour: str) -> None:
    """From 1, which is voxridge."""
    value = float(row[column])
    axis.barh(place, value - 1, left=1, height=0.56, color=colour, zorder=1)
    if column == "time_ratio":
        band = [[value - float(row["time_ratio_min"])], [float(row["time_ratio_max"]) - value]]
        axis.errorbar(value, place, xerr=band, fmt="none", ecolor="black", capsize=3, linewidth=1.2, zorder=3)
    inside = value >= _ROOM
    words = f"{value:.1f}" if value < 100 else f"{value:.0f}"
    colour = "white" if inside else "black"
    start = 1.0 if inside else max(1.0, value)
    axis.annotate(
        words, (start, place), (6, 0), textcoords="offset points", va="center", color=colour, fontsize=9
    )


def _label(row: Row) -> str:
    shape = SHAPES[row["shape"]]
    sizes = f"{shape.n_samples} × {shape.n_columns} × {shape.n_targets:,}"
    return f"{row['shape']}  ({sizes})\nagainst {row['competitor']}"


def _above(axis: Any) -> Any:
    """Data along x, the axis along y."""
    return axis.get_xaxis_transform()


def _ticks(axis: Any, most: float, least: float) -> None:
    ticks = [value for value in (1, 2, 3, 5, 12, 20, 50, 100, 200) if value <= 2 * most]
    axis.set(xscale="log", xlim=(0.9, 1.25 * max(most, least)))
    axis.set_xticks(ticks, [str(value) for value in ticks])
    axis.minorticks_off()
