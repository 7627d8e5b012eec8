"""A store in a folder, one file per run, reads like one file; files that do not belong together are named."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge.streams import FeatureStore, ResponseStore, as_source
from voxridge.streams.run_writer import RowBlock, write_runs
from voxridge.streams.stores import ControlStore, SoundStore

RUNS = {"zebra": 6, "alice": 9, "queen": 4}


class Ready:
    """A run whose numbers are there."""

    def __init__(self, run: str, n_rows: int, dtype: str = "f4", width: int = 3) -> None:
        rng = np.random.default_rng(n_rows)
        self.layers = {f"layer-{i:02d}": rng.normal(size=(n_rows, width + i)).astype(dtype) for i in range(2)}
        self.n_rows, self.dtype = n_rows, np.dtype(dtype)
        self.widths = {name: values.shape[1] for name, values in self.layers.items()}
        self.times, self.words = np.arange(n_rows) / 2, [run] * n_rows

    def blocks(self, first_row: int, before: Any) -> Any:
        rows = slice(first_row, self.n_rows)
        layers = {name: values[rows] for name, values in self.layers.items()}
        yield RowBlock(first_row, self.n_rows, layers, {"surprisal": np.ones(self.n_rows - first_row)})


def write(path: Any, runs: Any = None, about: Any = None, **options: Any) -> FeatureStore:
    chosen = dict(RUNS) if runs is None else {run: RUNS[run] for run in runs}
    account = {"model": "m", "stimulus_sha256": {run: f"digest of {run}" for run in chosen}} | (about or {})
    readers = {run: Ready(run, n_rows) for run, n_rows in chosen.items()}
    return write_runs(path, readers, account, **{"progress": False, **options})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_reads_like_one_file(tmp_path: Path) -> None:
    one = write(tmp_path / "one.h5", ["alice", "queen", "zebra"])
    many = write(f"{tmp_path}/many/")
    assert names(tmp_path / "many") == ["alice.h5", "queen.h5", "zebra.h5"]
    many = pickle.loads(pickle.dumps(FeatureStore.open(tmp_path / "many")))
    assert many.runs == one.runs == ["alice", "queen", "zebra"]
    assert many.layers == one.layers
    assert many.provenance == one.provenance
    assert "3 runs" in repr(many)
    for run in RUNS:
        assert many.complete(run)
        for layer in one.layers:
            np.testing.assert_array_equal(many.read(run, layer), one.read(run, layer))
        for what in ("times", "words", "surprisal", "attributes"):
            np.testing.assert_array_equal(getattr(many, what)(run), getattr(one, what)(run))
    assert not many.complete("hatter")
    with pytest.raises(KeyError, match=r"no run 'hatter'; it has \['alice', 'queen', 'zebra'\]"):
        many.read("hatter", "layer-00")
    for runs in (None, ["zebra", "alice"]):
        theirs, ours = one.source("layer-01", runs), many.source("layer-01", runs)
        assert (ours.runs, ours.run_names, ours.in_memory) == (theirs.runs, theirs.run_names, False)
        np.testing.assert_array_equal(
            ours.read(slice(2, 12), slice(1, 3)), theirs.read(slice(2, 12), slice(1, 3))
        )
    assert as_source(many.source("layer-00"), name="features").shape == (19, 3)
    assert FeatureStore.open(tmp_path / "many" / "alice.h5").runs == ["alice"]


def test_runs_of_a_folder_are_in_natural_order(tmp_path: Path) -> None:
    (tmp_path / "sub-01").mkdir()
    for run in ("run-10", "run-2", "run-1"):
        with ResponseStore.create(tmp_path / "sub-01" / f"{run}.h5") as store:
            store.write_run(run, np.ones((4, 2)))
    assert ResponseStore.open(tmp_path / "sub-01").runs == ["run-1", "run-2", "run-10"]


def test_every_job_writes_its_runs(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    for run in RUNS:
        write(folder, [run])
    assert write(folder).provenance["stimulus_sha256"] == {run: f"digest of {run}" for run in RUNS}
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    write(folder, ["alice"])
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    write(folder, ["alice"], overwrite=True)
    assert {name for name, at in before.items() if (folder / name).stat().st_mtime_ns != at} == {"alice.h5"}


def test_controls_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    write(f"{folder}/")
    write(folder, about={"language": "en"}, kind=ControlStore)
    assert ControlStore.open(folder).provenance["language"] == "en"
    assert "language" not in FeatureStore.open(folder).provenance
    assert names(folder) == ["alice.h5", "queen.h5", "zebra.h5"]


def test_sound_beside_some_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    write(f"{folder}/")
    assert SoundStore.open(folder).runs == []
    for run in RUNS:  # as files of older versions are
        with h5py.File(folder / f"{run}.h5", "a") as file:
            del file["sound"]
    with pytest.raises(ValueError, match=r"alice\.h5 is no SoundStore: group /sound is not there"):
        SoundStore.open(folder)
    sound = write(folder, ["queen"], {"kind": "sound"}, kind=SoundStore)
    assert (type(sound), sound.runs) == (SoundStore, ["queen"])
    assert FeatureStore.open(folder).runs == ["alice", "queen", "zebra"]


def test_foreign_files_are_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    with h5py.File(folder / "alice.h5", "w") as file:
        file["data"] = np.ones(3)
    before = (folder / "alice.h5").read_bytes()
    for kind in (FeatureStore, ResponseStore):
        with pytest.raises(ValueError, match=r"alice\.h5 is no (Feature|Response)Store: .* it holds /data"):
            kind.open(folder)
    with pytest.raises(ValueError, match=r"alice\.h5 is no FeatureStore"):
        write(folder, ["alice"])
    assert (folder / "alice.h5").read_bytes() == before
    assert names(folder) == ["alice.h5"]


def test_other_settings_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    write(f"{folder}/", ["alice"])
    with pytest.raises(ValueError, match=r'alice\.h5 was made in another way .*: model was "m", now "n"'):
        write(folder, ["zebra"], {"model": "n"})
    said = r'stimulus_sha256\.alice was "digest of alice", now "other"'
    with pytest.raises(ValueError, match=said):
        write(folder, about={"stimulus_sha256": dict.fromkeys(RUNS, "other")})
    assert names(folder) == ["alice.h5"]


def test_files_that_were_made_in_different_ways(tmp_path: Path) -> None:
    write(f"{tmp_path}/a/", ["alice"])
    write(f"{tmp_path}/b/", ["zebra"], {"model": "n", "dtype": "f"})
    shutil.copy(tmp_path / "b" / "zebra.h5", tmp_path / "a")
    said = (
        r'alice\.h5 and zebra\.h5 in .* not one store: model was "m", now "n"; dtype was absent, now "f" '
        r"\(was: alice\.h5, now: zebra\.h5\)"
    )
    with pytest.raises(ValueError, match=said):
        FeatureStore.open(tmp_path / "a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 5}, 'layer-00 was "3 columns of float32", now "5 columns of float32"; layer-01'),
        ({"dtype": "f2"}, 'layer-00 was "3 columns of float32", now "3 columns of float16"'),
    ],
)
def test_files_whose_layers_differ(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(f"{tmp_path}/a/", ["alice"])
    account = {"model": "m", "stimulus_sha256": {"queen": "q"}}
    write_runs(f"{tmp_path}/b/", {"queen": Ready("queen", 4, **options)}, account, progress=False)
    shutil.copy(tmp_path / "b" / "queen.h5", tmp_path / "a")
    with pytest.raises(
        ValueError, match=rf"queen\.h5 and .*alice\.h5: run 'queen' does not have .*: {message}"
    ):
        FeatureStore.open(tmp_path / "a")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write(f"{folder}/")
    whole = (folder / "queen.h5").read_bytes()
    for content, message in [
        (whole[: len(whole) // 2], r"queen\.h5 is truncated"),
        (b"", r"queen\.h5 is empty"),
        (b"no HDF5", r"queen\.h5 .* is not an HDF5 file"),
        (b"/annex/objects/MD5E-s1--x", r"queen\.h5 is a git-annex pointer"),
    ]:
        (folder / "queen.h5").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            FeatureStore.open(folder)
    (folder / "queen.h5").unlink()
    with h5py.File(folder / "story.hf5", "w") as file:
        file["data"] = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"story\.hf5 is no FeatureStore: .* it holds /data"):
        FeatureStore.open(folder)


def test_a_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no HDF5 file"):
        FeatureStore.open(tmp_path)
    (tmp_path / ".x.tmp.h5").write_bytes(b"being made")
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(FileNotFoundError, match="holds no HDF5 file"):
        FeatureStore.open(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        FeatureStore.open(tmp_path / "nothing")


def test_one_run_more_is_written_to_a_file_of_its_own(tmp_path: Path) -> None:
    write(f"{tmp_path}/a/", ["alice"])
    store = FeatureStore.open(tmp_path / "a")
    layers = Ready("queen", 4).layers
    with pytest.raises(IsADirectoryError, match=r"one file per run.*FeatureStore\.create\("):
        store.write_run("queen", layers)
    about = FeatureStore.open(tmp_path / "a").provenance
    FeatureStore.create(tmp_path / "a" / "queen.h5", about).write_run("queen", layers)
    assert FeatureStore.open(tmp_path / "a").runs == ["alice", "queen"]


def test_responses_in_a_folder(tmp_path: Path) -> None:
    for run, n_rows in RUNS.items():
        store = ResponseStore.create(tmp_path / f"{run}.h5", {"subject": "S1"})
        store.write_run(run, np.full((n_rows, 2), n_rows, "f4"), tr=2.0)
    store = ResponseStore.open(tmp_path)
    assert store.runs == ["alice", "queen", "zebra"]
    assert store.source().runs == (9, 4, 6)
    assert store.tr("queen") == 2.0
