"""Fits of one or several designs to the same targets: planned, run, and run again by another route where one
cannot be trusted."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from voxridge._threads import n_threads
from voxridge._warnings import FallbackWarning
from voxridge.solvers.buffers import Buffers
from voxridge.solvers.checkpoint import Checkpoint
from voxridge.solvers.cuda.fits import make_device_method, open_session, plan_on, tile_reader
from voxridge.solvers.design import DelayedDesign, Design
from voxridge.solvers.guarded import AllFailed, Guarded
from voxridge.solvers.memory import resident_memory
from voxridge.solvers.method import Method, Report
from voxridge.solvers.methods import method_of
from voxridge.solvers.passes import WRITTEN, FinishedTooSoon, Fit, Passes, best_index
from voxridge.solvers.plan import Plan, Problem, make_plan
from voxridge.solvers.settings import Settings, Storage
from voxridge.solvers.shared_plans import plan_together
from voxridge.solvers.stream_design import StreamedDesign
from voxridge.solvers.tiles import Targets
from voxridge.solvers.trust import UntrustedFactor
from voxridge.solvers.weights import DualWeights, FileMatrix, Matrix, PrimalWeights, Weights, can_continue
from voxridge.streams.file_sink import FileSink
from voxridge.streams.sink_base import Sink
from voxridge.streams.sinks import ArraySink

Floating = NDArray[Any]


@dataclass
class RidgeCVResult:
    """What :func:`~voxridge.solvers.ridge_cv.solve_ridge_cv` returns. Arrays over targets have length
    n_targets; masked targets hold NaN (coefficients: 0).

    Attributes
    ----------
    alphas : ndarray (n_alphas,)
        The grid.
    alpha : ndarray (n_targets,)
        The chosen penalties.
    cv_scores : ndarray (n_alphas, n_targets)
        Mean over folds.
    best_scores : ndarray (n_targets,)
        Those of the chosen penalties.
    intercept : ndarray (n_targets,)
    plan : Plan
        What was done.
    weights : object with ``coefficient_tiles()`` and ``prediction_tiles(design)``, or None
        None where ``weights="none"``.
    n_edge : tuple of two int
        Targets at the smallest and at the largest penalty.
    n_dependent : int
        Directions of the design that depend on others; Cholesky routes do not see them.
    """

    alphas: Floating
    alpha: Floating
    cv_scores: Floating  # (n_alphas, n_targets), mean over folds
    best_scores: Floating
    intercept: Floating
    plan: Plan
    weights: Weights | None  # None where weights="none"
    n_edge: tuple[int, int] = (0, 0)  # targets at the smallest and at the largest penalty
    n_dependent: int = 0  # directions of the design that depend on others; Cholesky routes do not see them

    @property
    def edge_fraction(self) -> float:
        """Share of the fitted targets whose penalty is at an edge of the grid."""
        chosen = int(np.isfinite(self.alpha).sum())
        return sum(self.n_edge) / chosen if chosen and self.alphas.size > 1 else 0.0


class Planned(Protocol):
    """What a plan looks at of a design."""

    @property
    def n_samples(self) -> int: ...

    @property
    def n_columns(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def delays(self) -> tuple[int, ...]: ...


def fit_designs(
    designs: Sequence[Design],
    targets: Targets,
    settings: Settings,
    storage: Storage,
    report: Report,
    names: Sequence[str] = (),
    fallback: str | None = None,
    plans: list[Plan] | None = None,
) -> list[RidgeCVResult]:
    """Fit every design to the targets, which are read once a pass for all of them together.

    A design that its route cannot be trusted with is fitted by another: of several, by itself, when the
    others are done. ``names`` are for the warning. ``fallback`` is the solver where another one failed, which
    may be one that a required device has not. ``plans``: of designs of these sizes, where they are known.
    """
    names = names or [""] * len(designs)
    checkpoint = Checkpoint(storage.checkpoint, _identity(designs, targets, settings, storage))
    plans = _kept_plans(checkpoint, settings) or plans
    plans = plans or plan_designs(designs, targets, settings, storage, fallback)
    for _ in range(4):  # leave-out -> spectral -> svd, and the svd's own error
        checkpoint.start([dataclasses.asdict(plan) for plan in plans])
        found = _run(designs, plans, targets, settings, storage, checkpoint, report)
        failed = {i: error for i, error in enumerate(found) if not isinstance(error, RidgeCVResult)}
        results = cast(list[RidgeCVResult], found)
        if not failed:
            return results
        solvers = {i: _fallback(plans[i], error, settings, names[i]) for i, error in failed.items()}
        if len(designs) > 1:
            for i, solver in solvers.items():
                again = dataclasses.replace(settings, solver=solver)
                alone = storage.alone(i, solver)
                results[i] = fit_designs([designs[i]], targets, again, alone, report, [names[i]], solver)[0]
            return results
        plans = plan_designs(designs, targets, settings, storage, solvers[0])
    raise AssertionError("every fallback was tried")


def _kept_plans(checkpoint: Checkpoint, settings: Settings) -> list[Plan] | None:
    """The plans that an earlier run began with: others would give other bits."""
    if checkpoint.plans is None:
        return None
    plans = [Plan(**kept) for kept in checkpoint.plans]
    for plan in plans:
        if plan.device not in ("cpu", settings.cuda and settings.cuda.name):
            raise ValueError(
                f"checkpoint={str(checkpoint.folder)!r} was begun on {plan.device}, which this fit does not "
                "use; ask for the same device, or delete the folder to begin anew"
            )
    needed = resident_memory() + max(plan.worst_bytes - plan.resident_bytes for plan in plans)
    limit = settings.memory_limit
    if limit is not None and needed > limit:
        raise MemoryError(
            f"checkpoint={str(checkpoint.folder)!r} was begun with a plan that needs {needed} bytes, and "
            f"memory_limit={limit}; give as many bytes, or delete the folder to begin anew with a leaner plan"
        )
    return plans


def plan_designs(
    designs: Sequence[Planned],
    targets: Targets,
    settings: Settings,
    storage: Storage,
    solver: str | None = None,
    resident: int | None = None,
) -> list[Plan]:
    """What :func:`fit_designs` would do. ``resident`` is what the process holds before; None: what it holds
    now."""
    problems = [_problem(design, targets, settings, storage, resident) for design in designs]
    wanted = settings.solver if solver is None else solver
    # A route that a device's could not be trusted with may be one that only the processor has.
    required = settings.device_required and solver is None
    there = plan_on(settings, problems, wanted, required=required)
    if there is not None and required:
        return there
    possible = _possible(wanted, settings)

    def make(problem: Problem, n_targets_batch: int | None) -> Plan:
        limit = settings.memory_limit
        return make_plan(problem, solver=possible, memory_limit=limit, n_targets_batch=n_targets_batch)

    here = plan_together(problems, make, settings.n_targets_batch)
    if there is not None and (settings.device_required or _seconds(there) < _seconds(here)):
        return there
    return here


def _seconds(plans: Sequence[Plan]) -> float:
    return sum(plan.seconds for plan in plans)


def _fallback(plan: Plan, error: np.linalg.LinAlgError, settings: Settings, name: str) -> str:
    """The solver to try next; the SVD's own failure is final."""
    remedy = "a larger alpha avoids this"
    whose = f"model {name!r}: " if name else ""
    if plan.method == "svd":
        raise np.linalg.LinAlgError(f"{whose}{error}; give a larger alpha") from error
    untrusted = isinstance(error, UntrustedFactor)
    nothing_weaker = plan.method == "spectral" or settings.needs_leave_out
    solver = "svd" if untrusted or nothing_weaker else f"{plan.side}-spectral"
    warnings.warn(
        f"{whose}route {plan.route} cannot be trusted: {error}. Using {solver} instead; {remedy}",
        FallbackWarning,
        stacklevel=4,
    )
    return solver


