"""Plans of several designs that are fitted to the same targets in the same passes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

from voxridge.solvers.plan import Plan, Problem

MakePlan = Callable[[Problem, int | None], Plan]


def plan_together(problems: Sequence[Problem], make: MakePlan, n_targets_batch: int | None) -> list[Plan]:
    """A plan for each problem, such that all factors fit in memory at once and all tiles are as wide.

    The memory is divided in proportion to what each would take alone: to the plan of one, the others are so
    many more of its own size (``Problem.n_models``). Buffers of a tile are shared.

    Parameters
    ----------
    problems : sequence of Problem
    make : callable
        ``make(problem, n_targets_batch)`` gives a plan.
    n_targets_batch : int or None

    Raises
    ------
    MemoryError
        As ``make`` does.
    """
    make = functools.cache(make)  # layers of a model are alike
    if len(problems) > 1:
        alone = [make(problem, n_targets_batch) for problem in problems]
        sizes = [max(1, plan.factor_bytes + plan.result_bytes) for plan in alone]
        total = sum(sizes)
        problems = [
            replace(problem, n_models=-(-total // size))
            for problem, size in zip(problems, sizes, strict=True)
        ]
    plans = [make(problem, n_targets_batch) for problem in problems]
    tile = min(plan.n_targets_batch for plan in plans)
    return [
        plan if plan.n_targets_batch == tile else make(problem, tile)
        for plan, problem in zip(plans, problems, strict=True)
    ]
