"""Memory maps: copied block by block, given back, never harmed."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.streams import as_sink, as_source

SHAPE = (60, 300)


def numbers() -> np.ndarray:
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture(params=[1, 3000, 1 << 24], autouse=True)
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxridge.streams.mapped._BLOCK_BYTES", request.param)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_parts_of_a_map(mode: Any, order: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asarray(numbers(), order=order))
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    expected = numbers()
    if mode != "r":
        mapped[3, 5] = expected[3, 5] = 7  # not flushed: giving pages back must not lose it
    for part in (mapped, mapped[5:50, 3::2], mapped[::-1, ::-1], np.asarray(mapped), mapped[7]):
        wide = part.reshape(-1, part.shape[-1])
        source = as_source(wide, name="features")
        assert not source.in_memory
        for _ in range(2):
            block = source.read()
            assert block.flags.writeable
            assert not np.shares_memory(block, mapped)
            np.testing.assert_array_equal(block, np.array(wide))
    np.testing.assert_array_equal(mapped, expected)


@pytest.mark.parametrize("access", [mmap.ACCESS_READ, mmap.ACCESS_WRITE, mmap.ACCESS_COPY])
def test_a_map_made_by_hand(access: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(numbers().tobytes())
    with (tmp_path / "x").open("r+b") as file:
        array = np.frombuffer(mmap.mmap(file.fileno(), 0, access=access), np.float32).reshape(SHAPE)
    expected = numbers()
    if access != mmap.ACCESS_READ:
        array[2, 2] = expected[2, 2] = 9
    source = as_source(array, name="features")
    assert not source.in_memory
    for _ in range(2):
        np.testing.assert_array_equal(source.read(slice(1, 40)), expected[1:40])
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_map_is_written_through(order: Any, axis: int, tmp_path: Path) -> None:
    out = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, SHAPE, fortran_order=order == "F")
    sink = as_sink(out, *SHAPE, np.float32, axis=axis)
    for begin in range(0, SHAPE[axis], 20):
        block = numbers()[:, begin : begin + 20] if axis else numbers()[begin : begin + 20]
        sink.write(begin, begin + 20, block)
    sink.finish()
    np.testing.assert_array_equal(out, numbers())
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), numbers())


def test_plain_memory_is_not_a_map() -> None:
    assert as_source(numbers(), name="features").in_memory
    assert as_source(np.frombuffer(memoryview(bytes(24))).reshape(1, 3), name="features").in_memory
