"""What a cross-validated fit will do before it does it: route, tiles, flops, memory and time, from a written
cost model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from voxridge.solvers.costs import PANEL, Tiling, route_steps
from voxridge.solvers.footprints import Footprint, footprint
from voxridge.solvers.memory import available_memory, in_words, parse_memory, resident_memory
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import Machine, Step, assumed, measured

__all__ = ["PANEL", "ROUTES", "Plan", "Problem", "available_memory", "make_plan", "parse_memory"]

ROUTES = (
    "primal-spectral",
    "dual-spectral",
    "primal-leave-out",
    "dual-leave-out",
    "primal-cholesky",
    "dual-cholesky",
    "svd",
)
_LAPACK_ORDER = 32_766  # 32-bit LAPACK counts 2 n^2 + 6 n + 1 elements of work space
_WORTH_MEASURING = 5.0  # seconds of a fit, as assumed rates have it
_CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Plan:
    """Route and tiles of a fit, with what they cost.

    ``peak_bytes`` is the memory that the whole process is expected to reach: ``resident_bytes``, which it
    held before, and what the fit adds. ``seconds`` is for ``machine``.
    """

    route: str
    n_targets_batch: int
    folds_per_pass: int
    alphas_per_pass: int
    rows_per_chunk: int
    columns_per_chunk: int
    flops: float
    bytes_read: float
    seconds: float
    factor_bytes: int
    tile_bytes: int
    result_bytes: int
    peak_bytes: int
    resident_bytes: int
    reason: str
    machine: str = "here"
    steps: tuple[Step, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(Step(*step) for step in self.steps))
        object.__setattr__(self, "rejected", tuple((name, why) for name, why in self.rejected))

    @property
    def side(self) -> str:
        """ "primal", "dual" or "svd"."""
        return self.route.partition("-")[0]

    @property
    def method(self) -> str:
        """ "spectral", "leave-out", "cholesky" or "svd"."""
        return self.route.partition("-")[2] or self.route

    def on(self, machine: Machine) -> Plan:
        """The same work on another machine: other times."""
        steps = machine.rates.timed(self.steps)
        seconds = sum(step.seconds for step in steps)
        return replace(self, steps=steps, seconds=seconds, machine=f"{machine.name} ({machine.source})")

    def __str__(self) -> str:
        rows = [
            ("route", f"{self.route} ({self.reason})"),
            ("targets in a tile", f"{self.n_targets_batch:,}"),
            ("folds in a pass", f"{self.folds_per_pass}"),
            ("penalties in a pass", f"{self.alphas_per_pass}"),
            ("rows, columns in a chunk", f"{self.rows_per_chunk:,}, {self.columns_per_chunk:,}"),
            ("flops", f"{self.flops:.3g}"),
            ("bytes read", in_words(self.bytes_read)),
            ("held before the fit", in_words(self.resident_bytes)),
            ("factors", in_words(self.factor_bytes)),
            ("tile buffers", in_words(self.tile_bytes)),
            ("results", in_words(self.result_bytes)),
            ("peak memory", in_words(self.peak_bytes)),
            ("expected time", f"{_seconds(self.seconds)} on {self.machine}"),
        ]
        rows += [
            (f"  {name}", f"{flops:.3g} flops, {_seconds(time)}") for name, flops, time in self.summary()
        ]
        rows += [(f"not {name}", why) for name, why in self.rejected]
        return "\n".join(f"{name:<28}{value}" for name, value in rows)

    def summary(self) -> list[tuple[str, float, float]]:
        """(name, flops, seconds) of the steps, equal names together."""
        found: dict[str, tuple[float, float]] = {}
        for step in self.steps:
            flops, seconds = found.get(step.name, (0.0, 0.0))
            found[step.name] = (flops + step.flops, seconds + step.seconds)
        return [(name, *both) for name, both in found.items()]


def make_plan(
    problem: Problem,
    *,
    solver: str = "auto",
    memory_limit: int | None = None,
    n_targets_batch: int | None = None,
    machine: Machine | None = None,
) -> Plan:
    """Choose the fastest route (or the one asked for) and tiles that keep the process within the limit.

    Parameters
    ----------
    problem : Problem
    solver : str
        "auto", "primal", "dual", "spectral", "leave-out", "cholesky", "svd", or a route such as
        "dual-leave-out". "auto" does not consider "svd", which is for designs that the others cannot be
        trusted with.
    memory_limit : int, optional
        Bytes of memory that the whole process may reach, what it holds already included.
    n_targets_batch : int, optional
        Targets in a tile, rounded up to a multiple of ``PANEL``. Default: chosen.
    machine : Machine, optional
        Default: this one; measured where the fit takes long enough for that to matter.

    Raises
    ------
    ValueError
        If ``solver`` is not known.
    MemoryError
        If no route and tiling fits ``memory_limit``; the message says the least that would do.
    """
    routes = _routes(solver)
    resident = resident_memory() if problem.resident_bytes is None else problem.resident_bytes
    outcomes = [_Outcome(problem, route, resident, memory_limit, n_targets_batch) for route in routes]
    possible = [outcome for outcome in outcomes if outcome.best is not None]
    if not possible:
        raise _too_small(memory_limit, resident, outcomes)
    if machine is None:
        machine = assumed()
        if min(outcome.seconds(machine) for outcome in possible) > _WORTH_MEASURING:
            machine = measured()
    chosen = min(possible, key=lambda outcome: outcome.seconds(machine))
    rejected = tuple(
        (outcome.route, outcome.verdict(machine, chosen)) for outcome in outcomes if outcome is not chosen
    )
    return chosen.plan(machine, rejected)


def _routes(solver: str) -> list[str]:
    known = {"auto": [route for route in ROUTES if route != "svd"]}
    for route in ROUTES:
        for word in {route, *route.split("-", 1)}:
            known.setdefault(word, []).append(route)
    if solver not in known:
        options = ", ".join(f'"{name}"' for name in known)
        raise ValueError(f"solver={solver!r} is not known; use one of {options}")
    return known[solver]


class _Outcome:
    """The best tiling of one route within the limit, and the least memory that it needs."""

    def __init__(
        self, problem: Problem, route: str, resident: int, limit: int | None, asked_tile: int | None
    ) -> None:
        self.problem, self.route, self.resident = problem, route, resident
        self.best: Tiling | None = None
        self.least = float("inf")
        self.order = _order_of_eigh(problem, route)
        if self.order > _LAPACK_ORDER:
            return
        ranked = sorted(_tilings(problem, route, asked_tile), key=self._preference)
        for tiling in ranked:
            peak = resident + footprint(problem, route, tiling).peak
            self.least = min(self.least, peak)
            if self.best is None and (limit is None or peak <= limit):
                self.best = tiling

    def _preference(self, tiling: Tiling) -> tuple[float, float]:
        rates = assumed().rates
        steps = route_steps(self.problem, self.route, tiling)
        return sum(rates.seconds(step) for step in steps), footprint(self.problem, self.route, tiling).peak

    def seconds(self, machine: Machine) -> float:
        assert self.best is not None
        return sum(machine.rates.seconds(s) for s in route_steps(self.problem, self.route, self.best))

    def verdict(self, machine: Machine, chosen: _Outcome) -> str:
        if self.order > _LAPACK_ORDER:
            return f"needs eigenvectors of order {self.order:,}; 32-bit LAPACK ends at {_LAPACK_ORDER:,}"
        if self.best is None:
            return f"would need {in_words(self.least)}"
        return f"slower: {_seconds(self.seconds(machine))}"

    def plan(self, machine: Machine, rejected: tuple[tuple[str, str], ...]) -> Plan:
        assert self.best is not None
        tiling, problem = self.best, self.problem
        memory: Footprint = footprint(problem, self.route, tiling)
        steps = machine.rates.timed(route_steps(problem, self.route, tiling))
        return Plan(
            route=self.route,
            n_targets_batch=tiling.targets,
            folds_per_pass=tiling.folds,
            alphas_per_pass=tiling.alphas,
            rows_per_chunk=tiling.rows,
            columns_per_chunk=tiling.columns,
            flops=sum(step.flops for step in steps),
            bytes_read=sum(step.bytes for step in steps if step.kind == "file"),
            seconds=sum(step.seconds for step in steps),
            factor_bytes=memory.factors,
            tile_bytes=memory.tile,
            result_bytes=memory.results,
            peak_bytes=self.resident + memory.peak,
            resident_bytes=self.resident,
            reason=f"n = {problem.n:,}, p = {problem.p:,}, {problem.n_targets:,} targets, "
            f"{problem.n_alphas} penalties, {len(problem.folds)} folds",
            machine=f"{machine.name} ({machine.source})",
            steps=steps,
            rejected=rejected,
        )


def _order_of_eigh(problem: Problem, route: str) -> int:
    side, _, method = route.partition("-")
    if method not in ("spectral", "leave-out"):
        return 0
    return problem.p if side == "primal" else problem.n


def _tilings(problem: Problem, route: str, asked_tile: int | None) -> Iterator[Tiling]:
    """Every combination worth a look: amounts double."""
    v = max(problem.n_targets, 1)
    tiles = [_whole_panels(asked_tile, v)] if asked_tile else _doubling(PANEL, v)
    folds = _doubling(1, len(problem.folds)) if route.endswith("spectral") else [len(problem.folds)]
    by_alpha = route.endswith("leave-out") or route == "svd"
    alphas = _doubling(1, problem.n_alphas) if by_alpha else [1 if "cholesky" in route else problem.n_alphas]
    rows, columns = [problem.n], [problem.n_features]
    if not problem.features_in_memory:
        rows = _doubling(512, problem.n, _CHUNK_BYTES // (problem.n_features * problem.itemsize))
        columns = _doubling(16, problem.n_features, _CHUNK_BYTES // (problem.n * problem.itemsize))
    for tile in tiles:
        for fold in folds:
            for alpha in alphas:
                for row, column in zip(*_same_length(rows, columns), strict=True):
                    yield Tiling(tile, fold, alpha, row, column)


def _same_length(left: list[int], right: list[int]) -> tuple[list[int], list[int]]:
    """The shorter list goes on with its last entry."""
    length = max(len(left), len(right))
    return left + left[-1:] * (length - len(left)), right + right[-1:] * (length - len(right))


def _whole_panels(tile: int, n_targets: int) -> int:
    return min(-(-tile // PANEL) * PANEL, n_targets)


def _doubling(first: int, last: int, highest: int | None = None) -> list[int]:
    """``first``, twice that, ... and ``last``, nothing above ``highest``."""
    amounts = [min(first, last)]
    while amounts[-1] < last and (highest is None or 2 * amounts[-1] <= highest):
        amounts.append(min(2 * amounts[-1], last))
    return amounts


def _too_small(limit: int | None, resident: int, outcomes: list[_Outcome]) -> MemoryError:
    best = min(outcomes, key=lambda outcome: outcome.least)
    if best.least == float("inf"):
        return MemoryError(f"no route can be taken: {best.verdict(assumed(), best)}")
    return MemoryError(
        f"memory_limit={limit} bytes is too small: the fit needs at least {int(best.least)} bytes "
        f"({in_words(best.least)}) by the route {best.route}; the process holds {in_words(resident)} already"
    )


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
