"""Bars and scatter plots of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.style import BLUE, GRID, INK, MUTED, SERIES, VERMILION, look, new_figure
from voxridge.science.intervals import mean_interval

if TYPE_CHECKING:
    from voxridge.study.comparison import Comparison

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

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import bars_figure
    >>> series = {"word rate": np.full((5, 2), 0.1), "model": np.array([[0.2, 0.3]] * 5)}
    >>> figure = bars_figure(["auditory", "language"], series, title="Areas", repeats="listener")
    >>> figure.savefig("bars.png")
    """
    rng = np.random.default_rng(0)
    with look():
        figure = new_figure(7.4, 4.2)
        axes = figure.add_subplot()
        width = 0.8 / len(series)
        for position, ((name, values), colour) in enumerate(zip(series.items(), SERIES, strict=False)):
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
        axes.set_xticks(np.arange(len(groups)), groups)
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("held-out correlation r")
        axes.set_title(f"{title}; bars: mean and 95 % interval, dots: single {repeats}s")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.09), ncols=2, fontsize=9.5)
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


def subjects_figure(subjects: Sequence[str], models: Sequence[str], scores: Float64, control: Float64) -> Any:
    """Small multiples, one panel per subject: the score of every model, beside the control's level.

    Parameters
    ----------
    subjects, models : sequences of str
    scores : ndarray (n_subjects, n_models)
    control : ndarray (n_subjects,)
        Drawn as a dashed line.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import subjects_figure
    >>> scores = np.array([[0.1, 0.2], [0.2, 0.3]])
    >>> subjects_figure(["S1", "S2"], ["small", "large"], scores, np.array([0.1, 0.1])).savefig("s.png")
    """
    columns = min(4, len(subjects))
    rows = -(-len(subjects) // columns)
    with look():
        figure = new_figure(max(4.2, 2.3 * columns), 2.3 * rows + 0.7)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, (name, own, level) in zip(
            axes.flat, zip(subjects, scores, control, strict=True), strict=False
        ):
            places = np.arange(len(models))
            panel.axhline(level, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
            panel.axhline(0.0, color=MUTED, linewidth=0.8)
            panel.plot(places, own, color=GRID, linewidth=1.2, zorder=1)
            panel.scatter(places, own, c=[SERIES[i % len(SERIES)] for i in places], s=34, zorder=2)
            panel.set_title(name, fontsize=10.5)
            panel.set_xticks(places, models, rotation=40, ha="right", fontsize=8.5)
            panel.set_xlim(-0.6, len(models) - 0.4)
        for panel in axes.flat[len(subjects) :]:
            panel.set_visible(False)
        figure.supylabel("held-out correlation r", fontsize=10.5)
    return figure


def ceiling_figure(ceiling: Float64, scores: Float64, *, low: Float64 | None = None, name: str = "") -> Any:
    """Score against ceiling, one dot per target, and the line where they are equal.

    Parameters
    ----------
    ceiling, scores : ndarray (n_targets,)
    low : ndarray (n_targets,), optional
        Lower end of the ceiling's interval: targets whose ceiling may be 0 are drawn in grey.
    name : str
        In the title.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import ceiling_figure
    >>> ceiling = np.linspace(0.1, 0.8, 50)
    >>> ceiling_figure(ceiling, 0.7 * ceiling, low=ceiling - 0.2).savefig("ceiling.png")
    """
    known = np.isfinite(ceiling) & np.isfinite(scores)
    sure = known if low is None else known & (low > 0)
    with look():
        figure = new_figure(6.2, 4.8)
        axes = figure.add_subplot()
        size = 14 if known.sum() < 400 else 4
        drawn = {"ceiling above 0": (sure, BLUE), "ceiling not surely above 0": (known & ~sure, MUTED)}
        for label, (members, colour) in drawn.items():
            if members.any():
                axes.scatter(
                    ceiling[members],
                    scores[members],
                    s=size,
                    color=colour,
                    alpha=0.5,
                    linewidths=0,
                    rasterized=True,
                    label=f"{label}: {int(members.sum()):,}",
                )
        top = 1.05 * float(max(np.max(ceiling[known], initial=0.1), np.max(scores[known], initial=0.1)))
        axes.plot(
            [0, top], [0, top], color=INK, linestyle=(0, (4, 3)), linewidth=1.0, label="score = ceiling"
        )
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        axes.set_xlim(-0.02, top)
        axes.set_xlabel("ceiling of r")
        axes.set_ylabel("held-out correlation r")
        axes.set_title(f"Scores and ceilings{', ' + name if name else ''}; one dot per target")
        axes.legend(loc="upper left", fontsize=9.5)
    return figure


def weights_figure(names: Sequence[str], weights: Float64, *, repeats: str = "target") -> Any:
    """How the convex weights of stacked models are spread, one violin-like row of dots per model.

    Parameters
    ----------
    names : sequence of str (n_models,)
    weights : ndarray (n_models, n_targets)
        NaN targets are left out.
    repeats : str
        What a weight belongs to.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import weights_figure
    >>> weights_figure(["text", "audio"], np.array([[0.2, 0.7, 1.0], [0.8, 0.3, 0.0]])).savefig("w.png")
    """
    known = weights[:, np.isfinite(weights).all(axis=0)]
    bins = np.linspace(0.0, 1.0, 11)
    with look():
        figure = new_figure(7.4, 3.6)
        axes = figure.add_subplot()
        width = 0.084 / len(names)
        for position, (name, own) in enumerate(zip(names, known, strict=True)):
            share = np.histogram(own, bins)[0] / max(own.size, 1)
            offset = (position - (len(names) - 1) / 2) * width
            label = f"{name}: mean {own.mean():.2f}" if own.size else name
            colour = SERIES[position % len(SERIES)]
            axes.bar(bins[:-1] + 0.05 + offset, 100 * share, width=width, color=colour, label=label)
        axes.set_xlim(-0.01, 1.01)
        axes.set_xticks(bins)
        axes.set_xlabel("weight in the stack")
        axes.set_ylabel(f"% of {repeats}s")
        axes.set_title("Convex weights of the stacked models")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.19), ncols=3, fontsize=9.5)
    return figure


