"""Files that are missing, cut off, damaged, or only pointers: the error says which and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge.streams import FeatureStore, ResponseStore, as_source, story_files

OPENERS: list[Callable[[Path], object]] = [
    lambda path: as_source(path, name="responses"),
    lambda path: as_source([path], name="features"),
    FeatureStore.open,
    ResponseStore.open,
]


def good(path: Path) -> Path:
    if path.suffix == ".npy":
        np.save(path, np.ones((400, 50)))
    elif path.suffix == ".npz":
        np.savez(path, np.ones((400, 50)))
    else:
        with h5py.File(path, "w") as file:
            file["data"] = np.ones((400, 50))
    return path


@pytest.mark.parametrize("opener", OPENERS)
def test_missing(opener: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"story\.hf5 does not exist"):
        opener(tmp_path / "story.hf5")
    with pytest.raises(FileNotFoundError, match="nor does the folder"):
        opener(tmp_path / "nowhere" / "story.hf5")


@pytest.mark.parametrize("opener", OPENERS)
def test_folder(opener: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "x.h5").mkdir()
    said = "list of files|x.h5 holds no HDF5 file"  # a store may be a folder of files
    with pytest.raises((IsADirectoryError, FileNotFoundError), match=said):
        opener(tmp_path / "x.h5")


@pytest.mark.parametrize("opener", OPENERS)
def test_truncated_hdf5(opener: Callable[[Path], object], tmp_path: Path) -> None:
    path = good(tmp_path / "story.hf5")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    said = rf"story\.hf5 is truncated: {len(whole) // 2:,} of {len(whole):,} bytes"
    with pytest.raises(ValueError, match=said):
        opener(path)
    assert [p.name for p in tmp_path.iterdir()] == ["story.hf5"]


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_truncated_numpy(suffix: str, tmp_path: Path) -> None:
    path = good(tmp_path / f"x{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="truncated"):
        as_source(path, name="features")


@pytest.mark.parametrize("suffix", [".hf5", ".npy", ".npz"])
@pytest.mark.parametrize("content", [b"", b"x" * 50, b"\x93NUMPY\x01"])
def test_not_such_a_file(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"empty|not an"):
        as_source(path, name="features")


@pytest.mark.parametrize("suffix", [".hf5", ".npy"])
@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"../../.git/annex/objects/Qk/9P/MD5E-s123--ab.hf5/MD5E-s123--ab.hf5\n", "git annex get"),
        (b"/annex/objects/MD5E-s123--ab.hf5\n", "git annex get"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
    ],
)
def test_pointers(suffix: str, content: bytes, remedy: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"pointer, not the data; run: {remedy}"):
        as_source(path, name="features")


def test_annex_link_without_content(tmp_path: Path) -> None:
    (tmp_path / "alice.hf5").symlink_to("../.git/annex/objects/aa/bb/key/key")
    with pytest.raises(FileNotFoundError, match=r"git annex get alice\.hf5"):
        as_source(tmp_path / "alice.hf5", name="responses")
    with pytest.raises(FileNotFoundError, match=r"git annex get alice\.hf5"):
        story_files(tmp_path, ["alice"])
    (tmp_path / "other.hf5").symlink_to("gone.hf5")
    with pytest.raises(FileNotFoundError, match=r"link to gone\.hf5"):
        as_source(tmp_path / "other.hf5", name="responses")


def test_missing_dataset_lists_what_is_there(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/b"] = np.ones((2, 3))
        file.create_group("data2")
    with pytest.raises(ValueError, match=r"dataset 'data' is not there; the file holds a/b \(2, 3\)"):
        as_source(tmp_path / "x.h5", name="features")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_group("data")
    with pytest.raises(ValueError, match="is a group, not a dataset; the file holds no dataset"):
        as_source(tmp_path / "y.h5", name="features")


def test_long_lists_are_cut(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for i in range(50):
            file[f"d{i}"] = np.ones(1)
    with pytest.raises(ValueError, match=r"\.\.\.$"):
        as_source(tmp_path / "x.h5", name="features")


def test_damage_inside_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        values = np.random.default_rng(0).normal(size=(400, 50))
        data = file.create_dataset("data", data=values, chunks=(400, 50), compression="gzip")
        place = data.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 400] = bytes(400)
    path.write_bytes(content)
    source = as_source(path, name="features")
    with pytest.raises(ValueError, match=r"x\.h5: dataset 'data', rows 0 to 400"):
        source.read()


def test_object_arrays_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[1, "a"]], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", np.array([[1, "a"]], object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(TypeError, match="Python objects"):
            as_source(tmp_path / name, name="features")


def test_npz_needs_a_clear_choice(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"holds \['a', 'b'\]"):
        as_source(tmp_path / "x.npz", name="features")
    np.savez(tmp_path / "y.npz", a=np.ones((2, 2)))
    assert as_source(tmp_path / "y.npz", name="features").shape == (2, 2)


def test_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(b"1")
    with pytest.raises(ValueError, match=r"'\.mat' is not known"):
        as_source(tmp_path / "x.mat", name="features")


def test_a_file_that_another_program_writes(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    path = good(tmp_path / "x.h5")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # what HDF5 does when it opens a file for writing
        with pytest.raises(BlockingIOError, match="being written"):
            as_source(path, name="features")
