"""Where :mod:`voxridge.solvers.fits` meets the device: plans, sessions and methods of fits on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from voxridge.solvers.cuda.leave_out import DeviceLeaveOut
from voxridge.solvers.cuda.plan import make_device_plan
from voxridge.solvers.cuda.session import Session
from voxridge.solvers.cuda.spectral_method import DeviceSpectral
from voxridge.solvers.cuda.tiles import DeviceTiles
from voxridge.solvers.design import Design
from voxridge.solvers.host_tiles import HostTiles, TileReader
from voxridge.solvers.method import Method
from voxridge.solvers.plan import Plan
from voxridge.solvers.problem import Problem
from voxridge.solvers.settings import Settings
from voxridge.solvers.shared_plans import plan_together
from voxridge.solvers.tiles import Targets


def plan_on(
    settings: Settings, problems: Sequence[Problem], solver: str, *, required: bool
) -> list[Plan] | None:
    """Plans on the settings' device; None where there is no device, or it cannot do it and is not
    ``required``.

    Raises
    ------
    ValueError
        If the device is required and has no route that does what is asked for.
    MemoryError
        If it is required, and no route fits its memory or the host's.
    """
    cuda = settings.cuda
    if cuda is None:
        return None
    if settings.evaluation == "gcv":
        if required:
            raise ValueError(
                'generalised cross-validation wants eigenvectors of all samples: device="cpu" has them'
            )
        return None

    def make(problem: Problem, n_targets_batch: int | None) -> Plan:
        return make_device_plan(
            problem,
            cuda,
            solver=solver,
            precision=settings.precision,
            memory_limit=settings.memory_limit,
            n_targets_batch=n_targets_batch,
        )

    try:
        return plan_together(problems, make, settings.n_targets_batch)
    except (ValueError, MemoryError):
        if required:
            raise
        return None


def open_session(settings: Settings, plans: Sequence[Plan]) -> Session | None:
    """The device of the plans in use; None where they are for the processor."""
    if plans[0].device == "cpu":
        return None
    assert settings.cuda is not None
    return Session(settings.cuda.ops, settings.cuda.number, settings.precision)


def tile_reader(session: Session | None, targets: Targets, dtype: Any, *, centre: bool) -> TileReader:
    """Tiles of the targets where the fit wants them."""
    if session is None:
        return HostTiles(targets, dtype, centre=centre)
    return DeviceTiles(session, targets, dtype, centre=centre)


def make_device_method(
    session: Session, design: Design, plan: Plan, settings: Settings, common: dict[str, Any]
) -> Method:
    """The route that the plan names, on the device."""
    if plan.method == "spectral":
        return DeviceSpectral(session, design, settings.alphas, settings.folds, plan, **common)
    return DeviceLeaveOut(session, design, settings.alphas, settings.folds, plan, **common)
