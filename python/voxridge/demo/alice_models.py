"""What the Alice study fits: controls, layers, shuffled words, and the chosen layer beside all controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.streams.atomic import atomic_path
from voxridge.study.config import FitConfig, ResponsesConfig, StudyConfig
from voxridge.study.engine import ModelRecipe, identity_key, score_folds
from voxridge.study.fold_plan import FoldPlan, plan_folds
from voxridge.study.inputs import Stimulus, layer_at_trs, make_alignment
from voxridge.study.nested import Block, FitSettings, FoldFit, Model, ModelScores, fit_fold, score_model
from voxridge.study.prepare import ScaledComponents, delayed, high_pass, zscore
from voxridge.study.progress import FitProgress
from voxridge.study.recipes import RATE, TIME_ALONE, Recipes

if TYPE_CHECKING:
    from voxridge.streams.stores import FeatureStore

Array = NDArray[Any]

SOUND = "sound power"
ALL_CONTROLS = "all controls"
ALONE = "language model alone"
BESIDE_RATE = "language model beside word rate"
JOINT = "language model beside all controls"


@dataclass(frozen=True)
class AliceModels:
    """Builds every model; ``sound``: the sound power at the rows, (n_rows,), or None."""

    store: FeatureStore
    stimulus: Stimulus
    sound: Array | None
    tr: float
    components: int
    delays: tuple[int, ...]

    @property
    def recipes(self) -> Recipes:
        """Those that a study file with these settings would have."""
        fit = FitConfig(self.delays, folds=5, components=self.components, beside_word_rate=True)
        return Recipes(
            StudyConfig("Alice", ResponsesConfig(self.tr), (), fit=fit), self.store, [self.stimulus]
        )

    def controls(self) -> list[ModelRecipe]:
        """Word rate first, time alone last."""
        *found, time = self.recipes.controls()
        if self.sound is not None:
            name = f"{RATE} + {SOUND}"
            found.append(ModelRecipe(name, None, lambda: Model(name, (self.rate, *self._sound()))))
        return [*found, time]

    def layers(self) -> list[ModelRecipe]:
        """Word rate beside each layer."""
        return self.recipes.layers(self.store)

    def shuffled(self) -> list[ModelRecipe]:
        """Word rate beside each layer with its word vectors in a random order."""
        order = np.random.default_rng(0).permutation(len(self.stimulus.words))

        def build(number: int, layer: str, name: str) -> Model:
            rows = layer_at_trs(self.store, layer, [self.stimulus], make_alignment(self.tr), order=order)
            return Model(name, (self.rate, Block(rows, self.components)), number)

        names = [f"{RATE} + layer {number}, words shuffled" for number in range(len(self.store.layers))]
        return [
            ModelRecipe(name, number, partial(build, number, layer, name))
            for number, (layer, name) in enumerate(zip(self.store.layers, names, strict=True))
        ]

    def all_controls(self) -> Model:
        """Word rate, what is known of words, sound power: a penalty for each of them."""
        blocks = [*self.recipes.all_controls(), *self._sound()]
        return Model(ALL_CONTROLS, tuple(blocks), bands=self._bands)

    def alone(self, position: int) -> Model:
        """One layer without anything beside it."""
        return Model(ALONE, (self.layer(position),))

    def beside_rate(self, position: int) -> Model:
        """One layer beside the word rate, a penalty for each."""
        return Model(BESIDE_RATE, (self.rate, self.layer(position)), bands=(1, 1))

    def joint(self, position: int) -> Model:
        """One layer beside all controls, with a penalty of its own."""
        blocks = (*self.all_controls().blocks, self.layer(position))
        return Model(JOINT, blocks, bands=(*self._bands, 1))

    def layer(self, position: int) -> Block:
        """Principal components of a layer at the rows."""
        return self.recipes.layer(self.store, self.store.layers[position])

    @property
    def rate(self) -> Block:
        """Words per row."""
        return Block((self.stimulus.rate(self.tr),))

    @property
    def _bands(self) -> tuple[int, ...]:
        n_words = len(self.recipes.all_controls()) - 1
        return (1, n_words, 1) if self.sound is not None else (1, n_words)

    def _sound(self) -> list[Block]:
        """The published regressor has a haemodynamic response in it already: it is moved one row ahead, so
        that the delays, which begin at one row, begin with the regressor itself."""
        if self.sound is None:
            return []
        ahead = np.append(self.sound[1:], self.sound[-1])
        return [Block((ahead[:, None].astype(np.float32),))]


@dataclass(frozen=True)
class Predicted:
    """Scores of all targets, and held-out predictions (n_rows, n_kept) of the first few."""

    scores: ModelScores
    prediction: Array


@dataclass(frozen=True)
class Fitter:
    """Fits with what they have in common; ``kept``: how many targets' predictions are kept."""

    responses: Sequence[Array]
    plan: FoldPlan
    settings: FitSettings
    folder: Path
    identity: dict[str, Any]
    kept: int
    progress: FitProgress

    def predicted(self, name: str, build: Callable[[int], Model], choice: NDArray[np.intp]) -> Predicted:
        """Fit ``build(choice[fold])`` in every fold; scores and predictions are kept in the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        described = {**self.identity, "choice": choice.tolist(), "iterations": self.settings.iterations}
        key = identity_key(described, self.responses, self.plan, self.settings)
        path = self.folder / f"prediction-{name.replace(' ', '-')}-{key[:16]}.npy"
        rows: list[Array] = []

        def fit(fold: int) -> FoldFit:
            model = build(int(choice[fold]))
            found = fit_fold(model, self.responses, self.plan, self.settings, fold)
            rows.append(found.prediction[:, : self.kept])
            return found

        scores = score_folds(name, fit, len(choice), folder=self.folder, key=key, progress=self.progress)
        if not rows and path.is_file():
            return Predicted(scores, np.load(path))
        if not rows:
            for fold in range(len(choice)):
                fit(fold)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(rows))
        return Predicted(scores, np.concatenate(rows))


def shuffled_fold_scores(
    blocks: Sequence[Block], responses: Sequence[Array], plan: FoldPlan, settings: FitSettings
) -> ModelScores:
    """Scores as published studies made them that cut single rows, in a random order, into folds.

    Rows are scored whose neighbours, two seconds away, were trained on. Never a result: the number only
    shows what contiguous chunks are for.
    """
    columns = [_whole(block, settings.delays) for block in blocks]
    rows = np.concatenate(columns, axis=1)
    filtered = [high_pass(rows[part.rows], settings.tr, settings.high_pass) for part in plan.parts]
    order = np.random.default_rng(0).permutation(len(rows))
    features = np.concatenate(filtered)[order]
    truth = np.concatenate(list(responses))[order]
    mixed = plan_folds(["rows in a random order"], [len(rows)], chunks=len(plan.parts), gap=0)
    plain = FitSettings(settings.alphas, (0,), settings.tr, selection=settings.selection)
    model = Model("shuffled folds", (Block((features,), scaling="common"),))
    return score_model(model, [zscore(truth[part.rows]) for part in mixed.parts], mixed, plain)


def _whole(block: Block, delays: tuple[int, ...]) -> Array:
    """A block scaled over the whole story, and delayed."""
    rows = np.asarray(block.runs[0], dtype=np.float32)
    if block.components is not None:
        rows = ScaledComponents(block.components).fit(rows).transform(rows)
    elif block.scaling == "column":
        rows = zscore(rows)
    return delayed(rows, delays)


__all__ = [
    "ALL_CONTROLS",
    "ALONE",
    "BESIDE_RATE",
    "JOINT",
    "RATE",
    "SOUND",
    "TIME_ALONE",
    "AliceModels",
    "Fitter",
    "Predicted",
    "shuffled_fold_scores",
]
