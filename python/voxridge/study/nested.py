"""Nested scores: every penalty is chosen without the part of the data that the reported score comes from.

For each outer fold one run (or one contiguous chunk of a single run) is left out. Everything that is
learned, from feature scaling and principal components to the penalty of each target, is learned on the
other parts; the penalty by an inner cross-validation over them. The prediction of the left-out part is
then correlated with its responses.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge.features import Standardizer
from voxridge.science.scores import correlation_score, r2_score
from voxridge.study.fold_plan import FoldPlan, Part
from voxridge.study.prepare import CommonScale, ScaledComponents, delayed, high_pass, zscore

Array = NDArray[Any]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Base features of one kind.

    Attributes
    ----------
    runs : tuple of ndarray (n_rows, n_features)
        One array per run.
    components : int or None
        None keeps the columns; a number keeps so many principal components of the training rows.
    scaling : "column" or "common"
        Without components: divide each column by its standard deviation in the training rows, or all by the
        root mean square of these, for columns whose proportions mean something or that hardly vary there.
    """

    runs: tuple[Array, ...]
    components: int | None = None
    scaling: Literal["column", "common"] = "column"


@dataclass(frozen=True)
class Model:
    """A named set of blocks set side by side.

    Attributes
    ----------
    name : str
    blocks : tuple of Block
    layer : int or None
        Of a language model, for figures.
    bands : tuple of int
        How many blocks, one after the other, share a penalty; none: all of them do.
    """

    name: str
    blocks: tuple[Block, ...]
    layer: int | None = None
    bands: tuple[int, ...] = ()


@dataclass(frozen=True)
class FitSettings:
    """Settings of every fit.

    Attributes
    ----------
    alphas : ndarray (n_alphas,) float64
    delays : tuple of int, in TRs
    tr : float, seconds
    high_pass : float
        Cutoff of the high-pass filter of responses in seconds; 0 for none.
    scoring : str
    selection : ndarray of bool (n_targets,), or None
        Targets whose inner scores decide between layers; None: all.
    estimator : callable, or None
        Makes an object with EncodingRidge's interface; None: EncodingRidge itself.
    iterations, seed : int
        Of the search for the penalties of models with several bands.
    """

    alphas: Float64
    delays: tuple[int, ...]
    tr: float
    high_pass: float = 0.0
    scoring: str = "correlation"
    selection: NDArray[np.bool_] | None = None
    estimator: Callable[..., Any] | None = None
    iterations: int = 20
    seed: int = 0

    def make(self, bands: Sequence[int] = (), **arguments: Any) -> Any:
        """An estimator, not fitted, with these arguments.

        Parameters
        ----------
        bands : sequence of int
            Columns of each band; none: one penalty for all columns.
        **arguments
            Of :class:`voxridge.EncodingRidge`.
        """
        if bands:
            from voxridge.banded import BandedRidgeCV

            return BandedRidgeCV(bands=tuple(bands), n_iter=self.iterations, seed=self.seed, **arguments)
        if self.estimator is not None:
            return self.estimator(**arguments)
        from voxridge.encoding import EncodingRidge

        return EncodingRidge(**arguments)


@dataclass
class ModelScores:
    """What one model reached in each outer fold.

    Attributes
    ----------
    name : str
    layer : int or None
    scores : ndarray (n_folds, n_targets) float64
        Held-out correlation.
    inner : ndarray (n_folds, n_targets) float64
        Best inner cross-validation score.
    alphas : ndarray (n_folds, n_targets) float64
        Chosen penalty.
    r2 : ndarray (n_folds, n_targets) float64
        Held-out coefficient of determination.
    inner_mean : ndarray (n_folds,) float64
        The inner score averaged over targets before the best penalty is taken, the measure by which layers
        are compared; the average of each target's best would reward layers for flexibility on pure noise.
    seconds : float
        Time of all fits.
    warnings : list of str
        What the fits warned of.
    """

    name: str
    layer: int | None
    scores: Float64
    inner: Float64
    alphas: Float64
    r2: Float64
    inner_mean: Float64
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)

    @property
    def mean_scores(self) -> Float64:
        """Mean over folds, (n_targets,)."""
        return np.asarray(self.scores.mean(axis=0), dtype=np.float64)


