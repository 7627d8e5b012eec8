"""Arrays on a device: copies, views, and errors that say what to do."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("order")

KINDS = [np.float32, np.float64, np.int64, np.uint8]


def numbers(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


# --- copies
@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (0, 3), (3, 0), (1, 1), (1, 5), (5, 1), (3, 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_round_trips(
    shape: tuple[int, ...], kind: Any, to_device: Callable[..., Any], to_host: Callable[..., Any]
) -> None:
    x = numbers(shape, kind)
    a = to_device(x)
    assert (a.shape, a.dtype, a.nbytes, a.device) == (shape, x.dtype, x.nbytes, 0)
    np.testing.assert_array_equal(to_host(a), x)


@pytest.mark.parametrize("memory", ["pinned", "pageable"])
@pytest.mark.parametrize("host_pad", [0, 3])
@pytest.mark.parametrize("device_pad", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_be_strided_on_either_side(
    kind: Any, device_pad: int, host_pad: int, memory: str, cuda: ModuleType, queue: Any
) -> None:
    def host() -> np.ndarray:
        shape = (4, 5 + host_pad)
        whole = cuda.pinned(shape, kind) if memory == "pinned" else np.empty(shape, kind)
        whole[:] = 99
        return whole

    x, out = host(), host()
    x[:, :5] = numbers((4, 5), kind)
    a = cuda.empty((4, 5 + device_pad), kind)
    cuda.upload(x[:, :5], a[:, device_pad:], queue)
    cuda.download(a[:, device_pad:], out[:, :5], queue)
    queue.synchronize()
    np.testing.assert_array_equal(out[:, :5], numbers((4, 5), kind))
    assert (out[:, 5:] == 99).all()


def test_copy_and_zero_touch_nothing_but_the_view(
    cuda: ModuleType, queue: Any, to_device: Callable[..., Any], to_host: Callable[..., Any]
) -> None:
    x, y = numbers((5, 6), np.float32), np.full((4, 7), -1, np.float32)
    a, b = to_device(x), to_device(y)
    cuda.copy(a[1:4, 2:5], b[:3, 1:4], queue)
    cuda.zero(b[2:, 3:6], queue)
    y[:3, 1:4] = x[1:4, 2:5]
    y[2:, 3:6] = 0
    np.testing.assert_array_equal(to_host(b), y)
    np.testing.assert_array_equal(to_host(a), x)
    v = to_device(np.arange(6))
    cuda.zero(v[4:], queue)
    cuda.copy(v[:2], v[2:4], queue)
    assert to_host(v).tolist() == [0, 1, 0, 1, 0, 0]
    cuda.zero(a, queue)
    assert not to_host(a).any()


@pytest.mark.parametrize("kind", KINDS)
def test_pinned_memory(kind: Any, cuda: ModuleType) -> None:
    x = cuda.pinned((3, 4), kind)
    assert (x.shape, x.dtype) == ((3, 4), kind)
    assert x.flags.writeable
    assert x.flags.c_contiguous
    assert cuda.is_pinned(x)
    assert cuda.is_pinned(x[1:, 2:])
    assert not cuda.is_pinned(np.empty((3, 4), kind))
    row = x[1]
    row[:] = 5
    del x
    gc.collect()
    assert row.tolist() == [5] * 4  # the view keeps the memory


# --- views
@pytest.mark.parametrize(
    "index",
    [
        np.s_[1:3],
        np.s_[:],
        np.s_[-2:],
        np.s_[:-1],
        np.s_[4:2],
        np.s_[3:99],
        np.s_[:, 1:3],
        np.s_[:, -3:-1],
        np.s_[2:4, 3:],
        np.s_[-99:2, :99],
        np.s_[5:, 6:],
        np.s_[::1, :],
    ],
)
def test_slices_are_those_of_numpy(
    index: Any, to_device: Callable[..., Any], to_host: Callable[..., Any]
) -> None:
    x = numbers((5, 6), np.float64)
    a = to_device(x)
    view = a[index]
    assert view.shape == x[index].shape
    np.testing.assert_array_equal(to_host(view), x[index])
    np.testing.assert_array_equal(to_host(view[1:, 1:]), x[index][1:, 1:])  # a view of a view
    del a
    np.testing.assert_array_equal(to_host(view), x[index])  # which keeps the memory


def test_slices_of_a_vector(to_device: Callable[..., Any], to_host: Callable[..., Any]) -> None:
    v = to_device(np.arange(7))
    assert v[2:5].shape == (3,)
    assert to_host(v[2:5][-2:]).tolist() == [3, 4]


def test_indices_that_are_not_taken(cuda: ModuleType) -> None:
    a, v = cuda.empty((3, 4), np.float32), cuda.empty((3,), np.float32)
    with pytest.raises(ValueError, match="step of 1, not 2"):
        a[::2]
    with pytest.raises(ValueError, match="step of 1, not -1"):
        v[::-1]
    for index in ((slice(None), 2), None, ..., np.array([1])):
        with pytest.raises(TypeError, match="indexed by slices"):
            a[index]
    with pytest.raises(IndexError, match="1 dimensions has no 2 slices"):
        v[:, :]
    with pytest.raises(IndexError, match="2 dimensions has no 3 slices"):
        a[:, :, :]
    with pytest.raises(IndexError, match="2 dimensions has no 0 slices"):
        a[()]


def test_a_row_of_a_matrix_is_a_vector(to_device: Callable[..., Any], to_host: Callable[..., Any]) -> None:
    x = numbers((3, 4), np.float32)
    a = to_device(x, pad=2)
    for i in (0, 2, -1, -3):
        np.testing.assert_array_equal(to_host(a[i]), x[i])
    for i in (3, -4):
        with pytest.raises(IndexError, match=rf"float32 \(3, 4\) has no row {i}"):
            a[i]
    with pytest.raises(IndexError, match=r"float32 \(4,\) has no row 0"):
        a[0][0]


def test_reshape(to_device: Callable[..., Any], to_host: Callable[..., Any]) -> None:
    x = np.arange(12.0)
    v = to_device(x)
    np.testing.assert_array_equal(to_host(v.reshape(3, 4)), x.reshape(3, 4))
    np.testing.assert_array_equal(to_host(v.reshape(3, 4).reshape(2, 5)), x[:10].reshape(2, 5))
    assert v.reshape(0, 4).shape == (0, 4)
    np.testing.assert_array_equal(to_host(v.reshape(6, 2)[2:4].reshape(1, 4)), x[None, 4:8])
    with pytest.raises(ValueError, match=r"reshape: float64 \(12,\) has no \(4, 4\) elements"):
        v.reshape(4, 4)
    with pytest.raises(ValueError, match="rows of float64 \\(3, 2\\) are 4 elements apart; copy it first"):
        v.reshape(3, 4)[:, :2].reshape(2, 3)
    with pytest.raises(ValueError, match="no \\(-1, 4\\) elements"):
        v.reshape(-1, 4)


# --- errors
def test_what_cannot_be_made(cuda: ModuleType) -> None:
    for dtype in (np.int32, np.float16, bool, ">f4"):
        for make in (cuda.empty, cuda.pinned):
            with pytest.raises(ValueError, match="dtype must be float32, float64, int64 or uint8, not "):
                make((3,), dtype)
    for shape in ((), (1, 2, 3)):
        with pytest.raises(ValueError, match=f"1 or 2 dimensions, not {len(shape)}"):
            cuda.empty(shape, np.float32)
    with pytest.raises(ValueError, match="must not be negative, and -1 is"):
        cuda.empty((3, -1), np.float32)
    with pytest.raises(ValueError, match="more than any memory"):
        cuda.empty((2**40, 2**40), np.float32)
    with pytest.raises(MemoryError, match="bytes"):
        cuda.empty((2**25, 2**25), np.float64)


def test_both_sides_are_named_where_they_differ(cuda: ModuleType, queue: Any) -> None:
    a = cuda.empty((3, 4), np.float32)
    for x in (np.zeros((3, 4)), np.zeros((4, 3), np.float32), np.zeros(12, np.float32)):
        text = rf"is {x.dtype} \({x.shape[0]},.*\) and \w+ is float32 \(3, 4\): dtypes and shapes"
        with pytest.raises(ValueError, match="a " + text):
            cuda.upload(x, a, queue)
        with pytest.raises(ValueError, match="out " + text):
            cuda.download(a, x, queue)
    with pytest.raises(
        ValueError,
        match=r"a is float32 \(3, 4\) and out is float64 \(3, 4\): dtypes and shapes must be the same",
    ):
        cuda.copy(a, cuda.empty((3, 4), np.float64), queue)


def test_layouts_of_the_host_that_are_not_taken(cuda: ModuleType, queue: Any) -> None:
    a, v = cuda.empty((3, 4), np.float32), cuda.empty((3,), np.float32)
    row = np.zeros(4, np.float32)
    for x in (
        np.zeros((4, 3), np.float32).T,
        np.zeros((3, 8), np.float32)[:, ::2],
        np.zeros((3, 4), np.float32)[::-1],
    ):
        with pytest.raises(ValueError, match="a must be C-ordered"):
            cuda.upload(x, a, queue)
        with pytest.raises(ValueError, match="out must be C-ordered"):
            cuda.download(a, x, queue)
    with pytest.raises(ValueError, match="a must be C-ordered"):
        cuda.upload(np.broadcast_to(row, (3, 4)), a, queue)
    with pytest.raises(ValueError, match="a must be C-ordered"):
        cuda.upload(np.zeros(6, np.float32)[::2], v, queue)
    fixed = np.zeros((3, 4), np.float32)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        cuda.download(a, fixed, queue)
    cuda.upload(fixed, a, queue)


def test_a_failure_is_a_runtime_error(cuda: ModuleType) -> None:
    assert issubclass(cuda.Failure, RuntimeError)
    with pytest.raises(cuda.Failure, match="device"):
        cuda.Queue(99)
    with pytest.raises(cuda.Failure, match="device"):
        cuda.empty((1,), np.float32, 99)


def test_facts_of_the_devices(cuda: ModuleType) -> None:
    for facts in cuda.devices():
        assert set(facts) == {
            "name",
            "major",
            "minor",
            "multiprocessors",
            "total_bytes",
            "free_bytes",
            "clock_hz",
            "memory_clock_hz",
            "memory_bus_bits",
        }
        assert 0 < facts["free_bytes"] <= facts["total_bytes"]
    assert cuda.Queue().device == 0
    assert cuda.Queue().stream > 2
    assert repr(cuda.empty((3, 4), np.float32)) == "Array(float32 (3, 4) on device 0)"


# --- other libraries' arrays, by the interface
class Described:
    """Somebody else's array, as __cuda_array_interface__ describes it."""

    def __init__(self, a: Any, **changes: Any) -> None:
        self.keep = a
        self.changes = changes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.keep.__cuda_array_interface__, **self.changes}


