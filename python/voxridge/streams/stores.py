"""Features of an experiment, and controls beside them, in one HDF5 file or a folder, written run by run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from voxridge.streams.checks import check_finite
from voxridge.streams.files import open_h5
from voxridge.streams.folder_store import check_layers
from voxridge.streams.journal import append_h5
from voxridge.streams.provenance import as_json
from voxridge.streams.response_store import ResponseStore
from voxridge.streams.segments import Array
from voxridge.streams.sources import RunSource, Source, as_source
from voxridge.streams.store_base import RunStore, check_name, is_complete, side_column

__all__ = ["ControlStore", "FeatureStore", "ResponseStore", "SoundStore"]

_SIDE = ("times", "words")
_SCORED = (*_SIDE, "surprisal")


class FeatureStore(RunStore):
    """Activations of the layers of a model: ``/features/<run>/<layer>`` (n_rows, n_features).

    Beside the layers a run may hold ``times`` (n_rows,) float64 in seconds and ``words`` (n_rows,) UTF-8.
    A run is visible only when complete: a process that is killed while it writes leaves the earlier runs
    intact, and ``complete(run)`` False, so that the work resumes there. Uncompressed: activations shrink by
    less than a quarter, at 4 to 100 times the cost of reading.

    Parameters
    ----------
    path : path
        The store's HDF5 file; :meth:`create` makes one.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "features.h5"
    >>> with FeatureStore.create(path, {"model": "gpt"}) as store:
    ...     store.write_run("alice", {"layer-00": numpy.ones((4, 3), "float16")}, times=[0.5, 1, 2, 3])
    >>> store.runs, store.layers, store.complete("queen")
    (['alice'], ['layer-00'], False)
    >>> store.source("layer-00")
    <features: 4 x 3, 1 runs, float32, on disk>
    """

    _group = "features"
    _also: tuple[str, ...] = ("controls", "sound")
    _may_be_zero = False  # whether a layer of a run may hold nothing but zeros

    @property
    def layers(self) -> list[str]:
        """Names of the layers, sorted; the same in every run."""
        return next((sorted(layers) for _, _, layers in self._layer_tables()), [])

    def read(self, run: str, layer: str) -> Array:
        """One layer of one run (n_rows, n_features), in the type in which it is stored.

        Raises
        ------
        KeyError
            No such run.
        ValueError
            No such layer, or a damaged file.
        """
        return self._read(run, layer)

    def times(self, run: str) -> Array | None:
        """Times of the rows (n_rows,) in seconds, float64, or None if none were written.

        Parameters
        ----------
        run : str
            Its name.
        """
        return self._column(run, "times")

    def words(self, run: str) -> list[str] | None:
        """The word of each row, or None if none were written.

        Parameters
        ----------
        run : str
            Its name.
        """
        found = self._column(run, "words")
        return None if found is None else [word.decode("utf-8") for word in found]

    def surprisal(self, run: str) -> Array | None:
        """How unexpected each row was to the model (n_rows,) in bits, float64, or None if it was not scored.

        Parameters
        ----------
        run : str
            Its name.
        """
        return self._column(run, "surprisal")

    def perplexity(self, run: str) -> float | None:
        """2 to the mean bits of a token of the run, or None if it was not scored.

        Parameters
        ----------
        run : str
            Its name.
        """
        found = self.attributes(run)
        if not found.get("n_scored"):
            return None
        return float(2.0 ** (found["bits"] / found["n_scored"]))

    def source(self, layer: str, runs: Sequence[str] | None = None) -> RunSource:
        """One layer over all runs (or the runs given, in that order), read from the file in parts.

        Raises
        ------
        ValueError
            No run is complete, or a run lacks the layer.
        """
        return self._source(layer, runs)

    def default_source(self) -> RunSource:
        """What `voxridge.streams.as_source` takes when it is given the store itself: the only layer.

        Raises
        ------
        ValueError
            There are several layers, or none.
        """
        layers = self.layers
        if len(layers) != 1:
            raise ValueError(f"{self.path} has {len(layers)} layers {layers}; choose one with .source(layer)")
        return self.source(layers[0])

    def write_run(
        self,
        run: str,
        layers: Mapping[str, Any],
        times: Sequence[float] | Array | None = None,
        words: Sequence[str] | None = None,
        *,
        side: Mapping[str, Array] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a run, as a whole or not at all.

        Parameters
        ----------
        run
            A name without "/".
        layers
            Layer name to (n_rows, n_features), an array or memory map or HDF5 dataset. float16, float32 and
            float64 are kept; booleans and integers become float32 or float64. Names and widths must be those
            of the runs before.
        times
            (n_rows,) in seconds.
        words
            n_rows words.
        side
            Further companions of the rows, (n_rows,) each, such as ``"surprisal"``.
        attributes
            Numbers or text about the run as a whole, see `attributes`.

        Raises
        ------
        ValueError
            The run is there already; lengths, layers or widths do not agree; a value is NaN or infinite.
        TypeError
            Not real numbers.
        OSError
            The disk is full; nothing was added.
        """
        check_name(run, "run")
        if not layers:
            raise ValueError(f"run {run!r} has no layers; give at least one")
        matrices: dict[str, Source | Array] = {}
        for layer, data in layers.items():
            check_name(layer, "layer", taken=_SIDE)
            matrices[layer] = _finite_layer(data, run, layer)
        self._check_like_others(run, {layer: matrix.shape[1] for layer, matrix in matrices.items()})
        n_rows = {layer: matrix.shape[0] for layer, matrix in matrices.items()}
        if len(set(n_rows.values())) > 1:
            raise ValueError(f"the layers of run {run!r} differ in their rows: {n_rows}")
        rows = next(iter(n_rows.values()))
        if times is not None:
            matrices["times"] = side_column(np.asarray(times, np.float64), rows, f"times of run {run!r}")
        if words is not None:
            encoded = np.array([str(word).encode("utf-8") for word in words], dtype=object)
            matrices["words"] = side_column(encoded, rows, f"words of run {run!r}")
        for name, column in (side or {}).items():
            check_name(name, "companion", taken=(*_SIDE, *layers))
            matrices[name] = side_column(np.asarray(column), rows, f"{name} of run {run!r}")
        self._write(run, matrices, attributes or {})

    def _column(self, run: str, name: str) -> Array | None:
        """A companion of the rows; a layer of the same name is none."""
        part, group = self._place(run)
        with open_h5(part) as file:
            found = file[group].get(name)
            return found[()] if isinstance(found, h5py.Dataset) and len(found.shape) == 1 else None

    def _layer_tables(self) -> Iterator[tuple[Path, str, dict[str, tuple[int, str]]]]:
        for part in self._files():
            with open_h5(part) as file:
                for run, group in file[self._group].items():
                    if is_complete(group):
                        yield part, run, _layers_of(group, f"{part}: run {run!r}")

    def _check(self) -> None:
        super()._check()
        check_layers(list(self._layer_tables()))

    def _check_like_others(self, run: str, widths: Mapping[str, int]) -> None:
        for part, name, layers in self._layer_tables():
            there = {layer: width for layer, (width, _) in layers.items()}
            if there != dict(widths):
                raise ValueError(
                    f"run {run!r} has the layers (and widths) {dict(widths)}, but run {name!r} of "
                    f"{part} has {there}; write other layers to another store"
                )
            return