@dataclass
class FoldFit:
    """One outer fold of one model; ``prediction`` belongs to the left-out part."""

    score: Float64
    inner: Float64
    alpha: Float64
    r2: Float64
    inner_mean: float
    prediction: Array
    warnings: list[str]


def prepare_responses(runs: Sequence[Array], plan: FoldPlan, *, tr: float, cutoff: float) -> list[Array]:
    """High-passed and z-scored responses of each part, computed inside the part alone."""
    prepared = []
    for part in plan.parts:
        rows = np.asarray(runs[part.run][part.rows])
        rows = rows.astype(np.float32) if rows.dtype.kind != "f" or rows.dtype.itemsize < 4 else rows
        prepared.append(zscore(high_pass(rows, tr, cutoff)))
    return prepared


def score_model(
    model: Model,
    responses: Sequence[Array],
    plan: FoldPlan,
    settings: FitSettings,
    *,
    after_fold: Callable[[], None] | None = None,
) -> ModelScores:
    """Nested scores of one model in every outer fold.

    Parameters
    ----------
    model : Model
    responses : list of numpy.ndarray, one (n_rows, n_targets) per part
        High-passed and z-scored inside the part, as ``prepare_responses`` does it.
    plan : FoldPlan
    settings : FitSettings
    after_fold : callable, optional
        Called after each fold (progress).

    Returns
    -------
    ModelScores

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.study import Block, FitSettings, Model, plan_folds, score_model
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((240, 4))
    >>> y = x @ rng.standard_normal((4, 3)) + rng.standard_normal((240, 3))
    >>> plan = plan_folds(["story"], [240], chunks=3, gap=0)
    >>> settings = FitSettings(np.logspace(-2, 4, 7), delays=(0,), tr=2.0, scoring="r2")
    >>> responses = [y[part.rows] for part in plan.parts]
    >>> found = score_model(Model("words", (Block((x,)),)), responses, plan, settings)
    >>> found.scores.shape, bool(found.scores.min() > 0.5)
    ((3, 3), True)
    """
    start = time.perf_counter()
    fits = []
    for fold in range(len(plan.parts)):
        fit = fit_fold(model, responses, plan, settings, fold)
        fit.prediction = np.empty((0, 0))
        fits.append(fit)
        if after_fold is not None:
            after_fold()
    return collect(model.name, model.layer, fits, time.perf_counter() - start)


def collect(name: str, layer: int | None, fits: Sequence[FoldFit], seconds: float) -> ModelScores:
    """Put the folds of one model together; ``fits`` in the order of the plan."""
    return ModelScores(
        name,
        layer,
        np.stack([fit.score for fit in fits]),
        np.stack([fit.inner for fit in fits]),
        np.stack([fit.alpha for fit in fits]),
        np.stack([fit.r2 for fit in fits]),
        np.array([fit.inner_mean for fit in fits]),
        seconds,
        [message for fit in fits for message in fit.warnings],
    )


@dataclass
class FoldData:
    """What one outer fold of a model is fitted to and scored on.

    ``features`` and ``targets``: a (n_rows, ...) array per training part; ``held_out``: features of the part
    that is left out; ``delays`` still to be embedded, and the inner folds as EncodingRidge takes them;
    ``widths``: columns of each block.
    """

    features: list[Array]
    targets: list[Array]
    held_out: Array
    truth: Array
    delays: tuple[int, ...]
    cv: Any
    widths: tuple[int, ...]


def fold_data(
    model: Model, responses: Sequence[Array], plan: FoldPlan, settings: FitSettings, fold: int
) -> FoldData:
    """Features and responses of all parts but one, and of that one, scaled by the training rows."""
    left_out = plan.parts[fold]
    train = [i for i in range(len(plan.parts)) if i != fold]
    kept = {i: plan.kept(plan.parts[i], left_out) for i in train}
    blocks = _transformed(model, plan, kept)
    widths = tuple(block[0].shape[1] for block in blocks)
    cv: Any = "leave-one-run-out"
    delays = settings.delays
    if plan.inside_runs:
        blocks = [[delayed(run, delays) for run in block] for block in blocks]
        widths = tuple(width * len(delays) for width in widths)
        cv = list(_inner_folds(plan, kept))
        delays = (0,)
    base = [np.concatenate(columns, axis=1) for columns in zip(*blocks, strict=True)]
    targets = [
        responses[i][kept[i].start - plan.parts[i].start : kept[i].stop - plan.parts[i].start] for i in train
    ]
    return FoldData(
        [_cut(base, plan.parts[i], kept[i], settings) for i in train],
        targets,
        _cut(base, left_out, left_out.rows, settings),
        responses[fold],
        delays,
        cv,
        widths,
    )


