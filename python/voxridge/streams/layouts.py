"""Readers for the HDF5 files that the field exchanges: each gives a source that reads in parts.

* One file per story with a dataset ``data`` (n_TR, n_voxels), as in the story-listening data set ds003020
  (LeBel et al. 2023, Scientific Data): `story_files`; the single presentations of a test story: `repeats`.
* ``X_train, X_test, Y_train, Y_test, run_onsets`` in one file, as in the voxelwise modelling tutorials (Dupre
  la Tour et al. 2025, Imaging Neuroscience): `tutorial_train`, `tutorial_test`, `repeats`.
* One file with ``/responses/<run>/data`` or ``/features/<run>/<layer>``: the stores.
* Any other dataset: `h5_dataset`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from voxridge.streams.files import H5_SUFFIXES, get_dataset, list_datasets, open_h5
from voxridge.streams.segments import FileSegment, MeanSegment, Segment
from voxridge.streams.sources import RunSource

_REPEATS = ("Y_test", "individual_repeats")


def story_files(
    folder: str | os.PathLike[str],
    stories: Sequence[str],
    *,
    name: str = "responses",
    dataset: str = "data",
) -> RunSource:
    """One file per story (run) in one folder: ``<folder>/<story>.hf5``, ``.h5``, ``.hdf5`` or ``.hdf``.

    Parameters
    ----------
    folder
        Holds one file per story.
    stories
        Names of the files without their ending, in the order wanted; they become the run names.
    name
        What the data is called in error messages.
    dataset
        (n_TR, n_columns) in each file.

    Raises
    ------
    FileNotFoundError
        The folder or a story is not there; the message says which stories are.
    ValueError
        A file lacks the dataset or is damaged, or the stories differ in their columns.

    Examples
    --------
    >>> import h5py, numpy
    >>> from voxridge.streams import story_files
    >>> for story, length in (("alice", 5), ("wheel", 7)):
    ...     with h5py.File(f"{story}.hf5", "w") as file:
    ...         file["data"] = numpy.ones((length, 3))
    >>> story_files(".", ["wheel", "alice"]).runs
    (7, 5)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the folder that holds one file per story")
    if isinstance(stories, str) or not stories:
        raise ValueError(f"stories is {stories!r}; give a list with at least one story")
    segments = [FileSegment(_story_path(folder, story), dataset) for story in stories]
    for story, segment in zip(stories, segments, strict=True):
        _check_matrix(segment.shape, f"{name} of story {story!r}")
    return RunSource(segments, name=name, run_names=stories)


def _story_path(folder: Path, story: str) -> Path:
    for suffix in (".hf5", *H5_SUFFIXES):
        path = folder / f"{story}{suffix}"
        if path.exists() or path.is_symlink():
            return path
    there = sorted(path.stem for path in folder.iterdir() if path.suffix.lower() in H5_SUFFIXES)
    listed = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "") or "no HDF5 file"
    raise FileNotFoundError(f"{folder} has no story {story!r}; it has {listed}")


def h5_dataset(
    path: str | os.PathLike[str],
    dataset: str,
    *,
    name: str,
    runs: Sequence[int] | None = None,
    run_names: Sequence[str] | None = None,
) -> RunSource:
    """A dataset (n_samples, n_columns) of any name in an HDF5 file, read in parts.

    The file is opened for each read and closed again, so the source can be pickled and sent to workers.

    Parameters
    ----------
    path : path
        An HDF5 file.
    dataset : str
        Its name inside the file, such as "group/data".
    name : str
        What the data is called in error messages.
    runs : sequence of int, optional
        Run lengths in rows. Default: one run.
    run_names : sequence of str, optional
        One name per run.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        No such dataset (the message lists those that are there), not 2-D, runs that do not add up.

    Examples
    --------
    >>> import h5py, numpy
    >>> from voxridge.streams import h5_dataset
    >>> with h5py.File("scan.h5", "w") as file:
    ...     file["subject/bold"] = numpy.ones((6, 4))
    >>> h5_dataset("scan.h5", "subject/bold", name="responses", runs=(2, 4))
    <responses: 6 x 4, 2 runs, float64, on disk>
    """
    segment = FileSegment(path, dataset)
    _check_matrix(segment.shape, f"{name} ({path}: {dataset!r})")
    return RunSource([segment], name=name, runs=runs, run_names=run_names)


