"""Ceilings of scores: the most that any model could reach, and the refusal to divide by one made otherwise.

How a ceiling is made: :mod:`voxridge.science.repeats` (a stimulus shown several times),
:mod:`voxridge.science.intersubject` (several subjects), :mod:`voxridge.science.extrapolation` (from the
subjects there are to infinitely many).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from voxridge.science.conditions import METRICS, Conditions, Float64, Metric, Scores

if TYPE_CHECKING:
    import h5py


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"details holds {value!r}: give numbers, texts and lists")


@dataclass(frozen=True)
class NormalisedScores:
    """Scores as a share of their ceiling, with what was not defined and what went above 1.

    Attributes
    ----------
    values : ndarray (n_targets,) float64
        Score divided by ceiling; above 1 where the score is above its ceiling, which is kept: ceilings are
        estimates. NaN where either is not defined.
    metric : {"r", "signed r2", "R2", "SPE"}
        Of the scores that were divided.
    scores : Scores
    ceiling : Ceiling
    n_undefined : int
        Targets that have a score and no ceiling.
    n_above : int
        Targets above 1.
    n_floored : int
        Targets that were divided by the floor instead of their own ceiling.
    """

    values: Float64
    metric: Metric
    scores: Scores
    ceiling: Ceiling
    n_undefined: int
    n_above: int
    n_floored: int


@dataclass(frozen=True)
class Ceiling:
    """The most that a model could score on each target, and how that was estimated.

    Attributes
    ----------
    values : ndarray (n_targets,) float64
        Unfloored. NaN, zero or negative where the responses hold no signal that could be seen: nothing is
        divided by those.
    metric : {"r", "signed r2", "R2"}
        Of the scores that it is a ceiling of.
    conditions : Conditions
    method : str
        How it was estimated, in words.
    low, high : ndarray (n_targets,) float64, or None
        Ends of the interval of ``values``.
    level : float or None
        Confidence of the interval.
    floor : float or None
        Where the ceiling is defined and below this, scores are divided by this instead.
    details : dict
        Further settings and numbers, such as JSON can hold.

    Raises
    ------
    ValueError
        For an unknown metric, a ceiling of "SPE", arrays that differ in shape, or a floor outside (0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> made = Conditions("held-out runs", ("smoke",), trim=(50, 5), repeats=10)
    >>> ceiling = Ceiling(np.array([0.8, 0.1, np.nan]), "r", made, "signal power of 10 repeats")
    >>> scores = Scores(np.array([0.4, 0.2, 0.3]), "r", made)
    >>> ceiling.normalise(scores).values
    array([0.5, 2. , nan])
    >>> ceiling.with_floor(0.25).normalise(scores).values
    array([0.5, 0.8, nan])
    """

    values: Float64
    metric: Metric
    conditions: Conditions
    method: str
    low: Float64 | None = None
    high: Float64 | None = None
    level: float | None = None
    floor: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("values", "low", "high"):
            array = getattr(self, name)
            if array is not None:
                object.__setattr__(self, name, np.asarray(array, dtype=np.float64))
        if self.values.ndim != 1:
            raise ValueError(
                f"values has shape {self.values.shape}: give one ceiling per target, (n_targets,)"
            )
        for name in ("low", "high"):
            array = getattr(self, name)
            if array is not None and array.shape != self.values.shape:
                raise ValueError(
                    f"{name} has shape {array.shape} and values has shape {self.values.shape}: "
                    "give one number per target in both"
                )
        if self.metric not in METRICS or self.metric == "SPE":
            raise ValueError(
                f"metric={self.metric!r}: give 'r', 'signed r2' or 'R2'"
                + (" (SPE is a share of the signal power already)" if self.metric == "SPE" else "")
            )
        if self.floor is not None and not 0 < self.floor < 1:
            raise ValueError(f"floor={self.floor}: give a number between 0 and 1, such as 0.25, or None")

    @property
    def n_undefined(self) -> int:
        """How many targets have no ceiling that could be divided by (NaN, zero or negative)."""
        return int(np.count_nonzero(~(self.values > 0)))

    @property
    def divisor(self) -> Float64:
        """What scores are divided by, (n_targets,): the ceiling, raised to the floor; NaN where there is
        none."""
        with np.errstate(invalid="ignore"):
            raised = self.values if self.floor is None else np.maximum(self.values, self.floor)
            return np.where(self.values > 0, raised, np.nan)

    def normalise(self, scores: Scores) -> NormalisedScores:
        """Divide scores by this ceiling.

        Parameters
        ----------
        scores : Scores
            Of the same targets, in the same metric, made under the same conditions.

        Returns
        -------
        NormalisedScores

        Raises
        ------
        ValueError
            If metric, number of targets, split, runs, trim, repeats, samples or the way in which runs were
            combined differ; the message names all that do.
        """
        lines = self.differences(scores)
        if lines:
            raise ValueError(
                "the ceiling was not made as the scores were, and their ratio would mean nothing. Ceiling "
                f"against scores: {'; '.join(lines)}. Make the ceiling of the rows that were scored, or "
                "score the rows that the ceiling was made of"
            )
        divisor = self.divisor
        values = scores.values / divisor
        scored = np.isfinite(scores.values)
        floored = scored & (divisor > self.values)
        return NormalisedScores(
            values,
            scores.metric,
            scores,
            self,
            n_undefined=int(np.count_nonzero(scored & np.isnan(divisor))),
            n_above=int(np.count_nonzero(values > 1)),
            n_floored=int(np.count_nonzero(floored)),
        )

    def differences(self, scores: Scores) -> list[str]:
        """What keeps ``scores`` from being divided by this ceiling, one line each; empty when nothing does.

        Parameters
        ----------
        scores : Scores

        Returns
        -------
        list of str
        """
        lines = []
        if self.metric != scores.metric:
            lines.append(f"metric: {self.metric!r} against {scores.metric!r}")
        if self.values.shape != scores.values.shape:
            lines.append(f"targets: {self.values.size} against {scores.values.size}")
        return lines + self.conditions.differences(scores.conditions)

    def with_floor(self, floor: float | None) -> Ceiling:
        """The same ceiling, dividing by no less than ``floor`` where it is defined.

        A floor keeps targets with hardly any signal from having a huge normalised score, and makes theirs
        too small instead. It is recorded, and normalised scores count whom it concerned.

        Parameters
        ----------
        floor : float or None
            None takes the floor away.

        Returns
        -------
        Ceiling
        """
        return replace(self, floor=floor)

    def as_metric(self, metric: Metric) -> Ceiling:
        """This ceiling of r as one of r squared or R2: both are at most the squared ceiling of r.

        Parameters
        ----------
        metric : {"r", "signed r2", "R2"}

        Returns
        -------
        Ceiling
            Squared, keeping the sign; so is the floor.

        Raises
        ------
        ValueError
            If this is not a ceiling of r, or one of scores that are means over runs or folds: the mean of
            squares is not the square of the mean.
        """
        if metric == self.metric:
            return self
        if self.metric != "r":
            raise ValueError(
                f"this is a ceiling of {self.metric!r}: only one of 'r' can be made into {metric!r}"
            )
        alone = len(self.conditions.runs) == 1 and self.conditions.combine == "mean of runs"
        if self.conditions.combine != "concatenated" and not alone:
            raise ValueError(
                f"this ceiling is of scores that are the {self.conditions.combine}; the mean of {metric!r} "
                "is not the square of the mean of 'r'; make the ceiling of each run, or of concatenated runs"
            )

        def squared(array: Float64 | None) -> Float64 | None:
            return None if array is None else array * np.abs(array)

        return replace(
            self,
            values=self.values * np.abs(self.values),
            low=squared(self.low),
            high=squared(self.high),
            floor=None if self.floor is None else self.floor**2,
            metric=metric,
        )

    def write_to(self, group: h5py.Group) -> None:
        """Write the ceiling into an open, empty HDF5 group: datasets ``values``, ``low``, ``high``, and the
        rest as JSON in the attribute ``ceiling``.

        Parameters
        ----------
        group : h5py.Group
        """
        for name in ("values", "low", "high"):
            if getattr(self, name) is not None:
                group[name] = getattr(self, name)
        rest = {name: getattr(self, name) for name in ("metric", "method", "level", "floor")}
        rest |= {"conditions": self.conditions.to_dict(), "details": dict(self.details)}
        group.attrs["ceiling"] = json.dumps(rest, default=_plain)

    @classmethod
    def read_from(cls, group: h5py.Group) -> Ceiling:
        """The ceiling that :meth:`write_to` wrote.

        Parameters
        ----------
        group : h5py.Group

        Returns
        -------
        Ceiling

        Raises
        ------
        ValueError
            If the group holds no ceiling.
        """
        if "ceiling" not in group.attrs:
            raise ValueError(f"{group.file.filename}, group {group.name}: no ceiling was written there")
        rest = json.loads(group.attrs["ceiling"])
        rest["conditions"] = Conditions.from_dict(rest["conditions"])
        arrays = {name: group[name][()] for name in ("values", "low", "high") if name in group}
        return cls(**arrays, **rest)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an HDF5 file with this ceiling alone.

        Parameters
        ----------
        path : path
            A file there is replaced, once the new one is complete.
        """
        from pathlib import Path

        import h5py

        from voxridge.streams.atomic import atomic_path

        with atomic_path(Path(path)) as temporary, h5py.File(temporary, "w") as file:
            self.write_to(file)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ceiling:
        """The ceiling that :meth:`save` wrote.

        Parameters
        ----------
        path : path

        Returns
        -------
        Ceiling

        Raises
        ------
        FileNotFoundError
            No such file.
        ValueError
            If the file holds no ceiling.
        """
        import h5py

        with h5py.File(path, "r") as file:
            return cls.read_from(file)
