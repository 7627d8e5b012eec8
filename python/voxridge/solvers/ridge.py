"""Ridge for given penalties: one alpha, or one per target."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge._warnings import SingularDesignWarning
from voxridge.solvers.dense import (
    BLOCK_BYTES,
    TILE_TARGETS,
    Centred,
    Columns,
    Float64Array,
    FloatArray,
    blocks,
    centre,
    check_problem,
)
from voxridge.solvers.eigenbasis import F64, EigenBasis, decompose
from voxridge.solvers.linalg import cholesky, cholesky_solve, matmul
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION

_INTERCEPTS = 256  # targets whose weights are converted at once

Solver = Literal["auto", "cholesky", "eigen", "svd"]


class RidgeSolution(NamedTuple):
    """Weights (n_targets, n_features) and intercepts (n_targets,) in x's dtype, and the route that gave
    them."""

    coef: FloatArray
    intercept: FloatArray
    route: Literal["primal-cholesky", "dual-cholesky", "primal-eigen", "dual-eigen", "svd"]


def solve_ridge(
    x: FloatArray,
    y: FloatArray,
    alpha: ArrayLike,
    *,
    fit_intercept: bool = True,
    sample_weight: NDArray[Any] | None = None,
    solver: Solver = "auto",
    n_targets_batch: int | None = None,
) -> RidgeSolution:
    """Weights W and intercepts b of ridge regression, a penalty for every target.

    They minimise, for every target v,

    ``sum_i s_i (y_iv - b_v - x_i'w_v)^2 + alpha_v |w_v|^2``

    with the intercept unpenalised. Where the minimiser is not unique (alpha = 0 on a rank-deficient design),
    the one of least norm.

    One Cholesky factorisation per distinct alpha, of the p x p normal equations when n >= p and of the n x n
    kernel otherwise; or, when there are many distinct alphas, one symmetric eigendecomposition in which every
    target is touched once. Gram matrices are accumulated and factorised in float64 for either precision of x.

    Parameters
    ----------
    x : ndarray (n_samples, n_features), float32 or float64
        Any strides; only read.
    y : ndarray (n_samples, n_targets), float32 or float64
        Brought to x's dtype; only read.
    alpha : array_like, a number or (n_targets,)
        The penalty, >= 0.
    fit_intercept : bool, default True
        Fit b; otherwise b = 0 and x, y are used as they are.
    sample_weight : ndarray (n_samples,), optional
        Weights s >= 0; None for ones.
    solver : "auto", "cholesky", "eigen" or "svd"
        "auto" chooses between "cholesky" and "eigen" by their cost; "svd" decomposes x itself and keeps the
        full precision on ill-conditioned designs, at several times the cost.
    n_targets_batch : int, optional
        Targets handled together; None chooses. It bounds memory and does not change results beyond rounding.

    Returns
    -------
    RidgeSolution
        ``coef`` (n_targets, n_features) and ``intercept`` (n_targets,) in x's dtype, and ``route``.

    Raises
    ------
    TypeError
        x or y is neither float32 nor float64.
    ValueError
        Shapes that do not fit, a negative or non-finite alpha, a bad weight, an unknown solver.

    Warns
    -----
    SingularDesignWarning
        Cholesky failed, or lost all accuracy, and the SVD was used instead.

    References
    ----------
    Hoerl and Kennard (1970), Technometrics 12(1); Saunders, Gammerman and Vovk (1998), ICML, for the dual.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> solve_ridge(x, 3 * x + 1, 0.0).coef.round(6)
    array([[3.]])
    """
    x, y, weight = check_problem(x, y, sample_weight)
    alphas = check_penalties(alpha, y.shape[1])
    if solver not in ("auto", "cholesky", "eigen", "svd"):
        raise ValueError(f"solver must be 'auto', 'cholesky', 'eigen' or 'svd'; got {solver!r}")
    if n_targets_batch is not None and n_targets_batch < 1:
        raise ValueError(f"n_targets_batch must be at least 1; got {n_targets_batch}")
    xt, yt = centre(x, y, fit_intercept=fit_intercept, sample_weight=weight)
    if y.shape[1] == 0:
        empty = np.zeros((0, x.shape[1]), x.dtype)
        return RidgeSolution(empty, np.zeros(0, x.dtype), "primal-cholesky")
    if solver == "auto":
        solver = "cholesky" if _cholesky_is_cheaper(min(x.shape), alphas) else "eigen"
    if solver == "cholesky":
        try:
            return _solve_cholesky(xt, yt, alphas, n_targets_batch)
        except np.linalg.LinAlgError as error:
            warnings.warn(
                f"{error}. Computing the least-norm solution from an SVD of x instead; "
                "a larger alpha, or solver='svd', avoids this warning",
                SingularDesignWarning,
                stacklevel=2,
            )
            solver = "svd"
    mode: Literal["auto", "svd"] = "svd" if solver == "svd" else "auto"
    basis = decompose(xt, smallest_alpha=float(alphas.min()), mode=mode)
    basis = basis.narrowed(x.dtype, float(alphas.min()), y.shape[1])
    return solve_in_basis(basis, yt, alphas, n_targets_batch=n_targets_batch)


def check_penalties(alpha: ArrayLike, n_targets: int) -> Float64Array:
    """``alpha`` as (n_targets,) float64.

    Raises:
        ValueError: not a number or one per target, negative, or not finite.
    """
    alphas = np.asarray(alpha, dtype=np.float64)
    if alphas.ndim > 1 or alphas.size not in (1, n_targets) or alphas.size == 0:
        raise ValueError(
            f"alpha must be one number or one per target: {n_targets} targets, alpha of shape {alphas.shape}"
        )
    bad = ~(np.isfinite(alphas) & (alphas >= 0))
    if bad.any():
        first = alphas.reshape(-1)[bad.reshape(-1)][0]
        raise ValueError(f"alpha must be finite and >= 0; got {first}")
    return np.broadcast_to(alphas.reshape(-1), (n_targets,))


def solve_in_basis(
    basis: EigenBasis, y: Centred, alphas: Float64Array, *, n_targets_batch: int | None = None
) -> RidgeSolution:
    """The ridge solution for per-target ``alphas`` (n_targets,) in a basis from ``decompose``.

    One pass over the targets, in the precision of the basis; the result is in the precision of y.
    """
    n_targets, work, dtype = y.shape[1], basis.dtype, y.array.dtype
    coef = np.empty((n_targets, basis.x.shape[1]), dtype=dtype)
    intercept = np.zeros(n_targets, dtype=dtype)
    for columns in blocks(n_targets, n_targets_batch or tile_width(max(basis.x.shape), work)):
        scaled = basis.project(y.columns(columns, work))
        if alphas[columns].min(initial=np.inf) > 0:
            _cpu.apply_penalty(scaled, basis.values, np.ascontiguousarray(alphas[columns]), n_threads())
        else:  # 0 / 0 is the solution of least norm there
            scaled *= basis.inverse(alphas[columns]).astype(work, copy=False)
        weights = basis.weights(scaled)
        coef[columns] = weights
        intercept[columns] = _intercepts(basis.x, y, columns, weights)
    route: Any = "svd" if basis.kind == "svd" else f"{basis.kind}-eigen"
    return RidgeSolution(coef, intercept, route)


def tile_width(rows: int, dtype: np.dtype[Any]) -> int:
    """How many targets to handle together when each needs ``rows`` numbers of temporary storage."""
    return max(TILE_TARGETS, BLOCK_BYTES // (dtype.itemsize * rows))


def _cholesky_is_cheaper(m: int, alphas: Float64Array) -> bool:
    """d factorisations (m^3 / 3 each) and 2 m^2 V flops of solves, against one eigh (about 9 m^3) and 4 m^2
    V."""
    distinct = np.unique(alphas).size
    return distinct * m / 3 <= 9 * m + 2 * alphas.size


def _solve_cholesky(
    x: Centred, y: Centred, alphas: Float64Array, n_targets_batch: int | None
) -> RidgeSolution:
    n, p = x.shape
    dtype = x.array.dtype
    dual = n < p
    gram = x.dual_gram() if dual else x.primal_gram()
    coef = np.empty((y.shape[1], p), dtype=dtype)
    intercept = np.zeros(y.shape[1], dtype=dtype)
    width = n_targets_batch or tile_width(max(n, p), dtype)
    diagonal = gram.diagonal().copy()
    for alpha in np.unique(alphas):
        np.fill_diagonal(gram, diagonal + alpha)
        factor = _factorise(gram, float(alpha))
        work = dtype if _well_conditioned(factor) else F64
        for columns in _columns_of(alphas, alpha, width):
            yt = y.columns(columns, work)
            rhs = yt if dual else x.transpose_times(yt)
            solution = cholesky_solve(factor, rhs.astype(F64, copy=False))
            weights = x.times_transposed(solution.astype(work, copy=False)) if dual else solution.T
            coef[columns] = weights
            intercept[columns] = _intercepts(x, y, columns, weights)
    return RidgeSolution(coef, intercept, "dual-cholesky" if dual else "primal-cholesky")


def _factorise(a: Float64Array, alpha: float) -> Float64Array:
    """Lower Cholesky factor; LinAlgError when a pivot is lost to rounding.

    A pivot divided by its diagonal entry is the share of that row which the rows before it do not explain.
    Below m * eps that share is rounding noise, whatever the units of the features are.
    """
    diagonal = a.diagonal()
    try:
        factor = cholesky(a)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(f"the normal equations are singular at alpha = {alpha:g}") from error
    pivots = factor.diagonal() ** 2
    if (pivots <= a.shape[0] * np.finfo(np.float64).eps * diagonal).any():
        raise np.linalg.LinAlgError(
            f"the normal equations are singular to working precision at alpha = {alpha:g}"
        )
    return factor


def _well_conditioned(factor: Float64Array) -> bool:
    """Whether float32 products will do; see ``EigenBasis.narrowed``. Pivots under-state the condition."""
    pivots = factor.diagonal() ** 2
    return bool(pivots.max() <= MAX_FLOAT32_CONDITION * pivots.min())


def _columns_of(alphas: Float64Array, alpha: float, width: int) -> Iterator[Columns]:
    """The targets that use ``alpha``, at most ``width`` at a time; slices where all of them do."""
    chosen = np.flatnonzero(alphas == alpha)
    for part in blocks(chosen.size, width):
        yield part if chosen.size == alphas.size else chosen[part]


def _intercepts(x: Centred, y: Centred, columns: Columns, coef: FloatArray) -> Float64Array:
    """b = mean(y) - W' mean(x), (v,) in float64; zeros without an intercept."""
    if x.mean is None or y.mean is None:
        return np.zeros(coef.shape[0])
    fitted = np.empty(coef.shape[0])
    for rows in blocks(coef.shape[0], _INTERCEPTS):
        fitted[rows] = matmul(np.ascontiguousarray(coef[rows], dtype=F64), x.mean[:, None])[:, 0]
    difference: Float64Array = y.mean[columns] - fitted
    return difference
