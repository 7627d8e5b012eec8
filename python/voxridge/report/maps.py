"""Maps as files that other programs read: NIfTI, GIFTI, CIFTI; a table where the columns have no place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.report._map_images import Labels, cifti_image, gifti_image, nifti_image
from voxridge.responses.geometry import Geometry
from voxridge.streams.atomic import atomic_path

Float64 = NDArray[np.float64]


def write_maps(
    folder: str | os.PathLike[str],
    maps: Mapping[str, ArrayLike],
    geometry: Geometry,
    *,
    prefix: str = "",
    subject: str = "",
    model: str = "",
    space: str = "",
    together: bool = False,
    fill: float = np.nan,
    labels: Mapping[str, Mapping[int, str]] | None = None,
    units: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write maps in the format of their geometry.

    Names follow the pattern of BIDS derivatives: ``sub-UTS03_model-smollm2_stat-r_map.nii.gz``, one GIFTI
    file per hemisphere (``_hemi-L_``, ``.func.gii`` or ``.label.gii``), CIFTI ``.dscalar.nii`` and
    ``.dlabel.nii``. Numbers are float32; codes of labels int32 (int16 in NIfTI). NIfTI cannot hold names of
    maps or of labels: beside each of its files a ``.json`` of the same name has them, and the units. Columns
    without a place in the brain are written as one ``.csv`` table, a row per column.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    maps : mapping of name to (n_columns,) array
        Several at once are cheaper than one call each: all are checked before anything is written.
    geometry : voxridge.responses.Geometry
        Of the columns.
    prefix, subject, model, space : str
        Parts of the names, left out where empty; letters and digits are kept ("opt-1.3b" becomes
        "opt1p3b"). A space that begins with "MNI" is noted in the NIfTI header.
    together : bool
        All maps in one file (4-D NIfTI, a GIFTI of several arrays, a CIFTI of several rows). Labels still
        have a file each.
    fill : float, default NaN
        Stands outside the mask and where a map is NaN. Some old programs read only 0.
    labels : mapping of map name to {code: label}, optional
        These maps hold codes, 0 for none (NaN becomes 0).
    units : mapping of map name to str, optional
        "r", "p", "z", "layer", ...; "p" and "z" also set the intent code of the format.
    overwrite : bool
        Replace files of the same names.

    Returns
    -------
    list of pathlib.Path
        The files, images before their ``.json``.

    Raises
    ------
    ValueError
        No map, a map of another length, labels or units of a map that is not there, codes without a label
        or that are no integers, names that become the same file.
    FileExistsError
        A file is there already and ``overwrite`` is False; nothing is written then.
    ImportError
        nibabel is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from voxridge.responses import Geometry
    >>> geometry = Geometry.volume(np.ones((2, 2, 2), bool), np.diag([3.0, 3.0, 3.0, 1.0]))
    >>> written = write_maps(tempfile.mkdtemp(), {"r": np.arange(8.0)}, geometry, subject="UTS03")
    >>> [path.name for path in written]
    ['sub-UTS03_stat-r_map.nii.gz', 'sub-UTS03_stat-r_map.json']
    """
    codes, unit = dict(labels or {}), dict(units or {})
    values = _checked(maps, geometry, codes, unit)
    stem = Stem(prefix, subject, model, space)
    target = Path(folder)
    files: dict[Path, bytes] = {}
    for name, content in _files(values, geometry, stem, together, fill, codes, unit):
        if target / name in files:
            raise ValueError(f"two maps would be written to {name}: give them names that differ in letters")
        files[target / name] = content
    there = [path for path in files if path.exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"{there[0]} is there already ({len(there)} of {len(files)} files): give overwrite=True, another "
            "folder or another prefix"
        )
    target.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        with atomic_path(path, needed=len(content)) as temporary:
            temporary.write_bytes(content)
    return list(files)


class Stem:
    """The part of a file's name that all maps of a call share."""

    def __init__(self, prefix: str, subject: str, model: str, space: str) -> None:
        self.space = space
        self._before = [re.sub(r"[^A-Za-z0-9_+-]+", "-", prefix).strip("_-")] if prefix else []
        self._before += [f"sub-{letters(subject.removeprefix('sub-'))}"] if subject else []
        self._after = [f"space-{letters(space)}"] if space else []
        self._after += [f"model-{letters(model)}"] if model else []

    def name(self, stat: str, ending: str, hemisphere: str = "") -> str:
        """The name of a file; no ``stat`` for several maps together."""
        side = [f"hemi-{hemisphere}"] if hemisphere else []
        what = [f"stat-{letters(stat)}", "map"] if stat else ["maps"]
        return "_".join(self._before + side + self._after + what) + ending


