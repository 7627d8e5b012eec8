"""What goes wrong between and during passes is said, in words; what was written before is not lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge.streams import (
    FileSink,
    Source,
    as_source,
    check_finite,
    check_unchanged,
    fingerprint,
    read_ahead,
    scan_targets,
)
from voxridge.streams.segments import FileSegment


def matrix() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(400, 50)).astype(np.float32)


def saved(folder: Path, suffix: str, array: np.ndarray | None = None) -> Path:
    path = folder / f"x{suffix}"
    array = matrix() if array is None else array
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz":
        np.savez(path, array)
    else:
        with h5py.File(path, "w") as file:
            file["data"] = array
    return path


def one_pass(source: Source, rows: int = 40) -> np.ndarray:
    """Read everything ahead, in blocks, as a fit does."""
    parts = (slice(begin, begin + rows) for begin in range(0, source.shape[0], rows))
    with read_ahead(lambda part=part: source.read(part).copy() for part in parts) as blocks:
        return np.concatenate(list(blocks))


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "voxridge-reader"]


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz"])
def test_a_file_cut_off_between_two_passes(suffix: str, tmp_path: Path) -> None:
    path = saved(tmp_path, suffix)
    source = as_source(path, name="features")
    before = fingerprint(source)
    np.testing.assert_array_equal(one_pass(source), matrix())
    size = path.stat().st_size
    os.truncate(path, size // 2)
    with pytest.raises(ValueError, match=rf"x\{suffix} is truncated"):
        one_pass(source)
    with pytest.raises(ValueError, match=rf"x\{suffix} had {size:,} bytes and has {size // 2:,}"):
        check_unchanged(source, before)
    assert not readers()


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_mapped_file_that_is_written_between_two_passes(mode: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, ".npy")
    source = as_source(np.load(path, mmap_mode=mode), name="features")
    before = fingerprint(source)
    np.testing.assert_array_equal(one_pass(source), matrix())
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"other")
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))  # clocks tick coarsely
    with pytest.raises(ValueError, match=r"x\.npy was written"):
        check_unchanged(source, before)


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz"])
def test_a_file_replaced_between_two_passes(suffix: str, tmp_path: Path) -> None:
    path = saved(tmp_path, suffix)
    source = as_source([path, path], name="responses", run_names="ab")
    before = fingerprint(source)
    one_pass(source)
    check_unchanged(source, before)
    (tmp_path / "new").mkdir()
    os.replace(saved(tmp_path / "new", suffix, matrix() + 1), path)
    with pytest.raises(ValueError, match=rf"responses changed while it was being read: .*x\{suffix}"):
        check_unchanged(source, before)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError(), KeyboardInterrupt()])
def test_a_read_error_in_the_reader_thread(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = as_source(saved(tmp_path, ".h5"), name="features")
    read_into = FileSegment.read_into

    def failing(self: FileSegment, out: np.ndarray, rows: slice, columns: slice) -> None:
        if rows.start >= 200:
            raise error
        read_into(self, out, rows, columns)

    monkeypatch.setattr(FileSegment, "read_into", failing)
    seen = []
    parts = (slice(begin, begin + 50) for begin in range(0, 400, 50))
    with (  # noqa: PT012
        pytest.raises(type(error)) as caught,
        read_ahead(lambda part=part: source.read(part) for part in parts) as blocks,
    ):
        for block in blocks:
            seen.append(block)
    assert caught.value is error
    np.testing.assert_array_equal(np.concatenate(seen), matrix()[:200])
    assert not readers()


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_number_in_the_last_row(suffix: str, bad: float, tmp_path: Path) -> None:
    array = matrix()
    array[-1, -1] = bad
    source = as_source(saved(tmp_path, suffix, array), name="responses", runs=(300, 100))
    scan = scan_targets(source, chunk_rows=64)
    assert scan.first_bad == ("run 1", 99, 49)
    np.testing.assert_array_equal(np.flatnonzero(~scan.valid), [49])
    with pytest.raises(ValueError, match=rf"responses has {bad} at run 'run 1', row 99 .* column 49"):
        check_finite(source, chunk_rows=64)


LIMIT = """
import resource, sys
from voxridge.streams import FileSink
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    FileSink(sys.argv[1], (1000, 1000), "f4")
except OSError as error:
    print("caught", error)
