"""Fingerprints: the same for the same data, another for any other; a file that changes is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from voxridge.streams import (
    FeatureStore,
    as_source,
    check_unchanged,
    difference,
    fingerprint,
    fingerprint_text,
    repeats,
    tutorial_test,
)


def matrix() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(14, 6)).astype(np.float32)


def hdf5(path: Path, array: np.ndarray, name: str = "data") -> Path:
    with h5py.File(path, "w") as file:
        file[name] = array
    return path


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def npz(path: Path, array: np.ndarray) -> Path:
    np.savez(path, features=array)
    return path


def store(path: Path, array: np.ndarray) -> FeatureStore:
    made = FeatureStore.create(path, overwrite=True)
    made.write_run("a", {"l0": array})
    return made


MAKERS: dict[str, Callable[[Path], Any]] = {
    "hdf5": lambda folder: hdf5(folder / "x.h5", matrix()),
    "hdf5 list": lambda folder: [hdf5(folder / f"{name}.hf5", matrix()) for name in "ab"],
    "npy": lambda folder: npy(folder / "x.npy", matrix()),
    "npz": lambda folder: npz(folder / "x.npz", matrix()),
    "memmap": lambda folder: np.load(npy(folder / "x.npy", matrix()), mmap_mode="r")[2:, 1:],
    "memmap r+": lambda folder: np.load(npy(folder / "x.npy", matrix()), mmap_mode="r+"),
    "store": lambda folder: store(folder / "x.h5", matrix()),
    "mean": lambda folder: tutorial_test(hdf5(folder / "x.h5", np.stack([matrix()] * 3), "Y_test")),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_that_changes_is_named(kind: str, tmp_path: Path) -> None:
    source = as_source(MAKERS[kind](tmp_path), name="features")
    before = fingerprint(source)
    assert json.loads(json.dumps(before)) == before
    assert fingerprint(source) == before
    check_unchanged(source, before)
    path = sorted(tmp_path.iterdir())[-1]
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    with pytest.raises(
        ValueError, match=rf"(features|responses) changed while .*{path.name} was written at .* again at"
    ):
        check_unchanged(source, before)
    assert f"{path.name} was written" in difference(before, fingerprint(source))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    check_unchanged(source, before)
    shutil.copy2(path, tmp_path / "copy")
    os.replace(tmp_path / "copy", path)
    with pytest.raises(ValueError, match=rf"{path.name} was replaced by another file of the same size"):
        check_unchanged(source, before)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{path.name} had .* bytes and has"):
        check_unchanged(source, json.loads(json.dumps(before)))
    path.unlink()
    with pytest.raises(ValueError, match=rf"{path.name} is gone"):
        check_unchanged(source, before)


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 8)),
    place=st.tuples(st.integers(0, 39), st.integers(0, 7)),
    block=st.integers(1, 200),
)
def test_any_number_of_an_array_counts(shape: tuple[int, int], place: tuple[int, int], block: int) -> None:
    array = np.random.default_rng(1).normal(size=shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voxridge.streams.identity._BLOCK_BYTES", block)
        before = fingerprint(as_source(array, name="features"))
        assert fingerprint(as_source(array.copy(order="F"), name="features")) == before
        assert fingerprint(as_source(np.repeat(array, 2, 1)[:, ::2], name="features")) == before
        row, column = place[0] % shape[0], place[1] % shape[1]
        array[row, column] = np.nextafter(array[row, column], 9)
        now = fingerprint(as_source(array, name="features"))
    assert difference(before, now) == "the numbers are others"
    assert fingerprint_text(before) != fingerprint_text(now)


def test_what_else_tells_sources_apart(tmp_path: Path) -> None:
    array = matrix()
    path = hdf5(tmp_path / "x.h5", np.stack([array, array]), "Y_test")
    with h5py.File(path, "a") as file:
        file["data"] = file["other"] = array
    first, second = (fingerprint(source) for source in repeats(path))
    mean = fingerprint(tutorial_test(path))
    data = fingerprint(as_source(path, name="features"))
    found = [first, second, mean, data, fingerprint(as_source(array, name="features"))]
    found.append(fingerprint(as_source(array, name="features", runs=(7, 7))))
    found.append(fingerprint(as_source(array.astype(np.float16), name="features")))
    found.append(fingerprint(as_source([array, array], name="features")))
    mapped = np.load(npy(tmp_path / "x.npy", np.zeros((14, 12))), mmap_mode="r")
    found += [fingerprint(as_source(part, name="features")) for part in (mapped[:, :6], mapped[:, 6:])]
    assert len({fingerprint_text(one) for one in found}) == len(found)
    assert "the runs was [14] and is [7, 7]" in difference(found[4], found[5])
    assert f"{path} is no longer read" in difference(first, found[4])
    assert f"{path} is read now" in difference(found[4], data)


def test_a_map_that_differs_from_its_file_counts_by_its_numbers(tmp_path: Path) -> None:
    mapped = np.load(npy(tmp_path / "x.npy", matrix()), mmap_mode="c")
    before = fingerprint(as_source(mapped, name="features"))
    mapped[0, 0] += 1
    assert fingerprint(as_source(mapped, name="features")) != before


def test_an_open_dataset(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.h5", matrix())
    with h5py.File(path) as file:
        source = as_source(file["data"], name="features")
        before = fingerprint(source)
        assert before["parts"][0]["files"][0]["path"] == str(path)
        os.utime(path, (1, 1))
        with pytest.raises(ValueError, match=r"x\.h5 was written"):
            check_unchanged(source, before)
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        source = as_source(file.create_dataset("data", data=matrix()), name="features")
        before = fingerprint(source)
        assert before["parts"][0]["files"] == []
        file["data"][0, 0] = 7
        assert fingerprint(source) != before


def test_the_files_behind_a_virtual_dataset(tmp_path: Path) -> None:
    hdf5(tmp_path / "part.h5", matrix())
    layout = h5py.VirtualLayout((14, 6), "f4")
    layout[...] = h5py.VirtualSource("part.h5", "data", (14, 6))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    source = as_source(tmp_path / "x.h5", name="features")
    np.testing.assert_array_equal(source.read(), matrix())
    before = fingerprint(source)
    os.utime(tmp_path / "part.h5", (1, 1))
    with pytest.raises(ValueError, match=r"part\.h5 was written"):
        check_unchanged(source, before)


def test_sources_of_another_make_are_read() -> None:
    class Foreign:
        shape, dtype, runs, run_names, in_memory = (14, 6), np.dtype(np.float32), (14,), ("a",), False

        def __init__(self) -> None:
            self.array = matrix()

        def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
            return self.array[rows, columns]

    source = Foreign()
    before = fingerprint(source)
    assert fingerprint(Foreign()) == before
    check_unchanged(source, before)
    source.array[3, 3] = 0
    assert fingerprint(source) != before


def test_text_of_what_json_cannot_hold() -> None:
    assert fingerprint_text({"a": 1, "b": 2}) == fingerprint_text({"b": 2, "a": 1})
    assert fingerprint_text(1, 2) != fingerprint_text(12)
    with pytest.raises(TypeError):
        fingerprint_text(np.ones(2))
