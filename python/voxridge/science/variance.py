"""What several feature spaces explain alone, and what they share: differences of the scores of joint models.

Scores are cross-validated R2 of models fitted to joined feature spaces (banded ridge, or ridge on all columns
together), one fit for every subset. Held-out scores are not bound to grow with more features, as in-sample
R2 is, so components can be negative: by noise around zero; because a joint model is regularised, or overfits,
more than its parts; and, for shared components, because one space suppresses what is irrelevant in another,
which in-sample R2 shows too. Negative values are kept and counted: cutting them at zero would bias every mean
upwards, and the components would no longer sum to what the full model explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science.accounted import SubjectOmega, omega, subject_omega
from voxridge.science.chain import ChainPartition, chain_partition, chain_subsets
from voxridge.science.intervals import MeanInterval, mean_interval
from voxridge.science.joint_models import (
    Subset,
    joint_subsets,
    joint_table,
    mean_over_repeats,
    names_of,
    require_subsets,
)

__all__ = [
    "ChainPartition",
    "SubjectOmega",
    "VariancePartition",
    "chain_partition",
    "chain_subsets",
    "joint_subsets",
    "omega",
    "partition_variance",
    "subject_omega",
    "unique_variance",
]

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class VariancePartition:
    """Parts of the full model's R2, each explained by exactly the spaces it is named by.

    Attributes
    ----------
    names : tuple of str
        The feature spaces.
    components : mapping of tuple of str to ndarray (n_targets,) or (n_repeats, n_targets) float64
        For every non-empty subset, in the order of :func:`joint_subsets`. A target (of a fold) that lacks any
        of the scores is NaN in all of them.
    total : ndarray (n_targets,) or (n_repeats, n_targets) float64
        R2 of the full model: the sum of the components.
    """

    names: tuple[str, ...]
    components: Mapping[Subset, Float64]
    total: Float64

    def component(self, *names: str) -> Float64:
        """Explained by each of these spaces and by no other, mean over folds or subjects where there are
        any, (n_targets,).

        Parameters
        ----------
        *names : str
            In any order.

        Raises
        ------
        KeyError
            For names that are not of the partition.
        """
        return mean_over_repeats(self._raw(names))

    def unique(self, name: str) -> Float64:
        """What this space adds to all others, (n_targets,), as :meth:`component` of it alone.

        Parameters
        ----------
        name : str

        Raises
        ------
        KeyError
            For a name that is not of the partition.
        """
        return self.component(name)

    def even_split(self) -> dict[str, Float64]:
        """Every component divided evenly among its spaces, (n_targets,) each: their sum is the total.

        This is the Shapley value of each space, the mean of what it adds over all orders of adding spaces.
        """
        return {
            name: np.sum(
                [mean_over_repeats(v) / len(k) for k, v in self.components.items() if name in k], axis=0
            )
            for name in self.names
        }

    def interval(self, *names: str, targets: Any = None, level: float = 0.95) -> MeanInterval:
        """Mean over folds or subjects of a component, with an interval.

        Parameters
        ----------
        *names : str
            The component's spaces.
        targets : mask or positions, optional
            The mean over these targets, of shape (); by default every target by itself, (n_targets,).
        level : float
            Confidence of the interval.

        Returns
        -------
        MeanInterval

        Raises
        ------
        KeyError
            For names that are not of the partition.
        ValueError
            Where scores were not given by fold or subject, or no target has a value everywhere.
        """
        values = self._raw(names)
        if values.ndim != 2:
            raise ValueError(
                f"scores have shape {values.shape}: an interval needs them by fold or subject, "
                "(n_repeats, n_targets)"
            )
        if targets is None:
            return mean_interval(values, level=level)
        chosen = values[:, targets]
        chosen = chosen[:, np.isfinite(chosen).all(axis=0)]
        if chosen.shape[1] == 0:
            raise ValueError("targets: none has a value in every fold or subject; choose others")
        return mean_interval(chosen.mean(axis=1), level=level)

    @property
    def negatives(self) -> dict[Subset, int]:
        """Targets with a negative component, mean over folds or subjects; beyond rounding, below -1e-12."""
        return {
            subset: int((mean_over_repeats(values) < -1e-12).sum())
            for subset, values in self.components.items()
        }

    def _raw(self, names: Iterable[str]) -> Float64:
        wanted = frozenset(names)
        for subset, values in self.components.items():
            if wanted == frozenset(subset):
                return values
        raise KeyError(f"{sorted(wanted)}: the partition is of {self.names}")


def partition_variance(scores: Mapping[Any, ArrayLike]) -> VariancePartition:
    """Divide what all feature spaces explain together into what each subset of them explains alone.

    With :math:`f(T)` the R2 of the joint model of the spaces T and :math:`f(\\emptyset) = 0`, the part that
    every space of S explains, and none outside S,

    .. math:: c_S = \\sum_{T \\subseteq S} (-1)^{|T| + 1} f\\bigl((U \\setminus S) \\cup T\\bigr)

    U being all spaces. So :math:`c_{\\{a\\}} = f(U) - f(U \\setminus a)` is the unique part of a, the
    components that contain a sum to :math:`f(\\{a\\})`, and all of them to :math:`f(U)`.

    Parameters
    ----------
    scores : mapping of tuple, frozenset or str to array_like (n_targets,) or (n_repeats, n_targets)
        R2 of the joint model of every non-empty subset (:func:`joint_subsets` lists them), all on the same
        held-out rows; a str names a single space. The first axis of two is folds, or subjects of one space.

    Returns
    -------
    VariancePartition

    Raises
    ------
    ValueError
        For a missing or doubled subset, or different shapes.

    Notes
    -----
    The formula divides variance explained, so scores must be R2; correlations do not add up.

    References
    ----------
    Mood 1971, American Educational Research Journal 8:191 (commonality analysis). de Heer et al. 2017,
    J. Neurosci. 37:6539.

    Examples
    --------
    >>> parts = partition_variance({"a": [0.2], "b": [0.3], ("a", "b"): [0.4]})
    >>> {names: float(value[0].round(3)) for names, value in parts.components.items()}
    {('a',): 0.1, ('b',): 0.2, ('a', 'b'): 0.1}
    """
    table = joint_table(scores)
    names = names_of(scores)
    subsets = joint_subsets(names)
    require_subsets(table, subsets)
    places = {name: 1 << i for i, name in enumerate(names)}
    full = sum(places.values())
    total = table[frozenset(names)]
    # c is minus the Moebius transform, over subsets, of f(U less S).
    parts = np.empty((full + 1, *total.shape))
    for subset in [(), *subsets]:
        left = frozenset(names) - frozenset(subset)
        parts[sum(places[name] for name in subset)] = -table[left] if left else 0.0
    for place in places.values():
        for mask in range(full + 1):
            if mask & place:
                parts[mask] -= parts[mask ^ place]
    lost = np.isnan(sum(table.values()))
    parts[:, lost] = np.nan
    components = {subset: parts[sum(places[name] for name in subset)] for subset in subsets}
    return VariancePartition(names, components, np.where(lost, np.nan, total))


def unique_variance(full: ArrayLike, without: ArrayLike) -> Float64:
    """What a feature space adds to the others: R2 of all spaces less R2 of all but this one.

    Parameters
    ----------
    full : array_like of shape (..., n_targets)
        R2 of the joint model of all spaces.
    without : array_like of shape (..., n_targets)
        R2 of the joint model of the others, on the same held-out rows.

    Returns
    -------
    ndarray (..., n_targets) float64
        Negative values are kept; NaN where either score is.

    Raises
    ------
    ValueError
        For different shapes.

    Examples
    --------
    >>> unique_variance([0.3, 0.1], [0.25, 0.125])
    array([ 0.05 , -0.025])
    """
    more, less = np.asarray(full, dtype=np.float64), np.asarray(without, dtype=np.float64)
    if more.shape != less.shape:
        raise ValueError(
            f"full has shape {more.shape} and without {less.shape}: give scores of the same targets"
        )
    return more - less
