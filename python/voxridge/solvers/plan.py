"""What a cross-validated fit will do before it does it: route, tiles, flops, memory and time, from a written
cost model.

| route            | factors                                      | of a target                       |
|------------------|----------------------------------------------|-----------------------------------|
| primal-spectral  | Gram p x p; an eigendecomposition per fold   | X'Y, a few products per fold      |
| dual-spectral    | kernel n x n; an eigendecomposition per fold | a few products per fold           |
| primal-leave-out | Gram; one eigendecomposition                 | a product per penalty             |
| dual-leave-out   | kernel; one eigendecomposition               | a product per penalty             |
| primal-cholesky  | Gram; a factor per penalty in its place      | X'Y, a few products per penalty   |
| dual-cholesky    | kernel; an inverse per penalty in its place  | a product per penalty             |
| svd              | chunked SVD of the design                    | a product per penalty             |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from voxridge.solvers.candidates import ROUTES, Candidate, best_tiling, eigh_order, takes
from voxridge.solvers.costs import PANEL, components_kept
from voxridge.solvers.memory import available_memory, in_words, parse_memory, resident_memory
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import Machine, Step, assumed, measured

__all__ = ["PANEL", "ROUTES", "Plan", "Problem", "available_memory", "make_plan", "parse_memory"]

_WORTH_MEASURING = 3.0  # seconds of a fit, as assumed rates have it
_LONG = 10.0  # seconds of a fit that is measured even where the routes are far apart
_FAR_APART = 2.0  # times as long as the best route, the next one: rates will not change their order
_MEASURING_BYTES = 160 * 2**20  # what solvers/rates.py holds while it measures


@dataclass(frozen=True)
class Plan:
    """Route and tiles of a fit, with what they cost; ``print(plan)`` shows all of it.

    ``peak_bytes`` is the resident memory that the whole process is expected to reach: ``resident_bytes``,
    which it held when the plan was made, and what the fit adds. ``worst_bytes`` is what it takes if float32
    does not do for any penalty and memory is cut up; limits are held against it. ``seconds`` is the expected
    time on ``machine``; ``steps`` adds up to it.

    Attributes
    ----------
    route : str
        One of ``ROUTES``.
    n_targets_batch, folds_per_pass, alphas_per_pass : int
        Targets in a tile; folds and penalties whose factors are held at once.
    rows_per_chunk, columns_per_chunk : int
        Features that are read at once.
    flops, bytes_read : float
        Arithmetic, and what is read from files.
    seconds : float
        Expected time on ``machine``; ``steps`` adds up to it.
    factor_bytes, tile_bytes, result_bytes : int
        Factors, buffers of a tile, scores and weights. Of these, factors and buffers are the device's, where
        there is one, at worst.
    peak_bytes, worst_bytes, resident_bytes : int
        The whole process as expected, at worst, and before the fit.
    reason : str
        The sizes of the problem.
    machine : str
        What the times are for.
    steps : tuple of Step
        (name, flops, seconds, ...) of each.
    rejected : tuple of (route, why not)
    folds_at_once : int
        Folds that are decomposed side by side.
    turned : bool
        Whether the features are turned to their principal components, which lets float32 do.
    components : bool
        Whether dual weights stay components of the eigenvectors, which takes half the memory.
    panels_at_once : int
        Panels of ``PANEL`` targets that are worked on side by side.
    device : str
        "cpu", or the CUDA device that does the arithmetic, such as "cuda:0".
    device_bytes : int
        All the memory of that device that the fit takes at worst; what peaks above is the host's.
    precision : str
        What the inputs of float32 products on that device are rounded to while penalties are compared.
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
    worst_bytes: int
    resident_bytes: int
    reason: str
    machine: str
    steps: tuple[Step, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    folds_at_once: int = 1
    turned: bool = False
    panels_at_once: int = 1
    components: bool = False
    device: str = "cpu"
    device_bytes: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Take steps and rejected routes from JSON too, which knows lists only."""
        object.__setattr__(self, "steps", tuple(Step(*step) for step in self.steps))
        object.__setattr__(self, "rejected", tuple((route, why) for route, why in self.rejected))

    @property
    def side(self) -> str:
        """ "primal", "dual" or "svd"."""
        return self.route.partition("-")[0]

    @property
    def method(self) -> str:
        """ "spectral", "leave-out", "cholesky" or "svd"."""
        return self.route.partition("-")[2] or self.route

    def on(self, machine: Machine) -> Plan:
        """The same work with the times of another machine, which might well choose another route."""
        steps = machine.rates.timed(self.steps)
        seconds = sum(step.seconds for step in steps)
        return replace(self, steps=steps, seconds=seconds, machine=str(machine))

    def summary(self) -> list[tuple[str, float, float]]:
        """(name, flops, seconds) of the steps, those of one name together."""
        found: dict[str, tuple[float, float]] = {}
        for step in self.steps:
            flops, seconds = found.get(step.name, (0.0, 0.0))
            found[step.name] = (flops + step.flops, seconds + step.seconds)
        return [(name, *both) for name, both in found.items()]

    def _on_device(self) -> str:
        rounded = "" if self.precision == "float32" else f", penalties compared in {self.precision}"
        return f"{self.device}, {in_words(self.device_bytes)} of its memory at worst{rounded}"

    def __str__(self) -> str:
        rows = [
            ("route", f"{self.route} ({self.reason})"),
            *([("device", self._on_device())] if self.device != "cpu" else []),
            ("targets in a tile", f"{self.n_targets_batch:,}"),
            ("folds in a pass", f"{self.folds_per_pass:,}"),
            ("  at once, a core each", f"{self.folds_at_once:,}"),
            *([("features", "turned to principal components")] if self.turned else []),
            ("penalties in a pass", f"{self.alphas_per_pass:,}"),
            ("rows in a chunk", f"{self.rows_per_chunk:,}"),
            ("columns in a chunk", f"{self.columns_per_chunk:,}"),
            ("flops", f"{self.flops:.3g}"),
            ("bytes read from files", f"{self.bytes_read:.3g}"),
            ("memory held before", in_words(self.resident_bytes)),
            ("factors", in_words(self.factor_bytes)),
            ("buffers of a tile", in_words(self.tile_bytes)),
            ("results", in_words(self.result_bytes)),
            ("peak memory", f"{in_words(self.peak_bytes)} of the whole process"),
            ("  at worst", in_words(self.worst_bytes)),
            ("expected time", f"{time_in_words(self.seconds)} on {self.machine}"),
        ]
        for name, flops, seconds in self.summary():
            work = f"{flops:.3g} flops" if flops else "files or memory"
            rows.append((f"  {name}", f"{time_in_words(seconds):<12}{work}"))
        rows += [(f"not {route}", why) for route, why in self.rejected]
        return "\n".join(f"{name:<24}{value}" for name, value in rows)


def make_plan(
    problem: Problem,
    *,
    solver: str = "auto",
    memory_limit: int | None = None,
    n_targets_batch: int | None = None,
    machine: Machine | None = None,
) -> Plan:
    """Choose the fastest route (or the one asked for) and tiles that keep the process within the limit; twice
    the memory must save 7 % of the time.

    Parameters
    ----------
    problem : Problem
    solver : str
        "auto", "primal", "dual", "spectral", "leave-out", "cholesky", "svd", or a route such as
        "dual-leave-out". "auto" leaves out "svd", which is for designs that no other can be trusted with.
    memory_limit : int, optional
        Bytes of memory that the whole process may reach, with what it holds already.
    n_targets_batch : int, optional
        Targets in a tile, rounded up to a multiple of ``PANEL``. Default: chosen.
    machine : Machine, optional
        Default: this one, measured where a fit takes long enough for that to matter.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If ``solver`` is not known, needs eigenvectors that LAPACK cannot give, or cannot weight samples.
    MemoryError
        If no route and tiling fits ``memory_limit``; the message says the least that would do.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers.folds import make_folds
    >>> problem = Problem(900, 50, 2000, 10, make_folds(5, [900], gap=0), itemsize=4)
    >>> make_plan(problem).route
    'primal-spectral'
    """
    routes = _routes(solver, problem)
    orders = {route: eigh_order(problem, route) for route in routes}
    resident = resident_memory() if problem.resident_bytes is None else problem.resident_bytes
    spare = None if memory_limit is None else memory_limit - resident
    tractable = [route for route in routes if orders[route] <= assumed().eigh_order]
    machine = machine or _this_machine(problem, tractable, spare)
    possible = [route for route in routes if orders[route] <= machine.eigh_order]
    if not possible:
        raise ValueError(
            f"solver={solver!r} needs eigenvectors of order {max(orders.values()):,}, and 32-bit LAPACK "
            f'ends at {machine.eigh_order:,}; use "auto" or "cholesky"'
        )
    found = {
        route: best_tiling(problem, route, machine.rates, resident, memory_limit, n_targets_batch)
        for route in possible
    }
    fitting = [candidate for candidate in found.values() if candidate.fits]
    if not fitting:
        raise _too_small(memory_limit, resident, list(found.values()))
    chosen = min(fitting, key=lambda candidate: candidate.cost)
    rejected = [
        (route, _why_not(found.get(route), chosen, orders[route], machine))
        for route in routes
        if route != chosen.route
    ]
    return _as_plan(problem, chosen, machine, resident, rejected)


def time_in_words(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _routes(solver: Any, problem: Problem) -> list[str]:
    known = {"auto": [route for route in ROUTES if route != "svd"]}
    for route in ROUTES:
        for word in {route, *route.split("-", 1)}:
            known.setdefault(word, []).append(route)
    if solver not in known:
        options = ", ".join(f'"{name}"' for name in known)
        raise ValueError(f"solver={solver!r} is not known; use one of {options}")
    routes = [route for route in known[solver] if takes(problem, route)]
    if not routes:
        raise ValueError(
            f"solver={solver!r} does not take sample_weight or pooled scores; "
            'use "auto", "leave-out" or "cholesky"'
        )
    return routes


def _this_machine(problem: Problem, routes: list[str], spare: int | None) -> Machine:
    """Measured where the fit takes longer than that, and ``spare`` bytes are enough to measure in: the limit
    holds for the planning, too. Beyond that no limit enters, so that more memory cannot change the rates."""
    here = assumed()
    if spare is not None and spare < _MEASURING_BYTES:
        return here
    seconds = sorted(best_tiling(problem, route, here.rates, 0, None).seconds for route in routes)
    far_apart = len(seconds) > 1 and seconds[1] > _FAR_APART * seconds[0]
    if not seconds or seconds[0] < _WORTH_MEASURING or (seconds[0] < _LONG and far_apart):
        return here
    return measured()


def _too_small(limit: int | None, resident: int, candidates: list[Candidate]) -> MemoryError:
    best = min(candidates, key=lambda candidate: candidate.least)
    least = best.least
    return MemoryError(
        f"memory_limit={limit} bytes is too small: the fit needs at least {least} bytes ({in_words(least)}), "
        f"by the route {best.route}; the process holds {in_words(resident)} before it begins"
    )


def _why_not(candidate: Candidate | None, chosen: Candidate, order: int, machine: Machine) -> str:
    if candidate is None:
        return f"needs eigenvectors of order {order:,}; 32-bit LAPACK ends at {machine.eigh_order:,}"
    if not candidate.fits:
        return f"would need {in_words(candidate.least)}"
    time = time_in_words(candidate.seconds)
    if candidate.seconds > chosen.seconds:
        return f"slower: {time}"
    return f"hardly faster: {time}, and {in_words(candidate.peak)}"


def _as_plan(
    problem: Problem, chosen: Candidate, machine: Machine, resident: int, rejected: list[tuple[str, str]]
) -> Plan:
    tiling, memory = chosen.tiling, chosen.memory
    steps = machine.rates.timed(chosen.steps)
    return Plan(
        route=chosen.route,
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
        peak_bytes=chosen.peak,
        worst_bytes=chosen.worst,
        resident_bytes=resident,
        reason=str(problem),
        machine=str(machine),
        steps=steps,
        rejected=tuple(rejected),
        folds_at_once=tiling.at_once,
        turned=tiling.turned,
        panels_at_once=tiling.panels,
        components=components_kept(problem, chosen.route),
    )
