"""How near the machine's own products a fit comes: `python -m bench.roofline`.

For each shape a fresh process measures the rates of this machine in the library that voxridge calls
(products, rank updates, factorisations, eigendecompositions), fits, measures the rates again, and fits once
more while the stack of the main thread is sampled, for the phases. Printed and written to
results/roofline.json:

irreducible flops   what the algebra of the chosen route needs: of all steps of its plan
(solvers/route_costs.py) those that are products (2 m n k), rank updates (n^2 k), Cholesky factors and
inverses (n^3 / 3, 2 n^3 / 3) and eigendecompositions (9 n^3), whatever their precision; filters, sums and
copies count nothing sustained share     irreducible flops / seconds / rate of sgemm; the target is 75 %
priced share        the time of those flops at the measured rate of their own kind (a float64 product at
that of dgemm, an eigendecomposition at that of dsyevd at its order) / seconds: what is left to gain without
other algebra"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from bench.machine import RESULTS, ROOT, describe, solver_version
from bench.memory import peak_mib
from bench.problems import Problem, make_problem
from bench.process import environment
from bench.shapes import SHAPES
from bench.tables import Row, show, write_json

TARGET = 0.75
_PASSES = ("filters", "moments", "memory", "file", "pages", "calls")  # kinds of steps that are no algebra
_INTERVAL = 0.005  # seconds between samples of the stack
_TOOLS = ("linalg", "guarded", "gram", "_threads", "matrix")  # modules whose caller is the phase


def machine_rates(order: int) -> dict[str, float]:
    """Flops per second of products and factorisations of ``order``, the best of three."""
    from voxridge import _cpu
    from voxridge.solvers.linalg import gram, matmul

    rng, rates = np.random.default_rng(0), {}
    for size in (4, 8):
        a = rng.standard_normal((order, order)).astype(f"f{size}")
        out = np.empty_like(a)
        rates[f"gemm{size}"] = 2 * order**3 / _least(lambda a=a, out=out: matmul(a, a, out=out))  # type: ignore[misc]
    rates["syrk8"] = order**3 / _least(lambda: gram(a))
    spd = gram(a)
    spd[np.diag_indices(order)] += order
    factor = spd.copy()
    rates["potrf"] = order**3 / 3 / _least(lambda: _cpu.cholesky(factor), lambda: np.copyto(factor, spd))
    kept = factor.copy()
    seconds = _least(lambda: _cpu.cholesky_inverse(factor), lambda: np.copyto(factor, kept))
    rates["potri"] = 2 * order**3 / 3 / seconds
    return rates


def eigh_rate(order: int) -> float:
    """Flops per second of dsyevd, with vectors."""
    from voxridge.solvers.linalg import eigh_inplace

    symmetric = np.random.default_rng(0).standard_normal((order, order))
    symmetric += symmetric.T
    return 9 * order**3 / _least(lambda: eigh_inplace(symmetric), times=1)


def _least(work: Callable[[], Any], prepare: Callable[[], Any] | None = None, times: int = 3) -> float:
    taken = []
    for _ in range(times):
        if prepare is not None:
            prepare()
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def irreducible(steps: Iterable[Any]) -> dict[str, dict[str, float]]:
    """Flops by the names of the steps of a plan, and by their kinds."""
    found: dict[str, dict[str, float]] = {"steps": {}, "kinds": {}}
    for step in steps:
        if step.kind not in _PASSES and step.flops:
            for key, name in (("steps", step.name), ("kinds", step.kind)):
                found[key][name] = found[key].get(name, 0.0) + step.flops
    return found


class Sampler:
    """Counts in which function of voxridge the calling thread is, while the block runs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, args=(threading.get_ident(),), daemon=True)
        self._done = threading.Event()

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        self._thread.join()

    def shares(self, least: float = 0.005) -> dict[str, float]:
        """Of the samples, largest first; smaller ones are left out."""
        total = max(1, sum(self.counts.values()))
        return {
            name: round(count / total, 4)
            for name, count in self.counts.most_common()
            if count >= least * total
        }

    def _run(self, thread: int) -> None:
        while not self._done.wait(_INTERVAL):
            self.counts[phase(sys._current_frames().get(thread))] += 1


