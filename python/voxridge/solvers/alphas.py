"""Grids of penalties: two conventions for writing them down, and grids relative to the spectrum of the
design."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.solvers.design import DelayedDesign, Design
from voxridge.solvers.rows import check_alphas

Floating = NDArray[Any]
Reference = Literal["mean", "largest"]

_BLOCK_BYTES = 32 * 2**20  # of delayed rows in float64
_MOST_STEPS = 500  # of Lanczos: far beyond what separated eigenvalues need


def squared_alphas(a: ArrayLike) -> NDArray[np.float64]:
    """``alpha = a**2``: penalties as scikit-learn and this package write them, from HuthLab's.

    HuthLab's ``ridge`` divides singular values by ``s**2 + a**2``, so that it minimises ``||y - X w||^2 +
    a**2 ||w||^2``; scikit-learn, himalaya and :class:`voxridge.EncodingRidge` add ``alpha ||w||^2``.

    Parameters
    ----------
    a : array_like of float >= 0, any shape

    Returns
    -------
    ndarray of float64, the shape of ``a``

    Raises
    ------
    ValueError
        If one is negative or not finite, or its square overflows.

    Examples
    --------
    The grid of Antonello, Vaidya & Huth (2023), ``np.logspace(1, 4, 15)``, is 1e2 to 1e8 here:

    >>> import numpy as np
    >>> from voxridge.solvers import squared_alphas
    >>> squared_alphas(np.logspace(1, 4, 4))
    array([1.e+02, 1.e+04, 1.e+06, 1.e+08])
    """
    grid = _not_negative(a, "a")
    with np.errstate(over="ignore"):
        squared = grid * grid
    return _not_negative(squared, "a**2")


def unsquared_alphas(alpha: ArrayLike) -> NDArray[np.float64]:
    """``a = sqrt(alpha)``: what HuthLab's ``ridge`` calls alpha, from scikit-learn's penalties.

    The inverse of :func:`squared_alphas`.

    Parameters
    ----------
    alpha : array_like of float >= 0, any shape

    Returns
    -------
    ndarray of float64, the shape of ``alpha``

    Raises
    ------
    ValueError
        If one is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import unsquared_alphas
    >>> unsquared_alphas([1e2, 1e8])
    array([   10., 10000.])
    """
    return np.asarray(np.sqrt(_not_negative(alpha, "alpha")))


def _not_negative(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise ValueError(
            f"{name} holds {array[bad].reshape(-1)[:5].tolist()}; every value must be finite and not negative"
        )
    return array


def relative_alphas(
    grid: ArrayLike,
    features: Floating | Design,
    reference: Reference = "mean",
    *,
    delays: Sequence[int] = (0,),
    runs: Sequence[int] | None = None,
    fit_intercept: bool = True,
) -> NDArray[np.float64]:
    """``grid`` times an eigenvalue of the design's Gram matrix: penalties that mean the same for designs of
    any width, length or scale.

    At a penalty of 1 x the mean (largest) eigenvalue a direction of average (largest) variance is shrunk by
    half.

    Parameters
    ----------
    grid : array_like of float >= 0, (n_alphas,)
        Multiples of the eigenvalue.
    features : ndarray (n_samples, n_features) or a design
        With ``delays`` and ``runs`` as the model has them; a design (:class:`DelayedDesign`) brings its own.
    reference : "mean" or "largest"
        See :func:`reference_eigenvalue`.
    fit_intercept : bool, default True
        Centre the columns, as a fit with an intercept does.
    delays : sequence of int, in samples
    runs : sequence of int, optional
        Run lengths. Default: one run.

    Returns
    -------
    ndarray (n_alphas,) of float64

    Raises
    ------
    ValueError
        If ``grid`` is not a sequence of finite numbers >= 0, ``reference`` is not known, or the design is
        constant, so that there is no scale to be relative to.

    Examples
    --------
    For a model with delays, give them here too:

    >>> import numpy as np
    >>> from voxridge import EncodingRidge
    >>> from voxridge.solvers import relative_alphas
    >>> features = np.random.default_rng(0).standard_normal((60, 3))
    >>> delays, runs = (1, 2), [30, 30]
    >>> alphas = relative_alphas(np.logspace(-3, 3, 7), features, delays=delays, runs=runs)
    >>> model = EncodingRidge(alphas=alphas, delays=delays, cv=2, progress=False)
    >>> bool(30 < alphas[3] < 90)  # a standardised column has a sum of squares of n_samples
    True
    """
    value = reference_eigenvalue(features, reference, delays=delays, runs=runs, fit_intercept=fit_intercept)
    if value <= 0:
        raise ValueError("features are constant: their Gram matrix has no eigenvalue to be relative to")
    return np.asarray(check_alphas(grid) * value)


def reference_eigenvalue(
    features: Floating | Design,
    reference: Reference = "mean",
    *,
    delays: Sequence[int] = (0,),
    runs: Sequence[int] | None = None,
    fit_intercept: bool = True,
) -> float:
    """Mean or largest eigenvalue of ``X_c' X_c``, X_c the (centred) delayed design; no Gram matrix is formed.

    ``"mean"`` is ``trace / p``, the mean sum of squares of a column, over all p columns also where there are
    fewer samples. ``"largest"`` is the square of the largest singular value, by Lanczos' method with products
    ``X v`` and ``X' u``, to a relative 1e-6; its start is the same every time, and so is the result.

    Parameters
    ----------
    features : ndarray (n_samples, n_features) or a design
        A design (:class:`DelayedDesign`) brings its own delays and runs.
    reference : "mean" or "largest"
    delays : sequence of int, in samples
    runs : sequence of int, optional
        Run lengths. Default: one run.
    fit_intercept : bool, default True
        Centre the columns.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If ``reference`` is not known, delays or runs do not fit the features, or are given with a design.
    RuntimeError
        If Lanczos' method does not reach its tolerance.

    References
    ----------
    Golub & Van Loan, Matrix Computations (4th ed.), section 10.1, for Lanczos' method.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import reference_eigenvalue
    >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> reference_eigenvalue(x), round(reference_eigenvalue(x, "largest"), 6)
    (10.0, 18.0)
    """
    if reference not in get_args(Reference):
        raise ValueError(f'reference={reference!r} is not known; use "mean" or "largest"')
    design = _as_design(features, delays, runs)
    means = np.zeros(design.n_columns)
    if fit_intercept:
        means = design.sums(design.everything()) / design.n_samples
    squares = _sum_of_squares(design, means)
    if reference == "mean" or squares == 0:
        return squares / design.n_columns

    def times_gram(v: Floating) -> Floating:
        u = design.xw(np.ascontiguousarray(v[:, None]))
        u -= means @ v
        return np.asarray(design.xty(u, design.everything())[:, 0] - means * u.sum())

    return largest_eigenvalue(times_gram, design.n_columns, tolerance=1e-6)


def _as_design(features: Any, delays: Sequence[int], runs: Sequence[int] | None) -> Design:
    if not hasattr(features, "xty"):
        array = np.asarray(features)
        floating = array.dtype in (np.float32, np.float64)
        return DelayedDesign(array if floating else array.astype(np.float64), delays, runs)
    if tuple(delays) != (0,) or runs is not None:
        raise ValueError(
            f"delays={tuple(delays)} and runs={runs} are for arrays; the design given has its own delays "
            f"{tuple(features.delays)}"
        )
    design: Design = features
    return design


def _sum_of_squares(design: Design, means: Floating) -> float:
    """``sum (X - means)^2``, over blocks of delayed rows."""
    step = max(1, _BLOCK_BYTES // (8 * design.n_columns))
    total = 0.0
    for begin in range(0, design.n_samples, step):
        block = design.rows(begin, min(begin + step, design.n_samples)).astype(np.float64)
        block -= means
        total += float(np.vdot(block, block))
    # what float64 leaves of constant columns is not a scale
    noise = design.n_samples * float(means @ means) * (design.n_samples * np.finfo(np.float64).eps) ** 2
    return total if total > noise else 0.0


def largest_eigenvalue(times: Callable[[Floating], Floating], size: int, *, tolerance: float) -> float:
    """Largest eigenvalue of a symmetric positive semi-definite matrix from its products with vectors, by
    Lanczos' method with full reorthogonalisation, from a fixed start.

    Parameters
    ----------
    times : callable
        ``A v`` (size,) float64 from v (size,).
    tolerance : float
        Relative error at which to stop, as ``residual * min(1, residual / gap)`` estimates it: the residual
        of the eigenvector bounds the error, and its square over the gap to the next eigenvalue is nearer.

    Returns
    -------
    float
        0 for a zero matrix.

    Raises
    ------
    RuntimeError
        If 500 steps do not reach the tolerance.
    """
    from scipy.linalg import eigh_tridiagonal

    start = np.random.default_rng(0).standard_normal(size)
    basis = (start / np.linalg.norm(start))[None]
    diagonal: list[float] = []
    beside: list[float] = []
    for step in range(1, min(size, _MOST_STEPS) + 1):
        w = times(basis[-1])
        diagonal.append(float(basis[-1] @ w))
        for _ in range(2):  # twice is enough: what the first pass leaves is rounding of what it took away
            w -= (basis @ w) @ basis
        rest = float(np.linalg.norm(w))
        last_two = max(step - 2, 0), step - 1
        values, vectors = eigh_tridiagonal(diagonal, beside, select="i", select_range=last_two)
        largest = float(values[-1])
        residual = rest * abs(float(vectors[-1, -1]))
        gap = largest - float(values[-2]) - residual if step > 1 else 0.0
        error = residual * min(1.0, residual / gap) if gap > 0 else residual
        if step == size or error <= tolerance * max(largest, 0.0):
            return max(largest, 0.0)
        beside.append(rest)
        basis = np.vstack([basis, w / rest])
    raise RuntimeError(
        f"the largest eigenvalue of a matrix of order {size} was not found to {tolerance:g} in {_MOST_STEPS} "
        "steps of Lanczos' method"
    )
