"""Matrices in the memory of a CUDA device, of whatever library, as sources: zero-copy for the device, and
read in parts by the host."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from voxridge import _dispatch
from voxridge.streams.identity import Identity, content_digest, identity
from voxridge.streams.segments import Array, Segment
from voxridge.streams.sources import RunSource

DeviceArray = Any  # voxridge._cuda.Array, whose module may not exist

_CUDA, _MANAGED = 2, 13  # of DLPack's device types


def is_on_device(data: Any) -> bool:
    """Whether ``data`` is an array in the memory of a CUDA device: of torch, cupy, or any library that speaks
    DLPack or ``__cuda_array_interface__``."""
    if isinstance(data, np.ndarray):
        return False
    where = getattr(data, "__dlpack_device__", None)
    if where is not None:
        try:
            return int(where()[0]) in (_CUDA, _MANAGED)
        except (BufferError, RuntimeError, TypeError, ValueError):  # on a device that DLPack has no name for
            return False
    return hasattr(data, "__cuda_array_interface__")


class DeviceSegment:
    """A block of rows on a CUDA device, over the caller's memory.

    Parameters
    ----------
    data : array of a device
        float32 or float64; a row's elements are neighbours.
    label : str
        What messages call it.

    Raises
    ------
    ValueError
        It is not row-major, needs gradients, or has a device that is not as it says.
    TypeError
        Its elements are not float32 or float64.
    RuntimeError
        voxridge was built without CUDA, or cannot use the device.
    """

    in_memory = True
    row_multiple = 1

    def __init__(self, data: Any, label: str) -> None:
        self.label = label
        self.library = type(data).__module__.split(".")[0]
        self.cuda, self._queue, array = _borrowed(data, label)
        if array.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"{label} has dtype {array.dtype} on {self.cuda.name}; give float32 or float64 there, "
                "for example .float() in torch, .astype('float32') in cupy"
            )
        self.given_shape: tuple[int, ...] = array.shape
        self.array: DeviceArray = array if len(array.shape) == 2 else array.reshape(array.shape[0], 1)
        self.shape: tuple[int, ...] = self.array.shape
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)

    def view(self, rows: slice, columns: slice) -> Array | None:
        """None: the host cannot address it."""
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        """A download."""
        part = self.array[rows, columns]
        here = out if out.dtype == self.dtype else np.empty(out.shape, self.dtype)
        self.cuda.ops.download(part, here, self._queue)
        self._queue.synchronize()
        if here is not out:
            np.copyto(out, here)

    def on_host(self) -> Array:
        """A copy, in the shape that it was given in."""
        return self._rows(slice(None)).reshape(self.given_shape)

    def identity(self, *, contents: bool = True) -> Identity:
        """As of an array in memory."""
        if not contents:
            return identity([], self)
        digest = content_digest((self.shape[0], self.shape[1]), self.dtype, self._rows)
        return identity([], self) | {"content": digest}

    def _rows(self, rows: slice) -> Array:
        begin, end, _ = rows.indices(self.shape[0])
        out = np.empty((end - begin, self.shape[1]), self.dtype)
        self.read_into(out, slice(begin, end), slice(0, self.shape[1]))
        return out


class DeviceSource(RunSource):
    """Rows on one CUDA device; `as_source` makes it.

    What its producer had queued is done once it is made. One array is never copied; several, one per run, are
    copied into one the first time `on_device` is asked for.

    Parameters
    ----------
    segments : sequence of DeviceSegment
        All on one device.
    name, runs, run_names
        As for `RunSource`.

    Raises
    ------
    ValueError
        They are on several devices; or as `RunSource`.

    Attributes
    ----------
    cuda : CudaDevice
        Where it is.
    library : str
        Of the caller's arrays: "torch", "cupy", ...
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        *,
        name: str,
        runs: Sequence[int] | None = None,
        run_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(segments, name=name, runs=runs, run_names=run_names)
        own = [part for part in segments if isinstance(part, DeviceSegment)]
        self._arrays = [part.array for part in own]
        self.cuda, self.library = own[0].cuda, own[0].library
        for part in own[1:]:
            if part.cuda.number != self.cuda.number:
                raise ValueError(
                    f"{own[0].label} is on {self.cuda.name} and {part.label} on {part.cuda.name}; "
                    "put all runs on one device"
                )

    @cached_property
    def on_device(self) -> DeviceArray:
        """The whole matrix on its device: the caller's memory itself where it is one array."""
        if len(self._arrays) == 1:
            return self._arrays[0]
        ops, number = self.cuda.ops, self.cuda.number
        whole = ops.empty(self.shape, self.dtype, number)
        with ops.Queue(number) as queue:
            begin = 0
            for part in self._arrays:
                end = begin + part.shape[0]
                ops.accumulate(1.0, part, 0.0, whole[begin:end], queue=queue)
                begin = end
        return whole

    @property
    def finite(self) -> bool:
        """Whether the device found every number, and its column's sum of squares, finite; False says nothing
        yet of the numbers."""
        ops, number = self.cuda.ops, self.cuda.number
        with ops.Queue(number) as queue:
            for part in self._arrays:
                sums = ops.empty((2, self.shape[1]), np.dtype(np.float64), number)
                ops.column_moments(part, 0, part.shape[0], sums[0], sums[1], queue=queue)
                here = np.empty((2, self.shape[1]))
                ops.download(sums, here, queue)
                queue.synchronize()
                if not np.isfinite(here).all():
                    return False
        return True


def _borrowed(data: Any, label: str) -> tuple[_dispatch.CudaDevice, Any, DeviceArray]:
    """Its device, a queue there that has waited for the producer, and the array, zero-copy."""
    if getattr(data, "requires_grad", False) is True:
        raise ValueError(f"{label} needs gradients, which a fit would not hand on; give .detach()")
    where = getattr(data, "__dlpack_device__", None)
    kind, number = (None, 0) if where is None else where()
    managed = kind == _MANAGED and hasattr(data, "__cuda_array_interface__")  # which DLPack's reader refuses
    by_interface = where is None or managed
    cuda = _device(int(number), label)
    numbers = range(len(cuda.ops.devices())) if where is None else [int(number)]
    problem: ValueError | None = None
    for candidate in numbers:  # __cuda_array_interface__ does not say on which device an array is
        queue = cuda.ops.Queue(candidate)
        borrow = cuda.ops.from_interface if by_interface else cuda.ops.from_dlpack
        try:
            found = borrow(data, queue)
        except (ValueError, BufferError) as error:
            problem = problem or ValueError(f"{label}: {error}")
            problem.__cause__ = problem.__cause__ or error
            continue
        queue.synchronize()  # other queues read it, too
        return (cuda if candidate == cuda.number else _device(candidate, label)), queue, found
    assert problem is not None
    raise problem


def _device(number: int, label: str) -> _dispatch.CudaDevice:
    try:
        found = _dispatch.find_device(f"cuda:{number}")
    except RuntimeError as error:
        raise RuntimeError(
            f"{label} is on cuda:{number}, which cannot be used ({error.__cause__ or error}); "
            "give it in the memory of the host (torch: .cpu(), cupy: .get())"
        ) from error
    assert found is not None
    return found
