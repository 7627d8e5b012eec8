"""All fits of one subject: the controls once, the layers of each model, each model beside the controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from voxridge.science.layers import choose_layers
from voxridge.study.config import StudyConfig
from voxridge.study.engine import ModelRecipe, identity_key, score_folds, score_models
from voxridge.study.extraction import ModelFeatures, words_digest
from voxridge.study.fold_plan import FoldPlan, plan_folds
from voxridge.study.inputs import Subject
from voxridge.study.nested import (
    Block,
    FitSettings,
    Model,
    ModelScores,
    fit_fold,
    prepare_responses,
)
from voxridge.study.prepare import delayed
from voxridge.study.progress import FitProgress
from voxridge.study.provenance import versions
from voxridge.study.recipes import Recipes

Array = NDArray[Any]


@dataclass(frozen=True)
class Joint:
    """All controls, the chosen layers (beside the word rate where the study puts them there), and both
    together, with penalties chosen by R2: one chosen by the correlation, which knows no scale, may predict
    with any amplitude, and its R2 means nothing."""

    controls: ModelScores
    alone: ModelScores
    both: ModelScores


@dataclass(frozen=True)
class SubjectFits:
    """What was fitted to one subject.

    ``prepared``: responses of each part, high-passed and z-scored; ``layers`` and ``joint`` by model.
    """

    subject: Subject
    plan: FoldPlan
    prepared: list[Array]
    controls: list[ModelScores]
    layers: dict[str, list[ModelScores]]
    joint: dict[str, Joint]


def study_plan(config: StudyConfig, subject: Subject) -> FoldPlan:
    """The folds of one subject's runs."""
    fit = config.fit
    return plan_folds(
        [stimulus.name for stimulus in subject.stimuli],
        [len(run) for run in subject.responses],
        chunks=None if fit.folds == "leave-one-run-out" else fit.folds,
        gap=fit.gap_rows,
    )


def require_words(plan: FoldPlan, subject: Subject, config: StudyConfig) -> None:
    """Refuse a part in which nothing can be predicted: no score there is no score of the mean over parts.

    Raises
    ------
    ValueError
        Naming a part that no word reaches, by any delay, in a run without audio.
    """
    for part in plan.parts:
        stimulus = subject.stimuli[part.run]
        heard = delayed(stimulus.rate(config.responses.tr), config.fit.delays)[part.rows]
        if stimulus.audio is None and not heard.any():
            where = f"run {stimulus.name!r}, rows {part.start} to {part.stop - 1}"
            raise ValueError(
                f"{subject.name}: there is no word in {where}, which would be left out together, so nothing "
                "can be predicted there: trim these rows (responses.trim), cut the run into fewer chunks "
                "(fit.folds), leave this run out, or look at the times of its words"
            )


def count_fits(config: StudyConfig, features: Sequence[ModelFeatures], n_parts: int, n_controls: int) -> int:
    """Fits of one subject whose runs make so many parts."""
    joint = 0 if config.analysis.joint == "off" else 1 + 2 * len(features)
    return n_parts * (n_controls + joint + sum(len(model.store.layers) for model in features))


