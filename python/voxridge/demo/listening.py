"""Scans and scores one simulated listener after the other; finished ones are kept on disk."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge._warnings import NoSignalWarning
from voxridge.demo.expected import RATE_MODEL, model_names
from voxridge.demo.listeners import Audience, Listener, scan
from voxridge.demo.session import Session
from voxridge.science.conditions import Conditions, Scores
from voxridge.science.permutation import permutation_test
from voxridge.science.repeat_ceilings import repeat_ceiling
from voxridge.science.stacking import StackingFold, stacked_scores
from voxridge.study import FoldPlan, plan_folds
from voxridge.study.kept import keep, kept
from voxridge.study.nested import Block, FitSettings, Model, fit_fold, prepare_responses
from voxridge.study.prepare import high_pass, zscore

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
PENALTIES = np.logspace(0, 6, 7)
# One long run: shifts keep all autocorrelation, of which blocks break a little at their ends.
PERMUTATIONS: dict[str, Any] = {"scheme": "shift", "n_permutations": 500}


@dataclass(frozen=True)
class ListenerScores:
    """What was found in one listener; models in the order of ``expected.model_names``.

    ``scores``, ``r2``: (n_models, n_vertices), means over the chapters heard once, each left out in turn. On
    the chapter heard repeatedly, its presentations averaged: ``repeated`` (n_models, n_vertices) scores of
    fits to all other chapters, ``normalised`` the same divided by the ``ceiling`` (n_vertices,), ``weight``
    what the stack gives the large model rather than the word rate, ``stacked`` and ``best`` the scores of
    the stack and of the model that was better in the other chapters, ``p_values`` of the large model's
    scores. NaN at vertices that are not studied.
    """

    scores: Float64
    r2: Float64
    repeated: Float64
    normalised: Float64
    ceiling: Float64
    weight: Float64
    stacked: Float64
    best: Float64
    p_values: Float64


def score_listeners(
    audience: Audience,
    session: Session,
    folder: Path,
    identity: dict[str, Any],
    *,
    progress: bool = True,
) -> list[ListenerScores]:
    """Scores of every listener; those kept in ``folder`` under the same ``identity`` are read."""
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    key = _key(audience, session, identity)
    per_listener = len(model_names(session)) * len(session.names)
    found = []
    with tqdm(
        total=per_listener * len(audience.listeners), desc="listeners", unit="fit", disable=not progress
    ) as bar:
        for listener in audience.listeners:
            path = folder / f"{listener.name}-{key[:16]}.npz"
            scores = _load(path)
            if scores is None:
                scores = score_listener(listener, audience, session, after_fit=bar.update)
                keep(path, vars(scores))
            else:
                bar.total -= per_listener
                bar.refresh()
            found.append(scores)
    return found


def score_listener(
    listener: Listener, audience: Audience, session: Session, *, after_fit: Callable[[], Any] = lambda: None
) -> ListenerScores:
    """Scan one listener and fit everything."""
    settings = session.settings
    base, last = settings.base, settings.chapters
    once = [scan(listener, audience, session, chapter) for chapter in range(last)]
    times = range(settings.repeats)
    repeats = np.stack([filtered(scan(listener, audience, session, last, time), session) for time in times])
    plan = plan_folds(session.names[:-1], session.lengths[:-1], chunks=None, gap=0)
    whole = plan_folds(session.names, session.lengths, chunks=None, gap=0)
    responses = prepare_responses(once, plan, tr=base.tr, cutoff=base.high_pass)
    everything = [*responses, zscore(repeats.mean(axis=0))]
    fit = FitSettings(PENALTIES, settings.delays, base.tr, base.high_pass, scoring="r2")
    scores, r2, repeated = [], [], []
    kept: dict[str, list[Any]] = {}
    for model in simulated_models(session):
        fits = []
        for fold in range(last):
            fits.append(fit_fold(model, responses, plan, fit, fold))
            after_fit()
        on_repeats = fit_fold(model, everything, whole, fit, last)
        after_fit()
        scores.append(np.mean([one.score for one in fits], axis=0))
        r2.append(np.mean([one.r2 for one in fits], axis=0))
        repeated.append(on_repeats.score)
        if model.name in (session.models[-1].name, RATE_MODEL):
            kept[model.name] = [*(one.prediction for one in fits), on_repeats.prediction]
    stack = _stack(kept, everything)
    test = permutation_test(
        everything[-1],
        kept[session.models[-1].name][-1],
        cross_validated=False,
        longest_delay=max(settings.delays),
        seed=listener.seed[-1],
        **PERMUTATIONS,
    )
    ceiling, normalised = _ceiling(repeats, repeated, session, whole)
    maps = {
        "scores": np.stack(scores),
        "r2": np.stack(r2),
        "repeated": np.stack(repeated),
        "normalised": normalised,
        "ceiling": ceiling,
        "weight": stack.weights[0],
        "stacked": stack.scores,
        "best": stack.best_scores,
        "p_values": test.p_values,
    }
    return ListenerScores(**{name: _spread(values, audience.studied) for name, values in maps.items()})


def _spread(values: Float64, studied: NDArray[np.bool_]) -> Float64:
    """Values of the studied vertices at their places on the whole cortex."""
    spread = np.full((*values.shape[:-1], len(studied)), np.nan)
    spread[..., studied] = values
    return spread


def filtered(run: Float32, session: Session) -> Float32:
    """One presentation, high-passed and with unit variance."""
    base = session.settings.base
    return np.asarray(zscore(high_pass(run, base.tr, base.high_pass)), dtype=np.float32)


def simulated_models(session: Session) -> list[Model]:
    """The models of ``expected.model_names``."""
    rate = Block(session.rate)
    blocks = {name: Block(runs) for name, runs in session.features.items()}
    large = session.models[-1].name
    return [
        *(Model(name, (block,)) for name, block in blocks.items()),
        Model(RATE_MODEL, (rate,)),
        Model(f"{large} + {RATE_MODEL}", (blocks[large], rate)),
    ]


def _stack(predictions: dict[str, list[Any]], responses: list[Any]) -> Any:
    """Convex weights from the left-out chapters, applied to the repeated one."""
    fold = StackingFold(
        np.concatenate(responses[:-1]),
        {name: np.concatenate(runs[:-1]) for name, runs in predictions.items()},
        responses[-1],
        {name: runs[-1] for name, runs in predictions.items()},
    )
    return stacked_scores([fold], metric="correlation")


def _ceiling(
    repeats: Float32, repeated: list[Float64], session: Session, plan: FoldPlan
) -> tuple[Float64, Float64]:
    conditions = Conditions(
        split="the repeated chapter, fitted to all others",
        runs=(plan.parts[-1].name,),
        repeats=len(repeats),
        n_samples=repeats.shape[1],
    )
    with warnings.catch_warnings():
        # Most of the cortex has no signal here, by design; it is counted in the report.
        warnings.simplefilter("ignore", NoSignalWarning)
        ceiling = repeat_ceiling(repeats, conditions, interval=None)
    normalised = [ceiling.normalise(Scores(values, "r", conditions)).values for values in repeated]
    return ceiling.values, np.stack(normalised)


def _key(audience: Audience, session: Session, identity: dict[str, Any]) -> str:
    """SHA-256 of whatever decides the result."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode())
    digest.update(json.dumps([PENALTIES.tolist(), PERMUTATIONS, audience.noise]).encode())
    for listener in audience.listeners:
        digest.update(json.dumps([listener.strengths, listener.seed]).encode())
        digest.update(np.ascontiguousarray(listener.language).tobytes())
    heard = [*session.rate, *(run for runs in session.features.values() for run in runs)]
    for array in (audience.designed, *heard):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _load(path: Path) -> ListenerScores | None:
    names = [field.name for field in fields(ListenerScores)]
    found = kept(path, names)
    return None if found is None else ListenerScores(**{name: found[name] for name in names})
