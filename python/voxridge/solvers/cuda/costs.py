"""What the routes on a device do: flops and bytes, by which operation. Notation as in
:mod:`voxridge.solvers.costs`.

Targets cross the link while the device works on the tile before, and the host launches work and makes scores
of one penalty while the device works on the next. What takes longest of the three counts in full, and of the
others ``_UNHIDDEN``.
"""

from __future__ import annotations

from collections.abc import Iterable

from voxridge.solvers.costs import gram_steps, rank, split_route
from voxridge.solvers.cuda.factors import HOST_ORDER
from voxridge.solvers.cuda.footprints import DeviceTiling, weights_itemsize
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import EIGH_FLOPS, Rates, Step

START = 0.5  # seconds until a context is made and libraries are loaded
_UNHIDDEN = 0.1
_EXACT = 0.5  # share of the penalties below 1e-4 of the largest eigenvalue: even odds
_REFINED = 1.5  # penalties of which a target's scores are made again in float32
_REFINED_LATER = 0.3  # of those of a later pass, which most targets are not near to choosing
_SCORE_BYTES = 200.0  # that numpy moves for a score of one target and set
_LAUNCHES = 12  # of a set under a penalty


def n_passes(problem: Problem, route: str, tiling: DeviceTiling) -> int:
    """Times that scores are made of tiles of all targets."""
    if split_route(route)[1] == "spectral":
        return -(-len(problem.folds) // tiling.folds)
    return -(-problem.n_alphas // tiling.alphas)


def device_steps(
    problem: Problem, route: str, tiling: DeviceTiling, precision: str, rates: Rates
) -> list[Step]:
    """All steps of a fit, of every design."""
    side, method = split_route(route)
    count = n_passes(problem, route, tiling)
    making = _making(problem, side, method)
    wide = _wide_kind(problem, precision)
    if method == "spectral":
        wide = "4" if wide == "2" and count > 1 else wide  # rounded scores of some folds decide nothing
        working = _spectral(problem, side, tiling, count, wide)
    else:
        working = _cholesky(problem, side, tiling, count, wide)
    working += _of_targets(problem, count)
    if wide == "2":
        working += _refinement(problem, route, count)
    working += _refit(problem, side, method, tiling, count)
    making, working = _times(making, problem.n_models), _times(working, problem.n_models)
    beside = _arrivals(problem, tiling, count)
    on_host = _times(_on_host(problem, tiling, count), problem.n_models)
    steps = _overlapped(working, beside, on_host, rates)
    return [Step("starting the device", START * rates.calls, 0, "calls"), *making, *steps]


def _wide_kind(problem: Problem, precision: str) -> str:
    """Which products as wide as the targets are: "8", "4" or "2"."""
    return "8" if problem.itemsize == 8 else "4" if precision == "float32" else "2"


def _times(steps: Iterable[Step], models: int) -> list[Step]:
    return [
        step._replace(flops=step.flops * models, bytes=step.bytes * models)
        for step in steps
        if step.flops or step.bytes
    ]


def _overlapped(working: list[Step], beside: list[Step], on_host: list[Step], rates: Rates) -> list[Step]:
    """``beside`` and ``on_host`` run while the device works; what takes longest counts."""
    groups = [working, beside, on_host]
    times = [sum(rates.seconds(step) for step in group) for group in groups]
    longest = max(range(len(groups)), key=lambda i: times[i])
    return [
        step if number == longest else step._replace(hidden=1 - _UNHIDDEN)
        for number, group in enumerate(groups)
        for step in group
    ]


# --- factors


def _making(problem: Problem, side: str, method: str) -> list[Step]:
    n, p0 = float(problem.n), float(problem.n_features)
    order = n if side == "dual" else float(problem.p)
    features = n * p0 * problem.itemsize
    steps = [
        Step("copying features", 0, 0, "link", bytes=features),
        Step("copying features", 0, 0, "staging", bytes=features),
        Step("reading features", 0, 0, "file", bytes=0 if problem.features_in_memory else 3 * features),
    ]
    if side == "dual":
        shifts = 8 * n * n * (len(problem.delays) + 3)
        steps.append(Step("kernel", n * n * p0, 0, "syrk8", p0, bytes=shifts))
    else:
        steps += gram_steps(problem, n)
    if method == "spectral":
        return steps + _decompositions(problem, side)
    a = problem.n_alphas
    steps.append(Step("factorisations", order**3 / 3 * a, 0, "potrf", order, bytes=48 * order**2 * a))
    if side == "dual":
        steps.append(Step("factorisations", 2 * order**3 / 3 * a, 0, "potri", order))
    if problem.leaves_one_out:
        solved = order**2 * n * a if side == "primal" else 0.0
        return [*steps, Step("fold factors", solved, 0, "gemm8", order)]
    for f in problem.fold_sizes:
        steps += _left_out(problem, side, float(f.held_out), float(f.scored), float(f.n_folds * a))
    return steps


def _left_out(problem: Problem, side: str, t: float, scored: float, each: float) -> list[Step]:
    """``I - S_ff`` of sets of one size, its inverse and what scores take of it."""
    p, steps = float(problem.p), [Step("fold factors", 0, 0, bytes=48 * t * t * each)]
    if side == "primal":
        steps.append(Step("fold factors", (p * p * t + 2 * p * t * t) * each, 0, "gemm8", min(t, p)))
    if t > HOST_ORDER:
        steps.append(Step("fold factors", t**3 / 3 * each, 0, "potrf", t))
        steps.append(Step("fold factors", 2 * t**3 / 3 * each, 0, "potri", t))
        return [*steps, Step("fold factors", 2 * _LAUNCHES * each, 0, "calls")]
    steps.append(Step("fold factors", t**3 * each, 0, "inverses", t))
    steps.append(Step("fold factors", 0, 0, "link", bytes=(8 * t * t + 8 * scored * t) * each))
    steps.append(Step("fold factors", 0, 0, "staging", bytes=16 * t * t * each))
    return [*steps, Step("fold factors", 6 * each, 0, "calls")]


def _decompositions(problem: Problem, side: str) -> list[Step]:
    steps = []
    for f in problem.fold_sizes:
        order = float(f.train if side == "dual" else problem.p)
        k, count, scored = rank(problem, f.train), float(f.n_folds), float(f.scored)
        steps.append(Step("eigendecompositions", EIGH_FLOPS * order**3 * count, 0, "eigh", order))
        steps.append(Step("held-out rows", 2 * scored * order * k * count, 0, "gemm8", min(scored, k)))
        steps.append(Step("eigendecompositions", 0, 0, bytes=48 * order**2 * count))
        if side == "primal":  # the Gram of the rows that are left out
            steps += gram_steps(problem, float(f.held_out), count)
    if problem.weights != "none":
        order = float(problem.n if side == "dual" else problem.p)
        steps.append(Step("eigendecompositions", EIGH_FLOPS * order**3, 0, "eigh", order))
    return steps


# --- targets


def _of_targets(problem: Problem, count: int) -> list[Step]:
    """What the device does with every tile, whatever the penalties."""
    passes = count + (not problem.alpha_per_target)
    size = float(problem.n) * problem.n_targets * problem.itemsize * passes
    return [
        Step("centring targets", 0, 0, bytes=6 * size),
        Step("sums over targets", 0, 0, "moments", bytes=4 * size),
    ]


def _cholesky(problem: Problem, side: str, tiling: DeviceTiling, count: int, wide: str) -> list[Step]:
    n, p, v, s = float(problem.n), float(problem.p), float(problem.n_targets), problem.itemsize
    a, tiles = problem.n_alphas, -(-problem.n_targets // tiling.targets)
    steps = []
    if side == "dual":
        steps.append(Step("predictions", 2 * n * n * v * a, 0, f"gemm{wide}", min(n, tiling.targets)))
        rounding = _EXACT * 12 * n * n * tiles * a if s < 8 else 0.0
        steps.append(Step("predictions", 0, 0, bytes=rounding + 4 * n * v * s * a))
    else:
        steps.append(Step("X'Y", 2 * n * p * v * count, 0, "gemm8", p))
        steps.append(Step("coefficients", 2 * p * p * v * a, 0, "gemm8", p, bytes=40 * p * v * a))
        gathered = 2 * n * p * s * tiles * a
        steps.append(Step("predictions", 2 * n * p * v * a, 0, f"gemm{s}", p, bytes=gathered))
    return steps + _held_out(problem, wide, a)


def _held_out(problem: Problem, wide: str, each: float) -> list[Step]:
    """Held-out predictions and their sums: a product whose result is not written."""
    v, s, steps = float(problem.n_targets), problem.itemsize, []
    for f in problem.fold_sizes:
        t, scored, count = float(f.held_out), float(f.scored), f.n_folds * each
        moved = 5 * t * v * s * count
        if f.held_out == 1:
            steps.append(Step("held-out predictions", 0, 0, bytes=moved))
            continue
        steps.append(Step("held-out predictions", 0, 0, bytes=moved))
        steps.append(_summed("held-out predictions", scored, t, v * count, wide, s))
    return steps


def _spectral(problem: Problem, side: str, tiling: DeviceTiling, count: int, wide: str) -> list[Step]:
    n, p, v, s = float(problem.n), float(problem.p), float(problem.n_targets), problem.itemsize
    a, tiles, steps = problem.n_alphas, -(-problem.n_targets // tiling.targets), []
    if side == "primal":
        steps += _with_features(problem, "X'Y", 2 * n * p * v * count, p)
    for f in problem.fold_sizes:
        order = float(f.train if side == "dual" else p)
        k, each, scored = rank(problem, f.train), float(f.n_folds) * v, float(f.scored)
        if side == "primal":
            rows = float(min(f.held_out, f.train))
            steps += _with_features(problem, "X'Y", 2 * rows * p * each, min(rows, p))
            steps += _with_features(problem, "projections", 2 * order * k * each, k)
        else:
            steps.append(Step("projections", 2 * order * k * each, 0, f"gemm{wide}", k))
        steps.append(Step("projections", 0, 0, bytes=(4 * order + k) * s * each))
        rows_read = 3 * scored * k * s * f.n_folds * tiles * a  # "scaled rows", for every penalty
        steps.append(_summed("held-out predictions", scored, k, each * a, wide, s)._replace(size=k))
        steps.append(Step("held-out predictions", 0, 0, bytes=rows_read))
    return steps


def _with_features(problem: Problem, name: str, flops: float, size: float) -> list[Step]:
    """Products with the features or with eigenvectors of their Gram, which float64 may be wanted for: even
    odds."""
    exact = 1.0 if problem.itemsize == 8 else _EXACT
    return [
        Step(name, exact * flops, 0, "gemm8", size),
        Step(name, (1 - exact) * flops, 0, f"gemm{problem.itemsize}", size),
    ]


def _summed(name: str, rows: float, k: float, columns: float, wide: str, s: int) -> Step:
    """A product (rows, k) with (k, columns) whose results are summed up where they are made: blocks of 64
    rows, and of 1,024 that read the other operand again."""
    whole = -(-rows // 64) * 64.0
    moved = ((1 + rows // 1024) * k + 2 * rows) * s * columns
    return Step(name, 2 * whole * k * columns, 0, f"fused{wide}", bytes=moved)


def _refinement(problem: Problem, route: str, count: int) -> list[Step]:
    """Scores of the best penalties of a pass once more in float32."""
    side, method = split_route(route)
    n, p, v, s = float(problem.n), float(problem.p), float(problem.n_targets), problem.itemsize
    if method == "spectral":
        return _refined_folds(problem, side)
    again = _REFINED + _REFINED_LATER * (count - 1)
    flops = 2 * n * n * v if side == "dual" else 2 * n * p * v
    steps = [Step("refinement", flops * again, 0, "gemm4", bytes=8 * n * v * again)]
    if side == "primal":
        steps.append(Step("refinement", (2 * n * p + 2 * p * p) * v * again, 0, "gemm8", p))
    for f in problem.fold_sizes:
        if f.held_out > 1:
            columns = v * f.n_folds * again
            steps.append(_summed("refinement", float(f.scored), float(f.held_out), columns, "4", s))
    return steps


def _refined_folds(problem: Problem, side: str) -> list[Step]:
    steps, v = [], float(problem.n_targets) * _REFINED
    for f in problem.fold_sizes:
        order = float(f.train if side == "dual" else problem.p)
        k, columns = rank(problem, f.train), v * f.n_folds
        steps.append(Step("refinement", 2 * order * k * columns, 0, "gemm4", k))
        steps.append(_summed("refinement", float(f.scored), k, columns, "4", problem.itemsize))
    return steps


def _refit(problem: Problem, side: str, method: str, tiling: DeviceTiling, count: int) -> list[Step]:
    """Weights of the targets that a penalty of the pass suits best so far, and their way to the host."""
    if problem.weights == "none":
        return []
    v, size = float(problem.n_targets), float(problem.n if side == "dual" else problem.p)
    tiles = -(-problem.n_targets // tiling.targets)
    written = (count + 1) / 2 if method == "cholesky" and problem.alpha_per_target else 1.0
    width = weights_itemsize(problem, side)
    exact = 1.0 if problem.itemsize == 8 else _EXACT if side == "dual" else 0.0
    flops = 2 * size * size * v * written
    kept = size * v * width * written
    parts = min(tiling.alphas, 8) if method == "cholesky" else 1  # penalties of a tile's targets
    steps = [
        Step("refit", exact * flops, 0, "gemm8", size),
        Step("refit", (1 - exact) * flops, 0, f"gemm{problem.itemsize}", size),
        Step("refit", 0, 0, bytes=8 * size * size * tiles * parts * written + 6 * kept),
        Step("copying weights", 0, 0, "link", bytes=kept),
        Step("copying weights", 0, 0, "staging", bytes=kept),
        Step("new memory", 0, 0, "pages", bytes=size * v * width if problem.weights == "memory" else 0),
    ]
    if method == "spectral":
        steps += _with_features(problem, "refit", 2 * size * size * v, size)
    if problem.weights == "file":
        steps.append(Step("writing weights", 0, 0, "file", bytes=2 * kept - size * v * width))
    return steps


# --- beside the device


def _arrivals(problem: Problem, tiling: DeviceTiling, count: int) -> list[Step]:
    """Targets on their way: read, copied into page-locked memory, and sent."""
    passes = count + (not problem.alpha_per_target)
    stored = float(problem.targets_itemsize or problem.itemsize)
    moved = problem.n * problem.n_targets * stored * passes
    read = []
    if not problem.targets_in_memory:
        fragments = 1 + 4096 / (max(tiling.targets, 1) * stored)
        read = [Step("reading targets", 0, 0, "file", bytes=moved * fragments)]
    return [
        *read,
        Step("copying targets", 0, 0, "staging", bytes=moved),
        Step("copying targets", 0, 0, "link", bytes=moved),
    ]


def _on_host(problem: Problem, tiling: DeviceTiling, count: int) -> list[Step]:
    """What the thread does that gives the device its work: launches, and scores from the sums of a set."""
    parts = 1 if problem.leaves_one_out or problem.pooled else len(problem.folds)
    tiles, each = -(-problem.n_targets // tiling.targets), problem.n_alphas * parts
    size = float(problem.n_targets) * each
    return [
        Step("launches", float(_LAUNCHES * tiles * (each + count)), 0, "calls"),
        Step("scores", 0, 0, "staging", bytes=_SCORE_BYTES * size),
        Step("copying sums", 0, 0, "link", bytes=24 * size),
    ]
