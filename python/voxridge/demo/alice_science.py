"""What the fits to Alice say: gains beside controls, ceilings, layers, sides, and what folds are for."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.alice_models import (
    ALL_CONTROLS,
    ALONE,
    BESIDE_RATE,
    JOINT,
    RATE,
    TIME_ALONE,
    AliceModels,
    Fitter,
    Predicted,
    shuffled_fold_scores,
)
from voxridge.science.accounted import SubjectOmega, omega, subject_omega
from voxridge.science.asymmetry import Lateralisation, lateralisation
from voxridge.science.bootstrap import Interval, block_bootstrap
from voxridge.science.ceilings import Ceiling, NormalisedScores
from voxridge.science.comparison import ModelComparison, compare_models
from voxridge.science.conditions import Conditions, Scores
from voxridge.science.depths import PeakDepth, peak_depth
from voxridge.science.hemispheres import hemispheres_from_names
from voxridge.science.intersubject import leave_one_out_isc, split_half_isc
from voxridge.science.layers import MaxOnTest, max_on_test
from voxridge.science.permutation import PermutationTest, permutation_test
from voxridge.science.subjects import SubjectTest, subject_test
from voxridge.science.variance import unique_variance
from voxridge.study.fold_plan import FoldPlan, plan_folds
from voxridge.study.nested import Model, ModelScores, score_model
from voxridge.study.results import StudyResult

Array = NDArray[Any]
Float64 = NDArray[np.float64]
FAR_GAP = 15


@dataclass(frozen=True)
class Shape:
    """The columns of all scores: first those of the group mean, then those of each listener."""

    n_listeners: int
    regions: tuple[str, ...]

    @property
    def n_regions(self) -> int:
        return len(self.regions)

    def group(self, values: Array) -> Float64:
        """Of the group mean: the first columns."""
        columns: Float64 = np.asarray(values[..., : self.n_regions], dtype=np.float64)
        return columns

    def listeners(self, values: Array) -> Float64:
        """Means over folds of (n_folds, n_targets) as (n_listeners, n_regions)."""
        rows: Float64 = np.asarray(values, dtype=np.float64).mean(axis=0)[self.n_regions :]
        return np.asarray(rows.reshape(self.n_listeners, self.n_regions))


@dataclass(frozen=True)
class Beside:
    """The language model beside all controls, all fitted for R2.

    ``scores``, ``group_r``: by model, fits of all targets and the group mean's correlation with its interval
    over blocks of the story; ``unique``: R2 beside the controls minus that of the controls, (n_listeners,
    n_regions), and of the group mean; ``regions``, ``mean``: tests of ``unique`` over listeners;
    ``over_rate``, ``joint_over_rate``: the same of R2 beside the word rate, and beside all controls, minus
    that of the word rate alone; ``omega`` of listeners and ``group_omega``; ``tests`` of the group mean's
    predictions; ``gain``: of the group mean.
    """

    scores: dict[str, ModelScores]
    group_r: dict[str, Interval]
    unique: Float64
    group_unique: Float64
    regions: SubjectTest
    mean: SubjectTest
    over_rate: SubjectTest
    joint_over_rate: SubjectTest
    omega: SubjectOmega
    group_omega: float
    tests: dict[str, PermutationTest]
    gain: ModelComparison


@dataclass(frozen=True)
class Ceilings:
    """``listener``: what the mean of the others says of one listener, ``group``: of the mean over all;
    ``normalised`` and ``group_normalised``: by model, means over listeners and the group mean, over them."""

    listener: Ceiling
    group: Ceiling
    normalised: dict[str, NormalisedScores]
    group_normalised: dict[str, NormalisedScores]


@dataclass(frozen=True)
class Layers:
    """``optimism`` of picking a region's layer on the chunks it is scored on (group mean); ``peak`` over
    listeners; ``curve``: (n_layers, n_listeners) means over regions."""

    optimism: MaxOnTest
    peak: PeakDepth
    curve: Float64


@dataclass(frozen=True)
class Sides:
    """Left against right, by model, and the test of the difference over listeners; ``places`` of the regions
    of each pair, left and right."""

    pairs: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    results: dict[str, Lateralisation]
    tests: dict[str, SubjectTest]


@dataclass(frozen=True)
class AliceScience:
    """Everything beyond the scores of layers; ``controls`` of all targets; ``over_rate``: tests over
    listeners of what each control adds to the word rate; ``folds``: by model, scores (group mean, single
    listeners) by kind of folds; ``notes``: what was warned of."""

    shape: Shape
    controls: list[ModelScores]
    over_rate: dict[str, SubjectTest]
    beside: Beside
    ceilings: Ceilings
    layers: Layers
    sides: Sides
    folds: dict[str, dict[str, tuple[float, float]]]
    notes: list[str]


def fit_beside(models: AliceModels, fitter: Fitter, choice: NDArray[np.intp]) -> dict[str, Predicted]:
    """Word rate, all controls, the chosen layer alone and beside all controls.

    Penalties are chosen by R2: a correlation does not ask whether a prediction is too large, so that an R2 of
    penalties chosen by it may be far too low, most of all with many columns and a single listener.
    """
    r2 = dataclasses.replace(fitter, settings=dataclasses.replace(fitter.settings, scoring="r2"))
    every = np.zeros_like(choice)
    return {
        RATE: r2.predicted(RATE, lambda _: Model(RATE, (models.rate,)), every),
        ALL_CONTROLS: r2.predicted(ALL_CONTROLS, lambda _: models.all_controls(), every),
        ALONE: r2.predicted(ALONE, models.alone, choice),
        BESIDE_RATE: r2.predicted(BESIDE_RATE, models.beside_rate, choice),
        JOINT: r2.predicted(JOINT, models.joint, choice),
    }


def analyse(
    result: StudyResult,
    controls: Sequence[ModelScores],
    beside: Mapping[str, Predicted],
    fitter: Fitter,
    shape: Shape,
    folds: dict[str, dict[str, tuple[float, float]]],
) -> AliceScience:
    """All statistics; warnings are kept as notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lengths = [len(part) for part in fitter.responses]
        rows = np.concatenate(list(fitter.responses))
        found = AliceScience(
            shape,
            list(controls),
            _over_rate(controls, shape),
            beside_results(beside, shape, shape.group(rows), lengths),
            ceilings(beside, shape, rows, fitter.plan),
            _layers(result, shape),
            _sides(beside, shape),
            folds,
            [],
        )
    found.notes.extend(dict.fromkeys(f"{each.category.__name__}: {each.message}" for each in caught))
    return found


