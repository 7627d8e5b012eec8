"""Results of fits and predictions where their inputs came from: on a CUDA device, in the caller's library."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge._dispatch import CudaDevice
from voxridge.streams import Source
from voxridge.streams.device_source import DeviceSegment, DeviceSource, is_on_device

_FROM_DLPACK = ("torch", "cupy")  # libraries with from_dlpack, which take a matrix over without a copy


_KEPT = ("_caller", "_on_host", "_coef_there")  # of a fit to features on a device


@dataclass(frozen=True)
class Caller:
    """Who hands in arrays on a device, and gets arrays there back.

    Attributes
    ----------
    cuda : CudaDevice
    library : str
        The module that the caller's arrays are of.
    """

    cuda: CudaDevice
    library: str

    @classmethod
    def of(cls, source: Source) -> Caller | None:
        """None where the source is not on a device."""
        return cls(source.cuda, source.library) if isinstance(source, DeviceSource) else None

    @classmethod
    def of_array(cls, array: Any) -> Caller | None:
        """None where the array is not on a device."""
        if not is_on_device(array):
            return None
        segment = DeviceSegment(array, "X")
        return cls(segment.cuda, segment.library)

    def give(self, there: Any) -> Any:
        """A matrix of the device as the caller's library has it; where that is not known, a
        ``voxridge._cuda.Array``, which speaks DLPack and ``__cuda_array_interface__``."""
        if self.library not in _FROM_DLPACK:
            return there
        return importlib.import_module(self.library).from_dlpack(there)

    def send(self, a: NDArray[Any]) -> Any:
        """A copy of an array of the host on the device."""
        host = np.ascontiguousarray(a)
        ops = self.cuda.ops
        there = ops.empty(host.shape, host.dtype, self.cuda.number)
        with ops.Queue(self.cuda.number) as queue:
            ops.upload(host, there, queue)
        return self.give(there)


class HandsOver:
    """Estimators whose fitted arrays go to where X was; the host keeps its own, for all that is computed."""

    def _hand_over(self, caller: Caller | None, names: tuple[str, ...]) -> None:
        """``names`` of attributes; a caller of None leaves them where they are."""
        held = vars(self)
        for name in _KEPT:
            held.pop(name, None)
        if caller is None:
            return
        arrays = {name: held[name] for name in names if isinstance(held[name], np.ndarray)}
        held |= {name: caller.send(array) for name, array in arrays.items()}
        held |= {"_caller": caller, "_on_host": arrays}

    @property
    def _handed_to(self) -> Caller | None:
        caller: Caller | None = vars(self).get("_caller")
        return caller

    def _host(self, name: str) -> Any:
        """A fitted attribute in the memory of the host."""
        return vars(self).get("_on_host", {}).get(name, getattr(self, name))

    def __getstate__(self) -> dict[str, Any]:
        """With the copies of the host, and no other."""
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        if "_on_host" in state:
            state |= state["_on_host"]
        return {name: value for name, value in state.items() if name not in _KEPT}
