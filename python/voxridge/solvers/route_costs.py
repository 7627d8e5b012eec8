"""What each route of the cross-validated solver does; notation as in :mod:`voxridge.solvers.costs`.

``once`` is what does not depend on tiles; ``passes`` is what every pass over the targets costs.
"""

from __future__ import annotations

from voxridge._threads import left_over
from voxridge.solvers.costs import (
    PANEL,
    Tiling,
    chunks_steps,
    components,
    components_kept,
    exact_share,
    features_file,
    gram_steps,
    kernel_steps,
    n_passes,
    present,
    rank,
    shared_filters,
    smoothed_in_all,
    smoothed_parts,
    split_route,
    targets_steps,
    weights_itemsize,
    weights_size,
    wide_steps,
)
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import EIGH_FLOPS, Step

_CALLS = 20  # of numpy for a fold (leave-out: a fold and penalty) and a tile
_ALONE = 1.25  # times as long as its share of the cores allows, a job on all of them
_WAITS = 800  # such calls' worth of time that threads lose for a fold and a tile that they share
_FINER = 7 / 6  # shared filters of fold factors against those of predictions (solvers/shared_leverages.py)
_PANEL_ROWS = 1024  # columns of Z that solvers/cholesky.py forms at once


def once(problem: Problem, route: str, turned: bool = False) -> list[Step]:
    """Factorisations, and the products with targets that are the same for every tiling; the features
    ``turned`` to principal components or not."""
    side, method = split_route(route)
    if method == "spectral":
        steps = _spectral(problem, side, turned)
    elif method == "cholesky":
        steps = _dual_cholesky(problem) if side == "dual" else _primal_cholesky(problem)
    else:
        steps = _leave_out(problem, route)
    if problem.weights != "none" and method != "cholesky":
        steps += _refit(problem, route, turned)
    return present(steps, problem.n_models)


def _refit(problem: Problem, route: str, turned: bool) -> list[Step]:
    """Weights of every target with its own penalty."""
    method = split_route(route)[1]
    v, size, k = float(problem.n_targets), float(weights_size(problem, route)), components(problem, route)
    width = weights_itemsize(problem, route)
    kept = size * v * width
    exact = 0.5 if width > problem.itemsize else 1.0  # share of the targets: by their penalties, even odds
    flops = 0.0 if components_kept(problem, route) else 2 * size * k * v
    steps = [
        Step("refit", exact * flops, 0, f"gemm{width}", k),
        Step("refit", (1 - exact) * flops, 0, f"gemm{problem.itemsize}", k),
        Step("refit", 0, 0, bytes=4 * kept),
        Step("writing weights", 0, 0, "file", bytes=kept if problem.weights == "file" else 0),
    ]
    if method == "spectral" and not turned:  # all samples are a fold of their own
        steps.append(Step("eigendecompositions", EIGH_FLOPS * size**3, 0, "eigh", size))
        steps += wide_steps(problem, route, "refit", 2 * size * k * v, k)
    return steps


