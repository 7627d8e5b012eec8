"""Feature and response stores: what goes in comes out, runs are whole, mistakes are refused."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge.streams import ControlStore, FeatureStore, ResponseStore, as_source, scan_targets


def layers(rows: int = 6, dtype: type = np.float16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    return {f"layer-{i:02d}": rng.normal(size=(rows, 4 + i)).astype(dtype) for i in range(3)}


def same_layers(store: FeatureStore, run: str, expected: dict[str, np.ndarray]) -> None:
    for name, array in expected.items():
        found = store.read(run, name)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_round_trip(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    provenance = {"model": "tiny", "revision": None, "long": "x" * 200_000, "nested": {"a": [1, 2.5]}}
    with FeatureStore.create(path, provenance) as store:
        for run, rows in [("zebra", 6), ("alice", 9)]:
            store.write_run(run, layers(rows, dtype), times=np.arange(rows) / 3, words=["naïve ☃"] * rows)
    store = pickle.loads(pickle.dumps(FeatureStore.open(str(path))))
    assert store.runs == ["zebra", "alice"]
    assert store.layers == ["layer-00", "layer-01", "layer-02"]
    assert store.provenance == provenance
    same_layers(store, "alice", layers(9, dtype))
    same_layers(store, "zebra", layers(6, dtype))
    times = store.times("alice")
    assert times is not None
    np.testing.assert_array_equal(times, np.arange(9) / 3)
    assert store.words("zebra") == ["naïve ☃"] * 6
    source = store.source("layer-01")
    assert (source.runs, source.run_names, source.in_memory) == ((6, 9), ("zebra", "alice"), False)
    both = np.concatenate([layers(6, dtype)["layer-01"], layers(9, dtype)["layer-01"]])
    np.testing.assert_array_equal(source.read(slice(3, 11), slice(1, 3)), both[3:11, 1:3])
    assert store.source("layer-01", ["alice"]).runs == (9,)
    assert "2 runs" in repr(store)


def test_plain_hdf5_layout(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "x.h5").write_run("a", layers(), times=range(6), words="abcdef")
    with h5py.File(tmp_path / "x.h5", "r") as file:
        assert file["features/a/layer-00"].dtype == np.float16
        assert file["features/a/layer-00"].compression is None
        assert file["features/a/times"].shape == (6,)
        assert file["features/a/words"].asstr()[2] == "c"
        assert file["features/a"].attrs["complete"]
    ResponseStore.create(tmp_path / "y.h5").write_run("a", np.ones((3, 2)), tr=1.5, units="percent")
    with h5py.File(tmp_path / "y.h5", "r") as file:
        assert file["responses/a/data"].shape == (3, 2)
        assert file["responses/a"].attrs["tr"] == 1.5


def test_times_and_words_are_optional(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "x.h5")
    store.write_run("a", layers())
    assert store.times("a") is None
    assert store.words("a") is None


def test_responses(tmp_path: Path) -> None:
    store = ResponseStore.create(tmp_path / "y.h5", {"subject": "S1"})
    y = np.random.default_rng(0).normal(size=(10, 7)).astype(np.float32)
    y[3, 2] = np.nan
    store.write_run("a", y, tr=2.0, units="z")
    np.save(tmp_path / "b.npy", np.asfortranarray(2 * y))
    store.write_run("b", tmp_path / "b.npy")
    store.write_run("c", np.ones((2, 7), np.int16))
    store = ResponseStore.open(tmp_path / "y.h5")
    np.testing.assert_array_equal(store.read("a"), y)
    np.testing.assert_array_equal(store.read("b"), 2 * y)
    assert store.read("c").dtype == np.float32
    assert (store.tr("a"), store.tr("b"), store.units("a"), store.units("b")) == (2.0, None, "z", "")
    assert store.source().runs == (10, 10, 2)
    assert scan_targets(store.source()).first_bad == ("a", 3, 2)
    with pytest.raises(ValueError, match=r"shape \(3, 8\), but run 'a' .* has shape \(10, 7\)"):
        store.write_run("d", np.ones((3, 8)))
    for tr in (0, -1, np.nan):
        with pytest.raises(ValueError, match=f"tr is {tr}"):
            store.write_run("d", y, tr=tr)


def test_datasets_and_sources_are_written_in_parts(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        data = file.create_dataset("data", data=np.ones((50, 4), np.float16), chunks=(7, 2))
        store = FeatureStore.create(tmp_path / "x.h5")
        store.write_run("a", {"l0": data})
    store.write_run("b", {"l0": as_source(tmp_path / "in.h5", name="features")})
    assert store.read("a", "l0").dtype == store.read("b", "l0").dtype == np.float16
    np.testing.assert_array_equal(store.read("b", "l0"), np.ones((50, 4)))


def test_inputs_stay_bit_identical(tmp_path: Path) -> None:
    given = layers()
    given["layer-00"].flags.writeable = False
    given["layer-01"] = np.asfortranarray(given["layer-01"])
    before = {name: array.tobytes() for name, array in given.items()}
    store = FeatureStore.create(tmp_path / "x.h5")
    store.write_run("a", given)
    assert {name: array.tobytes() for name, array in given.items()} == before
    same_layers(store, "a", given)


def test_resume_after_an_exception(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "x.h5")
    store.write_run("a", layers())
    before = store.path.read_bytes()

    class Failing(np.ndarray):
        """Read without trouble by the check, fails when it is written."""

        reads = 0

        def __getitem__(self, key: object) -> np.ndarray:
            Failing.reads += 1
            if Failing.reads > 1:
                raise KeyboardInterrupt
            return np.asarray(self)[key]  # type: ignore[index]

    failing = layers()
    failing["layer-02"] = failing["layer-02"].view(Failing)
    # asarray drops the subclass, so it goes in as a segment of a source
    source = as_source(layers()["layer-02"], name="layer")
    source._segments[0].array = failing["layer-02"]  # type: ignore[attr-defined]
    failing["layer-02"] = source  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        store.write_run("b", failing)
    assert Failing.reads == 2
    assert store.path.read_bytes() == before
    again = FeatureStore.open(store.path)
    assert (again.runs, again.complete("a"), again.complete("b")) == (["a"], True, False)
    same_layers(again, "a", layers())
    again.write_run("b", layers(9))
    assert again.runs == ["a", "b"]


def test_disk_full_leaves_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResponseStore.create(tmp_path / "y.h5")
    store.write_run("a", np.ones((5, 3)))
    before = store.path.read_bytes()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match=r"no space left while writing .*y\.h5"):
            store.write_run("b", np.ones((500, 3)))
    assert store.path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["y.h5"]
    store.write_run("b", np.ones((500, 3)))
    assert store.runs == ["a", "b"]


def test_disk_full_on_create_keeps_the_old_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResponseStore.create(tmp_path / "y.h5")
    store.write_run("a", np.ones((5, 3)))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            ResponseStore.create(tmp_path / "y.h5", overwrite=True)
    assert ResponseStore.open(store.path).runs == ["a"]
    assert [p.name for p in tmp_path.iterdir()] == ["y.h5"]


def test_create_does_not_overwrite_by_itself(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "x.h5", {"a": 1})
    with pytest.raises(FileExistsError, match=r"FeatureStore\.open to add to it, or overwrite=True"):
        FeatureStore.create(tmp_path / "x.h5")
    assert FeatureStore.create(tmp_path / "x.h5", {"a": 2}, overwrite=True).provenance == {"a": 2}
    with pytest.raises(TypeError, match="provenance"):
        FeatureStore.create(tmp_path / "y.h5", {"a": np.ones(2)})
    with pytest.raises(FileNotFoundError, match="folder"):
        FeatureStore.create(tmp_path / "no" / "x.h5")


def test_wrong_runs_are_refused(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "x.h5")
    with pytest.raises(ValueError, match="no complete run"):
        store.source("layer-00")
    assert store.layers == []
    store.write_run("a", layers())
    before = store.path.read_bytes()
    with pytest.raises(ValueError, match="already has a run 'a'"):
        store.write_run("a", layers())
    with pytest.raises(ValueError, match=r"\{'layer-00': 4\}, but run 'a' .*'layer-02': 6"):
        store.write_run("b", {"layer-00": np.ones((2, 4), np.float16)})
    mixed = layers() | {"layer-01": layers(7)["layer-01"]}
    with pytest.raises(ValueError, match=r"differ in their rows.*'layer-01': 7"):
        store.write_run("b", mixed)
    with pytest.raises(ValueError, match=r"times of run 'b' has shape \(5,\), but the run has 6 rows"):
        store.write_run("b", layers(), times=range(5))
    with pytest.raises(ValueError, match=r"words of run 'b' has shape \(2,\)"):
        store.write_run("b", layers(), words=["a", "b"])
    with pytest.raises(ValueError, match="no layers"):
        store.write_run("b", {})
    with pytest.raises(TypeError, match=r"layer 'layer-00'.*complex"):
        store.write_run("b", layers() | {"layer-00": np.ones((6, 4), complex)})
    for name in ("", "a/b", ".", "a\0b"):
        with pytest.raises(ValueError, match="cannot be a name"):
            store.write_run(name, layers())
    with pytest.raises(ValueError, match="uses itself"):
        store.write_run("b", {"times": np.ones((6, 4))})
    assert store.path.read_bytes() == before


def test_bad_numbers_are_refused_with_a_hint(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "x.h5")
    bad = layers()
    bad["layer-01"][4, 3] = np.inf
    said = r"layer 'layer-01' has inf at run 'a', row 4 .* column 3.*float16 ends at 65504"
    with pytest.raises(ValueError, match=said):
        store.write_run("a", bad)
    assert not store.complete("a")


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "x.h5")
    store.write_run("a", layers())
    with pytest.raises(KeyError, match="no run 'b'; it has"):
        store.read("b", "layer-00")
    with pytest.raises(KeyError, match="no run 'b'"):
        store.source("layer-00", ["a", "b"])
    with pytest.raises(ValueError, match="'features/a/layer-09' is not there"):
        store.read("a", "layer-09")
    with pytest.raises(ValueError, match="'features/a/layer-09' is not there"):
        store.source("layer-09")
    said = "is no ResponseStore: group /responses is not there; it holds /controls, /features"
    with pytest.raises(ValueError, match=said):
        ResponseStore.open(tmp_path / "x.h5")


def test_files_made_elsewhere(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "y.h5", "w") as file:
        for run in ("a", "b"):
            file[f"responses/{run}/data"] = np.ones((4, 3))
            file[f"responses/{run}/data"].attrs["tr"] = 2
        file.create_group("responses/half").attrs["complete"] = False
    store = ResponseStore.open(tmp_path / "y.h5")
    assert (store.runs, store.tr("a"), store.provenance) == (["a", "b"], 2.0, {})
    assert store.complete("half") is False
    assert store.source().runs == (4, 4)


def test_a_store_on_a_link_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = ResponseStore.create(tmp_path / "real" / "y.h5")
    (tmp_path / "y.h5").symlink_to(real.path)
    ResponseStore.open(tmp_path / "y.h5").write_run("a", np.ones((2, 2)))
    assert real.runs == ["a"]
    assert [p.name for p in (tmp_path / "real").iterdir()] == ["y.h5"]


def test_runs_that_do_not_agree_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    store = FeatureStore.create(path)
    for run in ("a", "b"):
        store.write_run(run, layers(), times=range(6), words="abcdef")
    whole = path.read_bytes()

    def edit(change: Callable[[h5py.File], object]) -> None:
        path.write_bytes(whole)
        with h5py.File(path, "a") as file:
            change(file)

    def shorter(file: h5py.File) -> None:
        del file["features/b/times"]
        file["features/b/times"] = np.arange(5.0)

    def wider(file: h5py.File) -> None:
        del file["features/b/layer-01"]
        file["features/b/layer-01"] = np.ones((6, 9), np.float16)

    def removed(file: h5py.File) -> None:
        del file["features/b/layer-01"]

    for change, message in [
        (shorter, r"x\.h5: run 'b' is damaged: its datasets differ in their rows: \{.*'times': 5"),
        (
            removed,
            r"x\.h5: run 'b' does not have .* of run 'a': layer-01 was \"5 columns\", now absent",
        ),
        (wider, r"x\.h5: run 'b' does not have .*layer-01 was \"5 columns\", now \"9 columns\""),
    ]:
        edit(change)
        with pytest.raises(ValueError, match=message):
            FeatureStore.open(path)


def test_files_of_older_versions_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["provenance"] = json.dumps({"model": "gpt"})
        for order, (run, kind) in enumerate([("b", "f2"), ("a", "f4")]):
            group = file.create_group(f"features/{run}")
            group["layer-00"], group["times"] = np.ones((4, 3), kind), np.arange(4.0)
            group["onsets of sentences"] = [0, 3]
            group.attrs.update({"order": order, "complete": True})
    store = FeatureStore.open(path)
    assert (store.runs, store.layers, store.provenance) == (["b", "a"], ["layer-00"], {"model": "gpt"})
    assert store.source("layer-00").runs == (4, 4)
    assert (store.words("a"), store.surprisal("a"), store.perplexity("a"), store.attributes("a")) == (
        None,
        None,
        None,
        {},
    )
    with pytest.raises(ValueError, match="is no ControlStore: group /controls is not there"):
        ControlStore.open(path)
    ControlStore.create(path, {"language": "en"}).write_run("a", {"word-rate": np.ones((4, 1))})
    assert FeatureStore.open(path).runs == ["b", "a"]


def read_all(path: Path) -> None:
    store = FeatureStore.open(path)
    for run in store.runs:
        assert store.provenance is not None
        store.times(run), store.words(run), store.attributes(run)
        for layer in store.layers:
            store.read(run, layer)


def test_damage_anywhere_is_said_to_be_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    store = FeatureStore.create(path, {"model": "tiny"})
    for run in ("a", "b"):
        store.write_run(run, layers(), times=range(6), words="abcdef")
    whole, rng, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole), size=3):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_all(path)
        except ValueError:
            refused += 1
    assert refused > 4


def test_companions_and_attributes(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "x.h5")
    bits = np.arange(6.0)
    store.write_run("a", layers(), side={"surprisal": bits}, attributes={"bits": 30.0, "n_scored": 10})
    store.write_run("b", layers())
    np.testing.assert_array_equal(store.surprisal("a"), bits)
    assert store.attributes("a") == {"bits": 30.0, "n_scored": 10}
    assert (store.perplexity("a"), store.perplexity("b"), store.surprisal("b")) == (8.0, None, None)
    assert store.layers == sorted(layers())
    with pytest.raises(ValueError, match=r"surprisal of run 'c' has shape \(5,\)"):
        store.write_run("c", layers(), side={"surprisal": bits[:5]})
    with pytest.raises(ValueError, match="uses itself"):
        store.write_run("c", layers(), side={"layer-00": bits})
    with pytest.raises(KeyError, match="no run 'c'"):
        store.attributes("c")
