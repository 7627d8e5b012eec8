"""The average subject equals the mean written out; who does not fit is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.responses import Geometry, average_subjects, build_response_store
from voxridge.responses import average as module
from voxridge.responses.average import n_subjects_counted, trim_of
from voxridge.responses.store import write_geometry
from voxridge.streams import ResponseStore


def z(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)


def make(folder: Path, data: dict[str, dict[str, np.ndarray]], tr: float = 2.0) -> dict[str, ResponseStore]:
    stores = {}
    for subject, runs in data.items():
        stores[subject] = ResponseStore.create(folder / f"{subject}.h5", {"subject": subject}, overwrite=True)
        for run, values in runs.items():
            stores[subject].write_run(run, values, tr=tr)
    return stores


@pytest.fixture
def data() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        f"s{k}": {"one": 50 * k + (k + 1) * rng.standard_normal((12, 7)), "two": rng.standard_normal((9, 7))}
        for k in range(4)
    }


@pytest.mark.parametrize("block_bytes", [32 << 20, 12 * 8 * 4 * 2])
def test_equals_the_mean_written_out(
    data: dict[str, dict[str, np.ndarray]], tmp_path: Path, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", block_bytes)
    stores = make(tmp_path, data)
    average = average_subjects(stores, tmp_path / "average.h5", progress=False)
    plain = average_subjects(stores, tmp_path / "plain.h5", standardise=False, runs=["two"], progress=False)
    assert (average.runs, plain.runs, average.tr("one")) == (["one", "two"], ["two"], 2.0)
    for run in average.runs:
        wanted = z(np.mean([z(runs[run]) for runs in data.values()], axis=0))
        np.testing.assert_allclose(average.read(run), wanted, atol=1e-12)
    mean = np.mean([runs["two"] for runs in data.values()], axis=0)
    np.testing.assert_allclose(plain.read("two"), mean, atol=1e-14)
    notes = average.attributes("one")
    assert (notes["n_subjects"], notes["n_subjects_least"], notes["n_subjects_most"]) == (4, 4, 4)
    assert list(average.provenance["subjects"]) == list(data)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), standardise=st.booleans())
def test_a_subject_without_data_in_a_column_does_not_count_there(
    tmp_path_factory: pytest.TempPathFactory, seed: int, standardise: bool
) -> None:
    rng = np.random.default_rng(seed)
    runs = rng.standard_normal((3, 8, 6))
    for subject in range(3):
        kinds = rng.integers(0, 6, 6)
        runs[subject, rng.integers(0, 8), kinds == 0] = np.nan
        runs[subject][:, kinds == 1] = 4.0
        runs[subject][:, 5] = np.nan if seed % 2 else rng.standard_normal(8)
        runs[subject][:, 0] = rng.standard_normal(8)
    usable = np.isfinite(runs).all(axis=1) & (np.ptp(np.nan_to_num(runs, nan=1e9), axis=1) > 0)
    folder = tmp_path_factory.mktemp("average")
    stores = make(folder, {f"s{k}": {"one": values} for k, values in enumerate(runs)})
    average = average_subjects(stores, folder / "a.h5", standardise=standardise, progress=False)
    found = average.read("one")
    np.testing.assert_array_equal(n_subjects_counted(average, "one"), usable.sum(axis=0))
    for column in range(6):
        good = runs[usable[:, column], :, column]
        if not len(good):
            assert np.isnan(found[:, column]).all()
        else:
            wanted = z(np.mean([z(v) for v in good], axis=0)) if standardise else good.mean(axis=0)
            np.testing.assert_allclose(found[:, column], wanted, atol=1e-10)


def test_the_geometry_goes_along_and_must_be_the_same(
    data: dict[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    stores = make(tmp_path, data)
    for store in stores.values():
        write_geometry(store.path, Geometry.columns(7, "abcdefg"))
    paths = {name: store.path for name, store in stores.items()}
    assert average_subjects(paths, tmp_path / "a.h5", progress=False).geometry == Geometry.columns(
        7, "abcdefg"
    )
    other = make(tmp_path, {"s9": data["s0"]})["s9"]
    write_geometry(other.path, Geometry.columns(7, "gfedcba"))
    with pytest.raises(ValueError, match="s9 has other voxels than s0: names is"):
        average_subjects({**stores, "s9": other}, tmp_path / "b.h5", progress=False)


def test_all_who_do_not_fit_are_named(data: dict[str, dict[str, np.ndarray]], tmp_path: Path) -> None:
    data["s1"]["one"] = data["s1"]["one"][:-1]
    del data["s2"]["two"]
    stores = make(tmp_path, data)
    slow = make(tmp_path, {"slow": data["s0"]}, tr=2.5)
    with pytest.raises(ValueError, match=r"s2 lacks the run 'two'") as caught:
        average_subjects(stores | slow, tmp_path / "a.h5", progress=False)
    assert "run 'one' has shape (11, 7) in s1 and (12, 7) in s0" in str(caught.value)
    assert "run 'one' has TR 2.5 s in slow and 2.0 in s0" in str(caught.value)
    with pytest.raises(ValueError, match="at least two"):
        average_subjects({"s0": stores["s0"]}, tmp_path / "a.h5", progress=False)
    assert not (tmp_path / "a.h5").exists()


def test_an_empty_subject_is_named_and_the_call_goes_on_without(
    data: dict[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    data["s3"]["two"] = np.zeros((9, 7))
    stores = make(tmp_path, data)
    words = r"run 'two' cannot be averaged over s3 \(every value is zero.*leave out \['s3'\]"
    with pytest.raises(ValueError, match=words):
        average_subjects(stores, tmp_path / "a.h5", progress=False)
    assert ResponseStore.open(tmp_path / "a.h5").runs == ["one"]
    with pytest.raises(ValueError, match="made in another way"):
        average_subjects({k: v for k, v in stores.items() if k != "s3"}, tmp_path / "a.h5", progress=False)
    resumed = average_subjects(stores, tmp_path / "a.h5", runs=["one"], progress=False)
    assert resumed.runs == ["one"]


def test_rows_that_were_cut_at_other_ends_do_not_meet(tmp_path: Path) -> None:
    stores = {}
    for name, trim in (("s1", (10, 5)), ("s2", (5, 10))):
        np.save(tmp_path / "run.npy", np.random.default_rng(0).standard_normal((40, 3)))
        source = {"one": tmp_path / "run.npy"}
        path = tmp_path / f"{name}.h5"
        stores[name] = build_response_store(source, path, tr=2.0, trim=trim, progress=False)
    with pytest.raises(ValueError, match=r"s2 was trimmed by \[5, 10\] rows and s1 by \[10, 5\]"):
        average_subjects(stores, tmp_path / "a.h5", progress=False)
    average_subjects({"s1": stores["s1"], "s3": stores["s1"]}, tmp_path / "a.h5", progress=False)
    assert trim_of(ResponseStore.open(tmp_path / "a.h5")) == [10, 5]
