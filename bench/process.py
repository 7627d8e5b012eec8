"""One fit in a fresh process: `python -m bench.worker` is started and its answer read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import ROOT
from bench.shapes import Shape
from bench.tables import Row

STOPPED = "stopped"  # the status of a fit that ran past its limit begins with this


def fit_in_fresh_process(
    competitor: str,
    problem: str | Shape,
    scoring: str = "correlation",
    *,
    threads: int | None = None,
    limit_seconds: float | None = None,
) -> tuple[Row, dict[str, Any]]:
    """(row, outcome): what was measured, "status" first, and what the fit found.

    A fit that takes longer than ``limit_seconds`` is ended by the system; making the data does not count.
    """
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "outcome.npz"
        command = [
            sys.executable,
            "-m",
            "bench.worker",
            "--competitor",
            competitor,
            "--outcome",
            str(outcome),
        ]
        if isinstance(problem, str):
            command += ["--problem", problem]
        else:
            command += ["--shape", json.dumps(asdict(problem))]
        command += ["--scoring", scoring]
        if limit_seconds is not None:
            command += ["--limit-seconds", f"{limit_seconds:g}"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(threads), capture_output=True, text=True, check=False
        )
        if limit_seconds is not None and done.returncode == -signal.SIGALRM:
            return {"status": f"{STOPPED} after {limit_seconds:.0f} s", "limit_seconds": limit_seconds}, {}
        if done.returncode:
            return {"status": _failure(done)}, {}
        with np.load(outcome) as arrays:
            return {"status": "ok", **json.loads(done.stdout.splitlines()[-1])}, dict(arrays)


def environment(threads: int | None) -> dict[str, str]:
    """Of the process: so many threads for every library, or each one's own default."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VOXRIDGE_NUM_THREADS")
    return dict(os.environ) | ({} if threads is None else dict.fromkeys(variables, str(threads)))


def _failure(done: subprocess.CompletedProcess[str]) -> str:
    """The kind of failure; the message goes to the screen only, for it may name paths."""
    print(done.stderr, file=sys.stderr)
    if done.returncode < 0:
        return f"failed: signal {-done.returncode}"
    last = (done.stderr.strip().splitlines() or ["unknown"])[-1]
    return f"failed: {last.partition(':')[0]}"
