"""Held-out predictions of the layer chosen in each fold, and convex combinations of several models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.science.layers import choose_layers
from voxridge.science.stacking import StackedResult, StackingFold, stacked_scores
from voxridge.study.engine import identity_key
from voxridge.study.extraction import ModelFeatures
from voxridge.study.kept import keep, kept
from voxridge.study.nested import FoldData, fold_data
from voxridge.study.out_of_fold import held_out_prediction, inner_prediction, training_responses
from voxridge.study.pairs import SubjectFits, SubjectWork

Array = NDArray[Any]
_STACK = [entry.name for entry in dataclasses.fields(StackedResult) if entry.name not in ("names", "metric")]


@dataclass(frozen=True)
class Combined:
    """Of one subject: ``predictions``: by model, the held-out prediction of every row, parts in order, by the
    layer chosen in its fold; ``stack``: of all models, None for a single one."""

    predictions: dict[str, Array]
    stack: StackedResult | None


def count_predictions(features: Sequence[ModelFeatures], n_parts: int) -> int:
    """Fits that `combine` makes of one subject."""
    return n_parts * len(features)


def combine(work: SubjectWork, fits: SubjectFits) -> Combined:
    """Predict every part by the layers that were chosen without it; kept in the folder of finished fits."""
    stacked = work.config.analysis.stack and len(work.features) > 1
    choices = {model.title: choose_layers(fits.layers[model.title]) for model in work.features}
    identity = {
        "choices": {title: choice.tolist() for title, choice in choices.items()},
        "models": [work.identity(model, controls=False) for model in work.features],
        "stack": stacked and ("by R2" if fits.joint else "by correlation"),
    }
    key = identity_key(identity, fits.prepared, fits.plan, work.settings, work.subject.digest)
    path = work.folder / f"combined-{key[:16]}.npz"
    done = _load(path, [model.title for model in work.features])
    if done is not None:
        work.progress.skip(count_predictions(work.features, len(fits.plan.parts)))
        return done
    work.progress.where = f"{work.subject.name} · predictions"
    folds = _Folds(work, fits, choices)
    stack = None
    if stacked:
        stack = stacked_scores(folds.stacking(), metric="correlation")
    else:
        folds.predict_all()
    predictions = {title: np.concatenate(parts) for title, parts in folds.predictions.items()}
    combined = Combined(predictions, stack)
    _save(path, combined)
    return combined


class _Folds:
    """One outer fold after the other, each of all models."""

    def __init__(self, work: SubjectWork, fits: SubjectFits, choices: dict[str, NDArray[np.intp]]) -> None:
        self._work, self._fits, self._choices = work, fits, choices
        self._builders = {model.title: work.builder(model) for model in work.features}
        self.predictions: dict[str, list[Array]] = {model.title: [] for model in work.features}

    def stacking(self) -> Iterator[StackingFold]:
        for fold in range(len(self._fits.plan.parts)):
            inner, held_out, data = {}, {}, None
            for model in self._work.features:
                data, alphas = self._data(model, fold)
                self._predict(model, data, alphas)
                # Weights are of squared errors, so the predictions need the right amplitude.
                scaled = self._by_r2(model.title, fold, alphas)
                inner[model.title] = inner_prediction(data, scaled)
                held_out[model.title] = held_out_prediction(data, scaled)
            assert data is not None
            yield StackingFold(training_responses(data), inner, data.truth, held_out)

    def predict_all(self) -> None:
        for fold in range(len(self._fits.plan.parts)):
            for model in self._work.features:
                data, alphas = self._data(model, fold)
                self._predict(model, data, alphas)

    def _by_r2(self, title: str, fold: int, alphas: Array) -> Array:
        """Penalties of the chosen layer by R2; those by the correlation where no joint fit asked for them."""
        joint = self._fits.joint.get(title)
        return alphas if joint is None else joint.alone.alphas[fold]

    def _predict(self, model: ModelFeatures, data: FoldData, alphas: Array) -> None:
        self.predictions[model.title].append(held_out_prediction(data, alphas))
        self._work.progress.step()

    def _data(self, model: ModelFeatures, fold: int) -> tuple[FoldData, Array]:
        """The fold of the layer that was chosen in it, and the penalties it got there."""
        position = int(self._choices[model.title][fold])
        self._work.progress.begin(model.title)
        fits, built = self._fits, self._builders[model.title](position)
        data = fold_data(built, fits.prepared, fits.plan, self._work.settings, fold)
        return data, fits.layers[model.title][position].alphas[fold]


def _save(path: Path, combined: Combined) -> None:
    arrays = {f"prediction {title}": rows for title, rows in combined.predictions.items()}
    if combined.stack is not None:
        arrays |= {name: getattr(combined.stack, name) for name in _STACK}
    keep(path, arrays)


def _load(path: Path, titles: list[str]) -> Combined | None:
    found = kept(path, [f"prediction {title}" for title in titles])
    if found is None:
        return None
    stack = None
    if "fold_weights" in found:
        stack = StackedResult(tuple(titles), "correlation", **{name: found[name] for name in _STACK})
    return Combined({title: found[f"prediction {title}"] for title in titles}, stack)
