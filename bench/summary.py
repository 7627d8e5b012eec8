"""What rounds of fits come to: ratios within rounds with their bands, and agreement, a row for every
competitor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.shapes import Shape
from bench.tables import Row, agreement, band, verdict

REFERENCE = "voxridge"
Outcomes = dict[str, dict[str, Any]]  # what each competitor found in its last round
HIMALAYA = ("himalaya-ridge-numpy", "himalaya-ridge-torch", "himalaya-kernel-numpy", "himalaya-kernel-torch")
_LEAST_INCREMENT_MIB = 1.0  # below this, voxridge needed no memory worth dividing by


def rivals(shape: Shape) -> tuple[str, ...]:
    """The peers that solve this kind of problem, of whom the fastest is what targets are held against."""
    return ("sklearn",) if shape.leaves_one_out else HIMALAYA


def check_same_data(rows: Sequence[Row]) -> None:
    """Raises RuntimeError where fits had different data."""
    if len({row["checksum"] for row in rows if row["status"] == "ok"}) > 1:
        raise RuntimeError("the competitors did not get the same data: their checksums differ")


def summarise(rows: list[Row], outcomes: Outcomes) -> list[Row]:
    """One row per competitor: time and memory relative to voxridge in the same round, and the agreement.

    Only rounds in which voxridge came to an end count. Who failed or was left out has its status as verdict.
    """
    by_name: dict[str, dict[int, Row]] = {}
    for row in rows:
        by_name.setdefault(row["competitor"], {})[row["round"]] = row
    reference = {number: row for number, row in by_name[REFERENCE].items() if row["status"] == "ok"}
    summary = []
    for name, rounds in by_name.items():
        failures = [row["status"] for row in rounds.values() if row["status"] != "ok"]
        if failures:
            summary.append({"competitor": name, "verdict": failures[0]})
            continue
        rounds = {number: row for number, row in rounds.items() if number in reference}
        if rounds:
            summary.append(_summary(name, rounds, reference) | agreement(outcomes[REFERENCE], outcomes[name]))
        else:
            alone = {"competitor": name, **_alone(by_name[name]), "verdict": "no round with voxridge"}
            summary.append(alone | agreement(outcomes[REFERENCE], outcomes[name]))
    return summary


def _alone(rounds: dict[int, Row]) -> Row:
    return {key: float(np.median([row[key] for row in rounds.values()])) for key in ("seconds", "peak_mib")}


def _summary(name: str, rounds: dict[int, Row], reference: dict[int, Row]) -> Row:
    def ratios(field: str) -> list[float]:
        return [row[field] / reference[number][field] for number, row in rounds.items()]

    def median(field: str) -> float:
        return float(np.median([row[field] for row in rounds.values()]))

    first = next(iter(rounds.values()))
    measurable = min(row["increment_mib"] for row in reference.values()) >= _LEAST_INCREMENT_MIB
    least, middle, largest = band(ratios("seconds"))
    return {
        "competitor": name,
        "coefficients": first["coefficients"],
        "rounds": len(rounds),
        "seconds": median("seconds"),
        "time_ratio_min": least,
        "time_ratio": middle,
        "time_ratio_max": largest,
        "verdict": _verdict(name, ratios("seconds")),
        "baseline_mib": median("baseline_mib"),
        "peak_mib": median("peak_mib"),
        "increment_mib": median("increment_mib"),
        "peak_ratio": float(np.median(ratios("peak_mib"))),
        "increment_ratio": float(np.median(ratios("increment_mib"))) if measurable else "",
        "n_alphas_chosen": first["n_alphas_chosen"],
        "mean_cv_score": first["mean_cv_score"],
    }


def _verdict(name: str, ratios: list[float]) -> str:
    words = {REFERENCE: "reference", "null": "harness"}
    said = verdict(ratios)
    return words.get(name) or (said if said == "resolved nothing" else f"voxridge {said}")
