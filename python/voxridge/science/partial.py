"""Size, width and depth of models in one regression, with a look at whether they can be told apart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voxridge._warnings import CollinearityWarning
from voxridge.science._lines import Float64, check_level, gaussian_aic, half_width, two_sided_p

_LARGE_VIF = 10.0


@dataclass(frozen=True)
class PartialEffects:
    """A multiple regression of the scores of models.

    Attributes
    ----------
    names : tuple of str (n_predictors,)
    coefficients, standard_errors, t, p, low, high : ndarray (n_predictors,) or (n_predictors, n_targets)
        Change of the score for one unit of a predictor while the others stay, its classical error, t, p and
        interval.
    unique_r2 : ndarray (n_predictors,) or (n_predictors, n_targets)
        How much R^2 falls when the predictor is left out.
    intercept, r2, adjusted_r2, aic : ndarray () or (n_targets,)
        With families the intercept is the mean of theirs over models.
    vif : ndarray (n_predictors,)
        Variance inflation: 1 / (1 - R^2) of the predictor on the others.
    n_models : int
    level : float
    """

    names: tuple[str, ...]
    coefficients: Float64
    standard_errors: Float64
    t: Float64
    p: Float64
    low: Float64
    high: Float64
    unique_r2: Float64
    intercept: Float64
    r2: Float64
    adjusted_r2: Float64
    aic: Float64
    vif: Float64
    n_models: int
    level: float

    @property
    def collinear(self) -> bool:
        """Whether some variance inflation is above 10."""
        return bool(np.any(self.vif > _LARGE_VIF))


def partial_effects(
    scores: ArrayLike,
    log_n: ArrayLike,
    width: ArrayLike,
    depth: ArrayLike,
    *,
    more: Mapping[str, ArrayLike] | None = None,
    families: Sequence[str] | None = None,
    level: float = 0.95,
) -> PartialEffects:
    """Scores regressed on log size, width and depth together.

    .. math:: s_m = a + b_1 \\ln N_m + b_2 d_m + b_3 L_m + e_m

    Width and depth make the size, so the three are strongly correlated in any set of models: look at ``vif``
    before reading a coefficient. The errors are classical; with families each family has a level of its own
    and coefficients compare models inside families.

    Parameters
    ----------
    scores : array_like of shape (n_models,) or (n_models, n_targets)
        Targets with a NaN are NaN.
    log_n : array_like of shape (n_models,)
        Logarithm of the number of parameters, to whatever base.
    width, depth : array_like of shape (n_models,)
        Hidden size and number of layers.
    more : mapping of str to array_like of shape (n_models,), optional
        Further predictors.
    families : sequence of str (n_models,), optional
    level : float, default 0.95

    Returns
    -------
    PartialEffects

    Raises
    ------
    ValueError
        For shapes that do not match, values that are not finite, too few models, or predictors of which one
        is an exact combination of the others.

    Warns
    -----
    CollinearityWarning
        A variance inflation above 10.

    Examples
    --------
    >>> import numpy as np
    >>> width, depth = np.array([8.0, 20, 10, 41, 26, 51]), np.array([24.0, 12, 40, 24, 12, 32])
    >>> log_n = np.array([18.0, 19, 21, 20, 23, 22])
    >>> found = partial_effects(0.01 * log_n + 0.002 * depth, log_n, width, depth)
    >>> [(name, round(float(b), 4)) for name, b in zip(found.names, found.coefficients)]
    [('log size', 0.01), ('width', 0.0), ('depth', 0.002)]
    """
    check_level(level)
    given = np.asarray(scores, dtype=np.float64)
    columns = {"log size": log_n, "width": width, "depth": depth, **(more or {})}
    design = _design(columns, given)
    levels = _levels(families, len(given))
    free = len(given) - design.shape[1] - levels.shape[1]
    if free < 1:
        raise ValueError(
            f"{len(given)} models for {design.shape[1]} predictors and {levels.shape[1]} level(s): at least "
            f"{design.shape[1] + levels.shape[1] + 1} are needed"
        )
    vif = _inflation(design, levels, tuple(columns))
    names = tuple(columns)
    if np.any(vif > _LARGE_VIF):
        worst = ", ".join(f"{name} {v:.1f}" for name, v in zip(names, vif, strict=True) if v > _LARGE_VIF)
        warnings.warn(
            f"variance inflation above {_LARGE_VIF:g} ({worst}): these models cannot tell the predictors "
            "apart, and single coefficients mean little",
            CollinearityWarning,
            stacklevel=2,
        )
    return _regress(given, design, levels, names, vif, free, level)


def _design(columns: Mapping[str, ArrayLike], scores: Float64) -> Float64:
    if scores.ndim not in (1, 2):
        raise ValueError(f"scores has shape {scores.shape}: give (n_models,) or (n_models, n_targets)")
    arrays = []
    for name, values in columns.items():
        array = np.asarray(values, dtype=np.float64)
        if array.shape != scores.shape[:1]:
            raise ValueError(f"{name} has shape {array.shape}, scores has {scores.shape}: give one per model")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has a value that is not finite: leave that model out")
        arrays.append(array)
    return np.column_stack(arrays)


def _levels(families: Sequence[str] | None, n_models: int) -> Float64:
    """Columns of ones and zeros: one intercept, or one for each family."""
    if families is None:
        return np.ones((n_models, 1))
    names, codes = np.unique(np.asarray([str(family) for family in families]), return_inverse=True)
    if len(codes) != n_models:
        raise ValueError(f"families has {len(codes)} entries for {n_models} models: give one for each model")
    return np.asarray(np.eye(len(names))[codes.reshape(-1)])


def _without(levels: Float64, values: Float64) -> Float64:
    """What the levels leave of the values (n_models, ...)."""
    # One product per column, so that a NaN stays in its own.
    return np.asarray(values - levels @ (np.linalg.pinv(levels) @ values))


def _inflation(design: Float64, levels: Float64, names: Sequence[str]) -> Float64:
    about = _without(levels, design)
    norms = np.linalg.norm(about, axis=0)
    for name, norm, raw in zip(names, norms, np.linalg.norm(design, axis=0), strict=True):
        if norm <= 1e-10 * max(raw, 1e-300):
            raise ValueError(f"{name} is the same for all models that are compared: leave it out")
    unit = about / norms
    if np.linalg.matrix_rank(unit, tol=1e-7) < unit.shape[1]:
        raise ValueError(f"one of {', '.join(names)} is a combination of the others: leave one out")
    return np.asarray(np.diag(np.linalg.inv(unit.T @ unit)))


def _regress(
    scores: Float64,
    design: Float64,
    levels: Float64,
    names: tuple[str, ...],
    vif: Float64,
    free: int,
    level: float,
) -> PartialEffects:
    flat = scores.reshape(len(scores), -1)
    about, target = _without(levels, design), _without(np.ones((len(flat), 1)), flat)
    inside = _without(levels, flat)
    scale = np.linalg.norm(about, axis=0)
    q, triangle = np.linalg.qr(about / scale)
    inverse = np.linalg.inv(triangle)
    beta = inverse @ (q.T @ inside) / scale[:, None]
    rss = np.sum((inside - about @ beta) ** 2, axis=0)
    tss = np.sum(target**2, axis=0)
    error = np.sqrt(np.outer(np.sum(inverse**2, axis=1) / scale**2, rss / free))
    half = half_width(error, free, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = beta / error
        r2 = 1 - rss / tss
        unique = beta**2 * (scale**2 / vif)[:, None] / tss
    adjusted = 1 - (1 - r2) * (len(flat) - 1) / free
    aic = gaussian_aic(rss, len(flat), design.shape[1] + levels.shape[1] + 1)
    intercept = np.mean(flat - design @ beta, axis=0)
    rows = [beta, error, t, two_sided_p(beta, error, free), beta - half, beta + half, unique]
    shape = scores.shape[1:]
    b, se, t, p, low, high, alone = (row.reshape((len(names), *shape)) for row in rows)
    level_0, r2, adjusted, aic = (row.reshape(shape) for row in (intercept, r2, adjusted, aic))
    fitted = (names, b, se, t, p, low, high, alone, level_0, r2, adjusted, aic, vif)
    return PartialEffects(*fitted, n_models=len(flat), level=level)
