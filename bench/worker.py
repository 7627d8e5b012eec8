"""One competitor, one problem, one fit, in a process of its own (bench.run starts these).

Order: make the data, warm up on the tiny problem (imports, thread pools), note the resident memory, fit under
the clock, note the peak.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.adapters import Adapter, Result, get_adapter
from bench.memory import peak_mib, reset_peak, resident_mib
from bench.problems import Problem, make_problem

_N_PREDICTED = 2000  # targets whose predictions are compared


def measure(adapter: Adapter, problem: Problem, warm_up: Problem) -> tuple[dict[str, Any], Result]:
    """Time and memory of ``adapter.run(problem)``, after a run of ``warm_up``.

    ``baseline_mib`` is what was resident before the fit: interpreter, libraries, data. ``peak_mib`` is the
    peak of the whole process during the fit; where the kernel cannot restart the peak (``peak_restarted``
    false), it includes the making of the data.
    """
    adapter.run(warm_up)
    gc.collect()
    restarted = reset_peak()
    row: dict[str, Any] = {"load_1min": os.getloadavg()[0], "peak_restarted": restarted}
    row["baseline_mib"] = resident_mib()
    cpu, start = time.process_time(), time.perf_counter()
    result = adapter.run(problem)
    row["seconds"] = time.perf_counter() - start
    row["cpu_seconds"] = time.process_time() - cpu
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
    if result.predict is not None:
        kept["prediction"] = result.predict(problem.x_new)[:, :_N_PREDICTED]
    return kept


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--competitor", required=True)
    parser.add_argument("--problem", required=True)
    parser.add_argument("--scoring", choices=("correlation", "r2"), required=True)
    parser.add_argument("--outcome", type=Path, required=True, help=".npz file to write")
    options = parser.parse_args(arguments)
    problem = make_problem(options.problem, options.scoring)
    row, result = measure(get_adapter(options.competitor), problem, make_problem("tiny", options.scoring))
    np.savez(options.outcome, **outcome(problem, result))
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
