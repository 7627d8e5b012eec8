"""``voxridge convert``: features and responses to the files of other programs and back."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge.cli import main
from voxridge.streams import FeatureStore, ResponseStore


@pytest.fixture
def features(tmp_path: Path) -> FeatureStore:
    rng = np.random.default_rng(0)
    store = FeatureStore.create(tmp_path / "features.h5", {"model": "made up"})
    for run, n_rows in (("alice", 6), ("wheel", 4)):
        layers = {f"layer-{k:02d}": rng.standard_normal((n_rows, 3)).astype("float32") for k in (0, 9)}
        store.write_run(run, layers, times=np.arange(n_rows, dtype=float))
    return store


def test_huth_and_back(tmp_path: Path, features: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--to", "huth", str(features.path), str(tmp_path / "huth")]) == 0
    assert np.load(tmp_path / "huth" / "layer.9" / "alice.npz")["features"].shape == (6, 3)
    back = tmp_path / "back.h5"
    assert main(["convert", "--from", "huth", str(tmp_path / "huth"), str(back), "--quiet"]) == 0
    assert "2 run(s), 2 layer(s)" in capsys.readouterr().out
    for run in features.runs:
        for layer in features.layers:
            found = FeatureStore.open(back).read(run, layer)
            np.testing.assert_array_equal(found, features.read(run, layer))


def test_huth_stories_come_in_natural_order(tmp_path: Path) -> None:
    (tmp_path / "layer.6").mkdir()
    for story in ("run-1", "run-2", "run-10"):
        np.savez(tmp_path / "layer.6" / f"{story}.npz", features=np.ones((4, 3), "float32"))
    out = tmp_path / "a.h5"
    assert main(["convert", "--from", "huth", str(tmp_path), str(out), "--no-times", "--quiet"]) == 0
    assert FeatureStore.open(out).runs == ["run-1", "run-2", "run-10"]


def test_tutorial_and_back(
    tmp_path: Path, features: FeatureStore, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "nine.hdf"
    command = ["convert", "--to", "tutorial", str(features.path), str(out), "--test-runs", "wheel"]
    assert main(command) == 1
    assert "has layer-00, layer-09: choose one" in capsys.readouterr().err
    assert main([*command, "--layer", "layer-09"]) == 0
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["X_train"][()], features.read("alice", "layer-09"))
        np.testing.assert_array_equal(file["X_test"][()], features.read("wheel", "layer-09"))
    assert main(["convert", "--from", "tutorial", str(out), str(tmp_path / "b.h5"), "--quiet"]) == 0
    assert len(FeatureStore.open(tmp_path / "b.h5").runs) == 2


def test_responses_are_exported_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ResponseStore.create(tmp_path / "responses.h5")
    data = np.random.default_rng(0).standard_normal((5, 4))
    store.write_run("alice", data, tr=2.0)
    assert main(["convert", "--to", "huth", str(store.path), str(tmp_path / "huth")]) == 0
    with h5py.File(tmp_path / "huth" / "alice.hf5") as file:
        np.testing.assert_array_equal(file["data"][()], data)
    assert main(["convert", "--to", "tutorial", str(store.path), str(tmp_path / "r.hdf")]) == 0
    with h5py.File(tmp_path / "r.hdf") as file:
        np.testing.assert_array_equal(file["Y_train"][()], data)
    assert main(["convert", "--to", "huth", str(store.path), str(tmp_path / "huth"), "--layer", "x"]) == 1
    assert "--layer is for --to tutorial" in capsys.readouterr().err


def test_what_is_no_store_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.h5").write_text("no HDF5")
    assert main(["convert", "--to", "huth", str(tmp_path / "a.h5"), str(tmp_path / "out")]) == 1
    assert "a.h5" in capsys.readouterr().err
    assert main(["convert", "--from", "huth", str(tmp_path / "none"), str(tmp_path / "out.h5")]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "tutorial", "--layer", "layer-09", "--test-runs", "queen"], "--test-runs has queen; "),
        (["--to", "tutorial", "--layer", "layer-09", "--no-times"], "--no-times is for --from huth"),
        (["--to", "huth", "--no-times"], "--no-times is for --from huth"),
        (["--to", "huth", "--layer", "layer-09"], "--layer is for --to tutorial"),
        (["--from", "huth", "--layer", "layer-09"], "--layer is for --to tutorial"),
        (["--from", "tutorial", "--test-runs", "alice"], "--test-runs is for --to tutorial"),
        (["--from", "tutorial", "--no-times"], "--no-times is for --from huth"),
    ],
)
def test_options_that_would_do_nothing(
    tmp_path: Path,
    features: FeatureStore,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert main(["convert", *arguments, str(features.path), str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
