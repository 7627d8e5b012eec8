"""Nested cross-validation: held-out scores in whose choice of penalty, and of features, the held-out samples
had no part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from voxridge._encoding_job import paired_sources
from voxridge._progress import Progress
from voxridge._row_sources import pieces, rows_of
from voxridge.encoding import EncodingRidge
from voxridge.many import fit_many
from voxridge.science.scores import correlation_score, r2_score
from voxridge.solvers.folds import Fold, make_folds
from voxridge.solvers.rows import Ranges, check_delays, n_rows
from voxridge.streams import Sink, Source, as_sink

__all__ = ["NestedResult", "nested_scores"]

Floating = NDArray[Any]


@dataclass(frozen=True)
class NestedResult:
    """What :func:`voxridge.nested_scores` returns. Where a target was masked in an outer fold, its numbers
    are NaN and its choice is -1.

    Attributes
    ----------
    names : tuple of str
        The feature sets.
    scores : (n_folds, n_targets) float64
        Held-out score of the chosen features with the chosen penalty, in each outer fold.
    alphas : (n_folds, n_targets) float64
        The chosen penalty.
    choice : (n_folds, n_targets) int
        Position in ``names`` of the chosen features.
    inner_scores : (n_folds, n_targets) float64
        What the choice was made by: the best inner score. Optimistic; not to be reported as performance.
    set_scores, set_inner_scores, set_alphas : (n_sets, n_folds, n_targets) float64
        The same of every feature set.
    folds : tuple of Fold
        Rows that each outer fold trained on and scored.
    predictions : array, path or dataset, or None
        Where the held-out predictions went.
    """

    names: tuple[str, ...]
    scores: Floating
    alphas: Floating
    choice: NDArray[np.intp]
    inner_scores: Floating
    set_scores: Floating
    set_inner_scores: Floating
    set_alphas: Floating
    folds: tuple[Fold, ...]
    predictions: Any = None

    @property
    def mean_scores(self) -> Floating:
        """Mean of ``scores`` over the outer folds in which a target has a score, (n_targets,); NaN for
        none."""
        defined = np.isfinite(self.scores)
        total = np.where(defined, self.scores, 0.0).sum(axis=0)
        count = defined.sum(axis=0)
        return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def nested_scores(
    features: Any,
    responses: Any,
    runs: Sequence[int] | None = None,
    *,
    model: EncodingRidge | None = None,
    outer: Any = "leave-one-run-out",
    out: Any = None,
) -> NestedResult:
    """Score encoding models on samples that took no part in choosing their penalties or their features.

    For each outer fold k, with training rows T_k and held-out rows V_k, and each target,

    ``(m_k, alpha_k) = argmax_{m, alpha} mean_j score(y[v_j], f(v_j; m, alpha, T_k less v_j))``,

    the v_j being the inner folds of T_k and f(V; m, alpha, T) the prediction for the rows V of features m
    under the penalty alpha, fitted to the rows T. The score reported is that of the refit to all of T_k,

    ``s_k = score(y[V_k], f(V_k; m_k, alpha_k, T_k))``.

    A run that an outer fold cuts falls into pieces that are treated as separate runs: no delay reaches across
    a cut, and the first samples of a piece see zeros, as those of a run do. Training samples closer to a
    held-out one than the gap are left out, as are pieces not longer than the longest delay.

    Parameters
    ----------
    features : features, or mapping of name to features
        In any form that EncodingRidge takes, (n_samples, n_features). Of several sets the best is chosen for
        each target and outer fold, by inner scores only; ties go to the set that comes first.
    responses : (n_samples, n_targets)
    runs : run lengths, where single matrices are given
    model : EncodingRidge, optional
        Its parameters are used for every fit; ``cv`` gives the inner folds, so it must be one that can be
        made anew for the rows that are left: a name, a number, or a splitter. ``weights`` must be "memory".
        A ``checkpoint`` folder holds one folder per outer fold.
    outer : as EncodingRidge's ``cv``
    out : path, array, memmap or open HDF5 dataset, optional
        Takes the held-out predictions (n_samples, n_targets), each row from the outer fold that held it out;
        NaN for rows that none did and for masked targets.

    Returns
    -------
    NestedResult

    Raises
    ------
    ValueError, TypeError
        As ``EncodingRidge.fit``, with the outer fold named; inner folds that cannot be made anew; ``out``
        where outer folds overlap.

    Notes
    -----
    The score that chose a penalty is the largest of several noisy ones and so too large on average, the more
    penalties and feature sets there are; nested scores are not. They belong to the procedure, choice
    included, not to one set of weights. Predictions of one outer fold are in memory at a time, (n_held_out,
    n_targets) for each feature set in turn.

    References
    ----------
    Varma and Simon 2006, BMC Bioinformatics 7:91. Cawley and Talbot 2010, JMLR 11:2079.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge import EncodingRidge, nested_scores
    >>> rng = np.random.default_rng(0)
    >>> clear = rng.standard_normal((160, 30))
    >>> sets = {"blurred": clear + rng.standard_normal((160, 30)), "clear": clear}
    >>> responses = clear @ rng.standard_normal((30, 8)) + 3 * rng.standard_normal((160, 8))
    >>> template = EncodingRidge(np.logspace(-3, 6, 10), delays=[0], scoring="r2", progress=False)
    >>> found = nested_scores(sets, responses, runs=[40] * 4, model=template)
    >>> bool(found.mean_scores.min() > 0.4), found.names[found.choice[0, 0]]
    (True, 'clear')
    """
    template = EncodingRidge() if model is None else model
    _check_template(template)
    named = dict(features) if isinstance(features, Mapping) else {"features": features}
    sources, y = _sources(named, responses, runs)
    delays = check_delays(template.delays, y.runs)
    folds = _outer_folds(outer, y.runs, template, delays)
    sink = None if out is None else _prediction_sink(out, folds, sources, y)
    if template.checkpoint is not None:
        Path(template.checkpoint).mkdir(exist_ok=True)
    shape = len(sources), len(folds), y.shape[1]
    found = _Found(np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan))
    try:
        with Progress(template.progress) as report:
            for number, fold in enumerate(folds):
                report("outer folds", number / len(folds))
                _score_fold(number, fold, template, sources, y, found, sink)
        if sink is not None:
            sink.finish()
    finally:
        if sink is not None:
            sink.close()
    return found.result(tuple(sources), folds, None if sink is None else sink.result)


# --- what is given


def _check_template(template: EncodingRidge) -> None:
    if not isinstance(template, EncodingRidge):
        raise TypeError(f"model is a {type(template).__name__}; give an EncodingRidge, fitted or not")
    if template.weights != "memory":
        raise ValueError(
            f"weights={template.weights!r}: every outer fold needs its weights and then drops them; "
            'use "memory"'
        )
    if not (isinstance(template.cv, str | int | np.integer) or hasattr(template.cv, "split")):
        raise ValueError(
            f"cv is a {type(template.cv).__name__}: explicit folds are of all samples, and each outer fold "
            'needs inner folds of the samples it trains on; use "leave-one-run-out", a number of folds, or a '
            "splitter"
        )


def _sources(
    named: Mapping[str, Any], responses: Any, runs: Sequence[int] | None
) -> tuple[dict[str, Source], Source]:
    if not named:
        raise ValueError("features is empty; give at least one feature set")
    y = responses
    for _ in range(2):  # what one of the sets knows of the runs, the second round tells the others
        sources = {}
        for name, data in named.items():
            try:
                sources[str(name)], y = paired_sources(data, y, runs)
            except (ValueError, TypeError) as error:
                raise type(error)(f"feature set {name!r}: {error}") from error
    return sources, y


def _outer_folds(
    outer: Any, runs: Sequence[int], template: EncodingRidge, delays: tuple[int, ...]
) -> tuple[Fold, ...]:
    """Folds whose pieces are all longer than the longest delay; shorter ones are not trained on."""
    longest = max(abs(delay) for delay in delays)
    folds = []
    for number, fold in enumerate(make_folds(outer, runs, gap=template.gap, longest_delay=longest)):
        shortest = min(end - begin for begin, end in pieces(fold.validation, runs))
        if shortest <= max(longest, 1):
            raise ValueError(
                f"outer fold {number} holds out a piece of {shortest} samples, and the longest delay is "
                f"{longest}; a piece must be longer, and at least 2: hold out whole runs or contiguous blocks"
            )
        kept = [piece for piece in pieces(fold.train, runs) if piece[1] - piece[0] > longest]
        if not kept:
            raise ValueError(
                f"outer fold {number} leaves no piece to train on that is longer than the longest delay, "
                f"{longest}; hold out whole runs or contiguous blocks"
            )
        folds.append(Fold(np.concatenate([np.arange(*piece) for piece in kept]), fold.validation))
    return tuple(folds)


def _prediction_sink(out: Any, folds: Sequence[Fold], sources: Mapping[str, Source], y: Source) -> Sink:
    times = np.zeros(y.shape[0], dtype=int)
    for fold in folds:
        times[fold.validation] += 1
    if times.max() > 1:
        row = int(np.argmax(times > 1))
        raise ValueError(
            f"out: sample {row} is held out by {times[row]} outer folds and has one place for a prediction; "
            "use outer folds that do not overlap, or leave out away"
        )
    dtype = np.result_type(y.dtype, *(source.dtype for source in sources.values()))
    sink = as_sink(out, *y.shape, dtype, axis=0)
    for begin, end in pieces(np.flatnonzero(times == 0), [y.shape[0]]):
        sink.write(begin, end, np.full((end - begin, y.shape[1]), np.nan, dtype=dtype))
    return sink


# --- one outer fold


@dataclass(frozen=True)
class _Found:
    """Arrays (n_sets, n_folds, n_targets) that outer folds fill."""

    scores: Floating
    inner: Floating
    alphas: Floating

    def choice(self, fold: int | slice) -> NDArray[np.intp]:
        """The set with the best inner score; -1 where a target was masked."""
        inner = np.where(np.isnan(self.inner[:, fold]), -np.inf, self.inner[:, fold])
        return np.where(np.isneginf(inner).all(axis=0), -1, inner.argmax(axis=0))

    def result(self, names: tuple[str, ...], folds: tuple[Fold, ...], predictions: Any) -> NestedResult:
        choice = self.choice(slice(None))
        best = np.maximum(choice, 0)[None]
        scores, alphas, inner = (
            np.take_along_axis(array, best, axis=0)[0] for array in (self.scores, self.alphas, self.inner)
        )
        sets = self.scores, self.inner, self.alphas
        return NestedResult(names, scores, alphas, choice, inner, *sets, folds, predictions)


def _score_fold(
    number: int,
    fold: Fold,
    template: EncodingRidge,
    sources: Mapping[str, Source],
    y: Source,
    found: _Found,
    sink: Sink | None,
) -> None:
    train, held_out = pieces(fold.train, y.runs), pieces(fold.validation, y.runs)
    truth = np.concatenate([y.read(slice(*piece)) for piece in held_out])
    try:
        inner = _inner_model(number, fold, template, y)
        inputs = {name: rows_of(source, train, f"features {name!r}") for name, source in sources.items()}
        fitted = fit_many(inputs, rows_of(y, train, "responses"), model=inner)
    except (ValueError, TypeError) as error:
        raise type(error)(f"outer fold {number}: {error}") from error
    chosen = np.empty((0, 0))
    for place, (name, one) in enumerate(fitted.items()):
        prediction = one.predict(rows_of(sources[name], held_out, "features"))
        found.scores[place, number] = _score(truth, prediction, template.scoring)
        found.inner[place, number] = one.best_cv_scores_
        found.alphas[place, number] = one.alpha_
        if sink is not None:  # the best so far: a later set replaces it where it is better
            better = found.choice(number) == place
            chosen = prediction if place == 0 else np.where(better, prediction, chosen)
    if sink is not None:
        _write(sink, held_out, chosen)


def _inner_model(number: int, fold: Fold, template: EncodingRidge, y: Source) -> EncodingRidge:
    """The template with folds of the rows that are left. Pieces of a run stay together in them, and the gap
    keeps to what is left of a run: across a cut it takes a few samples too many."""
    model: EncodingRidge = clone(template, safe=False).set_params(progress=False)
    if template.checkpoint is not None:
        model.set_params(checkpoint=Path(template.checkpoint) / f"outer-{number:04d}")
    if isinstance(template.cv, str) and template.cv in ("gcv", "leave-one-out"):
        return model
    ends = np.cumsum(y.runs)
    lengths = np.bincount(np.searchsorted(ends, fold.train, side="right"), minlength=ends.size)
    longest = max(abs(delay) for delay in template.delays)
    inner = make_folds(template.cv, lengths[lengths > 0].tolist(), gap=template.gap, longest_delay=longest)
    model.set_params(cv=[(each.train, each.validation) for each in inner])
    return model


def _score(truth: Floating, prediction: Floating, scoring: str) -> Floating:
    """As the inner scores have it: a constant prediction of a target that varies correlates 0."""
    r2 = r2_score(truth, prediction)
    if scoring == "r2":
        return r2
    correlation = correlation_score(truth, prediction)
    return np.where(np.isnan(correlation) & np.isfinite(r2), 0.0, correlation)


def _write(sink: Sink, ranges: Ranges, predictions: Floating) -> None:
    done = 0
    for begin, end in ranges:
        sink.write(begin, end, predictions[done : done + end - begin])
        done += end - begin
    assert done == n_rows(ranges)
