"""DLPack: our arrays for others and theirs for us, checked by structures that are declared here once more."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("order")


class Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", DELETER))


class ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


api = ctypes.pythonapi
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
api.PyCapsule_GetName.restype = ctypes.c_char_p
api.PyCapsule_GetName.argtypes = (ctypes.py_object,)
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


def opened(capsule: Any) -> tuple[str, Any]:
    name = api.PyCapsule_GetName(capsule)
    kind = ManagedVersioned if name.endswith(b"versioned") else Managed
    return name.decode(), kind.from_address(api.PyCapsule_GetPointer(capsule, name))


class Producer:
    """Somebody else's array: memory of `a`, described as the test likes."""

    def __init__(self, a: Any, *, versioned: bool = True, **changes: Any) -> None:
        self.keep = a
        rows, cols = changes.pop("shape", a.shape)
        self.shape = (ctypes.c_int64 * 2)(rows, cols)
        self.strides = (ctypes.c_int64 * 2)(*changes.pop("strides", (cols, 1)))
        self.deleted = 0
        self.streams: list[int] = []
        self.device = changes.pop("device", (2, 0))
        self.versioned = versioned
        self.deleter = DELETER(self._delete)
        tensor = Tensor(
            data=a.__cuda_array_interface__["data"][0],
            device_type=2,
            device_id=0,
            ndim=2,
            code=2,
            bits=32,
            lanes=1,
            shape=self.shape,
            strides=self.strides,
            byte_offset=0,
        )
        major, flags = changes.pop("major", 1), changes.pop("flags", 0)
        for key, value in changes.items():
            setattr(tensor, key, value)
        if versioned:
            self.managed = ManagedVersioned(major, 9, None, self.deleter, flags, tensor)
        else:
            self.managed = Managed(tensor, None, self.deleter)

    def _delete(self, address: int) -> None:
        assert address == ctypes.addressof(self.managed)
        self.deleted += 1

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def _capsule(self, stream: int) -> Any:
        self.streams.append(stream)
        self.name = b"dltensor_versioned" if self.versioned else b"dltensor"
        return api.PyCapsule_New(ctypes.addressof(self.managed), self.name, None)

    def __dlpack__(self, *, stream: int, max_version: tuple[int, int]) -> Any:
        assert max_version >= (1, 0)
        return self._capsule(stream)


class OldProducer(Producer):
    """One of before DLPack 1.0."""

    def __init__(self, a: Any, **changes: Any) -> None:
        super().__init__(a, versioned=False, **changes)

    def __dlpack__(self, *, stream: int) -> Any:  # type: ignore[override]
        return self._capsule(stream)


KINDS = {np.float32: (2, 32), np.float64: (2, 64), np.int64: (0, 64), np.uint8: (1, 8)}


