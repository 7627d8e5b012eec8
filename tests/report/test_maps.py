"""Maps written as images come back through nibabel with their values, names, places and labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from voxridge.report.maps import letters, write_maps
from voxridge.responses import Geometry

nibabel = pytest.importorskip("nibabel")
RNG = np.random.default_rng(0)


@pytest.fixture
def volume() -> Geometry:
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = 9, -6, 4
    return Geometry.volume(RNG.random((6, 5, 4)) < 0.6, affine)


@pytest.fixture
def grayordinates() -> Geometry:
    cifti2 = nibabel.cifti2
    left = cifti2.BrainModelAxis.from_surface([0, 2, 5], 6, "CIFTI_STRUCTURE_CORTEX_LEFT")
    right = cifti2.BrainModelAxis.from_surface([1, 3], 6, "CIFTI_STRUCTURE_CORTEX_RIGHT")
    stem = cifti2.BrainModelAxis.from_mask(np.ones((2, 1, 1), bool), "BRAIN_STEM", np.eye(4))
    return Geometry.cifti(left + right + stem)


def random_map(geometry: Geometry) -> np.ndarray:
    values = RNG.random(geometry.n_columns)
    values[1] = np.nan
    return values


@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_volumes(volume: Geometry, tmp_path: Path, fill: float) -> None:
    values = random_map(volume)
    image_path, notes_path = write_maps(
        tmp_path / "new" / "folder",
        {"signed r2": values},
        volume,
        prefix="study 1",
        subject="sub-UTS03",
        model="facebook/opt-1.3b",
        space="MNI152NLin2009cAsym",
        fill=fill,
        units={"signed r2": "r2"},
    )
    name = "study-1_sub-UTS03_space-MNI152NLin2009cAsym_model-opt1p3b_stat-signedr2_map"
    assert (image_path.name, notes_path.name) == (f"{name}.nii.gz", f"{name}.json")
    image = nibabel.load(image_path)
    data = image.get_fdata()
    mask = volume.mask.reshape(volume.shape)
    np.testing.assert_array_equal(image.affine, volume.affine)
    np.testing.assert_array_equal(data[mask], np.where(np.isnan(values), fill, values.astype(np.float32)))
    np.testing.assert_array_equal(data[~mask], fill)
    assert image.header.get_intent()[0] == "estimate"
    assert image.header["sform_code"] == image.header["qform_code"] == 4
    assert image.header.get_xyzt_units()[0] == "mm"
    assert json.loads(notes_path.read_text()) == {"Maps": [{"Name": "signed r2", "Units": "r2"}]}
    assert sorted(p.name for p in image_path.parent.iterdir()) == sorted([image_path.name, notes_path.name])


def test_names_in_letters_that_the_header_does_not_know(volume: Geometry, tmp_path: Path) -> None:
    path, notes = write_maps(tmp_path, {"Gewicht größer": random_map(volume)}, volume)
    assert nibabel.load(path).header.get_intent()[2] == "Gewicht gr??er"
    assert json.loads(notes.read_text(encoding="utf-8"))["Maps"][0]["Name"] == "Gewicht größer"


def test_several_volumes_together_and_through_nilearn(volume: Geometry, tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    from nilearn.image import load_img
    from nilearn.masking import apply_mask

    maps = {"r": RNG.random(volume.n_columns), "p": RNG.random(volume.n_columns)}
    layers = RNG.integers(0, 3, volume.n_columns)
    written = write_maps(
        tmp_path,
        {**maps, "layer": layers},
        volume,
        together=True,
        fill=0.0,
        labels={"layer": {1: "layer 4", 2: "layer 8"}},
        units={"p": "p"},
    )
    assert [p.name for p in written] == [
        "maps.nii.gz",
        "maps.json",
        "stat-layer_map.nii.gz",
        "stat-layer_map.json",
    ]
    mask = nibabel.Nifti1Image(volume.mask.reshape(volume.shape).astype(np.uint8), volume.affine)
    back = apply_mask(load_img(written[0]), mask)
    np.testing.assert_allclose(back, np.stack(list(maps.values())), rtol=1e-6)
    codes = nibabel.load(written[2])
    assert codes.get_data_dtype() == np.int16
    assert codes.header.get_intent()[0] == "label"
    np.testing.assert_array_equal(apply_mask(codes, mask), layers)
    assert json.loads(written[3].read_text())["Labels"] == {"1": "layer 4", "2": "layer 8"}
    (alone, _) = write_maps(tmp_path, {"p": maps["p"]}, volume, units={"p": "p"})
    assert nibabel.load(alone).header.get_intent()[0] == "p value"


@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_surfaces(tmp_path: Path, fill: float) -> None:
    mask = np.arange(18) % 3 > 0
    geometry = Geometry.surface((10, 8), ("L", "R"), mask)
    maps = {"r": random_map(geometry), "q": random_map(geometry)}
    written = write_maps(
        tmp_path, maps, geometry, subject="1", together=True, fill=fill, units={"r": "r", "q": "p"}
    )
    assert [p.name for p in written] == ["sub-1_hemi-L_maps.func.gii", "sub-1_hemi-R_maps.func.gii"]
    for path, where, structure in zip(written, (slice(10), slice(10, None)), ("Left", "Right"), strict=True):
        image = nibabel.load(path)
        assert image.meta["AnatomicalStructurePrimary"] == f"Cortex{structure}"
        for array, (name, values) in zip(image.darrays, maps.items(), strict=True):
            whole = np.full(18, np.nan)
            whole[mask] = values
            np.testing.assert_array_equal(
                array.data, np.where(np.isnan(whole), fill, whole)[where].astype("f4")
            )
            assert array.meta["Name"] == name
        assert image.darrays[1].meta["Units"] == "p"
        assert image.darrays[1].intent == nibabel.nifti1.intent_codes.code["NIFTI_INTENT_PVAL"]
    single = write_maps(tmp_path, {"r": maps["r"]}, geometry)
    assert [p.name for p in single] == ["hemi-L_stat-r_map.func.gii", "hemi-R_stat-r_map.func.gii"]
    codes = np.arange(geometry.n_columns) % 3
    labels = {1: "early", 2: "late"}
    left, _ = write_maps(tmp_path, {"layer": codes}, geometry, labels={"layer": labels})
    assert left.name == "hemi-L_stat-layer_map.label.gii"
    image = nibabel.load(left)
    assert image.labeltable.get_labels_as_dict() == {0: "???", 1: "early", 2: "late"}
    assert image.darrays[0].data.dtype == np.int32
    np.testing.assert_array_equal(image.darrays[0].data[mask[:10]], codes[: mask[:10].sum()])
    assert not image.darrays[0].data[~mask[:10]].any()


def test_grayordinates(grayordinates: Geometry, tmp_path: Path) -> None:
    maps = {"r": random_map(grayordinates), "z": random_map(grayordinates)}
    (path,) = write_maps(tmp_path, maps, grayordinates, model="m", together=True, units={"z": "z"})
    assert path.name == "model-m_maps.dscalar.nii"
    image = nibabel.load(path)
    np.testing.assert_array_equal(image.get_fdata(), np.stack(list(maps.values())).astype("f4"))
    assert list(image.header.get_axis(0).name) == ["r", "z"]
    assert image.header.get_axis(0).meta[1] == {"Units": "z"}
    assert image.header.get_axis(1) == grayordinates.brain_models()
    assert image.nifti_header.get_intent()[0] == "ConnDenseScalar"
    (path,) = write_maps(
        tmp_path, {"layer": np.arange(7) % 2}, grayordinates, labels={"layer": {1: "one"}}, subject="a"
    )
    assert path.name == "sub-a_stat-layer_map.dlabel.nii"
    axis = nibabel.load(path).header.get_axis(0)
    assert {code: label for code, (label, _) in axis.label[0].items()} == {0: "???", 1: "one"}


def test_columns_become_a_table(tmp_path: Path) -> None:
    geometry = Geometry.columns(3, ("LIFG", "RIFG", "x, y"))
    (path,) = write_maps(tmp_path, {"r": [0.5, np.nan, -1 / 3], "n": [1, 2, 3]}, geometry, units={"r": "z"})
    assert path.name == "maps.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["column", "name", "r (z)", "n"]
    assert rows[2] == ["1", "RIFG", "nan", "2"]
    assert float(rows[3][2]) == pytest.approx(-1 / 3, rel=1e-8)
    assert rows[3][1] == "x, y"


def test_nothing_is_replaced_or_half_written(volume: Geometry, tmp_path: Path) -> None:
    values = random_map(volume)
    image_path, notes_path = write_maps(tmp_path, {"r": values}, volume)
    before = image_path.read_bytes()
    notes_path.unlink()
    with pytest.raises(FileExistsError, match=r"1 of 4 files.*overwrite=True"):
        write_maps(tmp_path, {"a": values, "r": 2 * values}, volume)
    assert image_path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [image_path.name]
    write_maps(tmp_path, {"r": values}, volume, overwrite=True)
    assert image_path.read_bytes() == before  # no time of writing inside
    write_maps(tmp_path, {"r": 2 * values}, volume, overwrite=True)
    assert image_path.read_bytes() != before


def test_what_cannot_be_written_is_named(volume: Geometry, tmp_path: Path) -> None:
    values = random_map(volume)
    n = volume.n_columns
    with pytest.raises(ValueError, match=rf"map 'r' has shape \({n - 1},\).*give \({n},\)"):
        write_maps(tmp_path, {"r": values[1:]}, volume)
    with pytest.raises(ValueError, match="maps is empty"):
        write_maps(tmp_path, {}, volume)
    with pytest.raises(ValueError, match=r"two maps would be written to stat-r2_map\.nii\.gz"):
        write_maps(tmp_path, {"r 2": values, "r-2": values}, volume)
    with pytest.raises(ValueError, match="units names"):
        write_maps(tmp_path, {"r": values}, volume, units={"x": "r"})
    with pytest.raises(ValueError, match=r"holds the codes \[0\.5"):
        write_maps(tmp_path, {"r": np.full(n, 0.5)}, volume, labels={"r": {1: "a"}})
    with pytest.raises(ValueError, match="no letter or digit"):
        letters("--")
    assert not list(tmp_path.iterdir())