def _problem(
    design: Planned, targets: Targets, settings: Settings, storage: Storage, resident: int | None
) -> Problem:
    return Problem(
        design.n_samples,
        design.n_columns,
        targets.n_targets,
        settings.alphas.size,
        settings.folds,
        design.dtype.itemsize,
        targets.in_memory,
        features_in_memory=not isinstance(design, StreamedDesign),
        delays=design.delays,
        weights=storage.kind,
        alpha_per_target=settings.groups is None,
        sample_weight=settings.sample_weight is not None,
        resident_bytes=resident,
        checkpoint=storage.checkpoint is not None,
    )


def _possible(solver: str, settings: Settings) -> str:
    """The solver that does what the settings ask for, where that narrows the choice."""
    if not settings.needs_leave_out or solver in ("svd", "primal-leave-out", "dual-leave-out"):
        return solver
    if settings.evaluation == "gcv" and "cholesky" in solver:
        raise ValueError(f'solver={solver!r} cannot do generalised cross-validation; use "leave-out"')
    if "spectral" in solver:
        raise ValueError(
            f"solver={solver!r} scores each fold, without sample weights; "
            'use solver="auto" or "leave-out" for sample_weight, leave-one-out and gcv'
        )
    return {"auto": "leave-out", "primal": "primal-leave-out", "dual": "dual-leave-out"}.get(solver, solver)


