"""Files of other projects, made here as those projects make them, go into the stores and come out again."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge.streams import (
    FeatureStore,
    ResponseStore,
    imported,
    repeats,
    story_files,
    tutorial_test,
    tutorial_train,
)
from voxridge.streams.exchange import (
    export_huth_features,
    export_huth_responses,
    export_tutorial_features,
    export_tutorial_responses,
    import_huth_features,
    import_tutorial_features,
)
from voxridge.streams.npz_stream import NpzRows

STORIES = {"wheretheressmoke": 11, "alternateithicatom": 7}
WIDTHS = {"layer.0": 3, "layer.2": 4, "layer.10": 5}


def numbers(story: str, layer: str, dtype: str = "f4") -> np.ndarray:
    rng = np.random.default_rng([len(layer), int(layer.split(".")[-1]), STORIES.get(story, 5)])
    return rng.normal(size=(STORIES[story], WIDTHS[layer])).astype(dtype)


def windows(story: str) -> np.ndarray:
    ends = np.arange(1, STORIES[story] + 1) * 0.1
    return np.stack([ends - 16.1, ends], axis=1)


def huth(folder: Path, dtype: str = "f4", save: Any = np.savez_compressed) -> Path:
    """As the feature extraction of the scaling-laws code leaves it."""
    for story in STORIES:
        folder.mkdir(exist_ok=True)
        save(folder / f"{story}.npz", features=numbers(story, "layer.10", dtype))
        save(folder / f"{story}_times.npz", times=windows(story))
        for layer in WIDTHS:
            (folder / layer).mkdir(exist_ok=True)
            save(folder / layer / f"{story}.npz", features=numbers(story, layer, dtype))
    return folder


def take(folder: Path, path: Path, **options: Any) -> FeatureStore:
    return import_huth_features(folder, path, progress=False, **options)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_huth_features(
    dtype: str, save: Any, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported, "_BLOCK_BYTES", block_bytes)
    store = take(huth(tmp_path / "whisper", dtype, save), tmp_path / "x.h5")
    assert store.runs == sorted(STORIES)
    assert store.layers == ["layer-00", "layer-02", "layer-10"]
    assert store.provenance["layers"]["layer-10"] == "layer.10"
    for story in STORIES:
        for layer, ours in zip(WIDTHS, store.layers, strict=True):
            found = store.read(story, ours)
            assert found.dtype == np.dtype(dtype).newbyteorder("=")
            np.testing.assert_array_equal(found, numbers(story, layer, dtype))
        np.testing.assert_array_equal(store.times(story), windows(story)[:, 1])
    export_huth_features(store, tmp_path / "out")
    for story in STORIES:
        with np.load(tmp_path / "out" / f"{story}_times.npz") as archive:
            np.testing.assert_array_equal(archive["times"][:, 1], windows(story)[:, 1])
        for layer in WIDTHS:
            with np.load(tmp_path / "out" / layer / f"{story}.npz") as archive:
                np.testing.assert_array_equal(archive["features"], numbers(story, layer, dtype))
    again = take(tmp_path / "out", tmp_path / "y.h5")
    assert again.path.read_bytes() == store.path.read_bytes()


def test_chosen_layers_and_stories(tmp_path: Path) -> None:
    folder = huth(tmp_path / "opt")
    stories = ["wheretheressmoke", "alternateithicatom"]
    store = take(folder, tmp_path / "x.h5", layers=["layer.10"], stories=stories)
    assert (store.runs, store.layers) == (stories, ["layer-10"])
    with pytest.raises(
        FileNotFoundError, match=r"no layer \['layer.3'\]; it has \['layer.0', 'layer.10', 'layer.2'\]"
    ):
        take(folder, tmp_path / "y.h5", layers=["layer.3"])
    (folder / "layer.2").rename(folder / "encoder.10")
    both = take(folder, tmp_path / "z.h5")
    assert both.layers == ["encoder.10", "layer.0", "layer.10"]
    export_huth_features(store, tmp_path / "out", prefix="encoder.")
    assert (tmp_path / "out" / "encoder.10").is_dir()


def test_interrupted_imports_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = huth(tmp_path / "opt")
    whole = take(folder, tmp_path / "whole.h5").path.read_bytes()
    # Blocks of other sizes change nothing but where the import stopped.
    monkeypatch.setattr(imported, "_BLOCK_BYTES", 100)
    plain, calls = NpzRows.read, iter(range(1000))

    def read(self: NpzRows, rows: slice) -> np.ndarray:
        if next(calls) == 10:
            raise KeyboardInterrupt
        return plain(self, rows)

    monkeypatch.setattr(NpzRows, "read", read)
    with pytest.raises(KeyboardInterrupt):
        take(folder, tmp_path / "x.h5")
    assert (tmp_path / "x.h5.features.partial").exists()
    assert take(folder, tmp_path / "x.h5").path.read_bytes() == whole


@pytest.mark.parametrize("fortran", [False, True])
def test_rows_of_an_npz_in_any_order(fortran: bool, tmp_path: Path) -> None:
    array = np.arange(60.0).reshape(20, 3)
    np.savez_compressed(tmp_path / "x.npz", features=np.asfortranarray(array) if fortran else array)
    rows = NpzRows(tmp_path / "x.npz")
    for part in (slice(0, 5), slice(5, 9), slice(2, 3), slice(18, 20), slice(0, 20)):
        np.testing.assert_array_equal(rows.read(part), array[part])
    rows.close()
    np.testing.assert_array_equal(rows.read(slice(3, 7)), array[3:7])
    rows.close()


def test_huth_files_per_tr(tmp_path: Path) -> None:
    for layer in ("english1000", "layer.2"):
        (tmp_path / "f" / layer).mkdir(parents=True)
        for story in STORIES:
            with h5py.File(tmp_path / "f" / layer / f"{story}.hf5", "w") as file:
                file["data"] = numbers(story, "layer.2", "f8")
    store = take(tmp_path / "f", tmp_path / "x.h5")
    assert store.layers == ["english1000", "layer-02"]
    assert store.times("wheretheressmoke") is None
    np.testing.assert_array_equal(
        store.read("wheretheressmoke", "layer-02"), numbers("wheretheressmoke", "layer.2", "f8")
    )
    one = take(tmp_path / "f" / "english1000", tmp_path / "y.h5")
    assert one.layers == ["features"]
    export_huth_features(one, tmp_path / "out")
    again = take(tmp_path / "out", tmp_path / "z.h5", times=False)
    np.testing.assert_array_equal(
        again.read("alternateithicatom", "features"), numbers("alternateithicatom", "layer.2", "f8")
    )


def test_bad_huth_files(tmp_path: Path) -> None:
    folder, store = tmp_path / "f", tmp_path / "x.h5"
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        take(folder, store)
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="holds no story"):
        take(folder, store)

    def broken(edit: Any, error: type[Exception], message: str) -> None:
        huth(folder)
        edit()
        with pytest.raises(error, match=message):
            take(folder, store, overwrite=True)

    smoke = folder / "layer.2" / "wheretheressmoke.npz"
    times = folder / "wheretheressmoke_times.npz"
    ones = np.ones((11, 4), "f4")
    broken(times.unlink, FileNotFoundError, r"no wheretheressmoke_times\.npz .*times=False")
    broken(smoke.unlink, FileNotFoundError, r"layer\.2 has no story 'wheretheressmoke'")
    said = r"story 'wheretheressmoke': the files differ in their rows: .*'layer-02': 10.*'times': 11"
    broken(lambda: np.savez(smoke, features=ones[:10]), ValueError, said)
    said = r"run 'wheretheressmoke' has .*'layer-02': 3.* but run 'alternateithicatom' of .*'layer-02': 4"
    broken(lambda: np.savez(smoke, features=ones[:, :3]), ValueError, said)
    broken(
        lambda: np.savez(smoke, features=ones * np.nan), ValueError, "'layer-02' has NaN or infinity in row 0"
    )
    broken(
        lambda: np.savez(smoke, features=ones * 0), ValueError, "run 'wheretheressmoke': layer-02 all zeros"
    )
    broken(lambda: np.savez(smoke, features=ones[0]), ValueError, r"'layer-02': 4, 'times': 11")
    broken(
        lambda: np.savez(smoke, features=ones[None]),
        ValueError,
        r"has shape \(1, 11, 4\); a matrix is needed",
    )
    broken(lambda: np.savez(smoke, a=ones, b=ones), ValueError, r"the file holds \['a', 'b'\]")
    objects = np.array([[{}]], dtype=object)
    broken(lambda: np.savez(smoke, features=objects), TypeError, "holds Python objects, not numbers")
    broken(lambda: np.savez(times, times=objects), ValueError, "allow_pickle=False|Object arrays")
    broken(
        lambda: np.savez(times, times=windows("wheretheressmoke") * np.nan),
        ValueError,
        "one finite time per row",
    )
    broken(
        lambda: smoke.write_bytes(b"/annex/objects/MD5E-s1--x"),
        ValueError,
        r"is a git-annex pointer.*git annex get",
    )
    broken(
        lambda: smoke.write_bytes(smoke.read_bytes()[:150]),
        ValueError,
        "is truncated, damaged, or not an .npz",
    )

    def linked() -> None:
        smoke.unlink()
        smoke.symlink_to("../.git/annex/objects/aa/bb/MD5E")

    broken(linked, FileNotFoundError, "is a git-annex link whose content is not here")
    smoke.unlink()

    def bit() -> None:
        content = bytearray(smoke.read_bytes())
        content[len(content) // 3] ^= 0xFF
        smoke.write_bytes(content)

    broken(bit, ValueError, "damaged")
    huth(folder)
    assert take(folder, store, overwrite=True).runs == sorted(STORIES)
    assert not list(tmp_path.glob("*.partial"))


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "x.h5")
    store.write_run("a", {"layer-00": np.ones((3, 2))}, times=range(3))
    export_huth_features(store, tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"a_times\.npz exists"):
        export_huth_features(store, tmp_path / "out")
    export_huth_features(store, tmp_path / "out", overwrite=True)
    export_tutorial_features(store, "layer-00", tmp_path / "x.hdf")
    with pytest.raises(FileExistsError, match=r"x\.hdf exists"):
        export_tutorial_features(store, "layer-00", tmp_path / "x.hdf")
    with zipfile.ZipFile(tmp_path / "out" / "layer.0" / "a.npz") as archive:
        assert archive.namelist() == ["features.npy"]


def responses(path: Path, with_repeats: bool = True) -> ResponseStore:
    store = ResponseStore.create(path)
    rng = np.random.default_rng(0)
    for run, n_rows in (("a", 5), ("b", 4), ("smoke", 6)):
        store.write_run(run, rng.normal(size=(n_rows, 3)).astype("f4"))
    if with_repeats:
        with h5py.File(path, "a") as file:
            for index in range(2):
                values = store.read("smoke") + np.float32(index)
                file[f"responses/smoke/repeats/{index}"] = values
    return ResponseStore.open(path)


def test_huth_responses(tmp_path: Path) -> None:
    store = responses(tmp_path / "y.h5")
    export_huth_responses(store, tmp_path / "UTS03")
    source = story_files(tmp_path / "UTS03", ["a", "b", "smoke"])
    np.testing.assert_array_equal(source.read(), store.source().read())
    found = repeats(tmp_path / "UTS03" / "smoke.hf5")
    assert len(found) == 2
    for index, one in enumerate(found):
        np.testing.assert_array_equal(one.read(), store.read("smoke") + np.float32(index))
    with h5py.File(tmp_path / "UTS03" / "a.hf5") as file:
        assert list(file) == ["data"]
        assert file["data"].dtype == np.float32


def test_tutorial_responses(tmp_path: Path) -> None:
    store = responses(tmp_path / "y.h5")
    path = tmp_path / "S01_responses.hdf"
    export_tutorial_responses(store, path, test_runs=["smoke"])
    train = tutorial_train(path)
    assert train.runs == (5, 4)
    np.testing.assert_array_equal(train.read(), store.source(["a", "b"]).read())
    with h5py.File(path) as file:
        assert file["Y_test"].shape == (2, 6, 3)
        np.testing.assert_array_equal(file["run_onsets"], [0, 5])
    both = [store.read("smoke") + np.float32(index) for index in range(2)]
    mean = np.mean(both, axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(tutorial_test(path).read(), mean)
    with pytest.raises(ValueError, match=r"different numbers of presentations: \{'a': 1, 'smoke': 2\}"):
        export_tutorial_responses(store, tmp_path / "z.hdf", test_runs=["a", "smoke"])
    plain = responses(tmp_path / "plain.h5", with_repeats=False)
    export_tutorial_responses(plain, tmp_path / "z.hdf", test_runs=["smoke", "b"])
    with h5py.File(tmp_path / "z.hdf") as file:
        np.testing.assert_array_equal(file["Y_test"][0], plain.source(["smoke", "b"]).read())
    export_tutorial_responses(plain, tmp_path / "train.hdf")
    with h5py.File(tmp_path / "train.hdf") as file:
        assert sorted(file) == ["Y_train", "run_onsets"]
    with pytest.raises(KeyError, match="no run 'c'"):
        export_tutorial_responses(plain, tmp_path / "w.hdf", test_runs=["c"])
    with pytest.raises(ValueError, match="leaves no run"):
        export_tutorial_responses(plain, tmp_path / "w.hdf", test_runs=plain.runs)


def spaces(folder: Path) -> dict[str, Path]:
    """As the short-clips data lie: one file per feature space, the onsets with the responses."""
    rng = np.random.default_rng(0)
    files = {}
    for space, width in (("wordnet", 4), ("motion_energy", 6)):
        files[space] = folder / f"{space}.hdf"
        with h5py.File(files[space], "w") as file:
            file["X_train"] = rng.normal(size=(9, width)).astype("f4")
            file["X_test"] = rng.normal(size=(3, width)).astype("f4")
    with h5py.File(folder / "S01_responses.hdf", "w") as file:
        file["Y_train"], file["Y_test"] = rng.normal(size=(9, 2)), rng.normal(size=(2, 3, 2))
        file["run_onsets"] = np.array([0, 5])
    return files


def test_tutorial_features(tmp_path: Path) -> None:
    files = spaces(tmp_path)
    store = import_tutorial_features(
        files, tmp_path / "x.h5", onsets=tmp_path / "S01_responses.hdf", progress=False
    )
    assert store.layers == ["motion_energy", "wordnet"]
    assert store.runs == ["train-00", "train-01", "test"]
    for space, path in files.items():
        with h5py.File(path) as file:
            joined = np.concatenate([file["X_train"], file["X_test"]])
        assert store.read("train-00", space).dtype == np.float32
        np.testing.assert_array_equal(store.source(space).read(), joined)
        out = tmp_path / f"{space}-out.hdf"
        export_tutorial_features(store, space, out, test_runs=["test"])
        with h5py.File(path) as old, h5py.File(out) as new:
            for name in ("X_train", "X_test"):
                assert new[name].dtype == old[name].dtype
                np.testing.assert_array_equal(new[name], old[name])
            np.testing.assert_array_equal(new["run_onsets"], [0, 5])
    same = {space: tmp_path / f"{space}-out.hdf" for space in files}
    again = import_tutorial_features(same, tmp_path / "y.h5", progress=False)
    assert again.path.read_bytes() == store.path.read_bytes()


def test_names_of_runs_survive(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "x.h5")
    for run, n_rows in (("wheel", 4), ("alice", 3), ("smoke", 2)):
        store.write_run(run, {"layer-06": np.full((n_rows, 2), n_rows, "f2")})
    export_tutorial_features(store, "layer-06", tmp_path / "gpt.hdf", test_runs=["smoke"])
    again = import_tutorial_features(tmp_path / "gpt.hdf", tmp_path / "y.h5", progress=False)
    assert (again.runs, again.layers) == (["wheel", "alice", "test"], ["gpt"])
    assert again.read("alice", "gpt").dtype == np.float16
    np.testing.assert_array_equal(again.source("gpt").read(), store.source("layer-06").read())


def test_bad_tutorial_files(tmp_path: Path) -> None:
    files = spaces(tmp_path)

    def refused(message: str, error: type[Exception] = ValueError, **options: Any) -> None:
        with pytest.raises(error, match=message):
            import_tutorial_features(files, tmp_path / "x.h5", progress=False, **options)
        assert not (tmp_path / "x.h5").exists()

    refused(r"wordnet\.hdf: dataset 'run_onsets' is not there; the file holds X_test")
    refused(r"run_onsets is \[0, 12\]; it must begin with 0 and rise, below the 9 rows", onsets=[0, 12])
    refused("does not exist", FileNotFoundError, onsets=tmp_path / "nothing.hdf")
    with h5py.File(files["motion_energy"], "a") as file:
        del file["X_train"]
        file["X_train"] = np.ones((8, 6), "f4")
    refused(
        r"motion_energy\.hdf has training runs of \(5, 3\) rows, but .*wordnet\.hdf of \(5, 4\)",
        onsets=[0, 5],
    )
    os.truncate(files["wordnet"], 500)
    refused(r"wordnet\.hdf .*(truncated|damaged)", onsets=[0, 5])
