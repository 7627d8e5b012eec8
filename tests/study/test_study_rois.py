"""Regions of interest: from lists of targets, labels of columns, images, tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxridge.responses import Geometry
from voxridge.study.config import RoisConfig
from voxridge.study.rois import read_rois

NAMES = ["a", "b", "c", "d"]


def read(
    folder: Path, name: str, names: dict[str, str] | None = None, **more: object
) -> dict[str, list[int]]:
    found = read_rois(RoisConfig(folder / name, names or {}), "S1", NAMES, more.get("geometry"))  # type: ignore[arg-type]
    return {title: np.flatnonzero(inside).tolist() for title, inside in found.items()}


def test_lists_of_targets() -> None:
    config = RoisConfig(targets={"first": ("b", "a"), "last": ("d",)})
    found = read_rois(config, "S1", NAMES, None)
    assert {name: np.flatnonzero(inside).tolist() for name, inside in found.items()} == {
        "first": [0, 1],
        "last": [3],
    }
    with pytest.raises(ValueError, match=r"rois\.first has 'z', which is no target; there are a, b, c, d"):
        read_rois(RoisConfig(targets={"first": ("a", "z")}), "S1", NAMES, None)


def test_labels_of_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "numbers.npy", np.array([10, 0, 2, 10]))
    np.save(tmp_path / "words.npy", np.array(["stg", "", "ifg", "stg"]))
    np.save(tmp_path / "floats.npy", np.array([1.0, np.nan, 1.0, 2.0]))
    assert read(tmp_path, "numbers.npy") == {"2": [2], "10": [0, 3]}
    assert read(tmp_path, "numbers.npy", {"10": "STG"}) == {"STG": [0, 3], "2": [2]}
    assert read(tmp_path, "words.npy") == {"ifg": [2], "stg": [0, 3]}
    assert read(tmp_path, "floats.npy") == {"1": [0, 2], "2": [3]}


def test_a_table_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "in_order.csv").write_text("roi\nx\n\nx\ny\n".replace("\n\n", "\n0\n"))
    assert read(tmp_path, "in_order.csv") == {"x": [0, 2], "y": [3]}
    (tmp_path / "named.tsv").write_text("name\troi\nd\tx\na\ty\n")
    assert read(tmp_path, "named.tsv") == {"x": [3], "y": [0]}


def test_an_image_in_the_same_voxels(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    mask = np.zeros((2, 3, 1), bool)
    mask[0, :2] = mask[1, 1:] = True
    geometry = Geometry.volume(mask, np.eye(4))
    labels = np.zeros((2, 3, 1), np.int16)
    labels[0, 1], labels[1, 2] = 5, 7
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "S1.nii.gz")
    assert read(tmp_path, "{subject}.nii.gz", geometry=geometry) == {"5": [1], "7": [3]}
    with pytest.raises(ValueError, match="is a volume, and the responses are not"):
        read(tmp_path, "S1.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, 2 * np.eye(4)), tmp_path / "other.nii.gz")
    with pytest.raises(ValueError, match="another affine than the responses"):
        read(tmp_path, "other.nii.gz", geometry=geometry)
    nibabel.save(nibabel.Nifti1Image(labels[:1], np.eye(4)), tmp_path / "small.nii.gz")
    with pytest.raises(ValueError, match=r"has shape \(1, 3, 1\); the responses have \(2, 3, 1\)"):
        read(tmp_path, "small.nii.gz", geometry=geometry)


@pytest.mark.parametrize(
    ("name", "text", "names", "message"),
    [
        ("a.csv", "area\nx\n", {}, "needs a column 'roi'; it has area"),
        ("a.csv", "roi\nx\ny\n", {}, "has 2 labels for 4 columns"),
        ("a.csv", "roi\n0\n0\n0\n0\n", {}, "no label but 0 and empty ones"),
        ("a.csv", "roi\n1\n1\n2\n2\n", {"3": "STG"}, r"rois\.names has '3', a label that .* does not have"),
        ("a.csv", "roi\n1\n1\n2\n2\n", {"1": "STG", "2": "STG"}, "have one name; STG, STG"),
        ("a.csv", "name,roi\nz,1\n", {}, "has 'z', which is no target"),
        ("a.txt", "1", {}, r"rois\.file is 'a.txt'; allowed: \.nii"),
    ],
)
def test_labels_that_do_not_fit(
    tmp_path: Path, name: str, text: str, names: dict[str, str], message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, name, names)
