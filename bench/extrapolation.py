"""Extrapolated ceilings against a loop of scipy's fits: `python -m bench.extrapolation`.

Simulated subjects, a signal in common and noise of their own, are predicted from pools of each other; the
ceiling of every target and bootstrap is then fitted by voxridge, all at once, and by
``scipy.optimize.curve_fit``, one after the other, as published code does it. The loop is run on a sample of
targets and its time extrapolated in proportion, which the record says. Also measured: how often 95 %
intervals hold the limit they are of. Writes results/extrapolation.json.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, describe
from bench.memory import peak_mib
from bench.tables import band, show, verdict, write_json

N_SUBJECTS, N_ROWS, N_FOLDS, NOISE = 10, 384, 5, 1.5
COVERAGE = {"targets": 400, "rows": 2000, "folds": 10}


def simulated(n_targets: int, n_rows: int, n_folds: int, seed: int = 0) -> Any:
    """Scores of every subject from pools of the others; every target has the same truth."""
    from voxridge.science.subsets import subset_scores

    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n_rows, n_targets), dtype=np.float32)
    noises = (rng.standard_normal((n_rows, n_targets), dtype=np.float32) for _ in range(N_SUBJECTS))
    return subset_scores([signal + np.float32(NOISE) * noise for noise in noises], folds=n_folds)


def looped(x: np.ndarray, means: np.ndarray) -> dict[str, Any]:
    """A scipy fit for every column of ``means`` (n_sizes, n_fits)."""
    from scipy.optimize import OptimizeWarning, curve_fit

    def curve(size: np.ndarray, limit: float, tau: float) -> np.ndarray:
        return np.asarray(limit * (1 - np.exp(-size / tau)))

    found = np.full((2, means.shape[1]), np.nan)
    failed = 0
    begin = time.process_time()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)  # of the covariance, which is not used
        for i in range(means.shape[1]):
            try:
                found[:, i], _ = curve_fit(curve, x, means[:, i], bounds=([0, 1e-9], [1, np.inf]))
            except RuntimeError:
                failed += 1
    return {"seconds": time.process_time() - begin, "limit": found[0], "tau": found[1], "failed": failed}


def loss(x: np.ndarray, means: np.ndarray, limit: np.ndarray, tau: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        shape = np.where(np.isfinite(tau), 1 - np.exp(-x[:, None] / tau), 0.0)
    return np.asarray(((means - limit * shape) ** 2).sum(axis=0))


def compare(x: np.ndarray, means: np.ndarray, other: dict[str, Any]) -> dict[str, Any]:
    """Parameters and losses of both for the same means."""
    from voxridge.science.asymptotes import fit_asymptotes

    ours = fit_asymptotes(x, means)
    mine, theirs = loss(x, means, ours.limit, ours.tau), loss(x, means, other["limit"], other["tau"])
    done = np.isfinite(theirs)
    scale = (means**2).sum(axis=0)
    agree = done & (np.abs(mine - theirs) < 1e-9 * scale)
    return {
        "fits_compared": int(done.sum()),
        "scipy_failed": other["failed"],
        "scipy_loss_higher": float(np.mean(theirs[done] > mine[done] + 1e-6 * scale[done])),
        "voxridge_loss_higher": float(np.mean(mine[done] > theirs[done] + 1e-6 * scale[done])),
        "same_minimum": float(agree.sum() / done.sum()),
        "median_limit_difference": float(np.median(np.abs(ours.limit - other["limit"])[agree])),
        "p99_limit_difference": float(np.quantile(np.abs(ours.limit - other["limit"])[agree], 0.99)),
    }


def times(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of processor for all targets by voxridge, and for the sample by the loop."""
    from voxridge.science._redraws import draws, size_means
    from voxridge.science.extrapolation import extrapolate_ceiling

    begin = time.process_time()
    scores = simulated(-(-options.targets // N_SUBJECTS), N_ROWS, N_FOLDS)
    seconds_scores = time.process_time() - begin
    points = scores.stacked[:, : options.targets]
    extrapolate_ceiling(scores.sizes, points[:, :50], n_bootstraps=5)  # scipy and numpy are loaded
    sizes = np.unique(scores.sizes).astype(np.float64)
    rows = [np.flatnonzero(scores.sizes == size) for size in sizes]
    picked = np.random.default_rng(1).choice(points.shape[1], options.sample, replace=False)
    rounds, compared = [], {}
    for number in range(options.rounds):
        begin = time.process_time()
        extrapolate_ceiling(scores.sizes, points, n_bootstraps=options.bootstraps)
        ours = time.process_time() - begin
        drawn = draws(
            scores.sizes.astype(np.float64), None, options.bootstraps, np.random.default_rng(number)
        )
        means = size_means(rows, drawn, points[:, picked]).reshape(sizes.size, -1)
        other = looped(sizes, means)
        whole = other["seconds"] * points.shape[1] / options.sample
        rounds.append({"voxridge_s": ours, "scipy_s_extrapolated": whole, "ratio": whole / ours})
        compared = compare(sizes, means, other)
        print(f"round {number + 1}: {ours:.2f} s, scipy {whole:.0f} s (extrapolated)", file=sys.stderr)
    least, middle, most = band([row["ratio"] for row in rounds])
    return {
        "targets": points.shape[1],
        "points": points.shape[0],
        "bootstraps": options.bootstraps,
        "voxridge_s": float(np.median([row["voxridge_s"] for row in rounds])),
        "scipy_s_extrapolated": float(np.median([row["scipy_s_extrapolated"] for row in rounds])),
        "scipy_targets_run": options.sample,
        "ratio": middle,
        "ratio_min": least,
        "ratio_max": most,
        "verdict": verdict([row["ratio"] for row in rounds]),
        "subset_scores_s": seconds_scores,
        "peak_mib": round(peak_mib(), 1),
        "rounds": rounds,
        "agreement": compared,
    }


def coverage() -> list[dict[str, Any]]:
    """How often intervals hold the limit of the curve they fit to the analytic scores, and the best score
    that any number of subjects could give."""
    from voxridge.science.asymptotes import CURVES, fit_asymptotes, shape_of

    scores = simulated(COVERAGE["targets"], COVERAGE["rows"], COVERAGE["folds"], seed=2)
    best = 1 / np.sqrt(1 + NOISE**2)
    x = np.arange(2.0, N_SUBJECTS + 1)
    analytic = best * shape_of("reliability", x, np.array(NOISE**2))
    lines = []
    for curve in CURVES:
        limit = float(fit_asymptotes(x, analytic[:, None], curve=curve).limit[0])  # type: ignore[arg-type]
        for drawn, groups in (("points", {"groups": None}), ("folds", {})):
            found = scores.extrapolate(shared=True, curve=curve, **groups)
            held = {"own_limit": limit, "best_reachable": best}
            shares = {
                f"holds_{k}": float(np.mean((found.low <= v) & (v <= found.high))) for k, v in held.items()
            }
            median = float(np.median(found.v0))
            lines.append({"curve": curve, "drawn": drawn, "median": median, **held, **shares})
    return lines


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=12_155)
    parser.add_argument("--bootstraps", type=int, default=100)
    parser.add_argument("--sample", type=int, default=12, help="targets that the loop is run on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of extrapolation.json")
    options = parser.parse_args(arguments)
    if options.sample > options.targets:
        parser.error(f"--sample {options.sample} is more than --targets {options.targets}")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    speed, intervals = times(options), coverage()
    settings = {"subjects": N_SUBJECTS, "rows": N_ROWS, "folds": N_FOLDS, "noise": NOISE, **COVERAGE}
    machine = describe(coverage_of=settings, rounds=options.rounds, sample=options.sample)
    write_json(
        options.out / "extrapolation.json", {"speed": speed, "coverage": intervals, "machine": machine}
    )
    shown = [name for name in speed if name not in ("rounds", "agreement")]
    print(show([speed], shown))
    print(show([speed["agreement"]], list(speed["agreement"])))
    print(show(intervals, list(intervals[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
