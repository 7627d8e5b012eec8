"""The responses of a study's runs, each with the moments that its rows stand for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge._warnings import ResponseWarning
from voxridge.features import tr_times
from voxridge.study.config import ResponsesConfig, RunConfig

if TYPE_CHECKING:
    from voxridge.responses import Geometry
    from voxridge.streams import ResponseStore, RunSource

Array = NDArray[Any]
_TR_TOLERANCE = 0.05


@dataclass(frozen=True)
class Recording:
    """Responses of a subject to one run.

    ``data`` (n_rows, n_targets); ``times``: the middle of each row on the clock of the stimulus, in seconds;
    ``geometry``: where the targets are, None where the file does not say; ``repeats``: single presentations,
    of which ``data`` is the mean, none where the run was heard once.
    """

    data: Array
    times: NDArray[np.float64]
    geometry: Geometry | None = None
    repeats: tuple[RunSource, ...] = ()


def was_recorded(run: RunConfig, subject: str) -> bool:
    """Whether a subject has responses to a run: the file is there and, where it is a response store, the run
    is in it."""
    from voxridge.responses.readers import response_store

    path = run.responses_of(subject)
    if not path.is_file():
        return False
    store = response_store(path)
    return store is None or run.name in store.runs


def read_recording(run: RunConfig, settings: ResponsesConfig, subject: str = "subject") -> Recording:
    """Responses of one run; of a response store the run of the same name is taken. Warns where the file says
    another TR.

    Raises
    ------
    ValueError
        A store lacks the run, or there is a mask for it; as in `voxridge.responses.read_responses`.
    """
    from voxridge.responses import read_responses
    from voxridge.responses.readers import response_store

    path = run.responses_of(subject)
    store = response_store(path)
    if store is None:
        source = read_responses(path, mask=settings.mask)
        found = Recording(np.asarray(source.read()), np.empty(0), source.geometry)
        told, cut = source.tr, 0
    else:
        found, told, cut = _of_store(store, path, run, settings)
    if told is not None and abs(told - settings.tr) > _TR_TOLERANCE * settings.tr:
        text = f"run {run.name!r}: responses.tr is {settings.tr:g} s, but {path} says {told:g} s"
        warnings.warn(f"{text}; the {settings.tr:g} s given are used", ResponseWarning, stacklevel=2)
    first = (0.5 + cut) * settings.tr if run.first_row is None else run.first_row
    return replace(found, times=tr_times(len(found.data), settings.tr, first - settings.tr / 2))


def _of_store(
    store: ResponseStore, path: Path, run: RunConfig, settings: ResponsesConfig
) -> tuple[Recording, float | None, int]:
    """The run, its TR as the store says, and the rows that were cut at its start when the store was made."""
    from voxridge.responses.average import trim_of

    if settings.mask is not None:
        raise ValueError(
            f"responses.mask is for volumes, and {path} is a response store, whose voxels were chosen when "
            "it was made: leave mask out"
        )
    if run.name not in store.runs:
        raise ValueError(
            f"{path} has no run {run.name!r}; it has {', '.join(store.runs)}: name the run as there, so that "
            "stimulus and responses belong together"
        )
    repeats = tuple(store.repeats(run.name))
    found = Recording(store.read(run.name), np.empty(0), store.geometry, repeats)
    return found, store.tr(run.name), trim_of(store)[0]