def pairs_figure(comparison: Comparison) -> Any:
    """Scores of a second model against those of a first, one panel per subject (the first twelve).

    Parameters
    ----------
    comparison : voxridge.study.comparison.Comparison

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.figures import pairs_figure
    >>> from voxridge.study.comparison import ComparedSubject, Comparison
    >>> subject = ComparedSubject(["a", "b"], ["1"], np.array([[0.1, 0.2]]), np.array([[0.2, 0.2]]))
    >>> pairs_figure(Comparison(("one", "two"), {"S1": subject}, None, [])).savefig("pairs.png")
    """
    subjects = dict(list(comparison.subjects.items())[:12])
    columns = min(4, len(subjects))
    rows = -(-len(subjects) // columns)
    means = {name: (s.first.mean(axis=0), s.second.mean(axis=0)) for name, s in subjects.items()}
    low = min(float(np.nanmin(values)) for pair in means.values() for values in pair)
    high = max(float(np.nanmax(values)) for pair in means.values() for values in pair)
    margin = 0.05 * (high - low) + 1e-3
    ends = low - margin, high + margin
    with look():
        figure = new_figure(max(4.6, 2.6 * columns), max(4.2, 2.5 * rows + 0.5))
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, (name, (first, second)) in zip(axes.flat, means.items(), strict=False):
            size = 16 if len(first) < 400 else 3
            panel.scatter(first, second, s=size, color=BLUE, alpha=0.5, linewidths=0, rasterized=True)
            panel.plot(ends, ends, color=INK, linestyle=(0, (4, 3)), linewidth=1.0)
            panel.set(xlim=ends, ylim=ends, aspect="equal")
            panel.set_title(name, fontsize=10.5)
        for panel in axes.flat[len(subjects) :]:
            panel.set_visible(False)
        figure.supxlabel(f"held-out r, {comparison.titles[0]}", fontsize=10.5)
        figure.supylabel(f"held-out r, {comparison.titles[1]}", fontsize=10.5)
    return figure
