"""Whether scores level off with size: shapes that flatten against a straight line, as far as data tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from voxridge.science._lines import (
    Float64,
    check_models,
    family_codes,
    is_downward,
    logged_by_default,
    named_value,
)
from voxridge.science._shapes import ENDS, Shape, fit_shapes, simulated_p
from voxridge.science.scaling import ScalingFit, fit_scaling

_FEWEST = 8
_FEWEST_FAMILIES = 4
_ALPHA = 0.05
_CLEAR = 2.0  # difference in AICc
_LABELS = {"saturating": "curve towards a ceiling", "broken": "line that is flat"}


@dataclass(frozen=True)
class PlateauTest:
    """Shapes compared, and what may be said.

    Attributes
    ----------
    verdict : str
        "flattens", "keeps rising", "no rise" or "cannot tell".
    sentence : str
        The verdict in words, with its numbers.
    shapes : dict of str to Shape
        Empty for too few models.
    p : float
        Of the better of the two shapes that flatten, from data simulated along the straight line.
    delta_aicc : float
        AICc of the straight line minus that of the better shape that flattens: above 0 speaks for it.
    breakpoint : float
        x above which the broken line is flat; NaN for too few models.
    upper : ScalingFit or None
        The line through the larger models alone.
    """

    verdict: str
    sentence: str
    shapes: dict[str, Shape]
    p: float
    delta_aicc: float
    breakpoint: float
    upper: ScalingFit | None
    _first: float
    _range: float
    _log: bool

    @property
    def flattening(self) -> Shape | None:
        """The better of the two shapes that flatten."""
        found = [shape for name, shape in self.shapes.items() if name in ("saturating", "broken")]
        return min(found, key=lambda shape: shape.rss) if found else None

    def curve(self, name: str, x: ArrayLike) -> Float64:
        """Fitted scores of the shape of this name at x (n_points,)."""
        values = np.asarray(x, dtype=np.float64)
        u = np.log10(values) if self._log else values
        return self.shapes[name].at((u - self._first) / self._range)


def slope_above(
    x: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    *,
    predictor: str = "parameters",
    log: bool | None = None,
    families: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    level: float = 0.95,
) -> ScalingFit:
    """The line through the models beyond a size only, such as those above 3 billion parameters.

    A slope that does not differ from zero there is no proof of a plateau: look at its interval, which is wide
    where few models of a narrow range are left.

    Parameters
    ----------
    x : array_like of shape (n_models,)
    scores : array_like of shape (n_models,) or (n_models, n_targets)
    threshold : float
        Models with x above it are kept (for perplexity: below it).
    predictor, log, families, names, level
        As in :func:`~voxridge.science.scaling.fit_scaling`.

    Returns
    -------
    ScalingFit

    Raises
    ------
    ValueError
        When fewer than three different models are left, or as :func:`~voxridge.science.scaling.fit_scaling`.

    Examples
    --------
    >>> fit = slope_above([1e8, 1e9, 4e9, 7e9, 14e9], [0.1, 0.2, 0.25, 0.24, 0.26], 3e9)
    >>> int(fit.n_models), bool(fit.interval.low < 0 < fit.interval.high)
    (3, True)
    """
    values, given = np.asarray(x, dtype=np.float64), np.asarray(scores)
    if values.ndim != 1 or given.shape[:1] != values.shape:
        raise ValueError(
            f"x has shape {values.shape} and scores has shape {given.shape}: one score per model"
        )
    kept = np.flatnonzero(values < threshold if is_downward(predictor) else values > threshold)
    if len(kept) < 3 or np.ptp(values[kept]) == 0:
        raise ValueError(f"{len(kept)} model(s) with {predictor} beyond {threshold:g}: at least 3 are needed")

    def pick(entries: Sequence[str] | None) -> list[str] | None:
        return None if entries is None else [entries[int(i)] for i in kept]

    return fit_scaling(
        values[kept],
        given[kept],
        predictor=predictor,
        log=log,
        families=pick(families),
        names=pick(names),
        level=level,
    )


def plateau_test(
    x: ArrayLike,
    scores: ArrayLike,
    *,
    predictor: str = "parameters",
    log: bool | None = None,
    families: Sequence[str] | None = None,
    above: float | None = None,
    n_draws: int = 999,
    seed: int = 0,
) -> PlateauTest:
    """Compares no trend, a straight line, a curve towards a ceiling, and a line that is flat above a break.

    With z the (logarithmic) size from 0 to 1, the curve is ``v - a exp(-k z)``, which is a power law
    ``v - a N^-b`` for logarithmic x, and the broken line is ``v + a min(z, t)`` with at least three models on
    either side of t. AICc ranks them, but a bend that is searched for always finds something: so the gain in
    fit of the better shape is compared with what it gains on data simulated along the straight line, with
    errors that families share where families are given.

    "flattens" needs p below 0.05 and an AICc better by 2. "keeps rising" needs a slope of the larger models
    (the upper half, or those beyond ``above``) whose 95 % interval is above zero, and a straight line that
    neither shape that flattens beats by AICc. "no rise" is a slope of all models that does not differ from
    zero, or that falls. Anything else is "cannot tell", as is anything with fewer than 8 models.

    Parameters
    ----------
    x : array_like of shape (n_models,)
    scores : array_like of shape (n_models,)
        NaN are left out.
    predictor, log, families
        As in :func:`~voxridge.science.scaling.fit_scaling`.
    above : float, optional
        Where the larger models begin; default: the median of x.
    n_draws : int, default 999
    seed : int

    Returns
    -------
    PlateauTest

    Raises
    ------
    ValueError
        For more than one series, or as :func:`~voxridge.science.scaling.fit_scaling`.

    References
    ----------
    Burnham & Anderson 2002 (Model Selection and Multimodel Inference) for AICc and Akaike weights.

    Examples
    --------
    >>> import numpy as np
    >>> sizes = np.geomspace(1e8, 1e11, 16)
    >>> noise = 0.002 * np.random.default_rng(0).standard_normal(16)
    >>> plateau_test(sizes, 0.1 + 0.03 * np.minimum(np.log10(sizes), 9.5) + noise).verdict
    'flattens'
    >>> plateau_test(sizes, 0.1 + 0.03 * np.log10(sizes) + noise).verdict
    'keeps rising'
    """
    logged = logged_by_default(predictor) if log is None else log
    values, given = check_models(x, scores, logged, predictor)
    if given.ndim != 1:
        raise ValueError(f"scores has shape {given.shape}: give one series (n_models,)")
    if n_draws < 99:
        raise ValueError(f"n_draws={n_draws}: give at least 99")
    kin = None if families is None else family_codes(families, len(values))[0]
    rows = np.isfinite(given)
    values, series = values[rows], given[rows].astype(np.float64)
    kin = None if kin is None else tuple(np.asarray(kin)[rows])
    first, span = _ends(np.log10(values) if logged else values, is_downward(predictor))
    if len(values) < _FEWEST or len(np.unique(values)) < 2 * ENDS:
        sentence = (
            f"{len(values)} models cannot tell a plateau from a straight line; at least {_FEWEST} are needed."
        )
        return PlateauTest("cannot tell", sentence, {}, np.nan, np.nan, np.nan, None, first, span, logged)
    z = ((np.log10(values) if logged else values) - first) / span
    shapes = fit_shapes(z, series)
    codes = None if kin is None else family_codes(kin, len(z))[1]
    p = simulated_p(z, series, codes, n_draws, np.random.default_rng(seed))
    end = first + shapes["broken"].bend * span
    point = float(10**end if logged else end)
    best = min(shapes["saturating"].aicc, shapes["broken"].aicc)
    delta = shapes["straight"].aicc - best
    overall = fit_scaling(values, series, predictor=predictor, log=logged)
    upper = _upper(
        values, series, float(np.median(values)) if above is None else above, predictor, logged, kin
    )
    verdict, sentence = _verdict(overall, shapes, p, delta, point, upper, predictor)
    return PlateauTest(verdict, sentence, shapes, p, delta, point, upper, first, span, logged)


def _ends(u: Float64, downward: bool) -> tuple[float, float]:
    """Where z = 0 is, and the signed range to z = 1."""
    if not len(u):
        return 0.0, 1.0
    low, high = float(u.min()), float(u.max())
    return (high, low - high) if downward else (low, high - low)


def _upper(
    x: Float64, scores: Float64, above: float, predictor: str, log: bool, families: tuple[str, ...] | None
) -> ScalingFit | None:
    beyond = x < above if is_downward(predictor) else x > above
    if beyond.sum() < 3 or np.ptp(x[beyond]) == 0:
        return None
    # A handful of families among the larger models would give an interval of no use, and a warning.
    kin = None if families is None else tuple(np.asarray(families)[beyond])
    if kin is not None and len(set(kin)) < _FEWEST_FAMILIES:
        kin = None
    return fit_scaling(x[beyond], scores[beyond], predictor=predictor, log=log, families=kin)


# --- words


def _verdict(
    overall: ScalingFit,
    shapes: dict[str, Shape],
    p: float,
    delta: float,
    point: float,
    upper: Any,
    predictor: str,
) -> tuple[str, str]:
    n = int(overall.n_models)
    better = -1.0 if is_downward(predictor) else 1.0
    if not (better * overall.slope > 0 and overall.p < _ALPHA):
        return "no rise", (
            f"Scores of these {n} models do not clearly improve (slope {overall.slope:.3g}, "
            f"p = {overall.p:.2g}), so there is no rise that could level off."
        )
    numbers = f"AICc of the straight line minus that of the better bent one: {delta:.1f}; p = {p:.2g}"
    top = _upper_words(upper, predictor)
    if p < _ALPHA and delta >= _CLEAR:
        flat = min(("saturating", "broken"), key=lambda name: shapes[name].aicc)
        side = "below" if is_downward(predictor) else "above"
        where = f" {side} {named_value(point, predictor)}" if flat == "broken" else ""
        return "flattens", (
            f"A {_LABELS[flat]}{where} describes these {n} models better than a straight line ({numbers}). "
            f"{top}"
        )
    rises = upper is not None and min(better * upper.interval.low, better * upper.interval.high) > 0
    if rises and delta < 0:
        return "keeps rising", (
            f"A straight line describes these {n} models, and no flattening shows ({numbers}). {top} Beyond "
            "the largest model nothing is known."
        )
    return "cannot tell", (f"These {n} models cannot tell a plateau from a straight line ({numbers}). {top}")


def _upper_words(upper: ScalingFit | None, predictor: str) -> str:
    if upper is None:
        return "Too few larger models for a slope of their own."
    ends = upper.interval
    edge = upper.x.max() if is_downward(predictor) else upper.x.min()
    side = "at most" if is_downward(predictor) else "at least"
    return (
        f"The {int(upper.n_models)} models with {side} {named_value(edge, predictor)} alone have a "
        f"slope of {ends.slope:.3g} ({ends.low:.3g} to {ends.high:.3g}), p = {ends.p:.2g}."
    )
