"""The responses of a study's runs, each with the moments that its rows stand for."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge._warnings import ResponseWarning
from voxridge.features import tr_times
from voxridge.study.config import ResponsesConfig, RunConfig

if TYPE_CHECKING:
    from voxridge.streams import ResponseStore

Array = NDArray[Any]
_TR_TOLERANCE = 0.05


def read_recording(run: RunConfig, settings: ResponsesConfig) -> tuple[Array, NDArray[np.float64]]:
    """Responses (n_rows, n_targets) of one run, and the middle of each row on the clock of the stimulus.

    Of a response store the run of the same name is taken. Warns where the file says another TR.

    Raises
    ------
    ValueError
        A store lacks the run, or there is a mask for it; as in `voxridge.responses.read_responses`.
    """
    from voxridge.responses import read_responses
    from voxridge.responses.readers import response_store

    store = response_store(run.responses)
    if store is None:
        source = read_responses(run.responses, mask=settings.mask)
        data, told = np.asarray(source.read()), source.tr
    else:
        if settings.mask is not None:
            raise ValueError(
                f"responses.mask is for volumes, and {run.responses} is a response store, whose voxels were "
                "chosen when it was made: leave mask out"
            )
        if run.name not in store.runs:
            raise ValueError(
                f"{run.responses} has no run {run.name!r}; it has {', '.join(store.runs)}: name the run as "
                "there, so that stimulus and responses belong together"
            )
        data, told = store.read(run.name), store.tr(run.name)
    if told is not None and abs(told - settings.tr) > _TR_TOLERANCE * settings.tr:
        text = f"run {run.name!r}: responses.tr is {settings.tr:g} s, but {run.responses} says {told:g} s"
        warnings.warn(f"{text}; the {settings.tr:g} s given are used", ResponseWarning, stacklevel=2)
    return data, tr_times(len(data), settings.tr, _first_row(run, settings, store) - settings.tr / 2)


def first_row(run: RunConfig, settings: ResponsesConfig) -> float:
    """Middle of the first row on the clock of the stimulus, in seconds, before the study's own trim.

    Where the study does not say, the first scan starts with the stimulus: that is half a TR, later by the
    rows that were cut when a response store was made.
    """
    from voxridge.responses.readers import response_store

    return _first_row(run, settings, response_store(run.responses))


def _first_row(run: RunConfig, settings: ResponsesConfig, store: ResponseStore | None) -> float:
    from voxridge.responses.average import trim_of

    if run.first_row is not None:
        return run.first_row
    return (0.5 + (0 if store is None else trim_of(store)[0])) * settings.tr
