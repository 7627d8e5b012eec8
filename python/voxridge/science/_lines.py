"""Straight lines through a few models for many targets at once: the arithmetic that scaling fits share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]
Rows = NDArray[np.bool_]

_BLOCK_TARGETS = 1 << 15
_LINEAR = ("benchmark", "hellaswag", "accuracy")
TRAINING_UNITS = ("stories", "hours")  # points are training sets, not models
_DOWNWARD = ("perplexity", "ppl", "loss", "surprisal", "entropy", "bits per", "bits_per")


def logged_by_default(predictor: str) -> bool:
    """Whether a predictor of this name is taken on a logarithmic scale when nothing is said."""
    return not any(word in predictor.lower() for word in _LINEAR)


def is_downward(predictor: str) -> bool:
    """Whether less of this predictor is a better model."""
    return any(word in predictor.lower() for word in _DOWNWARD)


def check_models(x: ArrayLike, scores: ArrayLike, log: bool, predictor: str) -> tuple[Float64, NDArray[Any]]:
    """x (n_models,) and scores (n_models, ...), or an error that says what is wrong."""
    values, given = np.asarray(x, dtype=np.float64), np.asarray(scores)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"scores has dtype {given.dtype}: give real numbers")
    if values.ndim != 1 or given.ndim not in (1, 2) or len(given) != len(values):
        raise ValueError(
            f"x has shape {values.shape} and scores has shape {given.shape}: give x (n_models,) and scores "
            "(n_models,) or (n_models, n_targets)"
        )
    wrong = ~np.isfinite(values) | ((values <= 0) if log else False)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        need = "finite and above 0, because it is taken as a logarithm" if log else "finite"
        raise ValueError(f"x[{first}] = {values[first]}: {predictor} must be {need}; leave that model out")
    if len(values) < 3 or np.ptp(values) == 0:
        raise ValueError(
            f"{len(values)} model(s) with {len(np.unique(values))} different value(s) of {predictor}: a line "
            "and its interval need at least 3 models that differ"
        )
    return values, given


def family_codes(families: Any, n_models: int) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Family names per model and their numbers."""
    names = tuple(str(family) for family in families)
    if len(names) != n_models:
        raise ValueError(f"families has {len(names)} entries for {n_models} models: give one for each model")
    return names, np.unique(names, return_inverse=True)[1].reshape(-1)


def complete_blocks(scores: NDArray[Any]) -> Iterator[tuple[Rows, NDArray[np.intp]]]:
    """Blocks of columns of (n_models, n_targets) in which the same models have a score: (rows, columns)."""
    for start in range(0, scores.shape[1], _BLOCK_TARGETS):
        finite = np.isfinite(scores[:, start : start + _BLOCK_TARGETS])
        if finite.all():
            yield finite[:, 0], np.arange(start, start + finite.shape[1])
            continue
        packed = np.ascontiguousarray(np.packbits(finite, axis=0).T)
        keys = packed.view(np.dtype((np.void, packed.shape[1]))).reshape(-1)
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        for number, example in enumerate(first):
            yield finite[:, example], start + np.flatnonzero(which.reshape(-1) == number)


@dataclass(frozen=True)
class Lines:
    """Least-squares lines ``level + slope (u - centre)``; arrays (n_targets,) and residuals (n_models,
    n_targets)."""

    deviations: Float64  # of u from its mean, (n_models,)
    centre: float
    spread: float  # sum of squared deviations
    level: Float64
    slope: Float64
    residuals: Float64
    rss: Float64
    tss: Float64


def fit_lines(u: Float64, scores: Float64) -> Lines:
    """Lines through complete scores (n_models, n_targets) against u (n_models,)."""
    centre = float(u.mean())
    deviations = u - centre
    spread = float(deviations @ deviations)
    level = scores.mean(axis=0)
    about = scores - level
    slope = deviations @ about / spread
    residuals = about - np.outer(deviations, slope)
    rss = np.einsum("ij,ij->j", residuals, residuals)
    tss = np.einsum("ij,ij->j", about, about)
    # A constant column has a spread of rounding only.
    tss = np.where(tss > len(u) * (8 * np.finfo(np.float64).eps * np.abs(scores).max(axis=0)) ** 2, tss, 0.0)
    return Lines(deviations, centre, spread, level, slope, residuals, rss, tss)


def gaussian_aic(rss: Float64, n: Any, n_parameters: int) -> Float64:
    """``n (log(2 pi RSS / n) + 1) + 2 k``; k counts the error's variance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(n * (np.log(2 * np.pi * rss / n) + 1) + 2 * n_parameters, dtype=np.float64)


def half_width(standard_error: Any, dof: Any, level: float) -> Float64:
    """``t_dof(level) * standard error``; NaN without degrees of freedom."""
    from scipy.stats import t as student

    enough = np.asarray(dof, dtype=np.float64) > 0
    quantile = student.ppf(0.5 + level / 2, np.where(enough, dof, 1.0))
    return np.where(enough, quantile * standard_error, np.nan)


def two_sided_p(slope: Any, standard_error: Any, dof: Any) -> Float64:
    """p of a Student t test of slope = 0."""
    from scipy.stats import t as student

    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(np.asarray(slope, dtype=np.float64)) / standard_error
    enough = np.asarray(dof, dtype=np.float64) > 0
    return np.where(enough, 2 * student.sf(statistic, np.where(enough, dof, 1.0)), np.nan)


def short_number(value: float) -> str:
    """125M, 1.3B, 25.19: as sizes of models are written."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{unit}"
    return f"{value:.4g}"


def named_value(value: float, predictor: str) -> str:
    """ "1.3B parameters", or "perplexity 25.2" where x is not a count."""
    number = short_number(float(value))
    if predictor not in ("parameters", "tokens", "words", *TRAINING_UNITS):
        return f"{predictor} {number}"
    single = {"stories": "story"}.get(predictor, predictor[:-1])
    return f"{number} {single if number == '1' else predictor}"


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a number between 0 and 1, such as 0.95")
