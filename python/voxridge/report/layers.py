"""The layer curve: how well each layer predicts, beside the word rate alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.style import GRID, INK, MUTED, SERIES, look, new_figure
from voxridge.science.intervals import mean_interval

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One group of targets, a line of the layer curve.

    Attributes
    ----------
    name : str
    layers : ndarray (n_layers, n_repeats)
        Scores.
    control : ndarray (n_repeats,), or None
        Scores of a control model, drawn beside.
    """

    name: str
    layers: Float64
    control: Float64 | None = None


def layer_figure(
    numbers: Sequence[int],
    curves: Sequence[Curve],
    *,
    control: str,
    repeats: str,
    true_layer: int | None = None,
    chosen: Sequence[int] = (),
) -> Any:
    """Mean score of every layer with a 95 % band over folds or subjects.

    Parameters
    ----------
    numbers : layer numbers, 0 is the embedding
    curves : one line each
    control : name of the control model, drawn as a dashed line per group
    repeats : what the band runs over, "outer folds" or "listeners"
    true_layer : marked when the truth is known
    chosen : layers chosen in the folds, marked along the bottom

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.layers import Curve, layer_figure
    >>> curve = Curve("language", np.array([[0.1, 0.2], [0.3, 0.2], [0.2, 0.1]]), np.array([0.05, 0.1]))
    >>> figure = layer_figure([0, 1, 2], [curve], control="word rate", repeats="outer folds")
    >>> figure.savefig("layers.png")
    """
    with look():
        figure = new_figure(7.4, 4.3)
        axes = figure.add_subplot()
        for curve, colour in zip(curves, SERIES, strict=False):
            interval = mean_interval(curve.layers, axis=1)
            if curve.control is not None:
                axes.fill_between(numbers, interval.low, interval.high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(numbers, interval.mean, color=colour, marker="o", markersize=3.5, label=curve.name)
            if curve.control is not None:
                label = f"{curve.name}: {control} alone"
                level = float(np.nanmean(curve.control))
                axes.axhline(level, color=colour, linestyle=(0, (4, 3)), linewidth=1.3, label=label)
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        if true_layer is not None:
            axes.axvline(true_layer, color=INK, linewidth=1.2, linestyle=":", label="layer of the truth")
        _mark_choices(axes, chosen)
        axes.set_xlabel("layer of the language model (0 = word embedding)")
        axes.set_ylabel("held-out correlation r")
        axes.set_xlim(min(numbers) - 0.6, max(numbers) + 0.6)
        axes.set_title(f"Score by layer; band: 95 % over {repeats}")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=2, fontsize=9.5)
        axes.spines["bottom"].set_color(GRID)
    return figure


def _mark_choices(axes: Any, chosen: Sequence[int]) -> None:
    """Small triangles on the lower edge, one per fold, for the layer that its inner folds chose."""
    if not chosen:
        return
    for layer, count in zip(*np.unique(np.asarray(chosen), return_counts=True), strict=True):
        axes.plot(
            layer,
            0.0,
            marker="^",
            color=INK,
            markersize=7,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            zorder=5,
        )
        if count > 1:
            axes.annotate(
                f"×{count}",
                (layer, 0.0),
                xycoords=("data", "axes fraction"),
                xytext=(6, 4),
                textcoords="offset points",
                fontsize=8.5,
            )
