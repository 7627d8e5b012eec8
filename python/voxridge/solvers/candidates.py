"""Every way to cut a fit into tiles, by every route, with its time and memory; the fastest within a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from voxridge.solvers.costs import PANEL, Tiling, smoothed_parts
from voxridge.solvers.footprints import Footprint, footprint
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import Rates, Step
from voxridge.solvers.route_costs import once, passes

ROUTES = (
    "primal-spectral",
    "dual-spectral",
    "primal-leave-out",
    "dual-leave-out",
    "primal-cholesky",
    "dual-cholesky",
    "svd",
)
_THRIFT = 0.1
_SPANNING = 0.2  # least share of the samples beyond p that a fold trains on
_CHUNK_BYTES = 256 * 2**20  # larger chunks of features are read no faster


@dataclass(frozen=True)
class Candidate:
    """A route with its best tiling within the limit; where none fits, with the one that needs the least
    memory. Bytes are of the whole process: ``peak`` as expected, ``least`` at worst, which is what limits
    are held against."""

    route: str
    tiling: Tiling
    steps: tuple[Step, ...]
    seconds: float
    memory: Footprint
    peak: int
    worst: int
    least: int
    fits: bool

    @property
    def cost(self) -> float:
        return cost_of(self.seconds, self.worst)


def cost_of(seconds: float, peak: int) -> float:
    """What candidates are compared by: twice the memory must save 7 % of the time.

    With a higher limit, only what needs more memory can be chosen instead, and so only what is faster.
    """
    return float(seconds * peak**_THRIFT)


def best_tiling(
    problem: Problem,
    route: str,
    rates: Rates,
    resident: int,
    limit: int | None,
    asked_tile: int | None = None,
) -> Candidate:
    """The best tiling of ``route`` for a process that holds ``resident`` bytes and may reach ``limit``."""
    best: tuple[bool, float, int, Tiling] | None = None
    least = None
    fixed = {turned: once(problem, route, turned) for turned in (False, True)}
    fixed_seconds = {turned: sum(rates.seconds(step) for step in steps) for turned, steps in fixed.items()}
    for tiling in tilings(problem, route, asked_tile, rates.cores):
        memory = footprint(problem, route, tiling)
        peak, worst = resident + memory.peak, resident + memory.worst
        least = worst if least is None else min(least, worst)
        fits = limit is None or worst <= limit
        passing = _passes(problem, route, tiling, memory.peak)
        seconds = fixed_seconds[tiling.turned] + sum(rates.seconds(step) for step in passing)
        key = (not fits, cost_of(seconds, worst) if fits else worst, worst, tiling)
        if best is None or key < best:
            best = key
    assert best is not None
    assert least is not None
    tiling = best[-1]
    memory = footprint(problem, route, tiling)
    steps = (*fixed[tiling.turned], *_passes(problem, route, tiling, memory.peak))
    seconds = sum(rates.seconds(step) for step in steps)
    peak, worst = resident + memory.peak, resident + memory.worst
    return Candidate(route, tiling, steps, seconds, memory, peak, worst, least, fits=not best[0])


def _passes(problem: Problem, route: str, tiling: Tiling, peak: int) -> list[Step]:
    return [*passes(problem, route, tiling), Step("new memory", 0, 0, "pages", bytes=peak)]


def takes(problem: Problem, route: str) -> bool:
    """Sample weights and pooled scores need held-out predictions, which the spectral routes never form."""
    return not (route.endswith("spectral") and (problem.sample_weight or problem.pooled))


def eigh_order(problem: Problem, route: str) -> int:
    """Order of the largest eigendecomposition of a route."""
    if route.endswith("-cholesky") or route == "svd":
        return 0
    return problem.p if route.startswith("primal") else problem.n


def tilings(problem: Problem, route: str, asked_tile: int | None = None, cores: int = 1) -> Iterator[Tiling]:
    """Every combination worth a look: amounts double."""
    v = max(problem.n_targets, 1)
    tiles = [min(-(-asked_tile // PANEL) * PANEL, v)] if asked_tile else doubling(PANEL, v)
    folds = doubling(1, len(problem.folds)) if route.endswith("spectral") else [len(problem.folds)]
    alphas = [problem.n_alphas]
    if route.endswith("leave-out") or route == "svd":
        alphas = doubling(1, problem.n_alphas)
    elif route.endswith("cholesky"):
        alphas = [1]
    at_onces = _at_once(problem, route, cores)
    turns = (False, True) if _turns(problem, route) else (False,)
    for rows, columns in chunks(problem):
        for tile in tiles:
            for fold in folds:
                for at_once in at_onces(tile, fold):
                    for alpha in alphas:
                        for turned in turns:
                            panels = _panels(problem, route, tile, cores)
                            yield Tiling(tile, fold, alpha, rows, columns, at_once, turned, panels)


def _turns(problem: Problem, route: str) -> bool:
    """Whether a route may turn the features to principal components: float64 has no use for it, files would
    be read once for every block of rows, and training samples must span what the others lie in."""
    shortest = min(size.train for size in problem.fold_sizes)
    spans = shortest - problem.p >= _SPANNING * (problem.n - problem.p)
    return route == "primal-spectral" and problem.itemsize < 8 and problem.features_in_memory and spans


def _panels(problem: Problem, route: str, tile: int, cores: int) -> int:
    """Panels of a tile that are worked on side by side, where there are enough. Files are read by one
    thread."""
    read = route == "primal-spectral" and not problem.features_in_memory
    return cores if not route.endswith("cholesky") and tile >= cores * PANEL and not read else 1


def _at_once(problem: Problem, route: str, cores: int) -> Callable[[int, int], set[int]]:
    """Of a tile and the folds in a pass, how many folds may be worked on side by side: decomposed, from what
    is in memory (a kernel is, features may be); or left out, panel by panel, where there are enough."""
    if route.endswith("spectral"):
        possible = route.startswith("dual") or problem.features_in_memory
        return lambda tile, folds: {1, min(folds, cores) if possible else 1}
    if route.endswith("cholesky"):
        return lambda tile, folds: {1}
    parts = smoothed_parts(problem)
    return lambda tile, folds: {cores if parts * -(-tile // PANEL) >= cores else 1}


def chunks(problem: Problem) -> list[tuple[int, int]]:
    """(rows, columns) of features that are read at once, about the same number of bytes."""
    n, width = problem.n, problem.n_features
    if problem.features_in_memory:
        return [(n, width)]
    sizes = [2**20]
    while sizes[-1] < min(_CHUNK_BYTES, n * width * problem.itemsize):
        sizes.append(2 * sizes[-1])
    row, column = width * problem.itemsize, n * problem.itemsize
    return [(min(n, max(4, size // row)), min(width, max(8, size // column))) for size in sizes]


def doubling(first: int, last: int) -> list[int]:
    """``first``, twice that, ... and ``last``."""
    amounts = [min(first, last)]
    while amounts[-1] < last:
        amounts.append(min(2 * amounts[-1], last))
    return amounts
