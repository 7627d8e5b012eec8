"""Writing the runs of an experiment to a store, block by block, so that a kill costs one block at most."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from voxridge.streams.folder_store import means_folder, run_file, visible_files
from voxridge.streams.partial import PartialRun, RowBlock, not_finite, partial_path
from voxridge.streams.provenance import as_json, of_runs, of_shared_runs
from voxridge.streams.run_progress import RunProgress
from voxridge.streams.segments import Array
from voxridge.streams.store_base import check_name, check_same, side_column
from voxridge.streams.stores import FeatureStore

__all__ = ["RowBlock", "RunReader", "write_runs"]

_TAKEN = ("times", "words")
# Another group of the same file may be added to by another program, which takes seconds.
_WAIT_SECONDS = 120.0


class RunReader(Protocol):
    """One run that is computed block by block.

    Attributes
    ----------
    n_rows : int
    widths : mapping of layer name to width
    dtype : numpy dtype
        float16, float32 or float64: of every block, and of the store.
    times : (n_rows,) float64 in seconds, or None
    words : sequence of n_rows str, or None
    """

    @property
    def n_rows(self) -> int:
        """Rows of the run."""
        ...

    @property
    def widths(self) -> Mapping[str, int]:
        """Columns of every layer."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of every layer."""
        ...

    @property
    def times(self) -> Array | None:
        """Time of each row, or None."""
        ...

    @property
    def words(self) -> Sequence[str] | None:
        """Word of each row, or None."""
        ...

    def blocks(self, first_row: int, before: Mapping[str, Array] | None) -> Iterator[RowBlock]:
        """Yield the blocks from ``first_row`` on, which is 0 or where a block ended in an earlier call.

        Parameters
        ----------
        first_row : int
        before : mapping of layer name to (width,) array, or None
            The row in front of ``first_row``, as it was yielded; None for 0.

        Returns
        -------
        iterator of RowBlock
            The same numbers, to the bit, as an iteration from 0 yields for these rows.
        """
        ...


def write_runs(
    path: str | os.PathLike[str],
    readers: Mapping[str, RunReader | Callable[[], RunReader]],
    provenance: Mapping[str, Any],
    *,
    kind: type[FeatureStore] = FeatureStore,
    overwrite: bool = False,
    progress: bool = True,
    unit: str = "word",
    label: str = "",
) -> FeatureStore:
    """Compute runs and write them to a store; called again after an interruption, it goes on where it was.

    The blocks of a run are kept in a file beside the store (``<store>.<group>.partial``) until the run is
    whole, and then moved into the store. Whenever the process is killed, the next call with the same
    arguments goes on after the last whole block, and the store then holds what an uninterrupted call writes,
    to the bit.

    Memory: one block.

    Parameters
    ----------
    path : path
        The HDF5 file, or a folder (it is one, or the text ends with "/"; made if it is not there) that gets
        one file per run, so that several processes can write at the same time.
    readers : mapping of run name to RunReader, or to a function that makes one when its turn comes
        Written in this order.
    provenance : mapping
        Everything that decides the numbers, as JSON can hold it. ``stimulus_sha256``, {run: digest}, is taken
        apart where each run has a file of its own.
    kind : FeatureStore or ControlStore
    overwrite : bool
        Replace what is there; a file of features as a whole, controls alone.
    progress : bool
        One bar over all runs on standard error, with the time left.
    unit, label : str
        What the bar counts, and its name.

    Returns
    -------
    FeatureStore
        Of the class `kind`.

    Raises
    ------
    ValueError
        No runs; the store or the unfinished run was made with other settings (the message lists all
        differences); a block does not fit its run, holds NaN or infinity, or a layer is zero in a whole run.
    TypeError
        The provenance cannot be written as JSON.
    FileNotFoundError
        The folder of the store does not exist.
    BlockingIOError
        Another program writes this store.
    OSError
        The disk is full; the whole blocks are kept.

    Examples
    --------
    >>> import dataclasses, numpy, pathlib, tempfile
    >>> @dataclasses.dataclass
    ... class Steps:
    ...     n_rows: int
    ...     dtype = numpy.dtype("float32")
    ...     times = words = None
    ...     widths = {"layer-00": 3}
    ...     def blocks(self, first_row, before):
    ...         for row in range(first_row, self.n_rows):
    ...             yield RowBlock(row, row + 1, {"layer-00": numpy.full((1, 3), row + 1, "float32")})
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "features.h5"
    >>> store = write_runs(path, {"alice": Steps(4), "wheel": Steps(2)}, {"model": "steps"}, progress=False)
    >>> store.runs, store.read("wheel", "layer-00").tolist()
    (['alice', 'wheel'], [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    """
    if not readers:
        raise ValueError("readers holds no run: give {run name: reader}")
    for run in readers:
        check_name(run, "run")
    account = as_json(provenance)
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{target} cannot be written: the folder {target.parent} does not exist; create it"
        )
    with RunProgress(readers, label, unit, progress) as bar:
        if not means_folder(path):
            _write_file(target, readers, account, kind, overwrite, bar)
            return kind.open(target)
        if hidden := [run for run in readers if run.startswith(".")]:
            raise ValueError(
                f"run {hidden[0]!r} would be a hidden file of {target}, which is not read: give a name "
                "without a dot in front"
            )
        target.mkdir(exist_ok=True)
        _check_folder(target, readers, account, kind, overwrite)
        for run, reader in readers.items():
            _write_file(run_file(target, run), {run: reader}, of_runs(account, [run]), kind, overwrite, bar)
    return kind.open(target)


