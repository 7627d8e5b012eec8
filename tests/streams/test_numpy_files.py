"""Parts of .npy and .npz files: the same numbers as numpy's own slices, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from voxridge.streams import as_source

CUT = st.integers(-12, 12) | st.none()


@settings(deadline=None, max_examples=150)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    order=st.sampled_from("CF"),
    suffix=st.sampled_from([".npy", ".npz", "compressed.npz"]),
    dtype=st.sampled_from([np.float32, np.float64, np.float16, ">f4", np.int16, bool]),
    cuts=st.tuples(CUT, CUT, CUT, CUT),
    gap=st.sampled_from([-1, 8, 1 << 14]),
    scratch=st.sampled_from([1, 20, 1 << 20]),
)
def test_any_slice_equals_numpy(
    shape: tuple[int, int],
    order: Any,
    suffix: str,
    dtype: Any,
    cuts: Any,
    gap: int,
    scratch: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    array = np.asarray(np.random.default_rng(0).normal(size=shape) * 20, dtype, order=order)
    path = tmp_path_factory.mktemp("numpy") / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    else:
        (np.savez if suffix == ".npz" else np.savez_compressed)(path, array)
    rows, columns = slice(*cuts[:2]), slice(*cuts[2:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voxridge.streams.numpy_files._GAP_BYTES", gap)
        patch.setattr("voxridge.streams.numpy_files._SCRATCH_BYTES", scratch)
        source = as_source(path, name="features")
        block = source.read(rows, columns)
    assert block.flags.c_contiguous
    np.testing.assert_array_equal(block, array[rows, columns].astype(source.dtype))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_one_dimensional_responses(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, np.arange(5.0))
    source = as_source(path, name="responses")
    assert source.shape == (5, 1)
    np.testing.assert_array_equal(source.read(slice(1, 4)), [[1.0], [2.0], [3.0]])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_part_takes_the_memory_of_a_part(suffix: str, order: Any, tmp_path: Path) -> None:
    array = np.asarray(np.zeros((2000, 10_000), np.float32), order=order)  # 80 MB
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez_compressed)(path, array)
    source = as_source(path, name="features")
    for rows, columns in [(slice(None), slice(20, 60)), (slice(10, 30), slice(None))]:
        tracemalloc.start()
        block = source.read(rows, columns)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert block.shape == array[rows, columns].shape
        assert peak < 16e6


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\)"):
        as_source(tmp_path / "x.npy", name="features")
