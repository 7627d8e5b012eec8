"""Ridge with a penalty per target, chosen by cross-validation: a few passes over the targets, a tile at a
time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from voxridge._dispatch import find_device
from voxridge.solvers.design import Design
from voxridge.solvers.fits import RidgeCVResult, fit_designs
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring
from voxridge.solvers.method import Report
from voxridge.solvers.settings import Evaluation, Storage, check_settings
from voxridge.solvers.tiles import Targets

Floating = NDArray[Any]


def solve_ridge_cv(
    design: Design,
    targets: Targets,
    alphas: Any,
    folds: Sequence[Fold],
    *,
    scoring: Scoring = "correlation",
    fit_intercept: bool = True,
    alpha_per_target: Any = True,
    sample_weight: Any = None,
    evaluation: Evaluation = "folds",
    solver: str = "auto",
    memory_limit: int | None = None,
    n_targets_batch: int | None = None,
    weights: str | os.PathLike[str] = "memory",
    checkpoint: str | os.PathLike[str] | None = None,
    identity: dict[str, Any] | None = None,
    report: Report | None = None,
    device: str = "auto",
    precision: str = "float32",
) -> RidgeCVResult:
    """Choose a penalty for every target by its mean held-out score, then refit on all samples.

    Minimises ``sum_t s_t (y_t - b - x_t'w)^2 + alpha ||w||^2`` with b unpenalised. The score of a penalty is
    the mean over folds of the held-out correlation or R2; **ties go to the larger penalty**. Every target is
    refitted once, with its own penalty.

    Parameters
    ----------
    design : DelayedDesign or StreamedDesign
        float32 or float64; its dtype is the working precision of everything as wide as the targets.
    targets : Targets
    alphas : sequence of float
        The grid, in any order, penalties as in scikit-learn (the loss adds ``alpha ||w||^2``). Zero needs
        full rank.
    folds : sequence of Fold
    scoring : "correlation" or "r2"
    alpha_per_target : bool or array (n_targets,)
        False chooses one penalty for all targets, by the mean score over the valid ones; labels choose one
        for each group of targets.
    sample_weight : array (n_samples,), optional
        s >= 0, in the loss and in the scores. Needs a leave-out route.
    evaluation : "folds", "pooled" or "gcv"
        "folds" scores every fold and takes the mean; "pooled" scores the held-out predictions of all folds
        together, which is what leave-one-out needs, and gets: folds that are all samples, one by one, are
        pooled, since a sample alone has no score (0 where other folds hold out one). "gcv" is generalised
        cross-validation, ``1 - n |(I - S) y|^2 n / (tr(I - S)^2 sum (y - mean)^2)``, for which the folds
        are not used (r2 only). The last two need a leave-out route.
    solver : str
        "auto", "primal", "dual", "spectral", "leave-out", "cholesky", "svd", or a route (``plan.ROUTES``).
    memory_limit : int, optional
        Bytes that the whole process may reach.
    weights : "memory", "none" or path
        Where weights are kept; a path (.h5 or .npy) is written tile by tile.
    checkpoint : path, optional
        A folder for what is found on the way; a fit that was cut short goes on from it, to the same bits.
    identity : dict, optional
        What the data are, for the checkpoint to tell one fit from another.
    report : callable, optional
        Called with what is being done and the fraction done.
    fit_intercept : bool, default True
    n_targets_batch : int, optional
        Targets in a tile. Default: chosen.
    device : "auto", "cpu", "cuda" or "cuda:1"
        Where the arithmetic is done. "auto": on the first CUDA device, where there is one and the fit is
        expected to end sooner.
    precision : "float32", "tf32" or "bf16"
        On a CUDA device, what the inputs of float32 products are rounded to while penalties are compared. The
        scores of the chosen ones and the weights are float32 whatever is said here, and all scores are where
        targets share a penalty.

    Returns
    -------
    RidgeCVResult

    Raises
    ------
    RuntimeError
        If a CUDA device is asked for that cannot be had.
    ValueError, MemoryError
        As :func:`voxridge.solvers.plan.make_plan`; bad penalties, scoring or weights; a checkpoint of another
        fit.
    numpy.linalg.LinAlgError
        If no route can be trusted: the penalty is too small for what the samples determine.

    Warns
    -----
    FallbackWarning
        The planned route was not trustworthy on this design, and another was taken.

    References
    ----------
    The routes: :mod:`voxridge.solvers.spectral`, :mod:`voxridge.solvers.leave_out`.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import DelayedDesign, Targets, make_folds, solve_ridge_cv
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((120, 5))
    >>> y = x @ rng.standard_normal((5, 8)) + rng.standard_normal((120, 8))
    >>> targets = Targets(120, 8, lambda begin, end: y[:, begin:end], y.mean(axis=0), np.ones(8, dtype=bool))
    >>> found = solve_ridge_cv(DelayedDesign(x), targets, np.logspace(-2, 3, 6), make_folds(4, [120]))
    >>> found.cv_scores.shape, found.plan.route
    ((6, 8), 'primal-spectral')
    """
    settings = check_settings(
        design.n_samples,
        targets,
        alphas,
        folds,
        scoring=scoring,
        fit_intercept=fit_intercept,
        alpha_per_target=alpha_per_target,
        sample_weight=sample_weight,
        evaluation=evaluation,
        solver=solver,
        memory_limit=memory_limit,
        n_targets_batch=n_targets_batch,
        cuda=find_device(device),
        device_required=device not in ("auto", "cpu"),
        precision=precision,
    )
    if checkpoint is not None and not identity:
        raise ValueError("checkpoint needs identity, or the records of one data set pass for another's")
    storage = Storage(weights, checkpoint, identity or {})
    return fit_designs([design], targets, settings, storage, report or (lambda step, done: None))[0]
