"""One look for every figure: colours that colour-blind readers can tell apart, quiet axes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voxridge.streams.atomic import atomic_path

# Okabe and Ito's palette (2008), reordered: blue and vermilion are the pair that is told apart best.
BLUE, VERMILION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
SKY = "#56B4E9"
INK, MUTED, GRID = "#1d2733", "#5b6875", "#dfe4e8"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
# With two of Tol's muted colours and a grey.
MANY = (*SERIES, "#882255", "#999933", "#8a949e")

_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def look() -> Iterator[None]:
    """Matplotlib settings inside the block; the user's own come back after it."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Any:
    """A figure that belongs to no window system (inches)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def shortened(name: str, most: int = 20) -> str:
    """A name with its middle left out where it would take the room of the figure."""
    half = most // 2
    return name if len(name) <= most else f"{name[: half - 1]}…{name[-half:]}"


def save(figure: Any, path: Path, *, dpi: int = 160) -> Path:
    """Write a PNG under a temporary name and rename it."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png", metadata={"Software": "voxridge"})
    return path