def test_our_interface(cuda: ModuleType, to_device: Callable[..., Any]) -> None:
    a = to_device(numbers((3, 4), np.float32))
    whole = a.__cuda_array_interface__
    assert {key: whole[key] for key in ("version", "typestr", "shape", "strides", "stream")} == {
        "version": 3,
        "typestr": "<f4",
        "shape": (3, 4),
        "strides": None,
        "stream": None,
    }
    part = a[1:, 1:3].__cuda_array_interface__
    assert (part["shape"], part["strides"]) == ((2, 2), (16, 4))
    assert part["data"] == (whole["data"][0] + 20, False)
    assert [cuda.empty((2,), kind).__cuda_array_interface__["typestr"] for kind in KINDS] == [
        "<f4",
        "<f8",
        "<i8",
        "|u1",
    ]
    nothing = cuda.empty((0, 3), np.float32).__cuda_array_interface__
    assert (nothing["data"], nothing["shape"]) == ((0, False), (0, 3))


@pytest.mark.parametrize("take", ["from_interface", "from_dlpack"])
@pytest.mark.parametrize("kind", KINDS)
def test_views_of_others_arrays(
    kind: Any,
    take: str,
    cuda: ModuleType,
    queue: Any,
    to_device: Callable[..., Any],
    to_host: Callable[..., Any],
) -> None:
    x = numbers((5, 6), kind)
    a = to_device(x)
    for index in (np.s_[:], np.s_[1:4, 2:5], np.s_[2:3, 1:], np.s_[:, 3:4], np.s_[4:2]):
        np.testing.assert_array_equal(to_host(getattr(cuda, take)(a[index], queue)), x[index])
    v = to_device(x[0])
    np.testing.assert_array_equal(to_host(getattr(cuda, take)(v[1:4], queue)), x[0, 1:4])
    view = getattr(cuda, take)(a, queue)
    cuda.zero(view[1:2], queue)  # without a copy: what is written is written there
    x[1] = 0
    np.testing.assert_array_equal(to_host(a), x)


