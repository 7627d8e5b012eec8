"""What a competitor is, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from bench.problems import Problem, Shape

Floating = NDArray[Any]


@dataclass
class Result:
    """What a fit gave, as the competitor keeps it: nothing is computed for the benchmark's sake."""

    alpha: Floating  # (n_targets,), chosen penalties
    cv_score: Floating  # (n_targets,), mean over folds of the held-out score at the chosen penalty
    coefficients: Literal["primal", "dual", "none"]  # which kind the fit formed
    predict: Callable[[Floating], Floating] | None = None  # (n_new, n_features) -> (n_new, n_targets)


class Adapter(Protocol):
    """A competitor: folds, a penalty per target, an intercept, and a refit on all samples."""

    @property
    def name(self) -> str: ...

    def available(self) -> bool:
        """Whether what it needs is installed."""

    def feasible(self, shape: Shape) -> bool:
        """Whether a run would end in minutes and fit in memory."""

    def run(self, problem: Problem) -> Result:
        """Fit. The problem is not modified."""
