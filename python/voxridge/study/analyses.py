"""What a study makes of the fits of one subject: maps of p-values, unique variance, ceilings and layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.science.accounted import subject_omega
from voxridge.science.ceilings import Ceiling, NormalisedScores
from voxridge.science.conditions import Conditions, Scores
from voxridge.science.depths import preferred_layer
from voxridge.science.multiple import fdr
from voxridge.science.permutation import PermutationTest, permutation_test
from voxridge.science.repeat_ceilings import repeat_ceiling
from voxridge.science.variance import unique_variance
from voxridge.study.combine import Combined
from voxridge.study.config import StudyConfig
from voxridge.study.fold_plan import FoldPlan
from voxridge.study.inputs import Subject
from voxridge.study.nested import ModelScores
from voxridge.study.pairs import Joint, SubjectFits
from voxridge.study.prepare import high_pass
from voxridge.study.results import StudyResult

Array = NDArray[Any]
Float64 = NDArray[np.float64]
SPLIT = "leave-one-run-out"


@dataclass(frozen=True)
class BesideControls:
    """``scores`` of the chosen layers beside all controls; ``unique``: R2 of that minus R2 of the controls,
    (n_folds, n_targets); ``omega``: how much of the subject's mean R2 of the model the controls account for,
    in percent, NaN where the model has none."""

    scores: ModelScores
    unique: Float64
    omega: float


@dataclass
class PairAnalysis:
    """Of one subject and model; ``normalised``: scores over ceilings, by run with repeats."""

    beside: BesideControls | None = None
    test: PermutationTest | None = None
    normalised: dict[str, NormalisedScores] = field(default_factory=dict)


def conditions(
    config: StudyConfig, plan: FoldPlan, runs: Sequence[str] = (), *, repeats: int = 1
) -> Conditions:
    """How the scores of a study were made, over all its runs or some; of responses that are the mean of so
    many repeats."""
    split = f"{len(plan.parts)} contiguous chunks, gap {plan.gap}" if plan.inside_runs else SPLIT
    chosen = [part for part in plan.parts if not runs or part.name in runs]
    return Conditions(
        split,
        tuple(part.name for part in chosen),
        config.responses.trim,
        repeats=repeats,
        n_samples=sum(part.stop - part.start for part in chosen),
        combine="concatenated" if len(chosen) == 1 else "mean of folds",
    )


def analyse_pair(
    config: StudyConfig,
    fits: SubjectFits,
    combined: Combined,
    title: str,
    result: StudyResult,
) -> PairAnalysis:
    """All statistics of one subject and model; what is a map is put among the result's maps too."""
    analysis = PairAnalysis()
    maps = result.maps
    layers = np.stack([model.scores for model in result.layers])
    if min(layers.shape[:2]) > 1:
        maps["preferred layer"] = preferred_layer(layers).layer
    if title in fits.joint:
        analysis.beside = beside_controls(fits.joint[title])
        maps["r with controls"] = analysis.beside.scores.mean_scores
        maps["R2 controls"] = fits.joint[title].controls.r2.mean(axis=0)
        maps["unique R2"] = analysis.beside.unique.mean(axis=0)
    if config.analysis.permutations > 0:
        analysis.test = _test(config, fits, combined.predictions[title])
        found = fdr(analysis.test.p_values, config.analysis.rate)
        maps["p"], maps["q"] = analysis.test.p_values, found.q_values
        maps["p family"] = analysis.test.p_family
        maps["detected"] = found.detected
    return analysis


def beside_controls(joint: Joint) -> BesideControls:
    """What a model adds to the controls."""
    means = [[scores.r2.mean(axis=0)] for scores in (joint.alone, joint.both, joint.controls)]
    accounted = float(subject_omega(*means).values[0])
    unique = np.asarray(unique_variance(joint.both.r2, joint.controls.r2))
    return BesideControls(joint.both, unique, accounted)


def _test(config: StudyConfig, fits: SubjectFits, prediction: Array) -> PermutationTest:
    """Held-out predictions against responses whose blocks are permuted within each part."""
    settings = config.analysis
    return permutation_test(
        np.concatenate(fits.prepared),
        prediction,
        [part.stop - part.start for part in fits.plan.parts],
        cross_validated=True,
        block=None if settings.block == "auto" else settings.block,
        longest_delay=max(1, *(abs(delay) for delay in config.fit.delays)),
        statistic="mean r",
        n_permutations=settings.permutations,
        seed=settings.seed,
    )


def repeat_ceilings(config: StudyConfig, fits: SubjectFits) -> dict[str, Ceiling]:
    """Ceiling of every run of which single presentations are kept, prepared as its responses were."""
    if fits.plan.inside_runs:
        return {}
    ceilings = {}
    for run, repeats in fits.subject.repeats.items():
        made = conditions(config, fits.plan, [run], repeats=len(repeats))
        rows = _repeat_rows(config, fits.subject, repeats)
        ceilings[run] = repeat_ceiling(rows, made, seed=config.analysis.seed, block=_block(made))
    return ceilings


def _block(made: Conditions) -> int:
    """Rows of a block of the ceiling's interval: at least five blocks."""
    return max(1, min(20, (made.n_samples or 100) // 5))


def _repeat_rows(config: StudyConfig, subject: Subject, repeats: Sequence[Any]) -> list[Array]:
    responses = config.responses
    start, stop = responses.trim
    rows = []
    for repeat in repeats:
        data = np.asarray(repeat.read())
        data = data[start : len(data) - stop][:, subject.usable]
        rows.append(high_pass(data, responses.tr, responses.high_pass))
    return rows


def normalise(
    config: StudyConfig, fits: SubjectFits, result: StudyResult, ceilings: dict[str, Ceiling]
) -> dict[str, NormalisedScores]:
    """The chosen layers' scores on each run with a ceiling, divided by it."""
    normalised = {}
    for run, ceiling in ceilings.items():
        fold = [part.name for part in fits.plan.parts].index(run)
        made = conditions(config, fits.plan, [run], repeats=len(fits.subject.repeats[run]))
        normalised[run] = ceiling.normalise(Scores(result.chosen[fold], "r", made))
        result.maps[f"ceiling {run}"] = ceiling.values
        result.maps[f"normalised r {run}"] = normalised[run].values
    return normalised
