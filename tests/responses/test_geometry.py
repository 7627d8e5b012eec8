"""A map goes back to the place its columns came from, in each kind of space, and through the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxridge.responses import Geometry, read_responses
from voxridge.responses.store import read_geometry, write_geometry
from voxridge.streams import ResponseStore

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("nilearn")

Save = Callable[..., tuple[Path, np.ndarray]]


def test_a_volume_goes_back_to_its_voxels(save_volume: Save, mask: np.ndarray, tmp_path: Path) -> None:
    path, whole = save_volume(dtype="float32")
    source = read_responses(path, mask=mask)
    rows = source.read()
    image = source.geometry.image(rows[:2])
    nibabel.save(image, tmp_path / "map.nii.gz")
    again = nibabel.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(again.affine, nibabel.load(path).affine)
    np.testing.assert_array_equal(again.get_fdata()[mask], whole[mask][:, :2])
    assert not again.get_fdata()[~mask].any()
    assert source.geometry.image(rows[0]).shape == mask.shape
    back = source.geometry.unmask(rows)
    assert back.shape == (12, *mask.shape)
    assert back.dtype == np.float32
    assert np.isnan(back[:, ~mask]).all()


def test_cifti_goes_back_to_its_grayordinates(save_cifti: Save, tmp_path: Path) -> None:
    path, data = save_cifti()
    geometry = read_responses(path).geometry
    nibabel.save(geometry.image(data[:2], names=["r", "p"]), tmp_path / "map.dscalar.nii")
    again = nibabel.load(tmp_path / "map.dscalar.nii")
    np.testing.assert_array_equal(again.get_fdata(), data[:2])
    assert list(again.header.get_axis(0).name) == ["r", "p"]
    assert again.header.get_axis(1) == nibabel.load(path).header.get_axis(1)


def test_a_surface_goes_back_to_its_vertices(save_surface: Save) -> None:
    left, l_data = save_surface("hemi-L.func.gii")
    right, r_data = save_surface("hemi-R.func.gii", n_vertices=8)
    inside = np.arange(18) % 3 > 0
    source = read_responses((left, right), mask=inside)
    values = source.read()[0]
    whole = np.where(inside, np.concatenate([l_data[0], r_data[0]]), np.nan)
    np.testing.assert_array_equal(source.geometry.unmask(values), whole)
    image = source.geometry.image(values, hemisphere="R")
    np.testing.assert_array_equal(image.agg_data(), whole[10:])
    assert image.meta["AnatomicalStructurePrimary"] == "CortexRight"
    with pytest.raises(ValueError, match="name one of them"):
        source.geometry.image(values)
    assert read_responses(left).geometry.image(l_data[0]).darrays[0].data.shape == (10,)


def test_every_kind_survives_the_store(
    save_volume: Save, save_cifti: Save, save_surface: Save, mask: np.ndarray, tmp_path: Path
) -> None:
    hemispheres = tuple(save_surface(f"hemi-{side}.func.gii")[0] for side in "LR")
    kinds = [
        read_responses(save_volume()[0], mask=mask).geometry,
        read_responses(save_cifti()[0]).geometry,
        read_responses(hemispheres).geometry,
        read_responses(hemispheres, mask=np.arange(20) % 2 == 0).geometry,
        Geometry.columns(3, ("LATL", "RATL", "LIFG")),
    ]
    for index, geometry in enumerate(kinds):
        store = ResponseStore.create(tmp_path / f"{index}.h5")
        assert store.geometry is None
        write_geometry(store.path, geometry)
        found = read_geometry(store.path)
        assert found == geometry
        assert store.geometry == geometry
        assert all(found != other for other in kinds[:index] + kinds[index + 1 :])
        with pytest.raises(ValueError, match="already has a geometry"):
            write_geometry(store.path, geometry)


def test_geometries_differ_in_what_the_message_says(mask: np.ndarray, save_cifti: Save) -> None:
    one = Geometry.volume(mask, np.eye(4))
    assert one.difference(Geometry.volume(mask, np.eye(4) + 1e-7)) == ""
    other = mask.copy()
    first, last = np.argwhere(mask)[0], np.argwhere(~mask)[0]
    other[tuple(first)], other[tuple(last)] = False, True
    assert "masks differ in 2 of 120 places" in one.difference(Geometry.volume(other, np.eye(4)))
    assert "affine" in one.difference(Geometry.volume(mask, 2 * np.eye(4)))
    assert "shape" in one.difference(Geometry.volume(mask.T, np.eye(4)))
    full = Geometry.surface([5], ["L"])
    assert full == Geometry.surface([5], ["L"], np.ones(5, bool))
    a = read_responses(save_cifti("a.dtseries.nii")[0]).geometry
    b = read_responses(save_cifti("b.dtseries.nii", drop=1)[0]).geometry
    assert "n_columns" in a.difference(b) or "shape" in a.difference(b)


def test_wrong_shapes_are_named(mask: np.ndarray) -> None:
    geometry = Geometry.volume(mask, np.eye(4))
    wide = np.zeros(geometry.n_columns + 1)
    with pytest.raises(ValueError, match=rf"\({wide.size},\).*{geometry.n_columns} columns"):
        geometry.unmask(wide)
    with pytest.raises(ValueError, match="give"):
        geometry.image(wide)
    with pytest.raises(ValueError, match="2 names for 1 maps"):
        geometry.image(wide[1:], names=["a", "b"])
    with pytest.raises(ValueError, match="not known"):
        Geometry.columns(2).image([1.0, 2.0])
    with pytest.raises(ValueError, match="3 names for 2 columns"):
        Geometry.columns(2, "abc")
    with pytest.raises(ValueError, match="affine has shape"):
        Geometry.volume(mask, np.eye(3))
    with pytest.raises(ValueError, match="0 voxels"):
        Geometry.volume(np.zeros((2, 2, 2), bool), np.eye(4))
    with pytest.raises(ValueError, match="no brain models"):
        geometry.brain_models()
