"""Each format read in parts equals what nibabel reads whole; files that cannot be read say why."""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxridge.responses import Geometry, read_responses
from voxridge.streams import ResponseStore, row_chunks

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("nilearn")

Save = Callable[..., tuple[Path, np.ndarray]]


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
@pytest.mark.parametrize(
    ("stored", "slope", "read"),
    [
        ("float32", None, "float32"),
        ("float64", None, "float64"),
        ("int16", None, "float32"),
        ("int16", 0.25, "float32"),
        (">f4", None, "float32"),
        ("int32", None, "float64"),
    ],
)
def test_volumes_equal_what_nibabel_reads(
    save_volume: Save, mask: np.ndarray, name: str, stored: str, slope: float | None, read: str
) -> None:
    path, whole = save_volume(name, dtype=stored, slope=slope)
    source = read_responses(path, mask=mask)
    assert source.shape == (12, mask.sum())
    assert source.dtype == read
    assert source.tr == 2.0
    np.testing.assert_array_equal(source.read(), whole[mask].T.astype(read))


def test_the_order_of_voxels_is_that_of_nilearn(save_volume: Save, mask: np.ndarray, tmp_path: Path) -> None:
    from nilearn.masking import apply_mask

    path, _ = save_volume()
    inside = tmp_path / "mask.nii"
    nibabel.save(nibabel.Nifti1Image(mask.astype("uint8"), nibabel.load(path).affine), inside)
    np.testing.assert_array_equal(read_responses(path, mask=inside).read(), apply_mask(path, inside))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=6))
def test_rows_of_a_compressed_image_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, parts: list
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-order"
    path = folder / "bold.nii.gz"
    data = np.arange(2 * 3 * 2 * 12, dtype="float32").reshape(2, 3, 2, 12)
    if not path.exists():
        folder.mkdir()
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    source = read_responses(path, mask=np.ones((2, 3, 2), bool))
    whole = data.reshape(-1, 12).T
    for start, stop in parts:
        found = source.read(slice(start, stop), slice(1, 7))
        np.testing.assert_array_equal(found, whole[start:stop, 1:7])


def test_a_source_of_images_can_be_sent_to_a_worker(save_volume: Save, mask: np.ndarray) -> None:
    path, whole = save_volume()
    source = read_responses(path, mask=mask)
    source.read(slice(0, 3))
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(), whole[mask].T.astype("float32"))
    assert copy.geometry == source.geometry


@pytest.mark.parametrize(
    ("step", "unit", "tr"),
    [
        (2.0, "sec", 2.0),
        (2000.0, "msec", 2.0),
        (1500.0, "sec", 1.5),
        (720.0, "unknown", 0.72),
        (0.0, "sec", None),
    ],
)
def test_the_repetition_time_of_a_header(
    save_volume: Save, tmp_path: Path, step: float, unit: str, tr: float | None
) -> None:
    image = nibabel.load(save_volume()[0])
    image.header.set_zooms((2.0, 2.0, 3.0, step))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, tmp_path / "other.nii")
    assert read_responses(tmp_path / "other.nii", mask=np.ones(image.shape[:3], bool)).tr == tr


def test_two_masks_are_two_identities(save_volume: Save, mask: np.ndarray) -> None:
    path, _ = save_volume()
    other = np.roll(mask, 1, axis=0)
    one, two = (read_responses(path, mask=m).identities() for m in (mask, other))
    assert one == read_responses(path, mask=mask).identities()
    assert one != two


def test_a_mask_must_lie_where_the_data_does(save_volume: Save, mask: np.ndarray, tmp_path: Path) -> None:
    path, _ = save_volume()
    affine = nibabel.load(path).affine
    with pytest.raises(ValueError, match=r"say which voxels to take with mask=.*compute_epi_mask"):
        read_responses(path)
    with pytest.raises(ValueError, match=r"mask array has shape \(6, 5, 4\).*volumes of \(5, 6, 4\)"):
        read_responses(path, mask=np.swapaxes(mask, 0, 1))
    moved = affine.copy()
    moved[0, 3] += 2
    image = nibabel.Nifti1Image(mask.astype("uint8"), moved)
    with pytest.raises(ValueError, match=r"affine .*6\.0.*affine .*4\.0.*resample"):
        read_responses(path, mask=image)
    with pytest.raises(ValueError, match="empty"):
        read_responses(path, mask=np.zeros_like(mask))
    holes = np.where(mask, 1.0, np.nan).astype("float32")
    with pytest.raises(ValueError, match="NaN"):
        read_responses(path, mask=nibabel.Nifti1Image(holes, affine))
    with pytest.raises(ValueError, match="NaN"):
        read_responses(path, mask=holes)
    with pytest.raises(TypeError, match="mask is a float"):
        read_responses(path, mask=0.5)
    rounded = nibabel.Nifti1Image(mask.astype("uint8")[..., None], affine + 1e-6)
    assert read_responses(path, mask=rounded).shape == (12, mask.sum())


