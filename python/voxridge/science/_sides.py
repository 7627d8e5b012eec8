"""Mean scores of the two sides of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science._pairs import Hemispheres, check_mask
from voxridge.science.ceilings import Ceiling
from voxridge.science.conditions import Scores

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
MaskRule = Literal["both", "either", "each side"]
ALL_PAIRS = "all pairs"


@dataclass(frozen=True)
class RegionMeans:
    """Means (n_repeats, n_regions) of the two sides."""

    regions: tuple[str, ...]
    left: Float64
    right: Float64
    n_pairs: NDArray[np.intp]


@dataclass(frozen=True)
class Members:
    """Which pairs count for a region, (n_pairs,) per side; the same on both unless each side has its own
    mask."""

    left: Bools
    right: Bools


def stack_scores(scores: Any, ceiling: Any, n_targets: int) -> NDArray[Any]:
    """(n_repeats, n_targets), divided by the ceiling where there is one."""
    several = [scores] if isinstance(scores, Scores) else scores
    if isinstance(several, Sequence) and several and all(isinstance(one, Scores) for one in several):
        values = np.stack([_sized(one.values, n_targets) for one in _normalised(several, ceiling)])
    elif ceiling is not None:
        raise TypeError(
            "a ceiling only divides Scores, which say how they were made: give Scores(values, metric, "
            f"conditions), not {type(scores).__name__}"
        )
    else:
        values = np.atleast_2d(np.asarray(scores))
    if values.dtype.kind not in "fiu" or values.ndim != 2 or values.shape[1] != n_targets:
        raise ValueError(
            f"scores has shape {np.shape(scores)} and the hemispheres have {n_targets} targets; give "
            f"({n_targets},) or (n_repeats, {n_targets}) real numbers"
        )
    return values


def _sized(values: Float64, n_targets: int) -> Float64:
    if values.shape != (n_targets,):
        raise ValueError(
            f"scores has shape {values.shape} and the hemispheres have {n_targets} targets; give subjects "
            "whose voxels differ one by one and join them with combine_subjects"
        )
    return values


def _normalised(several: Sequence[Scores], ceiling: Any) -> Sequence[Any]:
    if ceiling is None:
        return several
    ceilings = [ceiling] * len(several) if isinstance(ceiling, Ceiling) else list(ceiling)
    if len(ceilings) != len(several):
        raise ValueError(f"{len(ceilings)} ceilings for {len(several)} Scores: give one, or one each")
    return [own.normalise(one) for own, one in zip(ceilings, several, strict=True)]


def side_means(
    values: NDArray[Any],
    hemispheres: Hemispheres,
    mask: ArrayLike | None,
    rule: str,
    rois: Any,
    *,
    known: Bools | None = None,
    divisor: Float64 | None = None,
) -> tuple[RegionMeans, Members]:
    """Mean scores per repeat and region, and the members of the whole mask.

    ``known``: targets that may count, (n_targets,); ``divisor``: of every repeat, (n_targets,).
    """
    base = _members(np.ones(hemispheres.n_targets, bool) if mask is None else mask, "mask", hemispheres, rule)
    regions = {ALL_PAIRS: base}
    for name, region in region_masks(rois, hemispheres.n_targets).items():
        if name in regions:
            raise ValueError(f"a region is named {name!r}: this name is taken, give it another")
        own = _members(region, f"region {name!r}", hemispheres, rule)
        regions[name] = Members(own.left & base.left, own.right & base.right)
    if not (base.left.any() and base.right.any()):
        raise ValueError(
            f"the mask (rule {rule!r}) keeps {int(base.left.sum())} pairs on the left and "
            f"{int(base.right.sum())} on the right of {hemispheres.n_pairs}: nothing to compare"
        )
    out = np.full((2, len(values), len(regions)), np.nan)
    for row, given in enumerate(values):
        repeat = np.where(
            True if known is None else known, given / (1.0 if divisor is None else divisor), np.nan
        )
        parts = [repeat[hemispheres.left], repeat[hemispheres.right]]
        defined = [np.isfinite(part) for part in parts]
        if rule != "each side":
            defined = [defined[0] & defined[1]] * 2
        for column, members in enumerate(regions.values()):
            for side, inside in enumerate((members.left, members.right)):
                used = inside & defined[side]
                if used.any():
                    out[side, row, column] = parts[side][used].mean(dtype=np.float64)
    n_pairs = np.array([(m.left.sum() + m.right.sum()) // 2 for m in regions.values()], dtype=np.intp)
    return RegionMeans(tuple(regions), out[0], out[1], n_pairs), base


def summed_pairs(values: NDArray[Any], hemispheres: Hemispheres, members: Members) -> tuple[Float64, Float64]:
    """(left - right, left + right) of each pair, mean over the repeats in which both are defined."""
    count = np.zeros(hemispheres.n_pairs)
    sums = np.zeros((2, hemispheres.n_pairs))
    for repeat in values:
        left, right = (repeat[side].astype(np.float64) for side in (hemispheres.left, hemispheres.right))
        known = np.isfinite(left) & np.isfinite(right)
        count += known
        sums += np.where(known, [left, right], 0.0)
    inside = members.left & members.right & (count > 0)
    left, right = np.where(inside, sums / np.maximum(count, 1), np.nan)
    return left - right, left + right


def region_masks(rois: Any, n_targets: int) -> dict[str, Any]:
    """Masks by name, from a mapping or from labels."""
    if rois is None:
        return {}
    if isinstance(rois, Mapping):
        return {str(name): inside for name, inside in rois.items()}
    labels = np.asarray(rois)
    if labels.shape != (n_targets,) or labels.dtype.kind not in "iuUSO":
        raise ValueError(
            f"rois has shape {labels.shape} and dtype {labels.dtype}; give labels ({n_targets},), integers "
            "or names, or a mapping of name to bool mask"
        )
    names = [
        name for name in dict.fromkeys(labels.tolist()) if name not in (0, "", None) and name == name
    ]  # not NaN
    return {str(name): labels == name for name in names}


def _members(mask: Any, name: str, hemispheres: Hemispheres, rule: str) -> Members:
    inside = check_mask(mask, hemispheres.n_targets, name)
    if rule == "each side":
        return Members(inside[hemispheres.left], inside[hemispheres.right])
    if rule not in ("both", "either"):
        raise ValueError(f"mask_rule={rule!r}: give 'both', 'either' or 'each side'")
    pairs = hemispheres.symmetric(inside, "either" if rule == "either" else "both")[hemispheres.left]
    return Members(pairs, pairs)
