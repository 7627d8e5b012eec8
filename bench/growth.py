"""How time and memory grow: `python -m bench.growth`, over samples, features, targets, penalties and folds.

One size at a time is moved away from a shape in the middle. voxridge and himalaya's solvers (on the backend
that is faster in the middle) fit every shape in fresh processes, the rounds in alternating order; of
himalaya the faster solver counts, shape by shape. Writes results/growth.csv, results/growth.json and
results/growth.png; prints the slopes of the logarithms. What was measured is kept: the same command goes on
where it was stopped."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.adapters import get_adapter
from bench.adapters.himalaya import Himalaya
from bench.campaign_log import Log
from bench.growth_plot import plot
from bench.machine import RESULTS, ROOT, describe
from bench.process import fit_in_fresh_process
from bench.shapes import Shape
from bench.summary import HIMALAYA, REFERENCE
from bench.tables import Row, agreement, cell, interleaved, show, write_csv, write_json

MIDDLE = Shape(1500, 1500, 4000, n_alphas=20, n_folds=5)
SIZES: dict[str, tuple[int, ...]] = {
    "n_samples": (500, 1000, 1500, 3000, 6000),
    "n_features": (375, 750, 1500, 3000, 6000),
    "n_targets": (1000, 2000, 4000, 8000, 16_000),
    "n_alphas": (5, 10, 20, 40, 80),
    "n_folds": (2, 5, 10, 20, 50),
}
_PRUNE = 1.5  # himalaya's solver with so many times the operations of the other is not asked
Fit = Callable[[str, Shape], tuple[Row, dict[str, Any]]]


def shapes(middle: Shape, scale: float = 1.0) -> dict[str, dict[int, Shape]]:
    """For every size that is moved, its values and their shapes; ``scale`` shrinks samples, features,
    targets."""
    small = {name: max(30, round(getattr(middle, name) * scale)) for name in list(SIZES)[:3]}
    centre, found = middle.with_sizes(**small), {}
    for name, values in SIZES.items():
        kept = [max(30, round(value * scale)) for value in values] if name in small else list(values)
        found[name] = {value: centre.with_sizes(**{name: value}) for value in kept}
    return found


def measure(log: Log, found: dict[str, dict[int, Shape]], fit: Fit, n_rounds: int, seconds: float) -> bool:
    """Everything that is still missing; False where time ran out first."""
    end = time.monotonic() + seconds
    centre = found["n_targets"][sorted(found["n_targets"])[len(found["n_targets"]) // 2]]
    for number in range(n_rounds):
        for label, shape in _labelled(found):
            names = [REFERENCE, *_solvers(log, shape, centre)]
            for name in [name for turn, name in interleaved(names, number + 1) if turn == number]:
                if log.find(label, number, name) is not None:
                    continue
                if time.monotonic() + (log.seconds(label, name) or 0) > end:
                    return False
                row, outcome = fit(name, shape)
                log.add({"shape": label, "round": number, "competitor": name, **row}, outcome)
                words = cell(row.get("seconds", ""))
                print(f"round {number}  {label}  {name}  {row['status']}  {words} s", flush=True)
    return True


def _labelled(found: dict[str, dict[int, Shape]]) -> list[tuple[str, Shape]]:
    """Every shape once, the one in the middle first."""
    by_label: dict[str, Shape] = {}
    for values in found.values():
        middle = sorted(values)[len(values) // 2]
        for value in sorted(values, key=lambda value: value != middle):
            by_label.setdefault(_label(values[value]), values[value])
    return list(by_label.items())


def _label(shape: Shape) -> str:
    return "-".join(str(getattr(shape, name)) for name in SIZES)


def _solvers(log: Log, shape: Shape, centre: Shape) -> list[str]:
    """himalaya's solvers that are worth asking: all of them in the middle, elsewhere those of the backend
    that was faster there, without one that has far more to do."""
    names = [
        name for name in HIMALAYA if get_adapter(name).available() and not get_adapter(name).refusal(shape)
    ]
    if shape == centre:
        return names
    times = {name: seconds for name in names if (seconds := log.seconds(_label(centre), name))}
    if times:
        backend = min(times, key=lambda name: times[name]).rpartition("-")[2]
        names = [name for name in names if name.rpartition("-")[2] == backend]
    flops = {name: _himalaya(name).expected_flops(shape) for name in names}
    return [name for name in names if flops[name] <= _PRUNE * min(flops.values())]


def _himalaya(name: str) -> Himalaya:
    adapter = get_adapter(name)
    assert isinstance(adapter, Himalaya)
    return adapter


def table(log: Log, found: dict[str, dict[int, Shape]]) -> list[Row]:
    """A row for every size and value: medians over rounds of voxridge and of the faster himalaya."""
    rows = []
    for axis, values in found.items():
        for value, shape in sorted(values.items()):
            label = _label(shape)
            medians = _medians(log, label)
            peers = {name: row for name, row in medians.items() if name != REFERENCE}
            if REFERENCE not in medians or not peers:
                continue
            peer = min(peers, key=lambda name: peers[name]["seconds"])
            ours, theirs = medians[REFERENCE], peers[peer]
            row: Row = {"axis": axis, "value": value, "route": ours["coefficients"], "peer": peer}
            row |= {name: ours[name] for name in ("rounds", "seconds", "peak_mib", "increment_mib")}
            row |= {f"peer_{name}": theirs[name] for name in ("seconds", "peak_mib", "increment_mib")}
            row["time_ratio"] = theirs["seconds"] / ours["seconds"]
            row["peak_ratio"] = theirs["peak_mib"] / ours["peak_mib"]
            agreed = agreement(log.load(f"{label}-{REFERENCE}"), log.load(f"{label}-{peer}"))
            rows.append(row | {key: agreed[key] for key in ("same_alpha", "max_score_difference")})
    return rows


def _medians(log: Log, label: str) -> dict[str, Row]:
    """Of every competitor at a shape."""
    found: dict[str, list[Row]] = {}
    for row in log.rows:
        if row["shape"] == label and row["status"] == "ok":
            found.setdefault(row["competitor"], []).append(row)
    return {
        name: {
            key: float(np.median([row[key] for row in rows]))
            for key in ("seconds", "peak_mib", "increment_mib")
        }
        | {"rounds": len(rows), "coefficients": rows[-1]["coefficients"]}
        for name, rows in found.items()
    }


def slopes(rows: Sequence[Row]) -> list[Row]:
    """For every axis the exponent of the best power law, of times and of the memory that the fit added."""
    found = []
    for axis in dict.fromkeys(row["axis"] for row in rows):
        chosen = [row for row in rows if row["axis"] == axis]
        if len(chosen) < 2:
            continue
        line: Row = {"axis": axis}
        for column in ("seconds", "peer_seconds", "increment_mib", "peer_increment_mib"):
            line[column] = _slope([row["value"] for row in chosen], [row[column] for row in chosen])
        found.append(line)
    return found


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    kept = [(a, b) for a, b in zip(x, y, strict=True) if b > 0]
    if len(kept) < 2:
        return float("nan")
    a, b = np.log(np.array(kept)).T
    return float(np.polyfit(a, b, 1)[0])


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60, help="nothing is begun later")
    parser.add_argument("--scale", type=float, default=1.0, help="samples, features and targets times this")
    parser.add_argument("--axes", default=",".join(SIZES), help="default: all of them")
    parser.add_argument("--threads", type=int, help="for everybody (default: each one's own default)")
    parser.add_argument("--limit-seconds", type=float, default=300, help="a fit that takes longer is stopped")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--log", type=Path, default=ROOT / "build" / "growth", help="what is measured")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the table and the plot go")
    options = parser.parse_args(arguments)
    options.axes = options.axes.split(",")
    if set(options.axes) - set(SIZES):
        parser.error(f"--axes {','.join(options.axes)}: there are {', '.join(SIZES)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    log, everything = Log(options.log), shapes(MIDDLE, options.scale)
    found = {axis: everything[axis] for axis in options.axes}

    def fit(name: str, shape: Shape) -> tuple[Row, dict[str, Any]]:
        return fit_in_fresh_process(name, shape, threads=options.threads, limit_seconds=options.limit_seconds)

    if not options.report and not measure(log, found, fit, options.rounds, 60 * options.minutes):
        print("TIME IS UP: the same command goes on from here")
    rows = table(log, found)
    if not rows:
        print("nothing to report: no shape has voxridge and a peer yet")
        return 1
    write_csv(options.out / "growth.csv", rows)
    settings = {"middle": asdict(MIDDLE), "scale": options.scale, "threads": options.threads}
    write_json(options.out / "growth.json", {"machine": describe(**settings), "slopes": slopes(rows)})
    columns = ("axis", "value", "route", "seconds", "peer", "peer_seconds", "time_ratio", "peak_ratio")
    print("\n" + show(rows, (*columns, "same_alpha", "max_score_difference")))
    print("\nexponents of growth:\n" + show(slopes(rows), list(slopes(rows)[0])))
    plot(rows, slopes(rows), options.out / "growth.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
