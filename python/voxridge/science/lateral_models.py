"""Lateralisation of several models, in the form that a scaling law is fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science._sides import MaskRule, stack_scores
from voxridge.science.asymmetry import Lateralisation, Rois, ScoreMaps, first_divisor, from_values
from voxridge.science.hemispheres import Hemispheres
from voxridge.science.intervals import mean_interval

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LateralisationByModel:
    """Left against right for each model.

    Attributes
    ----------
    models, regions : tuple of str
    left, right, difference, index : ndarray (n_models, n_regions) float64
        Means over the repeats: what :func:`voxridge.science.scaling.fit_scaling` takes.
    low, high : ndarray (n_models, n_regions) float64
        Interval of ``difference``; NaN without repeats or bootstraps.
    by_repeat : ndarray (n_repeats, n_models, n_regions) float64
        Differences: what :func:`voxridge.science.subject_scaling` takes.
    pair_difference : ndarray (n_models, n_pairs) float64
        For a slope at each pair.
    results : dict of model to Lateralisation
    """

    models: tuple[str, ...]
    regions: tuple[str, ...]
    left: Float64
    right: Float64
    difference: Float64
    index: Float64
    low: Float64
    high: Float64
    by_repeat: Float64
    pair_difference: Float64
    results: dict[str, Lateralisation]

    def rows(self) -> list[dict[str, Any]]:
        """One row per model and region, for a table.

        Returns
        -------
        list of dict
        """
        return [{"model": model, **row} for model, found in self.results.items() for row in found.rows()]


def lateralisation_by_model(
    scores: Mapping[str, ScoreMaps],
    hemispheres: Hemispheres,
    *,
    over: Literal["subjects", "folds"] | None = None,
    bootstraps: Mapping[str, ArrayLike] | None = None,
    mask: ArrayLike | None = None,
    mask_rule: MaskRule = "both",
    rois: Rois = None,
    ceiling: Any = None,
    smallest_sum: float = 0.02,
    level: float = 0.95,
) -> LateralisationByModel:
    """Lateralisation of every model over the same pairs.

    A pair at which any model is undefined in a repeat is left out for all models in that repeat: a trend over
    models must not come from other places.

    Parameters
    ----------
    scores : mapping of model to scores
        As for :func:`~voxridge.science.lateralisation`, equally many repeats each.
    hemispheres : Hemispheres
    mask : (n_targets,) bool, optional
    over, mask_rule, rois, ceiling, smallest_sum, level
        As for :func:`~voxridge.science.lateralisation`.
    bootstraps : mapping of model to (n_bootstraps, n_targets), optional

    Returns
    -------
    LateralisationByModel

    Raises
    ------
    ValueError
        No model, models with other numbers of repeats, bootstraps without some model, and what
        :func:`~voxridge.science.lateralisation` refuses.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.hemispheres import hemispheres_from_names
    >>> sides = hemispheres_from_names(["LIFG", "RIFG"])
    >>> table = lateralisation_by_model({"small": [0.20, 0.20], "large": [0.30, 0.25]}, sides)
    >>> table.difference[:, 0].round(3)
    array([0.  , 0.05])
    """
    if not scores:
        raise ValueError("scores holds no model; give a mapping of model to scores")
    missing = [] if bootstraps is None else [model for model in scores if model not in bootstraps]
    if missing:
        raise ValueError(f"bootstraps has no entry for the models {missing}; give one for each, or none")
    values = {model: stack_scores(given, ceiling, hemispheres.n_targets) for model, given in scores.items()}
    repeats = {model: len(given) for model, given in values.items()}
    if len(set(repeats.values())) > 1:
        raise ValueError(
            f"models differ in their repeats: {repeats}; give the same subjects or folds for all"
        )
    known = np.ones(next(iter(values.values())).shape, dtype=bool)
    for given in values.values():
        known &= np.isfinite(given)
    results = {
        model: from_values(
            np.where(known, given, np.nan),
            hemispheres,
            over=over,
            bootstraps=None if bootstraps is None else np.asarray(bootstraps[model]),
            divisor=first_divisor(ceiling),
            mask=mask,
            mask_rule=mask_rule,
            rois=rois,
            smallest_sum=smallest_sum,
            level=level,
        )
        for model, given in values.items()
    }
    found = list(results.values())
    return LateralisationByModel(
        tuple(results),
        found[0].regions,
        np.stack([mean_interval(one.left).mean for one in found]),
        np.stack([mean_interval(one.right).mean for one in found]),
        np.stack([one.difference_interval.estimate for one in found]),
        np.stack([one.index_interval.estimate for one in found]),
        np.stack([one.difference_interval.low for one in found]),
        np.stack([one.difference_interval.high for one in found]),
        np.stack([one.difference for one in found], axis=1),
        np.stack([one.pair_difference for one in found]),
        results,
    )
