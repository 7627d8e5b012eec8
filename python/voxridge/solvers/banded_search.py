"""The search for the weights of bands and the penalty of every target, by held-out scores alone.

First every candidate is scored on all targets, with all penalties (:func:`fit_designs`, without a refit).
Then the search is refined in rounds. The few candidates that did best on a target tell where its best may
lie; targets for which that is alike make a group; and each group is offered the middle of it and steps
around, which become shorter. A new candidate costs a factorisation for each fold, and products with the
targets of its group only. So groups are few where targets are, and a small one takes in neighbours until its
products cost what its factorisations do.

Measured on 3, 4 and 6 bands, 3000 targets spread over the whole simplex: with about 50 candidates a target
the mean score on unseen runs is 0.0007 above that of a random search of 50 (its 100 add 0.0004 to 0.0013 to
its 50), the cross-validated one 0.0001 to 0.0012. With two bands a random search of 30 leaves nothing to
find.
"""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge._warnings import FallbackWarning
from voxridge.solvers.banded_candidates import clusters_of, likely_best, steps_around
from voxridge.solvers.banded_design import Bands
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.fits import RidgeCVResult, fit_designs, plan_designs
from voxridge.solvers.memory import resident_memory
from voxridge.solvers.method import Report
from voxridge.solvers.plan import Plan
from voxridge.solvers.settings import Settings, Storage
from voxridge.solvers.tiles import Targets

Floating = NDArray[Any]
Columns = NDArray[np.intp]

WIDTHS = (1.5, 1.0, 0.7)  # standard deviation of the steps in each round, in natural logarithms
MOST_GROUPS = 8  # of targets in a round: each brings factorisations of its own
_FEWEST_GROUPS = 2
_TOP = 4  # candidates of each target that tell where its best may lie
_READ_TOGETHER = 1024  # neighbouring targets: where some of these are wanted, all are read

_NOWHERE = Storage("none", None, {})


@dataclass
class SearchResult:
    """What :func:`search` found.

    Attributes
    ----------
    candidates : ndarray (n_candidates, n_bands)
        All weights that were tried, in their order.
    scores : ndarray (n_candidates, n_targets)
        Mean held-out score of each with the penalty that suits the target best; NaN where it was not tried.
    best : ndarray of int (n_targets,)
        Row of the best candidate; -1 where the target is masked.
    alpha : ndarray (n_targets,)
        The penalty that goes with it; NaN where masked.
    best_scores : ndarray (n_targets,)
        The score of both; NaN where masked.
    """

    candidates: Floating
    scores: Floating
    best: Columns
    alpha: Floating
    best_scores: Floating


def search(
    bands: Bands,
    targets: Targets,
    settings: Settings,
    candidates: Floating,
    *,
    n_refine: int = 0,
    seed: int | np.random.Generator = 0,
    report: Report = lambda step, done: None,
) -> SearchResult:
    """Choose weights of the bands and a penalty for every target.

    Parameters
    ----------
    bands : Bands
    targets : Targets
    settings : Settings
        Penalties, folds, score, memory limit; ``groups`` share weights and penalty.
    candidates : ndarray (n_candidates, n_bands)
        What all targets are offered; ties go to the first.
    n_refine : int
        Further candidates for every target, near its best.
    seed : int or Generator
        Of the refinement.
    report : callable
        Called with what is being done and the fraction done.

    Returns
    -------
    SearchResult

    Raises
    ------
    MemoryError, numpy.linalg.LinAlgError
        As :func:`~voxridge.solvers.ridge_cv.solve_ridge_cv`.
    """
    rng = np.random.default_rng(seed)
    found = _Found(targets.n_targets, settings.groups, targets.valid)
    everyone = np.arange(targets.n_targets)
    steps = np.diff(np.linspace(0, n_refine, len(WIDTHS) + 1).round().astype(int)).tolist()
    if bands.n_bands == 1:
        steps = []
    with _warned_once():
        for number, gammas in enumerate(candidates):
            progress = _part(report, "trying weights of bands", number, len(candidates))
            _try(bands, targets, settings, gammas, everyone, found, progress)
        for width, n_steps in zip(WIDTHS, steps, strict=False):
            _refine(bands, targets, settings, found, n_steps, width, rng, report)
    return found.result()


