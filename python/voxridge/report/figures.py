"""Bars, and figures of the demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.style import BLUE, GRID, INK, MANY, MUTED, SERIES, VERMILION, look, new_figure, shortened
from voxridge.science.intervals import mean_interval

Float64 = NDArray[np.float64]


def bars_figure(
    groups: Sequence[str],
    series: Mapping[str, Float64],
    *,
    title: str,
    repeats: str,
    marks: Mapping[str, Float64] | None = None,
    marks_label: str = "",
) -> Any:
    """Grouped bars with 95 % intervals and the single repeats as dots.

    Parameters
    ----------
    groups : names along the axis
    series : name -> (n_repeats, n_groups)
    title : str
    repeats : what a dot is, "listener" for example
    marks : name -> (n_groups,), drawn as a diamond over the series of the same name
    marks_label : what the diamonds are

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For more series than can be told apart (nine).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import bars_figure
    >>> series = {"word rate": np.full((5, 2), 0.1), "model": np.array([[0.2, 0.3]] * 5)}
    >>> figure = bars_figure(["auditory", "language"], series, title="Areas", repeats="listener")
    >>> figure.savefig("bars.png")
    """
    if len(series) > len(MANY):
        raise ValueError(f"{len(series)} series cannot be told apart: draw at most {len(MANY)} at once")
    rng = np.random.default_rng(0)
    crowded = len(groups) * max(map(len, groups)) > 70
    with look():
        figure = new_figure(min(11.0, max(7.4, 0.16 * len(groups) * len(series))), 4.6 if crowded else 4.2)
        axes = figure.add_subplot()
        width = 0.8 / len(series)
        for position, ((name, values), colour) in enumerate(zip(series.items(), MANY, strict=False)):
            interval = mean_interval(values)
            x = np.arange(len(groups)) + (position - (len(series) - 1) / 2) * width
            axes.bar(x, interval.mean, width=0.92 * width, color=colour, alpha=0.82, label=name)
            jitter = rng.uniform(-0.28, 0.28, values.shape) * width
            axes.scatter(x + jitter, values, s=7, color=INK, alpha=0.28, linewidths=0, zorder=3)
            error = np.stack([interval.mean - interval.low, interval.high - interval.mean])
            axes.errorbar(
                x, interval.mean, yerr=error, fmt="none", ecolor=INK, elinewidth=1.4, capsize=3, zorder=4
            )
            if marks is not None and name in marks:
                axes.scatter(
                    x,
                    marks[name],
                    marker="D",
                    s=42,
                    facecolor="white",
                    edgecolor=colour,
                    linewidths=1.8,
                    zorder=5,
                    label=f"{name}: {marks_label}",
                )
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        axes.set_xticks(np.arange(len(groups)), [shortened(group, 28) for group in groups], **turned)
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("held-out correlation r")
        axes.set_title(f"{title}; bars: mean and 95 %, dots: single {repeats}s")
        figure.legend(loc="outside lower left", ncols=2 if len(series) < 5 else 3, fontsize=9.5)
    return figure


def truth_figure(known: Float64, recovered: Float64, groups: Mapping[str, NDArray[np.bool_]]) -> Any:
    """Recovered against best reachable correlation, one point per target, and the line that cannot be
    passed.

    Parameters
    ----------
    known, recovered : ndarray (n_targets,)
        The best reachable correlation, and the one found.
    groups : mapping of name to ndarray of bool (n_targets,)

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import truth_figure
    >>> known = np.linspace(0, 0.8, 50)
    >>> truth_figure(known, 0.8 * known, {"all": np.ones(50, dtype=bool)}).savefig("truth.png")
    """
    with look():
        figure = new_figure(6.2, 4.8)
        axes = figure.add_subplot()
        top = float(max(np.nanmax(known), np.nanmax(recovered))) * 1.05
        for (name, members), colour in zip(groups.items(), SERIES, strict=False):
            axes.scatter(
                known[members],
                recovered[members],
                s=5,
                color=colour,
                alpha=0.25,
                linewidths=0,
                rasterized=True,
            )
            axes.scatter([], [], s=28, color=colour, label=name)
        axes.plot(
            [0, top], [0, top], color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label="perfect recovery"
        )
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        axes.set_xlim(-0.02, top)
        axes.set_xlabel("best reachable correlation (known from the simulation)")
        axes.set_ylabel("recovered: held-out correlation r")
        axes.set_title("Truth and recovery, one dot per vertex")
        axes.legend(loc="upper left", fontsize=9.5)
    return figure


def sides_figure(names: Sequence[str], truth: Float64, recovered: Float64) -> Any:
    """Left and right mean of each area, truth as outline and recovery as bar; arrays (n_areas, 2).

    Parameters
    ----------
    names : sequence of str (n_areas,)
    truth, recovered : ndarray (n_areas, 2)
        Left and right.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import sides_figure
    >>> sides_figure(["a", "b"], np.full((2, 2), 0.5), np.full((2, 2), 0.4)).savefig("sides.png")
    """
    with look():
        figure = new_figure(7.4, 3.9)
        axes = figure.add_subplot()
        for side, (label, colour) in enumerate((("left", BLUE), ("right", VERMILION))):
            x = np.arange(len(names)) + (side - 0.5) * 0.4
            axes.bar(x, recovered[:, side], width=0.36, color=colour, label=f"{label}: recovered")
            axes.bar(
                x,
                truth[:, side],
                width=0.36,
                facecolor="none",
                edgecolor=INK,
                linewidth=1.2,
                label="best reachable" if side == 0 else None,
            )
        axes.set_xticks(np.arange(len(names)), [name.replace(" ", "\n") for name in names])
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("mean correlation r")
        axes.set_title("Left and right, area by area")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=3, fontsize=9.5)
        axes.spines["bottom"].set_color(GRID)
    return figure


def folds_figure(folds: Sequence[str], series: Mapping[str, Float64], *, title: str) -> Any:
    """A line per model over the outer folds; values (n_folds,).

    Parameters
    ----------
    folds : sequence of str (n_folds,)
        Names along the axis.
    series : mapping of name to ndarray (n_folds,)
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import folds_figure
    >>> folds_figure(["1", "2"], {"model": np.array([0.1, 0.2])}, title="Folds").savefig("folds.png")
    """
    with look():
        figure = new_figure(7.4, 3.4)
        axes = figure.add_subplot()
        for (name, values), colour in zip(series.items(), SERIES, strict=False):
            axes.plot(np.arange(len(folds)), values, color=colour, marker="o", label=name)
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        axes.set_xticks(np.arange(len(folds)), folds)
        axes.set_ylabel("held-out correlation r")
        axes.set_title(title)
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=3, fontsize=9.5)
    return figure


def alignment_figure(
    seconds: Sequence[float], curves: Mapping[str, Float64], control: Mapping[str, float]
) -> Any:
    """Scores against a shift in seconds; ``control``: level of the dashed line of the same name.

    Parameters
    ----------
    seconds : sequence of float (n_shifts,)
        Along the axis.
    curves : mapping of name to ndarray (n_shifts,)
    control : mapping of name to float

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import alignment_figure
    >>> curves = {"model": np.array([0.1, 0.3, 0.1])}
    >>> alignment_figure([-2.0, 0.0, 2.0], curves, {"model": 0.12}).savefig("alignment.png")
    """
    with look():
        figure = new_figure(7.4, 3.6)
        axes = figure.add_subplot()
        for (name, values), colour in zip(curves.items(), SERIES, strict=False):
            axes.plot(seconds, values, color=colour, marker="o", markersize=4, label=name)
            axes.axhline(control[name], color=colour, linestyle=(0, (4, 3)), linewidth=1.3)
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        axes.set_xlabel("shift of the language model's features (seconds)")
        axes.set_ylabel("held-out correlation r")
        axes.set_title("Score when the language model is moved in time")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.19), ncols=2, fontsize=9.5)
    return figure
