"""Scores against the size of models: one panel, or one for each region."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.labels import label_points
from voxridge.report.style import INK, MUTED, SERIES, VERMILION, look, new_figure
from voxridge.science._lines import short_number
from voxridge.science.saturation import PlateauTest
from voxridge.science.scaling import ScalingFit

Float64 = NDArray[np.float64]

# Two of Tol's muted colours beyond Okabe and Ito's.
_COLOURS = (*SERIES, INK, "#882255", "#999933")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")
_LABELS = {"parameters": "number of parameters", "hours": "hours of training data"}
_LABELS |= {"stories": "stories trained on", "hellaswag": "HellaSwag (% correct)"}


def scaling_figure(
    fit: ScalingFit,
    *,
    title: str = "",
    score: str = "held-out correlation r",
    lines: tuple[Float64, Float64] | None = None,
    lines_name: str = "subject",
    plateau: PlateauTest | None = None,
    zero: bool = False,
    baseline: str | float = "smallest",
) -> Any:
    """One point a model, marked by family and named, with the line and its 95 % band.

    The band is that of the line, from classical errors; the text gives the interval over families where there
    are families. A plateau is drawn only where the test says that the scores flatten.

    Parameters
    ----------
    fit : ScalingFit
        Of a single series.
    title : str
    score : str
        Label of the vertical axis.
    lines : (slopes, intercepts), two ndarrays (n_lines,), optional
        Further thin lines, such as one for each subject.
    lines_name : str
        What a thin line is.
    plateau : PlateauTest, optional
    zero : bool
        Draw a line at 0, and leave percentages out: for differences.
    baseline : "smallest", "largest", "mean" or float
        Of the percentages.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a fit of several targets, or one with too few scores for a line.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.scaling import scaling_figure
    >>> from voxridge.science.scaling import fit_scaling
    >>> fit = fit_scaling([1.2e8, 1.3e9, 1.3e10], [0.2, 0.24, 0.27], names=["S", "M", "L"])
    >>> scaling_figure(fit, title="Three models").savefig("scaling.png")
    """
    if fit.scores.ndim != 1:
        raise ValueError(f"fit has scores of shape {fit.scores.shape}: draw one series, or rois_figure")
    if not np.isfinite(fit.slope):
        raise ValueError(
            f"fit has {int(fit.n_models)} {fit.points} with a score, and no line: give 3 or more"
        )
    with look():
        figure = new_figure(8.2, 5.4)
        axes = figure.add_subplot()
        styles = family_styles([fit])
        _panel(axes, fit, styles, zero=zero)
        if lines is not None:
            _thin_lines(axes, fit, lines, lines_name)
        if plateau is not None:
            _plateau(axes, fit, plateau)
        _scale(axes, fit)
        axes.set_xlabel(axis_label(fit))
        axes.set_ylabel(score)
        axes.set_title(fill(title, 84))
        box = _text(axes, fit, _words(fit, None if zero else baseline), 9.0)
        _legend(figure, styles, axes)
        _make_room(axes, fit, box)
        known = np.isfinite(fit.scores)
        named = [name for name, there in zip(fit.names, known, strict=True) if there]
        ends = np.linspace(fit.u.min(), fit.u.max(), 120)
        along = 10**ends if fit.log else ends
        curve = along, fit.predict(along)
        label_points(axes, fit.x[known], fit.scores[known], named, size=7.6, boxes=[box], curve=curve)
    return figure


def rois_figure(
    fits: Mapping[str, ScalingFit],
    *,
    score: str = "held-out correlation r",
    zero: bool = False,
    columns: int = 3,
    title: str = "",
) -> Any:
    """A small panel for each region; with ``zero`` for left minus right.

    Vertical axes have the same length everywhere, and with ``zero`` the same ends, so slopes may be compared
    by eye.

    Parameters
    ----------
    fits : mapping of name to ScalingFit
        Of the same models and predictor.
    score : str
        Label of the vertical axes.
    zero : bool
        Draw lines at 0.
    columns : int
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without a fit.

    Examples
    --------
    >>> from voxridge.report.scaling import rois_figure
    >>> from voxridge.science.scaling import fit_scaling
    >>> sizes = [1.2e8, 1.3e9, 1.3e10]
    >>> fits = {"STS": fit_scaling(sizes, [0.2, 0.24, 0.27]), "IFG": fit_scaling(sizes, [0.1, 0.12, 0.15])}
    >>> rois_figure(fits).savefig("regions.png")
    """
    if not fits:
        raise ValueError("fits is empty: give at least one region")
    across = min(columns, len(fits))
    down = math.ceil(len(fits) / across)
    with look():
        figure = new_figure(2.9 * across + 0.6, 2.5 * down + 0.9)
        grid = figure.subplots(down, across, sharex=True, sharey=zero, squeeze=False)
        styles = family_styles(list(fits.values()))
        panels = list(grid.flat)
        for axes, (name, fit) in zip(panels, fits.items(), strict=False):
            _panel(axes, fit, styles, zero=zero, small=True)
            axes.set_title(name, fontsize=10)
            _text(axes, fit, _short_words(fit) if np.isfinite(fit.slope) else "too few scores", 7.4)
        if zero:
            low, high = panels[0].get_ylim()
            panels[0].set_ylim(low, high + 0.3 * (high - low))
        else:
            _same_height(panels, list(fits.values()))
        _scale(panels[0], next(iter(fits.values())), small=True)
        for place, axes in enumerate(panels):
            if place >= len(fits):
                axes.set_axis_off()
            elif place + across >= len(fits):  # the lowest of its column
                axes.set_xlabel(axis_label(fits[next(iter(fits))]), fontsize=9)
                axes.tick_params(labelbottom=True)
        figure.supylabel(score, fontsize=10.5, color=INK)
        if title:
            figure.suptitle(title, fontsize=11.5, fontweight="bold", x=0.02, ha="left")
        _legend(figure, styles, panels[0])
    return figure


def family_styles(fits: Sequence[ScalingFit]) -> dict[str, tuple[str, str]]:
    """Colour and marker of every family; no two families have the same pair."""
    families = dict.fromkeys(name for fit in fits for name in (fit.families or (fit.points,)))
    return {
        name: (_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i, name in enumerate(families)
    }


def axis_label(fit: ScalingFit) -> str:
    """Label of the horizontal axis."""
    name = _LABELS.get(fit.predictor, fit.predictor)
    return f"{name} (logarithmic)" if fit.log else name


def _panel(
    axes: Any, fit: ScalingFit, styles: Mapping[str, tuple[str, str]], *, zero: bool, small: bool = False
) -> None:
    u = fit.u
    margin = 0.04 * np.ptp(u)
    grid = np.linspace(u.min() - margin, u.max() + margin, 120)
    x = 10**grid if fit.log else grid
    low, high = fit.band(x)
    axes.fill_between(x, low, high, color=MUTED, alpha=0.16, linewidth=0)
    axes.plot(x, fit.predict(x), color=INK, linewidth=1.3 if small else 1.7)
    families = np.asarray(fit.families or (fit.points,) * len(fit.x))
    for name, (colour, marker) in styles.items():
        rows = families == name
        axes.scatter(
            fit.x[rows],
            fit.scores[rows],
            s=(20 if small else 46) * (1.5 if marker in "PX" else 1.0),
            color=colour,
            marker=marker,
            edgecolor="white",
            linewidths=0.4 if small else 0.7,
            zorder=4,
        )
    if zero:
        axes.axhline(0.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))


def _same_height(panels: Sequence[Any], fits: Sequence[ScalingFit]) -> None:
    """Vertical axes of one length around each panel's own scores, so that equal slopes look equal."""
    known = [fit.scores[np.isfinite(fit.scores)] for fit in fits]
    ranges = [(float(scores.min()), float(scores.max())) if scores.size else (0.0, 0.0) for scores in known]
    height = max(high - low for low, high in ranges) or 1.0
    for axes, (low, high) in zip(panels, ranges, strict=False):
        middle = (low + high) / 2
        # Above the points there is room for the numbers.
        axes.set_ylim(middle - 0.6 * height, middle + 0.95 * height)


