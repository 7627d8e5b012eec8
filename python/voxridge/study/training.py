"""Scores against the amount of training data: the chosen layers fitted again to fewer runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.science.layers import choose_layers
from voxridge.science.training_size import score_by_training_size
from voxridge.study.extraction import ModelFeatures
from voxridge.study.kept import keep, kept
from voxridge.study.nested import Model, fold_data
from voxridge.study.pairs import SubjectFits, SubjectWork

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingSizes:
    """Of one subject and model: ``sizes`` in runs; ``samples`` (n_folds, n_sizes): rows trained on;
    ``scores`` (n_sizes, n_folds, n_targets) on the run left out."""

    sizes: tuple[int, ...]
    samples: NDArray[np.int64]
    scores: Float64


def count_sizes(sizes: Sequence[int], n_models: int, n_parts: int) -> int:
    """Fits that `training_sizes` makes of one subject with so many models and parts."""
    return n_models * n_parts * len(_reachable(sizes, n_parts))


def training_sizes(work: SubjectWork, fits: SubjectFits) -> dict[str, TrainingSizes]:
    """Each fold's layer, chosen on all its training runs, fitted to nested subsets of them; by model.

    The order in which runs join differs from fold to fold and is the same for all models. Every fold is kept
    in the folder of finished fits.
    """
    sizes = _reachable(work.config.analysis.training_sizes, len(fits.plan.parts))
    return {model.title: _of_model(work, fits, model, sizes) for model in work.features} if sizes else {}


def _reachable(sizes: Sequence[int], n_parts: int) -> tuple[int, ...]:
    """A subject with a run less has no fit to all of them."""
    return tuple(size for size in sizes if size < n_parts)


def _of_model(
    work: SubjectWork, fits: SubjectFits, model: ModelFeatures, sizes: tuple[int, ...]
) -> TrainingSizes:
    choice = choose_layers(fits.layers[model.title])
    described = {"sizes": list(sizes), "choice": choice.tolist(), "seed": work.config.analysis.seed}
    key = work.key(fits, model, described)[:16]
    work.progress.where = f"{work.subject.name} · training sizes"
    scores, samples = [], []
    built = work.builder(model)
    for fold in range(len(fits.plan.parts)):
        path = work.folder / model.title / f"training-sizes-{fold}-{key}.npz"
        found = kept(path, ("samples", "scores"))
        if found is None:
            work.progress.begin(model.title)
            found = _of_fold(work, fits, built(int(choice[fold])), fold, sizes)
            keep(path, found)
            for _ in sizes:
                work.progress.step()
        else:
            work.progress.skip(len(sizes))
        samples.append(found["samples"])
        scores.append(found["scores"])
    return TrainingSizes(sizes, np.stack(samples), np.stack(scores, axis=1))


def _of_fold(
    work: SubjectWork,
    fits: SubjectFits,
    layer: Model,
    fold: int,
    sizes: tuple[int, ...],
) -> dict[str, NDArray[Any]]:
    """Rows (n_sizes,) as "samples", and "scores" (n_sizes, n_targets)."""
    data = fold_data(layer, fits.prepared, fits.plan, work.settings, fold)
    found = score_by_training_size(
        [*data.features, data.held_out],
        [*data.targets, data.truth],
        sizes,
        test=[len(data.features)],
        n_draws=1,
        seed=work.config.analysis.seed + fold,
        settings={"delays": data.delays, "alphas": work.settings.alphas, "scoring": work.settings.scoring},
    )
    return {"samples": found.samples[0], "scores": found.scores[0]}