def _check_folder(
    folder: Path, runs: Mapping[str, Any], account: dict[str, Any], kind: type[FeatureStore], overwrite: bool
) -> None:
    """Refuse a folder whose files were made in another way before anything is computed."""
    for part in visible_files(folder):
        if not (overwrite and part.stem in runs) and kind._is_in(part):
            store = kind.open(part)
            if not store._is_new():
                check_same(part, *of_shared_runs(store.provenance, account))


def _write_file(
    path: Path,
    readers: Mapping[str, Any],
    account: dict[str, Any],
    kind: type[FeatureStore],
    overwrite: bool,
    bar: RunProgress,
) -> None:
    with PartialRun(partial_path(path, kind._group), path) as partial:
        if overwrite:
            partial.clear()
        store = kind.begin(path, account, overwrite)
        todo = [run for run in readers if not store.complete(run)]
        _check_partial(partial, store, account, todo)
        begun = partial.head["run"] if partial.head else None
        for run in readers:
            if run not in todo:
                bar.finished(run, _n_rows(store, run))
        for run in sorted(todo, key=lambda run: run != begun):
            reader = _made(readers[run])
            bar.begin(run, reader.n_rows)
            _write_run(store, run, reader, partial, account, bar)


def _check_partial(
    partial: PartialRun, store: FeatureStore, account: dict[str, Any], todo: list[str]
) -> None:
    """Forget an unfinished run that came into the store after all; refuse one made in another way."""
    head = partial.head
    if head is None:
        return
    if store.complete(head["run"]):
        partial.clear()
        return
    what = _unfinished(partial)
    check_same(Path(f"{partial.place} ({what})"), head["provenance"], account)
    if head["run"] not in todo:
        raise ValueError(
            f"{partial.place} holds {what}, which is not among the runs of this call: give it again, or "
            "remove this file if the run is not wanted"
        )


def _unfinished(partial: PartialRun) -> str:
    assert partial.head is not None
    return f"{partial.n_rows} of {partial.head['n_rows']} rows of run {partial.head['run']!r}"


def _write_run(
    store: FeatureStore,
    run: str,
    reader: RunReader,
    partial: PartialRun,
    account: dict[str, Any],
    bar: RunProgress,
) -> None:
    head = _head(run, reader, account)
    store._check_like_others(run, reader.widths)
    if partial.head is None:
        partial.begin(head)
    else:
        check_same(Path(f"{partial.place} ({_unfinished(partial)})"), partial.head, head)
    bar.advance(partial.n_rows, already=True)
    try:
        _read_blocks(run, reader, partial, bar)
    except BaseException as error:
        if partial.n_rows:
            error.add_note(f"{_unfinished(partial)} are kept in {partial.place}; call again to go on")
        raise
    if not store._may_be_zero and (dead := partial.dead_layers()):
        partial.clear()
        raise ValueError(
            f"run {run!r}: {', '.join(dead)} all zeros, which no sound model gives: weights not loaded, or "
            "placed wrongly over several devices"
        )
    _move(store, run, reader, partial)
    partial.clear()


def _read_blocks(run: str, reader: RunReader, partial: PartialRun, bar: RunProgress) -> None:
    if partial.n_rows == reader.n_rows:
        return
    try:
        with contextlib.closing(_closable(reader.blocks(partial.n_rows, partial.last_rows()))) as blocks:
            for block in blocks:
                _check_block(block, reader, partial)
                partial.append(block)
                bar.advance(block.stop - block.start)
    except ValueError as error:
        raise ValueError(f"run {run!r}: {error}") from error
    if partial.n_rows != reader.n_rows:
        raise ValueError(f"run {run!r}: the blocks ended after {partial.n_rows} of {reader.n_rows} rows")


