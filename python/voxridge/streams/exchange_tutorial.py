"""The files of the voxelwise modelling tutorials: into the stores and out of them, a few rows at a time.

``X_train``, ``X_test``, ``Y_train``, ``Y_test`` (n_repeats, n_TR, n_voxels) and ``run_onsets`` in HDF5 files
(Dupre la Tour et al. 2025, Imaging Neuroscience).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from voxridge.streams.atomic import atomic_path
from voxridge.streams.files import get_dataset, open_h5
from voxridge.streams.imported import ImportedRun, SourceRows, check_free, copy_dataset
from voxridge.streams.layouts import h5_dataset, run_lengths, tutorial_test, tutorial_train
from voxridge.streams.run_writer import write_runs
from voxridge.streams.sources import RunSource
from voxridge.streams.stores import FeatureStore, ResponseStore

PathLike = str | os.PathLike[str]


def import_tutorial_features(
    spaces: PathLike | Mapping[str, PathLike],
    path: PathLike,
    *,
    onsets: PathLike | Sequence[int] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> FeatureStore:
    """Bring feature spaces of the voxelwise modelling tutorials into a feature store.

    The runs are called ``train-00``, ``train-01``, ... (or as a file that `export_tutorial_features` made
    says) and ``test``.

    Parameters
    ----------
    spaces : path, or mapping of layer name to path
        HDF5 files with ``X_train`` and ``X_test``. A single one becomes the layer of its stem.
    path : path
        The store to make or to continue.
    onsets : path or sequence of int, optional
        First row of every training run, or the file that holds ``run_onsets`` (the responses). Default: the
        file of the features.
    overwrite, progress : bool
        See `voxridge.streams.run_writer.write_runs`.

    Raises
    ------
    FileNotFoundError
        A file is not there.
    ValueError
        A dataset is missing or damaged, feature spaces differ in their rows, ``run_onsets`` does not fit.

    Examples
    --------
    >>> import h5py, numpy, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with h5py.File(folder / "wordnet.hdf", "w") as file:
    ...     file["X_train"], file["X_test"] = numpy.ones((6, 3)), numpy.ones((2, 3))
    >>> options = {"onsets": [0, 4], "progress": False}
    >>> store = import_tutorial_features(folder / "wordnet.hdf", folder / "features.h5", **options)
    >>> store.layers, store.runs, store.source("wordnet").runs
    (['wordnet'], ['train-00', 'train-01', 'test'], (4, 2, 2))
    """
    files = dict(spaces) if isinstance(spaces, Mapping) else {Path(spaces).stem: spaces}
    train = {layer: _train_source(Path(file), onsets) for layer, file in files.items()}
    test = {layer: tutorial_test(file) for layer, file in files.items()}
    first = next(iter(train))
    for layer, source in train.items():
        if source.runs != train[first].runs:
            raise ValueError(
                f"{files[layer]} has training runs of {source.runs} rows, but {files[first]} of "
                f"{train[first].runs}: the files do not belong together"
            )
    readers: dict[str, ImportedRun] = {}
    starts = np.cumsum((0, *train[first].runs))
    names = _train_names(Path(files[first]), len(train[first].runs))
    for name, start, length in zip(names, starts, train[first].runs, strict=False):
        parts = {layer: SourceRows(source, int(start), length) for layer, source in train.items()}
        readers[name] = ImportedRun(parts)
    readers["test"] = ImportedRun({layer: SourceRows(s, 0, s.shape[0]) for layer, s in test.items()})
    provenance = {"kind": "features made elsewhere", "layout": "voxelwise tutorials", "layers": list(files)}
    return write_runs(
        path, readers, provenance, overwrite=overwrite, progress=progress, unit="row", label="import"
    )


def export_tutorial_features(
    store: FeatureStore, layer: str, path: PathLike, *, test_runs: Sequence[str] = (), overwrite: bool = False
) -> None:
    """Write one layer as ``X_train``, ``X_test`` and ``run_onsets`` in one HDF5 file.

    Parameters
    ----------
    store : FeatureStore
    layer : str
    path : path
        The file to make, usually ``<layer>.hdf``.
    test_runs : sequence of str
        Runs that make up ``X_test``, in this order; without any it is left out. The others make ``X_train``.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    FileExistsError
        The file is there.
    KeyError
        A run does not exist.
    ValueError
        No run is left for training.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> from voxridge.streams import tutorial_train
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> store = FeatureStore.create(folder / "features.h5")
    >>> for run, length in (("alice", 4), ("wheel", 2), ("queen", 3)):
    ...     store.write_run(run, {"layer-06": numpy.ones((length, 3))})
    >>> export_tutorial_features(store, "layer-06", folder / "gpt.hdf", test_runs=["wheel"])
    >>> tutorial_train(folder / "gpt.hdf").runs
    (4, 3)
    """
    train = _train_runs(store.runs, test_runs, store.path)
    check_free(Path(path), overwrite)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        _write_train(file, "X_train", store.source(layer, train))
        if test_runs:
            copy_dataset(file, "X_test", [store.source(layer, list(test_runs))])


def export_tutorial_responses(
    store: ResponseStore, path: PathLike, *, test_runs: Sequence[str] = (), overwrite: bool = False
) -> None:
    """Write responses as ``Y_train``, ``Y_test`` (n_repeats, n_TR, n_voxels) and ``run_onsets`` in one file.

    Parameters
    ----------
    store : ResponseStore
    path : path
        The file to make, usually ``<subject>_responses.hdf``.
    test_runs : sequence of str
        Runs that make up ``Y_test``, in this order: their single presentations where all of them have kept
        the same number, else one presentation. Without any it is left out.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    FileExistsError
        The file is there.
    KeyError
        A run does not exist.
    ValueError
        No run is left for training, or the test runs have kept different numbers of presentations.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> from voxridge.streams import tutorial_test
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> store = ResponseStore.create(folder / "responses.h5")
    >>> for run, length in (("alice", 4), ("wheel", 2)):
    ...     store.write_run(run, numpy.ones((length, 3)))
    >>> export_tutorial_responses(store, folder / "S01_responses.hdf", test_runs=["wheel"])
    >>> tutorial_test(folder / "S01_responses.hdf").shape
    (2, 3)
    """
    train = _train_runs(store.runs, test_runs, store.path)
    check_free(Path(path), overwrite)
    presentations = {run: store.repeats(run) or [store.source([run])] for run in test_runs}
    counts = {run: len(found) for run, found in presentations.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the test runs have different numbers of presentations: {counts}; write them apart")
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        _write_train(file, "Y_train", store.source(train))
        if presentations:
            together = [_joined(parts) for parts in zip(*presentations.values(), strict=True)]
            copy_dataset(file, "Y_test", together, stacked=True)


def _train_source(file: Path, onsets: PathLike | Sequence[int] | None) -> RunSource:
    if onsets is None:
        return tutorial_train(file)
    whole = h5_dataset(file, "X_train", name="features")
    if isinstance(onsets, (str, os.PathLike)):
        place = Path(onsets)
        with open_h5(place) as opened:
            onsets = get_dataset(opened, "run_onsets", place)[()]
        return whole.with_runs(run_lengths(onsets, whole.shape[0], place), None)
    return whole.with_runs(run_lengths(onsets, whole.shape[0], file), None)


def _train_names(file: Path, n_runs: int) -> list[str]:
    with open_h5(file) as opened:
        found = opened["run_onsets"].attrs.get("run_names") if "run_onsets" in opened else None
    return [f"train-{i:02d}" for i in range(n_runs)] if found is None else [str(name) for name in found]


def _train_runs(runs: Sequence[str], test_runs: Sequence[str], path: Path) -> list[str]:
    missing = [run for run in test_runs if run not in runs]
    if missing:
        raise KeyError(f"{path} has no run {missing[0]!r}; it has {list(runs)}")
    train = [run for run in runs if run not in test_runs]
    if not train:
        raise ValueError(f"test_runs={list(test_runs)} leaves no run of {path} for training")
    return train


def _write_train(file: Any, name: str, source: RunSource) -> None:
    copy_dataset(file, name, [source])
    file["run_onsets"] = np.cumsum((0, *source.runs[:-1]))
    file["run_onsets"].attrs["run_names"] = list(source.run_names)


def _joined(parts: Sequence[RunSource]) -> RunSource:
    return RunSource([segment for part in parts for segment in part._segments], name="responses")
