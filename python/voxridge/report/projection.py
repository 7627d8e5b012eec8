"""Maps of responses on the vertices of fsaverage5, for figures of the surface."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.responses.extras import need_nilearn
from voxridge.responses.geometry import Geometry

if TYPE_CHECKING:
    from voxridge.responses.cortex import Cortex

Float64 = NDArray[np.float64]
_FSAVERAGE = (10242, 40962, 163842)
# The head in MNI space, with a margin: voxels of a brain mask in another space or unit fall outside.
_HEAD = np.array([[-85.0, -120.0, -85.0], [85.0, 90.0, 100.0]])
_INSIDE = 0.95


def surface_values(
    geometry: Geometry, values: ArrayLike, *, space: str, cortex: Cortex | None = None
) -> Float64:
    """Values of the columns at the vertices of fsaverage5, for :func:`voxridge.report.brain.surface_figure`.

    A volume in MNI space is sampled at points between the white and the pial surface of each vertex, linearly
    between voxels, and the mean taken. (fsaverage and MNI space differ by a few mm: this is for pictures, not
    for statistics.) Of fsaverage6 and fsaverage the first 10,242 vertices are those of fsaverage5 and are
    taken as they are.

    Parameters
    ----------
    geometry : voxridge.responses.Geometry
    values : (n_columns,) or (n_maps, n_columns) float
    space : str
        Where the columns lie: "MNI152NLin2009cAsym" or another name that begins with MNI; "fsaverage5",
        "fsaverage6", "fsaverage".
    cortex : Cortex, optional
        fsaverage5 where it is loaded already.

    Returns
    -------
    ndarray (20484,) or (n_maps, 20484) float64
        Left hemisphere first; NaN outside the mask, and where the voxels are NaN.

    Raises
    ------
    ValueError
        A volume that is not in MNI space, a surface of another mesh, one hemisphere only, CIFTI, columns
        without a place, or another width.
    ImportError
        nilearn is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.responses import Geometry
    >>> geometry = Geometry.surface((10242, 10242), ("L", "R"))
    >>> surface_values(geometry, np.zeros(20484), space="fsaverage5").shape
    (20484,)
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim not in (1, 2) or given.shape[-1] != geometry.n_columns:
        raise ValueError(
            f"values has shape {given.shape}; give ({geometry.n_columns},) or (n_maps, {geometry.n_columns})"
        )
    if geometry.kind == "volume":
        _check_mni(geometry, space)
        found = _sampled(geometry, np.atleast_2d(given), cortex)
    elif geometry.kind == "surface":
        found = _first_vertices(geometry, np.atleast_2d(given), space)
    else:
        raise ValueError(
            f"a geometry of kind {geometry.kind!r} cannot be drawn on fsaverage5: resample fsLR to fsaverage "
            "first (wb_command -metric-resample), or write the maps with write_maps and draw them elsewhere"
        )
    return found[0] if given.ndim == 1 else found


def _check_mni(geometry: Geometry, space: str) -> None:
    if not space.startswith("MNI"):
        raise ValueError(
            f"space={space!r}: only volumes in MNI space can be drawn on fsaverage5; an individual brain has "
            "other folds: use volume_figure(kind='slices'), or bring the map to MNI space first"
        )
    assert geometry.affine is not None
    assert geometry.mask is not None
    inside = np.argwhere(geometry.mask.reshape(geometry.shape))
    places = inside @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    share = float(np.mean(np.all((places >= _HEAD[0]) & (places <= _HEAD[1]), axis=1)))
    if share < _INSIDE:
        raise ValueError(
            f"space={space!r}, but only {share:.0%} of the voxels lie where a head does in MNI space (x from "
            f"{places[:, 0].min():.0f} to {places[:, 0].max():.0f} mm): check the affine and the space"
        )


def _sampled(geometry: Geometry, maps: Float64, cortex: Cortex | None) -> Float64:
    nilearn = need_nilearn("surface")
    from nibabel import Nifti1Image

    from voxridge.responses.cortex import load_cortex

    surface = load_cortex() if cortex is None else cortex
    out = np.full((len(maps), surface.n_vertices), np.nan)
    for row, values in enumerate(maps):
        known = np.isfinite(values)
        if not known.any():
            continue
        image = Nifti1Image(geometry.unmask(np.where(known, values, 0.0), fill=0.0), geometry.affine)
        mask = Nifti1Image(geometry.unmask(known.astype(np.float32), fill=0.0), geometry.affine)
        parts = []
        for side in surface.sides:
            if side.white is None:
                raise ValueError("cortex has no white surface; use load_cortex()")
            # Weights of the known voxels around each point: their share of the sum undoes the zeros outside.
            mesh, inner = (side.pial, side.faces), (side.white, side.faces)
            with warnings.catch_warnings():
                # Of vertices whose points all lie outside the volume: they are NaN, as they should be.
                warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
                total, weight = (
                    nilearn.vol_to_surf(part, mesh, inner_mesh=inner, interpolation="linear")
                    for part in (image, mask)
                )
            weight = np.nan_to_num(weight)
            enough = weight > 0.3
            parts.append(np.where(enough, np.nan_to_num(total) / np.where(enough, weight, 1.0), np.nan))
        out[row] = np.concatenate(parts)
    return out


def _first_vertices(geometry: Geometry, maps: Float64, space: str) -> Float64:
    if geometry.hemispheres != ("L", "R") or geometry.shape[0] != geometry.shape[1]:
        raise ValueError(
            f"the surface has the hemispheres {geometry.hemispheres} with {geometry.shape} vertices; the "
            "figure needs both, L and R, of one mesh"
        )
    if not space.startswith("fsaverage") or geometry.shape[0] not in _FSAVERAGE:
        raise ValueError(
            f"space={space!r} with {geometry.shape[0]:,} vertices per hemisphere; the figure needs "
            "fsaverage5, fsaverage6 or fsaverage (10,242, 40,962 or 163,842 vertices): resample other "
            "meshes first"
        )
    whole = geometry.unmask(maps)
    size, few = geometry.shape[0], _FSAVERAGE[0]
    return np.concatenate([whole[:, :few], whole[:, size : size + few]], axis=1)
