"""Predictions of a fold with penalties that are known already: of what is left out, and of the training rows
by models that did not see them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers import solve_ridge
from voxridge.study.nested import FoldData
from voxridge.study.prepare import delayed

Array = NDArray[Any]


def held_out_prediction(data: FoldData, alphas: Array) -> Array:
    """Prediction (n_rows, n_targets) of the left-out part, trained on all others."""
    rows, targets = _training(data)
    return _predict(rows, targets, delayed(data.held_out, data.delays), alphas)


def inner_prediction(data: FoldData, alphas: Array) -> Array:
    """Prediction (n_training_rows, n_targets) of every training row by a fit without its part.

    The penalties are those chosen on all training rows. They were chosen with these rows, but by the same
    inner folds, so that no prediction comes from a fit that saw the row.
    """
    rows, targets = _training(data)
    found = np.empty_like(targets)
    for train, test in _inner(data):
        found[test] = _predict(rows[train], targets[train], rows[test], alphas)
    return found


def training_responses(data: FoldData) -> Array:
    """Responses of the training rows, one part after the other."""
    return np.concatenate(data.targets)


def _training(data: FoldData) -> tuple[Array, Array]:
    return np.concatenate([delayed(rows, data.delays) for rows in data.features]), training_responses(data)


def _inner(data: FoldData) -> list[tuple[Array, Array]]:
    """The inner folds as row numbers."""
    if not isinstance(data.cv, str):
        return list(data.cv)
    edges = np.cumsum([0, *(len(rows) for rows in data.targets)])
    everything = np.arange(edges[-1])
    parts = [everything[start:stop] for start, stop in itertools.pairwise(edges)]
    return [(np.setdiff1d(everything, part), part) for part in parts]


def _predict(rows: Array, targets: Array, new: Array, alphas: Array) -> Array:
    fit = solve_ridge(rows, targets, alphas)
    return np.asarray(new @ fit.coef.T + fit.intercept)
