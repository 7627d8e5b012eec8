"""EncodingRidge on disk: one HDF5 file with the parameters, the folds and the arrays of a fit."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.folds import Fold
from voxridge.solvers.plan import Plan
from voxridge.solvers.weights import DualWeights, PrimalWeights, Weights, in_memory
from voxridge.streams import atomic_path
from voxridge.streams.files import open_h5

if TYPE_CHECKING:
    from voxridge.encoding import EncodingRidge

_FORMAT = "voxridge-encoding-ridge-2"
_ARRAYS = ("alphas_", "alpha_", "cv_scores_", "best_cv_scores_", "intercept_", "valid_targets_")


def save_encoding(model: EncodingRidge, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path`` under a temporary name and rename it."""
    import h5py

    from voxridge import __version__

    parameters = model.get_params()
    parameters["alphas"] = model.alphas_.tolist()
    parameters["delays"] = [int(delay) for delay in model.delays]
    for name in ("weights", "checkpoint"):
        if parameters[name] is not None:
            parameters[name] = os.fspath(parameters[name])
    if not isinstance(parameters["alpha_per_target"], bool):
        parameters["alpha_per_target"] = np.asarray(parameters["alpha_per_target"]).tolist()
    if not isinstance(parameters["cv"], str | int):
        parameters["cv"] = None  # the folds below stand for it
    for name in ("weights", "checkpoint"):
        if parameters[name] is not None:
            parameters[name] = os.fspath(parameters[name])
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = _FORMAT
        file.attrs["voxridge_version"] = __version__
        file.attrs["parameters"] = json.dumps(parameters, default=_plain)
        file.attrs["plan"] = json.dumps(dataclasses.asdict(model.plan_))
        file.attrs["n_features"] = model.n_features_in_
        for name in _ARRAYS:
            file[name] = model._host(name)
        for number, fold in enumerate(model.folds_):
            file[f"folds/{number:04d}/train"] = fold.train
            file[f"folds/{number:04d}/validation"] = fold.validation
        _write_weights(file, model._weights)


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy as JSON has them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a parameter of type {type(value).__name__} cannot be saved")


def _write_weights(file: Any, weights: Weights | None) -> None:
    """Dual coefficients go with the training features, where those are in memory; else coefficients, a tile
    of targets at a time. Target-major: a tile is one piece of the file."""
    if weights is None:
        return
    n_targets, dtype = weights.matrix.shape[1], weights.dtype
    if isinstance(weights, DualWeights) and isinstance(weights.train, DelayedDesign):
        data = file.create_dataset("dual_coef", (n_targets, weights.train.n_samples), weights.dual_dtype)
        for begin, end, block in weights.dual_tiles():
            data[begin:end] = block.T
        file["train_features"] = weights.train.features
        file["train_run_offsets"] = weights.train.offsets
        return
    data = file.create_dataset("coef", (n_targets, weights.n_features * len(weights.delays)), dtype)
    for begin, end, block in weights.coefficient_tiles():
        data[begin:end] = block.T


def load_encoding(path: str | os.PathLike[str]) -> EncodingRidge:
    """Read what :func:`save_encoding` wrote.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, it is damaged, or it is not a saved EncodingRidge.
    """
    from voxridge.encoding import EncodingRidge

    with open_h5(path) as file:
        if file.attrs.get("format") != _FORMAT:
            raise ValueError(
                f"{path} is not a saved EncodingRidge "
                f"(format {file.attrs.get('format')!r}, expected {_FORMAT!r})"
            )
        parameters: dict[str, Any] = json.loads(file.attrs["parameters"])
        folds = [
            Fold(group["train"][()], group["validation"][()]) for _, group in sorted(file["folds"].items())
        ]
        if parameters["cv"] is None:
            parameters["cv"] = [(fold.train, fold.validation) for fold in folds]
        parameters["delays"] = tuple(parameters["delays"])
        parameters["alphas"] = np.asarray(parameters["alphas"])
        model = EncodingRidge(**parameters)
        for name in _ARRAYS:
            setattr(model, name, file[name][()])
        model.folds_ = folds
        model.plan_ = Plan(**json.loads(file.attrs["plan"]))
        model.n_targets_ = int(model.alpha_.size)
        model._weights = _read_weights(file, parameters["delays"])
        model._coef = None
        model.n_features_in_ = int(file.attrs["n_features"])
    return model


def _read_weights(file: Any, delays: tuple[int, ...]) -> Weights | None:
    if "coef" in file:
        return PrimalWeights(in_memory(file["coef"][()].T), delays)  # no second copy of what may be large
    if "dual_coef" not in file:
        return None
    runs = np.diff(file["train_run_offsets"][()]).tolist()
    return DualWeights(
        in_memory(file["dual_coef"][()].T), DelayedDesign(file["train_features"][()], delays, runs)
    )