# --- ours for others
@pytest.mark.parametrize("max_version", [None, (0, 8), (1, 0), (1, 2), (2, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_capsule_holds(kind: Any, max_version: Any, cuda: ModuleType) -> None:
    a = cuda.empty((5, 6), kind)
    view = a[1:4, 2:4]
    name, managed = opened(capsule := view.__dlpack__(max_version=max_version))
    versioned = max_version is not None and max_version[0] >= 1
    assert name == ("dltensor_versioned" if versioned else "dltensor")
    if versioned:
        assert (managed.major, managed.flags) == (1, 0)
    tensor = managed.tensor
    start = a.__cuda_array_interface__["data"][0]
    assert tensor.data + tensor.byte_offset == start + 8 * np.dtype(kind).itemsize
    assert (tensor.device_type, tensor.device_id) == view.__dlpack_device__() == (2, 0)
    assert (tensor.code, tensor.bits, tensor.lanes) == (*KINDS[kind], 1)
    assert (tensor.ndim, tensor.shape[:2], tensor.strides[:2]) == (2, [3, 2], [6, 1])
    _, managed = opened(vector := a[0].__dlpack__())
    assert (managed.tensor.ndim, managed.tensor.shape[:1], managed.tensor.strides[:1]) == (1, [6], [1])
    del capsule, vector


@pytest.mark.parametrize("max_version", [None, (1, 0)])
@pytest.mark.parametrize("taken", [False, True])
def test_a_capsule_keeps_the_memory_until_it_is_deleted(
    taken: bool, max_version: Any, emulator: ModuleType
) -> None:
    gc.collect()  # what earlier tests left
    free = emulator.devices()[0]["free_bytes"]
    a = emulator.empty((100,), np.float64)
    capsule = a.__dlpack__(max_version=max_version)
    del a
    gc.collect()
    assert emulator.devices()[0]["free_bytes"] == free - 800
    if taken:  # a consumer renames it, and calls the deleter when it likes
        name, managed = opened(capsule)
        used = b"used_" + name.encode()
        api.PyCapsule_SetName.argtypes = (ctypes.py_object, ctypes.c_char_p)
        api.PyCapsule_SetName(capsule, used)
        address = ctypes.addressof(managed)
        del capsule
        gc.collect()
        assert emulator.devices()[0]["free_bytes"] == free - 800
        managed.deleter(address)
    else:
        del capsule
    gc.collect()
    assert emulator.devices()[0]["free_bytes"] == free


def test_an_export_waits_for_our_queues_unless_told_not_to(order: str, emulator: ModuleType) -> None:
    queue, x = emulator.Queue(), emulator.pinned((3,), float)
    out = emulator.pinned((3,), float)
    a = emulator.empty((3,), float)
    for stream, waits in ((-1, False), (None, True), (1, True), (2, True), (queue.stream, True)):
        x[:], out[:] = 1, 0
        emulator.upload(x, a, queue)
        emulator.download(a, out, queue)
        capsule = a.__dlpack__(stream=stream)
        assert out.tolist() == [1 if waits or order == "eager" else 0] * 3
        del capsule
        queue.synchronize()
    emulator.zero(a, queue)
    emulator.download(a, out, queue)
    assert a.__cuda_array_interface__["stream"] is None
    assert out.tolist() == [0, 0, 0]


def test_requests_of_a_consumer_that_are_refused(cuda: ModuleType) -> None:
    a = cuda.empty((3, 4), np.float32)
    for stream in (0, -2):
        with pytest.raises(ValueError, match=f"None, -1 or positive, not {stream}"):
            a.__dlpack__(stream=stream)
    with pytest.raises(BufferError, match="on CUDA device 0 and is not moved; download it instead"):
        a.__dlpack__(dl_device=(1, 0))
    with pytest.raises(BufferError, match="copy the array first"):
        a.__dlpack__(copy=True)
    opened(a.__dlpack__(dl_device=(2, 0), copy=False))


# --- others' for us
@pytest.mark.parametrize("kind", [Producer, OldProducer])
def test_an_array_of_somebody_else(
    kind: type[Producer],
    cuda: ModuleType,
    queue: Any,
    to_device: Callable[..., Any],
    to_host: Callable[..., Any],
) -> None:
    x = np.arange(30, dtype=np.float32).reshape(5, 6)
    a = to_device(x)
    producer = kind(a, shape=(3, 2), strides=(6, 1), byte_offset=4 * 8)
    view = cuda.from_dlpack(producer, queue)
    assert producer.streams == [queue.stream]
    np.testing.assert_array_equal(to_host(view), x[1:4, 2:4])
    part = view[1:]
    del view
    gc.collect()
    assert producer.deleted == 0
    np.testing.assert_array_equal(to_host(part), x[2:4, 2:4])
    del part
    gc.collect()
    assert producer.deleted == 1


def test_no_strides_are_row_major(
    cuda: ModuleType, queue: Any, to_device: Callable[..., Any], to_host: Callable[..., Any]
) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    producer = Producer(to_device(x), strides=(0, 0))
    producer.managed.tensor.strides = None
    np.testing.assert_array_equal(to_host(cuda.from_dlpack(producer, queue)), x)


def test_a_read_only_array_stays_so(cuda: ModuleType, queue: Any, to_device: Callable[..., Any]) -> None:
    view = cuda.from_dlpack(Producer(to_device(np.zeros((2, 2), np.float32)), flags=1), queue)
    with pytest.raises(ValueError, match="out is read-only; copy it"):
        cuda.zero(view, queue)
    _, managed = opened(capsule := view.__dlpack__(max_version=(1, 0)))
    assert managed.flags == 1
    del capsule


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"device_type": 1}, r"DLPack device type 1, not on a CUDA device \(2\); move it there first"),
        ({"bits": 16}, "type 2 with 16 bits are not taken; convert it to float32, float64, int64 or uint8"),
        ({"code": 5, "bits": 64}, "type 5 with 64 bits are not taken"),
        ({"lanes": 2}, "are not taken"),
        ({"strides": (1, 3)}, "make it row-major first"),
        ({"strides": (0, 1)}, "make it row-major first"),
        ({"ndim": 0}, "1 or 2 dimensions, not 0; reshape it first"),
        ({"major": 2}, "of DLPack 2, and 1 is known here"),
    ],
)
def test_arrays_that_are_not_taken_are_given_back(
    changes: dict[str, Any], text: str, cuda: ModuleType, queue: Any
) -> None:
    producer = Producer(cuda.empty((3, 4), np.float32), **changes)
    with pytest.raises(ValueError, match=text):
        cuda.from_dlpack(producer, queue)
    gc.collect()
    assert producer.deleted == 1


def test_arrays_elsewhere_are_not_asked_for_a_capsule(cuda: ModuleType, queue: Any) -> None:
    a = cuda.empty((3, 4), np.float32)
    with pytest.raises(ValueError, match="DLPack device type 1, not on a CUDA device"):
        cuda.from_dlpack(np.zeros((3, 4), np.float32), queue)
    for device, text in (
        ((10, 0), "DLPack device type 10"),
        ((2, 5), "on device 5 and the queue is one of device 0"),
    ):
        producer = Producer(a, device=device)
        with pytest.raises(ValueError, match=text):
            cuda.from_dlpack(producer, queue)
        assert producer.streams == []


def test_memory_of_the_host_in_a_capsule(cuda: ModuleType, queue: Any) -> None:
    x = np.zeros((3, 4), np.float32)
    producer = Producer(cuda.empty((3, 4), np.float32), data=x.ctypes.data)
    with pytest.raises(ValueError, match="memory of the host, not of a device"):
        cuda.from_dlpack(producer, queue)


def test_a_capsule_is_used_once(cuda: ModuleType, queue: Any) -> None:
    a = cuda.empty((3, 4), np.float32)
    capsule = a.__dlpack__()

    class Again:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, *, stream: int, max_version: Any) -> Any:
            return capsule

    cuda.from_dlpack(Again(), queue)
    with pytest.raises(ValueError, match="has been used already"):
        cuda.from_dlpack(Again(), queue)


def test_an_error_of_the_producer_is_the_producers(cuda: ModuleType, queue: Any) -> None:
    class Broken:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, **_: Any) -> Any:
            raise BufferError("needs a gradient")

    with pytest.raises(BufferError, match="needs a gradient"):
        cuda.from_dlpack(Broken(), queue)
