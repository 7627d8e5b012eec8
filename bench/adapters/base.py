"""What a competitor is, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from bench.problems import Problem
from bench.shapes import Shape

Floating = NDArray[Any]


@dataclass
class Result:
    """What a fit gave, as the competitor keeps it: nothing is computed for the benchmark's sake."""

    alpha: Floating  # (n_targets,), chosen penalties
    cv_score: Floating  # (n_targets,), mean over folds of the held-out score at the chosen penalty
    coefficients: Literal["primal", "dual", "none"]  # which kind the fit formed
    predict: Callable[[Floating], Floating] | None = None  # (n_new, n_features) -> (n_new, n_targets)
    cv_scores: Floating | None = None  # (n_alphas, n_targets), where the competitor keeps all of them


class Adapter(Protocol):
    """A competitor: folds, a penalty per target, an intercept, and a refit on all samples.

    One that ``takes_delays`` gets the features and the delays, as it would from a user; the others get the
    delayed design, made outside the clock.
    """

    @property
    def name(self) -> str: ...

    @property
    def takes_delays(self) -> bool: ...

    def available(self) -> bool:
        """Whether what it needs is installed."""

    def refusal(self, shape: Shape) -> str:
        """Why it cannot be asked for such a shape (memory, time, what it does not know); "" where it can."""

    def run(self, problem: Problem) -> Result:
        """Fit. The problem is not modified."""
