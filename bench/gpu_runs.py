"""Fits of the size of a brain, from page-locked memory: whole runs left out (:func:`runs`) and single
samples (:func:`loo`), timed, and held against scores in float64."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.gpu_data import FRIENDS, WHOLE_BRAIN, Brain, BrainShape, make_brain
from bench.gpu_results import Results, Row, attempt
from bench.gpu_truth import Truth, compare, sample
from bench.gpu_watch import timed_fits

Division = list[NDArray[np.intp]]
_MARGIN = 1.3  # times the expected seconds that a fit is given
_REFITTED = 2, 3  # folds and penalties that are refitted, to hold the truth itself against


def runs(ops: ModuleType, results: Results, scale: float, precisions: Sequence[str], end: float) -> bool:
    """33,000 x (7,168 x 4) x 95,556, 20 penalties: 5 folds of whole runs, and leave-one-run-out over 95.

    False where something is still missing: it failed, or would not have ended before ``end`` (of
    time.monotonic).
    """
    cvs = {"5 folds": 5, "leave-one-run-out": "leave-one-run-out"}
    cases = {
        f"{name}, {precision}": {"cv": cv, "precision": precision, "scoring": "correlation"}
        for precision in precisions
        for name, cv in cvs.items()
    }
    return _measure(ops, results, "runs", WHOLE_BRAIN.scaled(scale), cases, end)


def loo(ops: ModuleType, results: Results, scale: float, precisions: Sequence[str], end: float) -> bool:
    """9,000 x 16,384 x 281,532, 11 penalties, leave-one-out, without weights and with weights in memory; as
    :func:`runs`."""
    shared = {"cv": "leave-one-out", "scoring": "r2"}
    cases = {
        f"weights {weights}, {precision}": {"precision": precision, "weights": weights, **shared}
        for precision in precisions
        for weights in ("none", "memory")
    }
    return _measure(ops, results, "loo", FRIENDS.scaled(scale), cases, end)


def _measure(
    ops: ModuleType, results: Results, part: str, shape: BrainShape, cases: dict[str, Any], end: float
) -> bool:
    """Every case that is missing, then the comparison of all."""
    missing = [name for name in cases if results.get(part, name) is None]
    if all("same_alpha" in (results.get(part, name) or {}) for name in cases):
        return True
    begin = time.perf_counter()
    brain = make_brain(ops, shape)
    results.put(part, "problem", {**vars(shape), "seconds_of_making": time.perf_counter() - begin})
    targets = sample(shape.n_targets)
    if missing:
        _warm_up(ops, shape, cases)
    for name in missing:
        expected = _model(shape, **cases[name]).plan(brain.x, brain.y, runs=shape.runs).seconds
        if time.monotonic() + _MARGIN * expected > end:
            print(f"{part}: {name}: no time left for {expected:.0f} s; the same command goes on", flush=True)
            continue
        row = attempt(results, part, name, partial(_case, ops, brain, targets, cases[name]))
        if row is not None:
            _say(part, name, row)
    if any(results.get(part, name) is None for name in cases):
        return False
    _compare(results, part, brain, targets, cases)
    return True


def _case(ops: ModuleType, brain: Brain, targets: NDArray[np.intp], options: dict[str, Any]) -> Row:
    shape = brain.shape
    row, model = timed_fits(lambda: _model(shape, **options), ops, brain.x, brain.y, runs=shape.runs)
    row["cv"] = options["cv"]
    row["folds"] = None if options["cv"] == "leave-one-out" else _bounds(model.folds_, shape)
    row["found"] = {
        "cv_scores": model.cv_scores_[:, targets].tolist(),
        "best_cv_scores": model.best_cv_scores_[targets].tolist(),
        "alpha": model.alpha_[targets].tolist(),
    }
    return row


def _model(shape: BrainShape, **options: Any) -> Any:
    from voxridge import EncodingRidge

    return EncodingRidge(alphas=shape.alphas, delays=shape.delays, device="cuda", progress=False, **options)


def _warm_up(ops: ModuleType, shape: BrainShape, cases: dict[str, Any]) -> None:
    """A small fit of every kind: libraries are loaded when they are first called."""
    small = BrainShape(240, 32, 64, shape.n_alphas, n_runs=6, delays=shape.delays)
    brain = make_brain(ops, small)
    for options in cases.values():
        timed_fits(partial(_model, small, **options), ops, brain.x, brain.y, runs=small.runs)


def _say(part: str, name: str, row: Row) -> None:
    print(
        f"{part}: {name}: {row['seconds']:.2f} s (planned {row['planned_seconds']:.2f} s), {row['route']}, "
        f"{row['device_bytes'] / 1e9:.1f} GB of the device "
        f"(planned {row['planned_device_bytes'] / 1e9:.1f}); {row['steps']}",
        flush=True,
    )


# --- the truth


def _bounds(folds: Any, shape: BrainShape) -> list[list[int]]:
    """First and last sample of every fold, which must be whole neighbouring runs without a gap beside
    them."""
    bounds, borders = [], {0, *np.cumsum(shape.runs).tolist()}
    for fold in folds:
        ((begin, end),) = fold.validation_ranges()
        if not {begin, end} <= borders or fold.n_train != shape.n_samples - (end - begin):
            raise RuntimeError(f"the fold of samples {begin} to {end} is not made of whole runs")
        bounds.append([int(begin), int(end)])
    return bounds


def _division(shape: BrainShape, bounds: list[list[int]] | None) -> Division:
    """The rows of every set that is left out; None: single samples."""
    rows = np.arange(shape.n_samples)
    return list(rows[:, None]) if bounds is None else [rows[begin:end] for begin, end in bounds]


def _compare(
    results: Results, part: str, brain: Brain, targets: NDArray[np.intp], cases: dict[str, Any]
) -> None:
    shape, begin = brain.shape, time.perf_counter()
    folds = {options["cv"]: results.get(part, name)["folds"] for name, options in cases.items()}
    cvs, sets = list(folds), [_division(shape, bounds) for bounds in folds.values()]
    scoring = next(iter(cases.values()))["scoring"]
    truth = Truth(brain, targets)
    scores = {cv: np.empty((shape.n_alphas, targets.size)) for cv in cvs}
    some = np.linspace(0, shape.n_alphas - 1, min(_REFITTED[1], shape.n_alphas)).astype(int)
    far = 0.0
    for place, alpha in enumerate(shape.alphas.tolist()):
        for cv, own, predicted in zip(cvs, sets, truth.left_out(alpha, sets), strict=True):
            scores[cv][place] = truth.scores(predicted, own, scoring)
            if place in some:
                far = max(far, _from_refits(truth, alpha, own, predicted))
    about = {
        "seconds": time.perf_counter() - begin,
        "where": truth.where,
        "largest_difference_from_refits": far,  # of predictions, in units of the responses (variance 1)
    }
    truth.clear()
    for name, options in cases.items():
        row = results.get(part, name)
        found = [np.asarray(row["found"][key]) for key in ("cv_scores", "best_cv_scores", "alpha")]
        row |= compare(scores[options["cv"]], shape.alphas, *found)
        results.put(part, name, row)
        agreed = f"same penalty {row['same_alpha']:.2%}, scores within {row['max_score_difference']:.1e}"
        print(f"{part}: {name}: {agreed}", flush=True)
    results.put(part, "truth", about)


def _from_refits(truth: Truth, alpha: float, sets: Division, predicted: Any) -> float:
    """The largest difference of predictions from those of fits without the set, for some sets."""
    n, far = truth.y.shape[0], 0.0
    for number in np.linspace(0, len(sets) - 1, min(_REFITTED[0], len(sets))).astype(int):
        rows = sets[number]
        train = np.delete(np.arange(n), rows)
        at = truth.torch.as_tensor(rows, device=truth.where)
        far = max(far, float((truth.refitted(alpha, train, rows) - predicted[at]).abs().max()))
    return far
