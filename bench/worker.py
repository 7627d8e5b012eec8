"""One competitor, one problem, one fit, in a process of its own (bench.run starts these).

Order: make the data (for who knows no delays, the delayed design), warm up on the tiny problem (imports,
thread pools), note the resident memory, fit under the clock, note the peak.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.adapters import Adapter, Result, get_adapter
from bench.memory import peak_mib, reset_peak, resident_mib
from bench.problems import Problem, make_problem
from bench.shapes import Shape

_N_PREDICTED = 2000  # targets whose predictions are compared


def measure(
    adapter: Adapter, problem: Problem, warm_up: Problem, limit_seconds: float | None = None
) -> tuple[dict[str, Any], Result]:
    """Time and memory of ``adapter.run(problem)``, after a run of ``warm_up``.

    ``baseline_mib`` is what was resident before the fit: interpreter, libraries, data. ``peak_mib`` is the
    peak of the whole process during the fit; where the kernel cannot restart the peak (``peak_restarted``
    false), it includes the making of the data. Past ``limit_seconds`` the system ends this process.
    """
    adapter.run(warm_up)
    gc.collect()
    restarted = reset_peak()
    row: dict[str, Any] = {"load_1min": os.getloadavg()[0], "peak_restarted": restarted}
    row["baseline_mib"] = resident_mib()
    if limit_seconds is not None:
        signal.setitimer(signal.ITIMER_REAL, limit_seconds)  # no handler: it ends compiled code too
    cpu, start = time.process_time(), time.perf_counter()
    result = adapter.run(problem)
    row["seconds"] = time.perf_counter() - start
    row["cpu_seconds"] = time.process_time() - cpu
    signal.setitimer(signal.ITIMER_REAL, 0)
    row["peak_mib"] = peak_mib()
    row["increment_mib"] = row["peak_mib"] - row["baseline_mib"]
    row["coefficients"] = result.coefficients
    row["n_alphas_chosen"] = int(np.unique(result.alpha[np.isfinite(result.alpha)]).size)
    row["mean_cv_score"] = float(np.mean(result.cv_score))
    row["checksum"] = problem.checksum()
    return row, result


def outcome(problem: Problem, result: Result) -> dict[str, Any]:
    """What is compared between competitors."""
    kept = {"alpha": result.alpha, "cv_score": result.cv_score, "alphas": problem.alphas}
    if result.cv_scores is not None:
        kept["cv_scores"] = result.cv_scores
    if result.predict is not None:
        kept["prediction"] = result.predict(problem.x_new)[:, :_N_PREDICTED]
    return kept


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--competitor", required=True)
    problem_options = parser.add_mutually_exclusive_group(required=True)
    problem_options.add_argument("--problem", help="a name of bench/shapes.py")
    problem_options.add_argument("--shape", help="or the fields of a Shape, as JSON")
    parser.add_argument("--scoring", choices=("correlation", "r2"), required=True)
    parser.add_argument("--outcome", type=Path, required=True, help=".npz file to write")
    parser.add_argument("--limit-seconds", type=float, help="end the process when the fit has taken so long")
    options = parser.parse_args(arguments)
    _end_with_parent()
    adapter = get_adapter(options.competitor)
    problem = make_problem(options.problem or _shape(options.shape), options.scoring)
    warm_up = make_problem("tiny-loo" if problem.leaves_one_out else "tiny", options.scoring)
    if not adapter.takes_delays:
        problem = problem.materialised()
    row, result = measure(adapter, problem, warm_up, options.limit_seconds)
    np.savez(options.outcome, **outcome(problem, result))
    print(json.dumps(row))
    return 0


def _end_with_parent() -> None:
    """A campaign that is killed must not leave a fit behind that would disturb the next one."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _shape(text: str) -> Shape:
    fields = json.loads(text)
    return Shape(**fields | {"run_lengths": tuple(fields.get("run_lengths", ()))})


if __name__ == "__main__":
    sys.exit(main())
