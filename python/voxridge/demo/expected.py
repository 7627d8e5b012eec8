"""What the simulated study should find, computed from the simulation before any response is drawn.

Every quantity is that of the best predictor each model allows, on the very chapters that are heard, with the
expected noise, less what a fit is expected to lose because it learns its weights from so many noisy rows. It
is averaged over the strengths a listener may have, so it is the truth about new listeners, which is what an
interval over listeners speaks about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.listeners import Audience, Listener
from voxridge.demo.session import Session
from voxridge.study.prepare import delayed, high_pass

Float64 = NDArray[np.float64]
_NODES = 4
_GROUPS = 64
RATE_MODEL = "word rate"


@dataclass(frozen=True)
class Expected:
    """Maps of the truth; models in the order of ``names``.

    ``scores``, ``r2``: (n_models, n_vertices) over the chapters heard once. On the chapter heard repeatedly,
    its presentations averaged: ``ceiling`` (n_vertices,), ``normalised`` (n_models, n_vertices), ``stacked``
    the correlation of the stack and ``best`` that of the better of the two models, (n_vertices,).
    ``weight``: what the stack gives the large model rather than the word rate. ``isc``: a listener's
    correlation with the mean of the others, one presentation each. NaN where there is no signal to speak of.
    """

    names: tuple[str, ...]
    scores: Float64
    r2: Float64
    ceiling: Float64
    normalised: Float64
    weight: Float64
    stacked: Float64
    best: Float64
    isc: Float64


def model_names(session: Session) -> tuple[str, ...]:
    """The models, the word rate, and the last model together with the word rate."""
    models = [model.name for model in session.models]
    return (*models, RATE_MODEL, f"{models[-1]} + {RATE_MODEL}")


def expect(audience: Audience, session: Session) -> Expected:
    """Truth for a study of these chapters, models and areas."""
    losses = learning_losses(session)
    totals: dict[str, Float64] = {}
    for listener in audience.listeners:
        moments = _moments(listener, session)
        for strengths, weight in _strengths(audience.settings.strength):
            amplitudes = audience.amplitudes(*strengths)
            chapters = [
                _covariances(part, amplitudes, loss, audience.noise)
                for part, loss in zip(moments, losses, strict=True)
            ]
            once, again = chapters[:-1], chapters[-1]
            stack = _weights(np.mean(once, axis=0))
            maps = _once(once, audience.noise) | _repeated(again, stack, audience)
            for name, values in maps.items():
                totals[name] = totals.get(name, 0.0) + weight * values
    means = {name: values / len(audience.listeners) for name, values in totals.items()}
    return Expected(model_names(session), isc=_isc(audience, session), **means)


def _strengths(bounds: tuple[float, float]) -> Iterator[tuple[tuple[float, float], float]]:
    """Nodes and weights of Gauss and Legendre's rule over two independent uniform strengths."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    strengths = bounds[0] + (bounds[1] - bounds[0]) * (nodes + 1.0) / 2.0
    for language, first in zip(strengths, weights, strict=True):
        for rate, second in zip(strengths, weights, strict=True):
            yield (float(language), float(rate)), float(first * second) / 4.0


def _moments(listener: Listener, session: Session) -> list[Float64]:
    """Mean products (n_predictors, 2, n_predictors, 2, n_vertices) in each chapter, for unit amplitudes.

    Predictor 0 is the signal itself, the others are the best prediction from each model; of each the part
    that answers to language and the part that answers to the word rate.
    """
    views = [(0, np.ones_like(session.models[0].reach))]
    views += [(number, model.reach) for number, model in enumerate(session.models, start=1)]
    parts = [
        (view, reach[:, None, None] * load)
        for view, reach in views
        for load in (listener.language, listener.rate)
    ]
    language, rate = (2 * len(session.models), 1)  # of the last model together with the word rate itself
    order = [*range(len(parts)), None, 1, language, rate]
    chapters = []
    for chapter in range(len(session.lengths)):
        gram = session.gram(chapter)
        products = np.zeros((len(parts) + 1, len(parts) + 1, listener.rate.shape[-1]))
        for i, (a, left) in enumerate(parts):
            for j, (b, right) in enumerate(parts[: i + 1]):
                through = np.einsum("kalb,lbv->kav", gram[a, :, :, b], right, optimize=True)
                products[i, j] = products[j, i] = np.einsum("kav,kav->v", left, through)
        # The empty last row stands for a part that a model does not know of.
        picked = [len(parts) if position is None else position for position in order]
        chosen = products[np.ix_(picked, picked)]
        n = len(order) // 2
        chapters.append(chosen.reshape(n, 2, n, 2, -1))
    return chapters


