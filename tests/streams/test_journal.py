"""An addition to an HDF5 file is made as a whole or not at all, whenever the process dies."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from voxridge.streams import journal
from voxridge.streams.journal import append_h5, journal_path, recover


def start(path: Path) -> bytes:
    with h5py.File(path, "w") as file:
        file["old"] = np.arange(1000)
    return path.read_bytes()


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_many_additions(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    start(path)
    for i in range(40):
        with append_h5(path) as file:
            group = file.create_group(f"run{i}")
            for j in range(5):
                group[f"layer{j}"] = np.full((50, 3), i * j, np.float16)
            group.attrs["note"] = "n" * i * 100
    with h5py.File(path, "r") as file:
        assert len(file) == 41
        for i in range(40):
            for j in range(5):
                assert (file[f"run{i}/layer{j}"][:] == i * j).all()
            assert file[f"run{i}"].attrs["note"] == "n" * i * 100
        np.testing.assert_array_equal(file["old"], np.arange(1000))
    assert only(tmp_path) == ["x.h5"]


def test_readers_see_the_old_file_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    start(path)
    with append_h5(path) as file:
        file["new"] = np.ones((300, 300))
        file.flush()
        with h5py.File(path, "r") as reader:
            assert list(reader) == ["old"]
            np.testing.assert_array_equal(reader["old"], np.arange(1000))
    with h5py.File(path, "r") as reader:
        assert list(reader) == ["new", "old"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("flush", [False, True])
def test_an_exception_takes_everything_back(error: BaseException, flush: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    before = start(path)
    with pytest.raises(type(error)) as caught, append_h5(path) as file:  # noqa: PT012
        file["new"] = np.ones((300, 300))
        del file["old"]
        if flush:
            file.flush()
        raise error
    assert caught.value is error
    assert path.read_bytes() == before
    assert only(tmp_path) == ["x.h5"]


@pytest.mark.parametrize("after", [0, 1000, 300_000])
def test_disk_full_takes_everything_back(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.h5"
    before = start(path)
    written = 0
    real = os.pwrite

    def pwrite(descriptor: int, data: bytes, at: int) -> int:
        nonlocal written
        room = after - written
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written += min(room, len(data))
        return real(descriptor, data[:room], at)

    monkeypatch.setattr(journal.os, "pwrite", pwrite)
    said = r"no space left while writing .*x\.h5"
    with pytest.raises(OSError, match=said) as caught, append_h5(path) as file:
        file["new"] = np.ones((300, 300))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert only(tmp_path) == ["x.h5"]


def test_disk_full_for_the_journal_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.h5"
    before = start(path)
    real = journal._append

    def append(file: object, content: bytes) -> None:
        if b"pages" in content:
            real(file, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, content)

    monkeypatch.setattr(journal, "_append", append)
    with pytest.raises(OSError, match="no space left"), append_h5(path) as file:
        file["new"] = np.ones((300, 300))
    assert path.read_bytes() == before
    assert only(tmp_path) == ["x.h5"]


# The parent counts the steps of an addition; then one child per step dies at that step, half of it done.
KILL = r"""
import os, signal, sys
from pathlib import Path
import h5py, numpy as np
from voxridge.streams import ResponseStore, journal

folder = Path(sys.argv[1])
y = np.arange(60000.0).reshape(300, 200)
store = ResponseStore.create(folder / "store.h5", {"subject": "s1"})
store.write_run("a", y)
pristine = store.path.read_bytes()