def _over_rate(controls: Sequence[ModelScores], shape: Shape) -> dict[str, SubjectTest]:
    """Each listener's mean over regions minus that of the word rate; p-values for the family of controls."""
    first, *others = (shape.listeners(model.scores).mean(axis=1) for model in controls)
    test = subject_test(np.stack([each - first for each in others], axis=1))
    return {model.name: _one(test, i) for i, model in enumerate(controls[1:])}


def _one(test: SubjectTest, position: int) -> SubjectTest:
    """One of the values of a test."""
    arrays = {
        entry.name: getattr(test, entry.name)[position]
        for entry in dataclasses.fields(test)
        if isinstance(getattr(test, entry.name), np.ndarray)
    }
    return dataclasses.replace(test, **arrays)


def beside_results(fits: Mapping[str, Predicted], shape: Shape, truth: Float64, lengths: list[int]) -> Beside:
    scores = {name: fit.scores for name, fit in fits.items()}
    gain = np.asarray(unique_variance(scores[JOINT].r2, scores[ALL_CONTROLS].r2))
    unique = shape.listeners(gain)
    over_rate, joint_over_rate = (
        subject_test(shape.listeners(scores[name].r2 - scores[RATE].r2).mean(axis=1))
        for name in (BESIDE_RATE, JOINT)
    )
    by_listener = [shape.listeners(scores[name].r2) for name in (ALONE, JOINT, ALL_CONTROLS)]
    group = [np.mean(shape.group(scores[name].r2)) for name in (ALONE, JOINT, ALL_CONTROLS)]
    predictions = {name: fit.prediction for name, fit in fits.items()}
    return Beside(
        scores,
        {
            name: block_bootstrap(truth, rows, lengths, statistic="mean r").targets
            for name, rows in predictions.items()
        },
        unique,
        shape.group(gain).mean(axis=0),
        subject_test(unique),
        subject_test(unique.mean(axis=1)),
        over_rate,
        joint_over_rate,
        subject_omega(*(list(each) for each in by_listener)),
        float(omega(*group)),
        {
            name: permutation_test(truth, rows, lengths, cross_validated=True, statistic="mean r")
            for name, rows in predictions.items()
        },
        compare_models(truth, predictions[JOINT], predictions[ALL_CONTROLS], lengths, statistic="R2"),
    )