def test_the_producer_lives_as_long_as_the_view(
    cuda: ModuleType, queue: Any, to_device: Callable[..., Any], to_host: Callable[..., Any]
) -> None:
    producer = Described(to_device(np.arange(4.0)))
    gone = weakref.ref(producer)
    view = cuda.from_interface(producer, queue)[1:]
    del producer
    gc.collect()
    assert gone() is not None
    assert to_host(view).tolist() == [1, 2, 3]
    del view
    gc.collect()
    assert gone() is None


def test_the_stream_of_the_interface_is_waited_for(cuda: ModuleType, queue: Any) -> None:
    theirs, x, out = cuda.Queue(), cuda.pinned((4,), float), cuda.pinned((4,), float)
    a = cuda.empty((4,), float)
    facts = a.__cuda_array_interface__
    cuda.zero(a, theirs)
    theirs.synchronize()
    x[:] = 7
    cuda.upload(x, a, theirs)
    producer = type("Producer", (), {"__cuda_array_interface__": {**facts, "stream": theirs.stream}})()
    view = cuda.from_interface(producer, queue)
    cuda.download(view, out, queue)
    queue.synchronize()
    assert out.tolist() == [7] * 4


def test_without_a_stream_nothing_is_waited_for(emulator: ModuleType, order: str) -> None:
    """The twin of the test above: what it would read if the stream were not waited for."""
    theirs, ours = emulator.Queue(), emulator.Queue()
    x, out, a = emulator.pinned((4,), float), emulator.pinned((4,), float), emulator.empty((4,), float)
    facts = a.__cuda_array_interface__
    emulator.zero(a, theirs)
    theirs.synchronize()
    x[:] = 7
    emulator.upload(x, a, theirs)
    view = emulator.from_interface(type("Producer", (), {"__cuda_array_interface__": facts})(), ours)
    emulator.download(view, out, ours)
    ours.synchronize()
    assert out.tolist() == [0 if order == "lazy" else 7] * 4


