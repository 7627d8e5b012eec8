"""One presentation of a run, ready to be stored: read, cleaned, trimmed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from voxridge._warnings import ResponseWarning
from voxridge.responses.cleaning import CleanedSegment, Cleaning, RowsSegment
from voxridge.responses.fmriprep import FmriprepRun
from voxridge.responses.readers import PathLike, ResponseSource, read_responses, response_format
from voxridge.responses.tables import read_table
from voxridge.streams.files import open_h5
from voxridge.streams.segments import Array, FileSegment

Presentation = PathLike | tuple[PathLike, PathLike] | FmriprepRun
REPEATS = "individual_repeats"
_TR_TOLERANCE = 0.05


@dataclass(frozen=True)
class Prepared:
    """A presentation, what was found out about it, and the files it came from."""

    source: ResponseSource
    files: tuple[Path, ...]
    n_bad: int = 0
    n_non_steady: int = 0
    header_tr: float | None = None


@dataclass(frozen=True)
class Recipe:
    """How every presentation of every run is prepared."""

    mask: Any
    tr: float | None
    clean: Cleaning | None
    trim: tuple[int, int]

    def __post_init__(self) -> None:
        if self.tr is not None and not (np.isfinite(self.tr) and self.tr > 0):
            raise ValueError(f"tr is {self.tr}; give the seconds between two rows, above 0")
        if len(self.trim) != 2 or any(not isinstance(n, (int, np.integer)) or n < 0 for n in self.trim):
            raise ValueError(f"trim is {self.trim!r}; give two numbers of rows, at the start and at the end")

    def prepare(self, run: str, item: Presentation, confounds: Any = None) -> Prepared:
        """The rows of one presentation; nothing is read yet but headers and confounds."""
        files = files_of(item)
        if isinstance(item, FmriprepRun):
            raw, steady = item.read(self.mask), item.non_steady
        else:
            raw, steady = read_responses(item, mask=self.mask), 0
        return self._finish(run, raw, item, confounds, files, steady)

    def stored_repeats(self, run: str, path: Path, confounds: Any = None) -> Iterator[Prepared]:
        """The single presentations that an HDF5 file keeps beside their mean, if it does."""
        with open_h5(path) as file:
            found = file.get(REPEATS)
            shape = tuple(found.shape) if isinstance(found, h5py.Dataset) else ()
        if shape and len(shape) != 3:
            raise ValueError(f"{path}: {REPEATS!r} has shape {shape}; give (n_repeats, n_TR, n_voxels)")
        for index in range(shape[0] if shape else 0):
            raw = ResponseSource([FileSegment(path, REPEATS, lead=index)], run_names=[run])
            yield self._finish(run, raw, path, confounds, (path,), 0)

    def _finish(
        self, run: str, raw: ResponseSource, item: Any, confounds: Any, files: tuple[Path, ...], steady: int
    ) -> Prepared:
        tr, n_rows = self.tr or raw.tr, raw.shape[0]
        if n_rows <= sum(self.trim):
            raise ValueError(f"run {run!r} has {n_rows} rows, and trim={self.trim} leaves none ({files[0]})")
        if len(raw.segments) > 1:
            names = list(raw.run_names)
            raise ValueError(
                f"run {run!r}: {files[0]} is a store of the runs {names}; give files of one run each"
            )
        (segment,), bad = raw.segments, np.zeros(0, np.intp)
        if self.clean is not None:
            if tr is None:
                raise ValueError(f"run {run!r}: no repetition time in {files[0]}; give tr= in seconds")
            values = read_confounds(confounds)
            if isinstance(item, FmriprepRun):
                told, bad = item.nuisance(self.clean, n_rows)
                values = _side_by_side(run, values, told)
            segment = CleanedSegment(segment, self.clean, tr=tr, confounds=values, bad=bad, trim=self.trim)
        elif any(self.trim):
            segment = RowsSegment(segment, self.trim[0], n_rows - self.trim[1])
        source = ResponseSource([segment], raw.geometry, run_names=[run], tr=tr)
        return Prepared(source, files, int(bad.size), steady, raw.tr)


def report(run: str, prepared: Prepared, recipe: Recipe) -> None:
    """Warn of a TR that the file contradicts, and of rows that are not to be used."""
    given, header, clean = recipe.tr, prepared.header_tr, recipe.clean
    if given is not None and header is not None and abs(header - given) > _TR_TOLERANCE * given:
        text = (
            f"run {run!r}: tr is {given:g} s, but the file says {header:g} s; the {given:g} s given are used"
        )
        warnings.warn(text, ResponseWarning, stacklevel=2)
    if not (prepared.n_bad or prepared.n_non_steady):
        return
    marked = f"{prepared.n_non_steady} rows at the start are not in steady state"
    if clean is None:
        what = f"{marked}; they are kept as they are: give clean=Cleaning(...) or trim="
    elif clean.bad_rows == "drop":
        what = f"{marked}, {prepared.n_bad} rows are dropped: the times of the rows after them move"
    else:
        what = f"{marked}, {prepared.n_bad} rows are regressed out: they stay in place, as 0 before z-scoring"
    warnings.warn(f"run {run!r}: {what}", ResponseWarning, stacklevel=2)


def files_of(item: Presentation) -> tuple[Path, ...]:
    """The files of a presentation, the image first."""
    if isinstance(item, FmriprepRun):
        return item.files if item.confounds is None else (*item.files, item.confounds)
    if isinstance(item, (str, os.PathLike)):
        return (Path(item),)
    if isinstance(item, tuple) and len(item) == 2:
        return tuple(Path(one) for one in item)
    raise TypeError(
        f"{item!r} is no file of responses; give a path, the two hemispheres as a tuple, a run of "
        "find_fmriprep, or a list of these: the presentations of a repeated stimulus"
    )


def is_h5(item: Any) -> bool:
    """Whether a presentation is an HDF5 file."""
    return isinstance(item, (str, os.PathLike)) and response_format(item) == "h5"


def read_confounds(given: Any) -> Array | None:
    """Confounds (n_TR, n_confounds) from an array or a table; NaN stays, for the check of the run."""
    if given is None:
        return None
    if isinstance(given, (str, os.PathLike)):
        return read_table(Path(given))[0]
    found: Array = np.asarray(given, dtype=np.float64)
    return found[:, None] if found.ndim == 1 else found


def _side_by_side(run: str, one: Array | None, other: Array | None) -> Array | None:
    present: Sequence[Array] = [values for values in (one, other) if values is not None]
    lengths = [len(values) for values in present]
    if len(set(lengths)) > 1:
        raise ValueError(f"run {run!r}: confounds has {lengths[0]} rows, the table of fMRIPrep {lengths[1]}")
    return np.concatenate(present, axis=1) if present else None
