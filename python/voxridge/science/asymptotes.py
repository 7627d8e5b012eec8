"""Curves that rise to a limit, fitted to many targets at once by variable projection.

A curve is ``limit * shape(x, tau)``. For a given ``tau`` the best limit is linear least squares, clipped to
its bounds, so one number per target is searched for: first over a grid of ``tau`` that all targets share,
then by a bracketing secant method on the derivative, all targets together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Rows = NDArray[np.intp]
CurveName = Literal["exponential", "reliability"]
CURVES: tuple[str, ...] = get_args(CurveName)

_GRID = 72
_ROUNDS = 80
_TOLERANCE = 1e-9  # of log tau
_FLAT = 0.999  # share of the limit that is reached at the first size


@dataclass(frozen=True)
class Asymptotes:
    """Fitted curves, one per column of the data.

    Attributes
    ----------
    limit : ndarray (n_targets,) float64
        Between 0 and 1; NaN where fewer than two sizes have a value.
    tau : ndarray (n_targets,) float64
        Above 0; NaN also where the limit is 0, since any curve fits then.
    converged : ndarray of bool (n_targets,)
    """

    limit: Float64
    tau: Float64
    converged: NDArray[np.bool_]


def shape_of(curve: CurveName, x: Float64, tau: Float64) -> Float64:
    """The curve with limit 1 at ``x``; arrays broadcast."""
    return _shape(curve, x, tau)[0]


def _shape(curve: str, x: Float64, tau: Float64) -> tuple[Float64, Float64]:
    """The curve with limit 1 and its derivative to log tau."""
    if curve == "exponential":
        with np.errstate(under="ignore"):
            ratio = x / tau
            left = np.exp(-ratio)
            return -np.expm1(-ratio), -ratio * left
    others = x - 1.0
    share = others / (others + tau)
    value = np.sqrt(share)
    return value, -0.5 * value * (1.0 - share)


def is_flat(curve: CurveName, x: Float64, tau: Float64) -> NDArray[np.bool_]:
    """Whether the curve is at its limit from the first of ``x`` on, so that it tells nothing of its rise."""
    return np.asarray(shape_of(curve, np.asarray(x.min()), tau) > _FLAT)


def fit_asymptotes(x: Float64, values: Float64, *, curve: CurveName = "exponential") -> Asymptotes:
    """Least squares fit of ``limit * shape(x, tau)`` with 0 <= limit <= 1 and tau > 0, to every column.

    Parameters
    ----------
    x : ndarray (n_sizes,)
        Above 0 (above 1 for "reliability").
    values : ndarray (n_sizes, n_targets) float64
        NaN entries are left out.
    curve : {"exponential", "reliability"}
        ``1 - exp(-x / tau)`` or ``sqrt((x - 1) / (x - 1 + tau))``.

    Returns
    -------
    Asymptotes

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(2.0, 9.0)
    >>> found = fit_asymptotes(x, 0.4 * (1 - np.exp(-x / 3))[:, None])
    >>> found.limit.round(6), found.tau.round(6)
    (array([0.4]), array([3.]))
    """
    known = np.isfinite(values).T
    data = np.where(known, values.T, 0.0)
    weights = known.astype(np.float64)
    problem = _Problem(curve, np.asarray(x, dtype=np.float64), data, weights)
    low, high = (1e-7, 1e8) if curve == "reliability" else (x.min() / 40.0, x.max() * 1e7)
    grid = np.linspace(np.log(low), np.log(high), _GRID)
    everyone = np.arange(len(data))
    first, second, doubtful = _candidates(problem.on_grid(grid))
    tau, converged = problem.refined(grid, first, everyone)
    if doubtful.size:
        other, settled = problem.refined(grid, second, doubtful)
        better = problem.loss(other, doubtful) < problem.loss(tau[doubtful], doubtful)
        tau[doubtful[better]], converged[doubtful[better]] = other[better], settled[better]
    limit = problem.limit(tau, everyone)
    enough = known.sum(axis=1) >= 2
    return Asymptotes(
        np.where(enough, limit, np.nan),
        np.where(enough & (limit > 0), tau, np.nan),
        converged & enough,
    )


@dataclass(frozen=True)
class _Problem:
    """Targets in rows here: data and weights (n_targets, n_sizes)."""

    curve: str
    x: Float64
    data: Float64
    weights: Float64

    def on_grid(self, grid: Float64) -> Float64:
        """The objective less its constant, (n_targets, n_grid)."""
        shape, _ = _shape(self.curve, self.x[:, None], np.exp(grid))
        product, square = self.data @ shape, self.weights @ shape**2
        limit = _clipped(product, square)
        return np.asarray(limit * (limit * square - 2.0 * product))

    def limit(self, tau: Float64, rows: Any) -> Float64:
        shape, _ = _shape(self.curve, self.x, tau[:, None])
        return _clipped(
            np.einsum("ij,ij->i", self.data[rows], shape),
            np.einsum("ij,ij,ij->i", self.weights[rows], shape, shape),
        )

    def loss(self, tau: Float64, rows: Any) -> Float64:
        shape, _ = _shape(self.curve, self.x, tau[:, None])
        residual = self.data[rows] - self.weights[rows] * self.limit(tau, rows)[:, None] * shape
        return np.asarray(np.einsum("ij,ij->i", residual, residual))

    def refined(self, grid: Float64, at: Rows, rows: Rows) -> tuple[Float64, NDArray[np.bool_]]:
        """The minimum between the neighbours of a point of the grid, and whether it was reached."""
        start, stop = grid[np.maximum(at - 1, 0)], grid[np.minimum(at + 1, grid.size - 1)]
        log_tau, converged = _root(lambda x, some: self.slope(x, rows[some]), start, stop)
        return np.exp(log_tau), converged

    def slope(self, log_tau: Float64, rows: Any) -> Float64:
        """Half the derivative of the objective to log tau at the best limit, whose own derivative is 0 or
        whose bound holds."""
        data, weights = self.data[rows], self.weights[rows]
        shape, change = _shape(self.curve, self.x, np.exp(log_tau)[:, None])
        limit = _clipped(np.einsum("ij,ij->i", data, shape), np.einsum("ij,ij,ij->i", weights, shape, shape))
        residual = weights * limit[:, None] * shape - data
        return np.asarray(limit * np.einsum("ij,ij->i", residual, change))


def _candidates(on_grid: Float64) -> tuple[Rows, Rows, Rows]:
    """The lowest point of the grid for every target; the next lowest that is a minimum of its own, and the
    targets that have one: a narrow minimum may fall between two points."""
    first = on_grid.argmin(axis=1)
    padded = np.pad(on_grid, ((0, 0), (1, 1)), constant_values=np.inf)
    own = (on_grid < padded[:, :-2]) & (on_grid < padded[:, 2:])
    own &= np.abs(np.arange(on_grid.shape[1]) - first[:, None]) > 1
    doubtful = np.flatnonzero(own.any(axis=1))
    second = np.where(own[doubtful], on_grid[doubtful], np.inf).argmin(axis=1)
    return first, second, doubtful


def _clipped(product: Float64, square: Float64) -> Float64:
    return np.asarray(np.clip(product / np.maximum(square, 1e-300), 0.0, 1.0))


def _root(
    slope: Callable[[Float64, Any], Float64], start: Float64, stop: Float64
) -> tuple[Float64, NDArray[np.bool_]]:
    """Where the slope changes from negative to positive, by regula falsi with Anderson and Bjorck's weights,
    halving where that is slow; the end towards which the objective falls where there is no change."""
    everyone = np.arange(start.size)
    a, b = start.copy(), stop.copy()
    fa, fb = slope(a, everyone), slope(b, everyone)
    found = np.where(fa >= 0, a, b)
    converged = ~((fa < 0) & (fb > 0))
    active = np.flatnonzero(~converged)
    a, b, fa, fb = a[active], b[active], fa[active], fb[active]
    for step in range(_ROUNDS):
        if not active.size:
            break
        c = a - fa * (b - a) / (fb - fa)
        inside = (c > a) & (c < b) & (step < 9 or step % 2 == 0)
        c = np.where(inside, c, 0.5 * (a + b))
        fc = slope(c, active)
        left = fc < 0
        weight = np.where(left, 1.0 - fc / fa, 1.0 - fc / fb)
        weight = np.where(weight > 0, weight, 0.5)
        moved = np.where(left, c - a, b - c)
        fa, fb = np.where(left, fc, fa * weight), np.where(left, fb * weight, fc)
        a, b = np.where(left, c, a), np.where(left, b, c)
        found[active] = c
        done = (b - a < _TOLERANCE) | (fc == 0) | ((moved < _TOLERANCE) & inside)
        converged[active[done]] = True
        keep = ~done
        active, a, b, fa, fb = active[keep], a[keep], b[keep], fa[keep], fb[keep]
    return found, converged
