"""The average subject: the mean of the responses of several subjects who took in the same stimuli."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from voxridge._info import versions
from voxridge.responses.cleaning import zscore
from voxridge.responses.geometry import Geometry
from voxridge.responses.store import Ranges, keep_geometry
from voxridge.streams.checks import row_chunks
from voxridge.streams.sources import RunSource
from voxridge.streams.stores import ResponseStore

Array = NDArray[Any]
_BLOCK_BYTES = 32 << 20


def average_subjects(
    stores: Mapping[str, ResponseStore | str | os.PathLike[str]],
    path: str | os.PathLike[str],
    *,
    runs: Sequence[str] | None = None,
    standardise: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> ResponseStore:
    """The mean over subjects of every run, as another response store.

    With ``standardise`` each column of each subject's run is z-scored (sample standard deviation), the mean
    over subjects is taken, and z-scored again: the average subject of Bonnasse-Gahot & Pallier (2024).

    A subject counts for a column of a run if the time course is finite throughout and varies: NaN, and voxels
    outside one subject's field of view, leave the others' mean alone. How many counted is noted for each
    column (``n_subjects`` of `n_subjects_counted`, and least and most in ``store.attributes(run)``); a column
    for which nobody counts is NaN.

    Every run is written as a whole or not at all; the same call goes on after an interruption. Memory: 32 MiB
    and a few vectors of one number per column and subject.

    Parameters
    ----------
    stores : mapping of subject name to ResponseStore or path
        At least two.
    path : path
        The HDF5 file to make or to continue.
    runs : sequence of str, optional
        Default: the runs of the first subject, which all must have.
    standardise : bool
        False: the plain mean.
    overwrite : bool
        Replace the file if it exists.
    progress : bool
        Show what was done and the time left on standard error.

    Returns
    -------
    ResponseStore
        float32 if all subjects are, else float64.

    Raises
    ------
    ValueError
        A subject has other voxels, another number of rows, another TR, another trim, lacks a run, or has a
        run without any usable column (all zero, say): every such subject is named. Fewer than two subjects.
        The file was made in another way.

    References
    ----------
    Bonnasse-Gahot & Pallier (2024), Advances in Neural Information Processing Systems 37, 125231-125263.

    Examples
    --------
    >>> import numpy
    >>> rng, stores = numpy.random.default_rng(0), {}
    >>> for subject in ("s1", "s2", "s3"):
    ...     stores[subject] = ResponseStore.create(f"{subject}.h5")
    ...     stores[subject].write_run("alice", rng.standard_normal((20, 4)), tr=2.0)
    >>> average = average_subjects(stores, "average.h5", progress=False)
    >>> average.read("alice").shape, average.attributes("alice")["n_subjects_least"]
    ((20, 4), 3)
    """
    subjects = {name: _opened(store) for name, store in stores.items()}
    if len(subjects) < 2:
        raise ValueError(f"stores has {len(subjects)} subjects; an average needs at least two")
    chosen = list(next(iter(subjects.values())).runs if runs is None else runs)
    geometry = _check_alike(subjects, chosen)
    store = ResponseStore.begin(Path(path), _provenance(subjects, standardise), overwrite)
    if geometry is not None:
        keep_geometry(store.path, geometry)
    with tqdm(total=len(chosen), desc=Path(path).stem, unit="run", disable=not progress) as bar:
        for run in chosen:
            bar.set_postfix_str(run)
            if not store.complete(run):
                _write_run(store, run, subjects, standardise)
            bar.update(1)
    return store


def trim_of(store: ResponseStore) -> list[int]:
    """Rows that were cut at the start and the end of every run when a store was made."""
    return [int(n) for n in store.provenance.get("trim") or (0, 0)]


def _opened(store: ResponseStore | str | os.PathLike[str]) -> ResponseStore:
    return store if isinstance(store, ResponseStore) else ResponseStore.open(store)


def _provenance(subjects: Mapping[str, ResponseStore], standardise: bool) -> dict[str, Any]:
    return {
        "kind": "average of subjects",
        "standardise": standardise,
        "n_subjects": len(subjects),
        "trim": trim_of(next(iter(subjects.values()))),
        "subjects": {name: store.provenance for name, store in subjects.items()},
        "versions": versions(("numpy", "h5py")),
    }


def _check_alike(subjects: Mapping[str, ResponseStore], runs: Sequence[str]) -> Geometry | None:
    """The geometry of all; raises a ValueError that names every subject who differs from the first."""
    problems: list[str] = []
    first, *others = subjects
    model = _Layout.of(subjects[first], runs)
    problems += [f"{first} lacks the run {run!r}" for run in model.missing]
    for name in others:
        layout = _Layout.of(subjects[name], runs)
        problems += [f"{name} lacks the run {run!r}" for run in layout.missing]
        if apart := _apart(model.geometry, layout.geometry):
            problems.append(f"{name} has other voxels than {first}: {apart}")
        if layout.trim != model.trim:
            problems.append(f"{name} was trimmed by {layout.trim} rows and {first} by {model.trim}")
        for run in (run for run in model.shapes if run in layout.shapes):
            if layout.shapes[run] != model.shapes[run]:
                there, here = layout.shapes[run], model.shapes[run]
                problems.append(f"run {run!r} has shape {there} in {name} and {here} in {first}")
            if None not in (layout.trs[run], model.trs[run]) and layout.trs[run] != model.trs[run]:
                problems.append(
                    f"run {run!r} has TR {layout.trs[run]} s in {name} and {model.trs[run]} in {first}"
                )
    if problems:
        raise ValueError("the subjects cannot be averaged: " + "; ".join(problems))
    return model.geometry


def _apart(one: Geometry | None, other: Geometry | None) -> str:
    return one.difference(other) if one is not None and other is not None else ""


@dataclass(frozen=True)
class _Layout:
    """What must agree between subjects."""

    geometry: Geometry | None
    missing: list[str]
    trim: list[int]
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    trs: dict[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, store: ResponseStore, runs: Sequence[str]) -> _Layout:
        there = set(store.runs)
        found = cls(store.geometry, [run for run in runs if run not in there], trim_of(store))
        for run in runs:
            if run in there:
                found.shapes[run] = store.source([run]).shape
                found.trs[run] = store.tr(run)
        return found


def _write_run(
    store: ResponseStore, run: str, subjects: Mapping[str, ResponseStore], standardise: bool
) -> None:
    sources = {name: subject.source([run]) for name, subject in subjects.items()}
    usable = {name: _usable(source) for name, source in sources.items()}
    empty = [name for name, columns in usable.items() if not columns.any()]
    if empty:
        reasons = "; ".join(f"{name} ({_problem(sources[name])})" for name in empty)
        raise ValueError(f"run {run!r} cannot be averaged over {reasons}: leave out {empty}")
    counted: NDArray[np.int64] = np.sum(np.stack(list(usable.values())), axis=0, dtype=np.int64)
    first = next(iter(subjects.values()))
    attributes: dict[str, Any] = {
        "units": "z" if standardise else first.units(run),
        "n_subjects": len(subjects),
        "n_subjects_least": int(counted.min()),
        "n_subjects_most": int(counted.max()),
        "n_nonfinite": int(np.count_nonzero(counted == 0)),
    }
    if (tr := first.tr(run)) is not None:
        attributes["tr"] = tr
    mean = _Average(list(sources.values()), list(usable.values()), standardise)
    store._write(run, {"data": mean, "n_subjects": counted.astype(np.uint16)}, attributes)


def n_subjects_counted(store: ResponseStore, run: str) -> NDArray[np.uint16]:
    """How many subjects counted for each column of a run of an average, (n_columns,)."""
    found: NDArray[np.uint16] = store._read(run, "n_subjects")
    return found


def _ranges(source: RunSource) -> Ranges:
    found = Ranges(source.shape[1])
    for rows in row_chunks(source):
        found.add(source.read(rows))
    return found


def _usable(source: RunSource) -> NDArray[np.bool_]:
    ranges = _ranges(source)
    found: NDArray[np.bool_] = ~(ranges.nonfinite | ranges.constant)
    return found


def _problem(source: RunSource) -> str:
    return _ranges(source).problem


class _Average:
    """The mean over subjects; a block of columns over all rows at a time."""

    def __init__(
        self, sources: Sequence[RunSource], usable: Sequence[NDArray[np.bool_]], standardise: bool
    ) -> None:
        self.shape = sources[0].shape
        self.dtype = np.result_type(*(source.dtype for source in sources))
        self._sources, self._usable, self._standardise = sources, usable, standardise

    def pieces(self) -> Iterator[tuple[Any, Array]]:
        n_rows, n_columns = self.shape
        width = max(1, _BLOCK_BYTES // (8 * 4 * n_rows))
        for first in range(0, n_columns, width):
            columns = slice(first, min(first + width, n_columns))
            yield (slice(None), columns), self._block(columns).astype(self.dtype, copy=False)

    def _block(self, columns: slice) -> Array:
        total = np.zeros((self.shape[0], columns.stop - columns.start))
        count = np.zeros(columns.stop - columns.start)
        for source, usable in zip(self._sources, self._usable, strict=True):
            good = usable[columns]
            values = np.asarray(source.read(slice(None), columns), np.float64)[:, good]
            total[:, good] += zscore(values) if self._standardise else values
            count += good
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
        return np.where(count > 0, zscore(mean), np.nan) if self._standardise else mean
