"""How a score came about: what must agree before two of them may be compared or divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Metric = Literal["r", "signed r2", "R2", "SPE"]
Combine = Literal["concatenated", "mean of runs", "mean of folds"]
METRICS: tuple[str, ...] = get_args(Metric)
COMBINES: tuple[str, ...] = get_args(Combine)


@dataclass(frozen=True)
class Conditions:
    """How a score or a ceiling was made; two can only be divided when these agree.

    The split alone takes the published ceiling of one sentence data set from .35 (shuffled) to .13 (grouped
    by story), so a ratio of numbers made in different ways says nothing.

    Attributes
    ----------
    split : str
        How the scored samples were held out: "leave-one-run-out", "5 contiguous chunks, gap 4",
        "held-out runs".
    runs : tuple of str
        Runs that were scored; their order does not matter.
    trim : tuple of two int
        Rows dropped at the start and at the end of each run.
    repeats : int
        Repeats (or subjects) averaged in the responses that were scored.
    n_samples : int or None
        Rows scored in all; None where it is not known, and then it is not compared.
    combine : {"concatenated", "mean of runs", "mean of folds"}
        Whether one score was made of all rows together, or each run (or fold) scored alone and the scores
        averaged. Not compared where both have the same single run.

    Raises
    ------
    ValueError
        For an empty split, a run named twice, a negative trim, fewer than one repeat, or an unknown
        ``combine``.

    Examples
    --------
    >>> first = Conditions("held-out runs", ("smoke",), trim=(10, 5), repeats=10)
    >>> first.differences(Conditions("held-out runs", ("smoke",), trim=(50, 5)))
    ['trim: (10, 5) against (50, 5)', 'repeats: 10 against 1']
    """

    split: str
    runs: tuple[str, ...]
    trim: tuple[int, int] = (0, 0)
    repeats: int = 1
    n_samples: int | None = None
    combine: Combine = "concatenated"

    def __post_init__(self) -> None:
        if isinstance(self.runs, str):
            raise ValueError(f"runs={self.runs!r} is one string: give a tuple of names, such as ('story1',)")
        object.__setattr__(self, "runs", tuple(str(run) for run in self.runs))
        object.__setattr__(self, "trim", tuple(int(rows) for rows in self.trim))
        if not self.split:
            raise ValueError("split is empty: say how the scored samples were held out")
        if len(set(self.runs)) != len(self.runs):
            raise ValueError(f"runs names a run twice: {self.runs}")
        if len(self.trim) != 2 or min(self.trim) < 0:
            raise ValueError(f"trim={self.trim}: give the rows dropped at start and end, such as (10, 5)")
        if self.repeats < 1:
            raise ValueError(f"repeats={self.repeats}: the scored responses are the mean of at least 1")
        if self.combine not in COMBINES:
            raise ValueError(f"combine={self.combine!r}: give one of {', '.join(map(repr, COMBINES))}")

    def differences(self, other: Conditions) -> list[str]:
        """What disagrees, one line each, this object first; empty when the two may be divided.

        Parameters
        ----------
        other : Conditions

        Returns
        -------
        list of str
        """
        lines = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name == "n_samples" and None in (mine, theirs):
                continue
            if field.name == "combine" and len(self.runs) == len(other.runs) == 1:
                continue
            if field.name == "runs":
                mine, theirs = sorted(mine), sorted(theirs)
            if mine != theirs:
                lines.append(f"{field.name}: {mine} against {theirs}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; :meth:`from_dict` reads them back."""
        return asdict(self) | {"runs": list(self.runs), "trim": list(self.trim)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Conditions:
        """The conditions that :meth:`to_dict` wrote.

        Parameters
        ----------
        values : mapping

        Returns
        -------
        Conditions
        """
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**known)


@dataclass(frozen=True)
class Scores:
    """One score per target, with its metric and the conditions it was made under.

    Attributes
    ----------
    values : ndarray (n_targets,) float64
        NaN where the score is not defined.
    metric : {"r", "signed r2", "R2", "SPE"}
        "r" is Pearson's correlation, "signed r2" is :math:`|r| r`, "R2" the coefficient of determination,
        "SPE" the signal power explained.
    conditions : Conditions

    Raises
    ------
    ValueError
        For an unknown metric, or values that are not one per target.

    Examples
    --------
    >>> import numpy as np
    >>> Scores(np.array([0.2, 0.4]), "r", Conditions("held-out runs", ("smoke",))).metric
    'r'
    """

    values: Float64
    metric: Metric
    conditions: Conditions

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.asarray(self.values, dtype=np.float64))
        if self.metric not in METRICS:
            raise ValueError(f"metric={self.metric!r}: give one of {', '.join(map(repr, METRICS))}")
        if self.values.ndim != 1:
            raise ValueError(f"values has shape {self.values.shape}: give one score per target, (n_targets,)")