def learning_losses(session: Session) -> Float64:
    r"""Variance that a prediction has because its weights were learned from noise of unit variance,
    (n_chapters, n_models), when each chapter is predicted from all others but the repeated one.

    .. math:: \mathrm{tr}\, (X'X)^{-1} X' \Sigma X (X'X)^{-1} X_t' X_t / n_t

    for least squares with training rows X, left-out rows :math:`X_t` and the noise's covariance.
    """
    base, rate = session.settings.base, session.rate
    features = [session.features[model.name] for model in session.models]
    features += [rate, tuple(np.concatenate(pair, axis=1) for pair in zip(features[-1], rate, strict=True))]
    rows = session.settings.rows
    covariance = base.noise_ar ** np.abs(np.subtract.outer(np.arange(rows), np.arange(rows)))
    covariance = high_pass(high_pass(covariance, base.tr, base.high_pass).T, base.tr, base.high_pass)
    covariance *= rows / np.trace(covariance)
    return np.stack([_losses(runs, covariance, session) for runs in features], axis=1)


def _losses(runs: tuple[Float64, ...], covariance: Float64, session: Session) -> Float64:
    base, delays = session.settings.base, session.settings.delays
    designs = [delayed(high_pass(run, base.tr, base.high_pass), delays) for run in runs]
    grams = [design.T @ design for design in designs]
    noisy = [design.T @ covariance @ design for design in designs]
    losses = []
    for left_out, gram in enumerate(grams):
        training = [chapter for chapter in range(len(runs) - 1) if chapter != left_out]
        inverse = np.linalg.inv(np.sum([grams[chapter] for chapter in training], axis=0))
        spread = inverse @ np.sum([noisy[chapter] for chapter in training], axis=0) @ inverse
        losses.append(np.sum(spread * gram) / len(designs[left_out]))
    return np.array(losses)


def _covariances(moments: Float64, amplitudes: Float64, losses: Float64, noise: float) -> Float64:
    """Covariances (n_predictors, n_predictors, n_vertices) of signal and predictions of given amplitudes.

    What a model does not know of the signal is noise to its fit, too. A good penalty shrinks a prediction
    until its covariance with the response is its own variance.
    """
    found = np.einsum("ixjyv,xv,yv->ijv", moments, amplitudes, amplitudes, optimize=True)
    shrinkage = np.ones(found.shape[1:])
    for model, loss in enumerate(losses, start=1):
        known = found[model, model].copy()
        found[model, model] += loss * (noise + found[0, 0] - known)
        shrinkage[model] = known / found[model, model]
    return np.asarray(found * shrinkage * shrinkage[:, None])


def _correlations(covariances: Float64, noise: float) -> Float64:
    """Each prediction with the noisy response, (n_models, n_vertices); 0 where nothing is predicted."""
    variances = np.einsum("iiv->iv", covariances)
    norms = np.sqrt(variances[1:] * (variances[0] + noise))
    scores = np.divide(covariances[0, 1:], norms, out=np.zeros_like(norms), where=norms > 0)
    return np.asarray(scores)


