"""Brain responses of an experiment in one HDF5 file, or in a folder with one file per run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from voxridge.streams.files import open_h5
from voxridge.streams.segments import Array, FileSegment
from voxridge.streams.sources import RunSource, as_source
from voxridge.streams.store_base import RunStore, check_name

if TYPE_CHECKING:
    from voxridge.responses.geometry import Geometry


class ResponseStore(RunStore):
    """Brain responses of one subject: ``/responses/<run>/data`` (n_TR, n_targets), with ``tr`` and ``units``.

    `voxridge.responses.build_response_store` also writes the single presentations of a repeated stimulus,
    ``/responses/<run>/repeats/<k>``, and where the targets lie in the brain, ``/geometry``.

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

    def repeats(self, run: str) -> list[RunSource]:
        """The single presentations of a repeated run, each (n_TR, n_targets); [] where none were kept.

        Parameters
        ----------
        run : str
            Its name.

        Raises
        ------
        KeyError
            No such run.
        """
        part, group = self._place(run)
        with open_h5(part) as file:
            names = sorted(file[f"{group}/repeats"], key=int) if f"{group}/repeats" in file else []
        segments = [FileSegment(part, f"{group}/repeats/{name}") for name in names]
        return [RunSource([segment], name=self._group, run_names=[run]) for segment in segments]

    @property
    def geometry(self) -> Geometry | None:
        """Where the targets are in the brain (`voxridge.responses.Geometry`); None where it is not known."""
        from voxridge.responses.store import read_geometry  # the responses are built on the stores

        return read_geometry(self._files()[0])

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
            part, group = self._place(present[0])
            with open_h5(part) as file:
                shape = file[f"{group}/data"].shape
            if shape[1] != matrix.shape[1]:
                raise ValueError(
                    f"run {run!r} has shape {matrix.shape}, but run {present[0]!r} of {self.path} has shape "
                    f"{shape}; all runs need the same targets"
                )
        attributes: dict[str, Any] = {"units": units} if tr is None else {"tr": float(tr), "units": units}
        self._write(run, {"data": matrix}, attributes)

    def _attribute(self, run: str, name: str) -> Any:
        part, group = self._place(run)
        with open_h5(part) as file:
            # Files made elsewhere may carry them on the dataset.
            return file[group].attrs.get(name, file[f"{group}/data"].attrs.get(name))