def tutorial_train(path: str | os.PathLike[str]) -> RunSource:
    """``X_train`` or ``Y_train`` of a tutorial file, in the runs that ``run_onsets`` says.

    Parameters
    ----------
    path : path
        An HDF5 file.

    Raises
    ------
    ValueError
        Neither dataset, or no valid ``run_onsets``.

    Examples
    --------
    >>> import h5py, numpy
    >>> from voxridge.streams import tutorial_train
    >>> with h5py.File("tutorial.h5", "w") as file:
    ...     file["Y_train"] = numpy.ones((6, 3))
    ...     file["run_onsets"] = [0, 4]
    >>> tutorial_train("tutorial.h5").runs
    (4, 2)
    """
    path = Path(path)
    with open_h5(path) as file:
        key = _first_key(file, ("X_train", "Y_train"), path)
        n_rows = int(get_dataset(file, key, path).shape[0])
        runs = run_lengths(get_dataset(file, "run_onsets", path)[()], n_rows, path)
    return h5_dataset(path, key, name=_kind(key), runs=runs)


def tutorial_test(path: str | os.PathLike[str]) -> RunSource:
    """``X_test``, or the mean over the repetitions of ``Y_test`` (n_repeats, n_TR, n_voxels), as one run.

    The mean is taken while reading, block by block, in float64.

    Parameters
    ----------
    path : path
        An HDF5 file.

    Raises
    ------
    ValueError
        Neither dataset, or one of the wrong shape.

    Examples
    --------
    >>> import h5py, numpy
    >>> from voxridge.streams import tutorial_test
    >>> with h5py.File("tutorial.h5", "w") as file:
    ...     file["Y_test"] = numpy.ones((2, 5, 3))
    >>> tutorial_test("tutorial.h5").shape
    (5, 3)
    """
    path = Path(path)
    with open_h5(path) as file:
        key = _first_key(file, ("X_test", "Y_test"), path)
        shape = get_dataset(file, key, path).shape
    if len(shape) == 3:
        parts = _repeat_segments(path, key, int(shape[0]))
        return RunSource([MeanSegment(parts)], name=_kind(key), run_names=("test",))
    return h5_dataset(path, key, name=_kind(key), run_names=("test",))


def repeats(path: str | os.PathLike[str]) -> list[RunSource]:
    """The single presentations of a repeated stimulus, one source each: what a noise ceiling needs.

    Reads ``Y_test`` or ``individual_repeats`` (n_repeats, n_TR, n_voxels).

    Parameters
    ----------
    path : path
        An HDF5 file.

    Raises
    ------
    ValueError
        Neither dataset, or not three-dimensional.

    Examples
    --------
    >>> import h5py, numpy
    >>> from voxridge.streams import repeats
    >>> with h5py.File("tutorial.h5", "w") as file:
    ...     file["Y_test"] = numpy.ones((2, 5, 3))
    >>> [one.shape for one in repeats("tutorial.h5")]
    [(5, 3), (5, 3)]
    """
    path = Path(path)
    with open_h5(path) as file:
        key = _first_key(file, _REPEATS, path)
        shape = tuple(get_dataset(file, key, path).shape)
    if len(shape) != 3 or not shape[0]:
        raise ValueError(f"{path}: {key!r} has shape {shape}; repetitions are (n_repeats, n_TR, n_voxels)")
    parts = _repeat_segments(path, key, shape[0])
    names = [f"repeat {index}" for index in range(len(parts))]
    return [RunSource([p], name="responses", run_names=(n,)) for p, n in zip(parts, names, strict=True)]


def _repeat_segments(path: Path, key: str, n_repeats: int) -> list[Segment]:
    if n_repeats < 1:
        raise ValueError(f"{path}: {key!r} has no repetitions")
    return [FileSegment(path, key, lead=index) for index in range(n_repeats)]


def _first_key(file: Any, keys: Sequence[str], path: Path) -> str:
    for key in keys:
        if isinstance(file.get(key), h5py.Dataset):
            return key
    there = list_datasets(file)
    raise ValueError(f"{path}: none of the datasets {list(keys)} is there; the file holds {there}")


def _kind(key: str) -> str:
    return "features" if key.startswith("X") else "responses"


def _check_matrix(shape: tuple[int, ...], label: str) -> None:
    if len(shape) != 2:
        raise ValueError(f"{label} has shape {shape}; a matrix (n_samples, n_columns) is needed")


def run_lengths(onsets: Any, n_rows: int, path: Path) -> tuple[int, ...]:
    """Lengths of runs that begin at ``onsets`` and fill ``n_rows`` rows; ``path`` is for the message.

    Raises
    ------
    ValueError
        The onsets do not begin with 0 and rise, below ``n_rows``.
    """
    found = np.asarray(onsets).ravel()
    edges = np.append(found.astype(np.int64), n_rows)
    if found.dtype.kind not in "iu" or edges[0] != 0 or np.any(np.diff(edges) < 1):
        rule = f"it must begin with 0 and rise, below the {n_rows} rows of the data"
        raise ValueError(f"{path}: run_onsets is {found.tolist()}; {rule}")
    return tuple(int(length) for length in np.diff(edges))
