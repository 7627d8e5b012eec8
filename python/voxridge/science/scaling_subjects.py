"""Scaling over subjects and over regions: slopes per subject, means over the voxels of a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science._lines import Float64
from voxridge.science.scaling import ScalingFit, fit_scaling
from voxridge.science.slopes import SlopeInterval, slope_interval


@dataclass(frozen=True)
class SubjectScaling:
    """The same models in several subjects.

    Attributes
    ----------
    fit : ScalingFit
        Of the mean over subjects.
    subjects : tuple of str (n_subjects,)
    slopes, intercepts, r : ndarray (n_subjects,) or (n_subjects, n_targets)
        The line of each subject, and its correlation.
    interval : SlopeInterval
        Mean of the slopes with a t interval over subjects: for new subjects who hear with these models.
    """

    fit: ScalingFit
    subjects: tuple[str, ...]
    slopes: Float64
    intercepts: Float64
    r: Float64
    interval: SlopeInterval


def subject_scaling(
    x: ArrayLike,
    scores: ArrayLike,
    *,
    subjects: Sequence[str] | None = None,
    predictor: str = "parameters",
    log: bool | None = None,
    families: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    level: float = 0.95,
) -> SubjectScaling:
    """A slope for each subject, and the interval of their mean over subjects.

    .. math:: \\bar b \\pm t_{S - 1} \\, \\mathrm{sd}(b_s) / \\sqrt{S}

    The subjects are the samples here; the models are taken as they are. The fit of the mean has the intervals
    over models and families.

    Parameters
    ----------
    x : array_like of shape (n_models,)
    scores : array_like of shape (n_subjects, n_models) or (n_subjects, n_models, n_targets)
        NaN: that subject has no score of the model. The mean is over models that all subjects have.
    subjects : sequence of str (n_subjects,), optional
    predictor, log, families, names, level
        As in :func:`~voxridge.science.scaling.fit_scaling`.

    Returns
    -------
    SubjectScaling
        The interval is NaN for fewer than two subjects.

    Raises
    ------
    ValueError
        For another number of dimensions, or as :func:`~voxridge.science.scaling.fit_scaling`.

    Examples
    --------
    >>> scores = [[0.1, 0.2, 0.3], [0.2, 0.3, 0.5]]
    >>> found = subject_scaling([1e8, 1e9, 1e10], scores, subjects=["EN057", "EN058"])
    >>> found.slopes.round(3).tolist()
    [0.1, 0.15]
    """
    given = np.asarray(scores)
    if given.ndim not in (2, 3) or given.shape[0] == 0:
        raise ValueError(
            f"scores has shape {given.shape}: give (n_subjects, n_models) or (n_subjects, n_models, "
            "n_targets)"
        )
    labels = tuple(subjects) if subjects is not None else tuple(f"subject {i + 1}" for i in range(len(given)))
    if len(labels) != len(given):
        raise ValueError(f"subjects has {len(labels)} entries, scores has {len(given)} subjects")
    mean = fit_scaling(
        x, given.mean(axis=0), predictor=predictor, log=log, families=families, names=names, level=level
    )
    models_first = np.moveaxis(given, 0, 1).reshape(given.shape[1], -1)
    each = fit_scaling(x, models_first, predictor=predictor, log=log, level=level)
    shape = (len(given), *given.shape[2:])
    slopes = each.slope.reshape(shape)
    interval = _over_subjects(slopes, level)
    return SubjectScaling(
        mean, labels, slopes, each.intercept.reshape(shape), each.r.reshape(shape), interval
    )


def _over_subjects(slopes: Float64, level: float) -> SlopeInterval:
    known = np.isfinite(slopes)
    count = known.sum(axis=0)
    mean = np.where(count > 0, np.where(known, slopes, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    squares = np.where(known, (slopes - mean) ** 2, 0.0).sum(axis=0)
    error = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return slope_interval(
        "subjects", mean, error, np.asarray(count - 1), int(np.max(count, initial=0)), level, mean.shape
    )


def roi_scores(scores: ArrayLike, rois: Sequence[Any] | Mapping[str, ArrayLike]) -> dict[str, Float64]:
    """Mean score of each region for each model, over the voxels that have a score for every model.

    Parameters
    ----------
    scores : array_like of shape (n_models, n_targets)
    rois : sequence (n_targets,) or mapping of str to mask or indices
        A label for each target ("", 0, None and NaN: in no region), or regions that may overlap.

    Returns
    -------
    dict of str to ndarray (n_models,)
        NaN for regions in which no voxel has all scores.

    Raises
    ------
    ValueError
        For labels or masks that do not fit the targets.

    Examples
    --------
    >>> roi_scores([[0.1, 0.3, 0.5], [0.2, 0.4, float("nan")]], ["STS", "STS", "IFG"])["STS"].tolist()
    [0.2, 0.30000000000000004]
    """
    values = np.asarray(scores)
    if values.ndim != 2:
        raise ValueError(f"scores has shape {values.shape}: give (n_models, n_targets)")
    complete = np.isfinite(values).all(axis=0)
    means = {}
    for name, members in _regions(rois, values.shape[1]).items():
        columns = np.flatnonzero(members & complete)
        means[name] = (
            values[:, columns].mean(axis=1, dtype=np.float64)
            if columns.size
            else np.full(len(values), np.nan)
        )
    return means


def _regions(rois: Sequence[Any] | Mapping[str, ArrayLike], n_targets: int) -> dict[str, NDArray[np.bool_]]:
    if isinstance(rois, Mapping):
        return {str(name): _mask(str(name), np.asarray(members), n_targets) for name, members in rois.items()}
    # NaN, which is not equal to itself, is what data frames have for "none".
    labels = [None if label in (None, "", 0) or label != label else str(label) for label in rois]
    if len(labels) != n_targets:
        raise ValueError(f"rois has {len(labels)} labels for {n_targets} targets: give one for each target")
    column = np.asarray(labels, dtype=object)
    return {name: column == name for name in dict.fromkeys(label for label in labels if label is not None)}


def _mask(name: str, members: NDArray[Any], n_targets: int) -> NDArray[np.bool_]:
    if members.dtype == bool:
        if members.shape != (n_targets,):
            raise ValueError(f"rois[{name!r}] has shape {members.shape}: a mask must be ({n_targets},)")
        return members
    if members.dtype.kind not in "iu" or (
        members.size and not -1 < members.min() <= members.max() < n_targets
    ):
        raise ValueError(f"rois[{name!r}] must be a mask ({n_targets},) or indices below {n_targets}")
    mask = np.zeros(n_targets, dtype=bool)
    mask[members] = True
    return mask
