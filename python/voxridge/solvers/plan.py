"""What a cross-validated fit will do before it does it: route, tiles, flops and memory, from a written cost
model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from voxridge.solvers.folds import Fold

_EIGH = 9.0  # float64 flops per k^3, with vectors
_FLOAT64_COST = 2.0  # a float64 flop in units of a float32 flop
_TILE_TARGET_BYTES = 80 * 2**20  # buffers of one tile: wider ones no longer make the products faster
_LEAST_TILE = 64
_EXACT = 8  # bytes of a float64, which the primal falls back on (spectral.PrimalFolds)


@dataclass(frozen=True)
class Plan:
    """Route and tiles of a fit, with what they cost. ``flops`` counts the irreducible products;
    ``peak_bytes`` is on top of the inputs."""

    route: Literal["primal", "dual"]
    n_targets_batch: int
    folds_per_pass: int
    flops: float
    factor_bytes: int
    tile_bytes: int
    result_bytes: int
    peak_bytes: int
    reason: str

    def __str__(self) -> str:
        rows = [
            ("route", f"{self.route} spectral ({self.reason})"),
            ("targets in a tile", f"{self.n_targets_batch}"),
            ("folds in a pass", f"{self.folds_per_pass}"),
            ("flops", f"{self.flops:.3g}"),
            ("fold factors", _megabytes(self.factor_bytes)),
            ("tile buffers", _megabytes(self.tile_bytes)),
            ("results", _megabytes(self.result_bytes)),
            ("peak beside the inputs", _megabytes(self.peak_bytes)),
        ]
        return "\n".join(f"{name:<24}{value}" for name, value in rows)


@dataclass(frozen=True)
class Problem:
    """Sizes that decide a plan."""

    n: int
    p: int
    n_targets: int
    n_alphas: int
    folds: Sequence[Fold]
    itemsize: int
    targets_in_memory: bool = True

    @property
    def longest_train(self) -> int:
        return max(fold.train.size for fold in self.folds)


def make_plan(
    problem: Problem, *, solver: str, memory_limit: int | None, n_targets_batch: int | None = None
) -> Plan:
    """Choose the cheaper route (or the one asked for) and tiles that fit the limit.

    Raises
    ------
    ValueError
        If ``solver`` is not "auto", "primal" or "dual".
    MemoryError
        If no tiling fits ``memory_limit``; the message says the least that would do.
    """
    if solver not in ("auto", "primal", "dual"):
        raise ValueError(f'solver={solver!r} is not known; use "auto", "primal" or "dual"')
    routes: list[Literal["primal", "dual"]] = ["primal", "dual"]
    candidates = [
        _plan_route(problem, route, memory_limit, n_targets_batch)
        for route in routes
        if solver in ("auto", route)
    ]
    fitting = [plan for plan in candidates if memory_limit is None or plan.peak_bytes <= memory_limit]
    if not fitting:
        least = min(plan.peak_bytes for plan in candidates)
        raise MemoryError(
            f"memory_limit={memory_limit} bytes is too small: the fit needs at least {least} bytes "
            f"({_megabytes(least)}) beside its inputs"
        )
    return min(fitting, key=lambda plan: plan.flops)


def _plan_route(
    problem: Problem, route: Literal["primal", "dual"], memory_limit: int | None, asked_tile: int | None
) -> Plan:
    v = problem.n_targets
    one_factor = max(_factor_bytes(problem, route, fold) for fold in problem.folds)
    all_factors = sum(_factor_bytes(problem, route, fold) for fold in problem.folds)
    row_bytes = _bytes_per_target(problem, route)
    least = _peak(problem, route, one_factor, min(_LEAST_TILE, v) * row_bytes)
    budget = _TILE_TARGET_BYTES if memory_limit is None else min(_TILE_TARGET_BYTES, memory_limit - least)
    widest = asked_tile or int(np.clip(budget // row_bytes, _LEAST_TILE, 8192))
    tile = -(-v // -(-v // widest)) if v else 1  # equal tiles: a narrow last one would be slow
    # A pass of the dual reads the targets and no more, so one fold at a time costs next to nothing; the
    # primal forms X'Y anew in every pass.
    together = 1 if route == "dual" and problem.targets_in_memory else len(problem.folds)
    held = min(all_factors, together * one_factor)
    if memory_limit is not None and _peak(problem, route, held, tile * row_bytes) > memory_limit:
        spare = memory_limit - _peak(problem, route, 0, tile * row_bytes)
        together = int(np.clip(spare // max(one_factor, 1), 1, together))
        held = min(all_factors, together * one_factor)
    return Plan(
        route=route,
        n_targets_batch=tile,
        folds_per_pass=together,
        flops=_flops(problem, route),
        factor_bytes=held,
        tile_bytes=tile * row_bytes,
        result_bytes=_result_bytes(problem, route),
        peak_bytes=_peak(problem, route, held, tile * row_bytes),
        reason=f"n = {problem.n}, p = {problem.p}",
    )


def _orders(problem: Problem, route: str) -> tuple[int, int]:
    """Order of the Gram of all samples and of the largest training Gram."""
    return (problem.p, problem.p) if route == "primal" else (problem.n, problem.longest_train)


def _peak(problem: Problem, route: str, factors: int, tiles: int) -> int:
    """The largest of three moments, beside the inputs."""
    full, order = _orders(problem, route)
    scores = (problem.n_alphas + 3) * problem.n_targets * 8
    # Decomposing: the Gram of all, one of our own that becomes the eigenvectors, LAPACK's 2 k^2, M.
    decomposing = 8 * max(full**2 + 4 * order**2, (4 if route == "primal" else 3) * full**2) + factors
    scoring = 8 * (full**2 + 2 * order**2) + factors + tiles
    refitting = (
        (_EXACT + problem.itemsize) * full**2 + factors + tiles + _result_bytes(problem, route) - scores
    )
    return int(scores + max(decomposing, scoring, refitting))


def _result_bytes(problem: Problem, route: str) -> int:
    full, _ = _orders(problem, route)
    return (full * problem.itemsize + 8 * (problem.n_alphas + 3)) * problem.n_targets


def _bytes_per_target(problem: Problem, route: str) -> int:
    """Buffers of one target in a tile."""
    _, order = _orders(problem, route)
    k = min(order, problem.longest_train)
    wide = problem.itemsize * (problem.n + 5 * k) + 8 * 4 * problem.n_alphas
    if route == "dual":
        return wide
    # X'Y of every fold, of all samples and of one training set, and z; in float64 where float32 will not do.
    return wide + _EXACT * ((len(problem.folds) + 2) * order + k + problem.n)


def _factor_bytes(problem: Problem, route: str, fold: Fold) -> int:
    order = problem.p if route == "primal" else fold.train.size
    k = min(order, fold.train.size)
    vectors = (_EXACT if route == "primal" else problem.itemsize) * k * order
    return vectors + problem.itemsize * (k * k + fold.validation.size * k)


def _flops(problem: Problem, route: str) -> float:
    """In units of one flop of the working precision."""
    n, p, v = problem.n, problem.p, problem.n_targets
    wide = 0.0
    square = float(n * p * (p if route == "primal" else n)) * _FLOAT64_COST
    orders = [
        (p if route == "primal" else fold.train.size, min(p, fold.train.size), fold.validation.size)
        for fold in problem.folds
    ]
    for order, k, scored in orders:
        square += _FLOAT64_COST * (_EIGH * order**3 + 2.0 * scored * order * k + scored * k * k)
        wide += 2.0 * v * (order * k + k * k + k * min(scored, order) + 1.5 * problem.n_alphas * k)
    full = p if route == "primal" else n
    square += _FLOAT64_COST * _EIGH * full**3
    wide += 4.0 * v * full * min(n, p) + (2.0 * v * n * p if route == "primal" else 0.0)
    return square + wide


def _megabytes(n_bytes: float) -> str:
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes < 2**33 else f"{n_bytes / 2**30:.1f} GiB"


def parse_memory(limit: Any) -> int | None:
    """Bytes from a number or text such as "8GB" or "512MiB"; None is no limit.

    Raises
    ------
    ValueError
        If the text is not a positive amount of memory.
    """
    if limit is None:
        return None
    units = {
        "": 1,
        "B": 1,
        "KB": 10**3,
        "MB": 10**6,
        "GB": 10**9,
        "TB": 10**12,
        "KIB": 2**10,
        "MIB": 2**20,
        "GIB": 2**30,
        "TIB": 2**40,
    }
    text = str(limit).strip().upper().replace(" ", "")
    number = text.rstrip("KMGTIB")
    try:
        amount = float(number) * units[text[len(number) :]]
    except (KeyError, ValueError):
        raise ValueError(
            f'memory_limit={limit!r} is not an amount of memory; give bytes or text such as "8GB"'
        ) from None
    if not np.isfinite(amount) or amount <= 0:
        raise ValueError(f"memory_limit={limit!r} must be positive")
    return int(amount)


def available_memory() -> int:
    """Bytes this process may still take: free memory, or what is left of a container's limit where that is
    less."""
    free = _meminfo("MemAvailable")
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(free, max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
        except (OSError, ValueError):  # no such controller, or "max": no limit
            continue
    return free


def _meminfo(name: str) -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 8 * 2**30  # not Linux: assume a small machine rather than none
