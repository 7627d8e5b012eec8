"""Regions of interest of a study: which columns of a subject's responses belong to each."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.study.config import RoisConfig

if TYPE_CHECKING:
    from voxridge.responses import Geometry

Bools = NDArray[np.bool_]
_OUTSIDE = ("", "0", "nan", "none", "n/a")


def read_rois(
    config: RoisConfig, subject: str, names: Sequence[str], geometry: Geometry | None
) -> dict[str, Bools]:
    """Masks (n_columns,) of every region.

    ``names`` of all columns.

    Raises
    ------
    ValueError
        A target that is not there, labels of another number of columns or in other voxels, a label that has a
        name but no column, or a file that cannot be read.
    """
    file = config.file_of(subject)
    if file is None:
        found = {name: _listed(name, targets, names) for name, targets in config.targets.items()}
    else:
        found = _of_file(file, config, names, geometry)
    if wrong := [name for name in found if "/" in name]:
        raise ValueError(f"rois: a region is named {wrong[0]!r}; allowed: names without '/'")
    return found


def _of_file(
    file: Path, config: RoisConfig, names: Sequence[str], geometry: Geometry | None
) -> dict[str, Bools]:
    labels = _read_labels(file, names, geometry)
    if len(labels) != len(names):
        raise ValueError(
            f"rois.file: {file} has {len(labels)} labels for {len(names)} columns: give one each"
        )
    return _named(labels, config.names, file)


def _listed(name: str, targets: Sequence[str], names: Sequence[str]) -> Bools:
    if missing := [target for target in targets if target not in names]:
        shown = ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "")
        raise ValueError(f"rois.{name} has {missing[0]!r}, which is no target; there are {shown}")
    return np.isin(np.asarray(names, dtype=str), list(targets))


def _named(labels: Sequence[str], names: Mapping[str, str], file: Path) -> dict[str, Bools]:
    """One mask per label, in the order of the names, or of the labels where there are none."""
    array = np.asarray(labels, dtype=str)
    found = [label for label in np.unique(array).tolist() if label.lower() not in _OUTSIDE]
    if not found:
        raise ValueError(f"rois.file: {file} has no label but 0 and empty ones")
    if unknown := [label for label in names if label not in found]:
        raise ValueError(f"rois.names has {unknown[0]!r}, a label that {file} does not have")
    order = [*names, *sorted((label for label in found if label not in names), key=_by_number)]
    titles = [names.get(label, label) for label in order]
    if len(set(titles)) < len(titles):
        raise ValueError(f"rois.names: two regions of {file} have one name; {', '.join(titles)}")
    return {title: array == label for title, label in zip(titles, order, strict=True)}


def _by_number(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdigit() else (1 << 30, label)


def _read_labels(file: Path, names: Sequence[str], geometry: Geometry | None) -> list[str]:
    if file.suffix == ".npy":
        return [_text(label) for label in np.load(file, allow_pickle=False).ravel().tolist()]
    if file.suffix in (".csv", ".tsv"):
        return _from_table(file, names)
    if file.name.endswith((".nii", ".nii.gz")):
        return [_text(label) for label in _from_image(file, geometry).tolist()]
    raise ValueError(f"rois.file is {file.name!r}; allowed: .nii, .nii.gz, .npy, .csv or .tsv")


def _text(label: Any) -> str:
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _from_table(file: Path, names: Sequence[str]) -> list[str]:
    with file.open(newline="", encoding="utf-8-sig") as table:
        rows = list(csv.DictReader(table, delimiter="\t" if file.suffix == ".tsv" else ","))
    if not rows or "roi" not in rows[0]:
        header = ", ".join(rows[0]) if rows else "nothing"
        raise ValueError(f"rois.file: {file} needs a column 'roi'; it has {header}")
    labels = [(row["roi"] or "").strip() for row in rows]
    if "name" not in rows[0]:
        return labels
    known = dict(zip((row["name"] for row in rows), labels, strict=True))
    if unknown := [name for name in known if name not in names]:
        raise ValueError(f"rois.file: {file} has {unknown[0]!r}, which is no target")
    return [known.get(name, "") for name in names]


def _from_image(file: Path, geometry: Geometry | None) -> NDArray[Any]:
    from voxridge.responses.extras import need_nibabel
    from voxridge.responses.geometry import same_affine

    if geometry is None or geometry.kind != "volume":
        raise ValueError(
            f"rois.file: {file} is a volume, and the responses are not: give .npy or .csv labels"
        )
    image: Any = need_nibabel().load(file)
    grid = np.asarray(image.dataobj)
    if grid.shape[:3] != geometry.shape or grid.size != np.prod(geometry.shape):
        raise ValueError(f"rois.file: {file} has shape {grid.shape}; the responses have {geometry.shape}")
    if not same_affine(np.asarray(image.affine), geometry.affine):
        raise ValueError(f"rois.file: {file} has another affine than the responses: resample it to them")
    assert geometry.mask is not None
    return np.asarray(grid.ravel()[geometry.mask])
