"""The plan of a fit on a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from voxridge._dispatch import CudaDevice
from voxridge.solvers.plan import Plan, make_plan
from voxridge.solvers.problem import Problem


def make_device_plan(problem: Problem, cuda: CudaDevice, *, solver: str, precision: str, **limits: Any) -> Plan:
    """A plan of the processor's, told to run on the device."""
    word = {"auto": "cholesky", "leave-out": "cholesky"}.get(solver, solver)
    plan = make_plan(problem, solver=word, **limits)
    return replace(plan, device=cuda.name, precision=precision)
