"""How much of what a model predicts simple features account for: Omega."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science.intervals import MeanInterval, mean_interval

Float64 = NDArray[np.float64]


def omega(model: ArrayLike, joint: ArrayLike, controls: ArrayLike, *, floor: bool = True) -> Float64:
    """Percent of a model's score that control features account for.

    .. math:: \\Omega = 100 \\Bigl(1 - \\mathrm{clip}\\bigl(\\frac{\\max(s_{joint}, s_{model})
              - s_{controls}}{s_{model}}, 0, 1\\bigr)\\Bigr)

    100: the joint model of both explains no more than the controls do alone. 0: the model adds all of its own
    score to the controls'.

    Parameters
    ----------
    model, joint, controls : array_like, shapes (n_targets,) or (n_subjects,), or single numbers
        Scores of the model alone, of the joint model of both, and of the controls alone, on the same held-out
        rows. Scores below 0 count as 0. R2 is what the published definition takes.
    floor : bool
        Take the model's own score for a joint score below it, as the authors do: a joint fit that lost by
        overfitting says nothing for the controls. False takes the joint score as it is.

    Returns
    -------
    ndarray float64, of the shape of the arguments
        NaN where a score is NaN, and where the model's is not above 0, for it has nothing to account for
        (the authors' code has 100 there).

    Raises
    ------
    ValueError
        For different shapes.

    Notes
    -----
    A ratio of two small scores says little, so for single voxels it is mostly noise. The published numbers
    are made of each subject's mean score over voxels and then averaged over subjects:
    :func:`subject_omega`.

    References
    ----------
    Feghhi, Hadidi, Song, Blank and Kao 2024, arXiv 2406.01538.

    Examples
    --------
    >>> omega([0.2, 0.2, 0.0], [0.25, 0.1, 0.1], [0.15, 0.2, 0.1])
    array([ 50., 100.,  nan])
    """
    scores = [np.asarray(each, dtype=np.float64) for each in (model, joint, controls)]
    if len({each.shape for each in scores}) > 1:
        raise ValueError(
            "model, joint and controls have shapes "
            f"{', '.join(str(each.shape) for each in scores)}: give scores of the same targets or subjects"
        )
    known = ~np.isnan(sum(scores))
    alone, both, simple = (np.where(known, np.maximum(each, 0.0), np.nan) for each in scores)
    both = np.maximum(both, alone) if floor else both
    share = np.divide(both - simple, alone, out=np.full(alone.shape, np.nan), where=alone > 0)
    return np.asarray(100 * (1 - np.clip(share, 0.0, 1.0)))


@dataclass(frozen=True)
class SubjectOmega:
    """Omega of every subject, and its mean.

    Attributes
    ----------
    values : ndarray (n_subjects,) float64
        Percent; NaN for a subject whose model scores nothing.
    mean : MeanInterval
        Over the subjects that have a value, with the interval over subjects.
    n_targets : ndarray (n_subjects,) of int
        Targets with all three scores, which the subject's means are over.
    """

    values: Float64
    mean: MeanInterval
    n_targets: NDArray[np.intp]


def subject_omega(
    models: Sequence[ArrayLike],
    joints: Sequence[ArrayLike],
    controls: Sequence[ArrayLike],
    *,
    floor: bool = True,
    level: float = 0.95,
) -> SubjectOmega:
    """Omega as it is published: of each subject's mean scores, then averaged over subjects.

    Parameters
    ----------
    models, joints, controls : sequence, one array_like of shape (n_targets,) per subject
        As in :func:`omega`; subjects may differ in their targets. A target that lacks one of the scores is
        left out of all three means.
    floor : bool
        As in :func:`omega`.
    level : float
        Confidence of the interval.

    Returns
    -------
    SubjectOmega

    Raises
    ------
    ValueError
        For different numbers of subjects, or different shapes within one.

    Examples
    --------
    >>> found = subject_omega([[0.2, 0.2]] * 2, [[0.3, 0.2], [0.2, 0.2]], [[0.1, 0.2], [0.2, 0.2]])
    >>> found.values, float(found.mean.mean)
    (array([ 50., 100.]), 75.0)
    """
    if not len(models) == len(joints) == len(controls) or len(models) == 0:
        raise ValueError(
            f"models, joints and controls are of {len(models)}, {len(joints)} and {len(controls)} subjects: "
            "give one array for each subject"
        )
    means, counts = [], []
    for number, maps in enumerate(zip(models, joints, controls, strict=True)):
        scores = [np.asarray(each, dtype=np.float64) for each in maps]
        if len({each.shape for each in scores}) > 1 or scores[0].ndim != 1:
            raise ValueError(
                f"subject {number}: shapes {', '.join(str(each.shape) for each in scores)}; give three of "
                "(n_targets,)"
            )
        known = np.isfinite(scores).all(axis=0)
        counts.append(int(known.sum()))
        means.append([each[known].mean() if counts[-1] else np.nan for each in scores])
    values = omega(*np.transpose(means), floor=floor)
    return SubjectOmega(values, mean_interval(values, level=level), np.array(counts, dtype=np.intp))