def letters(text: str) -> str:
    """Letters and digits of a name; "1.3" becomes "1p3", and an organisation before "/" is dropped.

    Raises
    ------
    ValueError
        Nothing is left.
    """
    plain = re.sub(r"(?<=\d)\.(?=\d)", "p", text.rsplit("/", 1)[-1])
    plain = re.sub(r"[^A-Za-z0-9+]", "", plain)
    if not plain:
        raise ValueError(f"{text!r} has no letter or digit for the name of a file; give another name")
    return plain


def _checked(
    maps: Mapping[str, ArrayLike], geometry: Geometry, labels: Labels, units: Mapping[str, str]
) -> dict[str, Float64]:
    if not maps:
        raise ValueError("maps is empty; give a mapping of name to (n_columns,) array")
    for what, named in (("labels", labels), ("units", units)):
        if unknown := [name for name in named if name not in maps]:
            raise ValueError(f"{what} names {unknown}, but the maps are {list(maps)}")
    values = {}
    for name, given in maps.items():
        array = np.asarray(given)
        if array.shape != (geometry.n_columns,) or array.dtype.kind not in "biuf":
            raise ValueError(
                f"map {name!r} has shape {array.shape} and dtype {array.dtype}; give ({geometry.n_columns},) "
                "real numbers, one per column"
            )
        values[name] = array.astype(np.float64)
        if name in labels:
            _check_codes(name, values[name], labels[name])
    return values


def _check_codes(name: str, values: Float64, labels: Mapping[int, str]) -> None:
    known = {0, *labels}
    found = np.unique(values[np.isfinite(values)])
    strange = [float(code) for code in found if code not in known]
    if strange or not all(0 <= code < 32768 for code in labels):
        raise ValueError(
            f"map {name!r} holds the codes {strange[:5]}, and labels has {sorted(labels)[:5]}...: give a "
            "label for every code, integers from 1 to 32767 (0 and NaN are none)"
        )


def _files(
    values: Mapping[str, Float64],
    geometry: Geometry,
    stem: Stem,
    together: bool,
    fill: float,
    labels: Labels,
    units: Mapping[str, str],
) -> Iterator[tuple[str, bytes]]:
    """Names and contents."""
    if geometry.kind == "columns":
        stat = "" if len(values) > 1 else next(iter(values))
        yield stem.name(stat, ".csv"), _table(values, geometry, units)
        return
    numbers = [name for name in values if name not in labels]
    groups = [numbers] if together and numbers else [[name] for name in numbers]
    for group in groups + [[name] for name in labels]:
        stat = group[0] if len(group) == 1 else ""
        stack = np.stack([values[name] for name in group])
        table = labels.get(group[0])
        yield from _images(stack, group, geometry, stem, stat, fill, table, units)


def _images(
    stack: Float64,
    names: Sequence[str],
    geometry: Geometry,
    stem: Stem,
    stat: str,
    fill: float,
    labels: Mapping[int, str] | None,
    units: Mapping[str, str],
) -> Iterator[tuple[str, bytes]]:
    unit = [units.get(name, "") for name in names]
    if geometry.kind == "volume":
        image = nifti_image(stack, names, geometry, fill, labels, unit, mni=stem.space.startswith("MNI"))
        yield stem.name(stat, ".nii.gz"), gzip.compress(image.to_bytes(), mtime=0)
        yield stem.name(stat, ".json"), _notes(names, unit, labels)
    elif geometry.kind == "surface":
        ending = ".func.gii" if labels is None else ".label.gii"
        for side in geometry.hemispheres:
            image = gifti_image(stack, names, geometry, side, fill, labels, unit)
            yield stem.name(stat, ending, side), image.to_bytes()
    else:
        ending = ".dscalar.nii" if labels is None else ".dlabel.nii"
        yield stem.name(stat, ending), cifti_image(stack, names, geometry, fill, labels, unit).to_bytes()


def _notes(names: Sequence[str], units: Sequence[str], labels: Mapping[int, str] | None) -> bytes:
    """What NIfTI has no room for."""
    maps: list[dict[str, Any]] = [
        {"Name": name, **({"Units": unit} if unit else {})} for name, unit in zip(names, units, strict=True)
    ]
    notes: dict[str, Any] = {"Maps": maps}
    if labels is not None:
        notes["Labels"] = {str(code): label for code, label in sorted(labels.items())}
    return (json.dumps(notes, indent=2) + "\n").encode("utf-8")


def _table(values: Mapping[str, Float64], geometry: Geometry, units: Mapping[str, str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles = [f"{name} ({units[name]})" if units.get(name) else name for name in values]
    writer.writerow(["column", *(["name"] if geometry.names else []), *titles])
    for number in range(geometry.n_columns):
        name = [geometry.names[number]] if geometry.names else []
        writer.writerow([number, *name, *(f"{array[number]:.9g}" for array in values.values())])
    return text.getvalue().encode("utf-8")
