"""What the slope of a scaling fit rests on: families of models instead of single models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.science._lines import Float64, Lines, complete_blocks, family_codes
from voxridge.science.slopes import SlopeInterval

if TYPE_CHECKING:
    from voxridge.science.scaling import ScalingFit

Codes = NDArray[np.intp]


def cluster_covariance(lines: Lines, codes: Codes) -> tuple[Float64, float]:
    """Bias-reduced cluster-robust covariance of (level, slope), and the slope's degrees of freedom.

    CR2 of Bell and McCaffrey (2002): residuals of family g are multiplied by ``(I - H_gg)^(-1/2)``, which
    makes the estimate unbiased where errors are independent, and Satterthwaite degrees of freedom account
    for few and unequal families. Returns rows (var level, covariance, var slope), each (n_targets,).
    """
    du, n = lines.deviations, len(lines.deviations)
    hat = 1 / n + np.outer(du, du) / lines.spread
    remainder = np.eye(n) - hat
    bread = np.array([1 / n, 1 / lines.spread])
    meat = np.zeros((3, lines.residuals.shape[1]))
    influence = []
    for group in np.unique(codes):
        rows = np.flatnonzero(codes == group)
        adjust = _inverse_root(remainder[np.ix_(rows, rows)])
        design = np.column_stack([np.ones(len(rows)), du[rows]])
        scores = (adjust @ design * bread).T @ lines.residuals[rows]
        meat += np.stack([scores[0] ** 2, scores[0] * scores[1], scores[1] ** 2])
        influence.append(remainder[:, rows] @ adjust @ (du[rows] / lines.spread))
    gram = np.stack(influence) @ np.stack(influence).T
    squares = float(np.sum(gram**2))
    return meat, float(np.trace(gram) ** 2 / squares) if squares > 0 else 0.0


def _inverse_root(matrix: Float64) -> Float64:
    """Symmetric inverse square root; directions that the fit takes up wholly are left out."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-10
    roots = np.where(kept, 1 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    return np.asarray((vectors * roots) @ vectors.T)


def within_families(u: Float64, scores: Float64, codes: Codes) -> tuple[Float64, Float64, int]:
    """Slope with an intercept for each family, its standard error, and the degrees of freedom left.

    Scores (n_models, n_targets), complete. NaN where no family has two models that differ in u.
    """
    n_families = int(codes.max()) + 1
    counts = np.maximum(np.bincount(codes, minlength=n_families), 1)
    du = u - (np.bincount(codes, u, minlength=n_families) / counts)[codes]
    sums = np.zeros((n_families, scores.shape[1]))
    np.add.at(sums, codes, scores)
    about = scores - (sums / counts[:, None])[codes]
    spread = float(du @ du)
    dof = len(u) - len(np.unique(codes)) - 1
    if spread <= 1e-12 * float(u @ u) or dof < 1:
        return np.full(scores.shape[1], np.nan), np.full(scores.shape[1], np.nan), 0
    slope = du @ about / spread
    rss = np.sum((about - np.outer(du, slope)) ** 2, axis=0)
    return slope, np.sqrt(rss / dof / spread), dof


def wild_interval(fit: ScalingFit, *, n_draws: int = 1999, seed: int = 0) -> SlopeInterval:
    """Wild cluster bootstrap of the slope over families, for when these are few.

    The residuals of a whole family are multiplied by one random weight (Webb's six), with the slope that is
    tested imposed; the interval holds the slopes b with p(b) of at least 1 - level, where
    :math:`p = (1 + \\#\\{|t^*| \\ge |t|\\}) / (1 + m)` and is never 0. It needs neither normal errors nor
    many families, and is as wide as the number of families demands: ends are infinite where so few families
    exclude nothing.

    Parameters
    ----------
    fit : ScalingFit
        Of a single series, with families.
    n_draws : int, default 1999
    seed : int

    Returns
    -------
    SlopeInterval
        ``method`` is "wild"; ``dof`` is NaN. Ends and p are NaN where the residuals of every family cancel.

    Raises
    ------
    ValueError
        Without families, with fewer than two, or for more than one target.

    References
    ----------
    Cameron, Gelbach & Miller 2008 (Review of Economics and Statistics 90); Webb 2014 for the weights.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.scaling import fit_scaling
    >>> from voxridge.science.scaling_families import wild_interval
    >>> sizes, families = np.array([1e8, 1e9, 1e10] * 5), np.repeat(list("abcde"), 3)
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal(15)
    >>> found = wild_interval(fit_scaling(sizes, 0.02 * np.log10(sizes) + noise, families=families))
    >>> bool(found.low < 0.02 < found.high)
    True
    """
    if fit.scores.ndim != 1:
        raise ValueError(f"fit has scores of shape {fit.scores.shape}: wild_interval takes a single series")
    if fit.families is None:
        raise ValueError("fit has no families: give families to fit_scaling")
    if n_draws < 99:
        raise ValueError(f"n_draws={n_draws}: give at least 99")
    rows = np.isfinite(fit.scores)
    _, codes = family_codes(np.asarray(fit.families)[rows], int(rows.sum()))
    if codes.max() < 1:
        raise ValueError(f"one family ({fit.families[0]}): the wild bootstrap needs at least two")
    test = _WildTest(fit.u[rows], fit.scores[rows].astype(np.float64), codes, n_draws, seed)
    ends = [np.nan] * 3
    if test.has_error:
        ends = [test.end(-1, 1 - fit.level), test.end(1, 1 - fit.level), test.p(0.0)]
    numbers = [np.asarray(value) for value in (test.slope, *ends, np.nan)]
    middle, low, high, p, dof = numbers
    return SlopeInterval("wild", middle, low, high, p, dof, int(codes.max()) + 1, fit.level)


class _WildTest:
    """p-values of hypothetical slopes with one fixed set of random weights, so that they change smoothly.

    With d the fitted minus the hypothetical slope, the imposed residuals are ``e + d du``, so all that is
    drawn is linear in d: slopes ``a + d b`` and the scores of the families ``A + d B``.
    """

    def __init__(self, u: Float64, scores: Float64, codes: Codes, n_draws: int, seed: int) -> None:
        n_families = int(codes.max()) + 1
        du = u - u.mean()
        spread = float(du @ du)
        self.slope = float(du @ scores / spread)
        residuals = scores - scores.mean() - self.slope * du
        webb = np.sqrt([0.5, 1.0, 1.5])
        rng = np.random.default_rng(seed)
        weights = rng.choice(np.concatenate([webb, -webb]), size=(n_draws, n_families))[:, codes]
        members = np.eye(n_families)[codes]

        def refitted(imposed: Float64) -> tuple[Float64, Float64]:
            drawn = weights * imposed
            slopes = drawn @ du / spread
            left = drawn - drawn.mean(axis=1, keepdims=True) - np.outer(slopes, du)
            return slopes, (left * du) @ members / spread

        self._slopes, self._scores = zip(refitted(residuals), refitted(du), strict=True)
        # Where all families draw one weight, the hypothetical part leaves nothing but rounding.
        self._scores[1][np.abs(self._scores[1]) < 1e-12] = 0.0
        self._error = float(np.linalg.norm((residuals * du) @ members / spread))
        # Residuals may cancel inside every family; nothing can be said then.
        self.has_error = self._error * spread > 1e-10 * float(np.linalg.norm(residuals * du))

    def p(self, slope: float) -> float:
        d = self.slope - slope
        drawn = np.abs(self._slopes[0] + d * self._slopes[1])
        errors = np.linalg.norm(self._scores[0] + d * self._scores[1], axis=1)
        # Products, because a standard error may be zero; a little less, because t* is t itself where all
        # families draw one weight.
        reached = drawn * self._error >= (1 - 1e-9) * abs(d) * errors
        return float((1 + np.count_nonzero(reached)) / (1 + len(reached)))

    def end(self, side: int, alpha: float) -> float:
        """The slope on this side at which p falls below alpha."""
        inside, step = self.slope, max(self._error, 1e-12 * (1 + abs(self.slope)))
        for _ in range(40):
            outside = inside + side * step
            if self.p(outside) < alpha:
                break
            inside, step = outside, 2 * step
        else:
            return side * float("inf")
        for _ in range(40):
            middle = 0.5 * (inside + outside)
            inside, outside = (middle, outside) if self.p(middle) >= alpha else (inside, middle)
        return 0.5 * (inside + outside)


@dataclass(frozen=True)
class Influence:
    """Slopes of a scaling fit with single models, or single families, left out.

    Attributes
    ----------
    what : str
        "models" or "families".
    dropped : tuple of str
        What was left out, one for each row of ``slopes``.
    slopes : ndarray (n_dropped,) or (n_dropped, n_targets)
        NaN where fewer than 3 different models are left.
    low, high : ndarray () or (n_targets,)
        The lowest and the highest of them.
    """

    what: str
    dropped: tuple[str, ...]
    slopes: Float64
    low: Float64
    high: Float64

    def sentence(self) -> str:
        """How far the slope of a single series moves."""
        if not np.isfinite(self.slopes).any():
            return f"No slope is left when single {self.what} are dropped."
        lowest, highest = self.dropped[np.nanargmin(self.slopes)], self.dropped[np.nanargmax(self.slopes)]
        return (
            f"With single {self.what} left out the slope is between {self.low:.4g} (without {lowest}) and "
            f"{self.high:.4g} (without {highest})."
        )


def leave_one_out(fit: ScalingFit, *, what: str = "models") -> Influence:
    """The slope without each model, or without each family: whether one of them makes the trend.

    Parameters
    ----------
    fit : ScalingFit
        Of one series or many.
    what : "models" or "families"

    Returns
    -------
    Influence

    Raises
    ------
    ValueError
        For another word, or "families" of a fit without.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.scaling import fit_scaling
    >>> from voxridge.science.scaling_families import leave_one_out
    >>> fit = fit_scaling([1e8, 1e9, 1e10, 1e11], [0.1, 0.2, 0.3, 0.7], names=["a", "b", "c", "d"])
    >>> leave_one_out(fit).slopes.round(2).tolist()
    [0.25, 0.19, 0.21, 0.1]
    """
    if what not in ("models", "families"):
        raise ValueError(f'what={what!r}: give "models" or "families"')
    if what == "families" and fit.families is None:
        raise ValueError('what="families" for a fit without: give families to fit_scaling')
    labels = np.asarray(fit.names if what == "models" else fit.families)
    dropped = tuple(fit.names) if what == "models" else tuple(dict.fromkeys(labels.tolist()))
    kept = ~np.eye(len(labels), dtype=bool)
    if what == "families":
        kept = labels != np.asarray(dropped)[:, None]
    slopes = _slopes_of_some(fit.u, fit.scores.reshape(len(fit.x), -1), kept)
    slopes = slopes.reshape((len(kept), *fit.scores.shape[1:]))
    empty = ~np.isfinite(slopes).any(axis=0)
    low = np.where(empty, np.nan, np.min(slopes, axis=0, initial=np.inf, where=np.isfinite(slopes)))
    high = np.where(empty, np.nan, np.max(slopes, axis=0, initial=-np.inf, where=np.isfinite(slopes)))
    return Influence(what, tuple(str(name) for name in dropped), slopes, low, high)


def _slopes_of_some(u: Float64, scores: NDArray[Any], kept: NDArray[np.bool_]) -> Float64:
    """Slopes through the models of each row of ``kept`` (n_subsets, n_models): (n_subsets, n_targets)."""
    slopes = np.full((len(kept), scores.shape[1]), np.nan)
    for rows, columns in complete_blocks(scores):
        if not rows.any():
            continue
        du = u[rows] - u[rows].mean()
        about = scores[rows][:, columns].astype(np.float64)
        about -= about.mean(axis=0)
        chosen = kept[:, rows].astype(np.float64)
        n, sums = chosen.sum(axis=1), chosen @ du
        spread = n * (chosen @ du**2) - sums**2
        enough = (n >= 3) & (spread > 1e-12 * n**2 * float(du @ du))
        products = n[:, None] * ((chosen * du) @ about) - sums[:, None] * (chosen @ about)
        slopes[np.ix_(enough, columns)] = products[enough] / spread[enough, None]
    return slopes
