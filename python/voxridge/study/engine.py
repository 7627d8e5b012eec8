"""Scores a list of models one after the other; finished ones are kept on disk, so an interrupted study
goes on."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.study.fold_plan import FoldPlan
from voxridge.study.kept import keep, kept
from voxridge.study.nested import FitSettings, FoldFit, Model, ModelScores, collect, fit_fold, score_model
from voxridge.study.progress import FitProgress, fit_progress
from voxridge.study.provenance import array_digest
from voxridge.study.results import CHOSEN

Array = NDArray[Any]
_ARRAYS = ("scores", "inner", "alphas", "r2", "inner_mean")


@dataclass(frozen=True)
class ModelRecipe:
    """A model by name, built only when it is its turn (a layer is read from disk then)."""

    name: str
    layer: int | None
    build: Callable[[], Model]


def score_models(
    recipes: Sequence[ModelRecipe],
    responses: Sequence[Array],
    plan: FoldPlan,
    settings: FitSettings,
    *,
    folder: Path,
    identity: dict[str, Any],
    progress: bool | FitProgress = True,
    digest: str = "",
) -> list[ModelScores]:
    """Nested scores of every model.

    Parameters
    ----------
    recipes : list of ModelRecipe
    responses, plan, settings
        See :func:`voxridge.study.nested.score_model`.
    folder : Path
        Where finished models are kept (made if needed).
    identity : dict
        Whatever decides the result (hashes of the inputs, settings): a kept model is used again only when
        this is the same.
    progress : bool or FitProgress
        Show fits done and time left on standard error; or the display of a larger whole that counts them.
    digest : str
        Of the responses, where it is known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = identity_key(identity, responses, plan, settings, digest)
    results = []
    with fit_progress(progress, len(recipes) * len(plan.parts)) as bar:
        for recipe in recipes:
            scores = _load(folder, recipe.name, recipe.layer, key)
            if scores is None:
                bar.begin(recipe.name)
                scores = score_model(recipe.build(), responses, plan, settings, after_fold=bar.step)
                _save(folder, scores, key)
            else:
                bar.skip(len(plan.parts))
            results.append(scores)
    return results


def score_folds(
    name: str,
    fit: Callable[[int], FoldFit],
    n_folds: int,
    *,
    folder: Path,
    key: str,
    progress: FitProgress,
) -> ModelScores:
    """Scores of a model that is another one in each fold, kept as those of `score_models` are."""
    done = _load(folder, name, None, key)
    if done is not None:
        progress.skip(n_folds)
        return done
    progress.begin(name)
    start, fits = time.perf_counter(), []
    for fold in range(n_folds):
        fits.append(fit(fold))
        progress.step()
    scores = collect(name, None, fits, time.perf_counter() - start)
    _save(folder, scores, key)
    return scores


def _slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def score_chosen(
    recipes: Sequence[ModelRecipe],
    choice: NDArray[np.intp],
    responses: Sequence[Array],
    plan: FoldPlan,
    settings: FitSettings,
    *,
    folder: Path,
    identity: dict[str, Any],
    progress: bool | FitProgress = True,
) -> ModelScores:
    """Scores of the model chosen in each fold, for targets that the choice was not made on.

    ``choice``: position in ``recipes`` for each outer fold, from
    :func:`voxridge.science.layers.choose_layers`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = identity_key({**identity, "choice": choice.tolist()}, responses, plan, settings)
    built = lru_cache(maxsize=1)(lambda position: recipes[position].build())
    with fit_progress(progress, len(choice)) as bar:
        return score_folds(
            CHOSEN,
            lambda fold: fit_fold(built(int(choice[fold])), responses, plan, settings, fold),
            len(choice),
            folder=folder,
            key=key,
            progress=bar,
        )


def identity_key(
    identity: dict[str, Any],
    responses: Iterable[Array],
    plan: FoldPlan,
    settings: FitSettings,
    digest: str = "",
) -> str:
    """SHA-256 over settings, folds and the responses themselves, or their digest where it is known."""
    described = {
        "identity": identity,
        "alphas": [float(alpha) for alpha in settings.alphas],
        "delays": list(settings.delays),
        "tr": settings.tr,
        "high_pass": settings.high_pass,
        "scoring": settings.scoring,
        "selection": None if settings.selection is None else np.flatnonzero(settings.selection).tolist(),
        "gap": plan.gap,
        "parts": [[part.name, part.run, part.start, part.stop] for part in plan.parts],
        "responses": digest or array_digest(*responses),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()


def _place(folder: Path, name: str, key: str) -> Path:
    return folder / f"{_slug(name)}-{key[:16]}.npz"


def _save(folder: Path, scores: ModelScores, key: str) -> None:
    arrays = {name: getattr(scores, name) for name in _ARRAYS}
    notes = json.dumps(
        {"key": key, "name": scores.name, "seconds": scores.seconds, "warnings": scores.warnings}
    )
    keep(_place(folder, scores.name, key), {"notes": np.array(notes), **arrays})


def _load(folder: Path, name: str, layer: int | None, key: str) -> ModelScores | None:
    found = kept(_place(folder, name, key), ("notes", *_ARRAYS))
    if found is None:
        return None
    notes = json.loads(str(found["notes"]))
    if notes["key"] != key or notes["name"] != name:
        return None
    arrays = {array: found[array] for array in _ARRAYS}
    return ModelScores(
        name, layer, seconds=float(notes["seconds"]), warnings=list(notes["warnings"]), **arrays
    )
