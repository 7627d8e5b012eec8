"""What each route holds in memory, moment by moment, beside what the process held before the fit.

n, p, k, T and S as in :mod:`voxridge.solvers.costs`; s is the size of a number in the working precision, and
8 that of a float64.
"""

from __future__ import annotations

from typing import NamedTuple

from voxridge.solvers.costs import (
    BLOCK_ROWS,
    LEVERAGE_ROWS,
    PANEL,
    Tiling,
    components,
    exact_share,
    n_passes,
    rank,
    shared_filters,
    smoothed_rows,
    split_route,
    weights_itemsize,
    weights_size,
)
from voxridge.solvers.problem import Problem

BASE = 24 * 2**20  # BLAS's own buffers, Python objects, what the allocator does not give back
_HOLES = 40 * 2**20  # at worst: arrays below 32 MiB come from the heap, which keeps the holes they leave
_KERNEL_CHUNK = 8 * 2**22  # features that are converted at once: csrc/core/delayed_kernel.hpp
_PANEL_ROWS = 1024  # rows of H that solvers/cholesky.py forms at once
_TURNED_ROWS = 2048  # rows of the design that solvers/bases.py and solvers/principal.py turn at once


class Footprint(NamedTuple):
    """Bytes of factors and of the buffers of a tile (while targets are scored), of results, and the most at
    any moment, all of it together: as expected, and where float32 will not do and the heap has holes."""

    factors: int
    tile: int
    results: int
    peak: int
    worst: int


class _Moments(NamedTuple):
    """Bytes while factors are made, of the factors while targets pass; and per target of a tile: buffers that
    stay, and what comes and goes when it is scored and when its weights are made."""

    making: float
    held: float
    per_target: float
    scoring: float = 0.0
    refitting: float = 0.0


def footprint(problem: Problem, route: str, tiling: Tiling) -> Footprint:
    """Memory of a fit by ``route`` with ``tiling``."""
    expected = _footprint(problem, route, tiling, exact_share(problem, route, tiling.turned))
    worst = expected if problem.itemsize == 8 else _footprint(problem, route, tiling, 1.0)
    return expected._replace(worst=worst.peak + _HOLES)


def _footprint(problem: Problem, route: str, tiling: Tiling, share: float) -> Footprint:
    """``share`` of the penalties need float64."""
    method = split_route(route)[1]
    if method == "spectral":
        moments = _spectral(problem, route, tiling, share)
    elif route == "dual-cholesky":
        moments = _dual_cholesky(problem, tiling, share)
    elif method == "cholesky":
        moments = _primal_cholesky(problem, tiling, share)
    else:
        moments = _leave_out(problem, route, tiling, share)
    s, v = problem.itemsize, problem.n_targets
    stored = problem.targets_itemsize or s
    column = weights_size(problem, route) * weights_itemsize(problem, route)
    per_target, passing = problem.n * s + moments.per_target, moments.scoring
    if problem.weights != "none":  # Cholesky: those of other penalties are read again
        per_target += column
        passing = max(passing, moments.refitting + (column if method == "cholesky" else 0))
    per_target += passing
    if not problem.targets_in_memory:  # the next tile is read while this one is worked on
        per_target += 2 * problem.n * stored
    models = problem.n_models
    scores = (problem.n_alphas + 6) * 8 * v * models
    weights = column * v * models if problem.weights == "memory" else 0
    tile, chunk = per_target * tiling.targets, _chunk(problem, tiling)
    making = BASE + chunk + scores + moments.making + (models - 1) * moments.held
    passing_all = BASE + scores + weights + models * moments.held + tile
    peak = int(max(making, passing_all))
    return Footprint(int(models * moments.held), int(tile), int(scores + weights), peak, worst=peak)


def _chunk(problem: Problem, tiling: Tiling) -> float:
    """Features read at once: one chunk in use, one read ahead."""
    if problem.features_in_memory:
        return 0
    return 2 * problem.itemsize * max(tiling.rows * problem.n_features, problem.n * tiling.columns)


def _scored(problem: Problem) -> int:
    return max(f.scored for f in problem.fold_sizes)


def _spectral(problem: Problem, route: str, tiling: Tiling, share: float) -> _Moments:
    n, p, s = problem.n, problem.p, problem.itemsize
    k, scored, folds = rank(problem, problem.longest_train), _scored(problem), tiling.folds
    refits = problem.weights != "none"
    last = n_passes(problem, route, tiling) == 1 and refits  # whose factors are those of the refit, too
    if route.startswith("primal"):
        wide = (1 - share) * s + share * 8  # of what X'Y is multiplied with, and of X'Y
        q = wide * p * p
        factor = q + s * k * (k + scored)
        in_place = 8 * p * p * (share if s < 8 else 1)  # in float64, q stays where it was decomposed
        narrowed = 8 * k * k + factor - in_place
        one = 24 * p * p + 8 * k * scored + max(8 * p * k, narrowed)
        one += (8 * p * p - q) * (tiling.at_once > 1)  # narrowed when it is its turn
        full: float = 8 * p * p
        streamed = 0 if problem.features_in_memory else 8 * p * p
        made = 0.0
        if tiling.turned:  # the components stay, with what turns weights back
            full = s * (n + p) * rank(problem) if share == 0 else max(full, s * (n + p) * rank(problem))
            made = max(24 * p * p, 16 * p * p + 8 * _TURNED_ROWS * p + full)
        making = max(made, full + streamed + tiling.at_once * one + (folds - 1) * factor)
        held = folds * factor + (q + s * p * k if last and not tiling.turned else full)
        per_target = wide * ((folds + 2) * p + k) + s * 4 * k + share * 8 * n
        return _Moments(making, held, per_target)
    train = problem.longest_train
    q = s * k * train if s < 8 else 8 * train * train
    factor = q + s * k * (k + scored)
    one = 8 * train * (train + scored) + max(16 * train * train, 8 * k * (scored + k) + s * k * k)
    if tiling.at_once > 1:
        one += (8 - s) * k * train  # narrowed when it is its turn
    folding = 8 * n * n + tiling.at_once * one + folds * factor
    refitting = refits * (24 * n * n + folds * factor + (s * n * n if s < 8 else 0))
    making = max(folding, refitting, 8 * n * n + min(_KERNEL_CHUNK, 8 * n * problem.n_features))
    vectors = (s + 8 if s < 8 else 8) * n * n  # in float64 too, for ill-conditioned targets
    held = folds * factor + (vectors if last else 8 * n * n)
    return _Moments(making, held, s * 4 * k)


