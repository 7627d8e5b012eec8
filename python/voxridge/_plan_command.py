"""The command ``voxridge plan``: what a fit would do, and what it would need, before any of it is done."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from voxridge._dispatch import PRECISIONS

if TYPE_CHECKING:
    from voxridge.solvers.plan import Plan
    from voxridge.solvers.problem import Problem

_DEVICES = ("h200", "a100-80", "a100-40", "rtx4090", "rtx3070", "b200")  # of solvers/cuda/devices.py
_SIZES = ("samples", "features", "targets")
_EPILOG = """\
Either two files, of which only the shapes are read, or sizes:

  voxridge plan features.h5 responses.h5 --runs 300,280,310 --memory-limit 8GB
  voxridge plan --samples 33000 --features 7168 --targets 95556 --runs 95 --machine 32-cores
"""


def add_plan(commands: Any) -> None:
    """Add the subcommand to the parser."""
    plan = commands.add_parser(
        "plan",
        help="route, memory and time of a fit, before it runs",
        description="Print the route and tiles that a cross-validated fit would take, its flops, peak memory "
        "and expected time. Nothing is fitted.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument(
        "files", type=Path, nargs="*", metavar="FILE", help="features and responses: .npy or HDF5"
    )
    plan.add_argument("--samples", type=int, help="rows")
    plan.add_argument("--features", type=int, help="columns before they are delayed")
    plan.add_argument("--targets", type=int, help="responses, such as voxels")
    plan.add_argument(
        "--runs", help="their number, or their lengths such as 300,280 (default: as in the files)"
    )
    plan.add_argument("--delays", default="1,2,3,4", help="rows (default: 1,2,3,4)")
    plan.add_argument("--alphas", type=int, default=20, help="number of penalties (default: 20)")
    plan.add_argument(
        "--folds",
        "--cv",
        default="leave-one-run-out",
        help='"leave-one-run-out" (default) or a number of folds',
    )
    plan.add_argument("--dtype", choices=("float32", "float64"), help="default: as in the files, or float32")
    plan.add_argument(
        "--read",
        choices=("nothing", "targets", "both"),
        help="read from files during the fit: nothing, the targets, or features too (default: as a fit of "
        "files does it: the targets, and features that take more than a quarter of the memory left)",
    )
    plan.add_argument(
        "--weights",
        choices=("memory", "file", "none"),
        default="memory",
        help="where they go (default: memory)",
    )
    plan.add_argument("--solver", default="auto", help='a route, or "auto" (default)')
    plan.add_argument(
        "--memory-limit", help='of the whole process, such as "8GB" (default here: 80 %% of what is free)'
    )
    plan.add_argument(
        "--machine",
        choices=("here", "32-cores", *_DEVICES),
        default="here",
        help="default: here, measured; others are assumed, CUDA devices beside a host without a limit",
    )
    plan.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="that CUDA devices round products to while penalties are compared (default: float32)",
    )
    plan.add_argument("--json", action="store_true", help="print JSON")
    plan.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from voxridge.solvers.memory import default_limit, parse_memory

    limit = parse_memory(options.memory_limit)
    if limit is None and options.machine == "here":
        limit = default_limit()
    plan = _plan(options, _problem(options, limit), limit)
    if options.json:
        kept = {"side": plan.side, "method": plan.method, "memory_limit": limit}
        print(json.dumps(dataclasses.asdict(plan) | kept, indent=2))
    else:
        print(plan)
    return 0


def _plan(options: argparse.Namespace, problem: Problem, limit: int | None) -> Plan:
    from voxridge.solvers.cuda.devices import fake_device
    from voxridge.solvers.cuda.plan import make_device_plan
    from voxridge.solvers.plan import make_plan
    from voxridge.solvers.rates import MACHINES

    if options.machine not in _DEVICES:
        machine = MACHINES[options.machine]()
        return make_plan(problem, solver=options.solver, memory_limit=limit, machine=machine)
    device = fake_device(options.machine)
    return make_device_plan(
        problem, device, solver=options.solver, precision=options.precision, memory_limit=limit
    )


class _Sizes(NamedTuple):
    n: int
    width: int
    n_targets: int
    runs: list[int]
    dtype: str
    stored: str  # dtype of the targets in their file


def _problem(options: argparse.Namespace, limit: int | None) -> Problem:
    import numpy as np

    from voxridge._encoding_job import worth_reading_whole
    from voxridge.solvers.folds import make_folds
    from voxridge.solvers.memory import resident_memory
    from voxridge.solvers.problem import Problem
    from voxridge.solvers.rows import check_delays

    sizes = _sizes_of_files(options) if options.files else _given_sizes(options)
    delays = check_delays(_integers(options.delays, "--delays"), sizes.runs)
    cv = options.folds if options.folds == "leave-one-run-out" else _integers(options.folds, "--folds")[0]
    if options.alphas < 1:
        raise ValueError(f"--alphas is {options.alphas}; give the number of penalties, 1 or more")
    itemsize = np.dtype(options.dtype or sizes.dtype).itemsize
    held = resident_memory()
    features, targets = (columns * sizes.n * itemsize for columns in (sizes.width, sizes.n_targets))
    whole = limit is None or worth_reading_whole(features, limit, held)
    read = options.read or ("targets" if whole else "both")
    return Problem(
        sizes.n,
        sizes.width * len(delays),
        sizes.n_targets,
        options.alphas,
        make_folds(cv, sizes.runs, longest_delay=max(abs(delay) for delay in delays)),
        itemsize,
        targets_in_memory=read == "nothing",
        features_in_memory=read != "both",
        delays=delays,
        targets_itemsize=np.dtype(sizes.stored).itemsize,
        weights=options.weights,
        resident_bytes=held + features * (read != "both") + targets * (read == "nothing"),
    )


def _given_sizes(options: argparse.Namespace) -> _Sizes:
    missing = [f"--{name}" for name in _SIZES if getattr(options, name) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing: give two files, or --samples, --features, --targets")
    wrong = [f"--{name} {getattr(options, name)}" for name in _SIZES if getattr(options, name) < 1]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: must be 1 or more")
    runs = _run_lengths(options.runs or "1", options.samples)
    stored = options.dtype or "float32"
    return _Sizes(options.samples, options.features, options.targets, runs, stored, stored)


def _sizes_of_files(options: argparse.Namespace) -> _Sizes:
    import numpy as np

    from voxridge.streams import as_source, match_runs

    given = [f"--{name}" for name in _SIZES if getattr(options, name) is not None]
    if given:
        raise ValueError(f"{', '.join(given)}: the files say so; give files or sizes, not both")
    if len(options.files) != 2:
        raise ValueError(f"{len(options.files)} file(s): give two, the features and the responses")
    features = as_source(str(options.files[0]), name="features")
    responses = as_source(str(options.files[1]), name="responses")
    if options.runs:
        runs = _run_lengths(options.runs, features.shape[0])
        features, responses = (
            as_source(source, name=name, runs=runs)
            for source, name in ((features, "features"), (responses, "responses"))
        )
    match_runs(features, responses)
    n, width = features.shape
    dtype = np.result_type(features.dtype, responses.dtype)
    return _Sizes(n, width, responses.shape[1], list(features.runs), dtype.name, responses.dtype.name)


def _run_lengths(text: str, n_samples: int) -> list[int]:
    """A number of runs of nearly equal length, or their lengths."""
    lengths = _integers(text, "--runs")
    if len(lengths) > 1:
        if min(lengths) < 1 or sum(lengths) != n_samples:
            raise ValueError(
                f"--runs {text}: lengths add up to {sum(lengths)}, there are {n_samples} samples"
            )
        return lengths
    count = lengths[0]
    if not 1 <= count <= n_samples:
        raise ValueError(f"--runs {text}: give a number of runs from 1 to {n_samples}, or their lengths")
    return [n_samples // count + (i < n_samples % count) for i in range(count)]


def _integers(text: str, option: str) -> list[int]:
    try:
        return [int(entry) for entry in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} is {text!r}; give whole numbers separated by commas") from None