def conditions(plan: FoldPlan, repeats: int) -> Conditions:
    """How scores of the responses of one listener, or of the mean over several, were made."""
    return Conditions(
        f"{len(plan.parts)} contiguous chunks, gap {plan.gap}",
        tuple(part.name for part in plan.parts),
        repeats=repeats,
        n_samples=sum(part.stop - part.start for part in plan.parts),
        combine="mean of folds",
    )


def ceilings(fits: Mapping[str, Predicted], shape: Shape, rows: Array, plan: FoldPlan) -> Ceilings:
    single = rows[:, shape.n_regions :].reshape(len(rows), shape.n_listeners, shape.n_regions)
    subjects = np.ascontiguousarray(single.swapaxes(0, 1))
    lengths = [part.stop - part.start for part in plan.parts]
    alone, mean = conditions(plan, 1), conditions(plan, shape.n_listeners)
    listener = leave_one_out_isc(list(subjects), lengths, combine="mean of runs").ceiling(alone)
    group = split_half_isc(list(subjects), lengths, combine="mean of runs", n_splits=50).ceiling(mean)
    normalised, group_normalised = {}, {}
    for name, fit in fits.items():
        scores = fit.scores.scores
        over = Scores(shape.listeners(scores).mean(axis=0), "r", alone)
        normalised[name] = listener.normalise(over)
        group_normalised[name] = group.normalise(Scores(shape.group(scores).mean(axis=0), "r", mean))
    return Ceilings(listener, group, normalised, group_normalised)


def _layers(result: StudyResult, shape: Shape) -> Layers:
    group = np.stack([shape.group(layer.scores) for layer in result.layers])
    curve = np.stack([shape.listeners(layer.scores).mean(axis=1) for layer in result.layers])
    return Layers(max_on_test(group), peak_depth(curve), curve)


def _sides(fits: Mapping[str, Predicted], shape: Shape) -> Sides:
    pairs = hemispheres_from_names(shape.regions)
    values = {name: shape.listeners(fit.scores.scores) for name, fit in fits.items()}
    found = {name: lateralisation(each, pairs, over="subjects") for name, each in values.items()}
    tests = {name: subject_test(each.difference[:, 0]) for name, each in found.items()}
    places = tuple((int(a), int(b)) for a, b in zip(pairs.left, pairs.right, strict=True))
    names = tuple(f"{shape.regions[a]} and {shape.regions[b]}" for a, b in places)
    return Sides(names, places, found, tests)


def fold_table(
    models: AliceModels, fitter: Fitter, choice: NDArray[np.intp], shape: Shape
) -> dict[str, dict[str, tuple[float, float]]]:
    """Autocorrelation alone, word rate, and the layer chosen most often, with three kinds of folds."""
    position = int(np.bincount(choice).argmax())
    time = next(recipe for recipe in models.controls() if recipe.name == TIME_ALONE).build()
    built = {
        TIME_ALONE: time,
        RATE: Model(RATE, (models.rate,)),
        f"{RATE} + layer {position}": Model("layer", (models.rate, models.layer(position))),
    }
    plan = fitter.plan
    room = (min(part.stop - part.start for part in plan.parts) - 10) // 2
    far = plan_folds(["alice"], [plan.parts[-1].stop], chunks=len(plan.parts), gap=min(FAR_GAP, room))
    table = {}
    for name, model in built.items():
        scores = {
            f"gap of {plan.gap} rows": score_model(model, fitter.responses, plan, fitter.settings),
            f"gap of {far.gap} rows": score_model(model, fitter.responses, far, fitter.settings),
            "rows shuffled": shuffled_fold_scores(model.blocks, fitter.responses, plan, fitter.settings),
        }
        table[name] = {
            kind: (float(shape.group(each.scores).mean()), float(shape.listeners(each.scores).mean()))
            for kind, each in scores.items()
        }
    return table
