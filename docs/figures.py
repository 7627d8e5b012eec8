"""Draws the two figures of the page on routes from the planner's own rules. The build calls :func:`draw`.

Nothing here repeats a rule: which routes exist, which take sample weights, which are bounded by LAPACK and
which stands in for which is asked of the functions that decide it in a fit.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from voxridge.report.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    look,
    new_figure,
    save,
)
from voxridge.solvers.candidates import _THRIFT, ROUTES, eigh_order, takes
from voxridge.solvers.fits import _fallback, _possible
from voxridge.solvers.folds import Fold, make_folds
from voxridge.solvers.plan import _routes, make_plan
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import Machine, Rates, assumed
from voxridge.solvers.trust import UntrustedFactor

COLOURS = dict(zip(ROUTES, (BLUE, SKY, VERMILION, ORANGE, GREEN, PURPLE, "#999999"), strict=True))
LETTERS = dict(zip(ROUTES, ("pS", "dS", "pL", "dL", "pC", "dC", "svd"), strict=True))
N, P = 500, 40  # unlike each other, so that what depends on one of them can be told


def problem(n: int, p: int, folds: list[Fold], **changes: Any) -> Problem:
    """A problem of the usual kind: 20,000 targets and 20 penalties, float32, everything in files."""
    common: dict[str, Any] = {
        "targets_in_memory": False,
        "features_in_memory": False,
        "delays": (1, 2, 3, 4),
        "weights": "file",
        "resident_bytes": 150 * 2**20,
    }
    return Problem(n, p, 20_000, 20, folds, 4, **(common | changes))


def usual_machine(threads: int = 8) -> Machine:
    """Rates like those of :func:`voxridge.solvers.rates.assumed`: the same picture wherever it is drawn."""
    rates = Rates(
        gemm4=100e9 * threads,
        gemm8=52e9 * threads,
        syrk8=46e9 * threads,
        potrf=45e9 * threads,
        potri=48e9 * threads,
        eigh=75e9 * threads,
        filters=15e9 * threads,
        moments=4e9 * threads,
        memory=25e9 * threads // 2,
    )
    return Machine(f"{threads} cores", rates, "assumed")


# --- what the planner says


def narrowed(asked: str) -> list[str]:
    """The routes that "auto" chooses from, where ``asked`` is wanted: "folds", "sample weights", "pooled" or
    "gcv"."""
    small = problem(N, P, make_folds(5, [N], gap=0), sample_weight=asked == "sample weights")
    settings: Any = SimpleNamespace(needs_leave_out=asked != "folds", evaluation=asked)
    return _routes(_possible("auto", settings), small)


def bound_of(route: str) -> str:
    """ "n", "p" or "": the size that a route's eigendecomposition has."""
    return {N: "n", P: "p", 0: ""}[eigh_order(problem(N, P, make_folds(5, [N], gap=0)), route)]


def stand_in(route: str, *, singular: bool, weighted: bool = False) -> str:
    """What follows a route that failed: because the Gram matrix is ``singular`` to working precision, or
    because held-out samples are interpolated. "" where nothing does."""
    side, _, method = route.partition("-")
    plan: Any = SimpleNamespace(route=route, side=side, method=method or route)
    settings: Any = SimpleNamespace(needs_leave_out=weighted)
    error = UntrustedFactor("") if singular else np.linalg.LinAlgError("")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _fallback(plan, error, settings, "")
        except np.linalg.LinAlgError:
            return ""


def takes_weights(route: str) -> bool:
    """Whether a route can weight samples and score pooled predictions when it is asked for by name."""
    return takes(problem(N, P, make_folds(5, [N], gap=0), sample_weight=True), route)


# --- the flow chart


_QUIET = ("–", "by name\nonly", "does not\narise")


def _box(axes: Any, y: float, text: str, *, fill: str = "#eef3f7", bold: bool = False) -> None:
    style = {"boxstyle": "round,pad=0.5", "facecolor": fill, "edgecolor": MUTED, "linewidth": 1.0}
    weight = "bold" if bold else "normal"
    axes.text(0.17, y, text, ha="center", va="center", fontsize=9.5, bbox=style, weight=weight)


def _rows() -> list[tuple[str, list[str]]]:
    """(what is asked, a word for every route) of each step."""
    order = assumed().eigh_order
    sizes = {route: bound_of(route) for route in ROUTES}
    auto, leave_out = narrowed("folds"), narrowed("sample weights")
    assert leave_out == narrowed("pooled") == narrowed("gcv")
    first = ["yes" if route in auto else "by name\nonly" for route in ROUTES]
    second = ["stays" if route in leave_out else ("–" if route in auto else "") for route in ROUTES]
    third = [
        f"{sizes[r]} ≤\n{order:,}" if sizes[r] and r in auto else "no bound" * (r in auto) for r in ROUTES
    ]
    after = [stand_in(route, singular=True) for route in ROUTES]
    assert {stand_in(r, singular=False, weighted=True) for r in leave_out} == {"svd"}
    broken = [
        "does not\narise" if "spectral" in r else stand_in(r, singular=False) or "error" for r in ROUTES
    ]
    return [
        ('A fit is asked for with solver="auto":\nthe candidates', first),
        ("sample_weight, leave-one-out or gcv?\nThen only", second),
        ("Are eigenvectors within reach of\n32-bit LAPACK? Otherwise out", third),
        (
            "For each: tiles of targets, folds and\npenalties; those within memory_limit.\n"
            "None? MemoryError, with the least",
            ["time,\nmemory" if route in auto else "" for route in ROUTES],
        ),
        (f"Least time × peak memory^{_THRIFT:g}:\nthe route of the plan; the fit begins", [""] * len(ROUTES)),
        ("Gram matrix singular to working\nprecision? FallbackWarning, then", [a or "error" for a in after]),
        (
            "Held-out samples interpolated?\nFallbackWarning, then (svd where\nthe second step applied)",
            [word.replace("-", "-\n") for word in broken],
        ),
    ]


