"""How much better the left hemisphere is predicted than the right one, and for which models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science._side_intervals import SideInterval, index_of, percentile_interval, repeat_interval
from voxridge.science._sides import (
    ALL_PAIRS,
    MaskRule,
    RegionMeans,
    side_means,
    stack_scores,
    summed_pairs,
)
from voxridge.science.ceilings import Ceiling
from voxridge.science.conditions import Scores
from voxridge.science.hemispheres import Hemispheres
from voxridge.science.intervals import mean_interval

Float64 = NDArray[np.float64]
Over = Literal["one map", "subjects", "folds", "bootstraps"]
Rois = Mapping[str, ArrayLike] | NDArray[Any] | None
ScoreMaps = ArrayLike | Scores | Sequence[Scores]


@dataclass(frozen=True, eq=False)
class Lateralisation:
    """Left against right, for all pairs of homologous targets and for each region.

    Attributes
    ----------
    regions : tuple of str
        "all pairs", then the regions.
    left, right : ndarray (n_repeats, n_regions) float64
        Mean scores of the two sides.
    difference : ndarray (n_repeats, n_regions) float64
        left - right.
    index : ndarray (n_repeats, n_regions) float64
        (left - right) / (left + right); NaN where left + right < ``smallest_sum``. Beyond 1 in magnitude
        where one side's score is negative.
    difference_interval, index_interval : SideInterval
    n_pairs : ndarray (n_regions,) int
        Pairs in the region and the mask ("each side": its members on the left and on the right, summed
        and halved).
    n_undefined : ndarray (n_regions,) int
        Repeats without an index.
    pair_difference, pair_index : ndarray (n_pairs of the hemispheres,) float64
        Of the mean over repeats; NaN outside the mask. ``hemispheres.to_map`` puts them on the left side.
    n_undefined_pairs : int
        Pairs inside the mask with a difference and no index.
    over : "one map", "subjects", "folds" or "bootstraps"
        What the repeats are.
    smallest_sum, level : float
    """

    regions: tuple[str, ...]
    left: Float64
    right: Float64
    difference: Float64
    index: Float64
    difference_interval: SideInterval
    index_interval: SideInterval
    n_pairs: NDArray[np.intp]
    n_undefined: NDArray[np.intp]
    pair_difference: Float64
    pair_index: Float64
    n_undefined_pairs: int
    over: Over
    smallest_sum: float
    level: float

    def rows(self) -> list[dict[str, Any]]:
        """One row per region, for a table.

        Returns
        -------
        list of dict
        """
        left, right = _mean(self.left), _mean(self.right)
        rows = []
        for number, region in enumerate(self.regions):
            row: dict[str, Any] = {
                "region": region,
                "pairs": int(self.n_pairs[number]),
                "left": left[number],
                "right": right[number],
            }
            for name, interval in (
                ("left - right", self.difference_interval),
                ("index", self.index_interval),
            ):
                row[name] = interval.estimate[number]
                row[f"{name} low"], row[f"{name} high"] = interval.low[number], interval.high[number]
            rows.append({key: float(v) if isinstance(v, np.floating) else v for key, v in row.items()})
        return rows


def lateralisation(
    scores: ScoreMaps,
    hemispheres: Hemispheres,
    *,
    over: Literal["subjects", "folds"] | None = None,
    bootstraps: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    mask_rule: MaskRule = "both",
    rois: Rois = None,
    ceiling: Ceiling | Sequence[Ceiling] | None = None,
    smallest_sum: float = 0.02,
    level: float = 0.95,
) -> Lateralisation:
    """Difference and index of the scores of the two sides.

    .. math:: D = \\bar s_L - \\bar s_R, \\qquad I = \\frac{\\bar s_L - \\bar s_R}{\\bar s_L + \\bar s_R}

    The means run over homologous pairs, so that both sides count the same places; a pair with a NaN on either
    side is left out. The index of a region is that of its means, not the mean of indices, whose small
    denominators would rule it.

    Parameters
    ----------
    scores : (n_targets,) or (n_repeats, n_targets) float, Scores, or a sequence of Scores
        Repeats are subjects in one space, or folds.
    hemispheres : Hemispheres
    over : "subjects" or "folds", optional
        What the repeats are; needed where there are several. Intervals over subjects speak about new
        subjects; those over folds describe how much the folds differ.
    bootstraps : (n_bootstraps, n_targets) float, optional
        Scores of resampled data: gives percentile intervals around the estimate from ``scores``, which must
        then be one map. Never tested as if they were a sample.
    mask : (n_targets,) bool, optional
        Reliable targets, for example ``reliable_mask(isc, 75)`` of :mod:`voxridge.science.intersubject`.
    mask_rule : "both", "either" or "each side"
        How the mask (and the regions) become symmetric: pairs with both members inside, or with one. "each
        side" takes the members of each side as they are, as the published study did: other places left than
        right. A mask that leans (more is reliable on the left) makes the difference lean, "either" the most:
        report which rule was used.
    rois : mapping of name to (n_targets,) bool, or (n_targets,) labels, optional
        Regions with both sides, from :func:`~voxridge.science.lateral_regions.mirrored_spheres` for example.
        Labels: equal on the two sides; 0 and "" are no region.
    ceiling : Ceiling, or one per Scores, optional
        Scores are divided by it first, under its own rules; ``scores`` must then say how they were made.
    smallest_sum : float, default 0.02
        The index is NaN where left + right is smaller, and where either side is below 0 (it would leave -1
        to 1 and mean nothing); these are counted.
    level : float, default 0.95

    Returns
    -------
    Lateralisation

    Raises
    ------
    TypeError
        A ceiling without ``Scores``.
    ValueError
        Shapes that do not fit, repeats that are not named, bootstraps of several maps, a mask without a
        pair, a region named "all pairs", or scores that the ceiling refuses.

    References
    ----------
    Bonnasse-Gahot L, Pallier C (2024). fMRI predictors based on language models of increasing complexity
    recover brain left lateralization. NeurIPS 37. The midline and the choice of voxels are treated otherwise
    here.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.hemispheres import hemispheres_from_names
    >>> sides = hemispheres_from_names(["LATL", "RATL", "LIFG", "RIFG"])
    >>> listeners = np.array([[0.3, 0.2, 0.3, 0.1], [0.4, 0.2, 0.3, 0.2], [0.2, 0.2, 0.3, 0.1]])
    >>> found = lateralisation(listeners, sides, over="subjects")
    >>> found.difference_interval.estimate.round(3), found.index_interval.estimate.round(3)
    (array([0.133]), array([0.285]))
    """
    values = stack_scores(scores, ceiling, hemispheres.n_targets)
    resampled = None
    if bootstraps is not None:
        resampled = np.asarray(bootstraps)
    return from_values(
        values,
        hemispheres,
        over=over,
        bootstraps=resampled,
        divisor=first_divisor(ceiling),
        mask=mask,
        mask_rule=mask_rule,
        rois=rois,
        smallest_sum=smallest_sum,
        level=level,
    )


def from_values(
    values: NDArray[Any],
    hemispheres: Hemispheres,
    *,
    over: Literal["subjects", "folds"] | None,
    bootstraps: NDArray[Any] | None,
    divisor: Float64 | None,
    mask: ArrayLike | None,
    mask_rule: MaskRule,
    rois: Rois,
    smallest_sum: float,
    level: float,
) -> Lateralisation:
    """The work of :func:`lateralisation` on (n_repeats, n_targets) values that a ceiling has divided already;
    ``divisor`` is that of the bootstraps."""
    if len(values) > 1 and over not in ("subjects", "folds"):
        raise ValueError(
            f"scores has {len(values)} rows and over={over!r}: say over='subjects' or over='folds' "
            "(resampled scores belong in bootstraps)"
        )
    means, members = side_means(values, hemispheres, mask, mask_rule, rois)
    samples: RegionMeans | None = None
    if bootstraps is not None:
        _check_bootstraps(bootstraps, len(values), hemispheres.n_targets)
        known = np.isfinite(values[0])
        samples, _ = side_means(bootstraps, hemispheres, mask, mask_rule, rois, known=known, divisor=divisor)
    pair_difference, pair_sum = summed_pairs(values, hemispheres, members)
    kind: Over = "bootstraps" if samples is not None else over or "one map"
    pair_index = index_of(pair_difference, pair_sum, smallest_sum)
    undefined = int(np.sum(np.isfinite(pair_difference) & np.isnan(pair_index)))
    return _assemble(means, samples, pair_difference, pair_index, undefined, kind, smallest_sum, level)


def combine_subjects(results: Sequence[Lateralisation], *, level: float = 0.95) -> Lateralisation:
    """Subjects whose targets differ, each with hemispheres of its own, joined: intervals over subjects.

    Parameters
    ----------
    results : sequence of Lateralisation
        One per subject, of the same regions; several repeats of a subject count as their mean.
    level : float, default 0.95

    Returns
    -------
    Lateralisation
        Without maps of pairs: their places differ.

    Raises
    ------
    ValueError
        Fewer than two subjects, or other regions.

    Examples
    --------
    >>> from voxridge.science.hemispheres import hemispheres_from_names
    >>> sides = hemispheres_from_names(["LIFG", "RIFG"])
    >>> both = combine_subjects([lateralisation([0.3, 0.2], sides), lateralisation([0.5, 0.2], sides)])
    >>> both.difference_interval.estimate.round(3)
    array([0.2])
    """
    if len(results) < 2 or len({result.regions for result in results}) > 1:
        raise ValueError(
            f"{len(results)} results with the regions {sorted({result.regions for result in results})}: give "
            "two subjects or more, with the same regions"
        )
    left, right = (
        np.stack([_mean(getattr(result, side)) for result in results]) for side in ("left", "right")
    )
    pairs = np.mean([result.n_pairs for result in results], axis=0)
    means = RegionMeans(results[0].regions, left, right, np.rint(pairs).astype(np.intp))
    nothing = np.empty(0)
    return _assemble(means, None, nothing, nothing, 0, "subjects", results[0].smallest_sum, level)


def _assemble(
    means: RegionMeans,
    samples: RegionMeans | None,
    pair_difference: Float64,
    pair_index: Float64,
    n_undefined_pairs: int,
    over: Over,
    smallest_sum: float,
    level: float,
) -> Lateralisation:
    difference = means.left - means.right
    index = index_of(difference, means.left + means.right, smallest_sum)
    if samples is None:
        intervals = [repeat_interval(part, over, level) for part in (difference, index)]
        undefined = index
    else:
        spread = samples.left - samples.right
        undefined = index_of(spread, samples.left + samples.right, smallest_sum)
        intervals = [
            percentile_interval(part[0], resampled, level)
            for part, resampled in ((difference, spread), (index, undefined))
        ]
    return Lateralisation(
        means.regions,
        means.left,
        means.right,
        difference,
        index,
        intervals[0],
        intervals[1],
        means.n_pairs,
        np.isnan(undefined).sum(axis=0),
        pair_difference,
        pair_index,
        n_undefined_pairs,
        over,
        smallest_sum,
        level,
    )


def first_divisor(ceiling: Ceiling | Sequence[Ceiling] | None) -> Float64 | None:
    """What bootstraps, which belong to one map, are divided by."""
    if ceiling is None or isinstance(ceiling, Ceiling):
        return None if ceiling is None else ceiling.divisor
    return ceiling[0].divisor


def _check_bootstraps(bootstraps: NDArray[Any], n_repeats: int, n_targets: int) -> None:
    if n_repeats != 1:
        raise ValueError(
            f"scores has {n_repeats} rows and bootstraps are given: bootstraps belong to one map; take the "
            "subjects one by one and join them with combine_subjects"
        )
    if bootstraps.ndim != 2 or bootstraps.shape[1] != n_targets or len(bootstraps) < 2:
        raise ValueError(
            f"bootstraps has shape {bootstraps.shape}; give (n_bootstraps, {n_targets}), two or more"
        )


def _mean(values: Float64) -> Float64:
    return mean_interval(values).mean


__all__ = [
    "ALL_PAIRS",
    "Lateralisation",
    "SideInterval",
    "combine_subjects",
    "index_of",
    "lateralisation",
]
