"""One entry to the responses of a run, whatever file they are in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from voxridge.responses.geometry import Geometry
from voxridge.responses.tables import SUFFIXES as TABLES
from voxridge.responses.tables import read_table
from voxridge.streams.files import H5_SUFFIXES, check_readable, open_h5
from voxridge.streams.segments import ArraySegment, FileSegment, NpySegment, NpzSegment, Segment
from voxridge.streams.sources import RunSource

if TYPE_CHECKING:
    from voxridge.streams.stores import ResponseStore

Format = Literal["volume", "cifti", "surface", "table", "array", "h5"]
PathLike = str | os.PathLike[str]
_ENDINGS: tuple[tuple[str, Format], ...] = (
    (".dtseries.nii", "cifti"),
    (".ptseries.nii", "cifti"),
    (".nii", "volume"),
    (".nii.gz", "volume"),
    (".gii", "surface"),
    *((suffix, "table") for suffix in TABLES),
    (".npy", "array"),
    (".npz", "array"),
    *((suffix, "h5") for suffix in H5_SUFFIXES),
)


class ResponseSource(RunSource):
    """A source of responses that knows where its columns lie in the brain.

    Parameters
    ----------
    segments : sequence of blocks of rows
        As `read_responses` makes them.
    geometry : Geometry
        Of all of them.
    name : str
        What the data is called in error messages.
    runs, run_names : sequence, optional
        See `voxridge.streams.RunSource`.
    tr : float, optional
        Seconds between two rows, where the file says so.

    Examples
    --------
    >>> import numpy
    >>> numpy.save("run.npy", numpy.ones((5, 3), "float32"))
    >>> read_responses("run.npy").geometry.kind
    'columns'
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        geometry: Geometry | None = None,
        *,
        name: str = "responses",
        runs: Sequence[int] | None = None,
        run_names: Sequence[str] | None = None,
        tr: float | None = None,
    ) -> None:
        super().__init__(segments, name=name, runs=runs, run_names=run_names)
        self.geometry = Geometry.columns(self.shape[1]) if geometry is None else geometry
        self.tr = tr

    @classmethod
    def of(cls, source: RunSource, geometry: Geometry | None, tr: float | None = None) -> Self:
        """The rows of another source, with a geometry.

        Parameters
        ----------
        source : RunSource
        geometry : Geometry or None
        tr : float, optional
            Seconds between two rows.
        """
        names = source.run_names
        return cls(source._segments, geometry, name=source.name, runs=source.runs, run_names=names, tr=tr)

    @property
    def segments(self) -> list[Segment]:
        """The blocks of rows, one after the other."""
        return list(self._segments)

    def with_runs(self, runs: Sequence[int] | None, run_names: Sequence[str] | None) -> Self:
        """See `voxridge.streams.RunSource`; the geometry stays.

        Parameters
        ----------
        runs : sequence of int or None
            Run lengths in rows; None keeps them.
        run_names : sequence of str or None
            One name per run.
        """
        new = super().with_runs(runs, run_names)
        assert isinstance(new, type(self))
        new.geometry, new.tr = self.geometry, self.tr
        return new


def read_responses(path: PathLike | tuple[PathLike, PathLike], *, mask: Any = None) -> ResponseSource:
    """The responses of one run as a source that reads in parts, with the place of its columns in the brain.

    ======================  =============================================  =================================
    file                    columns                                        in memory while it is read
    ======================  =============================================  =================================
    .nii, .nii.gz           voxels of ``mask``, as ``data[mask]``          one volume
    .dtseries.nii           grayordinates                                  16 MiB
    .func.gii, or two       vertices, left hemisphere first                the run (the format is one text)
    .hf5 .h5 .hdf5 .hdf     columns of the dataset ``data``, or a store    nothing
    .npy, .npz              columns                                        nothing (.npz: 64 KiB)
    .txt .csv .tsv          columns; a first line may name them            the run
    ======================  =============================================  =================================

    A ``.nii.gz`` is unpacked once if its rows are read in order, from the start for every step back; images
    keep a volume together, not a voxel. To fit models, bring them into a store: `build_response_store`.

    Parameters
    ----------
    path : path, or the two paths of the hemispheres
    mask : image, path, bool array, Geometry or "compute", optional
        Volumes need one: an image on the grid of the data, whose voxels other than 0 are taken; an array
        (x, y, z); the geometry of another run; or "compute", what `nilearn.masking.compute_epi_mask` finds.
        Surfaces may have one: bool (n_vertices of all hemispheres,), or {"L": array or GIFTI path, "R": ...}.

    Returns
    -------
    ResponseSource
        A `voxridge.streams.Source` (n_TR, n_columns) with ``geometry`` and ``tr``.

    Raises
    ------
    FileNotFoundError
        Nothing is there, or only a link into a git-annex that was not fetched.
    ValueError
        A volume without a mask, a mask on another grid (both grids are named), a mask where there can be
        none; a file that is damaged, truncated, a pointer, or of an unknown ending.
    ImportError
        nibabel is not installed.

    Examples
    --------
    >>> import nibabel, numpy
    >>> data = numpy.arange(24, dtype="float32").reshape(2, 3, 1, 4)
    >>> nibabel.save(nibabel.Nifti1Image(data, numpy.eye(4)), "bold.nii.gz")
    >>> inside = data[..., 0] > 5
    >>> source = read_responses("bold.nii.gz", mask=inside)
    >>> source.shape, source.geometry.kind, source.read(slice(1, 2)).tolist()
    ((4, 4), 'volume', [[9.0, 13.0, 17.0, 21.0]])
    """
    paths = _as_paths(path)
    kind = response_format(paths[0])
    if len(paths) > 1 and kind != "surface":
        names = [one.name for one in paths]
        raise ValueError(
            f"path is the pair {names}; only the two hemispheres of a surface are given as a pair"
        )
    if kind in ("volume", "surface"):
        return _read_volume(paths[0], mask) if kind == "volume" else _read_surface(paths, mask)
    if mask is not None:
        raise ValueError(f"{paths[0]} takes no mask: its columns are what there is; leave mask out")
    return _read_cifti(paths[0]) if kind == "cifti" else _read_columns(paths[0], kind)


