"""What each route holds in memory, moment by moment, beside what the process held before the fit."""

from __future__ import annotations

from dataclasses import dataclass

from voxridge.solvers.costs import Tiling, ranks
from voxridge.solvers.problem import Problem

_EXACT = 8  # bytes of a float64


@dataclass(frozen=True)
class Footprint:
    """Bytes of factors, of the buffers of a tile, of results, and the most at any moment."""

    factors: int
    tile: int
    results: int
    peak: int


def footprint(problem: Problem, route: str, tiling: Tiling) -> Footprint:
    """Memory of a fit by ``route`` with ``tiling``."""
    side, _, method = route.partition("-")
    kind = {"spectral": _spectral, "leave-out": _leave_out, "cholesky": _cholesky, "": _leave_out}[method]
    scores = (problem.n_alphas + 4) * problem.n_targets * _EXACT
    rows = problem.n if side == "dual" else problem.p
    weights = rows * problem.n_targets * problem.itemsize if problem.weights == "memory" else 0
    decomposing, factors, tile = kind(problem, side, tiling)
    tile += _features_chunk(problem, tiling) + _read_ahead(problem, tiling)
    results = (scores + weights) * problem.n_models
    peak = max(scores + decomposing + _features_chunk(problem, tiling), results + factors + tile)
    return Footprint(int(factors), int(tile), int(results), int(peak))


def _features_chunk(problem: Problem, tiling: Tiling) -> int:
    if problem.features_in_memory:
        return 0
    chunk = max(tiling.rows * problem.n_features, problem.n * tiling.columns)
    return 2 * chunk * problem.itemsize + chunk * _EXACT  # one read ahead, one in use and in float64


def _read_ahead(problem: Problem, tiling: Tiling) -> int:
    size = problem.targets_itemsize or problem.itemsize
    return 0 if problem.targets_in_memory else 2 * problem.n * tiling.targets * size


def _spectral(problem: Problem, side: str, tiling: Tiling) -> tuple[int, int, int]:
    n, p, s, v = problem.n, problem.p, problem.itemsize, tiling.targets
    full = p if side == "primal" else n
    order = p if side == "primal" else problem.longest_train
    k = ranks(problem, problem.longest_train)
    scored = max(f.scored for f in problem.fold_sizes)
    one = (_EXACT if side == "primal" else s) * k * order + s * (k * k + scored * k)
    held = one * tiling.folds * problem.n_models
    decomposing = _EXACT * max(full**2 + 4 * order**2, (4 if side == "primal" else 3) * full**2)
    per_target = s * (n + 5 * k) + _EXACT * 4 * problem.n_alphas
    if side == "primal":
        per_target += _EXACT * ((len(problem.folds) + 2) * order + k + n)
    scoring = held + (_EXACT + s) * full**2 + 2 * _EXACT * order**2
    return decomposing + held, scoring, per_target * v


def _leave_out(problem: Problem, side: str, tiling: Tiling) -> tuple[int, int, int]:
    n, p, s, v = problem.n, problem.p, problem.itemsize, tiling.targets
    k = ranks(problem, n)
    order = {"primal": p, "dual": n}.get(side, min(n, p))
    decomposing = 3 * _EXACT * order**2 + (0 if side == "dual" else _EXACT * n * k)
    inverses = s * tiling.alphas * sum(f.held_out**2 * f.count for f in problem.fold_sizes)
    vectors = (_EXACT + s) * n * k + (0 if side == "dual" else s * p * k)
    longest = max(f.held_out for f in problem.fold_sizes)
    return decomposing, vectors + inverses + 2 * _EXACT * longest**2, s * v * (2 * n + 2 * k + 2 * longest)


def _cholesky(problem: Problem, side: str, tiling: Tiling) -> tuple[int, int, int]:
    n, p, s, v = problem.n, problem.p, problem.itemsize, tiling.targets
    blocks = s * sum(f.held_out**2 * f.count for f in problem.fold_sizes)
    longest = max(f.held_out for f in problem.fold_sizes)
    scratch = 2 * _EXACT * longest**2
    best = problem.n_targets * s * (n if side == "dual" else p)  # of the best penalty so far
    if side == "dual":
        held = _EXACT * n * n
        tile = s * v * (3 * n + longest)
    else:
        held = 2 * _EXACT * p * p + _EXACT * p * longest
        tile = v * (s * 2 * n + 3 * _EXACT * p)
    spare = best if problem.weights == "none" else 0
    return held, held + blocks + scratch + spare, tile