"""


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
def test_the_kernel_refuses_a_file_of_this_size(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    (tmp_path / f"x{suffix}").write_text("old")
    command = [sys.executable, "-c", LIMIT, str(tmp_path / f"x{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("caught")
    assert f"x{suffix} cannot be made" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]
    assert (tmp_path / f"x{suffix}").read_text() == "old"


# A process that writes tiles and notes after each how far it is, killed at each of its calls of the system in
# turn (a write when it is half done), or at any moment; forked, so that a hundred deaths take seconds.
WORKER = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from voxridge.streams import FileSink, atomic_path

SHAPE, STEP = (40, 30), 11
ABOUT = {"n": 3, "alpha": np.arange(30.0), "units": "percent"}

def tile(begin, end):
    return np.random.default_rng(begin).normal(size=(SHAPE[0], end - begin)).astype("f4")

def die_at(call):
    counter = iter(range(10**6))
    def watched(name, plain):
        def wrapper(*arguments, **options):
            if next(counter) == call:
                if name == "pwrite":
                    plain(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2], arguments[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*arguments, **options)
        return wrapper
    for name in ("pwrite", "fsync", "replace", "ftruncate", "posix_fallocate", "unlink", "close"):
        setattr(os, name, watched(name, getattr(os, name)))

def work(path, pause=0.0):
    note = path.with_suffix(".note")
    sink = FileSink(path, SHAPE, "f4", token="t", resume=note.exists())
    done = set(json.loads(note.read_text())) if sink.resumed else set()
    if not done:
        note.unlink(missing_ok=True)
    for begin in range(0, SHAPE[1], STEP):
        if begin not in done:
            time.sleep(pause)
            sink.write(begin, min(begin + STEP, SHAPE[1]), tile(begin, min(begin + STEP, SHAPE[1])))
            sink.flush()
            done.add(begin)
            with atomic_path(note) as temporary:
                temporary.write_text(json.dumps(sorted(done)))
    sink.finish(ABOUT)
    note.unlink()
    sink.close()

def child(path, call=None, pause=0.0, kill_after=None):
    "Whether a process that does the work came to its end."
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if call is not None:
                die_at(call)
            work(path, pause)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return not os.WIFSIGNALED(status)

def same_numbers(path):
    from voxridge.streams import as_source
    found = as_source(path, name="weights").read()
    found = found if path.suffix == ".npy" else found.T
    return all((found[:, b : b + STEP] == tile(b, min(b + STEP, 30))).all() for b in range(0, 30, STEP))

folder, suffix, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
whole = folder / f"whole{suffix}"
assert child(whole)
deaths = 0
for trial in range(500 if how == "calls" else 6):
    path = folder / f"x{suffix}"
    if how == "calls":
        ended = child(path, call=trial)
        if not ended and path.exists():
            assert same_numbers(path), trial
    else:
        ended, chance = False, random.Random(trial)
        for _ in range(4):
            ended = ended or child(path, pause=0.003, kill_after=chance.uniform(0, 0.05))
            deaths += not ended
    if not ended:
        deaths += how == "calls"
        assert child(path), trial
    assert path.read_bytes() == whole.read_bytes(), trial
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".x"))
    assert names == [f"whole{suffix}", f"x{suffix}"], (trial, names)
    for left in folder.glob("*x.*"):
        left.unlink()
    if how == "calls" and ended:
        break
print(trial, deaths)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("suffix", [".h5", ".npy"])
@pytest.mark.parametrize("how", ["calls", "moments"])
def test_killed_at_any_moment_and_continued(how: str, suffix: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path), suffix, how]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    trials, deaths = map(int, done.stdout.split())
    assert deaths == trials if how == "calls" else deaths > 3
    assert how == "moments" or deaths > 20


def test_a_terminated_writer_keeps_its_tiles(tmp_path: Path) -> None:
    code = """
import sys, time
import numpy
from voxridge.streams import FileSink
sink = FileSink(sys.argv[1], (3, 4), "f4", token="t")
sink.write(0, 2, numpy.ones((3, 2)))
sink.flush()
print("ready", flush=True)
time.sleep(60)
"""
    path = tmp_path / "x.h5"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        with pytest.raises(BlockingIOError, match="being written"):
            FileSink(path, (3, 4), "f4", token="t")
        writer.send_signal(signal.SIGTERM)
        writer.wait(30)
    with FileSink(path, (3, 4), "f4", token="t") as sink:
        assert sink.resumed
        np.testing.assert_array_equal(sink.read(0, 4), [[1, 1, 0, 0]] * 3)


@pytest.mark.parametrize("kind", ["path", "open", "chunked"])
def test_hdf5_is_read_by_several_threads_at_once(kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path, ".h5")
    with h5py.File(path, "a") as file:
        file.create_dataset("parts", data=matrix(), chunks=(30, 7), compression="gzip")
    with h5py.File(path) as file:
        data: Any = {"path": path, "open": file["data"], "chunked": file["parts"]}[kind]
        sources = [as_source(data, name=f"features {index}") for index in range(3)]
        found: list[np.ndarray | None] = [None] * 3

        def read(index: int) -> None:
            for _ in range(10):
                found[index] = one_pass(sources[index], 25 + index)

        threads = [threading.Thread(target=read, args=(index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for array in found:
        np.testing.assert_array_equal(array, matrix())
