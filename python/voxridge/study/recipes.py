"""What a study fits: controls, layers, and a layer beside all controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from voxridge.features import oasm
from voxridge.streams.stores import ControlStore, FeatureStore, SoundStore
from voxridge.study.config import StudyConfig
from voxridge.study.engine import ModelRecipe
from voxridge.study.inputs import Stimulus, layer_at_trs, make_alignment
from voxridge.study.nested import Block, Model

TIME_ALONE = "autocorrelation alone"
RATE = "word rate"
_RANDOM = {"random vectors": "random-vectors", "random embeddings": "random-embeddings"}


@dataclass(frozen=True)
class Recipes:
    """Builds the models of one subject from the features at the rows that were recorded of him or her.

    ``store``: whose controls are fitted; all models of a study are set beside the same ones.
    """

    config: StudyConfig
    store: FeatureStore
    stimuli: Sequence[Stimulus]

    def controls(self) -> list[ModelRecipe]:
        """The word rate first; then what is known of words, of sound, of both; vectors drawn for words."""
        words = [Block(self._rate())]
        recipes = [self._recipe(RATE, lambda: words)]
        recipes.append(self._recipe(f"{RATE} + word controls", self._word_blocks))
        for name, layer in _RANDOM.items():
            recipes.append(self._recipe(f"{RATE} + {name}", partial(self._rate_and, layer)))
        if self._heard:
            recipes.append(self._recipe(f"{RATE} + sound", lambda: [*words, *self._sound()]))
            recipes.append(self._recipe(f"{RATE} + word controls + sound", self.all_controls))
        if self.config.fit.folds != "leave-one-run-out":
            recipes.append(ModelRecipe(TIME_ALONE, None, self._time_alone))
        return recipes

    @property
    def all_controls_name(self) -> str:
        """The name, among ``controls``, of the model that knows everything but the language model."""
        return f"{RATE} + word controls" + (" + sound" if self._heard else "")

    def all_controls(self) -> list[Block]:
        """Word rate, word controls and, where there is audio, the sound."""
        return [*self._word_blocks(), *(self._sound() if self._heard else [])]

    def control_provenance(self) -> list[dict[str, Any]]:
        """What the controls were made of: words and how unexpected the first model found them, sound."""
        kinds = [ControlStore, SoundStore] if self._heard else [ControlStore]
        return [kind.open(self.store.path).provenance for kind in kinds]

    def layers(self, store: FeatureStore) -> list[ModelRecipe]:
        """Each layer, beside the word rate where the study says so."""
        beside = self.config.fit.beside_word_rate
        prefix = f"{RATE} + " if beside else ""

        def recipe(layer: str) -> ModelRecipe:
            number = int(layer.rpartition("-")[2])
            name = f"{prefix}layer {number}"

            def build() -> Model:
                rate = (Block(self._rate()),) if beside else ()
                return Model(name, (*rate, self.layer(store, layer)), number)

            return ModelRecipe(name, number, build)

        return [recipe(layer) for layer in store.layers]

    def layer(self, store: FeatureStore, layer: str) -> Block:
        """One layer at the rows."""
        alignment = make_alignment(self.config.responses.tr, self.config.alignment)
        rows = layer_at_trs(store, layer, self.stimuli, alignment)
        return Block(rows, self.config.fit.components or None)

    @property
    def _heard(self) -> bool:
        return all(stimulus.audio is not None for stimulus in self.stimuli)

    def _rate(self) -> tuple[NDArray[Any], ...]:
        return tuple(stimulus.rate(self.config.responses.tr) for stimulus in self.stimuli)

    def _word(self, layer: str) -> Block:
        alignment = make_alignment(self.config.responses.tr, self.config.alignment)
        return Block(layer_at_trs(ControlStore.open(self.store.path), layer, self.stimuli, alignment))

    def _rate_and(self, layer: str) -> list[Block]:
        """Beside as many components as a layer gets: what it is set against."""
        vectors = dataclasses.replace(self._word(layer), components=self.config.fit.components or None)
        return [Block(self._rate()), vectors]

    def _word_blocks(self) -> list[Block]:
        names = ControlStore.open(self.store.path).layers
        scalars = [name for name in names if name != "word-rate" and not name.startswith("random-")]
        return [Block(self._rate()), *(self._word(name) for name in scalars)]

    def _sound(self) -> list[Block]:
        sound = SoundStore.open(self.store.path)
        alignment = make_alignment(self.config.responses.tr, self.config.alignment)
        return [Block(layer_at_trs(sound, name, self.stimuli, alignment)) for name in sound.layers]

    def _time_alone(self) -> Model:
        """Smoothed indicators of the rows: what left-out rows share with their neighbours, and no more."""
        lengths = [len(stimulus.times) for stimulus in self.stimuli]
        rows = oasm(lengths, self.config.controls.autocorrelation)
        return Model(TIME_ALONE, (Block(tuple(rows), scaling="common"),))

    @staticmethod
    def _recipe(name: str, blocks: Callable[[], list[Block]]) -> ModelRecipe:
        return ModelRecipe(name, None, lambda: Model(name, tuple(blocks())))
