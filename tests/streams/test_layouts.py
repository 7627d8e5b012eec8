"""The HDF5 layouts of the field."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge.streams import h5_dataset, repeats, scan_targets, story_files, tutorial_test, tutorial_train


def test_story_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = {"souls": rng.normal(size=(7, 5)), "alice": rng.normal(size=(4, 5))}
    for story, suffix in [("souls", ".hf5"), ("alice", ".h5")]:
        with h5py.File(tmp_path / f"{story}{suffix}", "w") as file:
            file["data"] = data[story]
    source = story_files(tmp_path, ["souls", "alice"])
    assert (source.runs, source.run_names, source.dtype) == ((7, 4), ("souls", "alice"), np.float64)
    np.testing.assert_array_equal(source.read(slice(5, 9)), np.concatenate(list(data.values()))[5:9])
    with pytest.raises(FileNotFoundError, match="no story 'soul'; it has alice, souls"):
        story_files(tmp_path, ["soul"])
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        story_files(tmp_path / "no", ["souls"])
    for stories in ([], "souls"):
        with pytest.raises(ValueError, match="give a list"):
            story_files(tmp_path, stories)
    with pytest.raises(ValueError, match=r"dataset 'resp' is not there; the file holds data \(7, 5\)"):
        story_files(tmp_path, ["souls"], dataset="resp")


def test_stories_of_other_width(tmp_path: Path) -> None:
    for story, width in [("souls", 5), ("alice", 6)]:
        with h5py.File(tmp_path / f"{story}.hf5", "w") as file:
            file["data"] = np.ones((3, width))
    with pytest.raises(ValueError, match=r"\('alice'\) has shape \(3, 6\), but the first run .* \(3, 5\)"):
        story_files(tmp_path, ["souls", "alice"])


def tutorial(path: Path, onsets: object = (0, 4, 9)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    data = {
        "X_train": rng.normal(size=(12, 3)).astype("f4"),
        "X_test": rng.normal(size=(5, 3)).astype("f4"),
    }
    responses = {
        "Y_train": rng.normal(size=(12, 8)).astype("f4"),
        "Y_test": rng.normal(size=(10, 5, 8)).astype("f4"),
    }
    for name, arrays in [("x.hdf", data), ("y.hdf", responses)]:
        with h5py.File(path / name, "w") as file:
            for key, array in arrays.items():
                file[key] = array
            file["run_onsets"] = np.asarray(onsets)
    return data | responses


def test_tutorial_files(tmp_path: Path) -> None:
    data = tutorial(tmp_path)
    for name, key in [("x.hdf", "X_train"), ("y.hdf", "Y_train")]:
        source = tutorial_train(tmp_path / name)
        assert source.runs == (4, 5, 3)
        np.testing.assert_array_equal(source.read(slice(2, 11)), data[key][2:11])
    np.testing.assert_array_equal(tutorial_test(tmp_path / "x.hdf").read(), data["X_test"])
    mean = tutorial_test(tmp_path / "y.hdf")
    assert (mean.shape, mean.dtype, mean.run_names) == ((5, 8), np.float32, ("test",))
    expected = data["Y_test"].mean(0, np.float64).astype("f4")
    np.testing.assert_array_equal(mean.read(slice(1, 4), slice(2, 7)), expected[1:4, 2:7])
    single = repeats(tmp_path / "y.hdf")
    assert len(single) == 10
    np.testing.assert_array_equal(single[3].read(slice(1, 4), slice(2, 7)), data["Y_test"][3, 1:4, 2:7])


@pytest.mark.parametrize("onsets", [(1, 4), (0, 4, 4), (0, 12), (0.0, 4.0), (0, 5, 3), np.zeros(0, int)])
def test_wrong_onsets(onsets: object, tmp_path: Path) -> None:
    tutorial(tmp_path, onsets)
    with pytest.raises(ValueError, match=r"run_onsets is .* below the 12 rows"):
        tutorial_train(tmp_path / "x.hdf")


def test_unsigned_onsets(tmp_path: Path) -> None:
    tutorial(tmp_path, np.array([0, 4, 9], np.uint64))
    assert tutorial_train(tmp_path / "x.hdf").runs == (4, 5, 3)


def test_tutorial_keys_missing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf", "w") as file:
        file["wordnet"] = np.ones((2, 2))
    for reader in (tutorial_train, tutorial_test, repeats):
        with pytest.raises(ValueError, match=r"the file holds wordnet \(2, 2\)"):
            reader(tmp_path / "x.hdf")


def test_individual_repeats(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(3, 6, 4))
    data[1, 2, 3] = np.nan
    with h5py.File(tmp_path / "test.hf5", "w") as file:
        file["data"] = data.mean(0)
        file["individual_repeats"] = data
    found = repeats(tmp_path / "test.hf5")
    np.testing.assert_array_equal(np.stack([one.read() for one in found]), data)
    assert scan_targets(found[1]).first_bad == ("repeat 1", 2, 3)
    with h5py.File(tmp_path / "flat.hf5", "w") as file:
        file["individual_repeats"] = data[0]
    with pytest.raises(ValueError, match=r"shape \(6, 4\); repetitions are"):
        repeats(tmp_path / "flat.hf5")


def test_any_dataset(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["deep/inside"] = np.arange(12).reshape(6, 2)
        file["cube"] = np.ones((2, 2, 2))
    source = h5_dataset(tmp_path / "x.h5", "deep/inside", name="features", runs=(2, 4))
    np.testing.assert_array_equal(source.read(slice(3, 5)), [[6, 7], [8, 9]])
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\); a matrix"):
        h5_dataset(tmp_path / "x.h5", "cube", name="features")
    with pytest.raises(ValueError, match="add up to 5 rows, but features has 6"):
        h5_dataset(tmp_path / "x.h5", "deep/inside", name="features", runs=(2, 3))
