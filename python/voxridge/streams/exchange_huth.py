"""The files of the HuthLab code: into the stores and out of them, a few rows at a time.

``<folder>/<layer>/<story>.npz`` with ``features`` (n_rows, width), and ``<folder>/<story>_times.npz`` with
``times`` (n_rows, 2), start and end of each window in seconds (code of Antonello, Vaidya & Huth 2023); or
``<folder>/<story>.hf5`` with ``data`` (LeBel et al. 2023), one row per word or per TR.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from voxridge._natural import natural_key
from voxridge.streams.atomic import atomic_path
from voxridge.streams.checks import row_chunks
from voxridge.streams.files import check_readable
from voxridge.streams.imported import ImportedRun, Rows, SourceRows, check_free, copy_dataset
from voxridge.streams.layouts import story_files
from voxridge.streams.npz_stream import NpzRows, save_npz
from voxridge.streams.run_writer import write_runs
from voxridge.streams.segments import Array
from voxridge.streams.sources import Source, as_source
from voxridge.streams.store_base import layer_name
from voxridge.streams.stores import FeatureStore, ResponseStore

PathLike = str | os.PathLike[str]

_NUMBERED = re.compile(r"(?:layer|encoder)\.(\d+)")


def import_huth_features(
    folder: PathLike,
    path: PathLike,
    *,
    layers: Sequence[str] | None = None,
    stories: Sequence[str] | None = None,
    times: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> FeatureStore:
    """Bring the features that the HuthLab code extracted into a feature store.

    Parameters
    ----------
    folder : path
        With a folder for each layer, or with the files of the stories themselves (one layer, ``features``).
    path : path
        The store to make or to continue, see `voxridge.streams.run_writer.write_runs`.
    layers : sequence of str, optional
        Folders to take, such as ``["layer.6", "layer.9"]``. Default: all. ``layer.6`` and ``encoder.6``
        become ``layer-06``; other names stay.
    stories : sequence of str, optional
        Runs, in the order wanted. Default: all files of the first layer, by name, ``run-2`` before
        ``run-10``.
    times : bool
        Whether ``.npz`` features need the times of their rows; the end of each window is taken, which is when
        a causal model has heard it. False for features that have one row per TR.
    overwrite, progress : bool
        See `voxridge.streams.run_writer.write_runs`.

    Returns
    -------
    FeatureStore

    Raises
    ------
    FileNotFoundError
        A folder, a story or its times are not there; the message says which are.
    ValueError
        Files differ in their rows, stories in their columns; a damaged file, a pointer of git-annex in place
        of a file, NaN, a layer of zeros.
    TypeError
        A file holds Python objects.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "layer.6").mkdir()
    >>> numpy.savez_compressed(folder / "layer.6" / "wheel.npz", features=numpy.ones((4, 3), "float32"))
    >>> numpy.savez_compressed(folder / "wheel_times.npz", times=[[0, 0.1], [0, 0.2], [0, 0.3], [0, 0.4]])
    >>> store = import_huth_features(folder, folder / "features.h5", progress=False)
    >>> store.layers, store.runs, store.times("wheel").tolist()
    (['layer-06'], ['wheel'], [0.1, 0.2, 0.3, 0.4])
    """
    top = Path(folder)
    places = _layer_folders(top, layers)
    ours = _our_names(list(places))
    found = _stories(next(iter(places.values()))) if stories is None else list(stories)
    if not found:
        raise FileNotFoundError(f"{next(iter(places.values()))} holds no story: no .npz and no .hf5 file")
    readers = {story: _huth_run(top, places, ours, story, times) for story in found}
    provenance = {
        "kind": "features made elsewhere",
        "layout": "HuthLab",
        "layers": {new: old for old, new in ours.items()},
        "stimulus_sha256": {story: _times_digest(reader.times) for story, reader in readers.items()},
    }
    return write_runs(
        path, readers, provenance, overwrite=overwrite, progress=progress, unit="row", label="import"
    )


def export_huth_features(
    store: FeatureStore, folder: PathLike, *, prefix: str = "layer.", overwrite: bool = False
) -> None:
    """Write a feature store as the HuthLab code does: a folder per layer with an ``.npz`` file per run.

    ``<folder>/<layer>/<run>.npz`` holds ``features``; ``<folder>/<run>_times.npz`` holds ``times``
    (n_rows, 2), with the time of each row in both columns. Words have no place there.

    Parameters
    ----------
    store : FeatureStore
    folder : path
        Made if it is not there.
    prefix : str
        ``layer-06`` becomes ``layer.6``, with ``"encoder."`` (Whisper) ``encoder.6``; other names stay.
    overwrite : bool
        Replace files that are there.

    Raises
    ------
    FileExistsError
        A file is there.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> store = FeatureStore.create(folder / "features.h5")
    >>> store.write_run("wheel", {"layer-06": numpy.ones((2, 3), "float16")}, times=[0.1, 0.2])
    >>> export_huth_features(store, folder / "huth")
    >>> sorted(str(file.relative_to(folder / "huth")) for file in (folder / "huth").rglob("*.npz"))
    ['layer.6/wheel.npz', 'wheel_times.npz']
    """
    top = Path(folder)
    top.mkdir(parents=True, exist_ok=True)
    for run in store.runs:
        times = store.times(run)
        if times is not None:
            pair = as_source(np.stack([times, times], axis=1), name="times")
            _save(top / f"{run}_times.npz", "times", pair, overwrite)
        for layer in store.layers:
            number = re.fullmatch(r"layer-(\d+)", layer)
            place = top / (layer if number is None else f"{prefix}{int(number[1])}")
            place.mkdir(exist_ok=True)
            _save(place / f"{run}.npz", "features", store.source(layer, [run]), overwrite)


def export_huth_responses(store: ResponseStore, folder: PathLike, *, overwrite: bool = False) -> None:
    """Write responses as in ds003020: ``<folder>/<run>.hf5`` with ``data``, and ``individual_repeats``.

    The single presentations of a run are written if the store has kept them.

    Parameters
    ----------
    store : ResponseStore
    folder : path
        Made if it is not there.
    overwrite : bool
        Replace files that are there.

    Raises
    ------
    FileExistsError
        A file is there.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> from voxridge.streams import story_files
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> store = ResponseStore.create(folder / "responses.h5")
    >>> store.write_run("wheel", numpy.ones((4, 3)))
    >>> export_huth_responses(store, folder / "UTS03")
    >>> story_files(folder / "UTS03", ["wheel"]).shape
    (4, 3)
    """
    top = Path(folder)
    top.mkdir(parents=True, exist_ok=True)
    for run in store.runs:
        place = top / f"{run}.hf5"
        check_free(place, overwrite)
        with atomic_path(place) as temporary, h5py.File(temporary, "w") as file:
            copy_dataset(file, "data", [store.source([run])])
            if repeats := store.repeats(run):
                copy_dataset(file, "individual_repeats", repeats, stacked=True)


def _layer_folders(top: Path, layers: Sequence[str] | None) -> dict[str, Path]:
    if not top.is_dir():
        raise FileNotFoundError(f"{top} is not a folder; give the one with a folder for each layer")
    there = {place.name: place for place in sorted(top.iterdir()) if place.is_dir() and _stories(place)}
    if layers is None:
        return there or {"features": top}
    missing = [layer for layer in layers if layer not in there]
    if missing or not layers:
        raise FileNotFoundError(f"{top} has no layer {missing}; it has {sorted(there)}")
    return {layer: there[layer] for layer in layers}


def _stories(place: Path) -> list[str]:
    files = [file for file in place.iterdir() if file.suffix in (".npz", ".hf5") and file.name[0] != "."]
    return sorted({file.stem for file in files if not file.stem.endswith("_times")}, key=natural_key)


def _our_names(theirs: Sequence[str]) -> dict[str, str]:
    """``layer.6`` to ``layer-06``, whose order by name is that by depth; as they are if two would be one."""
    numbers = {name: _NUMBERED.fullmatch(name) for name in theirs}
    ours = {name: name if found is None else layer_name(int(found[1])) for name, found in numbers.items()}
    return ours if len(set(ours.values())) == len(ours) else {name: name for name in theirs}


def _huth_run(
    top: Path, places: Mapping[str, Path], ours: Mapping[str, str], story: str, times: bool
) -> ImportedRun:
    rows: dict[str, Rows] = {}
    packed = False
    for layer, place in places.items():
        file = place / f"{story}.npz"
        if file.exists() or file.is_symlink():
            rows[ours[layer]] = NpzRows(file)
            packed = True
        else:
            source = story_files(place, [story], name="features")
            rows[ours[layer]] = SourceRows(source, 0, source.shape[0])
    found = _huth_times([top, *places.values()], story) if packed and times else None
    try:
        return ImportedRun(rows, found)
    except ValueError as error:
        raise ValueError(f"story {story!r}: {error}") from error


def _huth_times(places: Sequence[Path], story: str) -> Array:
    for place in places:
        file = place / f"{story}_times.npz"
        if file.exists() or file.is_symlink():
            with np.load(check_readable(file), allow_pickle=False) as archive:
                found = np.asarray(archive[archive.files[0]], np.float64)
            if found.ndim not in (1, 2) or not np.isfinite(found).all():
                raise ValueError(f"{file}: times of shape {found.shape} are not one finite time per row")
            return found if found.ndim == 1 else found[:, -1]
    raise FileNotFoundError(
        f"{places[0]} has no {story}_times.npz with the times of the rows of story {story!r}; give "
        "times=False if there is one row per TR"
    )


def _times_digest(times: Array | None) -> str | None:
    return None if times is None else hashlib.sha256(times.astype("<f8").tobytes()).hexdigest()


def _save(path: Path, name: str, source: Source, overwrite: bool) -> None:
    check_free(path, overwrite)
    save_npz(path, name, source, row_chunks(source))