def test_the_mask_of_another_run_and_the_one_that_nilearn_finds(save_volume: Save, mask: np.ndarray) -> None:
    from nilearn.masking import compute_epi_mask, compute_multi_epi_mask

    rng = np.random.default_rng(0)
    grids = []
    for name in ("a.nii.gz", "b.nii"):
        brain = np.zeros((18, 20, 16, 5))
        brain[3:15, 4:17, 3:13] = 1000
        shifted = np.roll(brain, len(grids), axis=0) + rng.standard_normal(brain.shape)
        grids.append(save_volume(name, data=shifted)[0])
    source = read_responses(grids[0], mask="compute")
    wanted = compute_epi_mask(grids[0]).get_fdata() != 0
    np.testing.assert_array_equal(source.geometry.mask.reshape(wanted.shape), wanted)
    assert read_responses(grids[1], mask=source.geometry).geometry == source.geometry
    from voxridge.responses.volumes import compute_mask

    both = compute_multi_epi_mask([str(g) for g in grids], threshold=0.5).get_fdata() != 0
    np.testing.assert_array_equal(compute_mask(grids).mask.reshape(both.shape), both)
    flat, _ = save_volume("flat.nii", data=np.zeros((8, 8, 8, 3)) + rng.random((8, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"no brain in the mean volume of .*flat\.nii"):
        read_responses(flat, mask="compute")


def test_damaged_images_are_named(save_volume: Save, mask: np.ndarray, tmp_path: Path) -> None:
    path, _ = save_volume("whole.nii")
    cut = tmp_path / "cut.nii"
    cut.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"cut\.nii is truncated: 6,062 of 6,112 bytes"):
        read_responses(cut, mask=mask)
    packed = gzip.compress(path.read_bytes())
    short = tmp_path / "short.nii.gz"
    short.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"short\.nii\.gz is truncated or damaged at volume \d+ of 12"):
        read_responses(short, mask=mask).read()
    (tmp_path / "text.nii").write_text("hello" * 200)
    with pytest.raises(ValueError, match=r"text\.nii .*no image"):
        read_responses(tmp_path / "text.nii", mask=mask)
    os.symlink("../.git/annex/objects/aa/bb/MD5E-s99--0", tmp_path / "annexed.nii.gz")
    with pytest.raises(FileNotFoundError, match="git annex get"):
        read_responses(tmp_path / "annexed.nii.gz", mask=mask)
    (tmp_path / "lfs.nii").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ValueError, match="git-lfs pointer"):
        read_responses(tmp_path / "lfs.nii", mask=mask)
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), "float32"), np.eye(4)), tmp_path / "still.nii")
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\); give a 4-D image"):
        read_responses(tmp_path / "still.nii", mask=mask)
    (tmp_path / "a.mat").write_text("x")
    with pytest.raises(ValueError, match=r"ending '\.mat' is not known.*\.dtseries\.nii"):
        read_responses(tmp_path / "a.mat")


def test_cifti(save_cifti: Save, mask: np.ndarray, tmp_path: Path) -> None:
    path, data = save_cifti()
    source = read_responses(path)
    assert (source.shape, source.tr, source.geometry.kind) == ((9, 13), 2.0, "cifti")
    np.testing.assert_array_equal(source.read(), data)
    np.testing.assert_array_equal(source.read(slice(2, 5), slice(4, 11)), data[2:5, 4:11])
    assert next(iter(row_chunks(source))) == slice(0, 9)
    with pytest.raises(ValueError, match="takes no mask"):
        read_responses(path, mask=mask)
    plain = tmp_path / "plain.dtseries.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), "float32"), np.eye(4)), plain)
    with pytest.raises(ValueError, match="not a CIFTI-2 file"):
        read_responses(plain)
    axes = nibabel.load(path).header.get_axis(1)
    scalars = tmp_path / "map.dtseries.nii"
    header = (nibabel.cifti2.ScalarAxis(["a"]), axes)
    nibabel.save(nibabel.cifti2.Cifti2Image(np.zeros((1, 13), "float32"), header=header), scalars)
    with pytest.raises(ValueError, match="ScalarAxis"):
        read_responses(scalars)
    cut = tmp_path / "cut.dtseries.nii"
    cut.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="truncated"):
        read_responses(cut)


def test_cifti_by_parcels_has_names(tmp_path: Path) -> None:
    cifti2 = nibabel.cifti2
    left = cifti2.BrainModelAxis.from_surface(np.arange(6), 6, name="CortexLeft")
    parcels = cifti2.ParcelsAxis.from_brain_models([("front", left[:2]), ("back", left[2:])])
    data = np.arange(8, dtype="float32").reshape(4, 2)
    path = tmp_path / "a.ptseries.nii"
    nibabel.save(cifti2.Cifti2Image(data, header=(cifti2.SeriesAxis(0, 2, 4), parcels)), path)
    source = read_responses(path)
    np.testing.assert_array_equal(source.read(), data)
    assert source.geometry == Geometry.columns(2, ("front", "back"))