class Counting:
    def __init__(self, die_at):
        self.count, self.die_at = 0, die_at
    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in ("pwrite", "ftruncate", "fsync"):
            return real
        def step(*args):
            def half():
                if name == "pwrite":
                    real(args[0], args[1][: len(args[1]) // 2], args[2])
            self.step(half)
            return real(*args)
        return step
    def step(self, half):
        self.count += 1
        if self.count == self.die_at:
            half()
            os.kill(os.getpid(), signal.SIGKILL)

def install(counting):
    real = journal._append
    def append(file, content):
        counting.step(lambda: os.write(file.fileno(), content[: len(content) // 2]))
        real(file, content)
    journal.os, journal._append = counting, append

def child(die_at):
    counting = Counting(die_at)
    install(counting)
    store.write_run("b", -y, tr=2.0)
    return counting.count

reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, str(child(None)).encode())
    os._exit(0)
os.wait()
steps = int(os.read(reader, 100))
assert ResponseStore.open(store.path).runs == ["a", "b"]
outcomes = []
for die_at in range(1, steps + 1):
    store.path.write_bytes(pristine)
    if os.fork() == 0:
        child(die_at)
        os._exit(0)
    _, status = os.wait()
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (die_at, status)
    again = ResponseStore.open(store.path)
    assert again.runs in (["a"], ["a", "b"]), die_at
    assert (again.read("a") == y).all()
    assert again.provenance == {"subject": "s1"}
    assert again.complete("b") == ("b" in again.runs)
    outcomes.append(again.complete("b"))
    if not again.complete("b"):
        assert store.path.read_bytes() == pristine
        again.write_run("b", -y, tr=2.0)
    assert (again.read("b") == -y).all() and again.tr("b") == 2.0
    assert os.listdir(folder) == ["store.h5"], os.listdir(folder)
    h5py.File(store.path, "r").close()
assert outcomes == sorted(outcomes), outcomes
print(steps, sum(outcomes))
"""


def test_a_kill_at_every_step(tmp_path: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    command = [sys.executable, "-W", "ignore", "-c", KILL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    steps, made = map(int, done.stdout.split())
    assert steps > 10
    assert 0 < made < steps


def test_a_second_writer_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "x.h5"
    start(path)
    with append_h5(path) as file:
        file["first"] = np.ones(3)
        with pytest.raises(BlockingIOError, match="being written by another"), append_h5(path):
            raise AssertionError("not reached")
        assert recover(path) is False
    with h5py.File(path, "r") as file:
        assert list(file) == ["first", "old"]
    assert only(tmp_path) == ["x.h5"]


def test_a_valid_file_whose_journal_cannot_be_removed_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.h5"
    base = len(start(path))
    side = journal_path(path)
    with side.open("a+b", buffering=0) as file, path.open("rb") as main:
        journal._start(file, main, base)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(journal, "_locked_journal", refuse)
    assert recover(path) is False
    with side.open("a+b", buffering=0) as file:
        journal._append(file, journal._packed(b"{}") + journal._packed(b"pages"))
    with pytest.raises(OSError, match="needs the repair"):
        recover(path)


def test_zeros_behind_the_first_note_are_no_notes(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    before = start(path)
    with journal_path(path).open("a+b", buffering=0) as file, path.open("rb") as main:
        journal._start(file, main, len(before))
        file.write(bytes(64))  # a file system may have grown the file before its numbers were on disk
    path.write_bytes(before + b"half an addition")
    assert recover(path) is True
    assert path.read_bytes() == before
    assert only(tmp_path) == ["x.h5"]


def test_nothing_to_recover(tmp_path: Path) -> None:
    assert recover(tmp_path / "x.h5") is False
    before = start(tmp_path / "x.h5")
    assert recover(tmp_path / "x.h5") is False
    journal_path(tmp_path / "x.h5").write_bytes(b"something else")
    assert recover(tmp_path / "x.h5") is False
    assert (tmp_path / "x.h5").read_bytes() == before
    assert only(tmp_path) == ["x.h5"]


def test_a_journal_is_not_applied_to_another_file(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    base = len(start(path))
    with journal_path(path).open("a+b", buffering=0) as file, path.open("rb") as main:
        journal._start(file, main, base)
    with h5py.File(path, "w") as file:
        file["another"] = np.arange(100_000)
    before = path.read_bytes()
    recover(path)
    assert path.read_bytes() == before
    assert only(tmp_path) == ["x.h5"]


@settings(deadline=None, max_examples=60)
@given(
    base=st.integers(0, 9000),
    writes=st.lists(st.tuples(st.integers(0, 14000), st.integers(1, 9000)), max_size=6),
    look=st.tuples(st.integers(0, 15000), st.integers(0, 9000)),
)
def test_held_writes_look_like_a_file(
    base: int, writes: list[tuple[int, int]], look: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("held") / "x"
    rng = np.random.default_rng(base)
    old = rng.bytes(base)
    path.write_bytes(old)
    model = bytearray(old)
    with path.open("r+b", buffering=0) as main:
        held = journal._HeldWrites(main, base)
        for at, length in writes:
            data = rng.bytes(length)
            held.seek(at)
            assert held.write(data) == length
            model.extend(bytes(max(0, at + length - len(model))))
            model[at : at + length] = data
        held.seek(look[0])
        buffer = bytearray(look[1])
        count = held.readinto(buffer)
        assert buffer[:count] == model[look[0] : look[0] + look[1]]
        assert held.seek(0, os.SEEK_END) == len(model)
        assert path.read_bytes()[:base] == old
        journal._put_in_place(main, held.pages, held.size)
    assert path.read_bytes() == model
