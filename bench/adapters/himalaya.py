"""himalaya: RidgeCV (SVD of the features) and KernelRidgeCV (eigenvalues of the kernel), on numpy and torch;
with the backend torch_cuda on a GPU, to which it takes the data inside the clock.

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
from bench.machine import total_memory
from bench.problems import Problem
from bench.shapes import Shape

Solver = Literal["ridge", "kernel"]
Backend = Literal["numpy", "torch", "torch_cuda"]

_MOST_MEMORY = 0.85  # of the machine
_MOST_FLOPS = 2e14  # at 0.2 TFLOP/s a quarter of an hour


@dataclass(frozen=True)
class Himalaya:
    solver: Solver
    backend: Backend
    lean: bool = False
    unchecked: bool = False
    takes_delays: bool = False

    @property
    def name(self) -> str:
        return f"himalaya-{self.solver}-{self.backend}" + "-lean" * self.lean + "-unchecked" * self.unchecked

    @property
    def on_gpu(self) -> bool:
        return self.backend == "torch_cuda"

    def available(self) -> bool:
        library = "torch" if self.on_gpu else self.backend
        if not all(importlib.util.find_spec(module) for module in ("himalaya", library)):
            return False
        return not self.on_gpu or _gpu_memory() > 0

    @property
    def batch(self) -> int:
        """Targets that go together."""
        return 500 if self.lean else 5000

    def refusal(self, shape: Shape) -> str:
        if shape.leaves_one_out:
            return f"it has no leave-one-out but {shape.n_samples} folds"
        needed, held = self.expected_bytes(shape), _gpu_memory() if self.on_gpu else total_memory()
        if needed > _MOST_MEMORY * held:
            return f"it would take about {needed / 2**30:.1f} GiB of {held / 2**30:.1f} GiB of memory"
        if self.on_gpu:
            return ""
        flops = self.expected_flops(shape)
        if flops > _MOST_FLOPS:
            return f"about {flops:.1e} operations: hours on a few cores"
        return ""

    def expected_flops(self, shape: Shape) -> float:
        """Read in its source: an SVD or eigendecomposition for every fold, a resolution matrix for every
        penalty, held-out predictions from that; the refit takes every penalty times every target."""
        a, v, n, p = (float(s) for s in (shape.n_alphas, shape.n_targets, shape.n_samples, shape.n_columns))
        flops = 0.0
        for train, test in shape.folds():
            flops += (
                self._factors(float(train.size), p, a, float(test.size)) + 2 * a * test.size * train.size * v
            )
        size = p if self.solver == "ridge" else n
        return flops + self._factors(n, p, a, 0) + 2 * a * size * n * v

    def _factors(self, n: float, p: float, a: float, test: float) -> float:
        if self.solver == "ridge":
            short, long = min(n, p), max(n, p)
            return 6 * long * short**2 + 20 * short**3 + 2 * a * p * short * n + 2 * a * test * p * n
        return 9 * n**3 + 2 * a * (test or n) * n * n

    def expected_bytes(self, shape: Shape) -> float:
        """Its arrays at the fullest moment, float32: resolution matrices with what they are made from,
        predictions or weights of a batch with the temporaries of the score, data, copies, weights."""
        a = min(shape.n_alphas, 5) if self.lean else shape.n_alphas
        n, p, v = shape.n_samples, shape.n_columns, shape.n_targets
        train, test, batch = shape.longest_train, shape.longest_test, min(self.batch, shape.n_targets)
        scoring = a * test * train + 4 * a * test * batch
        if self.solver == "ridge":
            held = 3 * n * p + 2 * n * v + 2 * p * v
            fold = a * train * (min(train, p) + p)
            refit = max(a * n * (min(n, p) + p), a * p * (n + batch))
        else:
            held = n * p + 3 * n * n + 4 * n * v
            fold = a * train * (train + test)
            refit = max(2 * a * n * n, a * n * (n + batch))
        return 4.0 * (held + max(fold, scoring, refit))

    def run(self, problem: Problem) -> Result:
        import sklearn

        with self._set_up(), sklearn.config_context(assume_finite=self.unchecked):
            model = self._estimator(problem).fit(problem.x, problem.y)

        def predict(features: Floating) -> Floating:
            with self._set_up():
                return _on_host(model.predict(features))

        kind: Literal["primal", "dual"] = "primal" if self.solver == "ridge" else "dual"
        return Result(_on_host(model.best_alphas_), _on_host(model.cv_scores_), kind, predict)

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

        batches = {"n_targets_batch": self.batch} | ({"n_alphas_batch": 5} if self.lean else {})
        score = correlation_score if problem.scoring == "correlation" else r2_score
        shared = {"alphas": problem.alphas.astype(np.float32), "cv": problem.folds, "fit_intercept": True}
        if self.solver == "ridge":
            return RidgeCV(**shared, solver_params={"score_func": score, "warn": False, **batches})
        return KernelRidgeCV(**shared, warn=False, solver_params={"score_func": score, **batches})


def _on_host(a: Any) -> Floating:
    """An array of any backend; waits for the GPU."""
    return np.asarray(a.cpu() if hasattr(a, "cpu") else a)


def _gpu_memory() -> int:
    """Bytes of the first GPU's memory, 0 where torch has none."""
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else 0
