"""Small images in every format, and a folder as fMRIPrep leaves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

GRID = (5, 6, 4)
AFFINE = np.array([[-2.0, 0, 0, 4], [0, 2, 0, -6], [0, 0, 3, 1], [0, 0, 0, 1]])


@pytest.fixture
def mask() -> np.ndarray:
    return np.random.default_rng(1).random(GRID) > 0.5


@pytest.fixture
def save_volume(tmp_path: Path) -> Callable[..., tuple[Path, np.ndarray]]:
    """Write a 4-D image and return its path and its numbers as a program that reads it all sees them."""
    nibabel = pytest.importorskip("nibabel")

    def save(
        name: str = "bold.nii.gz",
        n_rows: int = 12,
        dtype: str = "float32",
        slope: float | None = None,
        seed: int = 0,
        tr: float = 2.0,
        data: np.ndarray | None = None,
    ) -> tuple[Path, np.ndarray]:
        if data is None:
            data = np.random.default_rng(seed).standard_normal((*GRID, n_rows)) * 100 + 500
        image = nibabel.Nifti1Image(data.astype(dtype), AFFINE)
        image.header.set_zooms((2.0, 2.0, 3.0, tr))
        image.header.set_xyzt_units("mm", "sec")
        if slope is not None:
            image = nibabel.Nifti1Image(data, AFFINE, image.header)
            image.header.set_data_dtype(dtype)
            image.header.set_slope_inter(slope, 3.0)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, path)
        return path, nibabel.load(path).get_fdata()

    return save


@pytest.fixture
def save_surface(tmp_path: Path) -> Callable[..., tuple[Path, np.ndarray]]:
    """Write the time series of one hemisphere, (n_rows, n_vertices)."""
    nibabel = pytest.importorskip("nibabel")

    def save(name: str, n_rows: int = 9, n_vertices: int = 10, seed: int = 0, side: str = "") -> tuple:
        data = np.random.default_rng(seed).standard_normal((n_rows, n_vertices)).astype("float32")
        gifti = nibabel.gifti
        notes = {"TimeStep": "2000.0"}
        if side:
            notes["AnatomicalStructurePrimary"] = side
        image = gifti.GiftiImage(meta=gifti.GiftiMetaData(notes))
        for row in data:
            image.add_gifti_data_array(gifti.GiftiDataArray(row, intent="NIFTI_INTENT_TIME_SERIES"))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, path)
        return path, data

    return save


@pytest.fixture
def save_cifti(tmp_path: Path) -> Callable[..., tuple[Path, np.ndarray]]:
    """Write a dense time series of two cortices and a piece of thalamus, (n_rows, 13)."""
    nibabel = pytest.importorskip("nibabel")

    def save(name: str = "a_bold.dtseries.nii", n_rows: int = 9, seed: int = 0, drop: int = 0) -> tuple:
        cifti2 = nibabel.cifti2
        left = cifti2.BrainModelAxis.from_surface(np.arange(5), 8, name="CortexLeft")
        right = cifti2.BrainModelAxis.from_surface(np.arange(1 + drop, 6), 8, name="CortexRight")
        box = np.zeros(GRID, bool)
        box[2, 1:4, 2] = True
        deep = cifti2.BrainModelAxis.from_mask(box, affine=AFFINE, name="ThalamusLeft")
        axis = left + right + deep
        data = np.random.default_rng(seed).standard_normal((n_rows, len(axis))).astype("float32")
        image = cifti2.Cifti2Image(data, header=(cifti2.SeriesAxis(0.0, 2.0, n_rows), axis))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, path)
        return path, data

    return save


@pytest.fixture
def derivatives(
    tmp_path: Path,
    mask: np.ndarray,
    save_volume: Callable[..., tuple[Path, np.ndarray]],
    save_surface: Callable[..., tuple[Path, np.ndarray]],
    save_cifti: Callable[..., tuple[Path, np.ndarray]],
) -> Path:
    """Runs 2 and 10 as volumes, surfaces and CIFTI, with confounds; run 10 has two early volumes."""
    nibabel = pytest.importorskip("nibabel")
    space = "_space-MNI152NLin2009cAsym"
    for seed, run in enumerate(("2", "10")):
        stem = f"fmriprep/sub-01/func/sub-01_task-alice_run-{run}"
        n_rows = 70 + 5 * seed
        save_volume(f"{stem}{space}_desc-preproc_bold.nii.gz", n_rows, seed=seed)
        inside = mask.copy()
        inside[seed] = False
        image = nibabel.Nifti1Image(inside.astype("uint8"), AFFINE)
        nibabel.save(image, tmp_path / f"{stem}{space}_desc-brain_mask.nii.gz")
        for number, side in enumerate("LR"):
            save_surface(
                f"{stem}_hemi-{side}_space-fsaverage5_bold.func.gii", n_rows, seed=10 * seed + number
            )
        save_cifti(f"{stem}_space-fsLR_den-91k_bold.dtseries.nii", n_rows, seed=seed)
        told = json.dumps({"RepetitionTime": 1.5, "SkullStripped": False})
        for part in (
            f"{space}_desc-preproc_bold",
            "_hemi-L_space-fsaverage5_bold",
            "_space-fsLR_den-91k_bold",
        ):
            (tmp_path / f"{stem}{part}.json").write_text(told)
        (tmp_path / f"{stem}_desc-confounds_timeseries.json").write_text("{}")
        table = confound_table(n_rows, seed, early=2 * seed)
        (tmp_path / f"{stem}_desc-confounds_timeseries.tsv").write_text(table)
    return tmp_path / "fmriprep"


def confound_table(n_rows: int, seed: int, early: int) -> str:
    """A table as fMRIPrep writes it: motion and its derivatives (first row n/a), early volumes marked."""
    rng = np.random.default_rng(100 + seed)
    columns: dict[str, np.ndarray] = {}
    for name in ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"):
        walk = rng.standard_normal(n_rows).cumsum() / 10
        columns[name] = walk
        columns[f"{name}_derivative1"] = np.diff(walk, prepend=np.nan)
    for index in range(early):
        columns[f"non_steady_state_outlier{index:02d}"] = np.eye(n_rows)[index]
    rows = [
        "\t".join("n/a" if np.isnan(v) else repr(float(v)) for v in row)
        for row in zip(*columns.values(), strict=True)
    ]
    return "\n".join(["\t".join(columns), *rows]) + "\n"