@dataclass(frozen=True)
class SubjectWork:
    """One subject's folds, settings and features, and the folder where finished fits are kept."""

    config: StudyConfig
    subject: Subject
    features: Sequence[ModelFeatures]
    folder: Path
    progress: FitProgress

    def fit(self) -> SubjectFits:
        """Fit, or take from the folder, everything the study asks of this subject."""
        plan = study_plan(self.config, self.subject)
        require_words(plan, self.subject, self.config)
        responses = self.config.responses
        prepared = prepare_responses(
            self.subject.responses, plan, tr=responses.tr, cutoff=responses.high_pass
        )
        fits = SubjectFits(self.subject, plan, prepared, [], {}, {})
        self._say("controls")
        fits.controls.extend(self._scores(fits, self.recipes.controls(), "controls"))
        known = cache(self.recipes.all_controls)  # brought to the rows once, and only where a fit is missing
        controls = [] if self.config.analysis.joint == "off" else [self._controls_by_r2(fits, known)]
        for model in self.features:
            self._say(model.title)
            recipes = self.recipes.layers(model.store)
            fits.layers[model.title] = self._scores(fits, recipes, model.title, model)
            if controls:
                fits.joint[model.title] = self._joint(fits, model, controls[0], known)
        return fits

    @property
    def recipes(self) -> Recipes:
        return Recipes(self.config, self.features[0].store, self.subject.stimuli)

    @property
    def settings(self) -> FitSettings:
        fit, responses = self.config.fit, self.config.responses
        return FitSettings(
            fit.alphas,
            fit.delays,
            responses.tr,
            responses.high_pass,
            iterations=self.config.analysis.iterations,
            seed=self.config.analysis.seed,
        )

    def _say(self, what: str) -> None:
        several = len(self.config.subjects) > 1
        self.progress.where = f"{self.subject.name} · {what}" if several else what

    def _scores(
        self,
        fits: SubjectFits,
        recipes: list[ModelRecipe],
        name: str,
        model: ModelFeatures | None = None,
    ) -> list[ModelScores]:
        return score_models(
            recipes,
            fits.prepared,
            fits.plan,
            self.settings,
            folder=self.folder / name,
            identity=self.identity(model, controls=model is None),
            progress=self.progress,
            digest=self.subject.digest,
        )

    def key(
        self,
        fits: SubjectFits,
        model: ModelFeatures | None,
        described: dict[str, Any],
        *,
        controls: bool = False,
    ) -> str:
        """Of something else that is made of one model's features, or none, and the subject's responses."""
        identity = {**self.identity(model, controls=controls), **described}
        return identity_key(identity, fits.prepared, fits.plan, self.settings, self.subject.digest)

    def identity(self, model: ModelFeatures | None, *, controls: bool) -> dict[str, Any]:
        """All that decides a fit beside responses, folds and penalties; ``controls``: whether it has controls
        beside the word rate, which depend on the first model."""
        config = self.config
        identity = {
            "rows": {stimulus.name: stimulus.times.tolist() for stimulus in self.subject.stimuli},
            "words": {stimulus.name: words_digest(stimulus.words) for stimulus in self.subject.stimuli},
            "alignment": dataclasses.asdict(config.alignment),
            "components": config.fit.components,
            "beside": config.fit.beside_word_rate,
            "versions": versions(),
        }
        if controls:
            identity["controls"] = [*self.recipes.control_provenance(), config.controls.autocorrelation]
        if model is not None:  # more layers of a model do not change those that are there
            described = model.store.provenance
            identity["features"] = {name: described[name] for name in described if name != "layers"}
        return identity

    def builder(self, model: ModelFeatures) -> Callable[[int], Model]:
        """Builds a layer of a model by its position; folds in a row that chose the same share one."""
        recipes = self.recipes.layers(model.store)
        return lru_cache(maxsize=1)(lambda position: recipes[position].build())

    def _controls_by_r2(self, fits: SubjectFits, known: Callable[[], list[Block]]) -> ModelScores:
        name = f"{self.recipes.all_controls_name} (by R2)"
        return self._by_r2(fits, name, lambda fold: Model(name, tuple(known())), None, {})

    def _joint(
        self,
        fits: SubjectFits,
        model: ModelFeatures,
        controls: ModelScores,
        known: Callable[[], list[Block]],
    ) -> Joint:
        """The layer chosen in each fold, alone and beside all controls, with penalties of their own or a
        common one."""
        choice = choose_layers(fits.layers[model.title])
        analysis = self.config.analysis
        name = f"{self.recipes.all_controls_name} + {model.title}"

        built = self.builder(model)

        def alone(fold: int) -> Model:
            return built(int(choice[fold]))

        def both(fold: int) -> Model:
            bands = (len(known()), 1) if analysis.joint == "banded" else ()
            return Model(name, (*known(), alone(fold).blocks[-1]), bands=bands)

        described: dict[str, Any] = {"choice": choice.tolist()}
        drawn = {"joint": analysis.joint, "seed": analysis.seed}
        if analysis.joint == "banded":
            drawn["iterations"] = analysis.iterations
        return Joint(
            controls,
            self._by_r2(fits, f"{model.title} (by R2)", alone, model, described),
            self._by_r2(fits, name, both, model, {**described, **drawn}),
        )

    def _by_r2(
        self,
        fits: SubjectFits,
        name: str,
        build: Callable[[int], Model],
        model: ModelFeatures | None,
        described: dict[str, Any],
    ) -> ModelScores:
        """Scores of a model whose penalties are chosen by R2, another one in each fold perhaps."""
        settings = dataclasses.replace(self.settings, scoring="r2")
        return score_folds(
            name,
            lambda fold: fit_fold(build(fold), fits.prepared, fits.plan, settings, fold),
            len(fits.plan.parts),
            folder=self.folder / ("controls" if model is None else model.title),
            key=self.key(fits, model, {**described, "scoring": "r2"}, controls=True),
            progress=self.progress,
        )