def _refine(
    bands: Bands,
    targets: Targets,
    settings: Settings,
    found: _Found,
    n_steps: int,
    width: float,
    rng: np.random.Generator,
    report: Report,
) -> None:
    """One round: ``n_steps`` new candidates for every group of targets."""
    likely = likely_best(found.top, np.array(found.candidates))
    worth = _worth(bands)
    n_groups = min(max(-(-targets.n_targets // worth), _FEWEST_GROUPS), MOST_GROUPS)
    jobs = [
        (gammas, members)
        for centre, members in clusters_of(likely, n_groups, worth, rng)
        for gammas in steps_around(centre, n_steps, width, rng)
    ]
    done, total = 0, sum(members.size for _, members in jobs)
    for gammas, members in jobs:
        share = members.size / total
        progress = _part(report, f"refining (steps of {width:g})", done / total / share, 1.0 / share)
        _try(bands, targets, settings, gammas, members, found, progress)
        done += members.size


def _worth(bands: Bands) -> int:
    """As many targets as cost what the factorisations of a candidate cost: about 9 k^3 operations in float64,
    and 5 k^2 in float32 for each target."""
    design = bands.design
    return 4 * min(design.n_columns, design.n_samples)


def _part(report: Report, step: str, number: float, total: float) -> Report:
    """Reports of one of many equal parts as those of the whole, which never goes back; factorisations are
    short beside the products with the targets, as a rule, and the bar moves with those."""
    furthest = 0.0

    def tell(own_step: str, done: float) -> None:
        nonlocal furthest
        if own_step.startswith("scoring") or own_step == step:
            furthest = max(furthest, min(done, 1.0))
        report(step, min(1.0, (number + furthest) / total))

    tell(step, 0.0)
    return tell


def _try(
    bands: Bands,
    targets: Targets,
    settings: Settings,
    gammas: Floating,
    columns: Columns,
    found: _Found,
    report: Report,
) -> None:
    every = columns.size == targets.n_targets
    some = targets if every else some_targets(targets, columns)
    asked = settings if every else _settings_of(settings, columns)
    if asked.memory_limit is not None:  # what will be kept is not held yet
        asked = dataclasses.replace(asked, memory_limit=asked.memory_limit - bands.room)
    design = bands.scaled(gammas)
    plans = found.plans_of(design, some, asked)
    result = fit_designs([design], some, asked, _NOWHERE, report, plans=plans)[0]
    found.add(gammas, columns, result)


def _settings_of(settings: Settings, columns: Columns) -> Settings:
    if settings.groups is None:
        return settings
    labels = np.unique(settings.groups[columns], return_inverse=True)[1]
    return dataclasses.replace(settings, groups=labels.astype(np.intp))


def some_targets(targets: Targets, columns: Columns) -> Targets:
    """Some of the targets, by ascending numbers, as targets of their own."""
    step = _READ_TOGETHER

    def read(begin: int, end: int) -> Floating:
        wanted = columns[begin:end]
        parts = []
        for block in np.unique(wanted // step).tolist():
            first, last = block * step, min((block + 1) * step, targets.n_targets)
            mine = wanted[(wanted >= first) & (wanted < last)]
            parts.append(targets.read(first, last)[:, mine - first])
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    return dataclasses.replace(
        targets,
        n_targets=columns.size,
        read=read,
        mean=targets.mean[columns],
        valid=targets.valid[columns],
        on_device=None,
    )


@dataclass
class _Found:
    """What is known of every target so far."""

    n_targets: int
    groups: NDArray[np.intp] | None
    valid: NDArray[np.bool_]
    candidates: list[Floating] = field(default_factory=list)
    tried: list[tuple[Columns, Floating]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.best = np.full(self.n_targets, -1, dtype=np.intp)
        self.alpha = np.full(self.n_targets, np.nan)
        self.best_scores = np.full(self.n_targets, np.nan)
        self._top_scores = np.full((_TOP, self.n_targets), -np.inf)
        self._plans: dict[tuple[int, int], list[Plan]] = {}
        self.top = np.full((_TOP, self.n_targets), -1, dtype=np.intp)

    def plans_of(self, design: DelayedDesign, targets: Targets, settings: Settings) -> list[Plan]:
        """The plan of an earlier candidate of the same sizes, where there is still room for it: to plan takes
        as long as to fit a few hundred targets."""
        sizes = design.n_columns, targets.n_targets
        plans, limit = self._plans.get(sizes), settings.memory_limit
        if plans is not None and limit is not None:
            needed = max(plan.worst_bytes - plan.resident_bytes for plan in plans)
            plans = None if resident_memory() + needed > limit else plans
        if plans is None:
            plans = self._plans[sizes] = plan_designs([design], targets, settings, _NOWHERE)
        return plans

    def add(self, gammas: Floating, columns: Columns, result: RidgeCVResult) -> None:
        """Targets that do better than before by more than rounding take the candidate over."""
        scores = result.best_scores
        judged = self._shared(scores, columns)
        rounding = float(np.finfo(result.intercept.dtype).eps)
        better = judged > self._top_scores[0, columns] + rounding
        self._place(columns, judged, better)
        winners = columns[better]
        self.best[winners] = len(self.candidates)
        self.alpha[winners] = result.alpha[better]
        self.best_scores[winners] = scores[better]
        self.candidates.append(np.array(gammas))
        self.tried.append((columns, scores.astype(result.intercept.dtype)))

    def _place(self, columns: Columns, judged: Floating, better: NDArray[np.bool_]) -> None:
        """Among the best few of each target; the first of them is beaten by more than rounding only."""
        above = self._top_scores[:, columns] >= judged
        above[0] = ~better
        rank = above.sum(axis=0)
        for place in range(_TOP - 1, -1, -1):
            here, later = columns[rank == place], columns[rank < place]
            for kept in (self._top_scores, self.top):
                kept[place, later] = kept[place - 1, later]
            self._top_scores[place, here] = judged[rank == place]
            self.top[place, here] = np.where(np.isfinite(judged[rank == place]), len(self.candidates), -1)

    def _shared(self, scores: Floating, columns: Columns) -> Floating:
        """What decides: a target's score, or the mean over its group's valid targets; -inf where masked."""
        judged = np.where(self.valid[columns], scores, -np.inf)
        if self.groups is None:
            return judged
        labels = self.groups[columns]
        for label in np.unique(labels):
            members = (labels == label) & self.valid[columns]
            judged[members] = scores[members].mean() if members.any() else -np.inf
        return judged

    def result(self) -> SearchResult:
        dtype = self.tried[0][1].dtype
        scores = np.full((len(self.candidates), self.n_targets), np.nan, dtype=dtype)
        for row, (columns, some) in zip(scores, self.tried, strict=True):
            row[columns] = some
        return SearchResult(np.array(self.candidates), scores, self.best, self.alpha, self.best_scores)


class _warned_once:
    """Of the warnings that a route was not to be trusted, which each candidate may give, the first passes."""

    def __enter__(self) -> None:
        self._catch = warnings.catch_warnings(record=True)
        self._seen: Any = self._catch.__enter__()
        warnings.simplefilter("always")

    def __exit__(self, *error: Any) -> None:
        self._catch.__exit__(*error)
        fallbacks = [w for w in self._seen if issubclass(w.category, FallbackWarning)]
        for other in self._seen:
            if not issubclass(other.category, FallbackWarning):
                warnings.warn(other.message, other.category, stacklevel=5)
        if fallbacks:
            text = f"{fallbacks[0].message} ({len(fallbacks)} candidates of the search)"
            warnings.warn(text, FallbackWarning, stacklevel=5)
