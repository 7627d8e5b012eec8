"""Results of fits and predictions where their inputs came from: on a CUDA device, in the caller's library."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge._dispatch import CudaDevice
from voxridge.streams import Source
from voxridge.streams.device_source import DeviceSource

_FROM_DLPACK = ("torch", "cupy")  # libraries with from_dlpack, which take a matrix over without a copy


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
