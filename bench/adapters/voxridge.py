"""voxridge as a user calls it, checks of the input included: EncodingRidge with its own delays; RidgeCV where
one sample is left out. "voxridge-cuda" is EncodingRidge on a GPU."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from bench.adapters.base import Result
from bench.problems import Problem
from bench.shapes import Shape


@dataclass(frozen=True)
class Voxridge:
    device: str = "cpu"
    takes_delays: bool = True

    @property
    def name(self) -> str:
        return "voxridge" if self.device == "cpu" else f"voxridge-{self.device}"

    def available(self) -> bool:
        from voxridge._dispatch import find_device

        try:
            find_device(self.device)
        except RuntimeError:
            return False
        return True

    def refusal(self, shape: Shape) -> str:
        return "its RidgeCV runs on the processor" if shape.leaves_one_out and self.device != "cpu" else ""

    def run(self, problem: Problem) -> Result:
        return _leave_one_out(problem) if problem.leaves_one_out else _folds(problem, self.device)


def fit_folds(problem: Problem, device: str = "cpu") -> Any:
    """The fitted EncodingRidge."""
    from voxridge import EncodingRidge
    from voxridge._warnings import AlphaEdgeWarning

    model = EncodingRidge(
        alphas=problem.alphas,
        delays=problem.delays,
        cv=problem.folds,
        scoring=problem.scoring,
        fit_intercept=True,
        device=device,
        progress=False,
    )
    with warnings.catch_warnings():  # targets of pure noise choose any penalty, the outermost too
        warnings.simplefilter("ignore", AlphaEdgeWarning)
        return model.fit(problem.x, problem.y, runs=problem.runs)


def _folds(problem: Problem, device: str) -> Result:
    model = fit_folds(problem, device)
    # The dual route forms primal coefficients when coef_ is first asked for: here never, as in himalaya.
    return Result(
        model.alpha_, model.best_cv_scores_, model.plan_.route, model.predict, cv_scores=model.cv_scores_
    )


def _leave_one_out(problem: Problem) -> Result:
    from voxridge import RidgeCV

    model = RidgeCV(problem.alphas, alpha_per_target=True).fit(problem.x, problem.y)
    return Result(model.alpha_, model.best_score_, "primal", model.predict, cv_scores=model.cv_scores_)
