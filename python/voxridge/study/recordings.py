"""The responses of a study's runs, each with the moments that its rows stand for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge._warnings import ResponseWarning
from voxridge.features import tr_times
from voxridge.study.config import ResponsesConfig, RunConfig

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
    return data, tr_times(len(data), settings.tr, first_row(run, settings) - settings.tr / 2)


def first_row(run: RunConfig, settings: ResponsesConfig) -> float:
    """Middle of the first row on the clock of the stimulus, in seconds, before the study's own trim.

    Where the study does not say, the first scan starts with the stimulus: that is half a TR, later by the
    rows that were cut when a response store was made.

    Raises
    ------
    ValueError
        The subjects of an average were cut differently.
    """
    from voxridge.responses.readers import response_store

    if run.first_row is not None:
        return run.first_row
    store = response_store(run.responses)
    cut = set() if store is None else _rows_cut(store.provenance)
    if len(cut) > 1:
        raise ValueError(
            f"{run.responses} averages subjects whose stores were cut by {sorted(cut)} rows at the start; "
            f"give runs.first_row of run {run.name!r}, or cut them alike"
        )
    return (0.5 + (cut.pop() if cut else 0)) * settings.tr


def _rows_cut(provenance: Mapping[str, Any]) -> set[int]:
    """Rows that are gone at the start, of every subject of an average."""
    subjects = provenance.get("subjects")
    if isinstance(subjects, Mapping):
        return set().union(*(_rows_cut(subject) for subject in subjects.values()))
    return {int((provenance.get("trim") or [0])[0])}
