"""Bad numbers and targets that cannot be fitted are found, and named by run, row and column."""

from __future__ import annotations

from pathlib import Path

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from voxridge.streams import as_source, check_finite, locate_row, row_chunks, scan_targets

RUNS = (4, 1, 7)


def normal(columns: int = 5, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(sum(RUNS), columns)).astype(dtype)


@settings(deadline=None, max_examples=40)
@given(
    runs=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    chunk=st.integers(1, 12),
    data=st.data(),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_the_first_bad_value_is_named(runs: list[int], chunk: int, data: st.DataObject, bad: float) -> None:
    run = data.draw(st.integers(0, len(runs) - 1))
    row = data.draw(st.integers(0, runs[run] - 1))
    column = data.draw(st.integers(0, 3))
    x = np.zeros((sum(runs), 4))
    start = sum(runs[:run]) + row
    x[start, column] = bad
    x[start + 1 :, 0] = np.nan
    source = as_source(x, name="features", runs=runs)
    said = f"features has {bad} at run 'run {run}', row {row} .* column {column};"
    with pytest.raises(ValueError, match=said):
        check_finite(source, chunk_rows=chunk)
    assert scan_targets(source, chunk_rows=chunk).first_bad == (f"run {run}", row, column)


@settings(deadline=None, max_examples=20)
@given(runs=st.lists(st.integers(1, 9), min_size=1, max_size=5), chunk=st.integers(1, 12))
def test_chunks_cover_every_row_once_inside_runs(runs: list[int], chunk: int) -> None:
    source = as_source(np.zeros((sum(runs), 2)), name="features", runs=runs)
    chunks = list(row_chunks(source, chunk_rows=chunk))
    assert [row for rows in chunks for row in range(rows.start, rows.stop)] == list(range(sum(runs)))
    for rows in chunks:
        assert 1 <= rows.stop - rows.start <= chunk
        assert locate_row(source, rows.start)[0] == locate_row(source, rows.stop - 1)[0]


def test_a_voxel_is_named_in_a_file(tmp_path: Path) -> None:
    y = normal(columns=300)
    y[9, 217] = np.nan
    with h5py.File(tmp_path / "story.hf5", "w") as file:
        file["data"] = y
    source = as_source([tmp_path / "story.hf5"], name="responses")
    scan = scan_targets(source)
    assert scan.first_bad == ("story", 9, 217)
    assert "first: run 'story', row 9 of that run, column 217" in scan.message()
    with pytest.raises(ValueError, match="run 'story', row 9 of that run, column 217"):
        check_finite(source)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("chunk_rows", [None, 1, 3])
def test_scan(dtype: type, chunk_rows: int | None) -> None:
    y = normal(8, dtype)
    y[:, 1] = 0.1
    y[:, 2] = 0
    y[3, 4] = np.nan
    y[2, 5], y[4, 5] = np.inf, -np.inf
    y[:, 6] = np.nan
    scan = scan_targets(as_source(y, name="responses", runs=RUNS), chunk_rows=chunk_rows)
    np.testing.assert_array_equal(np.flatnonzero(scan.constant), [1, 2])
    np.testing.assert_array_equal(np.flatnonzero(scan.nonfinite), [4, 5, 6])
    np.testing.assert_array_equal(scan.valid, [True, False, False, True, False, False, False, True])
    assert scan.first_bad == ("run 0", 0, 6)
    assert scan.n_masked == 5
    assert not scan.all_zero
    assert scan.mean.dtype == np.float64
    np.testing.assert_allclose(scan.mean[scan.valid], y[:, scan.valid].mean(0, np.float64), rtol=1e-12)
    assert np.isnan(scan.mean[scan.nonfinite]).all()
    assert scan.message().startswith("5 of 8 targets of responses are left out: 2 constant (first: column 1)")


def test_other_targets_do_not_depend_on_the_bad_ones() -> None:
    y = normal()
    clean = scan_targets(as_source(y, name="responses", runs=RUNS))
    y = np.column_stack([y, np.full(len(y), np.nan, y.dtype)])
    scan = scan_targets(as_source(y, name="responses", runs=RUNS))
    np.testing.assert_array_equal(scan.mean[:-1], clean.mean)
    np.testing.assert_array_equal(scan.valid[:-1], clean.valid)


def test_rounding_is_not_a_signal() -> None:
    y = np.full((10, 3), 1e4, np.float32)
    y[5, 0] = np.nextafter(y[5, 0], np.float32(np.inf))
    y[5, 1] += 1
    y[:, 2] = np.finfo(np.float32).max
    y[5, 2] *= -1
    np.testing.assert_array_equal(scan_targets(as_source(y, name="responses")).constant, [True, False, False])


def test_all_zero_subject() -> None:
    scan = scan_targets(as_source(np.zeros((20, 3)), name="responses"))
    assert scan.all_zero
    with pytest.raises(ValueError, match=r"s33: every value is zero.*leave this subject out"):
        scan.require_valid("s33")


def test_nothing_left_to_fit() -> None:
    scan = scan_targets(as_source(np.ones((20, 3)), name="responses"))
    with pytest.raises(ValueError, match="no target can be fitted; 3 of 3 targets"):
        scan.require_valid()
    scan_targets(as_source(normal(), name="responses")).require_valid()


def test_one_sample_makes_every_target_constant() -> None:
    scan = scan_targets(as_source(np.ones((1, 3)), name="responses"))
    assert scan.constant.all()


def test_clean_data_has_no_message() -> None:
    assert scan_targets(as_source(normal(), name="responses")).message() == ""


def test_chunk_rows_must_be_positive() -> None:
    with pytest.raises(ValueError, match="chunk_rows is 0"):
        check_finite(as_source(normal(), name="features"), chunk_rows=0)


def test_compressed_chunks_are_read_together(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", shape=(5000, 1000), dtype="f4", chunks=(1500, 10), compression="gzip")
        chunks = list(row_chunks(as_source(data, name="features")))
    assert [rows.start for rows in chunks] == [0, 3000]
