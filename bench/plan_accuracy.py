"""How well plans foretell time and memory: `python -m bench.plan_accuracy --shapes all --scale 0.5`.

Every fit has a fresh process. The plan is made as in any fit, before it begins; its time is for rates that
are measured in the same process. Ratios are true / expected: a plan is right within 2x in time and 1.15x in
memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, ROOT, describe
from bench.memory import peak_mib, reset_peak, resident_mib
from bench.shapes import RACES, Shape
from bench.tables import write_json

_BLOCK = 1000  # targets made at a time
_TIME, _MEMORY = 2.0, 1.15  # what a plan promises


@dataclass(frozen=True)
class Case:
    """A problem and how it is fitted. ``n_features`` is before ``n_delays``; ``on_disk`` is "nothing",
    "targets" or "both"."""

    shape: str
    n: int
    n_features: int
    n_targets: int
    n_alphas: int
    n_folds: int
    n_delays: int = 1
    route: str = "auto"
    on_disk: str = "nothing"
    weights: str = "memory"
    memory_limit: int | None = None
    steepness: float = 1.0  # variances of features fall as k**-steepness

    def scaled(self, scale: float) -> Case:
        """Samples, features and targets times ``scale``."""
        sizes = {
            name: max(1, round(getattr(self, name) * scale)) for name in ("n", "n_features", "n_targets")
        }
        return replace(self, **sizes)


def _case(name: str, shape: Shape) -> Case:
    sizes = shape.n_samples, shape.n_features, shape.n_targets, shape.n_alphas, shape.n_folds
    return Case(name, *sizes, n_delays=shape.n_delays)


# The shapes of the races, and leave-one-run-out over many runs.
SHAPES = {name: _case(name, shape) for name, shape in RACES.items()}
SHAPES["runs"] = Case("runs", 6000, 512, 5000, 10, 60, n_delays=2)


def make_data(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Features whose variances fall and noisy targets, float32."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.n, case.n_features), dtype=np.float32)
    fall = np.arange(1, case.n_features + 1) ** -case.steepness
    x *= np.sqrt(case.n_features * fall).astype(np.float32)
    y = np.empty((case.n, case.n_targets), dtype=np.float32)
    few = x[:, : min(50, case.n_features)]
    for begin in range(0, case.n_targets, _BLOCK):
        width = min(_BLOCK, case.n_targets - begin)
        weights = rng.standard_normal((few.shape[1], width), dtype=np.float32)
        noise = rng.standard_normal((case.n, width), dtype=np.float32)
        y[:, begin : begin + width] = few @ weights / 10 + 5 * noise
    return x, y


def fit(case: Case, x: Any, y: Any, weights: str) -> Any:
    """The plan of the fit, which has then been carried out. ``x`` and ``y``: arrays or paths."""
    from voxridge.solvers import DelayedDesign, Targets, make_folds, solve_ridge_cv
    from voxridge.solvers.stream_design import StreamedDesign
    from voxridge.streams import as_source

    delays = tuple(range(1, case.n_delays + 1)) if case.n_delays > 1 else (0,)
    runs = [case.n // case.n_folds + (i < case.n % case.n_folds) for i in range(case.n_folds)]
    folds = make_folds("leave-one-run-out", runs)
    source = as_source(y, name="responses", runs=runs)
    if isinstance(x, np.ndarray):
        design: Any = DelayedDesign(x, delays, runs)
    else:
        design = StreamedDesign(as_source(x, name="features", runs=runs), delays)
    targets = Targets(
        case.n,
        case.n_targets,
        lambda begin, end: source.read(columns=slice(begin, end)),
        np.zeros(case.n_targets),
        np.ones(case.n_targets, dtype=bool),
        in_memory=source.in_memory,
    )
    alphas = np.logspace(0, 8, case.n_alphas)
    return solve_ridge_cv(
        design,
        targets,
        alphas,
        folds,
        solver=case.route,
        memory_limit=case.memory_limit,
        weights=weights,
    ).plan


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Expected and true time and memory of one fit in this process."""
    from voxridge.solvers.rates import measured

    machine = measured()
    if case.on_disk == "both":
        x: Any = str(folder / "x.npy")
    else:
        x = np.load(folder / "x.npy")
    y: Any = np.load(folder / "y.npy") if case.on_disk == "nothing" else str(folder / "y.npy")
    weights = str(folder / f"weights-{os.getpid()}.npy") if case.weights == "file" else case.weights
    gc.collect()
    restarted = reset_peak()
    before = resident_mib()
    load = os.getloadavg()[0]
    begin, processor = time.perf_counter(), time.process_time()
    plan = fit(case, x, y, weights)
    seconds = time.perf_counter() - begin
    used = time.process_time() - processor
    peak, expected = peak_mib(), plan.on(machine)
    return {
        **asdict(case),
        "route": plan.route,
        "tile": plan.n_targets_batch,
        "folds_per_pass": plan.folds_per_pass,
        "alphas_per_pass": plan.alphas_per_pass,
        "seconds": round(seconds, 3),
        "expected_seconds": round(expected.seconds, 3),
        "time_ratio": round(seconds / expected.seconds, 3),
        "cpu_seconds": round(used, 3),
        "load_1min": load,
        "resident_mib": round(before, 1),
        "peak_mib": round(peak, 1),
        "expected_peak_mib": round(plan.peak_bytes / 2**20, 1),
        "memory_ratio": round(peak * 2**20 / plan.peak_bytes, 3),
        "worst_mib": round(plan.worst_bytes / 2**20, 1),
        "within_limit": case.memory_limit is None or peak * 2**20 <= case.memory_limit,
        "peak_restarted": restarted,
        "steps": {name: round(took, 4) for name, _, took in expected.summary()},
    }