def phase(frame: FrameType | None) -> str:
    """``module.function`` of the innermost frame inside voxridge that is no mere tool."""
    while frame is not None:
        package, _, module = frame.f_globals.get("__name__", "").rpartition(".")
        if package.split(".")[0] == "voxridge" and module not in _TOOLS:
            return f"{module}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "outside voxridge"


def fit(problem: Problem) -> tuple[Any, float]:
    """The model and the seconds of its fit, as bench/adapters/voxridge.py asks for it."""
    from bench.adapters.voxridge import fit_folds

    begin = time.perf_counter()
    model = fit_folds(problem)
    return model, time.perf_counter() - begin


def measure(problem: Problem, order: int) -> Row:
    """Everything about one shape, in this process."""
    fit(make_problem("tiny"))
    before = machine_rates(order)
    model, seconds = fit(problem)
    peak = peak_mib()
    after = machine_rates(order)
    rates = {kind: max(before[kind], after[kind]) for kind in before}
    orders = [int(step.size) for step in model.plan_.steps if step.kind == "eigh"]
    if orders:
        rates["eigh"] = eigh_rate(max(orders))
    with Sampler() as sampler:
        _, sampled_seconds = fit(problem)
    work = irreducible(model.plan_.steps)
    unknown = set(work["kinds"]) - set(rates)
    if unknown:
        raise RuntimeError(
            f"the plan has steps of kind {', '.join(sorted(unknown))}, whose rate is not measured"
        )
    flops = sum(work["kinds"].values())
    priced = sum(amount / rates[kind] for kind, amount in work["kinds"].items())
    return {
        "route": model.plan_.route,
        "seconds": seconds,
        "sampled_seconds": sampled_seconds,
        "irreducible_flops": flops,
        "flops_by_step": work["steps"],
        "flops_by_kind": work["kinds"],
        "rates": rates,
        "rates_before": before,
        "sgemm_rate": rates["gemm4"],
        "sustained_share": flops / seconds / rates["gemm4"],
        "priced_share": priced / seconds,
        "phases": sampler.shares(),
        "peak_mib": peak,
    }


def in_a_fresh_process(shape: str, options: argparse.Namespace) -> Row:
    command = [sys.executable, "-m", "bench.roofline", "--only", shape, "--order", str(options.order)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(options.threads), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the fit of {shape} failed:\n{done.stderr[-2000:]}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return {"shape": shape, **row}


def in_words(row: Row) -> str:
    """A row for the screen."""
    met = "MET   " if row["sustained_share"] >= TARGET else "MISSED"
    lines = [
        f"{row['shape']}: {row['route']}, {row['seconds']:.2f} s for {row['irreducible_flops']:.3g} flops",
        f"{met}  sustained {row['sustained_share']:.1%} of sgemm's {row['sgemm_rate'] / 1e9:.0f} GFLOP/s; "
        f"target {TARGET:.0%}. At each kind's own rate: {row['priced_share']:.1%}",
    ]
    lines += [
        f"    {kind:<6} {flops:9.3g} flops at {row['rates'][kind] / 1e9:6.0f} GFLOP/s: "
        f"{flops / row['rates'][kind]:7.2f} s"
        for kind, flops in row["flops_by_kind"].items()
    ]
    lines += [f"    {name:<45} {share:6.1%}" for name, share in list(row["phases"].items())[:15]]
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default="lpp13b,wide", help="default: the two largest, lpp13b,wide")
    parser.add_argument("--order", type=int, default=3072, help="of the products and factorisations")
    parser.add_argument("--threads", type=int, help="default: all")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of roofline.json")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = [
        name for name in options.shapes.split(",") if name not in SHAPES or SHAPES[name].leaves_one_out
    ]
    if unknown:
        parser.error(f"--shapes {','.join(unknown)}: no shapes with folds; there are {', '.join(SHAPES)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.only:
        print(json.dumps(measure(make_problem(options.only), options.order)))
        return 0
    rows = []
    for shape in options.shapes.split(","):
        rows.append(in_a_fresh_process(shape, options))
        print(in_words(rows[-1]), flush=True)
    settings = {"order": options.order, "solver": solver_version()}
    write_json(options.out / "roofline.json", {"machine": describe(**settings), "shapes": rows})
    print(show(rows, ("shape", "route", "seconds", "irreducible_flops", "sustained_share", "priced_share")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