def _closable(blocks: Iterator[RowBlock]) -> Generator[RowBlock]:
    """A generator is told when nobody wants more of it; other iterators have no such wish."""
    yield from blocks


def _check_block(block: RowBlock, reader: RunReader, partial: PartialRun) -> None:
    where = f"rows {block.start} to {block.stop}"
    if block.start != partial.n_rows or not block.start < block.stop <= reader.n_rows:
        raise ValueError(f"{where} do not follow the {partial.n_rows} of {reader.n_rows} rows that are there")
    if set(block.layers) != set(reader.widths):
        raise ValueError(f"{where} have the layers {sorted(block.layers)}, not {sorted(reader.widths)}")
    for layer, width in reader.widths.items():
        _check_layer(layer, block.layers[layer], (block.stop - block.start, width), block.start, reader)
    for name, column in block.side.items():
        check_name(name, "companion", taken=(*_TAKEN, *reader.widths))
        side_column(column, block.stop - block.start, f"{name} of {where}")
    kinds = {name: column.dtype.str for name, column in block.side.items()}
    if partial.side_kinds() not in (None, kinds):
        raise ValueError(f"{where} come with {kinds}, the rows before with {partial.side_kinds()}")


def _check_layer(layer: str, values: Array, shape: tuple[int, int], first: int, reader: RunReader) -> None:
    if values.shape != shape or values.dtype != reader.dtype:
        raise ValueError(
            f"layer {layer!r} of rows {first} to {first + shape[0]} is {values.dtype} of shape "
            f"{values.shape}, not {reader.dtype} of shape {shape}"
        )
    if (bad := not_finite(values)) is not None:
        row = first + int(np.argmax(bad))
        word = "" if reader.words is None else f" (word {reader.words[row]!r})"
        raise ValueError(f"layer {layer!r} has NaN or infinity in row {row}{word}")


def _move(store: FeatureStore, run: str, reader: RunReader, partial: PartialRun) -> None:
    """Bring the whole run into the store; another program may be adding to the same file just now."""
    matrices: dict[str, Any] = {layer: partial.layer(layer) for layer in reader.widths}
    if reader.times is not None:
        matrices["times"] = np.asarray(reader.times, np.float64)
    if reader.words is not None:
        matrices["words"] = _encoded(reader.words)
    matrices |= partial.side()
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            store._write(run, matrices, partial.totals())
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def _head(run: str, reader: RunReader, account: dict[str, Any]) -> dict[str, Any]:
    if reader.n_rows < 1:
        raise ValueError(f"run {run!r} has no rows")
    if not reader.widths:
        raise ValueError(f"run {run!r} has no layers; give at least one")
    for layer in reader.widths:
        check_name(layer, "layer", taken=_TAKEN)
    dtype = np.dtype(reader.dtype)
    if dtype.name not in ("float16", "float32", "float64"):
        raise ValueError(f"run {run!r} has dtype {dtype}: use float16, float32 or float64")
    times = None if reader.times is None else np.asarray(reader.times, np.float64)
    words = None if reader.words is None else _encoded(reader.words)
    for i, word in enumerate(() if words is None else words):
        if b"\0" in word:
            raise ValueError(
                f"run {run!r}: word {i} ({word.decode()!r}) holds a zero, which HDF5 cannot keep"
            )
    for name, column in (("times", times), ("words", words)):
        if column is not None:
            side_column(column, reader.n_rows, f"{name} of run {run!r}")
    return {
        "run": run,
        "n_rows": int(reader.n_rows),
        "dtype": dtype.str,
        "layers": {layer: int(width) for layer, width in reader.widths.items()},
        "times": None if times is None else hashlib.sha256(times.tobytes()).hexdigest(),
        "words": None if words is None else hashlib.sha256(b"\0".join(words)).hexdigest(),
        "provenance": account,
    }


def _encoded(words: Sequence[str]) -> Array:
    return np.array([str(word).encode("utf-8") for word in words], dtype=object)


def _made(reader: Any) -> RunReader:
    found: RunReader = reader if hasattr(reader, "blocks") else reader()
    return found


def _n_rows(store: FeatureStore, run: str) -> int:
    return store.source(store.layers[0], [run]).shape[0]