def make_method(design: Design, plan: Plan, settings: Settings, session: Any = None) -> Method:
    """The route that the plan names; ``session`` is the device's, if it is one of a device."""
    common: dict[str, Any] = {"scoring": settings.scoring, "fit_intercept": settings.fit_intercept}
    if plan.method != "spectral":
        common |= {"root": settings.root, "pooled": settings.evaluation == "pooled"}
    if session is not None:
        return make_device_method(session, design, plan, settings, common)
    make = method_of(plan.route, gcv=settings.evaluation == "gcv")
    return make(design, settings.alphas, settings.folds, plan, **common)


def _run(*arguments: Any) -> list[RidgeCVResult | np.linalg.LinAlgError]:
    try:
        return _attempt(*arguments, resume=True)
    except FinishedTooSoon:  # a damaged record was deleted when the weights had their name already
        return _attempt(*arguments, resume=False)


def _attempt(
    designs: Sequence[Design],
    plans: Sequence[Plan],
    targets: Targets,
    settings: Settings,
    storage: Storage,
    checkpoint: Checkpoint,
    report: Report,
    *,
    resume: bool,
) -> list[RidgeCVResult | np.linalg.LinAlgError]:
    """The result of every design, or why there is none."""
    for design, plan in zip(designs, plans, strict=True):
        if isinstance(design, StreamedDesign):
            design.rows_per_chunk, design.columns_per_chunk = plan.rows_per_chunk, plan.columns_per_chunk
    fits: list[Fit] = []
    session = open_session(settings, plans)
    methods = _methods(designs, plans, settings, checkpoint, session)
    reader = tile_reader(session, targets, designs[0].dtype, centre=settings.fit_intercept)
    try:
        for number, method in enumerate(methods):
            shape = method.weights_size, targets.n_targets
            sink = _sink(storage, shape, method.weights_dtype, number, checkpoint, resume)
            fits.append(Fit(method, sink, np.zeros((settings.alphas.size, targets.n_targets))))
        with contextlib.suppress(AllFailed):
            Passes(
                fits,
                targets,
                settings.alphas,
                min(plan.n_targets_batch for plan in plans),
                reader,
                settings.groups,
                report,
                checkpoint,
            ).run()
        return [
            method.error or _result(design, plan, fit, targets, settings, storage)
            for design, plan, fit, method in zip(designs, plans, fits, methods, strict=True)
        ]
    finally:  # whoever keeps the traceback of an error must not keep its file locked
        for fit in fits:
            if fit.weights is not None:
                fit.weights.close()


def _methods(
    designs: Sequence[Design],
    plans: Sequence[Plan],
    settings: Settings,
    checkpoint: Checkpoint,
    session: Any,
) -> list[Guarded]:
    buffers = Buffers()
    alive: set[int] = set()
    methods = []
    for number, (design, plan) in enumerate(zip(designs, plans, strict=True)):
        method = make_method(design, plan, settings, session)
        method.buffers = buffers
        marker = None
        if checkpoint.folder is not None:
            marker = checkpoint.folder / f"untrusted-{number}-{plan.route}.txt"
        methods.append(Guarded(method, alive, marker))
    return methods


