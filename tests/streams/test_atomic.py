"""A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge.streams import atomic_path
from voxridge.streams.atomic import is_disk_full


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_success_replaces_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert only(tmp_path) == ["a.txt"]


def test_numpy_and_hdf5_write_to_the_name_that_they_are_given(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.npy") as temporary:
        np.save(temporary, np.ones(3))
    with atomic_path(tmp_path / "x.h5") as temporary, h5py.File(temporary, "w") as file:
        file["data"] = np.ones(3)
    assert only(tmp_path) == ["x.h5", "x.npy"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), OSError(errno.EIO, "disk")])
def test_failure_leaves_the_old_file(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(error)) as caught, atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert caught.value is error
    assert target.read_text() == "old"
    assert only(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("where", ["write", "flush", "hdf5"])
def test_disk_full(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.h5"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "flush":
        monkeypatch.setattr(os, "fsync", full)
    said = r"no space left while writing .*a\.h5: 4 bytes had been written"
    with pytest.raises(OSError, match=said) as caught, atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        if where == "write":
            full()
        if where == "hdf5":
            raise RuntimeError("Can't decrement id ref count (errno = 28, 'No space left on device')")
    assert caught.value.errno == errno.ENOSPC
    assert "bytes are free" in str(caught.value)
    assert target.read_text() == "old"
    assert only(tmp_path) == ["a.h5"]


def test_space_is_checked_before_the_work(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with pytest.raises(OSError, match="bytes are needed") as caught, atomic_path(target, needed=1 << 60):
        raise AssertionError("not reached")
    assert caught.value.errno == errno.ENOSPC
    assert only(tmp_path) == []


def test_a_full_disk_under_hdf5(tmp_path: Path) -> None:
    # A limit on the size of files makes the kernel itself refuse the write, as a full disk does.
    resource = pytest.importorskip("resource")
    assert resource
    target = tmp_path / "a.h5"
    target.write_text("old")
    code = f"""
import resource, h5py, numpy
from voxridge.streams import atomic_path
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with atomic_path({str(target)!r}) as temporary, h5py.File(temporary, "w") as file:
        file["data"] = numpy.ones((2000, 2000))
except OSError as error:
    print("caught", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("caught")
    assert "no space left while writing" in done.stdout
    assert target.read_text() == "old"
    assert only(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_hdf5_says_in_text_that_the_disk_is_full(code: int) -> None:
    text = (
        f"Set slist enabled failed (file write failed: errno = {code}, error message = '{os.strerror(code)}'"
    )
    assert is_disk_full(RuntimeError(text))
    assert not is_disk_full(RuntimeError("Set slist enabled failed"))


def test_wrong_targets(tmp_path: Path) -> None:
    lost = tmp_path / "missing" / "a"
    with pytest.raises(FileNotFoundError, match=r"folder .*missing does not exist"), atomic_path(lost):
        raise AssertionError("not reached")
    with pytest.raises(IsADirectoryError, match="is a folder"), atomic_path(tmp_path):
        raise AssertionError("not reached")
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_path(tmp_path / "a"):
        pass
    assert only(tmp_path) == []


def test_a_link_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "real.txt"
    real.write_text("old")
    (tmp_path / "link.txt").symlink_to(real)
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert real.read_text() == "new"
