"""The competitors by name."""

from __future__ import annotations

from itertools import product

from bench.adapters.base import Adapter, Result
from bench.adapters.himalaya import Backend, Himalaya, Solver
from bench.adapters.huth import Huth
from bench.adapters.null import Null
from bench.adapters.sklearn import ScikitLearn
from bench.adapters.voxridge import Voxridge

__all__ = ["ADAPTERS", "Adapter", "Result", "get_adapter"]

_SOLVERS: list[Solver] = ["ridge", "kernel"]
_BACKENDS: list[Backend] = ["numpy", "torch"]
_ALL: list[Adapter] = [Voxridge(), ScikitLearn(), Huth(), Null()]
_ALL += [Himalaya(*kind) for kind in product(_SOLVERS, _BACKENDS, (False, True), (False, True))]
_ALL += [Voxridge("cuda"), *(Himalaya(solver, "torch_cuda") for solver in _SOLVERS)]
ADAPTERS: dict[str, Adapter] = {adapter.name: adapter for adapter in _ALL}


def get_adapter(name: str) -> Adapter:
    """Raises ValueError, which lists the names, where there is none such."""
    if name not in ADAPTERS:
        raise ValueError(f"competitor {name!r} is not one of {', '.join(ADAPTERS)}")
    return ADAPTERS[name]