def _thin_lines(axes: Any, fit: ScalingFit, lines: tuple[Float64, Float64], name: str) -> None:
    ends = np.array([fit.u.min(), fit.u.max()])
    for slope, intercept in zip(*lines, strict=True):
        axes.plot(
            fit.x[[fit.u.argmin(), fit.u.argmax()]], intercept + slope * ends, color=MUTED, lw=0.8, alpha=0.7
        )
    axes.plot([], [], color=MUTED, lw=0.8, alpha=0.7, label=f"line of one {name}")
    axes.plot([], [], color=INK, lw=1.7, label="line of the mean")


def _plateau(axes: Any, fit: ScalingFit, plateau: PlateauTest) -> None:
    shape = plateau.flattening
    if plateau.verdict != "flattens" or shape is None:
        return
    grid = np.linspace(fit.u.min(), fit.u.max(), 200)
    x = 10**grid if fit.log else grid
    words = (
        "flattening curve" if shape.name == "saturating" else f"flat from {short_number(plateau.breakpoint)}"
    )
    axes.plot(
        x, plateau.curve(shape.name, x), color=VERMILION, linewidth=1.7, linestyle=(0, (5, 2)), label=words
    )


def _scale(axes: Any, fit: ScalingFit, *, small: bool = False) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    if not fit.log:
        return
    axes.set_xscale("log")
    decades = np.ptp(fit.u)
    subs = (
        (1.0,)
        if decades > 3.5 or (small and decades > 1.6)
        else ((1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0))
    )
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _words(fit: ScalingFit, baseline: str | float | None) -> str:
    ends = fit.interval
    per = "per decade" if fit.log else "per unit"
    over = {"families": f"over {ends.n_groups} families", "classical": f"over {ends.n_groups} {fit.points}"}
    text = f"slope {_sign(ends.slope, '.3g')} {per}\n{100 * ends.level:g} % {over[ends.method]}: "
    text += f"{_sign(ends.low, '.3g')} to {_sign(ends.high, '.3g')}"
    text += f"\nr = {_sign(fit.r, '.2f')}, n = {int(fit.n_models)} {fit.points}"
    if baseline is not None:
        gain = fit.gain(baseline)
        step = gain.per_decade if fit.log else gain.per_unit
        doubling = f", {_sign(gain.per_doubling, '+.1f')} % per doubling" if fit.log else ""
        text += f"\n{_sign(step, '+.1f')} % {per}{doubling}\n(of {gain.baseline})"
    return text


