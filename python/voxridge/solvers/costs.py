"""Costs that the routes of the cross-validated solver share: flops and bytes, and by which operation.

Formulas name n samples, p columns (p0 before delays), v targets, A penalties, k the rank, and of a fold N
rows trained on, T rows held out of the training and S rows scored. A rank update counts half of a product.
"""

from __future__ import annotations

from typing import NamedTuple

from voxridge.solvers.filters import FEWEST, SMALLEST
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import Step

BLOCK_ROWS = 384  # samples whose products with shared filters are made before they are summed up
LEVERAGE_ROWS = 128  # rows of fold factors that are summed at once
SINGLES = 512  # samples that are smoothed together where each of them is a set
OVERLAP = 1.5  # rows of all held-out sets over samples, past which all samples are smoothed at once
PANEL = 512  # targets in a product, whatever the tile: csrc/core/blas.hpp
_FRAGMENT = 4096  # bytes that could be read in the time it takes to find the next row of a tile


class Tiling(NamedTuple):
    """Targets in a tile, folds (spectral) and penalties (leave-out) whose factors are held together, rows and
    columns of features that are read at once, folds that are decomposed or left out at once, each by one
    core; whether the features are ``turned`` to their principal components (solvers/principal.py), and panels
    of targets that are worked on at once, each by one core."""

    targets: int
    folds: int
    alphas: int
    rows: int
    columns: int
    at_once: int = 1
    turned: bool = False
    panels: int = 1


def n_passes(problem: Problem, route: str, tiling: Tiling) -> int:
    """Times that all targets are read."""
    method = split_route(route)[1]
    scoring = -(-problem.n_alphas // tiling.alphas)
    if method == "spectral":
        scoring = -(-len(problem.folds) // tiling.folds)
    return scoring + (not problem.alpha_per_target)


def exact_share(problem: Problem, route: str, turned: bool = False) -> float:
    """Share of the penalties whose wide products float32 is expected to spoil, so that they run in float64.

    Leave-out: none, as a rule. Cholesky: those below 1e-4 of the largest eigenvalue. Primal spectral: all or
    none, by the condition of the Gram, even odds; on principal components, none as a rule.
    """
    if problem.itemsize == 8 or route == "dual-spectral" or turned:
        return 0.0
    return 0.5 if route == "primal-spectral" or route.endswith("cholesky") else 0.0


class Shared(NamedTuple):
    """What the filters of some penalties are compressed to (solvers/filters.py): products with all
    components, and shared filters."""

    products: float
    filters: int


def shared_filters(problem: Problem, n_alphas: int) -> Shared:
    """As spectra over five decades have it; narrower ones need less."""
    if n_alphas < FEWEST or rank(problem) < SMALLEST or problem.itemsize == 8:
        return Shared(float(n_alphas), n_alphas)
    return Shared(5.5, 75)


def smoothed_parts(problem: Problem) -> int:
    """Parts of the samples whose held-out predictions are made at a time: the sets; all samples where sets
    overlap; some of them where each is a set."""
    if problem.leaves_one_out:
        return -(-problem.n // SINGLES)
    return 1 if _overlap(problem) > OVERLAP else len(problem.folds)


def smoothed_rows(problem: Problem) -> int:
    """Samples in the largest part."""
    if problem.leaves_one_out:
        return min(SINGLES, problem.n)
    return problem.n if _overlap(problem) > OVERLAP else max(f.held_out for f in problem.fold_sizes)


def smoothed_in_all(problem: Problem) -> float:
    """Samples in all parts together."""
    overlap = _overlap(problem)
    return problem.n * (overlap if overlap <= OVERLAP else 1.0)


def _overlap(problem: Problem) -> float:
    return sum(f.held_out * f.n_folds for f in problem.fold_sizes) / problem.n


def split_route(route: str) -> tuple[str, str]:
    """Side and method of a route's name."""
    side, _, method = route.partition("-")
    return side, method or side


def weights_size(problem: Problem, route: str) -> int:
    """Rows of the weights of a route: dual coefficients or coefficients."""
    return problem.n if split_route(route)[0] == "dual" else problem.p


def weights_itemsize(problem: Problem, route: str) -> int:
    """Dual coefficients are float64 on all but the best-conditioned data: solvers/dual_weights.py."""
    return 8 if split_route(route)[0] == "dual" and not components_kept(problem, route) else problem.itemsize


def components_kept(problem: Problem, route: str) -> bool:
    """Whether a route's weights are components of the eigenvectors."""
    side, method = split_route(route)
    return side == "dual" and method != "cholesky" and problem.keeps_components


def rank(problem: Problem, rows: int | None = None) -> float:
    """Rank of a design of so many rows."""
    return float(max(1, min(problem.p, problem.n if rows is None else rows)))


def components(problem: Problem, route: str) -> float:
    """Columns of V. In the dual of the leave-out route they span everything, the null space too."""
    return float(problem.n) if route == "dual-leave-out" else rank(problem)


def wide_steps(
    problem: Problem, route: str, name: str, flops: float, size: float, turned: bool = False
) -> list[Step]:
    """A product as wide as the targets, of every penalty: some in float64."""
    share = exact_share(problem, route, turned)
    narrow = Step(name, (1 - share) * flops, 0, f"gemm{problem.itemsize}", size)
    return [narrow, Step(name, share * flops, 0, "gemm8", size)]


def targets_steps(problem: Problem, count: int, tiling: Tiling) -> list[Step]:
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


def chunks_steps(problem: Problem, side: str, method: str, tiling: Tiling) -> list[Step]:
    """What small chunks of features cost: Grams are added up; a few columns of every row are many pieces."""
    if side == "dual":
        pieces = float(problem.n) * problem.n_features * _FRAGMENT / tiling.columns
        return [Step("reading features", 0, 0, "file", bytes=pieces)]
    chunks = -(-problem.n // tiling.rows) * (2 if method == "spectral" else 1)
    return [Step("Gram", 0, 0, bytes=24.0 * chunks * problem.p**2)]


def features_file(problem: Problem, times: float) -> Step:
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
    return [Step("kernel", n * n * p0, 0, "syrk8", p0, bytes=shifts), features_file(problem, 3)]


def present(steps: list[Step], models: int) -> list[Step]:
    """Steps with something to do, for every model."""
    return [
        step._replace(flops=step.flops * models, bytes=step.bytes * models)
        for step in steps
        if step.flops or step.bytes
    ]
