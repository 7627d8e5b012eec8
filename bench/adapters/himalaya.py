"""himalaya: RidgeCV (SVD of the features) and KernelRidgeCV (eigenvalues of the kernel), on numpy and torch.

Batches over targets are those of himalaya's own benchmark (5000). A "lean" variant takes small batches, as
its documentation advises where memory is short. An "unchecked" variant skips the search for NaN, as it
advises where that is slow.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.adapters.base import Floating, Result
from bench.problems import Problem, Shape

Solver = Literal["ridge", "kernel"]
Backend = Literal["numpy", "torch"]


@dataclass(frozen=True)
class Himalaya:
    solver: Solver
    backend: Backend
    lean: bool = False
    unchecked: bool = False

    @property
    def name(self) -> str:
        return f"himalaya-{self.solver}-{self.backend}" + "-lean" * self.lean + "-unchecked" * self.unchecked

    def available(self) -> bool:
        return all(importlib.util.find_spec(module) for module in ("himalaya", self.backend))

    def feasible(self, shape: Shape) -> bool:
        return True

    def run(self, problem: Problem) -> Result:
        import sklearn

        with self._set_up(), sklearn.config_context(assume_finite=self.unchecked):
            model = self._estimator(problem).fit(problem.x, problem.y)

        def predict(features: Floating) -> Floating:
            with self._set_up():
                return np.asarray(model.predict(features))

        kind: Literal["primal", "dual"] = "primal" if self.solver == "ridge" else "dual"
        return Result(np.asarray(model.best_alphas_), np.asarray(model.cv_scores_), kind, predict)

    @contextmanager
    def _set_up(self) -> Iterator[None]:
        """himalaya's global backend, put back afterwards; its warnings are advice on speed."""
        from himalaya.backend import get_backend, set_backend  # type: ignore[import-untyped]

        before = get_backend()
        set_backend(self.backend)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            set_backend(before)

    def _estimator(self, problem: Problem) -> Any:
        from himalaya.kernel_ridge import KernelRidgeCV  # type: ignore[import-untyped]
        from himalaya.ridge import RidgeCV  # type: ignore[import-untyped]
        from himalaya.scoring import correlation_score, r2_score  # type: ignore[import-untyped]

        batches = {"n_targets_batch": 500, "n_alphas_batch": 5} if self.lean else {"n_targets_batch": 5000}
        score = correlation_score if problem.scoring == "correlation" else r2_score
        shared = {"alphas": problem.alphas.astype(np.float32), "cv": problem.folds(), "fit_intercept": True}
        if self.solver == "ridge":
            return RidgeCV(**shared, solver_params={"score_func": score, "warn": False, **batches})
        return KernelRidgeCV(**shared, warn=False, solver_params={"score_func": score, **batches})