def _identity(
    designs: Sequence[Design], targets: Targets, settings: Settings, storage: Storage
) -> dict[str, Any]:
    """All that the bits of the result depend on, beside the plan."""
    rows = hashlib.blake2b(digest_size=16)
    for fold in settings.folds:
        excluded = fold.excluded(designs[0].n_samples)
        rows.update(excluded.tobytes() + b"|" + fold.validation.tobytes())
    for array in (settings.groups, settings.sample_weight, targets.valid):
        rows.update(b"|" if array is None else np.ascontiguousarray(array).tobytes())
    return {
        **storage.identity,
        "designs": [(d.n_samples, d.n_columns, str(d.dtype), list(d.delays), d.offsets) for d in designs],
        "features_in_memory": [isinstance(design, DelayedDesign) for design in designs],
        "solver": settings.solver,
        "n_targets_batch": settings.n_targets_batch,
        "weights": storage.kind,
        "n_targets": targets.n_targets,
        "alphas": settings.alphas.tolist(),
        "scoring": settings.scoring,
        "precision": settings.precision,
        "fit_intercept": settings.fit_intercept,
        "evaluation": settings.evaluation,
        "folds_groups_weights": rows.hexdigest(),
        "n_threads": n_threads(),
    }


def _sink(
    storage: Storage, shape: tuple[int, int], dtype: Any, number: int, checkpoint: Checkpoint, resume: bool
) -> Sink | None:
    if storage.weights == "none":
        return None
    if checkpoint.folder is None:
        if storage.weights == "memory":
            return ArraySink(np.empty(shape, dtype=dtype))
        return FileSink(storage.of_design(number), shape, dtype)
    path = Path(storage.of_design(number))
    if storage.weights == "memory":
        path = checkpoint.folder / f"weights-{number}.h5"
    resume = resume and can_continue(path, shape, dtype, checkpoint.token)
    if not resume:
        checkpoint.forget(WRITTEN)  # before the new file is there: its zeros are nobody's weights
    return FileSink(path, shape, dtype, token=checkpoint.token, resume=resume)


def _result(
    design: Design, plan: Plan, fit: Fit, targets: Targets, settings: Settings, storage: Storage
) -> RidgeCVResult:
    masked, alphas = ~targets.valid, settings.alphas
    columns = np.arange(targets.n_targets)
    if settings.groups is None:
        best = best_index(fit.scores, alphas)
    else:
        order = np.argsort(alphas, kind="stable")
        best = order[np.searchsorted(alphas[order], fit.alpha)]
    best_scores = fit.scores[best, columns] if targets.n_targets else np.empty(0)
    chosen = fit.alpha[~masked]
    n_edge = int((chosen == alphas.min()).sum()), int((chosen == alphas.max()).sum())
    offset = targets.mean if settings.fit_intercept else np.zeros(targets.n_targets)
    intercept = offset - fit.mean_prediction if settings.fit_intercept else offset
    for array in (fit.alpha, best_scores, intercept):
        array[masked] = np.nan
    fit.scores[:, masked] = np.nan
    return RidgeCVResult(
        alphas=alphas,
        alpha=fit.alpha,
        cv_scores=fit.scores,
        best_scores=best_scores,
        intercept=intercept.astype(design.dtype),
        plan=plan,
        weights=_weights(design, fit, storage),
        n_edge=n_edge,
        n_dependent=max(fit.n_dependent, fit.method.n_dependent),
    )


def _weights(design: Design, fit: Fit, storage: Storage) -> Weights | None:
    """The weights where they were kept, or back in memory; those of masked targets are zero, as their data
    were."""
    sink, dual = fit.weights, fit.method.dual
    if sink is None:
        return None
    sink.finish({"kind": "dual_coef" if dual else "coef", "delays": list(design.delays)})
    matrix: Matrix = sink
    if isinstance(sink, FileSink):
        sink.close()
        matrix = FileMatrix(sink.result, sink.shape, sink.dtype)
        if storage.weights == "memory":
            matrix = ArraySink(matrix.read(0, matrix.shape[1]))
    if not dual:
        return PrimalWeights(matrix, design.delays)
    basis = fit.method.basis
    if basis is not None:  # as many rows as eigenvectors were written
        matrix = ArraySink(matrix.result[: basis.vectors.shape[0]])
    return DualWeights(matrix, design, basis)