def response_format(path: PathLike) -> Format:
    """Which kind of file a path names, by its ending.

    Parameters
    ----------
    path : path

    Raises
    ------
    ValueError
        The ending is not known.

    Examples
    --------
    >>> response_format("sub-01_space-fsLR_den-91k_bold.dtseries.nii")
    'cifti'
    """
    name = Path(path).name.lower()
    for ending, kind in _ENDINGS:
        if name.endswith(ending):
            return kind
    check_readable(path)
    known = " ".join(ending for ending, _ in _ENDINGS)
    raise ValueError(
        f"{path}: the ending {Path(path).suffix!r} is not known; responses are read from {known}"
    )


def run_name(path: PathLike) -> str:
    """The name of a file without its ending(s)."""
    name = Path(path).name
    for ending, _ in _ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)].removesuffix(".func")
    return Path(path).stem


def _as_paths(path: PathLike | tuple[PathLike, PathLike]) -> list[Path]:
    if isinstance(path, (str, os.PathLike)):
        return [Path(path)]
    if isinstance(path, tuple) and len(path) == 2:
        return [Path(one) for one in path]
    raise TypeError(f"path is {path!r}; give one path, or a tuple with the two hemispheres of a surface")


def _read_volume(path: Path, mask: Any) -> ResponseSource:
    from voxridge.responses.volumes import VolumeSegment, image_tr, open_image, volume_geometry

    geometry = volume_geometry(path, mask)
    tr = image_tr(open_image(path))
    return ResponseSource([VolumeSegment(path, geometry)], geometry, run_names=[run_name(path)], tr=tr)


def _read_surface(paths: list[Path], mask: Any) -> ResponseSource:
    from voxridge.responses.surfaces import SurfaceSegment, surface_geometry, surface_layout

    layouts = sorted((surface_layout(path) for path in paths), key=lambda layout: layout.hemisphere)
    geometry = surface_geometry(layouts, mask)
    segment = SurfaceSegment(layouts, geometry)
    return ResponseSource([segment], geometry, run_names=[run_name(paths[0])], tr=layouts[0].tr)


def _read_cifti(path: Path) -> ResponseSource:
    from voxridge.responses.cifti import CiftiSegment, cifti_geometry, cifti_tr

    geometry = cifti_geometry(path)
    return ResponseSource([CiftiSegment(path)], geometry, run_names=[run_name(path)], tr=cifti_tr(path))


def response_store(path: PathLike) -> ResponseStore | None:
    """The response store that a file is, None for every other file.

    Raises
    ------
    ValueError, FileNotFoundError
        The ending is not known, or the file is damaged or not there.
    """
    from voxridge.streams.stores import ResponseStore

    if response_format(path) != "h5":
        return None
    with open_h5(path) as file:
        if "data" in file or "responses" not in file:
            return None
    return ResponseStore.open(path)


def _stored(path: Path) -> ResponseSource | None:
    """All runs of a response store, None for another HDF5 file."""
    store = response_store(path)
    if store is None:
        return None
    trs = {store.tr(run) for run in store.runs}
    return ResponseSource.of(store.source(), store.geometry, tr=trs.pop() if len(trs) == 1 else None)


def _read_columns(path: Path, kind: Format) -> ResponseSource:
    names: tuple[str, ...] = ()
    if kind == "table":
        data, names = read_table(path)
        segment: Segment = ArraySegment(data)
    elif kind == "h5":
        if (stored := _stored(path)) is not None:
            return stored
        segment = FileSegment(path, "data")
    else:
        segment = NpySegment(path) if path.suffix.lower() == ".npy" else NpzSegment(path)
    if len(segment.shape) != 2:
        raise ValueError(f"{path} has shape {tuple(segment.shape)}; give (n_TR, n_columns)")
    geometry = Geometry.columns(int(segment.shape[1]), names)
    return ResponseSource([segment], geometry, run_names=[run_name(path)])