def run(case: Case, threads: int | None) -> dict[str, Any]:
    """Data in files, then the fit, each in a process of its own."""
    environment = dict(os.environ)
    if threads is not None:
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VOXRIDGE_NUM_THREADS")
        environment |= dict.fromkeys(variables, str(threads))
    with tempfile.TemporaryDirectory() as folder:
        for stage in ("make", "fit"):
            command = [sys.executable, "-m", "bench.plan_accuracy", "--stage", stage]
            command += ["--case", json.dumps(asdict(case)), "--folder", folder]
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(done.stderr[-600:], file=sys.stderr)
                last = (done.stderr.strip().splitlines() or ["unknown"])[-1]
                return {**asdict(case), "failed": last.partition(":")[0]}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def show(row: dict[str, Any]) -> str:
    name = f"{row['shape']:<13}{row['route']:<17}{row['on_disk']:<8}{row['weights']:<7}"
    if "failed" in row:
        return f"{name}failed: {row['failed']}"
    right = row["time_ratio"] <= _TIME and row["time_ratio"] >= 1 / _TIME
    lean = 1 / _MEMORY <= row["memory_ratio"] <= _MEMORY
    return (
        f"{name}{row['seconds']:8.2f} s (expected {row['expected_seconds']:8.2f}, x{row['time_ratio']:.2f}"
        f"{'' if right else ' !'})  {row['peak_mib']:7.0f} MiB (expected {row['expected_peak_mib']:7.0f}, "
        f"x{row['memory_ratio']:.3f}{'' if lean else ' !'}; {row['resident_mib']:.0f} before)  "
        f"tile {row['tile']}, folds {row['folds_per_pass']}, penalties {row['alphas_per_pass']}, "
        f"{row['cpu_seconds']:.2f} s of processors{'' if row['within_limit'] else ', LIMIT BROKEN'}"
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    from voxridge.solvers.plan import ROUTES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="all", help=f"all, or some of {', '.join(SHAPES)}")
    parser.add_argument("--scale", type=float, default=1.0, help="samples, features and targets times this")
    parser.add_argument("--routes", default="auto", help=f"auto, all, or some of {', '.join(ROUTES)}")
    parser.add_argument("--on-disk", choices=("nothing", "targets", "both"), default="nothing")
    parser.add_argument("--weights", choices=("memory", "file", "none"), default="memory")
    parser.add_argument("--memory-limit", help='such as "2GB" (default: none)')
    parser.add_argument(
        "--steepness", type=float, default=1.0, help="variances of features fall as k to minus this"
    )
    parser.add_argument("--threads", type=int, help="default: all")
    parser.add_argument("--out", type=Path, default=RESULTS / "plan-accuracy")
    parser.add_argument("--stage", choices=("make", "fit"), help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.shapes = list(SHAPES) if options.shapes == "all" else options.shapes.split(",")
    options.routes = list(ROUTES) if options.routes == "all" else options.routes.split(",")
    unknown = set(options.shapes) - set(SHAPES)
    if unknown:
        parser.error(f"--shapes: {', '.join(sorted(unknown))} not known; there are {', '.join(SHAPES)}")
    return options


def stage(options: argparse.Namespace) -> int:
    case = Case(**json.loads(options.case))
    if options.stage == "make":
        for name, array in zip("xy", make_data(case), strict=True):
            np.save(options.folder / f"{name}.npy", array)
        return 0
    print(json.dumps(measure(case, options.folder)))
    return 0


def main(arguments: list[str] | None = None) -> int:
    from voxridge.solvers.memory import parse_memory

    options = parse(arguments)
    if options.stage:
        return stage(options)
    rows = []
    for name in options.shapes:
        for route in options.routes:
            case = replace(
                SHAPES[name].scaled(options.scale),
                route=route,
                on_disk=options.on_disk,
                weights=options.weights,
                memory_limit=parse_memory(options.memory_limit),
                steepness=options.steepness,
            )
            rows.append(run(case, options.threads))
            print(show(rows[-1]), flush=True)
    settings = {"scale": options.scale, "threads": options.threads}
    write_json(options.out / "plan-accuracy.json", {"machine": describe(**settings), "fits": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
