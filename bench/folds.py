"""What more folds cost the leave-out route: `python -m bench.folds`.

One problem of 95 runs, cross-validated with 5, 20, 50 and 95 folds of whole runs, each fit in a fresh
process, the rounds interleaved. Ratios are to the fewest folds of the same round. Writes results/folds.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, ROOT, describe
from bench.memory import peak_mib
from bench.tables import band, interleaved, show, write_json

N_RUNS = 95
FOLDS = (5, 20, 50, N_RUNS)
SIZES = {"n": 3000, "p": 1500, "v": 4000}  # samples, features, targets
ALPHAS = np.logspace(0, 6, 20)


def fit(sizes: dict[str, int], n_folds: int, route: str) -> tuple[Any, float, float]:
    """A model with ``n_folds`` folds of whole runs, float32; seconds of its fit, and of the processors."""
    from voxridge import EncodingRidge

    rng = np.random.default_rng(0)
    n, p, v = sizes["n"], sizes["p"], sizes["v"]
    x = rng.standard_normal((n, p), dtype=np.float32)
    x *= (1 / np.sqrt(np.arange(1, p + 1))).astype(np.float32)
    y = x @ rng.standard_normal((p, v), dtype=np.float32) + 2 * rng.standard_normal((n, v), dtype=np.float32)
    runs = [n // N_RUNS + (i < n % N_RUNS) for i in range(N_RUNS)]
    cv = "leave-one-run-out" if n_folds == N_RUNS else n_folds
    model = EncodingRidge(alphas=ALPHAS, delays=(0,), cv=cv, solver=route, progress=False)
    gc.collect()
    begin, processor = time.perf_counter(), time.process_time()
    model.fit(x, y, runs=runs)
    seconds = time.perf_counter() - begin
    return model, seconds, time.process_time() - processor


def measure(sizes: dict[str, int], n_folds: int, route: str) -> dict[str, Any]:
    """One fit in this process, after a small one."""
    fit({"n": 4 * N_RUNS, "p": 30, "v": 40}, n_folds, route)
    model, seconds, processor = fit(sizes, n_folds, route)
    return {
        "folds": len(model.folds_),
        "route": model.plan_.route,
        "seconds": round(seconds, 4),
        "cores_had": round(processor / seconds, 2),
        "load_1min": os.getloadavg()[0],
        "peak_mib": round(peak_mib(), 1),
        "mean_cv_score": round(float(model.best_cv_scores_.mean()), 4),
        "n_alphas_chosen": int(np.unique(model.alpha_).size),
    }


def in_a_fresh_process(options: argparse.Namespace, n_folds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.folds", "--scale", str(options.scale), "--route", options.route]
    command += ["--only", str(n_folds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the fit with {n_folds} folds failed:\n{done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every number of folds the median time, and the band over the rounds of its ratio to the fewest."""
    fewest = min(row["folds"] for row in rows)
    base = {row["round"]: row["seconds"] for row in rows if row["folds"] == fewest}
    lines = []
    for folds in sorted({row["folds"] for row in rows}):
        chosen = [row for row in rows if row["folds"] == folds]
        least, middle, most = band([row["seconds"] / base[row["round"]] for row in chosen])
        lines.append(
            {
                "folds": folds,
                "route": chosen[0]["route"],
                "seconds": round(float(np.median([row["seconds"] for row in chosen])), 3),
                "ratio": round(middle, 3),
                "ratio_min": round(least, 3),
                "ratio_max": round(most, 3),
                "peak_mib": max(row["peak_mib"] for row in chosen),
            }
        )
    return lines


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="samples, features and targets times this")
    parser.add_argument("--route", default="primal-leave-out", help="default: primal-leave-out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of folds.json")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.sizes = {name: max(1, round(size * options.scale)) for name, size in SIZES.items()}
    if options.sizes["n"] < 3 * N_RUNS:
        parser.error(f"--scale {options.scale} leaves runs of fewer than 3 samples")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.only:
        print(json.dumps(measure(options.sizes, options.only, options.route)))
        return 0
    rows = []
    for number, folds in interleaved([str(folds) for folds in FOLDS], options.rounds):
        rows.append({"round": number, **in_a_fresh_process(options, int(folds))})
        print(f"round {number + 1}: {folds} folds, {rows[-1]['seconds']} s", file=sys.stderr)
    summary = summarise(rows)
    settings = {"sizes": options.sizes, "runs": N_RUNS, "alphas": ALPHAS.size, "dtype": "float32"}
    record = {"summary": summary, "rounds": rows, "machine": describe(**settings, rounds=options.rounds)}
    write_json(options.out / "folds.json", record)
    print(show(summary, list(summary[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
