"""The plot of bench.growth: small multiples on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.tables import Row

_OURS, _PEER = "#2a6f97", "#c1440e"
_TITLES = {
    "n_samples": "samples",
    "n_features": "features",
    "n_targets": "targets",
    "n_alphas": "penalties",
    "n_folds": "folds",
}


def plot(rows: Sequence[Row], slopes: Sequence[Row], path: Path) -> None:
    """A column for every size, time above and added memory below; exponents of growth beside the lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    axes = list(dict.fromkeys(row["axis"] for row in rows))
    figure, panels = plt.subplots(
        2,
        len(axes),
        figsize=(1.2 + 2.1 * len(axes), 4.6),
        sharey="row",
        sharex="col",
        squeeze=False,
        layout="constrained",
    )
    by_axis = {line["axis"]: line for line in slopes}
    for column, axis in enumerate(axes):
        chosen = [row for row in rows if row["axis"] == axis]
        for panel, field in zip(panels[:, column], ("seconds", "increment_mib"), strict=True):
            _panel(panel, chosen, field, by_axis.get(axis, {}))
        panels[0, column].set_title(_TITLES[axis], fontsize=10)
        panels[1, column].set_xticks(*_ticks(chosen))
        panels[1, column].minorticks_off()
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("MiB that the fit adds")
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    figure.savefig(path, dpi=140)
    plt.close(figure)


def _panel(panel: Any, rows: Sequence[Row], field: str, slopes: Row) -> None:
    panel.set(xscale="log", yscale="log")
    values = [row["value"] for row in rows]
    lines = (("voxridge", field, _OURS, "o"), ("himalaya, its faster solver", f"peer_{field}", _PEER, "s"))
    places = ((0.96, 0.05, "right"), (0.05, 0.92, "left"))  # below the lower line, above the upper one
    for (x, y, side), (label, column, colour, marker) in zip(places, lines, strict=True):
        heights = [row[column] for row in rows]
        panel.plot(values, heights, color=colour, marker=marker, ms=4, lw=1.4, label=label)
        if column in slopes:
            words = f"exponent {slopes[column]:.2f}"
            panel.text(x, y, words, transform=panel.transAxes, color=colour, fontsize=8, ha=side)
    panel.margins(y=0.16)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.6)


def _ticks(rows: Sequence[Row]) -> tuple[list[float], list[str]]:
    """The least, the middle and the largest value: more would run into each other."""
    values = sorted(row["value"] for row in rows)
    chosen = sorted({values[0], values[len(values) // 2], values[-1]})
    return chosen, [f"{value:,}" for value in chosen]
