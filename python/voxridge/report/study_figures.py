"""Figures of a study: subjects, ceilings, stacking weights, training data, two models beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.style import BLUE, GRID, INK, MUTED, SERIES, look, new_figure, shortened
from voxridge.science.intervals import mean_interval

if TYPE_CHECKING:
    from voxridge.study.comparison import Comparison

Float64 = NDArray[np.float64]
_MARKERS = ("o", "s", "^", "D", "v", "P")


def training_figure(sizes: Sequence[int], curves: Mapping[str, Float64], *, repeats: str) -> Any:
    """Score against the number of training runs, a line with its band per model.

    Parameters
    ----------
    sizes : sequence of int (n_sizes,)
    curves : mapping of model to ndarray (n_repeats, n_sizes)
    repeats : str
        What the bands run over.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.study_figures import training_figure
    >>> curve = np.array([[0.1, 0.2, 0.3], [0.1, 0.3, 0.4]])
    >>> training_figure([1, 2, 4], {"model": curve}, repeats="subjects").savefig("training.png")
    """
    with look():
        figure = new_figure(7.4, 4.0)
        axes = figure.add_subplot()
        for number, (name, values) in enumerate(curves.items()):
            colour, marker = SERIES[number % len(SERIES)], _MARKERS[number % len(_MARKERS)]
            interval = mean_interval(values)
            axes.fill_between(sizes, interval.low, interval.high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(sizes, interval.mean, color=colour, marker=marker, markersize=5, label=name)
        axes.set_xscale("log")
        axes.set_xticks(list(sizes), [str(size) for size in sizes])
        axes.minorticks_off()
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        axes.set_xlabel("runs trained on (logarithmic)")
        axes.set_ylabel("held-out correlation r")
        axes.set_title(f"Score by training data; bands: 95 % over {repeats}")
        figure.legend(loc="outside lower left", ncols=4, fontsize=9.5)
    return figure


def subjects_figure(
    subjects: Sequence[str],
    models: Sequence[str],
    scores: Float64,
    control: Float64,
    *,
    ends: tuple[Float64, Float64] | None = None,
) -> Any:
    """Small multiples, one panel per subject: the score of every model, beside the control's level.

    Parameters
    ----------
    subjects, models : sequences of str
    scores : ndarray (n_subjects, n_models)
    control : ndarray (n_subjects,)
        Drawn as a dashed line.
    ends : two ndarrays (n_subjects, n_models), optional
        Of the scores' intervals.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.study_figures import subjects_figure
    >>> scores = np.array([[0.1, 0.2], [0.2, 0.3]])
    >>> subjects_figure(["S1", "S2"], ["small", "large"], scores, np.array([0.1, 0.1])).savefig("s.png")
    """
    columns = min(4, len(subjects))
    rows = -(-len(subjects) // columns)
    with look():
        figure = new_figure(max(7.4, 2.3 * columns), 2.3 * rows + 0.7)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        places = np.arange(len(models))
        for row, (panel, name, own, level) in enumerate(
            zip(axes.flat, subjects, scores, control, strict=False)
        ):
            panel.axhline(level, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
            panel.axhline(0.0, color=MUTED, linewidth=0.8)
            panel.plot(places, own, color=GRID, linewidth=1.2, zorder=1)
            panel.scatter(places, own, c=[SERIES[i % len(SERIES)] for i in places], s=34, zorder=2)
            if ends is not None:
                panel.vlines(places, ends[0][row], ends[1][row], color=MUTED, linewidth=1.3, zorder=1)
            panel.set_title(shortened(name), fontsize=10.5)
            panel.set_xticks(
                places, [shortened(model) for model in models], rotation=40, ha="right", fontsize=8.5
            )
            panel.set_xlim(-0.6, len(models) - 0.4)
        for panel in axes.flat[len(subjects) :]:
            panel.set_axis_off()
        for panel in axes.flat[max(0, len(subjects) - columns) : len(subjects)]:
            panel.tick_params(labelbottom=True)  # also where the panel below is empty
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
    >>> from voxridge.report.study_figures import ceiling_figure
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
    >>> from voxridge.report.study_figures import weights_figure
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
            label = shortened(name) + (f": mean {own.mean():.2f}" if own.size else "")
            colour = SERIES[position % len(SERIES)]
            axes.bar(bins[:-1] + 0.05 + offset, 100 * share, width=width, color=colour, label=label)
        axes.set_xlim(-0.01, 1.01)
        axes.set_xticks(bins)
        axes.set_xlabel("weight in the stack")
        axes.set_ylabel(f"% of {repeats}s")
        axes.set_title("Convex weights of the stacked models")
        beside = 3 if max(map(len, names)) <= 12 else 2  # a wide legend would take the axes' room
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.19), ncols=beside, fontsize=9.5)
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
    >>> from voxridge.report.study_figures import pairs_figure
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
            panel.set_title(shortened(name), fontsize=10.5)
        for panel in axes.flat[len(subjects) :]:
            panel.set_visible(False)
        figure.supxlabel(f"held-out r, {comparison.titles[0]}", fontsize=10.5)
        figure.supylabel(f"held-out r, {comparison.titles[1]}", fontsize=10.5)
    return figure
