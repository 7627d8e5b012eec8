"""What each route of the cross-validated solver does: flops and bytes, and by which operation.

Formulas name n samples, p columns (p0 before delays), v targets, A penalties, k the rank, and of a fold N
rows trained on, T rows held out of the training and S rows scored. A rank update counts half of a product.
``once`` is what does not depend on tiles; ``passes`` is what every pass over the targets costs.
"""

from __future__ import annotations

from typing import NamedTuple

from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import EIGH_FLOPS, Step

PANEL = 512  # targets in a product, whatever the tile: csrc/core/blas.hpp
_CALLS = 20  # of numpy for a fold (leave-out: a fold and penalty) and a tile
_PANEL_ROWS = 1024  # columns of Z that solvers/cholesky.py forms at once
_FRAGMENT = 4096  # bytes that could be read in the time it takes to find the next row of a tile


class Tiling(NamedTuple):
    """Targets in a tile, folds (spectral) and penalties (leave-out) whose factors are held together, rows and
    columns of features that are read at once."""

    targets: int
    folds: int
    alphas: int
    rows: int
    columns: int


def once(problem: Problem, route: str) -> list[Step]:
    """Factorisations, and the products with targets that are the same for every tiling."""
    side, method = split_route(route)
    v, wide = float(problem.n_targets), f"gemm{problem.itemsize}"
    size = float(weights_size(problem, route))
    if method == "spectral":
        steps = _spectral(problem, side)
    elif method == "cholesky":
        steps = _dual_cholesky(problem) if side == "dual" else _primal_cholesky(problem)
    else:
        steps = _leave_out(problem, route)
    if method != "cholesky":
        k = components(problem, route)
        steps.append(Step("refit", 2 * size * k * v, 0, wide, k))
    written = 2 * size * v * problem.itemsize if problem.weights != "none" else 0.0
    steps.append(Step("weights", 0, 0, bytes=2 * written))
    if problem.weights == "file":
        steps.append(Step("weights", 0, 0, "file", bytes=written / 2))
    return _present(steps, problem.n_models)


