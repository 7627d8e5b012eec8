"""Plans of several designs that are fitted to the same targets in the same passes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

from voxridge.solvers.memory import resident_memory
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
    waiting = sum(_waiting(problem, plan) for problem, plan in zip(problems, plans, strict=True))
    if len(problems) > 1 and waiting:
        problems = [_beside(problem, waiting) for problem in problems]
        plans = [make(problem, n_targets_batch) for problem in problems]
    tile = min(plan.n_targets_batch for plan in plans)
    return [
        plan if plan.n_targets_batch == tile else make(problem, tile)
        for plan, problem in zip(plans, problems, strict=True)
    ]


def _waiting(problem: Problem, plan: Plan) -> int:
    """What a spectral method keeps of its folds until its refit, while others make their folds: the Gram or
    kernel and the work space of eigendecompositions. The plan of one alone has it gone by then."""
    if plan.method != "spectral" or plan.device != "cpu":  # a device's plan multiplies all that is held
        return 0
    if plan.side == "primal":
        return 16 * problem.p**2
    return 8 * problem.n**2 + 16 * problem.longest_train**2


def _beside(problem: Problem, n_bytes: int) -> Problem:
    held = resident_memory() if problem.resident_bytes is None else problem.resident_bytes
    return replace(problem, resident_bytes=held + n_bytes)
