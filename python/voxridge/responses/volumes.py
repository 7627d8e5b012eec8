"""4-D NIfTI images, one volume in memory at a time, and the masks that choose their voxels."""

from __future__ import annotations

import os
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.responses.extras import need_nibabel, need_nilearn
from voxridge.responses.geometry import Geometry, same_affine
from voxridge.streams.files import check_readable, truncated
from voxridge.streams.identity import Identity, identity
from voxridge.streams.segments import Array, read_dtype

# What nibabel, gzip and the operating system raise on a file that ends early or is damaged.
DAMAGE = (OSError, EOFError, ValueError, zlib.error)


class VolumeSegment:
    """The voxels of a mask over the volumes of a 4-D NIfTI image: rows (n_TR), columns (n_voxels).

    A read holds one volume beside what it returns. Of a ``.nii.gz``, which can only be read forwards, the
    place reached stays open until the last volume: reading in order unpacks the file once.
    """

    in_memory = False
    row_multiple = 1

    def __init__(self, path: Path, geometry: Geometry) -> None:
        self.path = path
        image = open_image(path)
        self.shape = (int(image.shape[3]), geometry.n_columns)
        self.dtype = stored_type(image, path)
        grid = (
            np.ones(geometry.shape, bool) if geometry.mask is None else geometry.mask.reshape(geometry.shape)
        )
        # Volumes lie in the file with x fastest; the columns have x slowest, as data[mask] does.
        self._places = np.ravel_multi_index(np.nonzero(grid), geometry.shape, order="F")
        self._open: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        if self._open is None:
            self._open = open_image(self.path).dataobj
        places = self._places[columns]
        for index in range(rows.start, rows.stop):
            try:
                volume = np.asanyarray(self._open[..., index])
            except DAMAGE as error:
                self._open = None
                raise damaged(self.path, f"volume {index} of {self.shape[0]}", error) from error
            np.copyto(out[index - rows.start], volume.ravel(order="F")[places], casting="same_kind")
        if rows.stop == self.shape[0]:
            self._open = None

    def identity(self, *, contents: bool = True) -> Identity:
        return identity([self.path], self, voxels=int(zlib.crc32(self._places.tobytes())))


def open_image(path: str | os.PathLike[str], *, dimensions: int = 4) -> Any:
    """A NIfTI image whose numbers are still in the file.

    Raises
    ------
    FileNotFoundError
        Nothing is there, or only a link into a git-annex that was not fetched.
    ValueError
        No image, a pointer instead of one, truncated, or without time.
    """
    image = load_image(path)
    shape = tuple(image.shape)
    if len(shape) != dimensions:
        what = "a 4-D image (x, y, z, n_TR)" if dimensions == 4 else "an image (x, y, z)"
        raise ValueError(f"{path} has shape {shape}; give {what}")
    return image


def load_image(path: str | os.PathLike[str]) -> Any:
    """Open an image with nibabel, numbers still in the file; errors as in :func:`open_image`."""
    path = check_readable(path)
    nibabel = need_nibabel()
    unreadable = (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError)
    try:
        image = nibabel.load(path, **({"keep_file_open": True} if path.suffix == ".gz" else {}))
    except (*unreadable, *DAMAGE, KeyError) as error:
        size = f"{path.stat().st_size:,} bytes"
        raise ValueError(f"{path} ({size}) is no image, or its header is damaged: {error}") from error
    proxy = image.dataobj
    if path.suffix != ".gz" and nibabel.is_proxy(proxy):
        whole = int(proxy.offset) + int(np.prod(proxy.shape)) * proxy.dtype.itemsize
        if path.stat().st_size < whole:
            raise truncated(path, path.stat().st_size, whole)
    return image


def damaged(path: Path, where: str, error: BaseException) -> ValueError:
    """The error for an image that cannot be read to its end."""
    return ValueError(f"{path} is truncated or damaged at {where}: {error}; copy or fetch it again")


def stored_type(image: Any, path: Path) -> np.dtype[Any]:
    """The type that the numbers are read in; 16-bit integers with a scale fit float32."""
    stored = image.dataobj.dtype.newbyteorder("=")
    return read_dtype(stored, str(path))


def image_tr(image: Any) -> float | None:
    """Seconds between two volumes as the header has them, or None where it does not say."""
    zooms = image.header.get_zooms()
    if len(zooms) < 4 or not np.isfinite(zooms[3]) or zooms[3] <= 0:
        return None
    seconds = float(zooms[3]) * {"msec": 1e-3, "usec": 1e-6}.get(image.header.get_xyzt_units()[1], 1.0)
    # Nobody scans once in 100 s: a header with such a number has milliseconds under the name of seconds.
    return round(seconds / 1000 if seconds > 100 else seconds, 6)


