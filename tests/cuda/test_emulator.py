"""The emulator itself: what it runs when, what it refuses, and its barriers and warp products."""

from __future__ import annotations

import gc
from types import ModuleType
from typing import Any

import numpy as np
import pytest


def put(cuda: ModuleType, queue: Any, x: np.ndarray) -> Any:
    a = cuda.empty(x.shape, x.dtype)
    cuda.upload(x, a, queue)
    queue.synchronize()
    return a


def get(cuda: ModuleType, queue: Any, a: Any) -> np.ndarray:
    out = np.empty(a.shape, a.dtype)
    cuda.download(a, out, queue)
    return out


def pinned_like(cuda: ModuleType, x: np.ndarray) -> np.ndarray:
    out = cuda.pinned(x.shape, x.dtype)
    out[:] = x
    return out


# --- queues
@pytest.mark.parametrize("waits", [False, True])
def test_a_missing_wait_reads_stale_data_where_queues_run_late(
    waits: bool, order: str, emulator: ModuleType
) -> None:
    writer, reader = emulator.Queue(), emulator.Queue()
    old, new = np.zeros(5), np.arange(5.0)
    a, x, out = put(emulator, writer, old), pinned_like(emulator, new), emulator.pinned((5,), float)
    emulator.upload(x, a, writer)
    if waits:
        reader.wait(writer.record())
    emulator.download(a, out, reader)
    reader.synchronize()
    np.testing.assert_array_equal(out, new if waits or order == "eager" else old)
    writer.synchronize()


@pytest.mark.parametrize("synchronised", [False, True])
def test_pinned_memory_reused_too_early_is_read_late(
    synchronised: bool, order: str, emulator: ModuleType
) -> None:
    queue, x = emulator.Queue(), pinned_like(emulator, np.arange(4.0))
    a = emulator.empty((4,), float)
    emulator.upload(x, a, queue)
    if synchronised:
        queue.synchronize()
    x[:] = -1
    expected = np.arange(4.0) if synchronised or order == "eager" else np.full(4, -1.0)
    np.testing.assert_array_equal(get(emulator, queue, a), expected)


def test_memory_that_is_not_pinned_is_read_and_written_at_once(order: str, emulator: ModuleType) -> None:
    queue, x = emulator.Queue(), np.arange(4.0)
    a = emulator.empty((4,), float)
    emulator.upload(x, a, queue)
    x[:] = -1
    np.testing.assert_array_equal(get(emulator, queue, a), np.arange(4.0))


def test_a_download_to_pinned_memory_is_there_after_the_wait(order: str, emulator: ModuleType) -> None:
    queue = emulator.Queue()
    a, out = put(emulator, queue, np.ones(3)), pinned_like(emulator, np.zeros(3))
    emulator.download(a, out, queue)
    np.testing.assert_array_equal(out, np.full(3, 0.0 if order == "lazy" else 1.0))
    queue.synchronize()
    np.testing.assert_array_equal(out, np.ones(3))


def test_an_event_is_a_point_in_the_work(emulator: ModuleType) -> None:
    queue = emulator.Queue()
    a = put(emulator, queue, np.ones(3))
    before, after = pinned_like(emulator, np.zeros(3)), pinned_like(emulator, np.zeros(3))
    emulator.download(a, before, queue)
    event = queue.record()
    emulator.download(a, after, queue)
    event.synchronize()
    assert before.tolist() == [1, 1, 1]
    assert after.tolist() == [0, 0, 0]
    queue.synchronize()
    assert after.tolist() == [1, 1, 1]


def test_memory_that_goes_waits_for_what_is_queued(order: str, emulator: ModuleType) -> None:
    queue, x = emulator.Queue(), pinned_like(emulator, np.arange(3.0))
    a, out = emulator.empty((3,), float), emulator.pinned((3,), float)
    emulator.upload(x, a, queue)
    emulator.download(a, out, queue)
    del a, x
    assert out.tolist() == [0, 1, 2]


def test_a_queue_that_goes_ends_its_work(emulator: ModuleType) -> None:
    queue = emulator.Queue()
    a, out = put(emulator, queue, np.ones(3)), pinned_like(emulator, np.zeros(3))
    emulator.download(a, out, queue)
    del queue
    assert out.tolist() == [1, 1, 1]


def test_the_end_of_a_with_block_waits(emulator: ModuleType) -> None:
    with emulator.Queue() as queue:
        a, out = put(emulator, queue, np.ones(3)), pinned_like(emulator, np.zeros(3))
        emulator.download(a, out, queue)
    assert out.tolist() == [1, 1, 1]


def test_two_queues_may_wait_for_each_other(order: str, emulator: ModuleType) -> None:
    """A hand-over there and back, twice: no endless wait, and the last value arrives."""
    one, two = emulator.Queue(), emulator.Queue()
    a, b = put(emulator, one, np.arange(6.0)), put(emulator, one, np.zeros(6))
    for _ in range(2):
        emulator.copy(a, b, one)
        two.wait(one.record())
        emulator.zero(b[:3], two)
        emulator.copy(b, a, two)
        one.wait(two.record())
    one.synchronize()
    assert get(emulator, one, a).tolist() == [0, 0, 0, 3, 4, 5]