def draw_flow(path: Path) -> Path:
    """The steps of a choice from top to bottom, and what each of them does to every route."""
    rows = _rows()
    with look():
        figure = new_figure(9.4, 7.8)
        axes = figure.add_subplot()
        axes.set(xlim=(0, 1.0), ylim=(len(rows) - 0.35, -1.0))
        axes.axis("off")
        columns = np.linspace(0.43, 0.96, len(ROUTES))
        for x, route in zip(columns, ROUTES, strict=True):
            style = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": COLOURS[route], "lw": 2.2}
            name = route.replace("-", "-\n", 1)
            axes.text(x, -0.72, name, ha="center", va="center", fontsize=9.5, bbox=style)
        for y, (question, words) in enumerate(rows):
            if y % 2 == 0:
                axes.axhspan(y - 0.46, y + 0.46, facecolor="#f6f8fa", edgecolor="none", zorder=0)
            _box(axes, y, question, fill="#dfeaf3" if y == 4 else "white", bold=y == 4)
            for x, word in zip(columns, words, strict=True):
                colour = MUTED if word in _QUIET else INK
                axes.text(x, y, word, ha="center", va="center", fontsize=9, color=colour)
            if y:
                arrow = {"arrowstyle": "-|>", "color": MUTED, "lw": 1.3}
                axes.annotate("", (0.17, y - 0.32), (0.17, y - 0.68), arrowprops=arrow)
        x, y = float(columns.mean()), rows.index(next(row for row in rows if not any(row[1])))
        axes.text(
            x,
            y,
            "print(model.plan_): the route, and why not the others",
            ha="center",
            va="center",
            fontsize=9.5,
        )
        return save(figure, path)


# --- the map


SIZES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)


def chosen_routes(n_folds: int, limit: int) -> list[list[str]]:
    """The route of the plan for every n (columns) and p (rows) of ``SIZES``; "" where nothing fits."""
    machine = usual_machine()
    table = [["" for _ in SIZES] for _ in SIZES]
    for column, n in enumerate(SIZES):
        rows = np.array_split(np.arange(n), n_folds)
        folds = [Fold(np.setdiff1d(np.arange(n), held, assume_unique=True), held) for held in rows]
        for row, p in enumerate(SIZES):
            try:
                plan = make_plan(problem(n, p, folds), memory_limit=limit, machine=machine)
            except MemoryError:
                continue
            table[row][column] = plan.route
    return table


def _cell(axes: Any, x: int, y: int, route: str) -> None:
    """Letters as well as a colour, for readers who cannot tell the colours apart."""
    ends, ink = (x - 0.48, x + 0.48), "white" if COLOURS.get(route) in (BLUE, VERMILION, GREEN) else INK
    axes.fill_between(ends, y - 0.48, y + 0.48, color=COLOURS.get(route, "white"), lw=0)
    axes.text(x, y, LETTERS.get(route, "–"), ha="center", va="center", weight="bold", color=ink)


def draw_map(path: Path) -> Path:
    """Four maps: few and many folds, a small and a large machine."""
    with look():
        figure = new_figure(10.5, 9.4)
        grid = figure.subplots(2, 2, sharex=True, sharey=True)
        used: set[str] = set()
        for axes, (n_folds, gigabytes) in zip(
            grid.flat, ((5, 16), (5, 256), (50, 16), (50, 256)), strict=True
        ):
            table = chosen_routes(n_folds, gigabytes * 10**9)
            for row, line in enumerate(table):
                for column, route in enumerate(line):
                    _cell(axes, column, row, route)
            used |= {route for line in table for route in line if route}
            axes.set_title(f"{n_folds} folds, memory_limit {gigabytes} GB")
            axes.grid(visible=False)
            ticks = [f"{size // 1000}k" for size in SIZES]
            axes.set(xticks=range(len(SIZES)), xticklabels=ticks, yticks=range(len(SIZES)), yticklabels=ticks)
        for axes in grid[1]:
            axes.set_xlabel("n, samples")
        for axes in grid[:, 0]:
            axes.set_ylabel("p, columns of the delayed design")
        handles = [
            axes.scatter([], [], marker="s", s=110, color=COLOURS[route], label=f"{LETTERS[route]}  {route}")
            for route in ROUTES
            if route in used
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        return save(figure, path, dpi=110)


def draw(folder: Path) -> list[Path]:
    """Write both figures into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    return [draw_flow(folder / "route-flow.png"), draw_map(folder / "route-map.png")]


if __name__ == "__main__":
    print(draw(Path(__file__).parent / "_figures"))
