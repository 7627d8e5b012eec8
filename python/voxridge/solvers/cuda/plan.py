"""The plan of a fit on a device: the route and tiles that take the least time of those that fit its
memory and the host's.

| route           | factors on the device                               | of a target and a penalty         |
|-----------------|-----------------------------------------------------|-----------------------------------|
| dual-cholesky   | kernel n x n; an inverse per penalty in its place   | a product n x n; held-out sets    |
| primal-cholesky | Gram p x p; a factor per penalty in its place       | solves p x p; held-out sets       |
| dual-spectral   | kernel n x n; an eigendecomposition per fold        | a product with every fold's rows  |
| primal-spectral | Gram p x p; an eigendecomposition per fold          | a product with every fold's rows  |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from voxridge._dispatch import CudaDevice
from voxridge.solvers.candidates import chunks, doubling, takes
from voxridge.solvers.costs import PANEL, split_route
from voxridge.solvers.cuda.costs import device_steps, n_passes
from voxridge.solvers.cuda.devices import machine_of
from voxridge.solvers.cuda.footprints import (
    DeviceFootprint,
    DeviceTiling,
    device_footprint,
    usable_bytes,
)
from voxridge.solvers.memory import in_words, resident_memory
from voxridge.solvers.plan import Plan, time_in_words
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import Machine, Step

DEVICE_ROUTES = ("dual-cholesky", "primal-cholesky", "dual-spectral", "primal-spectral")
_WIDEST = 16 * PANEL  # products of more targets are no faster


@dataclass(frozen=True)
class _Candidate:
    """A route with its best tiling; where none fits, with the one that needs the least memory."""

    route: str
    tiling: DeviceTiling
    steps: tuple[Step, ...]
    seconds: float
    passes: int
    memory: DeviceFootprint
    fits_device: bool
    fits_host: bool

    @property
    def key(self) -> tuple[float, ...]:
        """The least is the best: of those that fit, by time; ties go to fewer passes and less memory. Those
        that do not fit the host are nearer to it than those that do not fit the device."""
        if not self.fits_device:
            return 2.0, self.memory.device
        if not self.fits_host:
            return 1.0, self.memory.host
        return 0.0, self.seconds, self.passes, self.memory.device


def make_device_plan(
    problem: Problem,
    cuda: CudaDevice,
    *,
    solver: str = "auto",
    precision: str = "float32",
    memory_limit: int | None = None,
    n_targets_batch: int | None = None,
) -> Plan:
    """Choose the fastest route (or the one asked for) and tiles that keep to the device's free memory.

    Parameters
    ----------
    problem : Problem
    cuda : CudaDevice
        Only its name and its facts are looked at.
    solver : str
        "auto", "primal", "dual", "cholesky", "leave-out" (which is "cholesky" here), "spectral", or a route.
    precision : "float32", "tf32" or "bf16"
    memory_limit : int, optional
        Bytes of memory of the host that the whole process may reach, with what it holds already.
    n_targets_batch : int, optional
        Targets in a tile, rounded up to a multiple of ``PANEL``. Default: chosen.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If no route on a device is called ``solver``, or none that is can weight samples.
    MemoryError
        If no route and tiling fits the device's memory, or the host's limit; the message says whose memory,
        and the least that would do.
    """
    routes = _routes(solver, problem)
    resident = resident_memory() if problem.resident_bytes is None else problem.resident_bytes
    machine = machine_of(cuda.facts, precision)
    usable = usable_bytes(int(cuda.facts["total_bytes"]), int(cuda.facts["free_bytes"]))
    spare = None if memory_limit is None else memory_limit - resident
    found = [_best(problem, route, machine, precision, usable, spare, n_targets_batch) for route in routes]
    chosen = min(found, key=lambda candidate: candidate.key)
    if not chosen.fits_device:
        raise _no_room_there(cuda, usable, chosen)
    if not chosen.fits_host:
        raise _no_room_here(memory_limit, resident, chosen)
    rejected = [(other.route, _why_not(other)) for other in found if other is not chosen]
    return _as_plan(problem, chosen, cuda, machine, precision, resident, rejected)


def _routes(solver: str, problem: Problem) -> list[str]:
    known: dict[str, list[str]] = {"auto": list(DEVICE_ROUTES)}
    for route in DEVICE_ROUTES:
        for word in split_route(route):
            known.setdefault(word, []).append(route)
    known["leave-out"] = known["cholesky"]
    known |= {route: [route] for route in DEVICE_ROUTES}
    words = ", ".join(f'"{word}"' for word in known)
    if solver not in known:
        raise ValueError(f'solver={solver!r} runs on device="cpu" only; on a CUDA device use one of {words}')
    routes = [route for route in known[solver] if takes(problem, route)]
    if not routes:
        raise ValueError(
            f"solver={solver!r} does not take sample_weight or pooled scores; "
            'use "auto", "leave-out" or "cholesky"'
        )
    return routes


def _best(
    problem: Problem,
    route: str,
    machine: Machine,
    precision: str,
    usable: int,
    spare: int | None,
    asked_tile: int | None,
) -> _Candidate:
    best: _Candidate | None = None
    for tiling in _tilings(problem, route, asked_tile):
        candidate = _candidate(problem, route, tiling, machine, precision, usable, spare)
        if best is None or candidate.key < best.key:
            best = candidate
    assert best is not None
    return best


def _candidate(
    problem: Problem,
    route: str,
    tiling: DeviceTiling,
    machine: Machine,
    precision: str,
    usable: int,
    spare: int | None,
) -> _Candidate:
    """With the largest chunks of features that the host has room for."""
    for rows, columns in reversed(chunks(problem)):
        tiling = tiling._replace(rows=rows, columns=columns)
        memory = device_footprint(problem, route, tiling, precision)
        fits_host = spare is None or memory.host <= spare
        if fits_host:
            break
    fits_device = memory.device <= usable
    steps: tuple[Step, ...] = ()
    if fits_device and fits_host:
        steps = machine.rates.timed(device_steps(problem, route, tiling, precision, machine.rates))
    seconds = sum(step.seconds for step in steps)
    count = n_passes(problem, route, tiling)
    return _Candidate(route, tiling, steps, seconds, count, memory, fits_device, fits_host)


def _tilings(problem: Problem, route: str, asked_tile: int | None) -> Iterator[DeviceTiling]:
    """Every combination worth a look: tiles double, and passes are as full as each other."""
    v = max(problem.n_targets, 1)
    tiles = [min(-(-asked_tile // PANEL) * PANEL, v)] if asked_tile else doubling(PANEL, min(v, _WIDEST))
    spectral = route.endswith("spectral")
    amount = len(problem.folds) if spectral else problem.n_alphas
    for tile in tiles:
        for held in sorted({-(-amount // count) for count in range(1, amount + 1)}):
            if spectral:
                yield DeviceTiling(tile, problem.n_alphas, held, problem.n, problem.n_features)
            else:
                yield DeviceTiling(tile, held, len(problem.folds), problem.n, problem.n_features)


def _no_room_there(cuda: CudaDevice, usable: int, least: _Candidate) -> MemoryError:
    facts, needed = cuda.facts, least.memory.device
    kept = int(facts["free_bytes"]) - usable
    return MemoryError(
        f"{cuda.name} ({facts['name']}) has too little memory: {facts['free_bytes']} bytes "
        f"({in_words(facts['free_bytes'])}) are free, of which {in_words(kept)} stay free for the libraries, "
        f"and the fit needs at least {needed} bytes ({in_words(needed)}), by the route {least.route}; "
        'use device="cpu", or a device with more memory'
    )


def _no_room_here(limit: int | None, resident: int, least: _Candidate) -> MemoryError:
    needed = resident + least.memory.host
    return MemoryError(
        f"memory_limit={limit} bytes is too small: the fit needs at least {needed} bytes "
        f"({in_words(needed)}) of the host's memory beside the device's, by the route {least.route}; the "
        f"process holds {in_words(resident)} before it begins"
    )


def _why_not(candidate: _Candidate) -> str:
    if not candidate.fits_device:
        return f"would need {in_words(candidate.memory.device)} of the device"
    if not candidate.fits_host:
        return f"would need {in_words(candidate.memory.host)} more of the host"
    return f"slower: {time_in_words(candidate.seconds)}"


def _as_plan(
    problem: Problem,
    chosen: _Candidate,
    cuda: CudaDevice,
    machine: Machine,
    precision: str,
    resident: int,
    rejected: list[tuple[str, str]],
) -> Plan:
    tiling, memory, steps = chosen.tiling, chosen.memory, chosen.steps
    return Plan(
        route=chosen.route,
        n_targets_batch=tiling.targets,
        folds_per_pass=tiling.folds,
        alphas_per_pass=tiling.alphas,
        rows_per_chunk=tiling.rows,
        columns_per_chunk=tiling.columns,
        flops=sum(step.flops for step in steps),
        bytes_read=sum(step.bytes for step in steps if step.kind == "file"),
        seconds=chosen.seconds,
        factor_bytes=memory.factors,
        tile_bytes=memory.tile,
        result_bytes=memory.results,
        peak_bytes=resident + memory.host,
        worst_bytes=resident + memory.host,
        resident_bytes=resident,
        reason=str(problem),
        machine=str(machine),
        steps=steps,
        rejected=tuple(rejected),
        device=cuda.name,
        device_bytes=memory.device,
        precision=precision,
    )