class ControlStore(FeatureStore):
    """Control features in the same file as the features of a model: ``/controls/<run>/<control>``.

    Read and written as `FeatureStore` is, with controls in the place of layers. They have a provenance of
    their own, and rows of their own.

    Parameters
    ----------
    path : path
        The store's HDF5 file.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> from voxridge.streams.stores import ControlStore, FeatureStore
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "features.h5"
    >>> _ = FeatureStore.create(path, {"model": "gpt"})
    >>> controls = ControlStore.open(path)
    >>> controls.write_run("alice", {"word-rate": numpy.ones((4, 1), "float32")})
    >>> controls.layers, FeatureStore.open(path).runs
    (['word-rate'], [])
    """

    _group = "controls"
    _also = ("features",)
    _may_be_zero = True

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Make an empty group of controls, in a file that is there or in a new one.

        Parameters
        ----------
        path
            The file; features in it are left alone.
        provenance
            Where the controls come from, as JSON can hold it.
        overwrite
            Remove controls that are there.

        Raises
        ------
        FileExistsError
            Controls are there and ``overwrite`` is False.
        TypeError
            The provenance cannot be written as JSON.
        """
        text = json.dumps(as_json(provenance))
        path = Path(path)
        is_new = not path.exists()
        if is_new:
            FeatureStore.create(path)
        with append_h5(path) as file:
            old = file.get(cls._group)
            if is_new:  # its provenance is that of the features, which may follow
                del file.attrs["provenance"]
            if old is not None and (len(old) or "provenance" in old.attrs):
                if not overwrite:
                    raise FileExistsError(f"{path} holds {cls._group}; open the store, or use overwrite=True")
                del file[cls._group]
            file.require_group(cls._group).attrs["provenance"] = text
        return cls(path)

    @classmethod
    def begin(cls, path: Path, provenance: Mapping[str, Any], overwrite: bool = False) -> Self:
        """Make the controls, or open those that are there if they were made in the same way.

        Parameters
        ----------
        path : Path
            A file.
        provenance : mapping
            As for `create`.
        overwrite : bool
            Replace the controls, and only them.

        Raises
        ------
        ValueError
            What is there was made in another way; the message lists all differences.
        """
        if path.exists() and not overwrite and cls._is_in(path):
            return super().begin(path, provenance)
        return cls.create(path, provenance, overwrite=overwrite)

    def _files(self) -> list[Path]:
        parts = super()._files()
        # Features may lie in files that have no controls yet.
        return [part for part in parts if self._is_in(part)] or parts if len(parts) > 1 else parts

    def _holder(self, file: Any) -> Any:
        return file[self._group]


class SoundStore(ControlStore):
    """Controls of the sound, which have a clock of their own: ``/sound/<run>/<control>`` in the same file.

    As `ControlStore`, whose rows are words; here ``times`` are those of frames of sound.

    Parameters
    ----------
    path : path
        The store's HDF5 file.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> from voxridge.streams.stores import SoundStore
    >>> sound = SoundStore.create(pathlib.Path(tempfile.mkdtemp()) / "features.h5")
    >>> sound.write_run("alice", {"envelope": numpy.ones((4, 1), "float32")}, times=[0, 0.1, 0.2, 0.3])
    >>> sound.layers
    ['envelope']
    """

    _group = "sound"


def _layers_of(group: Any, place: str) -> dict[str, tuple[int, str]]:
    """Width and type of each layer of a run; raises a ValueError if its datasets differ in their rows."""
    datasets = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset)}
    layers = {name: item for name, item in datasets.items() if len(item.shape) == 2}
    beside = {name: item for name, item in datasets.items() if name in _SCORED and len(item.shape) == 1}
    lengths = {name: int(item.shape[0]) for name, item in (layers | beside).items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{place} is damaged: its datasets differ in their rows: {lengths}")
    return {name: (int(item.shape[1]), item.dtype.name) for name, item in layers.items()}


def _finite_layer(data: Any, run: str, layer: str) -> Source:
    label = f"layer {layer!r}"
    matrix = as_source(data, name=label)
    if len(matrix.run_names) == 1:
        matrix = as_source(matrix, name=label, run_names=(run,))
    try:
        check_finite(matrix, name=label)
    except ValueError as error:
        if getattr(matrix, "stored_dtype", None) == np.float16:
            raise ValueError(f"{error} (float16 ends at 65504; larger activations need float32)") from error
        raise
    return matrix
