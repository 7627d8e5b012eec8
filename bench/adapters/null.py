"""A competitor that reads the data once and fits nothing: what it takes is what the harness itself costs."""

from __future__ import annotations

import numpy as np

from bench.adapters.base import Result
from bench.problems import Problem
from bench.shapes import Shape


class Null:
    name = "null"
    takes_delays = True

    def available(self) -> bool:
        return True

    def refusal(self, shape: Shape) -> str:
        return ""

    def run(self, problem: Problem) -> Result:
        problem.x.sum()
        nothing = np.full_like(problem.y.sum(axis=0), np.nan)
        return Result(nothing, nothing, "none")
