"""Read results: `python -m bench.compare` prints a table (--markdown for a README) and draws races.png."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS
from bench.tables import cell, read_csv, show

Race = tuple[str, list[dict[str, str]], dict[str, Any]]  # name, summary, machine
_BAND = ("time_ratio_min", "time_ratio", "time_ratio_max")
_COLUMNS = (
    *("problem", "competitor", "coefficients", "seconds", "time ratio", "verdict", "peak MiB", "peak ratio"),
    *("increment ratio", "same alpha", "score difference"),
)


def load(folder: Path) -> list[Race]:
    """Every race under ``folder``: the folders that hold rounds.csv, summary.csv and machine.json.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = sorted(path.parent for path in folder.glob("*/rounds.csv"))
    if not found:
        raise FileNotFoundError("no */rounds.csv in the results folder; run python -m bench.run first")
    return [
        (path.name, read_csv(path / "summary.csv"), json.loads((path / "machine.json").read_text()))
        for path in found
    ]


def rows(races: list[Race]) -> list[dict[str, str]]:
    """The lines of the table."""
    return [_line(name, row) for name, summary, _ in races for row in summary]


def _line(problem: str, row: dict[str, str]) -> dict[str, str]:
    band = ""
    if row.get("time_ratio"):
        low, middle, high = (cell(row[key]) for key in _BAND)
        band = f"{middle} ({low} - {high})"
    return {
        "problem": problem,
        "competitor": row["competitor"],
        "coefficients": row.get("coefficients", ""),
        "seconds": row.get("seconds", ""),
        "time ratio": band,
        "verdict": row.get("verdict", ""),
        "peak MiB": row.get("peak_mib", ""),
        "peak ratio": row.get("peak_ratio", ""),
        "increment ratio": row.get("increment_ratio", ""),
        "same alpha": row.get("same_alpha", ""),
        "score difference": row.get("max_score_difference", ""),
    }


def markdown(lines: list[dict[str, str]]) -> str:
    """The table for a README."""
    out = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    out += ["| " + " | ".join(cell(line[column]) for column in _COLUMNS) + " |" for line in lines]
    return "\n".join(out)


def plot(races: list[Race], path: Path) -> None:
    """Time ratios with their bands, and peak memory ratios, on a logarithmic axis; voxridge is at 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(races), 1, figsize=(8, 1 + 1.8 * len(races)), squeeze=False, layout="constrained"
    )
    for axis, (name, summary, _) in zip(axes[:, 0], races, strict=True):
        shown = [
            row for row in summary if row.get("time_ratio") and row["competitor"] not in ("voxridge", "null")
        ]
        places = range(len(shown))
        least, middle, most = (np.array([float(row[key]) for row in shown]) for key in _BAND)
        errors = [middle - least, most - middle]
        axis.errorbar(middle, places, xerr=errors, fmt="o", capsize=3, label="time (median, least to most)")
        axis.plot([float(row["peak_ratio"]) for row in shown], places, "s", mfc="none", label="peak memory")
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set(title=name, xscale="log", yticks=places, yticklabels=[row["competitor"] for row in shown])
        axis.margins(y=0.3)
    axes[-1, 0].set_xlabel("times what voxridge takes")
    axes[0, 0].legend(fontsize="small")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(arguments)
    races = load(options.results)
    lines = rows(races)
    print(markdown(lines) if options.markdown else show(lines, _COLUMNS))
    for name, _, machine in races:
        versions = ", ".join(f"{key} {value}" for key, value in machine["versions"].items())
        print(f"{name}: {machine['cpu']}, {machine['cores_usable']} cores, {machine['date']}, {versions}")
    plot(races, options.results / "races.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