def passes(problem: Problem, route: str, tiling: Tiling) -> list[Step]:
    """Reading and centring targets in every pass, and what a pass repeats."""
    side, method = split_route(route)
    n, p, v, s = float(problem.n), float(problem.p), float(problem.n_targets), problem.itemsize
    count, tiles = n_passes(problem, route, tiling), -(-problem.n_targets // tiling.targets)
    folds = 1 if problem.leaves_one_out else len(problem.folds)  # those go together
    parts = folds * (1 if method == "spectral" else problem.n_alphas)
    steps = [Step("small calls", _CALLS * tiles * (parts + count), 0, "calls")]
    if method == "spectral" and tiling.panels == 1 and problem.n_targets > PANEL:
        steps.append(Step("small calls", _WAITS * tiles * parts, 0, "calls"))
    if not problem.features_in_memory:
        steps += chunks_steps(problem, side, method, tiling)
    if method == "spectral":
        steps += _decompositions(problem, side, tiling)
    if method == "spectral" and side == "primal":
        totals = 0 if count == 1 and problem.covers_once else count
        held_out = sum(f.scored * f.n_folds for f in problem.fold_sizes)
        steps += wide_steps(problem, route, "X'Y", 2 * (totals * n + held_out) * p * v, p, tiling.turned)
        if not problem.features_in_memory:  # every tile reads them again
            steps.append(features_file(problem, tiles * (totals + held_out / n)))
    elif route == "dual-cholesky":
        formed = 3 * s * n * n * tiles * problem.n_alphas  # rows of H, from the triangle that holds them
        steps.append(Step("predictions", 0, 0, bytes=formed))
    elif method == "cholesky":
        steps.append(features_file(problem, 2 * tiles * problem.n_alphas))
    elif method != "spectral":
        k = components(problem, route)
        steps += wide_steps(problem, route, "projections", 2 * n * k * v * count, k)
        steps += _smoothing(problem, tiling)
    return present(steps, problem.n_models) + targets_steps(problem, count, tiling)


# --- the spectral routes


def _spectral(problem: Problem, side: str, turned: bool) -> list[Step]:
    steps: list[Step] = []
    if turned:
        n, p, k = float(problem.n), float(problem.p), rank(problem)
        held_out = float(sum(min(f.held_out, f.train) * f.n_folds for f in problem.fold_sizes))
        steps += gram_steps(problem, n)
        steps.append(Step("eigendecompositions", EIGH_FLOPS * p**3, 0, "eigh", p))
        steps.append(Step("principal components", 2 * n * p * k, 0, "gemm8", k, bytes=16 * n * k))
        steps.append(Step("Gram", held_out * k * k, 0, "syrk8", k, bytes=32 * k * k * len(problem.folds)))
    elif side == "primal":
        held_out = float(sum(min(f.held_out, f.train) * f.n_folds for f in problem.fold_sizes))
        steps += gram_steps(problem, float(problem.n)) + gram_steps(problem, held_out, len(problem.folds))
        steps.append(features_file(problem, 2 + 3 * held_out / problem.n))
    else:
        steps += kernel_steps(problem)
    for f in problem.fold_sizes:
        steps += _spectral_fold(problem, side, turned, f.train, f.scored, f.n_folds)
    return steps


def _decompositions(problem: Problem, side: str, tiling: Tiling) -> list[Step]:
    """Of the folds, side by side as far as they fill the cores."""
    rest = left_over(tiling.folds, tiling.at_once) if tiling.at_once > 1 else 0
    together = tiling.folds - rest
    at_once = together / max(-(-together // tiling.at_once), 1)
    steps = []
    for f in problem.fold_sizes:
        order = float(problem.p if side == "primal" else f.train)
        flops = EIGH_FLOPS * order**3 * f.n_folds / tiling.folds
        steps.append(Step("eigendecompositions", together * flops, 0, "eigh", order, at_once=at_once))
        steps.append(Step("eigendecompositions", rest * flops, 0, "eigh", order))
    return steps


def _spectral_fold(
    problem: Problem, side: str, turned: bool, train: int, scored: int, count: int
) -> list[Step]:
    v, s = float(problem.n_targets), problem.itemsize
    wide, k = f"gemm{s}", rank(problem, train)
    order = float(problem.p if side == "primal" else train)
    each = v * count
    through = (
        min(scored, order) if side == "primal" and (s == 8 or turned) else scored
    )  # c = A'Y, or from X'Y
    rows_size = s if turned else 8
    steps = [
        Step("held-out rows", 2.0 * scored * order * k * count, 0, f"gemm{rows_size}", min(scored, k)),
        Step("held-out rows", scored * k * k * count, 0, "syrk8", min(scored, k), bytes=40 * k * k * count),
        *wide_steps(problem, f"{side}-spectral", "projections", 2 * order * k * each, k, turned),
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
    n, p = float(problem.n), float(problem.p)
    side, k = split_route(route)[0], components(problem, route)
    if side == "primal":
        steps = [*gram_steps(problem, n), features_file(problem, 3)]
        steps.append(Step("eigendecompositions", EIGH_FLOPS * p**3, 0, "eigh", p))
        steps.append(Step("principal components", 2 * n * p * k, 0, "gemm8", k, bytes=40 * n * k))
    elif side == "dual":
        steps = [*kernel_steps(problem), Step("eigendecompositions", EIGH_FLOPS * n**3, 0, "eigh", n)]
    else:
        steps = _svd(problem)
    steps += _fold_factors(problem, k, complete=side == "dual")
    return steps + _residuals(problem, route)


def _smoothing(problem: Problem, tiling: Tiling) -> list[Step]:
    """Held-out rows of ``H y`` of every penalty, from the shared filters of a pass's penalties."""
    v, s, k = float(problem.n_targets), problem.itemsize, rank(problem)
    rows, steps = smoothed_in_all(problem), []
    for first in range(0, problem.n_alphas, tiling.alphas):
        a = min(tiling.alphas, problem.n_alphas - first)
        shared = shared_filters(problem, a)
        flops = shared.products * 2 * rows * k * v
        size = 15 if tiling.at_once == 1 else 40  # clusters are small, and smaller still for many cores
        shares = 2 * shared.products * k * v * s
        steps.append(Step("predictions", flops, 0, f"gemm{s}", size, shares, _busy(problem, tiling)))
        mixed = a * shared.filters * rows * v if shared.filters > a else 0.0
        steps.append(
            Step("predictions", 2 * mixed, 0, f"gemm{s}", bytes=2 * (a + shared.filters) * rows * v * s)
        )
    return steps


def _busy(problem: Problem, tiling: Tiling) -> float:
    """Cores that parts of the samples and panels of a tile keep busy on average. The last job, where it is
    alone, has all of them, and uses them less well."""
    if tiling.at_once == 1:
        return 1.0
    jobs = smoothed_parts(problem) * -(-tiling.targets // PANEL)
    alone = left_over(jobs, tiling.at_once)
    rounds = -(-(jobs - alone) // tiling.at_once) + alone * _ALONE / tiling.at_once
    return jobs / rounds


def _svd(problem: Problem) -> list[Step]:
    """Triangles of chunks of the longer side, the SVD of the last one (20 m^3), and the way back."""
    long, short = float(max(problem.n, problem.p)), float(min(problem.n, problem.p))
    return [
        features_file(problem, 3),
        Step("chunked SVD", 4 * long * short**2, 0, "potrf", short),
        Step("chunked SVD", 20 * short**3, 0, "potrf", short),
        Step("chunked SVD", 4 * long * short**2, 0, "gemm8", short),
    ]


def _fold_factors(problem: Problem, k: float, complete: bool) -> list[Step]:
    """``I - H_ff`` of every penalty and fold from the rows of V, and its inverse."""
    steps = []
    shared = shared_filters(problem, problem.n_alphas if complete else 1)
    for f in problem.fold_sizes:
        t, each = float(f.held_out), float(f.n_folds * problem.n_alphas)
        if f.held_out == 1:
            steps.append(Step("fold factors", 0, 0, bytes=16 * k * each))
            continue
        if shared.filters > problem.n_alphas:  # lower triangles of the products that penalties share
            flops = _FINER * shared.products * t * t * k * f.n_folds
            steps.append(Step("fold factors", flops, 0, "gemm8", min(t, 128), bytes=16 * t * t * each))
        else:
            steps.append(
                Step("fold factors", t * t * k * each, 0, "syrk8", min(t, k), bytes=80 * t * k * each)
            )
        steps += _inverses(t, each)
    return steps


def _inverses(t: float, each: float) -> list[Step]:
    return [
        Step("fold factors", t**3 / 3 * each, 0, "potrf", t, bytes=160 * t * t * each),
        Step("fold factors", 2 * t**3 / 3 * each, 0, "potri", t),
    ]


def _residuals(problem: Problem, route: str) -> list[Step]:
    """Held-out predictions of every penalty and fold, a product of T^2 v, and their sums."""
    v, s = float(problem.n_targets), problem.itemsize
    steps = []
    for f in problem.fold_sizes:
        t, each = float(f.held_out), v * f.n_folds * problem.n_alphas
        if f.held_out > 1:
            steps += wide_steps(problem, route, "held-out predictions", 2 * t * t * each, t)
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
    steps += wide_steps(problem, "dual-cholesky", "predictions", 2 * n * n * v * a, n)
    if problem.weights != "none" and s < 8:  # dual coefficients are float64: those penalties once more
        again = 1 - exact_share(problem, "dual-cholesky")
        steps.append(Step("refit", again * 2 * n * n * v * a, 0, "gemm8", n))
    steps += _rewritten(problem, 8 * n * v * a)
    return steps + _residuals(problem, "dual-cholesky")


def _primal_cholesky(problem: Problem) -> list[Step]:
    n, p, v, a = float(problem.n), float(problem.p), float(problem.n_targets), problem.n_alphas
    steps = [*gram_steps(problem, n), features_file(problem, 2 + a)]
    steps.append(Step("factorisations", p**3 / 3 * a, 0, "potrf", p, bytes=32 * p * p * a))
    for f in problem.fold_sizes:
        t, each = float(f.held_out), float(f.n_folds * a)
        again = (1 + t / _PANEL_ROWS) / 2 if t > _PANEL_ROWS else 1.0
        side = t if t > 1 else min(n, _PANEL_ROWS)  # single rows go together
        steps.append(
            Step("fold factors", p * p * t * each * again, 0, "gemm8", side, bytes=48 * t * p * each)
        )
        if f.held_out > 1:
            steps.append(Step("fold factors", 2 * p * t * t * each, 0, "gemm8", t))
            steps += _inverses(t, each)
    steps.append(Step("X'Y", 2 * n * p * v * a, 0, "gemm8", p))
    steps.append(Step("coefficients", 2 * p * p * v * a, 0, "gemm8", p))
    steps += wide_steps(problem, "primal-cholesky", "predictions", 2 * n * p * v * a, p)
    steps += _rewritten(problem, p * v * problem.itemsize * a)
    return steps + _residuals(problem, "primal-cholesky")


def _rewritten(problem: Problem, n_bytes: float) -> list[Step]:
    """Weights of the targets that the penalty at hand suits best so far, read and written."""
    if problem.weights == "none":
        return []
    return [
        Step("refit", 0, 0, bytes=4 * n_bytes),
        Step("writing weights", 0, 0, "file", bytes=2 * n_bytes if problem.weights == "file" else 0),
    ]
