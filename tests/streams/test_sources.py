"""Sources: every kind of input reads the same numbers; bad input is refused in words."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from voxridge.streams import FeatureStore, ResponseStore, Source, as_source, match_runs

RUNS = (5, 1, 8)


def matrix(dtype: Any = np.float32, columns: int = 6) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(sum(RUNS), columns)) * 20
    return values.astype(dtype)


def parts(array: np.ndarray) -> list[np.ndarray]:
    return np.split(array, np.cumsum(RUNS)[:-1])


def per_run(array: np.ndarray, folder: Path, suffix: str) -> list[Path]:
    paths = [folder / f"{name}{suffix}" for name in "abc"]
    for path, part in zip(paths, parts(array), strict=True):
        if suffix == ".npy":
            np.save(path, np.asfortranarray(part))
        else:
            with h5py.File(path, "w") as file:
                file["data"] = part
    return paths


def mapped(array: np.ndarray, folder: Path) -> np.ndarray:
    found = np.memmap(folder / "x.bin", array.dtype, "w+", shape=array.shape)
    found[:] = array
    return found


def saved(array: np.ndarray, folder: Path, suffix: str) -> Path:
    path = folder / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    else:
        np.savez_compressed(path, features=array, other=np.zeros(2))
    return path


def stored(array: np.ndarray, folder: Path) -> FeatureStore:
    store = FeatureStore.create(folder / "store.h5")
    for name, part in zip("abc", parts(array), strict=True):
        store.write_run(name, {"layer-00": part})
    return store


# The same matrix in every form that is accepted.
FORMS: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "array": lambda array, folder: array,
    "fortran": lambda array, folder: np.asfortranarray(array),
    "strided": lambda array, folder: np.repeat(np.repeat(array, 2, 0), 3, 1)[::2, ::3],
    "reversed": lambda array, folder: array[::-1].copy()[::-1],
    "list": lambda array, folder: parts(array),
    "memmap": mapped,
    "npy": lambda array, folder: str(saved(array, folder, ".npy")),
    "npz": lambda array, folder: saved(array, folder, ".npz"),
    "npy_fortran_list": lambda array, folder: per_run(array, folder, ".npy"),
    "hdf5_list": lambda array, folder: per_run(array, folder, ".hf5"),
    "store": stored,
}


def make(kind: str, array: np.ndarray, folder: Path) -> Source:
    return as_source(FORMS[kind](array, folder), name="features", runs=RUNS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ">f4", np.int16, np.int64, bool])
@pytest.mark.parametrize("kind", FORMS)
def test_every_form_reads_the_same(kind: str, dtype: Any, tmp_path: Path) -> None:
    array = matrix(dtype)
    source = make(kind, array, tmp_path)
    wide = dtype in (np.float64, np.int64)
    assert source.dtype == (np.float64 if wide else np.float32)
    assert source.shape == array.shape
    assert source.runs == RUNS
    for rows, columns in [(slice(None), slice(None)), (slice(4, 9), slice(2, 5)), (slice(6, 6), slice(None))]:
        block = source.read(rows, columns)
        assert block.dtype == source.dtype
        assert block.dtype.isnative
        assert block.flags.c_contiguous
        np.testing.assert_array_equal(block, array[rows, columns].astype(source.dtype))


@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(["array", "fortran", "list"]),
    cuts=st.tuples(*[st.integers(-20, 20) | st.none()] * 4),
)
def test_any_slice_equals_numpy(kind: str, cuts: tuple[int | None, ...]) -> None:
    array = matrix()
    rows, columns = slice(*cuts[:2]), slice(*cuts[2:])
    np.testing.assert_array_equal(make(kind, array, Path()).read(rows, columns), array[rows, columns])


@pytest.mark.parametrize("chunks", [None, (3, 2), (14, 1)])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_open_dataset(chunks: Any, compression: str | None, tmp_path: Path) -> None:
    array = matrix(np.float16)
    if chunks is None and compression:
        chunks = True
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", data=array, chunks=chunks, compression=compression)
        source = as_source(data, name="features", runs=RUNS)
        np.testing.assert_array_equal(source.read(slice(3, 12), slice(1, 4)), array[3:12, 1:4])
        assert not source.in_memory
    with pytest.raises(ValueError, match="was closed"):
        source.read()


def test_reading_in_small_scratch_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxridge.streams.segments._SCRATCH_BYTES", 40)
    array = matrix(np.int16)
    source = make("hdf5_list", array, tmp_path)
    np.testing.assert_array_equal(source.read(columns=slice(1, 5)), array[:, 1:5])


def test_memory_that_fits_is_not_copied() -> None:
    array = matrix()
    source = as_source(array, name="features", runs=RUNS)
    block = source.read(slice(2, 9))
    assert np.shares_memory(block, array)
    assert not block.flags.writeable
    assert array.flags.writeable
    run = as_source(parts(array), name="features").read(slice(6, 14))
    assert np.shares_memory(run, array)
    assert source.read(columns=slice(0, 2)).flags.writeable
    assert not np.shares_memory(source.read(columns=slice(0, 2)), array)


@pytest.mark.parametrize("kind", ["array", "fortran", "strided", "readonly", "int", "memmap"])
def test_inputs_stay_bit_identical(kind: str, tmp_path: Path) -> None:
    array = matrix(np.int32 if kind == "int" else np.float32)
    if kind == "fortran":
        array = np.asfortranarray(array)
    elif kind == "strided":
        array = np.repeat(array, 2, axis=1)[:, ::2]
    elif kind == "readonly":
        array.flags.writeable = False
    elif kind == "memmap":
        np.save(tmp_path / "x.npy", array)
        array = np.load(tmp_path / "x.npy", mmap_mode="r+")
    before, flags = array.tobytes(), str(array.flags)
    source = as_source(array, name="features")
    block = source.read()
    if block.flags.writeable:
        block[:] = 0
    else:
        with pytest.raises(ValueError, match="read-only"):
            block[:] = 0
    assert array.tobytes() == before
    assert str(array.flags) == flags
    assert source.in_memory == (kind != "memmap")


def test_fortran_is_copied_once_and_by_chunk() -> None:
    import tracemalloc

    array = np.asfortranarray(np.ones((4000, 250), np.float32))
    source = as_source(array, name="features")
    tracemalloc.start()
    source.read(slice(0, 1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.1 * array.nbytes / 4


def test_one_dimensional_responses_are_one_column() -> None:
    y = np.arange(4.0)
    assert as_source(y, name="responses").read().shape == (4, 1)
    assert as_source([y, y], name="responses").shape == (8, 1)
    with pytest.raises(ValueError, match=r"features has shape \(4,\).*reshape\(-1, 1\)"):
        as_source(y, name="features")


def test_one_sample_is_a_run() -> None:
    source = as_source(np.ones((1, 3)), name="features")
    assert source.runs == (1,)
    assert source.read().shape == (1, 3)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_rows_or_no_columns(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"responses has shape \({shape[0]}, {shape[1]}\)"):
        as_source(np.zeros(shape), name="responses")


def test_zero_length_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"features\[1\] has shape \(0, 2\): a run without rows"):
        as_source([np.zeros((2, 2)), np.zeros((0, 2))], name="features")
    with pytest.raises(ValueError, match=r"runs\[1\] is 0"):
        as_source(np.zeros((3, 2)), name="features", runs=(3, 0))
    np.save(tmp_path / "empty.npy", np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"'empty'.*without rows"):
        as_source([tmp_path / "empty.npy"], name="features")


def test_wrong_shapes_name_both() -> None:
    with pytest.raises(ValueError, match=r"features\[1\] has shape \(3, 5\).*shape \(2, 4\)"):
        as_source([np.zeros((2, 4)), np.zeros((3, 5))], name="features")
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\).*list\(array\)"):
        as_source(np.zeros((2, 3, 4)), name="features")
    with pytest.raises(ValueError, match=r"shape \(\)"):
        as_source(3.0, name="features")


def test_runs_that_do_not_add_up() -> None:
    with pytest.raises(ValueError, match=r"add up to 12 rows, but features has 14 rows"):
        as_source(matrix(), name="features", runs=(5, 7))
    with pytest.raises(ValueError, match="already has runs"):
        as_source(parts(matrix()), name="features", runs=(7, 7))
    with pytest.raises(TypeError, match="whole numbers"):
        as_source(matrix(), name="features", runs=(7.0, 7.0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="-1"):
        as_source(matrix(), name="features", runs=(15, -1))
    with pytest.raises(ValueError, match="2 names"):
        as_source(matrix(), name="features", runs=RUNS, run_names=("a", "b"))
    with pytest.raises(ValueError, match=r"\['a'\] occur"):
        as_source(matrix(), name="features", runs=RUNS, run_names=("a", "b", "a"))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((2, 2), complex),
        np.array([["a", "b"]]),
        np.zeros((2, 2), object),
        np.zeros((2, 2), np.longdouble),
        np.zeros((2, 2), "datetime64[s]"),
        np.ma.masked_array(np.zeros((2, 2)), mask=True),
        None,
    ],
)
def test_types_that_are_refused(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        as_source(bad, name="features")
    assert "features" in str(caught.value)


def test_sparse_and_nested_lists_are_refused() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"toarray\(\)"):
        as_source(sparse.eye_array(3), name="features")
    with pytest.raises(ValueError, match="one 2-D array per run"):
        as_source([[np.zeros((2, 2)), np.zeros((3, 2))]], name="features")
    with pytest.raises(ValueError, match="empty list"):
        as_source([], name="features")
    with pytest.raises(ValueError, match="shape"):
        as_source([[1.0, 2.0], [3.0, 4.0]], name="features")


def test_a_source_passes_through_and_a_single_run_can_be_split() -> None:
    source = as_source(matrix(), name="features")
    assert as_source(source, name="features") is source
    split = as_source(source, name="features", runs=RUNS, run_names="abc")
    assert (split.runs, split.run_names, source.runs) == (RUNS, ("a", "b", "c"), (14,))
    with pytest.raises(ValueError, match="already has runs"):
        as_source(split, name="features", runs=(7, 7))
    with pytest.raises(ValueError, match="step 2"):
        source.read(slice(0, 4, 2))


def test_stores_and_paths_of_stores(tmp_path: Path) -> None:
    responses = ResponseStore.create(tmp_path / "y.h5")
    responses.write_run("a", matrix())
    for form in (responses, responses.path, str(responses.path)):
        assert as_source(form, name="responses").run_names == ("a",)
    features = FeatureStore.create(tmp_path / "x.h5")
    features.write_run("a", {"l0": matrix(), "l1": matrix()})
    for form in (features, features.path):
        with pytest.raises(ValueError, match=r"2 layers \['l0', 'l1'\].*source\(layer\)"):
            as_source(form, name="features")
    with pytest.raises(ValueError, match=r"dataset 'data' is not there.*features/a/l0"):
        as_source(features.path, name="responses")


def test_run_names_come_from_the_files(tmp_path: Path) -> None:
    for folder in ("s1", "s2"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "story.npy", matrix())
    one = as_source([tmp_path / "s1" / "story.npy"], name="features")
    assert one.run_names == ("story",)
    both = as_source([tmp_path / folder / "story.npy" for folder in ("s1", "s2")], name="features")
    assert both.run_names == (str(tmp_path / "s1" / "story"), str(tmp_path / "s2" / "story"))


def test_file_sources_can_be_pickled(tmp_path: Path) -> None:
    source = make("hdf5_list", matrix(), tmp_path)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(), matrix())


def test_mixed_types_take_the_wider() -> None:
    source = as_source([np.ones((2, 2), np.float16), np.ones((2, 2))], name="features")
    assert source.dtype == np.float64
    np.testing.assert_array_equal(source.read(), np.ones((4, 2)))


def test_match_runs() -> None:
    x = as_source(matrix(), name="features", runs=RUNS, run_names="abc")
    match_runs(x, as_source(matrix(), name="responses", runs=RUNS, run_names="abc"))
    match_runs(x, as_source(matrix(), name="responses", runs=RUNS))  # another convention of names
    with pytest.raises(ValueError, match=r"run 1: .*'b': 1.*'run 1': 2") as caught:
        match_runs(x, as_source(matrix(), name="responses", runs=(5, 2, 7)))
    assert "shape (14, 6)" in str(caught.value)
    with pytest.raises(ValueError, match="other names"):
        match_runs(x, as_source(matrix(), name="responses", runs=RUNS, run_names="acb"))
    with pytest.raises(ValueError, match="first at run 1"):
        match_runs(x, as_source(matrix()[:5], name="responses"))
