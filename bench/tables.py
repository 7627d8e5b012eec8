"""Bands over rounds, agreement between competitors, and result files."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]


def band(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Least, median and largest."""
    return min(ratios), float(np.median(ratios)), max(ratios)


def verdict(ratios: Sequence[float]) -> str:
    """Whether voxridge is "faster" or "slower" (ratios are other / voxridge), or "resolved nothing".

    Nothing is resolved where the band over the rounds holds 1, or where a single round gives no band.
    """
    least, _, largest = band(ratios)
    if len(ratios) < 2 or least <= 1 <= largest:
        return "resolved nothing"
    return "faster" if least > 1 else "slower"


def interleaved(names: Sequence[str], n_rounds: int) -> list[tuple[int, str]]:
    """(round, name): every round in the order opposite to the one before."""
    return [
        (number, name) for number in range(n_rounds) for name in (names if number % 2 == 0 else names[::-1])
    ]


def agreement(reference: Mapping[str, Any], other: Mapping[str, Any]) -> Row:
    """Share of targets with the same penalty, largest difference of scores, and how alike predictions are.

    Penalties are the same where they are nearest to the same entry of the grid (some round them to float32).
    Where they differ, ``max_score_lost`` is what the other's choice loses by the reference's own scores, and
    predictions must differ too; these are compared where they are the same: the correlation of all together,
    each target centred, and the largest difference, in units of the responses (variance near 1).
    """
    if not np.isfinite(other["alpha"]).any():
        return {}
    steps = [
        np.abs(np.log(fit["alpha"][:, None] / reference["alphas"])).argmin(axis=1)
        for fit in (reference, other)
    ]
    same = steps[0] == steps[1]
    difference = np.abs(np.asarray(reference["cv_score"], np.float64) - other["cv_score"]).max()
    row: Row = {"same_alpha": float(np.mean(same)), "max_score_difference": float(difference)}
    if "cv_scores" in reference:
        everyone = np.arange(same.size)
        lost = reference["cv_scores"][steps[0], everyone] - reference["cv_scores"][steps[1], everyone]
        row["max_score_lost"] = float(lost.max())
    compared = np.flatnonzero(same[: reference["prediction"].shape[1]])
    if compared.size:
        a, b = (fit["prediction"][:, compared].astype(np.float64) for fit in (reference, other))
        row["max_prediction_difference"] = float(np.abs(a - b).max())
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        row["prediction_correlation"] = float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
    return row


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with _replacing(path) as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
            )


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_json(path: Path, value: Any) -> None:
    with _replacing(path) as file:
        file.write(json.dumps(value, indent=2) + "\n")


class _replacing:
    """An open text file that takes the place of ``path`` when all went well."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Any:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        name = f".{self.path.name}."
        self.file = tempfile.NamedTemporaryFile(
            "w", dir=self.path.parent, prefix=name, delete=False, newline=""
        )
        return self.file

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.file.close()
        if kind is None:
            os.chmod(self.file.name, 0o644)
            os.replace(self.file.name, self.path)
        else:
            os.unlink(self.file.name)


def show(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The rows as a table of plain text."""
    cells = [list(columns)] + [[cell(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def cell(value: Any) -> str:
    """A number in four digits, anything else as it is."""
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)
