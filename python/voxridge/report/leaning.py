"""Left minus right, region by region, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from voxridge.report.style import INK, MUTED, SERIES, look, new_figure
from voxridge.science.asymmetry import Lateralisation

_MOST = len(SERIES)


def leaning_figure(
    results: Mapping[str, Lateralisation],
    *,
    what: Literal["difference", "index"] = "difference",
    title: str = "Left minus right",
    label: str = "",
) -> Any:
    """A row per region, a dot with its interval per model (or control, or subject).

    Parameters
    ----------
    results : mapping of name to Lateralisation
        Of the same regions; at most six (``LateralisationByModel.results`` of chosen models).
    what : "difference" or "index"
    title : str
    label : str
        Of the axis; default: what it is, in correlation r or as a share.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No result, more than six, results of other regions, or an unknown ``what``.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.report.leaning import leaning_figure
    >>> from voxridge.science.hemispheres import hemispheres_from_names
    >>> from voxridge.science.asymmetry import lateralisation
    >>> sides = hemispheres_from_names(["LIFG", "RIFG"])
    >>> scores = np.array([[0.3, 0.2], [0.4, 0.2], [0.3, 0.25]])
    >>> leaning_figure({"gpt2": lateralisation(scores, sides, over="subjects")}).savefig("leaning.png")
    """
    if what not in ("difference", "index"):
        raise ValueError(f"what={what!r}: give 'difference' or 'index'")
    regions = {found.regions for found in results.values()}
    if not 1 <= len(results) <= _MOST or len(regions) != 1:
        raise ValueError(
            f"{len(results)} results of the regions {sorted(regions)}: give one to {_MOST}, of the same "
            "regions"
        )
    names = regions.pop()
    first = next(iter(results.values()))
    default = {
        "difference": "left \N{MINUS SIGN} right, mean correlation r",
        "index": "(left \N{MINUS SIGN} right) / (left + right)",
    }
    with look():
        figure = new_figure(7.4, 1.35 + 0.24 * len(names) * max(2, len(results)) / 1.6)
        axes = figure.add_subplot()
        axes.axvline(0.0, color=MUTED, linewidth=0.9)
        rows = np.arange(len(names), dtype=np.float64)
        for number, (name, found) in enumerate(results.items()):
            interval = found.difference_interval if what == "difference" else found.index_interval
            height = rows + (number - (len(results) - 1) / 2) * 0.7 / len(results)
            known = np.isfinite(interval.low) & np.isfinite(interval.high)
            axes.hlines(height[known], interval.low[known], interval.high[known], color=SERIES[number])
            axes.scatter(interval.estimate, height, s=34, color=SERIES[number], label=name, zorder=3)
        axes.set_yticks(
            rows, [f"{region} ({pairs})" for region, pairs in zip(names, first.n_pairs, strict=True)]
        )
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(label or default[what], color=INK)
        axes.set_title(f"{title}; {_kind(first)}; in brackets: pairs", fontsize=10.5)
        if len(results) > 1:
            figure.legend(loc="outside lower center", ncols=3, fontsize=9.5)
    return figure


def _kind(found: Lateralisation) -> str:
    """What the lines are."""
    share = f"{found.level:.0%}"
    return {
        "subjects": f"lines: {share} interval over {len(found.left)} subjects",
        "folds": f"lines: spread over {len(found.left)} folds ({share}, no test)",
        "bootstraps": f"lines: {share} of bootstraps",
        "one map": "one map, no interval",
    }[found.over]
