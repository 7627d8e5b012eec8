"""What a campaign found: a table with a row for every shape and competitor, held against the targets, and
drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.campaign_log import Log
from bench.machine import describe
from bench.problems import make_problem
from bench.races_plot import plot
from bench.shapes import RACES, SHAPES
from bench.summary import REFERENCE, check_same_data, rivals, summarise
from bench.tables import Row, cell, show, write_csv, write_json
from bench.truth import judge, some_targets, true_scores

GEOMETRIC_MEAN, LEAST, MEMORY, LEAVE_ONE_OUT = 12.0, 3.0, 3.0, 5.0  # times what voxridge takes
SAME_ALPHA, SCORE = 0.999, 1e-4
_COLUMNS = (
    *(
        "shape",
        "competitor",
        "coefficients",
        "rounds",
        "seconds",
        "time_ratio_min",
        "time_ratio",
        "time_ratio_max",
    ),
    *("peak_mib", "peak_ratio", "increment_ratio", "same_alpha", "max_score_difference", "max_score_lost"),
    *("score_error", "right_alpha", "score_lost", "verdict"),
)


def report(log: Log, shapes: Sequence[str], out: Path, settings: Row, with_truth: bool = True) -> int:
    """Write races.csv, races.png and the rounds with their machine, print the table and the targets; 1
    where there is nothing to compare."""
    rows = []
    for shape in shapes:
        rows += shape_rows(log, shape, with_truth)
    if not rows:
        print("nothing to report: no shape has a round of voxridge yet")
        return 1
    solvers = sorted({str(row.get("solver")) for row in log.rows if row["competitor"] == REFERENCE})
    sizes = {shape: vars(SHAPES[shape]) for shape in shapes}
    write_csv(out / "races.csv", rows)
    write_csv(out / "races" / "rounds.csv", [row for row in log.rows if row["shape"] in shapes])
    write_json(out / "races" / "machine.json", describe(**settings, shapes=sizes, solvers=solvers))
    print("\n" + show(rows, _COLUMNS) + "\n")
    raced = any(row.get("fastest") for row in rows)
    print("\n".join(targets(rows)) + "\n\n" + markdown(rows) if raced else "no peer has come to an end yet")
    if len(solvers) > 1:
        print(f"NOTE: voxridge was measured in several versions ({', '.join(solvers)}); --fresh starts again")
    if raced:
        plot(rows, out / "races.png")
    return 0


def shape_rows(log: Log, shape: str, with_truth: bool) -> list[Row]:
    """The rows of a shape; "fastest" marks the peer that the targets are held against."""
    fits = [row for row in log.rows if row["shape"] == shape and row["round"] >= 0]
    if not any(row["competitor"] == REFERENCE and row["status"] == "ok" for row in fits):
        return []
    check_same_data(fits)
    names = list(dict.fromkeys(row["competitor"] for row in fits))
    outcomes = {name: found for name in names if (found := log.load(f"{shape}-{name}"))}
    rows = [{"shape": shape, **row} for row in summarise(fits, outcomes)]
    named = rivals(SHAPES[shape])
    peers = [row for row in rows if row.get("time_ratio") and row["competitor"] in named]
    if peers:
        most = max(row["rounds"] for row in peers)
        fastest = min(
            (row for row in peers if row["rounds"] == most), key=lambda row: float(row["time_ratio"])
        )
        fastest["fastest"] = "yes"
    if with_truth:
        _add_truth(log, shape, rows, outcomes)
    return rows


def _add_truth(log: Log, shape: str, rows: list[Row], outcomes: dict[str, Any]) -> None:
    """Columns of bench/truth.py; the scores in float64 are kept in the log, for they take a while."""
    fitted = {name: found for name, found in outcomes.items() if np.isfinite(found["alpha"]).any()}
    alphas = [fitted[REFERENCE]["alpha"], *(found["alpha"] for found in fitted.values())]
    wanted = some_targets(alphas, alphas[0].size)
    kept = log.load(f"truth-{shape}")
    if not kept or not np.array_equal(kept["targets"], wanted):
        print(f"{shape}: scores of {wanted.size} targets in float64 ...", flush=True)
        kept = {"targets": wanted, "scores": true_scores(make_problem(shape).materialised(), wanted)}
        log.save(f"truth-{shape}", kept)
    for row in rows:
        found = fitted.get(row["competitor"])
        if found is not None:
            grid = fitted[REFERENCE]["alphas"]
            row |= judge(kept["scores"], kept["targets"], grid, found["alpha"], found["cv_score"])


def markdown(rows: Sequence[Row]) -> str:
    """The fastest peers as a table for a README."""
    head = (
        "problem",
        "samples x columns x targets",
        "penalties, folds",
        "voxridge",
        "fastest peer",
        "its time",
    )
    head += ("times as long (least to most)", "times the peak memory", "same penalty", "scores differ by")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    ours = {row["shape"]: row for row in rows if row["competitor"] == REFERENCE}
    for row in rows:
        if not row.get("fastest"):
            continue
        shape, own = SHAPES[row["shape"]], ours[row["shape"]]
        cells = [row["shape"], f"{shape.n_samples} x {shape.n_columns} x {shape.n_targets:,}"]
        cells += [f"{shape.n_alphas}, {shape.n_folds or 'one left out'}", f"{own['seconds']:.3g} s"]
        cells += [row["competitor"], f"{row['seconds']:.3g} s", _band(row), f"{row['peak_ratio']:.2f}"]
        cells += [f"{row['same_alpha']:.2%}", f"{row['max_score_difference']:.0e}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def targets(rows: Sequence[Row]) -> list[str]:
    """Every target of the races in plain words, met or missed."""
    by_shape = {row["shape"]: row for row in rows if row.get("fastest")}
    races = {shape: row for shape, row in by_shape.items() if shape in RACES}
    lines = []
    if races:
        lines += _speed(races)
        least = min(races, key=lambda shape: races[shape]["peak_ratio"])
        value = races[least]["peak_ratio"]
        words = f"peak memory of the peer at least {value:.2f} times that of voxridge ({least})"
        lines.append(_line(value >= MEMORY, words, f"{MEMORY:g}"))
        lines += _agreement(races) + _truth(rows, races)
        missing = [shape for shape in RACES if shape not in races]
        if missing:
            lines.append(f"NOT MEASURED: {', '.join(missing)}")
    for shape, row in by_shape.items():
        if SHAPES[shape].leaves_one_out:
            words = f"{shape}: {_band(row)} times as fast as {row['competitor']}"
            lines.append(_line(row["time_ratio"] >= LEAVE_ONE_OUT, words, f"{LEAVE_ONE_OUT:g}"))
    for row in rows:
        best = by_shape.get(row["shape"])
        known = row.get("time_ratio") and row["competitor"] not in (REFERENCE, "null")
        if best and known and row["time_ratio"] < best["time_ratio"]:
            words = f"{row['competitor']} took {_band(row)} times voxridge's time"
            lines.append(f"NOTE    {row['shape']}: {words}, less than {best['competitor']}")
    return lines


def _speed(races: dict[str, Row]) -> list[str]:
    means = [
        float(np.exp(np.mean([np.log(row[column]) for row in races.values()])))
        for column in ("time_ratio", "time_ratio_min", "time_ratio_max")
    ]
    least = min(races, key=lambda shape: races[shape]["time_ratio"])
    words = f"geometric mean over {len(races)} shapes {means[0]:.2f} times ({means[1]:.2f} to {means[2]:.2f})"
    worst = f"slowest {_band(races[least])} times ({least}, against {races[least]['competitor']})"
    return [
        _line(means[0] >= GEOMETRIC_MEAN, words, f"{GEOMETRIC_MEAN:g}"),
        _line(races[least]["time_ratio"] >= LEAST, worst, f"{LEAST:g}"),
    ]


def _agreement(races: dict[str, Row]) -> list[str]:
    alike = min(races, key=lambda shape: races[shape]["same_alpha"])
    far = max(races, key=lambda shape: races[shape]["max_score_difference"])
    share, difference = races[alike]["same_alpha"], races[far]["max_score_difference"]
    lost = max(row.get("max_score_lost", 0.0) for row in races.values())
    words = f"same penalty for {share:.3%} of the targets ({alike}); other choices lose at most {lost:.1e}"
    lines = [_line(share >= SAME_ALPHA, words, f"{SAME_ALPHA:.1%}")]
    words = f"scores differ by {difference:.1e} at most ({far})"
    lines.append(_line(difference <= SCORE, words, f"{SCORE:.0e}"))
    return lines


def _truth(rows: Sequence[Row], races: dict[str, Row]) -> list[str]:
    """Whose scores are off, by the scores in float64."""
    ours = {row["shape"]: row for row in rows if row["competitor"] == REFERENCE and "score_error" in row}
    judged = [shape for shape in races if shape in ours and "score_error" in races[shape]]
    if not judged:
        return []
    own = max(judged, key=lambda shape: ours[shape]["score_error"])
    far = max(judged, key=lambda shape: races[shape]["score_error"])
    words = f"voxridge's scores are within {ours[own]['score_error']:.1e} of those in float64 ({own}), "
    words += f"the peers' within {races[far]['score_error']:.1e} ({far})"
    lost = max(float(ours[shape]["score_lost"]) for shape in judged)
    theirs = max(float(races[shape]["score_lost"]) for shape in judged)
    words += f"; its penalties lose at most {lost:.1e}, theirs {theirs:.1e}"
    return [_line(ours[own]["score_error"] <= SCORE, words, f"{SCORE:.0e}")]


def _band(row: Row) -> str:
    return f"{cell(row['time_ratio'])} ({cell(row['time_ratio_min'])} to {cell(row['time_ratio_max'])})"


def _line(met: bool, words: str, target: str) -> str:
    return f"{'MET   ' if met else 'MISSED'}  {words}; target {target}"