def test_what_fails_in_a_queue_is_told_at_the_next_wait(emulator: ModuleType) -> None:
    queue, other = emulator.Queue(), emulator.Queue()
    emulator.selftest.skipped_barrier(queue)
    event = queue.record()
    other.wait(event)
    with pytest.raises(RuntimeError, match="different barriers"):
        other.synchronize()
    queue.synchronize()


# --- memory
def test_new_memory_is_not_zero(emulator: ModuleType) -> None:
    queue = emulator.Queue()
    for dtype in (np.float32, np.float64):
        assert np.isnan(get(emulator, queue, emulator.empty((5, 3), dtype))).all()
        assert np.isnan(emulator.pinned((4,), dtype)).all()
    assert (get(emulator, queue, emulator.empty((5,), np.int64)) == -1).all()


def test_a_full_device(emulator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()  # what earlier tests left
    used = emulator.devices()[0]["total_bytes"] - emulator.devices()[0]["free_bytes"]
    monkeypatch.setenv("VOXRIDGE_EMULATED_BYTES", str(used + 1000))
    a = emulator.empty((100,), float)
    facts = emulator.devices()[0]
    assert (facts["total_bytes"], facts["free_bytes"]) == (used + 1000, 200)
    with pytest.raises(MemoryError, match=r"200 bytes free of \d+, and 208 are wanted; use smaller tiles"):
        emulator.empty((26,), float)
    del a
    assert emulator.empty((26,), float).nbytes == 208


def test_no_device(emulator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert emulator.missing() == ""
    monkeypatch.setenv("VOXRIDGE_EMULATED_DEVICES", "0")
    assert emulator.missing() == "no CUDA device (emulated)"
    assert emulator.devices() == []
    for call in (emulator.Queue, lambda: emulator.empty((1,), float), lambda: emulator.pinned((1,), float)):
        with pytest.raises(emulator.Failure, match="no CUDA device"):
            call()


def test_two_devices(emulator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(emulator.Failure, match="there is no device 1; this machine has 1"):
        emulator.Queue(1)
    monkeypatch.setenv("VOXRIDGE_EMULATED_DEVICES", "2")
    assert len(emulator.devices()) == 2
    first, second = emulator.Queue(0), emulator.Queue(1)
    assert second.device == 1
    a, b = put(emulator, first, np.arange(3.0)), emulator.empty((3,), float, 1)
    assert b.device == 1
    with pytest.raises(ValueError, match="out is on device 1, and the queue is one of device 0"):
        emulator.upload(np.ones(3), b, first)
    with pytest.raises(ValueError, match="a is on device 1, and the queue is one of device 0"):
        emulator.download(b, np.ones(3), first)
    emulator.copy(a, b, second)
    assert get(emulator, second, b).tolist() == [0, 1, 2]
    for take in (emulator.from_dlpack, emulator.from_interface):
        with pytest.raises(
            ValueError, match=r"the array is on device 1 and the queue is one of device 0; move it"
        ):
            take(b, first)


def test_memory_of_the_host_is_no_operand(emulator: ModuleType) -> None:
    queue, c = emulator.Queue(), emulator.empty((1,), float)
    for a in (np.ones(1), emulator.pinned((1,), float)):
        with pytest.raises(emulator.Failure, match="gemm: a is memory of the host, not of a device"):
            emulator.selftest.gemm_on_host(a, c, queue)


# --- kernels
def test_every_thread_of_a_grid_runs_once(order: str, emulator: ModuleType) -> None:
    queue = emulator.Queue()
    x = put(emulator, queue, np.zeros(3 * 2 * 4 * 32))
    emulator.selftest.count(x, 3, 2, 4, queue)
    np.testing.assert_array_equal(get(emulator, queue, x), np.ones(3 * 2 * 4 * 32))


def test_a_grid_without_blocks_is_nothing_and_one_too_large_is_refused(emulator: ModuleType) -> None:
    queue = emulator.Queue()
    nothing = put(emulator, queue, np.zeros(0))
    emulator.selftest.count(nothing, 0, 5, 5, queue)
    queue.synchronize()
    for grid in ((2**31, 1, 0), (1, 65536, 0), (1, 0, 65536)):
        emulator.selftest.count(nothing, *grid, queue)  # no blocks: nothing to refuse
    x = put(emulator, queue, np.zeros(65536 * 32))
    for grid in ((1, 65536, 1), (1, 1, 65536)):
        with pytest.raises(ValueError, match=r"the grid \(1, .*65536.*\) is too large; use smaller tiles"):
            emulator.selftest.count(x, *grid, queue)
    emulator.selftest.count(x, 65536, 1, 1, queue)
    assert get(emulator, queue, x).min() == 1


def test_barriers_and_a_missing_one(order: str, emulator: ModuleType, rng: np.random.Generator) -> None:
    queue, x = emulator.Queue(), rng.standard_normal((5, 64))
    a, sums = put(emulator, queue, x.ravel()), emulator.empty((5,), float)
    emulator.selftest.tree_sum(a, sums, True, queue)
    np.testing.assert_allclose(get(emulator, queue, sums), x.sum(axis=1), rtol=1e-13, atol=1e-13)
    emulator.selftest.tree_sum(a, sums, False, queue)
    wrong = ~np.isclose(get(emulator, queue, sums), x.sum(axis=1))
    assert wrong.sum() >= 2  # the threads of every other block take turns in the order that shows it


def test_a_barrier_that_some_threads_skip_is_an_error(emulator: ModuleType) -> None:
    queue = emulator.Queue()
    emulator.selftest.skipped_barrier(queue)
    with pytest.raises(RuntimeError, match="different barriers, or after some returned"):
        queue.synchronize()


# PTX ISA, matrix fragments of mma.m16n8k8 (.tf32) and mma.m16n8k16 (.bf16): the place of element i of a lane.
def tf32_a(lane: int, i: int) -> tuple[int, int]:
    group, place = lane >> 2, lane % 4
    return (group if i in (0, 2) else group + 8), (place if i in (0, 1) else place + 4)


def tf32_b(lane: int, i: int) -> tuple[int, int]:
    return (lane % 4 if i == 0 else lane % 4 + 4), lane >> 2


def bf16_a(lane: int, i: int) -> tuple[int, int]:
    group, place = lane >> 2, lane % 4
    return (group if i in (0, 1, 4, 5) else group + 8), place * 2 + (i & 1) + (8 if i >= 4 else 0)


def bf16_b(lane: int, i: int) -> tuple[int, int]:
    return (lane % 4) * 2 + (i & 1) + (8 if i >= 2 else 0), lane >> 2


def accumulator(lane: int, i: int) -> tuple[int, int]:
    return (lane >> 2 if i < 2 else (lane >> 2) + 8), (lane % 4) * 2 + (i & 1)


def fragments(x: np.ndarray, where: Any, per_lane: int) -> np.ndarray:
    return np.array([[x[where(lane, i)] for i in range(per_lane)] for lane in range(32)], np.float32)


@pytest.mark.parametrize("bf16", [False, True], ids=["tf32", "bf16"])
def test_products_of_a_warp_in_the_layout_of_ptx(
    bf16: bool, order: str, emulator: ModuleType, rng: np.random.Generator
) -> None:
    depth = 16 if bf16 else 8
    a, b, c = (rng.integers(-9, 9, shape).astype(float) for shape in ((16, depth), (depth, 8), (16, 8)))
    left = fragments(a, bf16_a if bf16 else tf32_a, depth // 2).view(np.uint32).astype(np.int64)
    right = fragments(b, bf16_b if bf16 else tf32_b, depth // 4).view(np.uint32).astype(np.int64)
    if bf16:  # the upper half of a float32, two to a register, the first of them low
        left, right = ((x[:, ::2] >> 16) | (x[:, 1::2] & 0xFFFF0000) for x in (left, right))
    else:
        left, right = left[:, :4], right[:, :2]
    queue = emulator.Queue()
    la, lb, lc = (put(emulator, queue, x) for x in (left, right, fragments(c, accumulator, 4)))
    emulator.selftest.warp_product(la, lb, lc, bf16, queue)
    np.testing.assert_array_equal(get(emulator, queue, lc), fragments(a @ b + c, accumulator, 4))


# --- rounding
@pytest.mark.parametrize(
    ("x", "tf32", "bf16"),
    [
        (1.0, 1.0, 1.0),
        (1 + 2**-11, 1 + 2**-10, 1.0),  # tf32: a tie goes away from zero
        (-1 - 2**-11, -1 - 2**-10, -1.0),
        (1 + 2**-11 - 2**-20, 1.0, 1.0),
        (1 + 2**-8, 1 + 2**-8, 1.0),  # bf16: a tie goes to even
        (1 + 3 * 2**-8, 1 + 3 * 2**-8, 1 + 2**-6),
        (1 + 2**-8 + 2**-20, 1 + 2**-8, 1 + 2**-7),
        (2 - 2**-20, 2.0, 2.0),  # up into the next exponent
        (0.0, 0.0, 0.0),
        (np.inf, np.inf, np.inf),
        (-np.inf, -np.inf, -np.inf),
        (np.nan, np.nan, np.nan),
    ],
)
def test_rounding_of_the_inputs_of_tensor_cores(
    x: float, tf32: float, bf16: float, emulator: ModuleType
) -> None:
    np.testing.assert_equal(emulator.selftest.tf32(x), tf32)
    np.testing.assert_equal(emulator.selftest.bf16(x), bf16)


def test_build_info(emulator: ModuleType) -> None:
    info = emulator.build_info()
    assert info["emulated"] == "yes"
    assert set(info) == {"architectures", "compiler", "emulated", "runtime"}
