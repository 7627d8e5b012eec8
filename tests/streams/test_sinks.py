"""Sinks: the same tiles end up in the same places, in memory and in files; errors name both sides."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from voxridge.streams import ArraySink, DatasetSink, FileSink, Sink, as_sink, as_source

SHAPE = (7, 11)


def matrix(shape: tuple[int, int] = SHAPE, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def tile(array: np.ndarray, axis: int, begin: int, end: int) -> np.ndarray:
    return array[:, begin:end] if axis == 1 else array[begin:end]


def fill(sink: Sink, array: np.ndarray, step: int) -> None:
    starts = list(range(0, array.shape[sink.axis], step))
    for begin in starts[::-1]:
        end = min(begin + step, array.shape[sink.axis])
        sink.write(begin, end, tile(array, sink.axis, begin, end))


def contents(sink: Sink) -> np.ndarray:
    """The matrix as a reader of the result finds it."""
    if isinstance(sink, FileSink):
        if sink.result.suffix == ".npy":
            return np.load(sink.result)
        with h5py.File(sink.result) as file:
            found = file["data"][()]
            return found.T if file["data"].attrs["transposed"] else found
    return np.asarray(sink.result[()])


FORMS: dict[str, Callable[[Path, Any], Any]] = {
    "none": lambda folder, dtype: None,
    "array": lambda folder, dtype: np.full(SHAPE, np.nan, dtype),
    "fortran": lambda folder, dtype: np.full(SHAPE, np.nan, dtype, order="F"),
    "memmap": lambda folder, dtype: np.memmap(folder / "x.bin", dtype, "w+", shape=SHAPE),
    "h5": lambda folder, dtype: folder / "x.h5",
    "hdf5 text": lambda folder, dtype: str(folder / "x.hdf5"),
    "npy": lambda folder, dtype: folder / "x.npy",
    "dataset": lambda folder, dtype: h5py.File(folder / "y.h5", "w").create_dataset("w", SHAPE, dtype),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_what_was_written(form: str, axis: int, dtype: Any, tmp_path: Path) -> None:
    array = matrix(dtype=dtype)
    out = FORMS[form](tmp_path, dtype)
    sink = as_sink(out, *SHAPE, dtype, axis=axis)
    assert (sink.shape, sink.dtype, sink.axis) == (SHAPE, dtype, axis)
    assert (sink.finished, sink.resumed) == (False, False)
    fill(sink, array, 3)
    np.testing.assert_array_equal(sink.read(2, 5), tile(array, axis, 2, 5))
    assert sink.read(4, 4).shape == ((7, 0) if axis == 1 else (0, 11))
    sink.write(4, 4, sink.read(4, 4))
    sink.finish({"units": "percent"})
    assert sink.finished
    sink.finish()
    sink.close()
    np.testing.assert_array_equal(contents(sink), array)
    if isinstance(out, (str, Path)):
        assert [path.name for path in tmp_path.iterdir()] == [Path(out).name]
        assert sink.result == Path(out)
    elif out is not None:
        assert sink.result is out
    if isinstance(out, h5py.Dataset):
        out.file.close()


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    axis=st.sampled_from([0, 1]),
    order=st.sampled_from("CF"),
    suffix=st.sampled_from([".h5", ".npy"]),
    step=st.integers(1, 9),
    given_type=st.sampled_from([np.float32, np.float64, ">f4"]),
)
def test_files_take_any_block(
    shape: tuple[int, int],
    axis: int,
    order: Any,
    suffix: str,
    step: int,
    given_type: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    array = np.asarray(matrix(shape, given_type), order=order)
    before = array.tobytes()
    path = tmp_path_factory.mktemp("sink") / f"x{suffix}"
    with FileSink(path, shape, np.float32, axis=axis) as sink:
        fill(sink, array, step)
        sink.finish()
    np.testing.assert_array_equal(contents(sink), array.astype(np.float32))
    assert array.tobytes() == before


def test_blocks_go_through_a_small_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxridge.streams.file_sink._SCRATCH_BYTES", 60)
    with FileSink(tmp_path / "x.h5", SHAPE, np.float32) as sink:
        fill(sink, matrix(dtype=np.float64), 4)
        sink.finish()
    np.testing.assert_array_equal(contents(sink), matrix(dtype=np.float64).astype(np.float32))


def test_the_system_may_write_less_than_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:5], at))
    monkeypatch.setattr(os, "preadv", lambda fd, into, at: preadv(fd, [into[0][:7]], at))
    with FileSink(tmp_path / "x.npy", SHAPE, np.float32) as sink:
        fill(sink, matrix(), 4)
        np.testing.assert_array_equal(sink.read(1, 9), matrix()[:, 1:9])


def test_layout_in_the_file(tmp_path: Path) -> None:
    for axis, stored in [(1, (11, 7)), (0, (7, 11))]:
        with FileSink(tmp_path / "x.h5", SHAPE, "f4", axis=axis, dataset="model/weights") as sink:
            fill(sink, matrix(), 4)
            sink.finish({"alpha": np.arange(3.0), "units": "percent", "n": 4})
        with h5py.File(tmp_path / "x.h5") as file:
            data = file["model/weights"]
            assert (data.shape, data.dtype, data.chunks) == (stored, np.float32, None)
            assert bool(data.attrs["transposed"]) == (axis == 1)
            assert (data.attrs["units"], data.attrs["n"]) == ("percent", 4)
            np.testing.assert_array_equal(file["model/alpha"], np.arange(3.0))
    with FileSink(tmp_path / "x.npy", SHAPE, "f4") as sink:
        sink.finish({"units": "percent"})
    loaded = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert loaded.flags.f_contiguous
    assert loaded.shape == SHAPE
    with (
        FileSink(tmp_path / "x.h5", SHAPE, "f4") as sink,
        pytest.raises(ValueError, match="'data' has a name"),
    ):
        sink.finish({"data": np.ones(2)})
    np.testing.assert_array_equal(as_source(tmp_path / "x.npy", name="weights").read(), loaded)


def test_a_finished_file_can_be_read_before_the_sink_is_closed(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "x.h5", SHAPE, np.float32, axis=0)
    fill(sink, matrix(), 4)
    with pytest.raises(BlockingIOError, match=r"x\.h5.*being written"):
        FileSink(sink.result, SHAPE, np.float32)
    sink.finish()
    np.testing.assert_array_equal(as_source(sink.result, name="features").read(), matrix())
    np.testing.assert_array_equal(sink.read(0, 7), matrix())
    with pytest.raises(ValueError, match="is finished"):
        sink.write(0, 7, matrix())
    sink.close()
    with pytest.raises(ValueError, match="is closed"):
        sink.read(0, 7)


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
def test_an_older_file_stays_until_the_new_one_is_whole(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_text("old")
    with FileSink(path, SHAPE, np.float32) as sink:
        fill(sink, matrix(), 4)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / path.name).symlink_to(path)
    with FileSink(tmp_path / "link" / path.name, SHAPE, np.float32) as sink:
        fill(sink, matrix(), 4)
        sink.finish()
    assert sink.result.is_symlink()
    assert not path.is_symlink()
    np.testing.assert_array_equal(contents(sink), matrix())


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
@pytest.mark.parametrize("axis", [0, 1])
def test_continuing(suffix: str, axis: int, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    half = SHAPE[axis] // 2
    with FileSink(path, SHAPE, np.float32, axis=axis, token="a") as sink:
        sink.write(0, half, tile(matrix(), axis, 0, half))
        sink.flush()
    assert [p.name for p in tmp_path.iterdir()] == [f"{path.name}.partial"]
    with FileSink(path, SHAPE, np.float32, axis=axis, token="a") as sink:
        assert (sink.resumed, sink.finished) == (True, False)
        sink.write(half, SHAPE[axis], tile(matrix(), axis, half, SHAPE[axis]))
        sink.finish({"n": 1, "alpha": np.ones(2)})
        np.testing.assert_array_equal(contents(sink), matrix())
        with FileSink(path, SHAPE, np.float32, axis=axis, token="a") as again:
            assert (again.resumed, again.finished) == (True, True)
            np.testing.assert_array_equal(again.read(0, half), tile(matrix(), axis, 0, half))
            again.finish({"n": 1})
    np.testing.assert_array_equal(contents(sink), matrix())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == ".npy":
        assert path.stat().st_size == 128 + matrix().nbytes


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
@pytest.mark.parametrize(
    "other",
    [
        {"token": "b"},
        {"token": None},
        {"resume": False},
        {"shape": (11, 7)},
        {"shape": (7, 12)},
        {"dtype": np.float64},
        {"axis": 0},
        "cut",
        "empty",
        "damaged",
    ],
)
def test_anything_else_starts_anew(suffix: str, other: Any, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    partial = path.with_name(f"{path.name}.partial")
    settings: dict[str, Any] = {"shape": SHAPE, "dtype": np.float32, "axis": 1, "token": "a"}
    with FileSink(path, **settings) as sink:
        fill(sink, matrix(), 4)
    content = partial.read_bytes()
    if other == "cut":
        partial.write_bytes(content[: len(content) // 2])
    elif other == "empty":
        partial.write_bytes(b"")
    elif other == "damaged":
        partial.write_bytes(b"x" * len(content))
    else:
        settings |= other
    with FileSink(path, **settings) as sink:
        assert not sink.resumed
        assert not sink.read(0, 7).any()
        array = matrix(settings["shape"], settings["dtype"])
        fill(sink, array, 4)
        sink.finish()
    np.testing.assert_array_equal(contents(sink), array)


def test_a_kill_between_the_description_and_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, killed = tmp_path / "plain.h5", tmp_path / "killed.h5"
    about = {"n": 1, "alpha": np.ones(200)}
    with FileSink(plain, SHAPE, "f4", token="a") as sink:
        fill(sink, matrix(), 4)
        sink.finish(about)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with FileSink(killed, SHAPE, "f4", token="a") as sink:
        fill(sink, matrix(), 4)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", kill)
            with pytest.raises(KeyboardInterrupt):
                sink.finish(about)
    with FileSink(killed, SHAPE, "f4", token="a") as sink:
        assert (sink.resumed, sink.finished) == (True, False)
        sink.finish(about)
    assert killed.read_bytes() == plain.read_bytes()


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
@pytest.mark.parametrize("where", ["posix_fallocate", "disk_usage"])
def test_a_disk_that_is_too_small_shows_at_once(
    suffix: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_text("old")
    if where == "posix_fallocate":
        monkeypatch.setattr(os, where, full)
        size: tuple[int, int] = (1000, 1000)
    else:
        size = (1 << 20, shutil.disk_usage(tmp_path).free >> 22)
        size = (size[0], size[1] + 1)
    said = rf"x\{suffix} cannot be made: no space left. It takes {4 * size[0] * size[1]:,} bytes.* free"
    with pytest.raises(OSError, match=said) as caught:
        FileSink(path, size, np.float32)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_file_systems_that_cannot_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    with FileSink(tmp_path / "x.h5", SHAPE, np.float32) as sink:
        fill(sink, matrix(), 4)
        sink.finish()
    np.testing.assert_array_equal(contents(sink), matrix())


def test_blocks_are_reserved(tmp_path: Path) -> None:
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("the system cannot reserve blocks")
    with FileSink(tmp_path / "x.h5", (1000, 1000), np.float32):
        assert (tmp_path / "x.h5.partial").stat().st_blocks * 512 >= 4_000_000


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "no space left"), (errno.EIO, "cannot be written")]
)
def test_errors_while_writing_keep_what_is_there(
    number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    sink = FileSink(tmp_path / "x.h5", SHAPE, np.float32, token="a")
    sink.write(0, 4, matrix()[:, :4])
    for name, call in [
        ("pwrite", lambda: sink.write(4, 8, matrix()[:, 4:8])),
        ("fsync", sink.flush),
        ("fsync", sink.finish),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(os, name, refuse)
            with pytest.raises(OSError, match=rf"x\.h5 .*{said}") as caught:
                call()
        assert caught.value.errno == number
    sink.close()
    with FileSink(tmp_path / "x.h5", SHAPE, np.float32, token="a") as sink:
        np.testing.assert_array_equal(sink.read(0, 4), matrix()[:, :4])


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    with FileSink(tmp_path / "x.h5", SHAPE, np.float32, token="a") as sink:
        for token in ("a", "b", None):
            with pytest.raises(BlockingIOError, match=r"x\.h5 is being written by another program"):
                FileSink(tmp_path / "x.h5", SHAPE, np.float32, token=token)
        fill(sink, matrix(), 4)
        sink.finish()
    np.testing.assert_array_equal(contents(sink), matrix())


def test_a_name_given_away_while_waiting_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    first = FileSink(tmp_path / "x.h5", SHAPE, np.float32)
    fill(first, matrix(), 4)
    flock = fcntl.flock
    calls = []

    def finishing(descriptor: int, how: int) -> None:
        if not calls:
            calls.append(how)
            first.finish()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", finishing)
    with FileSink(tmp_path / "x.h5", SHAPE, np.float32):
        np.testing.assert_array_equal(contents(first), matrix())
    assert calls
    np.testing.assert_array_equal(contents(first), matrix())


def test_wrong_tiles(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "y.h5", "w") as file:
        data = file.create_dataset("w", SHAPE, "f4")
        for out in (None, tmp_path / "x.h5", data):
            sink = as_sink(out, *SHAPE, np.float32)
            said = r"targets 2 to 5 has shape \(3, 7\).*\(7, 11\) takes \(7, 3\)"
            with pytest.raises(ValueError, match=said):
                sink.write(2, 5, np.ones((3, 7)))
            for begin, end in [(-1, 2), (5, 3), (9, 12)]:
                with pytest.raises(ValueError, match=rf"targets {begin} to {end} do not lie inside"):
                    sink.read(begin, end)
            with pytest.raises(ValueError, match="complex128 does not fit"):
                sink.write(0, 1, np.ones((7, 1), complex))
            sink.close()


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights has shape \(11, 7\); the output has shape \(7, 11\)"):
        as_sink(np.ones((11, 7)), *SHAPE, np.float32, name="weights")
    with pytest.raises(ValueError, match="dtype int64"):
        as_sink(np.ones(SHAPE, int), *SHAPE, np.float32)
    with pytest.raises(ValueError, match="read-only"):
        as_sink(np.broadcast_to(np.float32(1), SHAPE), *SHAPE, np.float32)
    with pytest.raises(TypeError, match="is a list; give None, a path"):
        as_sink([1], *SHAPE, np.float32)
    with pytest.raises(ValueError, match=r"ending '\.mat'"):
        as_sink(tmp_path / "x.mat", *SHAPE, np.float32)
    with pytest.raises(FileNotFoundError, match="folder"):
        as_sink(tmp_path / "no" / "x.h5", *SHAPE, np.float32)
    with pytest.raises(ValueError, match=r"shape \(0, 3\)"):
        as_sink(tmp_path / "x.h5", 0, 3, np.float32)
    with pytest.raises(ValueError, match="dtype is int32"):
        as_sink(tmp_path / "x.h5", *SHAPE, np.int32)
    with pytest.raises(ValueError, match="axis is 2"):
        as_sink(None, *SHAPE, np.float32, axis=2)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        data = file.create_dataset("w", SHAPE, "f4")
        sink = as_sink(data, *SHAPE, np.float32)
        assert isinstance(sink, DatasetSink)
    with pytest.raises(ValueError, match="closed"):
        sink.read(0, 1)
    with pytest.raises(ValueError, match="closed"):
        as_sink(data, *SHAPE, np.float32)
    with h5py.File(tmp_path / "y.h5", "r") as file, pytest.raises(ValueError, match="open for reading"):
        as_sink(file["w"], *SHAPE, np.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["y.h5"]


def test_what_is_read_from_memory_cannot_be_written() -> None:
    sink = ArraySink(np.zeros(SHAPE, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        sink.read(0, 3)[:] = 1
    assert sink.result.flags.writeable


def test_tiles_may_come_from_several_threads(tmp_path: Path) -> None:
    array = matrix((50, 400))
    with FileSink(tmp_path / "x.h5", array.shape, np.float32) as sink:
        threads = [
            threading.Thread(target=sink.write, args=(begin, begin + 50, array[:, begin : begin + 50]))
            for begin in range(0, 400, 50)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sink.finish()
    np.testing.assert_array_equal(contents(sink), array)
