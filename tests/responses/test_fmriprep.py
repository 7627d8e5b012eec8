"""A folder of derivatives: the right files in order, the right confounds, early volumes reported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from voxridge._warnings import ResponseWarning
from voxridge.responses import Cleaning, build_response_store, find_fmriprep, read_fmriprep

nibabel = pytest.importorskip("nibabel")
pandas = pytest.importorskip("pandas")
pytest.importorskip("nilearn")

MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
EARLY = r"run 'task-alice_run-10': 2 rows at the start are not in steady state"


def textbook(data: np.ndarray, table: Path, tr: float = 1.5) -> np.ndarray:
    """Motion and derivatives, line, cosines and marked rows taken out by least squares, then z-scored."""
    frame = pandas.read_csv(table, sep="\t")
    n = len(data)
    chosen = MOTION + [f"{name}_derivative1" for name in MOTION]
    motion = frame[chosen].bfill().to_numpy()
    spikes = frame.filter(like="non_steady").to_numpy()
    t = np.arange(n)
    order = int(np.floor(2 * n * tr / 128))
    cosines = np.cos(np.pi * np.outer(t + 0.5, np.arange(order + 1)) / n)
    design = np.column_stack([cosines, t / n, motion, spikes])
    residual = data - design @ np.linalg.lstsq(design, data, rcond=None)[0]
    return (residual - residual.mean(axis=0)) / residual.std(axis=0, ddof=1)


def test_runs_are_found_in_natural_order(derivatives: Path) -> None:
    runs = find_fmriprep(derivatives, "sub-01")
    assert [run.name for run in runs] == ["task-alice_run-2", "task-alice_run-10"]
    assert [run.tr for run in runs] == [1.5, 1.5]
    assert [run.non_steady for run in runs] == [0, 2]
    assert runs[0].mask is not None
    assert runs[0].space == "MNI152NLin2009cAsym"


@pytest.mark.parametrize("kind", ["volume", "surface", "cifti"])
def test_cleaning_equals_the_textbook(derivatives: Path, kind: str) -> None:
    runs = find_fmriprep(derivatives, "01", kind=kind)
    raw = read_fmriprep_raw(derivatives, kind)
    with pytest.warns(ResponseWarning, match=EARLY):
        source = read_fmriprep(derivatives, "01", kind=kind)
    assert (source.runs, source.tr) == ((70, 75), 1.5)
    start = 0
    for run, data in zip(runs, raw, strict=True):
        found = source.read(slice(start, start + len(data)))
        start += len(data)
        wanted = textbook(data.astype(np.float64), run.confounds)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert found.shape == data.shape


def read_fmriprep_raw(folder: Path, kind: str) -> list[np.ndarray]:
    """The two runs as nibabel reads them, voxels of both masks."""
    func = folder / "sub-01" / "func"
    found = []
    for run in ("2", "10"):
        stem = f"sub-01_task-alice_run-{run}"
        if kind == "volume":
            space = "space-MNI152NLin2009cAsym"
            masks = [
                nibabel.load(func / f"sub-01_task-alice_run-{r}_{space}_desc-brain_mask.nii.gz").get_fdata()
                > 0
                for r in ("2", "10")
            ]
            data = nibabel.load(func / f"{stem}_{space}_desc-preproc_bold.nii.gz").get_fdata()
            found.append(data[masks[0] & masks[1]].T)
        elif kind == "cifti":
            found.append(nibabel.load(func / f"{stem}_space-fsLR_den-91k_bold.dtseries.nii").get_fdata())
        else:
            sides = [
                nibabel.load(func / f"{stem}_hemi-{s}_space-fsaverage5_bold.func.gii").agg_data().T
                for s in "LR"
            ]
            found.append(np.concatenate(sides, axis=1))
    return found


def test_without_cleaning_the_numbers_are_those_of_the_files(derivatives: Path) -> None:
    with pytest.warns(ResponseWarning, match="kept as they are"):
        source = read_fmriprep(derivatives, "01", clean=None, trim=(2, 1))
    raw = read_fmriprep_raw(derivatives, "volume")
    wanted = np.concatenate([data[2:-1] for data in raw]).astype("float32")
    np.testing.assert_array_equal(source.read(), wanted)


def test_the_store_notes_what_was_done(derivatives: Path, tmp_path: Path) -> None:
    runs = {run.name: run for run in find_fmriprep(derivatives, "01")}
    with pytest.warns(ResponseWarning, match=EARLY):
        store = build_response_store(runs, tmp_path / "s.h5", clean=Cleaning(), progress=False)
    with pytest.warns(ResponseWarning, match=EARLY):
        source = read_fmriprep(derivatives, "01")
    np.testing.assert_array_equal(store.source().read(), source.read())
    assert store.geometry == source.geometry
    notes = store.attributes("task-alice_run-10")
    assert (notes["n_non_steady"], notes["n_bad_rows"], notes["tr"]) == (2, 2, 1.5)
    assert store.provenance["clean"]["strategy"] == ["motion"]
    with pytest.warns(ResponseWarning, match="2 rows are dropped"):
        shorter = build_response_store(
            runs, tmp_path / "d.h5", clean=Cleaning(bad_rows="drop"), progress=False
        )
    assert shorter.source().runs == (70, 73)


def test_other_confounds_are_another_identity(derivatives: Path) -> None:
    def identities() -> str:
        with pytest.warns(ResponseWarning, match=EARLY):
            return json.dumps(read_fmriprep(derivatives, "01", kind="cifti").identities())

    before = identities()
    assert identities() == before
    table = next(derivatives.rglob("*run-2_desc-confounds_timeseries.tsv"))
    frame = pandas.read_csv(table, sep="\t")
    frame["trans_x"] += np.linspace(0, 1, len(frame)) ** 2
    frame.to_csv(table, sep="\t", na_rep="n/a", index=False)
    assert identities() != before


def test_choices_that_must_be_made(derivatives: Path) -> None:
    func = derivatives / "sub-01" / "func"
    for path in list(func.glob("*run-2*preproc_bold*")):
        for old, new in (("task-alice", "task-rest"), ("MNI152NLin2009cAsym", "T1w")):
            (func / path.name.replace(old, new)).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"several of task: \['alice', 'rest'\]; choose one with task="):
        find_fmriprep(derivatives, "01")
    with pytest.raises(ValueError, match=r"several of space: \['MNI152NLin2009cAsym', 'T1w'\]"):
        find_fmriprep(derivatives, "01", task="alice")
    chosen = find_fmriprep(derivatives, "01", task="task-alice", space="T1w")
    assert [run.name for run in chosen] == ["task-alice_run-2"]
    with pytest.raises(FileNotFoundError, match=r"no _desc-brain_mask\.nii\.gz beside it"):
        read_fmriprep(derivatives, "01", task="alice", space="T1w")
    with pytest.raises(FileNotFoundError, match=r"no task-story of this subject; it has \['alice', 'rest'\]"):
        find_fmriprep(derivatives, "01", task="story")


def test_what_is_missing_is_named(derivatives: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no sub-02; it has \['sub-01'\]"):
        find_fmriprep(derivatives, "02")
    with pytest.raises(FileNotFoundError, match="not a folder"):
        find_fmriprep(tmp_path / "nowhere", "01")
    with pytest.raises(ValueError, match="kind is 'volumes'"):
        find_fmriprep(derivatives, "01", kind="volumes")
    func = derivatives / "sub-01" / "func"
    next(func.glob("*run-2_hemi-R*.gii")).unlink()
    with pytest.raises(FileNotFoundError, match="one file for hemi-L and one for hemi-R"):
        find_fmriprep(derivatives, "01", kind="surface")
    for table in func.glob("*confounds_timeseries.tsv"):
        table.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape("Cleaning(strategy=())")):
        read_fmriprep(derivatives, "01", kind="cifti")
    bare = read_fmriprep(derivatives, "01", kind="cifti", clean=Cleaning(strategy=()))
    assert bare.shape == (145, 13)


def test_no_confounds_but_the_early_rows_still_marked(derivatives: Path) -> None:
    with pytest.warns(ResponseWarning, match=EARLY):
        source = read_fmriprep(
            derivatives, "01", kind="cifti", clean=Cleaning(strategy=(), standardise=False)
        )
    rows = source.read(slice(70, 145))
    assert np.abs(rows[:2]).max() < 1e-5
    assert np.abs(rows[2:]).max(axis=1).min() > 1e-2


def test_a_strategy_that_the_table_does_not_have(derivatives: Path) -> None:
    with pytest.raises(ValueError, match=r"strategy \('motion', 'wm_csf'\) cannot be used"):
        read_fmriprep(derivatives, "01", clean=Cleaning(strategy=("motion", "wm_csf")))


def test_a_repetition_time_from_the_header_or_none(derivatives: Path) -> None:
    func = derivatives / "sub-01" / "func"
    for sidecar in func.glob("*bold.json"):
        sidecar.unlink()
    assert [run.tr for run in find_fmriprep(derivatives, "01")] == [2.0, 2.0]
    assert [run.tr for run in find_fmriprep(derivatives, "01", kind="cifti")] == [2.0, 2.0]
    for image in list(func.glob("*preproc_bold.nii.gz")):
        loaded = nibabel.load(image)
        data = loaded.get_fdata().astype("float32")
        nibabel.save(nibabel.Nifti1Image(data, loaded.affine), func / "still.nii.gz")
        header = nibabel.load(func / "still.nii.gz").header
        header.set_zooms((2, 2, 3, 0))
        nibabel.save(nibabel.Nifti1Image(data, loaded.affine, header), image)
    (func / "still.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"no repetition time: .*json is not there"):
        find_fmriprep(derivatives, "01")


def test_resolutions_sessions_and_further_entities(derivatives: Path) -> None:
    func = derivatives / "sub-01" / "func"
    image = next(func.glob("*run-2*preproc_bold.nii.gz"))
    for resolution in ("res-1", "res-2"):
        name = image.name.replace("_desc", f"_{resolution}_desc")
        (func / name).write_bytes(image.read_bytes())
    image.unlink()
    with pytest.raises(ValueError, match=r"several images: .*res-1.*res-2.*choose one with space="):
        find_fmriprep(derivatives, "01")
    coarse = find_fmriprep(derivatives, "01", space="MNI152NLin2009cAsym:res-2")
    assert [run.files[0].name.split("_")[4] for run in coarse] == ["res-2"]
    second = derivatives / "sub-01" / "ses-b" / "func"
    second.mkdir(parents=True)
    for path in func.glob("*run-10*"):
        name = path.name.replace("sub-01_task-alice", "sub-01_ses-b_task-alice_acq-x")
        (second / name).write_bytes(path.read_bytes())
    runs = find_fmriprep(derivatives, "01", session="b", kind="cifti")
    assert [run.name for run in runs] == ["ses-b_task-alice_acq-x_run-10"]
    assert runs[0].confounds is not None
    assert runs[0].confounds.parent == second
    assert len(find_fmriprep(derivatives, "01", kind="cifti")) == 3