def _leave_out(problem: Problem, route: str, tiling: Tiling, share: float) -> _Moments:
    n, p, s = problem.n, problem.p, problem.itemsize
    k, longest = components(problem, route), max(f.held_out for f in problem.fold_sizes)
    copy = s if s < 8 else 0  # V in the working precision, beside the float64 one
    making: float
    held: float
    if route.startswith("dual"):
        making = 24 * n * n
        held = (8 + copy) * n * n
    elif route.startswith("primal"):
        turned = 8 * p * p + 8 * p * k + 8 * min(n, _TURNED_ROWS) * 2 * k
        making = max(24 * p * p + (0 if problem.features_in_memory else 8 * p * p), turned + 8 * n * k)
        making = max(making, 8 * p * p + 8 * p * k + (8 + copy) * n * k + copy * p * k)
        held = (8 + copy) * n * k + s * p * k
    else:
        long, short = max(n, p), min(n, p)
        making = 8 * (3 * long * short + 6 * short * short)
        held = (8 + copy) * n * k + s * p * k
    complete = route.startswith("dual")
    factors = _fold_factors(problem, tiling, share)
    blocks = tiling.at_once * 8 * longest * (k + 4 * longest) if longest > 1 else 16 * k * n
    if complete and longest > 1 and shared_filters(problem, tiling.alphas).filters > tiling.alphas:
        blocks += tiling.at_once * 8 * longest * (longest * tiling.alphas + LEVERAGE_ROWS * 100)
    wide = 8 if share else s
    shared = shared_filters(problem, tiling.alphas)
    rows = smoothed_rows(problem)
    products = shared.filters * min(rows, BLOCK_ROWS) if shared.filters > tiling.alphas else 0
    mixing: float = products + tiling.alphas * rows + 2 * longest
    if tiling.at_once > 1:  # of a panel at a time, whatever the tile is
        mixing *= tiling.at_once * min(1.0, PANEL / tiling.targets)
    smoothing = shared.products * rank(problem) + mixing
    per_target: float = s * (k + smoothing)
    if wide > s:  # once more in float64, the targets too
        per_target += 8 * (k + 2 * smoothing + n)
    if problem.sample_weight:
        per_target += 8 * n
    making = max(making, held + factors + blocks)
    return _Moments(making, held + factors, per_target, 3 * wide * longest, s * k)


def _fold_factors(problem: Problem, tiling: Tiling, share: float) -> float:
    """H and the inverse of every fold: of the penalties held in the working precision, of one in float64."""
    squares = sum(f.held_out**2 * f.n_folds for f in problem.fold_sizes)
    if all(f.held_out == 1 for f in problem.fold_sizes):
        return 16.0 * problem.n * tiling.alphas
    size = (1 - share) * problem.itemsize + share * 8
    return squares * (size * tiling.alphas + 8)


def _dual_cholesky(problem: Problem, tiling: Tiling, share: float) -> _Moments:
    n, s = problem.n, problem.itemsize
    longest = max(f.held_out for f in problem.fold_sizes)
    kernel = 8 * n * n
    factors = _fold_factors(problem, tiling, share)
    making = kernel + max(min(_KERNEL_CHUNK, 8 * n * problem.n_features), factors + 40 * longest * longest)
    held = kernel + factors + 8 * min(_PANEL_ROWS, n) * n
    per_target = (s * n if s < 8 else 0) + 8 * (2 if s < 8 else 1) * n  # the targets and H y, in float64 too
    return _Moments(making, held, per_target, 24 * longest)


def _primal_cholesky(problem: Problem, tiling: Tiling, share: float) -> _Moments:
    n, p, s = problem.n, problem.p, problem.itemsize
    longest = max(f.held_out for f in problem.fold_sizes)
    gram = 8 * p * p
    factors = _fold_factors(problem, tiling, share)
    solved = 24 * min(longest, _PANEL_ROWS) * p
    streamed = 0 if problem.features_in_memory else gram
    making = gram + max(streamed, factors + 40 * longest * longest + solved)
    per_target = 8 * (p + n) + ((8 + s) * n if s < 8 else 0)
    return _Moments(making, gram + factors, per_target, 8 * max(p, n, 3 * longest))