def _once(chapters: list[Float64], noise: float) -> dict[str, Float64]:
    scores = np.mean([_correlations(chapter, noise) for chapter in chapters], axis=0)
    r2 = [
        (2.0 * chapter[0, 1:] - np.einsum("iiv->iv", chapter)[1:]) / (chapter[0, 0] + noise)
        for chapter in chapters
    ]
    return {"scores": scores, "r2": np.mean(r2, axis=0)}


def _weights(covariances: Float64) -> tuple[Float64, Float64]:
    """Convex weight of the large model against the word rate, and whether it is the better of the two."""
    signal, large, rate = 0, covariances.shape[0] - 3, covariances.shape[0] - 2
    errors = {
        (i, j): covariances[signal, signal]
        - covariances[signal, i]
        - covariances[signal, j]
        + covariances[i, j]
        for i in (large, rate)
        for j in (large, rate)
    }
    curvature = errors[large, large] + errors[rate, rate] - 2.0 * errors[large, rate]
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.clip((errors[rate, rate] - errors[large, rate]) / curvature, 0.0, 1.0)
    return weight, errors[large, large] <= errors[rate, rate]


def _repeated(covariances: Float64, stack: tuple[Float64, Float64], audience: Audience) -> dict[str, Float64]:
    """Truths about the mean over the presentations of the last chapter."""
    signal, noise = covariances[0, 0], audience.noise / audience.settings.repeats
    weight, better = stack
    large, rate = covariances.shape[0] - 3, covariances.shape[0] - 2
    scores = _correlations(covariances, noise)
    mixed = weight**2 * covariances[large, large] + (1 - weight) ** 2 * covariances[rate, rate]
    mixed = mixed + 2 * weight * (1 - weight) * covariances[large, rate]
    shared = weight * covariances[0, large] + (1 - weight) * covariances[0, rate]
    with np.errstate(invalid="ignore", divide="ignore"):
        ceiling = np.sqrt(signal / (signal + noise))
        return {
            "ceiling": ceiling,
            "normalised": np.where(signal > 0, scores / ceiling, np.nan),
            "weight": weight,
            "stacked": shared / np.sqrt(mixed * (signal + noise)),
            "best": np.where(better, scores[large - 1], scores[rate - 1]),
        }


def _isc(audience: Audience, session: Session) -> Float64:
    """Mean over listeners, and over groups whose strengths are drawn anew, of the correlation with the mean
    of the others' standardised responses."""
    listeners = audience.listeners
    gram = session.gram(len(session.lengths) - 1)[0, :, :, 0]
    loads = np.stack([np.stack([listener.language, listener.rate]) for listener in listeners])
    through = np.einsum("kalb,nxlbv->nxkav", gram, loads, optimize=True)
    products = np.einsum("mxkav,nykav->mnxyv", loads, through, optimize=True)
    rng = np.random.default_rng((audience.settings.seed, 0, 1))
    total = np.zeros(audience.designed.shape[1])
    for _ in range(_GROUPS):
        strengths = rng.uniform(*audience.settings.strength, (len(listeners), 2))
        amplitudes = np.stack([audience.amplitudes(*pair) for pair in strengths])
        signals = np.einsum("mnxyv,mxv,nyv->mnv", products, amplitudes, amplitudes, optimize=True)
        spread = np.sqrt(np.einsum("nnv->nv", signals) + audience.noise)
        total += _one_against_others(signals / spread[:, None] / spread[None, :])
    return total / _GROUPS


def _one_against_others(correlations: Float64) -> Float64:
    """From what signals contribute to the correlations of standardised responses (n, n, n_vertices)."""
    n = len(correlations)
    values = []
    for one in range(n):
        others = [other for other in range(n) if other != one]
        among = correlations[np.ix_(others, others)].sum(axis=(0, 1))
        # A response correlates with itself perfectly, noise and all.
        among += sum(1.0 - correlations[other, other] for other in others)
        values.append(correlations[one, others].sum(axis=0) / np.sqrt(among))
    return np.asarray(np.mean(values, axis=0))