def volume_geometry(path: Path, mask: Any) -> Geometry:
    """The voxels of an image that a mask chooses.

    ``mask``: an image or its path, on the grid of the data; a bool array (x, y, z); a Geometry; "compute".

    Raises
    ------
    ValueError
        No mask; one on another grid (both grids are named), of the wrong shape, or empty.
    """
    image = open_image(path)
    if mask is None:
        raise ValueError(
            f"{path} is a 4-D image of {tuple(image.shape)}: say which voxels to take with mask= an image on "
            'the same grid, a bool array (x, y, z), or "compute" (nilearn.masking.compute_epi_mask)'
        )
    if isinstance(mask, str) and mask == "compute":
        return compute_mask([path])
    if isinstance(mask, Geometry):
        found, affine, label = _geometry_mask(mask), mask.affine, "the geometry given as mask"
    elif isinstance(mask, np.ndarray):
        found, affine, label = as_mask(mask, "the mask array"), image.affine, "the mask array"
    else:
        found, affine, label = _mask_image(mask)
    if found.shape != image.shape[:3]:
        raise ValueError(f"{label} has shape {found.shape}, but {path} has volumes of {image.shape[:3]}")
    if not same_affine(affine, image.affine):
        there = f"{label} has affine {_rows(affine)}, but {path} has affine {_rows(image.affine)}"
        raise ValueError(f"{there}; resample the mask to the data (nilearn.image.resample_to_img)")
    if not found.any():
        raise ValueError(f"{label} is empty: no voxel is inside")
    return Geometry.volume(found.astype(bool), image.affine)


def _geometry_mask(geometry: Geometry) -> NDArray[np.bool_]:
    if geometry.kind != "volume":
        raise ValueError(f"the geometry given as mask is of kind {geometry.kind!r}; images need a volume")
    inside: NDArray[np.bool_] = geometry.unmask(np.ones(geometry.n_columns), fill=0.0) != 0
    return inside


def _mask_image(mask: Any) -> tuple[Array, Any, str]:
    given = isinstance(mask, (str, os.PathLike))
    image = load_image(mask) if given else mask
    label = f"the mask {mask}" if given else "the mask image"
    if not hasattr(image, "dataobj"):
        raise TypeError(
            f"mask is a {type(mask).__name__}; give an image, its path, a bool array or 'compute'"
        )
    data = np.asanyarray(image.dataobj)
    data = data[..., 0] if data.ndim == 4 and data.shape[3] == 1 else data
    return as_mask(data, label), image.affine, label


def as_mask(values: Any, label: str) -> NDArray[np.bool_]:
    """True where a number is not 0.

    Raises
    ------
    ValueError
        A number is NaN or infinite: it says neither inside nor outside.
    """
    given = np.asarray(values)
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise ValueError(f"{label} has NaN or infinite values; a mask is 0 outside and another number inside")
    return given.astype(bool)


def _rows(affine: Any) -> list[Any]:
    rounded: list[Any] = np.round(np.asarray(affine, float), 4).tolist()
    return rounded


def compute_mask(paths: list[Path], *, threshold: float = 0.5) -> Geometry:
    """The brain as nilearn finds it in the mean volume of each run; the voxels in more than half of the runs.

    Equal to `nilearn.masking.compute_multi_epi_mask`, with one volume of one run in memory at a time.

    Raises
    ------
    ValueError
        The runs are not on the same grid, or nothing is left.
    """
    masking = need_nilearn("masking")
    first, masks = open_image(paths[0]), []
    for path in paths:
        image = open_image(path)
        if image.shape[:3] != first.shape[:3] or not same_affine(image.affine, first.affine):
            raise ValueError(
                f"{path} has volumes of {image.shape[:3]} and affine {_rows(image.affine)}, but {paths[0]} "
                f"has {first.shape[:3]} and {_rows(first.affine)}; bring all runs to one grid"
            )
        with warnings.catch_warnings():
            # An empty mask is an error below, with the file's name.
            warnings.filterwarnings("ignore", message="Computed an empty mask")
            masks.append(masking.compute_epi_mask(_mean_image(path, image)))
        if not np.any(masks[-1].dataobj):
            raise ValueError(f"nilearn finds no brain in the mean volume of {path}; give a mask= of your own")
    common = masks[0] if len(masks) == 1 else masking.intersect_masks(masks, threshold=threshold)
    return Geometry.volume(np.asanyarray(common.dataobj) != 0, first.affine)


def _mean_image(path: Path, image: Any) -> Any:
    total = np.zeros(image.shape[:3])
    proxy = image.dataobj
    for index in range(image.shape[3]):
        try:
            total += np.asanyarray(proxy[..., index])
        except DAMAGE as error:
            raise damaged(path, f"volume {index} of {image.shape[3]}", error) from error
    return need_nibabel().Nifti1Image(total / image.shape[3], image.affine)
