"""nibabel images of maps: values, names, units and labels in each format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.responses.extras import need_nibabel
from voxridge.responses.geometry import Geometry

Float64 = NDArray[np.float64]
Labels = Mapping[str, Mapping[int, str]]
_INTENTS = {"p": "p value", "z": "z score"}
_GIFTI_INTENTS = {"p": "NIFTI_INTENT_PVAL", "z": "NIFTI_INTENT_ZSCORE"}
_MNI = 4  # NIfTI's code of the MNI 152 space
_NO_LABEL = "???"


def nifti_image(
    stack: Float64,
    names: Sequence[str],
    geometry: Geometry,
    fill: float,
    labels: Mapping[int, str] | None,
    units: Sequence[str],
    *,
    mni: bool,
) -> Any:
    """(x, y, z) for one map, else (x, y, z, n_maps)."""
    inside = _filled(stack, fill, labels)
    space = geometry.unmask(inside, fill=0.0 if labels is not None else fill)
    data = space[0] if len(stack) == 1 else np.moveaxis(space, 0, -1)
    image = need_nibabel().Nifti1Image(
        data.astype(np.float32 if labels is None else np.int16), geometry.affine
    )
    header = image.header
    header.set_xyzt_units("mm")
    header["descrip"] = ", ".join(names).encode("ascii", "replace")[:79]
    short = names[0].encode("ascii", "replace").decode()[:15]  # the header knows no other letters
    if labels is not None:
        header.set_intent("label", name=short)
    elif len(set(units)) == 1 and units[0] in _INTENTS:
        header.set_intent(_INTENTS[units[0]], name=short)
    else:
        header.set_intent("estimate", name=short)
    if mni:
        image.set_sform(geometry.affine, code=_MNI)
        image.set_qform(geometry.affine, code=_MNI, strip_shears=True)
    return image


def gifti_image(
    stack: Float64,
    names: Sequence[str],
    geometry: Geometry,
    side: str,
    fill: float,
    labels: Mapping[int, str] | None,
    units: Sequence[str],
) -> Any:
    """One hemisphere; every vertex of the mesh has a value."""
    image = geometry.image(stack, names=names, hemisphere=side)
    nibabel = need_nibabel()
    for array, unit in zip(image.darrays, units, strict=True):
        codes = nibabel.nifti1.intent_codes
        if labels is not None:
            array.data = np.nan_to_num(array.data).astype(np.int32)
            array.datatype = nibabel.nifti1.data_type_codes.code["int32"]
            array.intent = codes.code["NIFTI_INTENT_LABEL"]
            continue
        array.data = np.where(np.isnan(array.data), np.float32(fill), array.data)
        array.intent = codes.code[_GIFTI_INTENTS.get(unit, "NIFTI_INTENT_NONE")]
        if unit:
            array.meta["Units"] = unit
    if labels is not None:
        for code, (label, colour) in _label_table(labels).items():
            entry = nibabel.gifti.GiftiLabel(code, *colour)
            entry.label = label
            image.labeltable.labels.append(entry)
    return image


def cifti_image(
    stack: Float64,
    names: Sequence[str],
    geometry: Geometry,
    fill: float,
    labels: Mapping[int, str] | None,
    units: Sequence[str],
) -> Any:
    """A row per map; the units stand in the metadata of the rows."""
    cifti2 = need_nibabel().cifti2
    meta = [{"Units": unit} if unit else {} for unit in units]
    if labels is None:
        first = cifti2.ScalarAxis(list(names), meta=np.array(meta, dtype=object))
        kind = "NIFTI_INTENT_CONNECTIVITY_DENSE_SCALARS"
    else:
        first = cifti2.LabelAxis(list(names), [_label_table(labels)], meta=np.array(meta, dtype=object))
        kind = "NIFTI_INTENT_CONNECTIVITY_DENSE_LABELS"
    data = _filled(stack, fill, labels).astype(np.float32)
    image = cifti2.Cifti2Image(data, header=(first, geometry.brain_models()))
    image.update_headers()
    image.nifti_header.set_intent(kind)
    return image


def _filled(stack: Float64, fill: float, labels: Mapping[int, str] | None) -> Float64:
    """NaN replaced by ``fill``, or by 0 in labels."""
    return np.where(np.isnan(stack), 0.0 if labels is not None else fill, stack)


def _label_table(labels: Mapping[int, str]) -> dict[int, tuple[str, tuple[float, float, float, float]]]:
    """Code -> (label, RGBA): neighbours in code are neighbours in colour, as layers are."""
    from matplotlib import colormaps

    codes = sorted(code for code in labels if code != 0)
    places = np.linspace(0.05, 0.95, len(codes))
    table = {0: (labels.get(0, _NO_LABEL), (1.0, 1.0, 1.0, 0.0))}
    for code, place in zip(codes, places, strict=True):
        red, green, blue, opaque = (float(part) for part in colormaps["viridis"](place))
        table[code] = (labels[code], (red, green, blue, opaque))
    return table
