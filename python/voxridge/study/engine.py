"""Scores a list of models one after the other; finished ones are kept on disk, so an interrupted study
goes on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.streams.atomic import atomic_path
from voxridge.study.nested import (
    FitSettings,
    FoldFit,
    FoldPlan,
    Model,
    ModelScores,
    collect,
    fit_fold,
    score_model,
)
from voxridge.study.results import CHOSEN

Array = NDArray[Any]
_ARRAYS = ("scores", "inner", "alphas", "inner_mean")


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
    progress: bool = True,
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
    progress : bool
        Show fits done and time left on standard error.
    """
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    key = identity_key(identity, responses, plan, settings)
    results = []
    with tqdm(total=len(recipes) * len(plan.parts), desc="fits", unit="fit", disable=not progress) as bar:
        for position, recipe in enumerate(recipes):
            path = folder / f"{position:03d}-{key[:16]}.npz"
            kept = _load(path, recipe, key)
            if kept is None:
                bar.set_postfix_str(recipe.name)
                kept = score_model(recipe.build(), responses, plan, settings, after_fold=bar.update)
                _save(path, kept, key)
            else:
                # Not counted as work done, or the time left would be far too short.
                bar.total -= len(plan.parts)
                bar.refresh()
            results.append(kept)
    return results


def score_chosen(
    recipes: Sequence[ModelRecipe],
    choice: NDArray[np.intp],
    responses: Sequence[Array],
    plan: FoldPlan,
    settings: FitSettings,
    *,
    folder: Path,
    identity: dict[str, Any],
    progress: bool = True,
) -> ModelScores:
    """Scores of the model chosen in each fold, for targets that the choice was not made on.

    ``choice``: position in ``recipes`` for each outer fold, from :func:`voxridge.study.nested.choose_layers`.
    """
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    key = identity_key({**identity, "choice": choice.tolist()}, responses, plan, settings)
    path = folder / f"chosen-{key[:16]}.npz"
    recipe = ModelRecipe(CHOSEN, None, lambda: recipes[int(choice[0])].build())
    kept = _load(path, recipe, key)
    if kept is not None:
        return kept
    start = time.perf_counter()
    fits: dict[int, FoldFit] = {}
    with tqdm(total=len(choice), desc="chosen layers", unit="fit", disable=not progress) as bar:
        for position in sorted(set(choice.tolist())):
            model = recipes[position].build()
            for fold in np.flatnonzero(choice == position).tolist():
                fits[fold] = fit_fold(model, responses, plan, settings, fold)
                bar.update()
    scores = collect(CHOSEN, None, [fits[fold] for fold in range(len(choice))], time.perf_counter() - start)
    _save(path, scores, key)
    return scores


def identity_key(
    identity: dict[str, Any], responses: Iterable[Array], plan: FoldPlan, settings: FitSettings
) -> str:
    """SHA-256 over settings, folds and the responses themselves."""
    digest = hashlib.sha256()
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
    }
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    for run in responses:
        digest.update(np.ascontiguousarray(run).tobytes())
    return digest.hexdigest()


def _save(path: Path, scores: ModelScores, key: str) -> None:
    arrays = {name: getattr(scores, name) for name in _ARRAYS}
    notes = json.dumps(
        {"key": key, "name": scores.name, "seconds": scores.seconds, "warnings": scores.warnings}
    )
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, notes=np.array(notes), **arrays)


def _load(path: Path, recipe: ModelRecipe, key: str) -> ModelScores | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            notes = json.loads(str(file["notes"]))
            if notes["key"] != key or notes["name"] != recipe.name:
                return None
            return ModelScores(
                recipe.name,
                recipe.layer,
                seconds=float(notes["seconds"]),
                warnings=list(notes["warnings"]),
                **{name: file[name] for name in _ARRAYS},
            )
    except (OSError, ValueError, KeyError):
        # A damaged file is no reason to stop: the model is fitted again and the file replaced.
        return None
