"""Which penalties were chosen, and whether the grid was wide enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.style import SERIES, VERMILION, look, new_figure

Float64 = NDArray[np.float64]
EDGE_LIMIT = 0.01


@dataclass(frozen=True)
class EdgeShare:
    """Share of choices at the smallest and at the largest penalty of the grid.

    Attributes
    ----------
    smallest, largest : float
        Between 0 and 1.
    """

    smallest: float
    largest: float

    @property
    def total(self) -> float:
        """Share at either edge."""
        return self.smallest + self.largest

    @property
    def alarming(self) -> bool:
        """More than 1 % at an edge."""
        return self.total > EDGE_LIMIT

    def sentence(self, group: str) -> str:
        """The finding in words.

        Parameters
        ----------
        group : str
            What the choices are of.
        """
        text = f"{self.total:.1%} of the choices for {group} lie at an edge of the grid "
        text += f"({self.smallest:.1%} at the smallest, {self.largest:.1%} at the largest penalty)"
        return text + ("; a wider grid could change them." if self.alarming else ".")


def edge_share(chosen: Float64, grid: Float64) -> EdgeShare:
    """Share of the finite ``chosen`` penalties that are the first or the last of the sorted ``grid``.

    Parameters
    ----------
    chosen : ndarray of any shape
        Penalties; NaN are left out.
    grid : ndarray (n_alphas,)

    Returns
    -------
    EdgeShare

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.alpha import edge_share
    >>> edge_share(np.array([1.0, 10.0, 10.0, 100.0]), np.array([1.0, 10.0, 100.0])).total
    0.5
    """
    values = chosen[np.isfinite(chosen)]
    if values.size == 0 or len(grid) < 2:
        return EdgeShare(0.0, 0.0)
    low, high = float(np.min(grid)), float(np.max(grid))
    return EdgeShare(float(np.isclose(values, low).mean()), float(np.isclose(values, high).mean()))


def alpha_figure(grid: Float64, groups: Mapping[str, Float64]) -> Any:
    """Histogram of chosen penalties, one bar series per group of targets; the edges of the grid are
    shaded.

    Parameters
    ----------
    grid : ndarray (n_alphas,)
    groups : mapping of name to ndarray of any shape
        Chosen penalties; NaN are left out.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.alpha import alpha_figure
    >>> alpha_figure(np.logspace(0, 2, 3), {"all": np.array([1.0, 10.0, 10.0])}).savefig("alphas.png")
    """
    grid = np.sort(grid)
    step = float(np.diff(np.log10(grid)).min()) if len(grid) > 1 else 1.0
    with look():
        figure = new_figure(7.4, 3.4)
        axes = figure.add_subplot()
        places = np.log10(grid)
        width = 0.84 * step / len(groups)
        for position, ((name, chosen), colour) in enumerate(zip(groups.items(), SERIES, strict=False)):
            values = chosen[np.isfinite(chosen)]
            share = np.array([np.isclose(values, alpha).mean() if values.size else 0.0 for alpha in grid])
            offset = (position - (len(groups) - 1) / 2) * width
            axes.bar(places + offset, 100 * share, width=width, color=colour, label=name)
        for edge in (places[0], places[-1]):
            axes.axvspan(edge - step / 2, edge + step / 2, color=VERMILION, alpha=0.08, linewidth=0)
        axes.set_xlim(places[0] - 0.75 * step, places[-1] + 0.75 * step)
        axes.set_xlabel("log10 of the penalty chosen in the inner folds (edges of the grid shaded)")
        axes.set_ylabel("% of choices")
        axes.set_title("Chosen penalties")
        axes.legend(
            loc="upper left", bbox_to_anchor=(0.0, -0.2), ncols=2 if len(groups) < 5 else 3, fontsize=9.5
        )
    return figure