def _short_words(fit: ScalingFit) -> str:
    ends = fit.interval
    slope, low, high = (_sign(value, ".2g") for value in (ends.slope, ends.low, ends.high))
    return f"{slope} ({low} to {high})\nr = {_sign(fit.r, '.2f')}"


def _sign(value: Any, form: str) -> str:
    """The number with a minus sign instead of a hyphen, but for exponents."""
    text = format(float(value), form)
    return "−" + text[1:] if text.startswith("-") else text


def _text(axes: Any, fit: ScalingFit, words: str, size: float) -> Any:
    """The numbers in the upper corner that the line leaves free."""
    right = bool(fit.slope < 0)
    return axes.text(
        0.975 if right else 0.025,
        0.97,
        words,
        transform=axes.transAxes,
        ha="right" if right else "left",
        va="top",
        fontsize=size,
        linespacing=1.35,
        zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5},
    )


def _make_room(axes: Any, fit: ScalingFit, box: Any) -> None:
    """Raise the upper end of the axis until the text covers no point."""
    low, first = axes.get_ylim()
    for _ in range(8):
        axes.figure.draw_without_rendering()
        points = axes.transData.transform(np.column_stack([fit.x, fit.scores]))
        corners = box.get_window_extent(axes.figure.canvas.get_renderer()).padded(6)
        if not any(corners.contains(*point) for point in points if np.isfinite(point).all()):
            return
        axes.set_ylim(low, axes.get_ylim()[1] + 0.08 * (first - low))


def _legend(figure: Any, styles: Mapping[str, tuple[str, str]], axes: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            color=colour,
            marker=marker,
            markeredgecolor="white",
            markersize=7,
            label=name,
        )
        for name, (colour, marker) in styles.items()
    ]
    handles += axes.get_legend_handles_labels()[0]
    if len(handles) > 1:
        longest = max(len(str(handle.get_label())) for handle in handles)
        across = max(1, min(5, len(handles), int(13 * figure.get_figwidth() / (longest + 7))))
        figure.legend(handles=handles, loc="outside lower left", ncols=across, fontsize=9)
