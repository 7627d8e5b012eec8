"""voxridge, as a user calls it: EncodingRidge with no delays, checks of the input included."""

from __future__ import annotations

import warnings

from bench.adapters.base import Result
from bench.problems import Problem, Shape


class Voxridge:
    name = "voxridge"

    def available(self) -> bool:
        return True

    def feasible(self, shape: Shape) -> bool:
        return True

    def run(self, problem: Problem) -> Result:
        from voxridge import EncodingRidge
        from voxridge._warnings import AlphaEdgeWarning

        model = EncodingRidge(
            alphas=problem.alphas,
            delays=(0,),
            cv=problem.folds(),
            scoring=problem.scoring,
            fit_intercept=True,
            progress=False,
        )
        with warnings.catch_warnings():  # targets of pure noise choose any penalty, the outermost too
            warnings.simplefilter("ignore", AlphaEdgeWarning)
            model.fit(problem.x, problem.y)
        # The dual route forms primal coefficients when coef_ is first asked for: here never, as in himalaya.
        return Result(model.alpha_, model.best_cv_scores_, model.plan_.route, model.predict)
