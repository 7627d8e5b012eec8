"""What each route of the cross-validated solver does: flops, bytes and with which operation.

Formulas name n samples, p columns (p0 before delays), v targets, A penalties, k rank, and of a fold N rows
trained on, T held out, S scored. A rank-k update counts half of a product.
"""

from __future__ import annotations

from typing import NamedTuple

from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import Step

PANEL = 512  # targets in a product


class Tiling(NamedTuple):
    """Targets in a tile, folds (spectral) and penalties (leave-out) whose factors are held together, rows and
    columns of features read at once."""

    targets: int
    folds: int
    alphas: int
    rows: int
    columns: int


def route_steps(problem: Problem, route: str, tiling: Tiling) -> list[Step]:
    """Steps of a fit by ``route``."""
    side, _, method = route.partition("-")
    kind = {"spectral": _spectral, "leave-out": _leave_out, "cholesky": _cholesky, "": _leave_out}[method]
    steps = kind(problem, side, tiling)
    return [step for step in steps if step.flops or step.bytes or step.kind == "eigh"]


def ranks(problem: Problem, rows: int) -> int:
    return max(1, min(problem.p, rows))


def passes_over_targets(problem: Problem, route: str, tiling: Tiling) -> int:
    method = route.partition("-")[2]
    if method == "spectral":
        passes = -(-len(problem.folds) // tiling.folds)
    elif method == "cholesky":
        passes = problem.n_alphas
    else:
        passes = -(-problem.n_alphas // tiling.alphas)
    return passes + (not problem.alpha_per_target)


def _targets_read(problem: Problem, passes: int, tiling: Tiling) -> list[Step]:
    size = problem.targets_itemsize or problem.itemsize
    elements = float(problem.n) * problem.n_targets * passes
    fragment = 1 + 4096 / (tiling.targets * size)
    read = Step("reading targets", 0, 0, "file", bytes=elements * size * fragment)
    centred = Step("centring targets", 0, 0, "memory", bytes=2 * elements * problem.itemsize)
    return [centred] if problem.targets_in_memory else [read, centred]


def gram_steps(problem: Problem, rows: float, count: float = 1, name: str = "Gram") -> list[Step]:
    """X'X of ``rows`` rows in all, ``count`` matrices: one rank update, a product for every other lag."""
    p0 = problem.n_features
    file = 0 if problem.features_in_memory else rows * p0 * problem.itemsize
    return [
        Step(name, rows * p0**2, 0, "syrk8", p0, bytes=8.0 * 3 * problem.p**2 * count),
        Step(name, 2.0 * rows * p0**2 * (problem.n_lags - 1), 0, "gemm8", p0),
        Step("reading features", 0, 0, "file", bytes=file),
    ]


def kernel_steps(problem: Problem) -> list[Step]:
    n, p0 = float(problem.n), problem.n_features
    file = 0 if problem.features_in_memory else n * p0 * problem.itemsize
    return [
        Step("kernel", n * n * p0, 0, "syrk8", p0, bytes=8 * n * n * (len(problem.delays) + 2)),
        Step("reading features", 0, 0, "file", bytes=file),
    ]


def _spectral(problem: Problem, side: str, tiling: Tiling) -> list[Step]:
    n, p, v = float(problem.n), float(problem.p), float(problem.n_targets)
    wide = f"gemm{problem.itemsize}"
    passes = -(-len(problem.folds) // tiling.folds)
    steps = _targets_read(problem, passes + (not problem.alpha_per_target), tiling)
    if side == "primal":
        steps += gram_steps(problem, n)
        steps += gram_steps(
            problem,
            sum(min(f.held_out, f.train) * f.count for f in problem.fold_sizes),
            len(problem.folds),
        )
        totals = 0 if passes == 1 and problem.covers_once else passes
        held_out = sum(f.scored * f.count for f in problem.fold_sizes)
        steps.append(Step("X'Y", 2 * (totals * n + held_out) * p * v, 0, "gemm8"))
    else:
        steps += kernel_steps(problem)
    for f in problem.fold_sizes:
        steps += _spectral_fold(problem, side, f.train, f.scored, f.count)
    order = p if side == "primal" else n
    k = ranks(problem, problem.n)
    steps.append(Step("eigendecomposition", 9 * order**3, 0, "eigh", order))
    if side == "primal":
        steps.append(Step("refit", 2 * p * k * v, 0, "gemm8", k))
        steps.append(Step("refit", 2 * p * k * v, 0, wide, k))
    else:
        steps.append(Step("refit", 4 * n * k * v, 0, wide, k))
    return _times(steps, problem.n_models)


def _spectral_fold(problem: Problem, side: str, train: int, scored: int, count: int) -> list[Step]:
    v, a, wide = float(problem.n_targets), problem.n_alphas, f"gemm{problem.itemsize}"
    order = float(problem.p if side == "primal" else train)
    k = float(ranks(problem, train))
    through = min(scored, order) if side == "primal" else scored
    return [
        Step("eigendecompositions", 9 * order**3 * count, 0, "eigh", order, count),
        Step("held-out rows", 2.0 * scored * order * k * count, 0, "gemm8", min(scored, k)),
        Step("held-out rows", scored * k * k * count, 0, "syrk8", scored, bytes=24 * k * k * count),
        Step("projections", 2 * order * k * v * count, 0, "gemm8" if side == "primal" else wide, k),
        Step("projections", 2.0 * through * k * v * count, 0, wide, min(through, k)),
        Step("scores", 2 * k * k * v * count, 0, wide, k),
        Step("scores", 3.0 * a * k * v * count, 0, "filters"),
    ]


def _leave_out(problem: Problem, side: str, tiling: Tiling) -> list[Step]:
    n, p, v, a = float(problem.n), float(problem.p), float(problem.n_targets), problem.n_alphas
    wide, k = f"gemm{problem.itemsize}", float(ranks(problem, problem.n))
    groups = -(-a // tiling.alphas)
    steps = _targets_read(problem, groups + (not problem.alpha_per_target), tiling)
    if side == "primal":
        steps += gram_steps(problem, n)
        steps.append(Step("eigendecomposition", 9 * p**3, 0, "eigh", p))
        steps.append(Step("principal components", 2 * n * p * k, 0, "gemm8", k))
    elif side == "dual":
        steps += kernel_steps(problem)
        steps.append(Step("eigendecomposition", 9 * n**3, 0, "eigh", n))
    else:
        steps += _svd_steps(problem)
    for f in problem.fold_sizes:
        t, each = float(f.held_out), f.count * a
        steps.append(Step("fold inverses", t * t * k * each, 0, "syrk8", min(t, k), each))
        steps.append(Step("fold inverses", t**3 / 3 * each, 0, "potrf", t, each))
        steps.append(Step("held-out residuals", 2 * t * t * v * each, 0, wide, t))
    steps.append(Step("projections", 2 * n * k * v * groups, 0, wide, k))
    steps.append(Step("predictions", 2 * n * k * v * a, 0, wide, k, bytes=4.0 * n * v * a * problem.itemsize))
    steps.append(Step("refit", 2 * (n if side == "dual" else p) * k * v, 0, wide, k))
    return _times(steps, problem.n_models)


def _svd_steps(problem: Problem) -> list[Step]:
    """Orthogonal factors of chunks of the longer side, then the SVD of the small triangle (20 m^3)."""
    long, short = float(max(problem.n, problem.p)), float(min(problem.n, problem.p))
    file = 0 if problem.features_in_memory else float(problem.n) * problem.n_features * problem.itemsize
    return [
        Step("reading features", 0, 0, "file", bytes=2 * file),
        Step("chunked QR", 2 * long * short**2, 0, "potrf", short),
        Step("SVD", 20 * short**3, 0, "potrf", short),
        Step("principal components", 2.0 * problem.n * problem.p * short, 0, "gemm8", short),
    ]


def _cholesky(problem: Problem, side: str, tiling: Tiling) -> list[Step]:
    n, p, v, a = float(problem.n), float(problem.p), float(problem.n_targets), problem.n_alphas
    wide = f"gemm{problem.itemsize}"
    order = n if side == "dual" else p
    steps = _targets_read(problem, a + (not problem.alpha_per_target), tiling)
    steps += kernel_steps(problem) if side == "dual" else gram_steps(problem, n)
    steps.append(Step("factorisations", order**3 / 3 * a, 0, "potrf", order, a))
    if side == "dual":
        steps.append(Step("inverses", 2 * order**3 / 3 * a, 0, "potri", order, a))
        steps.append(Step("dual coefficients", 2 * n * n * v * a, 0, wide, n))
    else:
        steps.append(Step("fold blocks", n * p * p * a, 0, "gemm8", p))
        steps.append(Step("X'Y", 2 * n * p * v * a, 0, "gemm8", p))
        steps.append(Step("coefficients", 2 * p * p * v * a, 0, "gemm8", p))
        steps.append(Step("predictions", 2 * n * p * v * a, 0, wide, p))
    for f in problem.fold_sizes:
        t, each = float(f.held_out), f.count * a
        inner = t * t * p if side == "primal" else 0
        steps.append(Step("fold inverses", inner * each, 0, "syrk8", t, each))
        steps.append(Step("fold inverses", t**3 / 3 * each, 0, "potrf", t, each))
        steps.append(Step("held-out residuals", 2 * t * t * v * each, 0, wide, t))
    return _times(steps, problem.n_models)


def _times(steps: list[Step], models: int) -> list[Step]:
    """The same for every model, but the targets are read once."""
    return [
        step
        if "targets" in step.name
        else step._replace(flops=step.flops * models, bytes=step.bytes * models, count=step.count * models)
        for step in steps
    ]