def passes(problem: Problem, route: str, tiling: Tiling) -> list[Step]:
    """Reading and centring targets in every pass, and what a pass repeats."""
    side, method = split_route(route)
    n, p, v, s = float(problem.n), float(problem.p), float(problem.n_targets), problem.itemsize
    count, tiles = n_passes(problem, route, tiling), -(-problem.n_targets // tiling.targets)
    parts = len(problem.folds) * (1 if method == "spectral" else problem.n_alphas)
    steps = [Step("small calls", _CALLS * tiles * (parts + count), 0, "calls")]
    if not problem.features_in_memory:
        steps += _chunks(problem, side, method, tiling)
    if method == "spectral" and side == "primal":
        totals = 0 if count == 1 and problem.covers_once else count
        held_out = sum(f.scored * f.n_folds for f in problem.fold_sizes)
        steps.append(Step("X'Y", 2 * (totals * n + held_out) * p * v, 0, "gemm8", p))
        if not problem.features_in_memory:  # every tile reads them again
            steps.append(_features_file(problem, tiles * (totals + held_out / n)))
    elif route == "dual-cholesky":
        formed = 3 * s * n * n * tiles * problem.n_alphas  # rows of H, from the triangle that holds them
        steps.append(Step("predictions", 0, 0, bytes=formed))
    elif method == "cholesky":
        steps.append(_features_file(problem, 2 * tiles * problem.n_alphas))
    elif method != "spectral":
        k = components(problem, route)
        steps += _wide(problem, route, "projections", 2 * n * k * v * count, k)
    return _present(steps, problem.n_models) + _targets(problem, count, tiling)


def n_passes(problem: Problem, route: str, tiling: Tiling) -> int:
    """Times that all targets are read."""
    method = split_route(route)[1]
    scoring = -(-problem.n_alphas // tiling.alphas)
    if method == "spectral":
        scoring = -(-len(problem.folds) // tiling.folds)
    return scoring + (not problem.alpha_per_target)


def exact_share(problem: Problem, route: str) -> float:
    """Share of the penalties, of a grid over many decades, whose wide products float32 is expected to spoil.

    Eigenvectors: the penalties far below the smallest eigenvalue of the kernel, where there is one because
    the columns are many; held-out solves magnify rounding there. Cholesky: those below 1e-4 of the largest.
    """
    if problem.itemsize == 8 or split_route(route)[1] == "spectral":
        return 0.0
    if route.endswith("cholesky"):
        return 0.5
    return 0.25 if problem.p >= 2 * problem.longest_train else 0.0


def split_route(route: str) -> tuple[str, str]:
    """Side and method of a route's name."""
    side, _, method = route.partition("-")
    return side, method or side


def weights_size(problem: Problem, route: str) -> int:
    """Rows of the weights of a route: dual coefficients or coefficients."""
    return problem.n if split_route(route)[0] == "dual" else problem.p


def rank(problem: Problem, rows: int | None = None) -> float:
    """Rank of a design of so many rows."""
    return float(max(1, min(problem.p, problem.n if rows is None else rows)))


def components(problem: Problem, route: str) -> float:
    """Columns of V. In the dual of the leave-out route they span everything, the null space too."""
    return float(problem.n) if route == "dual-leave-out" else rank(problem)


# --- what routes share


def _wide(problem: Problem, route: str, name: str, flops: float, size: float) -> list[Step]:
    """A product as wide as the targets, of every penalty: some in float64."""
    share = exact_share(problem, route)
    narrow = Step(name, (1 - share) * flops, 0, f"gemm{problem.itemsize}", size)
    return [narrow, Step(name, share * flops, 0, "gemm8", size)]


def _targets(problem: Problem, count: int, tiling: Tiling) -> list[Step]:
    elements = float(problem.n) * problem.n_targets * count
    stored = problem.targets_itemsize or problem.itemsize
    steps = [
        Step("centring targets", 0, 0, bytes=elements * (stored + problem.itemsize)),
        Step("sums over targets", 0, 0, "moments", bytes=2 * elements * problem.itemsize * problem.n_models),
    ]
    if not problem.targets_in_memory:
        fragments = 1 + _FRAGMENT / (max(tiling.targets, 1) * stored)
        steps.insert(0, Step("reading targets", 0, 0, "file", bytes=elements * stored * fragments))
    return steps


def _chunks(problem: Problem, side: str, method: str, tiling: Tiling) -> list[Step]:
    """What small chunks of features cost: Grams are added up; a few columns of every row are many pieces."""
    if side == "dual":
        pieces = float(problem.n) * problem.n_features * _FRAGMENT / tiling.columns
        return [Step("reading features", 0, 0, "file", bytes=pieces)]
    chunks = -(-problem.n // tiling.rows) * (2 if method == "spectral" else 1)
    return [Step("Gram", 0, 0, bytes=24.0 * chunks * problem.p**2)]


def _features_file(problem: Problem, times: float) -> Step:
    size = 0.0 if problem.features_in_memory else float(problem.n) * problem.n_features * problem.itemsize
    return Step("reading features", 0, 0, "file", bytes=size * times)


def gram_steps(problem: Problem, rows: float, count: float = 1.0) -> list[Step]:
    """``count`` matrices X'X (p, p) of ``rows`` rows together: a rank update of the features, and a product
    with shifted features for every other distance between delays. Sample weights break that structure."""
    p0, p = float(problem.n_features), float(problem.p)
    passes_over = Step("Gram", 0, 0, bytes=8 * 4 * p * p * count)
    if problem.sample_weight:
        return [passes_over, Step("Gram", 2 * rows * p * p, 0, "gemm8", p, bytes=16 * rows * p)]
    lagged = 2 * rows * p0 * p0 * (problem.n_lags - 1)
    return [passes_over, Step("Gram", rows * p0 * p0, 0, "syrk8", p0), Step("Gram", lagged, 0, "gemm8", p0)]


def kernel_steps(problem: Problem) -> list[Step]:
    """X X' (n, n): a rank update of the features, then shifted copies are added, a pass for every delay."""
    n, p0 = float(problem.n), float(problem.n_features)
    shifts = 8 * n * n * (len(problem.delays) + 3)
    return [Step("kernel", n * n * p0, 0, "syrk8", p0, bytes=shifts), _features_file(problem, 3)]


def _present(steps: list[Step], models: int) -> list[Step]:
    """Steps with something to do, for every model."""
    return [
        step._replace(flops=step.flops * models, bytes=step.bytes * models)
        for step in steps
        if step.flops or step.bytes
    ]


# --- the spectral routes


def _spectral(problem: Problem, side: str) -> list[Step]:
    n, p, v = float(problem.n), float(problem.p), float(problem.n_targets)
    if side == "primal":
        held_out = float(sum(min(f.held_out, f.train) * f.n_folds for f in problem.fold_sizes))
        steps = gram_steps(problem, n) + gram_steps(problem, held_out, len(problem.folds))
        steps.append(_features_file(problem, 2 + 3 * held_out / n))
        project, order = "gemm8", p
    else:
        steps = kernel_steps(problem)
        project, order = f"gemm{problem.itemsize}", n
    steps.append(Step("eigendecompositions", EIGH_FLOPS * order**3, 0, "eigh", order))
    steps.append(Step("refit", 2 * order * rank(problem) * v, 0, project, rank(problem)))
    for f in problem.fold_sizes:
        steps += _spectral_fold(problem, side, f.train, f.scored, f.n_folds)
    return steps


def _spectral_fold(problem: Problem, side: str, train: int, scored: int, count: int) -> list[Step]:
    v, s = float(problem.n_targets), problem.itemsize
    wide, k = f"gemm{s}", rank(problem, train)
    order = float(problem.p if side == "primal" else train)
    each = v * count
    through = min(scored, order) if side == "primal" and s == 8 else scored  # c = A'Y, or from X'Y
    steps = [
        Step("eigendecompositions", EIGH_FLOPS * order**3 * count, 0, "eigh", order),
        Step("held-out rows", 2.0 * scored * order * k * count, 0, "gemm8", min(scored, k)),
        Step("held-out rows", scored * k * k * count, 0, "syrk8", min(scored, k), bytes=40 * k * k * count),
        Step("projections", 2 * order * k * each, 0, "gemm8" if side == "primal" else wide, k),
        Step("projections", 2.0 * through * k * each, 0, wide, min(through, k)),
        Step("scores", 2 * k * k * each, 0, wide, k),
        Step("scores", 3.0 * problem.n_alphas * k * each, 0, "filters"),
        Step("sums over targets", 0, 0, "moments", bytes=train * each * s),
    ]
    if side == "primal":
        steps.append(Step("X'Y", 0, 0, bytes=8 * 5 * order * each))
    else:
        steps.append(Step("kernel", 0, 0, bytes=32.0 * train * train * count))
    return steps


# --- the leave-out routes


def _leave_out(problem: Problem, route: str) -> list[Step]:
    n, p, v, a = float(problem.n), float(problem.p), float(problem.n_targets), problem.n_alphas
    side, k, s = split_route(route)[0], components(problem, route), problem.itemsize
    if side == "primal":
        steps = [*gram_steps(problem, n), _features_file(problem, 3)]
        steps.append(Step("eigendecompositions", EIGH_FLOPS * p**3, 0, "eigh", p))
        steps.append(Step("principal components", 2 * n * p * k, 0, "gemm8", k, bytes=40 * n * k))
    elif side == "dual":
        steps = [*kernel_steps(problem), Step("eigendecompositions", EIGH_FLOPS * n**3, 0, "eigh", n)]
    else:
        steps = _svd(problem)
    steps += _fold_factors(problem, side, k)
    steps += _wide(problem, route, "predictions", 2 * n * k * v * a, k)
    steps.append(Step("predictions", 0, 0, bytes=2 * k * v * a * s))
    return steps + _residuals(problem, route)


def _svd(problem: Problem) -> list[Step]:
    """Triangles of chunks of the longer side, the SVD of the last one (20 m^3), and the way back."""
    long, short = float(max(problem.n, problem.p)), float(min(problem.n, problem.p))
    return [
        _features_file(problem, 3),
        Step("chunked SVD", 4 * long * short**2, 0, "potrf", short),
        Step("chunked SVD", 20 * short**3, 0, "potrf", short),
        Step("chunked SVD", 4 * long * short**2, 0, "gemm8", short),
    ]


def _fold_factors(problem: Problem, side: str, k: float) -> list[Step]:
    """``I - H_ff`` of every penalty and fold from the rows of V, and its inverse."""
    steps = []
    updates = 2 if side == "dual" else 1  # small penalties: I - H from its own sum, without cancellation
    for f in problem.fold_sizes:
        t, each = float(f.held_out), float(f.n_folds * problem.n_alphas)
        if f.held_out == 1:
            steps.append(Step("fold factors", 0, 0, bytes=16 * k * each))
            continue
        rows = Step(
            "fold factors", updates * t * t * k * each, 0, "syrk8", min(t, k), bytes=40 * t * k * each
        )
        steps += [rows, *_inverses(t, each)]
    return steps


def _inverses(t: float, each: float) -> list[Step]:
    return [
        Step("fold factors", t**3 / 3 * each, 0, "potrf", t, bytes=80 * t * t * each),
        Step("fold factors", 2 * t**3 / 3 * each, 0, "potri", t),
    ]


def _residuals(problem: Problem, route: str) -> list[Step]:
    """Held-out predictions of every penalty and fold, two products of T^2 v, and their sums."""
    v, s = float(problem.n_targets), problem.itemsize
    steps = []
    for f in problem.fold_sizes:
        t, each = float(f.held_out), v * f.n_folds * problem.n_alphas
        if f.held_out > 1:
            steps += _wide(problem, route, "held-out predictions", 4 * t * t * each, t)
        steps.append(Step("held-out predictions", 0, 0, bytes=8 * t * s * each))
        steps.append(Step("sums over targets", 0, 0, "moments", bytes=2.0 * f.scored * s * each))
    return steps


# --- one Cholesky factorisation per penalty


def _dual_cholesky(problem: Problem) -> list[Step]:
    n, v, a, s = float(problem.n), float(problem.n_targets), problem.n_alphas, problem.itemsize
    steps = kernel_steps(problem)
    steps.append(Step("factorisations", n**3 / 3 * a, 0, "potrf", n, bytes=32 * n * n * a))
    steps.append(Step("factorisations", 2 * n**3 / 3 * a, 0, "potri", n))
    for f in problem.fold_sizes:
        if f.held_out > 1:
            steps += _inverses(float(f.held_out), float(f.n_folds * a))
    steps += _wide(problem, "dual-cholesky", "predictions", 2 * n * n * v * a, n)
    if problem.weights != "none" and s < 8:  # dual coefficients are float64: those penalties once more
        again = 1 - exact_share(problem, "dual-cholesky")
        steps.append(Step("refit", again * 2 * n * n * v * a, 0, "gemm8", n))
    steps += _rewritten(problem, n * v * s * a)
    return steps + _residuals(problem, "dual-cholesky")


def _primal_cholesky(problem: Problem) -> list[Step]:
    n, p, v, a = float(problem.n), float(problem.p), float(problem.n_targets), problem.n_alphas
    steps = [*gram_steps(problem, n), _features_file(problem, 2 + a)]
    steps.append(Step("factorisations", p**3 / 3 * a, 0, "potrf", p, bytes=32 * p * p * a))
    for f in problem.fold_sizes:
        t, each = float(f.held_out), float(f.n_folds * a)
        again = (1 + t / _PANEL_ROWS) / 2 if t > _PANEL_ROWS else 1.0
        steps.append(Step("fold factors", p * p * t * each * again, 0, "gemm8", t, bytes=48 * t * p * each))
        if f.held_out > 1:
            steps.append(Step("fold factors", 2 * p * t * t * each, 0, "gemm8", t))
            steps += _inverses(t, each)
    steps.append(Step("X'Y", 2 * n * p * v * a, 0, "gemm8", p))
    steps.append(Step("coefficients", 2 * p * p * v * a, 0, "gemm8", p))
    steps += _wide(problem, "primal-cholesky", "predictions", 2 * n * p * v * a, p)
    steps += _rewritten(problem, p * v * problem.itemsize * a)
    return steps + _residuals(problem, "primal-cholesky")


def _rewritten(problem: Problem, n_bytes: float) -> list[Step]:
    """Weights of the targets that the penalty at hand suits best so far, read and written."""
    if problem.weights == "none":
        return []
    return [
        Step("weights", 0, 0, bytes=6 * n_bytes),
        Step("weights", 0, 0, "file", bytes=2 * n_bytes if problem.weights == "file" else 0),
    ]