def test_surfaces(save_surface: Save, tmp_path: Path) -> None:
    right, r_data = save_surface("a_hemi-R_bold.func.gii", n_vertices=8, seed=1)
    left, l_data = save_surface("lh.func.gii", side="CortexLeft")
    source = read_responses((right, left))
    assert (source.shape, source.tr) == ((9, 18), 2.0)
    assert (source.geometry.hemispheres, source.geometry.shape) == (("L", "R"), (10, 8))
    both = np.concatenate([l_data, r_data], axis=1)
    np.testing.assert_array_equal(source.read(), both)
    np.testing.assert_array_equal(source.read(slice(3, 5), slice(9, 12)), both[3:5, 9:12])
    wall = {"L": np.arange(10) > 2, "R": np.arange(8) != 4}
    masked = read_responses((left, right), mask=wall)
    np.testing.assert_array_equal(masked.read(), both[:, np.concatenate([wall["L"], wall["R"]])])
    one = read_responses(right)
    np.testing.assert_array_equal(one.read(), r_data)
    assert one.geometry.hemispheres == ("R",)
    label = tmp_path / "wall.gii"
    array = nibabel.gifti.GiftiDataArray(wall["R"].astype("int32"))
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), label)
    np.testing.assert_array_equal(read_responses(right, mask={"R": label}).read(), r_data[:, wall["R"]])


def test_surfaces_that_cannot_be_read(save_surface: Save, save_volume: Save, tmp_path: Path) -> None:
    left, _ = save_surface("a_hemi-L_bold.func.gii")
    shorter, _ = save_surface("a_hemi-R_bold.func.gii", n_rows=8)
    with pytest.raises(ValueError, match=r"differ in their rows: .*9.*8"):
        read_responses((left, shorter))
    with pytest.raises(ValueError, match="give L, R, or L and R"):
        read_responses((left, left))
    for name, side in (
        ("sub-R_task-l_hemi-L_bold.func.gii", "L"),
        ("a.R.b.func.gii", "R"),
        ("rh.x.func.gii", "R"),
    ):
        assert read_responses(save_surface(name)[0]).geometry.hemispheres == (side,)
    nameless, _ = save_surface("series.func.gii")
    with pytest.raises(ValueError, match="does not say its hemisphere"):
        read_responses(nameless)
    with pytest.raises(ValueError, match=r"mask has shape \(4,\).*\(10,\)"):
        read_responses(left, mask=np.ones(4, bool))
    with pytest.raises(ValueError, match=r"also has \['L'\]"):
        read_responses(left, mask={"R": np.ones(10, bool)})
    cut = tmp_path / "cut_hemi-L.func.gii"
    cut.write_bytes(left.read_bytes()[:900])
    with pytest.raises(ValueError, match="no GIFTI file, or is truncated"):
        read_responses(cut)
    volume, _ = save_volume()
    with pytest.raises(ValueError, match="only the two hemispheres"):
        read_responses((volume, volume))
    with pytest.raises(TypeError, match="give one path"):
        read_responses([left])


def test_arrays_tables_and_stores(tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((7, 3))
    np.save(tmp_path / "a.npy", data.astype("float32"))
    np.savez(tmp_path / "b.npz", data)
    np.savetxt(tmp_path / "c.txt", data, fmt="%.17g")
    np.savetxt(tmp_path / "d.csv", data, fmt="%.17g", delimiter=",", header="a,b,c", comments="")
    with h5py.File(tmp_path / "e.hf5", "w") as file:
        file["data"] = data
    store = ResponseStore.create(tmp_path / "f.h5")
    store.write_run("one", data[:3], tr=2.0)
    store.write_run("two", data[3:], tr=2.0)
    for path in sorted(tmp_path.iterdir()):
        source = read_responses(path)
        np.testing.assert_array_equal(source.read(), data.astype(source.dtype), err_msg=path.name)
        assert source.geometry.kind == "columns"
    assert read_responses(tmp_path / "d.csv").geometry.names == ("a", "b", "c")
    stored = read_responses(tmp_path / "f.h5")
    assert (stored.runs, stored.run_names, stored.tr) == ((3, 4), ("one", "two"), 2.0)
    (tmp_path / "bad.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(ValueError, match="2 names on its first line, but 3 columns"):
        read_responses(tmp_path / "bad.csv")
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match=r"\(2, 2, 2\); give \(n_TR, n_columns\)"):
        read_responses(tmp_path / "cube.npy")


def test_without_nibabel_the_error_names_the_extra(
    save_volume: Save, mask: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = save_volume()
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(ImportError, match=r'pip install "voxridge\[brain\]"'):
        read_responses(path, mask=mask)


def test_nothing_heavy_is_imported_with_the_package() -> None:
    heavy = {"nibabel", "nilearn", "pandas", "torch"}
    script = (
        "import sys, voxridge.responses as r; [getattr(r, name) for name in r.__all__]; "
        f"print({heavy!r} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_header_without_sense_is_named(save_volume: Save) -> None:
    path, data = save_volume("bold.nii")
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([1.0, np.nan], "<f4").tobytes()  # slope and intercept
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"bold.nii .* is no image, or its header is damaged: .*intercept"):
        read_responses(path, mask=np.ones(data.shape[:3], bool))
