"""From a route's name to its method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from voxridge.solvers.bases import dual_basis, primal_basis, svd_basis
from voxridge.solvers.cholesky_method import DualCholesky, PrimalCholesky
from voxridge.solvers.eigen_leave_out import EigenLeaveOut, GeneralisedCV
from voxridge.solvers.method import Method
from voxridge.solvers.spectral_method import SpectralMethod

_METHODS: dict[str, Callable[..., Method]] = {
    "primal-spectral": SpectralMethod,
    "dual-spectral": SpectralMethod,
    "primal-cholesky": PrimalCholesky,
    "dual-cholesky": DualCholesky,
}
_BASES = {"primal-leave-out": primal_basis, "dual-leave-out": dual_basis, "svd": svd_basis}


def method_of(route: str, *, gcv: bool = False) -> Callable[..., Method]:
    """What makes the method of a route; ``gcv`` for the closed form, which the routes with a basis have."""
    if route in _METHODS:
        return _METHODS[route]
    kind: Any = GeneralisedCV if gcv else EigenLeaveOut
    return partial(kind, make_basis=_BASES[route], dual=route == "dual-leave-out")
