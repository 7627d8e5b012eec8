"""One interface to features and responses, in memory or on disk: a matrix of rows in runs, read in parts."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from voxridge.streams.files import H5_SUFFIXES, check_readable, open_h5
from voxridge.streams.identity import Identity
from voxridge.streams.segments import (
    Array,
    ArraySegment,
    DatasetSegment,
    FileSegment,
    NpySegment,
    NpzSegment,
    Segment,
    read_dtype,
)


class Source(Protocol):
    """A (n_samples, n_columns) matrix whose rows are grouped in runs, in memory or on disk."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_columns)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: what ``read`` returns."""
        ...

    @property
    def runs(self) -> tuple[int, ...]:
        """Length of each run in rows; they add up to ``shape[0]``."""
        ...

    @property
    def run_names(self) -> tuple[str, ...]:
        """One name per run."""
        ...

    @property
    def in_memory(self) -> bool:
        """False if any part lives in a file."""
        ...

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
        """A C-contiguous 2-D array of ``dtype``; see `RunSource.read`.

        Parameters
        ----------
        rows, columns : slice
            Of step 1.
        """
        ...


class RunSource:
    """The source that `as_source` makes: blocks of rows, one after the other.

    Parameters
    ----------
    segments : sequence of blocks of rows
        As `as_source` makes them.
    name : str
        What the data is called in error messages.
    runs : sequence of int, optional
        Run lengths in rows. Default: each block is a run.
    run_names : sequence of str, optional
        One name per run.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source
    >>> source = as_source([numpy.ones((3, 2)), numpy.zeros((4, 2))], name="features")
    >>> source.shape, source.runs, source.read(slice(2, 4)).tolist()
    ((7, 2), (3, 4), [[1.0, 1.0], [0.0, 0.0]])
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        *,
        name: str,
        runs: Sequence[int] | None = None,
        run_names: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self._segments = list(segments)
        names = run_names if run_names is not None and len(run_names) == len(segments) else None
        _check_segments(self._segments, name, names)
        lengths = [segment.shape[0] for segment in self._segments]
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self.shape: tuple[int, int] = (int(self._starts[-1]), int(self._segments[0].shape[1]))
        self.dtype: np.dtype[Any] = np.result_type(*(read_dtype(s.dtype, name) for s in self._segments))
        self.stored_dtype: np.dtype[Any] = _stored_dtype(self._segments, self.dtype)
        self.runs: tuple[int, ...] = _run_lengths(runs, lengths, name)
        self.run_names: tuple[str, ...] = _run_names(run_names, len(self.runs), name)
        self.in_memory: bool = all(segment.in_memory for segment in self._segments)
        self.row_multiple: int = max(segment.row_multiple for segment in self._segments)

    def __repr__(self) -> str:
        where = "memory" if self.in_memory else "disk"
        rows, columns = self.shape
        return f"<{self.name}: {rows} x {columns}, {len(self.runs)} runs, {self.dtype}, on {where}>"

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
        """Read a block of rows and columns.

        Parameters
        ----------
        rows, columns
            Slices of step 1.

        Returns
        -------
        ndarray of shape (n_rows, n_columns), dtype ``self.dtype``, C-contiguous
            Where the memory given to `as_source` already has this form, a **read-only view** of it; else a
            new array that belongs to the caller. ``result.flags.writeable`` tells which.

        Raises
        ------
        ValueError
            A slice has a step, or a file is damaged.
        """
        start, stop = _bounds(rows, self.shape[0], "rows")
        left, right = _bounds(columns, self.shape[1], "columns")
        across = slice(left, right)
        first = max(0, int(np.searchsorted(self._starts, start, side="right")) - 1)
        if first < len(self._segments) and stop <= self._starts[first + 1]:
            offset = int(self._starts[first])
            ready = self._segments[first].view(slice(start - offset, stop - offset), across)
            if ready is not None and self._fits(ready):
                ready.flags.writeable = False
                return ready
        out = np.empty((stop - start, right - left), self.dtype)
        for index in range(first, len(self._segments)):
            low, high = int(self._starts[index]), int(self._starts[index + 1])
            a, b = max(start, low), min(stop, high)
            if a >= b:
                break
            self._segments[index].read_into(out[a - start : b - start], slice(a - low, b - low), across)
        return out

    def _fits(self, array: Array) -> bool:
        return array.dtype == self.dtype and array.flags.c_contiguous and array.flags.aligned

    def identities(self, *, contents: bool = True) -> list[Identity]:
        """What tells each block of rows from others; see `voxridge.streams.fingerprint`.

        Parameters
        ----------
        contents : bool, default True
            Whether arrays in memory are digested.
        """
        return [segment.identity(contents=contents) for segment in self._segments]

    def with_runs(self, runs: Sequence[int] | None, run_names: Sequence[str] | None) -> RunSource:
        """The same numbers, a single run split as ``runs`` says, or under other names.

        Parameters
        ----------
        runs : sequence of int or None
            Run lengths in rows; None keeps them.
        run_names : sequence of str or None
            One name per run.

        Raises
        ------
        ValueError
            The data have other runs already, or lengths do not add up.
        """
        if runs is None or tuple(runs) == self.runs:
            split: Sequence[int] = self.runs
            names: Sequence[str] | None = self.run_names if run_names is None else run_names
        elif len(self.runs) == 1:
            split, names = runs, run_names
        else:
            raise _other_runs(runs, self.runs, self.name)
        new = type(self)(self._segments, name=self.name)
        new.runs = _run_lengths(split, [self.shape[0]], self.name)
        new.run_names = _run_names(names, len(new.runs), self.name)
        return new


def as_source(
    data: Any, *, name: str, runs: Sequence[int] | None = None, run_names: Sequence[str] | None = None
) -> Source:
    """Make one source of features or responses from whatever they are stored in; nothing is read yet.

    Parameters
    ----------
    data
        * a 2-D array (n_samples, n_columns) of any real type and any memory order, a ``numpy.memmap``, or an
          open ``h5py.Dataset``; 1-D responses are one column;
        * a list or tuple with one of these per run;
        * the path of a file, or a list of paths, one per run: ``.npy``, ``.npz``, or HDF5 (``.h5
          .hf5 .hdf5 .hdf``) with a dataset ``data``; a single HDF5 file may also be one of the stores;
        * a matrix of float32 or float64 on a CUDA device, row-major, of torch, cupy, or whatever speaks
          DLPack or ``__cuda_array_interface__``, taken without a copy; or a list with one per run;
        * a `Source`, returned as it is, or a store (a `FeatureStore` of one layer, a `ResponseStore`).
    name
        What the data is called in error messages: "features" or "responses".
    runs
        Run lengths in rows. By default each entry of a list is one run and a single matrix is one run.
    run_names
        One name per run; by default the file stems, or "run 0", "run 1", ...

    Returns
    -------
    Source
        ``read`` gives float32 (from float32, float16, bool, 8- and 16-bit integers) or float64 (from float64
        and wider integers).

    Raises
    ------
    ValueError
        Not two-dimensional, no rows, no columns, an empty run, runs that do not add up or differ in width, a
        dataset that is missing, a damaged or truncated file.
    TypeError
        Complex, text, object, masked or sparse data.
    FileNotFoundError
        A path that does not exist.

    Examples
    --------
    >>> import numpy
    >>> source = as_source([numpy.zeros((3, 2)), numpy.ones((4, 2), "int8")], name="features")
    >>> source.shape, source.runs, source.dtype.name
    ((7, 2), (3, 4), 'float64')
    >>> source.read(slice(2, 4))
    array([[0., 0.],
           [1., 1.]])
    """
    if hasattr(data, "default_source"):
        data = data.default_source()
    if isinstance(data, RunSource):
        return data if runs is None and run_names is None else data.with_runs(runs, run_names)
    if _is_source(data):
        return _foreign_source(data, runs, name)
    if isinstance(data, (str, os.PathLike)) and Path(data).suffix.lower() in H5_SUFFIXES:
        stored = _stored_source(Path(data), name)
        if stored is not None:
            return as_source(stored, name=name, runs=runs, run_names=run_names)
    parts = list(data) if isinstance(data, (list, tuple)) else [data]
    if not parts:
        raise ValueError(f"{name} is an empty list; give one array per run")
    if run_names is None and all(isinstance(part, (str, os.PathLike)) for part in parts) and runs is None:
        run_names = _path_names([Path(part) for part in parts])
    labels = [f"{name}[{i}]" for i in range(len(parts))] if isinstance(data, (list, tuple)) else [name]
    segments = [_segment(part, label, name) for part, label in zip(parts, labels, strict=True)]
    return _source_class(segments, name)(segments, name=name, runs=runs, run_names=run_names)


def match_runs(features: Source, responses: Source) -> None:
    """Check that row i of the features and row i of the responses belong to the same moment.

    The run lengths must be equal. The names must be equal where the two sides share any: the same stories in
    another order are an error even if the lengths agree. Names with nothing in common are two conventions.

    Parameters
    ----------
    features, responses : Source
        Their ``runs`` and ``run_names`` are compared; nothing is read.

    Raises
    ------
    ValueError
        The runs differ; the message holds the lengths and names of both.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source, match_runs
    >>> x, y = as_source(numpy.ones((6, 2)), name="features"), as_source(numpy.ones((5, 3)), name="responses")
    >>> match_runs(x, y)                                          # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: features and responses differ in their runs, first at run 0: ...
    """
    f_names, r_names = features.run_names, responses.run_names
    if features.runs != responses.runs:
        pairs = zip(features.runs, responses.runs, strict=False)
        shorter = min(len(features.runs), len(responses.runs))
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
        f_text, r_text = describe_runs(features), describe_runs(responses)
        raise ValueError(
            f"features and responses differ in their runs, first at run {first}: "
            f"features has {f_text}, responses has {r_text}; both need one row per TR "
            "of the same runs (trim or downsample the features, or pass runs= to a single matrix)"
        )
    if f_names != r_names and set(f_names) & set(r_names):
        raise ValueError(
            "the runs of features and responses have the same lengths but other names: features has "
            f"{f_names}, responses has {r_names}; give both in the same order"
        )


def describe_runs(source: Source) -> str:
    """Shape, lengths and names of the runs of a source, for an error message."""
    listed = [f"{name!r}: {length}" for name, length in zip(source.run_names, source.runs, strict=True)]
    text = ", ".join(listed if len(listed) <= 12 else [*listed[:12], "..."])
    return f"shape {source.shape} in {len(listed)} runs ({text})"


def means_responses(name: str) -> bool:
    """Whether a name speaks of responses, which may be one-dimensional."""
    return name.lower() in ("y", "y_true", "y_pred") or any(w in name.lower() for w in ("response", "target"))


def _is_source(data: Any) -> bool:
    return all(hasattr(data, attribute) for attribute in ("read", "runs", "run_names", "shape", "dtype"))


def _foreign_source(data: Any, runs: Sequence[int] | None, name: str) -> Source:
    source: Source = data
    if runs is not None and tuple(runs) != source.runs:
        raise _other_runs(runs, source.runs, name)
    return source


def _other_runs(asked: Sequence[int], present: Sequence[int], name: str) -> ValueError:
    return ValueError(f"runs is {tuple(asked)}, but {name} already has runs {tuple(present)}; leave runs out")


def _stored_source(path: Path, name: str) -> Source | None:
    with open_h5(path) as file:
        groups = set() if "data" in file else {"features", "responses"} & set(file)
    from voxridge.streams.stores import FeatureStore, ResponseStore  # stores are built on sources

    if "responses" in groups and means_responses(name):
        return ResponseStore.open(path).default_source()
    if "features" in groups and not means_responses(name):
        return FeatureStore.open(path).default_source()
    return None


def _segment(part: Any, label: str, name: str) -> Segment:
    if isinstance(part, (str, os.PathLike)):
        segment: Segment = _path_segment(Path(part))
        label = f"{label} ({part})"
    elif isinstance(part, h5py.Dataset):
        _check_ndim(part.shape, label, name)
        segment = DatasetSegment(part)
    elif (there := _device_segment(part, label, name)) is not None:
        return there
    else:
        array = _as_array(part, label)
        _check_ndim(array.shape, label, name)
        segment = ArraySegment(array)
    _check_ndim(segment.shape, label, name)
    read_dtype(segment.dtype, label)
    return segment


def _device_segment(part: Any, label: str, name: str) -> Segment | None:
    """None where the part is in the memory of the host."""
    from voxridge.streams.device_source import DeviceSegment, is_on_device

    if not is_on_device(part):
        return None
    shape = getattr(part, "shape", None)
    if shape is not None:  # before two dimensions are asked of it
        _check_ndim(tuple(shape), label, name)
    segment = DeviceSegment(part, label)
    _check_ndim(segment.given_shape, label, name)
    return segment


def _source_class(segments: Sequence[Segment], name: str) -> type[RunSource]:
    from voxridge.streams.device_source import DeviceSegment, DeviceSource  # built on the sources here

    there = [isinstance(segment, DeviceSegment) for segment in segments]
    if any(there) and not all(there):
        raise ValueError(
            f"{name}[{there.index(True)}] is on a CUDA device and {name}[{there.index(False)}] is not; "
            "put all runs in one place"
        )
    return DeviceSource if any(there) else RunSource


def _path_segment(path: Path) -> Segment:
    suffix = path.suffix.lower()
    if suffix in H5_SUFFIXES:
        return FileSegment(path, "data")
    if suffix == ".npy":
        return NpySegment(path)
    if suffix == ".npz":
        return NpzSegment(path)
    check_readable(path)
    known = ", ".join((".npy", ".npz", *H5_SUFFIXES))
    raise ValueError(f"{path}: the ending {suffix!r} is not known; give one of {known}")


def _as_array(part: Any, label: str) -> Array:
    if isinstance(part, np.ma.MaskedArray):
        raise TypeError(f"{label} is a masked array, whose mask would be lost; give .filled(numpy.nan)")
    if hasattr(part, "toarray"):
        raise TypeError(f"{label} is a sparse matrix ({type(part).__name__}); give .toarray()")
    if isinstance(part, (list, tuple)) and part and np.ndim(part[0]) > 1:
        raise ValueError(f"{label} is a list of matrices inside a list; give one 2-D array per run")
    return np.asarray(part)


def _check_ndim(shape: tuple[int, ...], label: str, name: str) -> None:
    if len(shape) == 2 or (len(shape) == 1 and means_responses(name)):
        return
    if len(shape) == 1:
        remedy = "give 2-D (n_samples, n_columns): .reshape(-1, 1) for one column"
    elif len(shape) == 3:
        remedy = "give 2-D (n_samples, n_columns): list(array) for one matrix per run"
    else:
        remedy = "give 2-D (n_samples, n_columns)"
    raise ValueError(f"{label} has shape {tuple(shape)}; {remedy}")


def _check_segments(segments: Sequence[Segment], name: str, run_names: Sequence[str] | None) -> None:
    first = segments[0].shape
    for index, segment in enumerate(segments):
        which = name if len(segments) == 1 else f"{name}[{index}]"
        which += f" ({run_names[index]!r})" if run_names is not None else ""
        if segment.shape[0] == 0:
            raise ValueError(f"{which} has shape {segment.shape}: a run without rows; leave this run out")
        if segment.shape[1] == 0:
            raise ValueError(f"{which} has shape {segment.shape}: no columns; give at least one")
        if segment.shape[1] != first[1]:
            raise ValueError(
                f"{which} has shape {segment.shape}, but the first run of {name} has shape {first}; "
                "all runs need the same columns"
            )


def _run_lengths(runs: Sequence[int] | None, lengths: Sequence[int], name: str) -> tuple[int, ...]:
    n_rows = sum(lengths)
    if runs is None:
        return tuple(int(length) for length in lengths)
    try:
        asked = tuple(operator.index(length) for length in runs)
    except TypeError as error:
        raise TypeError(f"runs must be whole numbers, the run lengths in rows; got {runs!r}") from error
    for index, length in enumerate(asked):
        if length < 1:
            raise ValueError(f"runs[{index}] is {length}; every run needs at least one row, leave it out")
    if sum(asked) != n_rows:
        raise ValueError(f"runs {asked} add up to {sum(asked)} rows, but {name} has {n_rows} rows")
    if len(lengths) > 1 and asked != tuple(lengths):
        raise _other_runs(asked, lengths, name)
    return asked


def _run_names(names: Sequence[str] | None, n_runs: int, name: str) -> tuple[str, ...]:
    if names is None:
        return tuple(f"run {i}" for i in range(n_runs))
    found = tuple(str(n) for n in names)
    if len(found) != n_runs:
        raise ValueError(f"run_names has {len(found)} names {found}, but {name} has {n_runs} runs")
    if len(set(found)) != n_runs:
        twice = sorted({n for n in found if found.count(n) > 1})
        raise ValueError(f"run_names must differ from each other; {twice} occur more than once")
    return found


def _path_names(paths: Sequence[Path]) -> tuple[str, ...]:
    stems = tuple(path.stem for path in paths)
    return stems if len(set(stems)) == len(stems) else tuple(str(path.with_suffix("")) for path in paths)


def _stored_dtype(segments: Sequence[Segment], read: np.dtype[Any]) -> np.dtype[Any]:
    """The float type that holds all of it without loss: float16 stays float16."""
    halves = all(segment.dtype.newbyteorder("=") == np.float16 for segment in segments)
    return np.dtype(np.float16) if halves else read


def _bounds(part: slice, length: int, what: str) -> tuple[int, int]:
    start, stop, step = part.indices(length)
    if step != 1:
        raise ValueError(f"{what} has step {step}; only slices of step 1 can be read")
    return start, max(start, stop)
