"""Stacked regression from features and responses: several encoding models combined, scored on what no choice
has seen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from voxridge._progress import Progress
from voxridge._row_sources import pieces, rows_of
from voxridge._warnings import AlphaEdgeWarning
from voxridge.encoding import EncodingRidge
from voxridge.many import fit_many
from voxridge.nested import _check_template, _inner_model, _outer_folds, _sources, nested_scores
from voxridge.science.stacking import StackedResult, StackingFold, stacked_scores
from voxridge.solvers.folds import Fold
from voxridge.solvers.rows import check_delays
from voxridge.streams import Source

__all__ = ["nested_stack", "stacking_folds"]

Floating = NDArray[Any]
Weights = Literal["cv", "split"]


def nested_stack(
    features: Mapping[str, Any],
    responses: Any,
    runs: Sequence[int] | None = None,
    *,
    model: EncodingRidge | None = None,
    outer: Any = "leave-one-run-out",
    weights: Weights = "cv",
    share: float = 0.2,
) -> StackedResult:
    """Combine encoding models of several feature spaces by convex weights per target, and score the stack on
    held-out runs: audio and text, say, each with a ridge of its own.

    For each outer fold with training rows T and held-out rows V, and each target,

    ``w = argmin_{w >= 0, sum w = 1} sum_t (y[t] - sum_m w_m p_m[t])^2``,   t in T,

    ``p_m[t]`` being model m's prediction of row t by a fit to other rows of T; then ``sum_m w_m f_m(V)``,
    with every model refitted to all of T, is scored beside each model alone.

    Parameters
    ----------
    features : mapping of name to features
        At least two, each in any form that EncodingRidge takes, (n_samples, n_features).
    responses : (n_samples, n_targets)
    runs : run lengths, where single matrices are given
    model : EncodingRidge, optional
        Its parameters are used for every fit; ``cv`` gives the inner folds, and the folds within them that
        choose penalties. ``scoring`` is also the score of the result. Default:
        ``EncodingRidge(scoring="r2")``, as the weights are of squared errors: penalties that a correlation
        chooses know no scale, so that the amplitudes of the predictions, and the weights, may be off.
    outer : as EncodingRidge's ``cv``
    weights : {"cv", "split"}
        Which training rows choose the weights. "cv": all of them, each predicted by models fitted to the
        other inner folds. "split": the last ``share`` of them, predicted by models fitted to what comes
        before; the cheaper way of Antonello, Vaidya and Huth (2023), who split 80/20.
    share : float
        Of the training rows, for "split": whole runs, as many as come nearest, or the end of a single run.

    Returns
    -------
    StackedResult

    Raises
    ------
    ValueError, TypeError
        As ``EncodingRidge.fit``, with the outer fold named; for fewer than two feature spaces, unknown
        ``weights``, a share outside 0 to 1, or a model with a checkpoint.

    Notes
    -----
    A joint ridge on all features is the other way to combine them (:class:`voxridge.BandedRidgeCV`); the
    stack is cheaper, and its weights can be mapped. Neither wins always.

    There are three levels of folds: the outer ones; within their training rows those that predict for the
    weights; and within the training rows of these the ones that choose penalties. Leaving out one run at
    every level takes four runs. "cv" with k inner folds fits every model k + 1 times for each outer fold.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge import EncodingRidge
    >>> rng = np.random.default_rng(0)
    >>> spaces = {name: rng.standard_normal((160, 20)) for name in ("sound", "text")}
    >>> parts = [share * x.sum(axis=1) for share, x in zip((1.0, 0.6), spaces.values())]
    >>> responses = sum(parts)[:, None] + 3 * rng.standard_normal((160, 3))
    >>> template = EncodingRidge(np.logspace(-2, 6, 9), delays=[0], scoring="r2", progress=False)
    >>> result = nested_stack(spaces, responses, runs=[40] * 4, model=template)
    >>> bool((result.weights[0] > result.weights[1]).all()), bool(result.gain.mean() > 0)
    (True, True)
    """
    template = EncodingRidge(scoring="r2") if model is None else model
    folds = stacking_folds(
        features, responses, runs, model=template, outer=outer, weights=weights, share=share
    )
    return stacked_scores(folds, metric="r2" if template.scoring == "r2" else "correlation")


def stacking_folds(
    features: Mapping[str, Any],
    responses: Any,
    runs: Sequence[int] | None = None,
    *,
    model: EncodingRidge | None = None,
    outer: Any = "leave-one-run-out",
    weights: Weights = "cv",
    share: float = 0.2,
) -> Iterator[StackingFold]:
    """What :func:`nested_stack` scores, one outer fold at a time: cross-validated predictions of training
    rows, and predictions of held-out rows.

    Parameters
    ----------
    features : mapping of name to features
        Each (n_samples, n_features).
    responses : (n_samples, n_targets)
    runs : run lengths, where single matrices are given
    model : EncodingRidge, optional
    outer : as EncodingRidge's ``cv``
    weights : {"cv", "split"}
    share : float
        All as in :func:`nested_stack`.

    Returns
    -------
    iterator of StackingFold
        Each is fitted when it is asked for. In memory at a time: every model's predictions of all rows of
        one fold.

    Raises
    ------
    ValueError, TypeError
        As :func:`nested_stack`.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge import EncodingRidge
    >>> rng = np.random.default_rng(0)
    >>> spaces = {name: rng.standard_normal((120, 20)) for name in ("sound", "text")}
    >>> both = np.hstack(list(spaces.values()))
    >>> responses = both @ np.ones((40, 4)) + 3 * rng.standard_normal((120, 4))
    >>> template = EncodingRidge(np.logspace(-2, 6, 9), delays=[0], scoring="r2", progress=False)
    >>> folds = stacking_folds(spaces, responses, runs=[30] * 4, model=template)
    >>> fold = next(folds)
    >>> fold.inner_truth.shape, fold.predictions["text"].shape
    ((90, 4), (30, 4))
    """
    template = EncodingRidge(scoring="r2") if model is None else model
    _check_template(template)
    if template.checkpoint is not None:
        raise ValueError(
            "model has a checkpoint folder, which would take the fits of all folds; leave it away"
        )
    if weights not in ("cv", "split"):
        raise ValueError(f"weights={weights!r}: give 'cv' or 'split'")
    if not 0 < share < 1:
        raise ValueError(f"share={share}: give a share of the training rows between 0 and 1, such as 0.2")
    if not isinstance(features, Mapping) or len(features) < 2:
        raise ValueError("features: give a mapping of at least two names to features; one needs no stack")
    sources, y = _sources(features, responses, runs)
    folds = _outer_folds(outer, y.runs, template, check_delays(template.delays, y.runs))
    return _folds(folds, template, sources, y, share if weights == "split" else None)


def _folds(
    folds: Sequence[Fold],
    template: EncodingRidge,
    sources: Mapping[str, Source],
    y: Source,
    share: float | None,
) -> Iterator[StackingFold]:
    with Progress(template.progress) as report:
        quiet = clone(template, safe=False).set_params(progress=False)
        for number, fold in enumerate(folds):
            report("outer folds", number / len(folds))
            try:
                inner_truth, inner = _inner_predictions(fold, quiet, sources, y, share)
            except (ValueError, TypeError) as error:
                raise type(error)(f"outer fold {number}, its training rows: {error}") from error
            truth, held_out = _held_out_predictions(number, fold, quiet, sources, y)
            yield StackingFold(inner_truth, inner, truth, held_out)


def _inner_predictions(
    fold: Fold, template: EncodingRidge, sources: Mapping[str, Source], y: Source, share: float | None
) -> tuple[Floating, dict[str, Floating]]:
    """Of the training rows that an inner fold held out, each by fits to others."""
    train = pieces(fold.train, y.runs)
    targets = rows_of(y, train, "responses")
    inner = template.cv if share is None else [_last_rows(targets.runs, share)]
    found, scored = {}, np.zeros(targets.shape[0], dtype=bool)
    for name, source in sources.items():
        out = np.empty(targets.shape, dtype=np.result_type(source.dtype, y.dtype))
        features = {name: rows_of(source, train, f"features {name!r}")}
        with warnings.catch_warnings():  # the refit to all training rows will say so, if it is so
            warnings.simplefilter("ignore", AlphaEdgeWarning)
            result = nested_scores(features, targets, model=template, outer=inner, out=out)
        for each in result.folds:
            scored[each.validation] = True
        found[name] = out
    if scored.all():
        return targets.read(slice(None)), found
    return targets.read(slice(None))[scored], {name: rows[scored] for name, rows in found.items()}


def _held_out_predictions(
    number: int, fold: Fold, template: EncodingRidge, sources: Mapping[str, Source], y: Source
) -> tuple[Floating, dict[str, Floating]]:
    train, held_out = pieces(fold.train, y.runs), pieces(fold.validation, y.runs)
    model = _inner_model(number, fold, template, y)
    inputs = {name: rows_of(source, train, f"features {name!r}") for name, source in sources.items()}
    fitted = fit_many(inputs, rows_of(y, train, "responses"), model=model)
    truth = np.concatenate([y.read(slice(*piece)) for piece in held_out])
    return truth, {
        name: one.predict(rows_of(sources[name], held_out, "features")) for name, one in fitted.items()
    }


def _last_rows(runs: Sequence[int], share: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(train, validation): the last runs, about `share` of all rows; of a single run, its end."""
    ends = np.cumsum(runs)
    n_rows = int(ends[-1])
    wanted = round((1 - share) * n_rows)
    cut = wanted if len(runs) == 1 else int(ends[np.abs(ends[:-1] - wanted).argmin()])
    return np.arange(cut), np.arange(cut, n_rows)
