"""Runs that lie in the files of other projects, read in blocks; and the writing of such files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from voxridge.streams.checks import row_chunks
from voxridge.streams.run_writer import RowBlock
from voxridge.streams.segments import Array
from voxridge.streams.sources import RunSource, Source

_BLOCK_BYTES = 64 << 20


class Rows(Protocol):
    """A matrix whose rows are read in order, in the type in which they are stored."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def stored_dtype(self) -> np.dtype[Any]: ...

    def read(self, rows: slice) -> Array: ...

    def close(self) -> None: ...


@dataclass
class SourceRows:
    """Rows of a source, from ``first`` on."""

    source: RunSource
    first: int
    n_rows: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, width)."""
        return self.n_rows, self.source.shape[1]

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The type in the file."""
        return self.source.stored_dtype

    def read(self, rows: slice) -> Array:
        """Return rows in their stored type."""
        found = self.source.read(slice(self.first + rows.start, self.first + rows.stop))
        return found.astype(self.stored_dtype, copy=False)

    def close(self) -> None:
        """Nothing stays open."""


@dataclass
class ImportedRun:
    """A run that lies in other files, as `voxridge.streams.run_writer` asks for it."""

    layers: Mapping[str, Rows]
    times: Array | None = None
    words: Sequence[str] | None = None
    n_rows: int = field(init=False)

    def __post_init__(self) -> None:
        lengths = {name: layer.shape[0] for name, layer in self.layers.items()}
        if self.times is not None:
            lengths["times"] = len(self.times)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the files differ in their rows: {lengths}")
        self.n_rows = next(iter(lengths.values()))

    @property
    def widths(self) -> dict[str, int]:
        """Layer name to its width."""
        return {name: layer.shape[1] for name, layer in self.layers.items()}

    @property
    def dtype(self) -> np.dtype[Any]:
        """One type that holds all layers without loss."""
        return np.dtype(np.result_type(*(layer.stored_dtype for layer in self.layers.values())))

    def blocks(self, first_row: int, before: Mapping[str, Array] | None) -> Iterator[RowBlock]:
        """Yield the rows in blocks of about 64 MiB."""
        step = max(1, _BLOCK_BYTES // (sum(self.widths.values()) * self.dtype.itemsize))
        try:
            for start in range(first_row, self.n_rows, step):
                rows = slice(start, min(start + step, self.n_rows))
                found = {name: layer.read(rows) for name, layer in self.layers.items()}
                layers = {name: values.astype(self.dtype, copy=False) for name, values in found.items()}
                yield RowBlock(rows.start, rows.stop, layers)
        finally:
            for layer in self.layers.values():
                layer.close()


def copy_dataset(file: Any, name: str, sources: Sequence[Source], *, stacked: bool = False) -> None:
    """Write a source, or several of one shape behind each other on a leading axis, by chunks of rows."""
    kind = np.result_type(*(getattr(source, "stored_dtype", source.dtype) for source in sources))
    shape = sources[0].shape
    dataset = file.create_dataset(name, shape=(len(sources), *shape) if stacked else shape, dtype=kind)
    for index, source in enumerate(sources):
        for rows in row_chunks(source):
            dataset[(index, rows) if stacked else rows] = source.read(rows).astype(kind, copy=False)


def check_free(path: Path, overwrite: bool) -> None:
    """Raise a FileExistsError if something is there that may not be replaced."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another place, or use overwrite=True")
