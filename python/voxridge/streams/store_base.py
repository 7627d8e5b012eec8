"""The part that the feature store and the response store share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import h5py
import numpy as np

from voxridge.streams.atomic import atomic_path
from voxridge.streams.checks import row_chunks
from voxridge.streams.files import check_readable, get_dataset, open_h5
from voxridge.streams.folder_store import merged_provenance, store_files
from voxridge.streams.journal import append_h5, discard_journal, recover
from voxridge.streams.provenance import PER_RUN, as_json, differences, digests, of_runs, of_shared_runs
from voxridge.streams.segments import Array, FileSegment
from voxridge.streams.sources import RunSource, Source

_OWN_ATTRIBUTES = ("complete", "order")


@runtime_checkable
class Pieces(Protocol):
    """A matrix that comes in pieces of rows, one after the other, in the type in which it is to be stored."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def pieces(self) -> Iterator[tuple[slice, Array]]: ...


class RunStore:
    """What the stores share: one group per run below ``_group``, provenance on the root.

    The path is a file, or a folder with one file per run (`voxridge.streams.folder_store`). No handle stays
    open between calls: a reader never blocks a writer for long, stores can be pickled, and a process that
    dies while it computes holds nothing. `voxridge.streams.journal` makes each run appear whole.
    """

    _group = ""
    _also: tuple[str, ...] = ()  # further groups of a new file

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
        text = json.dumps(as_json(provenance))
        discard_journal(path)
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"] = f"voxridge-{cls._group}"
            file.attrs["format_version"] = 1
            file.attrs["provenance"] = text
            for group in (cls._group, *cls._also):
                file.create_group(group)
        return cls(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a store that is there, and repair it if its last writer was killed.

        Parameters
        ----------
        path : path
            A file, or a folder with one file per run.

        Raises
        ------
        FileNotFoundError
            No such file, or no HDF5 file in the folder.
        ValueError
            Not an HDF5 file, truncated, without the group of this kind of store, or (a folder) files that
            were made in different ways.
        """
        store = cls(path)
        for part in store._files():
            if not cls._is_in(part):
                with open_h5(part) as file:
                    there = ", ".join(f"/{key}" for key in file) or "nothing"
                what = f"{part} is no {cls.__name__}: group /{cls._group} is not there"
                raise ValueError(f"{what}; it holds {there}")
        store._check()
        return store

    @classmethod
    def begin(cls, path: Path, provenance: Mapping[str, Any], overwrite: bool = False) -> Self:
        """Make the store, or open the one that is there if it was made in the same way.

        Stimuli of further runs are added to its provenance; those of runs that are there must be the same.

        Parameters
        ----------
        path : Path
            A file.
        provenance : mapping
            As for `create`.
        overwrite : bool
            Replace what is there.

        Raises
        ------
        ValueError
            What is there was made in another way; the message lists all differences.
        """
        if not path.exists() or overwrite:
            return cls.create(path, provenance, overwrite=overwrite)
        store = cls.open(path)
        account = as_json(provenance)
        if not store._is_new():
            old = store.provenance
            kept = of_runs(old, store.runs)
            check_same(path, *of_shared_runs(kept, account))
            if digests(account):
                account[PER_RUN] = {**digests(kept), **digests(account)}
            if account == old:
                return store
        with append_h5(path) as file:
            store._holder(file).attrs["provenance"] = json.dumps(account)
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {len(self.runs)} runs>"

    @property
    def runs(self) -> list[str]:
        """Names of the complete runs, in the order in which they were written (a folder: natural order)."""
        return [run for part in self._files() for run in self._runs_of(part)]

    @property
    def provenance(self) -> dict[str, Any]:
        """What was given to ``create``."""
        parts = {}
        for part in self._files():
            with open_h5(part) as file:
                text = self._holder(file).attrs.get("provenance")
                unused = text is None and not len(file[self._group])
            found = json.loads(text or "{}")
            if not isinstance(found, dict):
                raise ValueError(f"{part}: the provenance is not a JSON object")
            # A folder may hold stories with words alone, or with sound alone.
            if not unused:
                parts[part] = found
        return merged_provenance(parts) if parts else {}

    def complete(self, run: str) -> bool:
        """Whether a run is there as a whole; False for a run that was never written."""
        return self._file_of(run) is not None

    def attributes(self, run: str) -> dict[str, Any]:
        """What was noted about a run as a whole, such as ``n_scored``, the number of tokens with a surprisal.

        Raises
        ------
        KeyError
            No such run.
        """
        place, group = self._place(run)
        with open_h5(place) as file:
            found = file[group].attrs.items()
            return {key: _plain(value) for key, value in found if key not in _OWN_ATTRIBUTES}

    def _files(self) -> list[Path]:
        return store_files(self.path) if self.path.is_dir() else [self.path]

    def _runs_of(self, part: Path) -> list[str]:
        with open_h5(part) as file:
            groups = file[self._group]
            found = [name for name in groups if is_complete(groups.get(name))]
            return sorted(found, key=lambda name: int(groups[name].attrs.get("order", 0)))

    def _file_of(self, run: str) -> Path | None:
        parts = self._files()
        if len(parts) > 1:
            parts.sort(key=lambda part: part.stem != run)
        for part in parts:
            with open_h5(part) as file:
                if is_complete(file[self._group].get(run)):
                    return part
        return None

    def _place(self, run: str) -> tuple[Path, str]:
        """The file and the group of a complete run."""
        part = self._file_of(run)
        if part is None:
            raise KeyError(f"{self.path} has no run {run!r}; it has {self.runs}")
        return part, f"{self._group}/{run}"

    def _read(self, run: str, name: str) -> Array:
        part, group = self._place(run)
        with open_h5(part) as file:
            found: Array = get_dataset(file, f"{group}/{name}", part)[()]
        return found

    def _check(self) -> None:
        """Raise a ValueError if the runs do not belong together."""
        if self.path.is_dir():
            _ = self.provenance

    def _holder(self, file: Any) -> Any:
        """What carries the provenance in an open file."""
        return file

    @classmethod
    def _is_in(cls, part: Path) -> bool:
        """Whether a file has the group of this kind of store."""
        recover(check_readable(part))
        with open_h5(part) as file:
            return isinstance(file.get(cls._group), h5py.Group)

    def _is_new(self) -> bool:
        with open_h5(self.path) as file:
            return not len(file[self._group]) and "provenance" not in self._holder(file).attrs

    def _one_file(self) -> Path:
        if self.path.is_dir():
            raise IsADirectoryError(
                f"{self.path} is a folder with one file per run; write another run to a file of its own: "
                f"{type(self).__name__}.create({str(self.path / 'RUN.h5')!r}, provenance)"
            )
        return self.path

    def _write(
        self,
        run: str,
        matrices: Mapping[str, Source | Array | Pieces],
        attributes: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    ) -> None:
        """Add the group of a run: the data first, then the attribute ``complete``, all of it or nothing.

        Attributes that depend on the data are given as a function, called once the data are written.
        """
        with append_h5(self._one_file()) as file:
            groups = file[self._group]
            if run in groups:
                raise ValueError(f"{self.path} already has a run {run!r}; write to a new store")
            order = 1 + max((int(g.attrs.get("order", 0)) for g in groups.values()), default=-1)
            group = groups.create_group(run)
            group.attrs["complete"] = False
            for name, matrix in matrices.items():
                write_matrix(group, name, matrix)
            for key, value in (attributes() if callable(attributes) else attributes).items():
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
        places = [self._place(run) for run in chosen]
        segments = [FileSegment(part, f"{group}/{name}") for part, group in places]
        return RunSource(segments, name=self._group, run_names=chosen)


def check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise a ValueError that lists how the provenance of what is at ``path`` differs from the new one."""
    if found := list(differences(old, new)):
        raise ValueError(
            f"{path} was made in another way and cannot be continued: {'; '.join(found)}. Give another "
            "path, the old settings, or overwrite=True"
        )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def is_complete(group: Any) -> bool:
    """Whether a group is a finished run. Files made elsewhere lack the attribute and count as finished."""
    return isinstance(group, h5py.Group) and bool(group.attrs.get("complete", True))


def layer_name(number: int) -> str:
    """The name under which a store has layer `number` of a model."""
    return f"layer-{number:02d}"


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


def write_matrix(group: Any, name: str, matrix: Source | Array | Pieces) -> None:
    """Write one dataset, a source by chunks of rows in the float type in which it is stored."""
    if isinstance(matrix, Pieces):
        dataset = group.create_dataset(name, shape=matrix.shape, dtype=matrix.dtype)
        for rows, values in matrix.pieces():
            dataset[rows] = values
        return
    if isinstance(matrix, np.ndarray):
        kind = h5py.string_dtype("utf-8") if matrix.dtype == object else matrix.dtype
        group.create_dataset(name, data=matrix, dtype=kind)
        return
    stored = getattr(matrix, "stored_dtype", matrix.dtype)
    dataset = group.create_dataset(name, shape=matrix.shape, dtype=stored)
    for rows in row_chunks(matrix):
        # Widened float16 goes back to float16 without loss.
        dataset[rows] = matrix.read(rows).astype(stored, copy=False)
