"""Race voxridge against its peers: `python -m bench.run --problem wide --peers himalaya-kernel-numpy`.

Every fit has a fresh process, so that peaks of memory are clean. Rounds are interleaved in alternating order.
Ratios are other / voxridge, within a round: above 1, voxridge needs less.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.adapters import ADAPTERS, get_adapter
from bench.adapters.huth import VARIABLE
from bench.machine import ROOT, describe
from bench.process import fit_in_fresh_process
from bench.shapes import SHAPES
from bench.summary import REFERENCE, Outcomes, check_same_data, rivals, summarise
from bench.tables import Row, cell, interleaved, show, write_csv, write_json

MeasureOne = Callable[[str], tuple[Row, dict[str, Any]]]  # competitor -> its row, its outcome

_ROUND_COLUMNS = (
    *("round", "competitor", "status", "seconds", "cpu_seconds", "load_1min"),
    *("baseline_mib", "peak_mib", "increment_mib"),
)
_SUMMARY_COLUMNS = (
    *("competitor", "coefficients", "seconds", "time_ratio_min", "time_ratio", "time_ratio_max", "verdict"),
    *("peak_mib", "peak_ratio", "increment_mib", "increment_ratio"),
    *("mean_cv_score", "same_alpha", "max_score_difference", "prediction_correlation"),
)


def choose(names: list[str], problem_name: str) -> list[str]:
    """voxridge, the peers that are installed and would end, and null. What is left out is said aloud."""
    chosen = [REFERENCE]
    for name in [*names, "null"]:
        adapter = get_adapter(name)
        if not adapter.available():
            print(f"LEFT OUT: {name} is not there (pip install himalaya torch; for huth: --huth PATH)")
        elif refusal := adapter.refusal(SHAPES[problem_name]):
            print(f"LEFT OUT: {name} on {problem_name}: {refusal}")
        elif name not in chosen:
            chosen.append(name)
    return chosen


def race(names: list[str], n_rounds: int, measure_one: MeasureOne) -> tuple[list[Row], Outcomes]:
    """Rows of every (round, competitor), and what each competitor found in its last round.

    A competitor that fails is not asked again.
    """
    rows: list[Row] = []
    outcomes: Outcomes = {}
    failed: set[str] = set()
    for number, name in interleaved(names, n_rounds):
        if name in failed:
            continue
        row, outcome = measure_one(name)
        rows.append({"round": number, "competitor": name, **row})
        print(*(f"{key} {cell(rows[-1].get(key, ''))}" for key in _ROUND_COLUMNS), sep="  ", flush=True)
        if row["status"] == "ok":
            outcomes[name] = outcome
        else:
            failed.add(name)
            outcomes.pop(name, None)
    check_same_data(rows)
    return rows, outcomes


def write_results(folder: Path, rows: list[Row], summary: list[Row], settings: Row) -> None:
    write_csv(folder / "rounds.csv", rows)
    write_csv(folder / "summary.csv", summary)
    write_json(folder / "machine.json", describe(**settings))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", choices=list(SHAPES), required=True)
    parser.add_argument("--scoring", choices=("correlation", "r2"), default="correlation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", help=f"comma-separated, of: {', '.join(ADAPTERS)}")
    parser.add_argument(
        "--threads", type=int, help="threads for everybody (default: each competitor's own default)"
    )
    parser.add_argument("--huth", help="HuthLab's ridge_utils/ridge.py; makes 'huth' a competitor")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "races", help="a folder PROBLEM-SCORING is made in it"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1 is needed")
    if options.peers is None:
        options.peers = ",".join(rivals(SHAPES[options.problem]))
    options.peers = [name for name in options.peers.split(",") if name]
    unknown = [name for name in options.peers if name not in ADAPTERS]
    if unknown:
        parser.error(f"--peers {','.join(unknown)}: not known; there are {', '.join(ADAPTERS)}")
    if options.huth:
        os.environ[VARIABLE] = os.path.abspath(options.huth)
        options.peers.append("huth")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    names = choose(options.peers, options.problem)
    rows, outcomes = race(
        names,
        options.rounds,
        lambda name: fit_in_fresh_process(name, options.problem, options.scoring, threads=options.threads),
    )
    if REFERENCE not in outcomes:
        print("voxridge itself failed; there is nothing to compare")
        return 1
    summary = summarise(rows, outcomes)
    asked = {key: getattr(options, key) for key in ("scoring", "rounds", "threads")}
    settings = {"problem": vars(SHAPES[options.problem]), **asked}
    write_results(options.out / f"{options.problem}-{options.scoring}", rows, summary, settings)
    print("\n" + show(summary, _SUMMARY_COLUMNS))
    if options.rounds < 3:
        print("\nFewer than 3 rounds: a look, not a measurement.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
