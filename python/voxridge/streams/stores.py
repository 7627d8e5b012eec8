"""Features and responses of an experiment in one HDF5 file each, written run by run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from voxridge.streams.checks import check_finite
from voxridge.streams.files import open_h5
from voxridge.streams.segments import Array
from voxridge.streams.sources import RunSource, Source, as_source
from voxridge.streams.store_base import RunStore, check_name, is_complete, side_column

_SIDE = ("times", "words")


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

    @property
    def layers(self) -> list[str]:
        """Names of the layers, sorted; the same in every run."""
        with open_h5(self.path) as file:
            for group in file[self._group].values():
                if is_complete(group):
                    return sorted(name for name in group if name not in _SIDE)
        return []

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
        return self._read(run, "times") if self._has(run, "times") else None

    def words(self, run: str) -> list[str] | None:
        """The word of each row, or None if none were written.

        Parameters
        ----------
        run : str
            Its name.
        """
        if not self._has(run, "words"):
            return None
        return [word.decode("utf-8") for word in self._read(run, "words")]

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
        self._write(run, matrices, {})

    def _has(self, run: str, name: str) -> bool:
        dataset = self._dataset(run, name)
        with open_h5(self.path) as file:
            return dataset in file

    def _check_like_others(self, run: str, widths: Mapping[str, int]) -> None:
        with open_h5(self.path) as file:
            for name, group in file[self._group].items():
                if is_complete(group):
                    there = {layer: int(group[layer].shape[1]) for layer in group if layer not in _SIDE}
                    if there != dict(widths):
                        raise ValueError(
                            f"run {run!r} has the layers (and widths) {dict(widths)}, but run {name!r} of "
                            f"{self.path} has {there}; write other layers to another store"
                        )
                    return


class ResponseStore(RunStore):
    """Brain responses of one subject: ``/responses/<run>/data`` (n_TR, n_targets), with ``tr`` and ``units``.

    NaN is allowed: voxels without data are masked when a model is fitted. See `FeatureStore` for what happens
    when a process is killed while it writes.

    Parameters
    ----------
    path : path
        The store's HDF5 file; :meth:`create` makes one.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import ResponseStore
    >>> with ResponseStore.create("responses.h5") as store:
    ...     store.write_run("alice", numpy.ones((4, 3), "float32"), tr=2.0)
    ...     store.tr("alice"), store.source().shape
    (2.0, (4, 3))
    """

    _group = "responses"

    def read(self, run: str) -> Array:
        """The responses of one run (n_TR, n_targets), in the type in which they are stored.

        Raises
        ------
        KeyError
            No such run.
        """
        return self._read(run, "data")

    def tr(self, run: str) -> float | None:
        """Time between two rows in seconds, or None if it was not given.

        Parameters
        ----------
        run : str
            Its name.
        """
        value = self._attribute(run, "tr")
        return None if value is None else float(value)

    def units(self, run: str) -> str:
        """Units of the numbers, "" if they were not given.

        Parameters
        ----------
        run : str
            Its name.
        """
        return str(self._attribute(run, "units") or "")

    def source(self, runs: Sequence[str] | None = None) -> RunSource:
        """All runs (or the runs given, in that order), read from the file in parts.

        Raises
        ------
        ValueError
            No run is complete.
        """
        return self._source("data", runs)

    def default_source(self) -> RunSource:
        """What `voxridge.streams.as_source` takes when it is given the store itself."""
        return self.source()

    def write_run(self, run: str, data: Any, *, tr: float | None = None, units: str = "") -> None:
        """Add a run (n_TR, n_targets), as a whole or not at all; float types are kept.

        Parameters
        ----------
        run : str
            Its name.
        data : (n_TR, n_targets) array, memory map or HDF5 dataset
        tr : float, optional
            Seconds between two rows.
        units : str

        Raises
        ------
        ValueError
            The run is there already, its width differs from that of the others, ``tr`` is not positive.
        TypeError
            Not real numbers.
        OSError
            The disk is full; nothing was added.
        """
        check_name(run, "run")
        if tr is not None and not (np.isfinite(tr) and tr > 0):
            raise ValueError(f"tr is {tr}; give the seconds between two rows, above 0")
        matrix = as_source(data, name=f"responses of run {run!r}", run_names=(run,))
        present = self.runs
        if present:
            with open_h5(self.path) as file:
                shape = file[f"{self._group}/{present[0]}/data"].shape
            if shape[1] != matrix.shape[1]:
                raise ValueError(
                    f"run {run!r} has shape {matrix.shape}, but run {present[0]!r} of {self.path} has shape "
                    f"{shape}; all runs need the same targets"
                )
        attributes: dict[str, Any] = {"units": units} if tr is None else {"tr": float(tr), "units": units}
        self._write(run, {"data": matrix}, attributes)

    def _attribute(self, run: str, name: str) -> Any:
        group = self._dataset(run, "data").removesuffix("/data")
        with open_h5(self.path) as file:
            # Files made elsewhere may carry them on the dataset.
            return file[group].attrs.get(name, file[f"{group}/data"].attrs.get(name))


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
