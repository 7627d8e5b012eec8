"""The solvers that only scikit-learn has: iterations that may stop early, and weights with a sign."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import ridge_regression

from voxridge.solvers.dense import Centred, Float64Array, FloatArray, centre

ITERATIVE = ("lsqr", "sparse_cg", "sag", "saga")
"""Names of scikit-learn's iterative solvers without bounds; "lbfgs" is the one with ``positive=True``."""


def solve_iteratively(
    x: FloatArray,
    y: FloatArray,
    alpha: Float64Array,
    *,
    fit_intercept: bool,
    sample_weight: Float64Array | None,
    solver: str,
    max_iter: int | None,
    tol: float,
    random_state: Any,
) -> tuple[FloatArray, FloatArray, NDArray[np.int32] | None]:
    """The problem of :func:`voxridge.solvers.solve_ridge` by scikit-learn's ``ridge_regression``.

    The same centring as for the direct solvers, then scikit-learn's iterations: the same steps, and the same
    early stop, as its ``Ridge``. It needs a centred copy of x and y.

    Args:
        x: (n_samples, n_features), float32 or float64; only read.
        y: (n_samples, n_targets) in x's dtype; only read.
        alpha: the penalty, () or (n_targets,).
        fit_intercept: fit an unpenalised intercept.
        sample_weight: (n_samples,) or None.
        solver: one of ``ITERATIVE``, or "lbfgs", which keeps every weight >= 0.
        max_iter: bound on the iterations, or None for scikit-learn's.
        tol: where to stop.
        random_state: what "sag" and "saga" shuffle with.

    Returns:
        Weights (n_targets, n_features) and intercepts (n_targets,) in x's dtype; and the iterations of every
        target, (n_targets,), where scikit-learn counts them.

    Raises:
        ValueError: the iterations broke down.

    Warns:
        sklearn.exceptions.ConvergenceWarning: ``max_iter`` came before ``tol``.
    """
    # not the roots of the weights: the stochastic solvers take weights themselves
    xt, yt = centre(x, y, fit_intercept=fit_intercept, sample_weight=sample_weight)
    centred_x, centred_y = (Centred(a.array, a.mean, None).whole(x.dtype) for a in (xt, yt))
    coef, n_iter = ridge_regression(
        centred_x,
        centred_y,
        alpha,
        sample_weight=sample_weight,
        solver=solver,
        max_iter=max_iter,
        tol=tol,
        positive=solver == "lbfgs",
        random_state=random_state,
        return_n_iter=True,
    )
    coef = np.ascontiguousarray(coef.reshape(y.shape[1], x.shape[1]))
    if xt.mean is None or yt.mean is None:
        return coef, np.zeros(y.shape[1], x.dtype), n_iter
    intercept = yt.mean - coef.astype(np.float64) @ xt.mean
    return coef, intercept.astype(x.dtype), n_iter