def test_arrays_by_the_interface_that_are_not_taken(cuda: ModuleType, queue: Any) -> None:
    a = cuda.empty((4, 6), np.float32)
    host = np.zeros((4, 6), np.float32)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"typestr": "<f2"}, "type <f2 are not taken; convert it to float32, float64, int64 or uint8 first"),
        ({"typestr": ">f4"}, "type >f4 are not taken"),
        ({"strides": (4, 16)}, r"make it row-major first \(torch: contiguous\(\)\)"),
        ({"strides": (-24, 4)}, "make it row-major first"),
        ({"strides": (0, 4)}, "make it row-major first"),
        ({"strides": (26, 4)}, "26 bytes are no whole elements; copy the array first"),
        ({"strides": (4,)}, "2 dimensions and 1 strides"),
        ({"shape": (2, 3, 4)}, "1 or 2 dimensions, not 3; reshape it first"),
        ({"shape": ()}, "1 or 2 dimensions, not 0; reshape it first"),
        ({"mask": object()}, "has a mask; fill it first"),
        ({"data": (host.ctypes.data, False)}, "memory of the host, not of a device; move it there first"),
        ({"stream": 0}, "forbids a stream of 0"),
    ]
    for changes, text in cases:
        with pytest.raises(ValueError, match=text):
            cuda.from_interface(Described(a, **changes), queue)
    with pytest.raises(TypeError, match="no array of a device"):
        cuda.from_interface(host, queue)
    with pytest.raises(TypeError, match="no __dlpack__"):
        cuda.from_dlpack(object(), queue)


def test_others_read_only_arrays_are_read_only(
    cuda: ModuleType, queue: Any, to_device: Callable[..., Any], to_host: Callable[..., Any]
) -> None:
    x = np.arange(6.0).reshape(2, 3)
    a = to_device(x)
    facts = a.__cuda_array_interface__
    view = cuda.from_interface(Described(a, data=(facts["data"][0], True)), queue)
    np.testing.assert_array_equal(to_host(view), x)
    again = cuda.from_dlpack(view, queue)  # the flag of DLPack 1.0
    for fixed in (view, view[1:], again):
        assert fixed.__cuda_array_interface__["data"][1] is True
        for write in (
            lambda out: cuda.upload(np.zeros(out.shape), out, queue),
            lambda out: cuda.copy(a[: out.shape[0]], out, queue),
            lambda out: cuda.zero(out, queue),
        ):
            with pytest.raises(ValueError, match="out is read-only; copy it into an array of its own first"):
                write(fixed)
    with pytest.raises(BufferError, match=r"consumer of DLPack 1\.0; pass max_version"):
        view.__dlpack__()
