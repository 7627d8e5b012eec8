"""HuthLab's recipe: ``ridge_corr`` on every fold, then ``ridge`` with each target's best penalty, from the
user's own copy of their ``ridge_utils/ridge.py`` (VOXRIDGE_BENCH_HUTH, or --huth of bench.run).

Their ``bootstrap_ridge`` draws random chunks; with given folds its two functions are what can be compared.
They penalise a**2, know no intercept (features and responses come z-scored; here they are centred, inside the
clock), and work in float64 as soon as the penalties do.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.adapters.base import Result
from bench.problems import Problem
from bench.shapes import Shape

VARIABLE = "VOXRIDGE_BENCH_HUTH"
_MOST_FLOPS = 2e14


class Huth:
    name = "huth"
    takes_delays = False

    def available(self) -> bool:
        return Path(os.environ.get(VARIABLE, "")).is_file()

    def refusal(self, shape: Shape) -> str:
        if shape.leaves_one_out:
            return "it has no leave-one-out"
        k = min(shape.longest_train, shape.n_columns)
        products = 2.0 * shape.longest_test * k * shape.n_targets * shape.n_alphas * shape.n_folds
        refit = 2.0 * shape.n_columns * k * (shape.n_targets + k * shape.n_alphas)
        if products + refit > _MOST_FLOPS:
            return f"{products + refit:.1e} operations in float64: hours on a few cores"
        return ""

    def run(self, problem: Problem) -> Result:
        if problem.scoring != "correlation":
            raise ValueError("scoring='r2': HuthLab's R2 is another one; use scoring='correlation'")
        theirs, roots = _module(), np.sqrt(problem.alphas)
        x, y = problem.x, problem.y
        scores = np.zeros((roots.size, y.shape[1]))
        for train, test in problem.folds:
            x_mean, y_mean = x[train].mean(axis=0), y[train].mean(axis=0)
            pieces = x[train] - x_mean, x[test] - x_mean, y[train] - y_mean, y[test]
            scores += theirs.ridge_corr(*pieces, roots, use_corr=True)
        scores /= len(problem.folds)
        best = scores.argmax(axis=0)
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        weights = theirs.ridge(x - x_mean, y - y_mean, roots[best])
        found = scores[best, np.arange(best.size)]
        return Result(
            problem.alphas[best], found, "primal", lambda features: (features - x_mean) @ weights + y_mean
        )


def _module() -> Any:
    """Their ridge.py, whose own imports name its folder as a package."""
    path = Path(os.environ[VARIABLE]).resolve()
    folder = str(path.parents[1])
    if folder not in sys.path:
        sys.path.insert(0, folder)
    logging.getLogger("ridge_corr").setLevel(logging.WARNING)
    module = sys.modules.get("_huth_ridge")
    if module is None:
        specification = importlib.util.spec_from_file_location("_huth_ridge", path)
        if specification is None or specification.loader is None:
            raise ImportError(f"{VARIABLE}: {path.name} is no Python file")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        sys.modules["_huth_ridge"] = module
    return module
