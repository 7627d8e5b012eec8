"""The part that the feature store and the response store share."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from voxridge.streams.atomic import atomic_path
from voxridge.streams.checks import row_chunks
from voxridge.streams.files import check_readable, get_dataset, open_h5
from voxridge.streams.journal import append_h5, discard_journal, recover
from voxridge.streams.segments import Array, FileSegment
from voxridge.streams.sources import RunSource, Source


class RunStore:
    """What both stores share: one group per run below ``_group``, provenance on the root.

    No handle stays open between calls: a reader never blocks a writer for long, stores can be pickled, and a
    process that dies while it computes holds nothing. `voxridge.streams.journal` makes each run appear whole.
    """

    _group = ""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Make an empty store.

        Parameters
        ----------
        path
            The file to make; its folder must exist.
        provenance
            Where the data come from, as JSON can hold it.
        overwrite
            Replace a file that is there.

        Raises
        ------
        FileExistsError
            A file is there and ``overwrite`` is False.
        TypeError
            The provenance cannot be written as JSON.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists; use {cls.__name__}.open to add to it, or overwrite=True")
        try:
            text = json.dumps(dict(provenance or {}), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TypeError(f"provenance must hold only what JSON can: {error}") from error
        discard_journal(path)
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"] = f"voxridge-{cls._group}"
            file.attrs["format_version"] = 1
            file.attrs["provenance"] = text
            file.create_group(cls._group)
        return cls(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a store that is there, and repair it if its last writer was killed.

        Raises
        ------
        FileNotFoundError
            No such file.
        ValueError
            Not an HDF5 file, truncated, or without the group of this kind of store.
        """
        check_readable(path)
        recover(path)
        store = cls(path)
        with open_h5(path) as file:
            if not isinstance(file.get(cls._group), h5py.Group):
                there = ", ".join(f"/{key}" for key in file) or "nothing"
                what = f"{path} is no {cls.__name__}: group /{cls._group} is not there"
                raise ValueError(f"{what}; it holds {there}")
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {len(self.runs)} runs>"

    @property
    def runs(self) -> list[str]:
        """Names of the complete runs, in the order in which they were written."""
        with open_h5(self.path) as file:
            groups = file[self._group]
            found = [name for name in groups if is_complete(groups.get(name))]
            return sorted(found, key=lambda name: int(groups[name].attrs.get("order", 0)))

    @property
    def provenance(self) -> dict[str, Any]:
        """What was given to ``create``."""
        with open_h5(self.path) as file:
            found = json.loads(file.attrs.get("provenance", "{}"))
        if not isinstance(found, dict):
            raise ValueError(f"{self.path}: the provenance is not a JSON object")
        return found

    def complete(self, run: str) -> bool:
        """Whether a run is there as a whole; False for a run that was never written."""
        with open_h5(self.path) as file:
            return is_complete(file[self._group].get(run))

    def _dataset(self, run: str, name: str) -> str:
        if not self.complete(run):
            raise KeyError(f"{self.path} has no run {run!r}; it has {self.runs}")
        return f"{self._group}/{run}/{name}"

    def _read(self, run: str, name: str) -> Array:
        with open_h5(self.path) as file:
            found: Array = get_dataset(file, self._dataset(run, name), self.path)[()]
        return found

    def _write(self, run: str, matrices: Mapping[str, Source | Array], attributes: Mapping[str, Any]) -> None:
        """Add the group of a run: the data first, then the attribute ``complete``, all of it or nothing."""
        with append_h5(self.path) as file:
            groups = file[self._group]
            if run in groups:
                raise ValueError(f"{self.path} already has a run {run!r}; write to a new store")
            order = 1 + max((int(g.attrs.get("order", 0)) for g in groups.values()), default=-1)
            group = groups.create_group(run)
            group.attrs["complete"] = False
            for name, matrix in matrices.items():
                write_matrix(group, name, matrix)
            for key, value in attributes.items():
                group.attrs[key] = value
            group.attrs["order"] = order
            group.attrs["complete"] = True

    def _source(self, name: str, runs: Sequence[str] | None) -> RunSource:
        """One dataset of every run, or of the runs given in that order."""
        present = self.runs
        chosen = present if runs is None else list(runs)
        missing = [run for run in chosen if run not in present]
        if missing:
            raise KeyError(f"{self.path} has no run {missing[0]!r}; it has {present}")
        if not chosen:
            raise ValueError(f"{self.path} has no complete run yet; write one with write_run")
        segments = [FileSegment(self.path, f"{self._group}/{run}/{name}") for run in chosen]
        return RunSource(segments, name=self._group, run_names=chosen)


def is_complete(group: Any) -> bool:
    """Whether a group is a finished run. Files made elsewhere lack the attribute and count as finished."""
    return isinstance(group, h5py.Group) and bool(group.attrs.get("complete", True))


def check_name(name: str, what: str, taken: Sequence[str] = ()) -> None:
    """Raise a ValueError unless ``name`` can name a group or dataset in an HDF5 file."""
    if not isinstance(name, str) or not name or "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError(f'{what} {name!r} cannot be a name in the file; give text without "/"')
    if name in taken:
        raise ValueError(f"{what} {name!r} is a name that the store uses itself; give another name")


def side_column(values: Array, n_rows: int, label: str) -> Array:
    """Check that a one-dimensional companion of the rows has one entry per row."""
    if values.shape != (n_rows,):
        raise ValueError(f"{label} has shape {values.shape}, but the run has {n_rows} rows; give one per row")
    return values


def write_matrix(group: Any, name: str, matrix: Source | Array) -> None:
    """Write one dataset, a source by chunks of rows in the float type in which it is stored."""
    if isinstance(matrix, np.ndarray):
        kind = h5py.string_dtype("utf-8") if matrix.dtype == object else matrix.dtype
        group.create_dataset(name, data=matrix, dtype=kind)
        return
    stored = getattr(matrix, "stored_dtype", matrix.dtype)
    dataset = group.create_dataset(name, shape=matrix.shape, dtype=stored)
    for rows in row_chunks(matrix):
        # Widened float16 goes back to float16 without loss.
        dataset[rows] = matrix.read(rows).astype(stored, copy=False)