def fit_fold(
    model: Model, responses: Sequence[Array], plan: FoldPlan, settings: FitSettings, fold: int
) -> FoldFit:
    """Fit on all parts but one and predict that one."""
    data = fold_data(model, responses, plan, settings, fold)
    estimator = settings.make(
        _band_widths(model, data),
        alphas=settings.alphas,
        delays=data.delays,
        cv=data.cv,
        scoring=settings.scoring,
        progress=False,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(data.features, data.targets)
        prediction = np.asarray(estimator.predict([data.held_out]))
    part = plan.parts[fold].name
    return FoldFit(
        correlation_score(data.truth, prediction),
        np.asarray(estimator.best_cv_scores_, dtype=np.float64),
        np.asarray(estimator.alpha_, dtype=np.float64),
        r2_score(data.truth, prediction),
        _mean_over_targets(estimator.cv_scores_, settings.selection),
        prediction,
        [f"{w.category.__name__}: {model.name}, {part} left out: {w.message}" for w in caught],
    )


def _band_widths(model: Model, data: FoldData) -> list[int]:
    """Columns of each band of a model."""
    ends = np.cumsum([0, *model.bands])
    return [sum(data.widths[a:b]) for a, b in itertools.pairwise(ends)]


def _transformed(model: Model, plan: FoldPlan, kept: dict[int, slice]) -> list[list[Array]]:
    """Base features of every block and run, scaled or projected with the statistics of the kept training
    rows."""
    blocks = []
    for block in model.blocks:
        rows = np.concatenate([block.runs[plan.parts[i].run][rows] for i, rows in kept.items()])
        step = _scaler(block)
        step.fit(np.asarray(rows, dtype=np.float32))
        # Delays fill in zeros before a run; silence, a row of zeros in the base features, must stay zero
        # for that.
        silence = step.transform(np.zeros((1, block.runs[0].shape[1]), dtype=np.float32))
        blocks.append([step.transform(np.asarray(run, dtype=np.float32)) - silence for run in block.runs])
    return blocks


def _scaler(block: Block) -> Any:
    if block.components is not None:
        return ScaledComponents(block.components)
    return Standardizer() if block.scaling == "column" else CommonScale()


def _cut(runs: Sequence[Array], part: Part, rows: slice, settings: FitSettings) -> Array:
    """Rows of one part; filtered over the whole part first, as its responses were."""
    filtered = runs[part.run][part.rows]
    if settings.high_pass > 0:
        filtered = high_pass(filtered, settings.tr, settings.high_pass)
    return np.ascontiguousarray(filtered[rows.start - part.start : rows.stop - part.start])


def _inner_folds(
    plan: FoldPlan, kept: dict[int, slice]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Each training chunk left out in turn, with the same gap, as indices into the concatenated training
    rows."""
    position = np.concatenate([np.arange(rows.start, rows.stop) for rows in kept.values()])
    for rows in kept.values():
        inside = (position >= rows.start) & (position < rows.stop)
        near = (position >= rows.start - plan.gap) & (position < rows.stop + plan.gap)
        yield np.flatnonzero(~near), np.flatnonzero(inside)


def _mean_over_targets(cv_scores: Array, selection: NDArray[np.bool_] | None) -> float:
    """The best over penalties of the inner score averaged over targets, (n_alphas, n_targets) -> number."""
    columns = np.asarray(cv_scores, dtype=np.float64)
    if selection is not None:
        columns = columns[:, selection]
    columns = columns[:, np.isfinite(columns).all(axis=0)]
    return float(columns.mean(axis=1).max()) if columns.size else float("-inf")
