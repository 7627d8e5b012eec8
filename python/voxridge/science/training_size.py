"""How scores grow with the training set: nested subsets of stories, a fit for each, one held-out test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.science._lines import Float64, named_value
from voxridge.science.scaling import ScalingFit, fit_scaling
from voxridge.science.scaling_subjects import roi_scores


@dataclass(frozen=True)
class NestedSubsets:
    """Subsets of stories, each of which holds the smaller ones of its draw.

    Attributes
    ----------
    unit : str
        "stories" or "hours".
    sizes : tuple of float (n_sizes,)
        Asked for, ascending.
    members : tuple (n_draws,) of tuples (n_sizes,) of tuples of int
        Positions of the stories, in their own order.
    amounts : ndarray (n_draws, n_sizes)
        What each subset holds, in the unit.
    """

    unit: str
    sizes: tuple[float, ...]
    members: tuple[tuple[tuple[int, ...], ...], ...]
    amounts: Float64


def nested_subsets(
    stories: int | Sequence[Any] | Mapping[str, float],
    sizes: Sequence[float],
    *,
    unit: str = "stories",
    n_draws: int = 1,
    seed: int = 0,
) -> NestedSubsets:
    """Random subsets of stories of growing size, the larger containing the smaller.

    Each draw shuffles the stories once; its subsets are the beginnings of that order. By hours, a subset is
    the shortest beginning that holds at least what is asked for.

    Parameters
    ----------
    stories : int, sequence, or mapping of name to hours
        How many; their names; or their lengths, which ``unit="hours"`` needs.
    sizes : sequence of number
        In the unit.
    unit : "stories" or "hours"
    n_draws : int, default 1
    seed : int

    Returns
    -------
    NestedSubsets

    Raises
    ------
    ValueError
        For sizes that are not above 0, not ascending, or more than there is; or hours without lengths.

    Examples
    --------
    >>> subsets = nested_subsets(4, [1, 2, 4], seed=1)
    >>> subsets.members[0]
    ((0,), (0, 1), (0, 1, 2, 3))
    """
    if unit not in ("stories", "hours"):
        raise ValueError(f'unit={unit!r}: give "stories" or "hours"')
    hours = _lengths(stories, unit)
    whole = float(hours.sum())
    wanted = tuple(float(size) for size in sizes)
    if not wanted or wanted[0] <= 0 or any(a >= b for a, b in pairwise(wanted)):
        raise ValueError(f"sizes={list(sizes)}: give numbers above 0 that grow")
    if wanted[-1] > whole * (1 + 1e-9):
        raise ValueError(f"sizes={list(sizes)}: there are {whole:g} {unit}")
    if unit == "stories" and any(size != int(size) for size in wanted):
        raise ValueError(f"sizes={list(sizes)}: a number of stories is whole")
    if n_draws < 1:
        raise ValueError(f"n_draws={n_draws}: give 1 or more")
    rng = np.random.default_rng(seed)
    members, amounts = [], []
    for _ in range(n_draws):
        order = rng.permutation(len(hours))
        held = np.cumsum(hours[order])
        counts = np.searchsorted(held, np.asarray(wanted) * (1 - 1e-9)) + 1
        members.append(tuple(tuple(sorted(order[:count].tolist())) for count in counts))
        amounts.append(held[counts - 1])
    return NestedSubsets(unit, wanted, tuple(members), np.stack(amounts))


def _lengths(stories: Any, unit: str) -> Float64:
    if isinstance(stories, Mapping):
        hours = np.asarray(list(stories.values()), dtype=np.float64)
        if not (hours > 0).all():
            raise ValueError("stories has a length that is not above 0")
        return hours if unit == "hours" else np.ones(len(hours))
    if unit == "hours":
        raise ValueError('unit="hours" needs a mapping of stories to their hours')
    return np.ones(int(stories) if isinstance(stories, (int, np.integer)) else len(stories))


@dataclass(frozen=True)
class TrainingSizeScores:
    """Held-out scores for every subset of the training stories.

    Attributes
    ----------
    subsets : NestedSubsets
    samples : ndarray (n_draws, n_sizes) int
        Rows that were trained on.
    scores : ndarray (n_draws, n_sizes, n_targets)
        On the same held-out runs throughout.
    test : tuple of int
        Positions of the held-out runs.
    scoring : str
        "correlation" or "r2".
    """

    subsets: NestedSubsets
    samples: NDArray[np.int64]
    scores: Float64
    test: tuple[int, ...]
    scoring: str

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Header and rows: one row for each subset, with the mean score over targets."""
        unit = self.subsets.unit
        header = ["draw", unit, *(["stories"] if unit == "hours" else []), "samples", f"mean {self.scoring}"]
        rows = []
        for draw, members in enumerate(self.subsets.members):
            for i, subset in enumerate(members):
                amount = float(self.subsets.amounts[draw, i])
                held = [amount, len(subset)] if unit == "hours" else [len(subset)]
                rows.append([draw + 1, *held, int(self.samples[draw, i]), _mean(self.scores[draw, i])])
        return header, rows


def _mean(values: Float64) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def score_by_training_size(
    features: Sequence[ArrayLike],
    responses: Sequence[ArrayLike],
    sizes: Sequence[float],
    *,
    test: Sequence[int],
    hours: Sequence[float] | None = None,
    n_draws: int = 3,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    n_folds: int = 5,
    progress: bool = False,
) -> TrainingSizeScores:
    """Fits :class:`~voxridge.EncodingRidge` on nested subsets of the training stories and scores each on the
    same held-out stories.

    Penalties are chosen inside each subset. Where a subset has fewer than ``n_folds`` stories, its folds are
    the stories; a single story is cut into ``n_folds`` contiguous blocks.

    Parameters
    ----------
    features, responses : sequence of array_like (n_rows, n_features) and (n_rows, n_targets)
        One of each for every run (story).
    sizes : sequence of number
        Of the subsets, in stories; in hours where ``hours`` are given.
    test : sequence of int
        Positions of the runs that are held out; all others may be trained on.
    hours : sequence of float (n_runs,), optional
        Lengths of all runs.
    n_draws : int, default 3
        How many times the stories are shuffled. A subset that comes again is not fitted again.
    seed : int
    settings : mapping, optional
        Arguments of EncodingRidge but ``cv``, such as ``{"delays": (1, 2, 3, 4)}``.
    n_folds : int, default 5
    progress : bool, default False

    Returns
    -------
    TrainingSizeScores

    Raises
    ------
    ValueError
        For runs that do not match, a test set that is empty or everything, or settings that hold ``cv``.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = [rng.standard_normal((60, 5)) for _ in range(6)]
    >>> weights = rng.standard_normal((5, 3))
    >>> responses = [run @ weights + 2 * rng.standard_normal((60, 3)) for run in features]
    >>> settings = {"delays": (0,), "alphas": [10.0]}
    >>> found = score_by_training_size(
    ...     features, responses, [1, 2, 4], test=[4, 5], settings=settings, n_draws=1
    ... )
    >>> found.scores.shape
    (1, 3, 3)
    """
    options = dict(settings or {})
    if "cv" in options:
        raise ValueError("settings holds cv: the folds follow from the subset, give n_folds")
    if len(features) != len(responses):
        raise ValueError(f"{len(features)} runs of features and {len(responses)} of responses: give as many")
    held = sorted({int(i) for i in test})
    train = [i for i in range(len(features)) if i not in held]
    if not held or not train or held[0] < 0 or held[-1] >= len(features):
        raise ValueError(f"test={list(test)} of {len(features)} runs: hold out some of them, not all")
    if hours is not None and len(hours) != len(features):
        raise ValueError(f"hours has {len(hours)} entries for {len(features)} runs")
    lengths = len(train) if hours is None else {str(i): float(hours[i]) for i in train}
    unit = "stories" if hours is None else "hours"
    drawn = nested_subsets(lengths, sizes, unit=unit, n_draws=n_draws, seed=seed)
    members = tuple(tuple(tuple(train[i] for i in subset) for subset in draw) for draw in drawn.members)
    subsets = NestedSubsets(drawn.unit, drawn.sizes, members, drawn.amounts)
    scoring = str(options.get("scoring", "correlation"))
    fit = _fitter(features, responses, held, options, n_folds)
    scores = _all_scores(members, fit, progress)
    rows = [int(np.shape(run)[0]) for run in features]
    samples = np.array(
        [[sum(rows[i] for i in subset) for subset in draw] for draw in members], dtype=np.int64
    )
    return TrainingSizeScores(subsets, samples, scores, tuple(held), scoring)


def _fitter(
    features: Sequence[Any],
    responses: Sequence[Any],
    held: Sequence[int],
    options: dict[str, Any],
    n_folds: int,
) -> Callable[[tuple[int, ...]], Float64]:
    from voxridge.encoding import EncodingRidge

    def fit(subset: tuple[int, ...]) -> Float64:
        cv: Any = "leave-one-run-out" if 1 < len(subset) < n_folds else n_folds
        model = EncodingRidge(**({"progress": False} | options | {"cv": cv}))
        model.fit([features[i] for i in subset], [responses[i] for i in subset])
        return np.asarray(model.score([features[i] for i in held], [responses[i] for i in held]))

    return fit


def _all_scores(
    members: tuple[tuple[tuple[int, ...], ...], ...],
    fit: Callable[[tuple[int, ...]], Float64],
    progress: bool,
) -> Float64:
    from voxridge._progress import Progress

    known: dict[tuple[int, ...], Float64] = {}
    distinct = list(dict.fromkeys(subset for draw in members for subset in draw))
    with Progress(progress) as report:
        for i, subset in enumerate(distinct):
            known[subset] = fit(subset)
            report("training sizes", (i + 1) / len(distinct))
    return np.stack([np.stack([known[subset] for subset in draw]) for draw in members])


@dataclass(frozen=True)
class DataScaling:
    """The line of scores on the logarithm of the training set's size.

    Attributes
    ----------
    fit : ScalingFit
        Of the mean over draws. Its classical interval is too narrow: the subsets are nested, so their scores
        are not independent.
    draw_slopes, draw_intercepts : ndarray (n_draws,) or (n_draws, n_targets)
        The line of each draw: how much the choice of stories matters.
    """

    fit: ScalingFit
    draw_slopes: Float64
    draw_intercepts: Float64


def data_scaling(
    sizes: TrainingSizeScores | ArrayLike,
    scores: ArrayLike | None = None,
    *,
    rois: Sequence[Any] | Mapping[str, ArrayLike] | None = None,
    unit: str = "stories",
    level: float = 0.95,
) -> DataScaling:
    """Line of the score on log10 of the amount of training data.

    Parameters
    ----------
    sizes : TrainingSizeScores, or array_like of shape (n_sizes,)
        What :func:`score_by_training_size` gives, or amounts.
    scores : array_like of shape (n_sizes,), (n_draws, n_sizes) or (n_draws, n_sizes, n_targets)
        With amounts only.
    rois : labels (n_targets,) or mapping of str to mask, optional
        Targets become the means of these regions. Without: the mean over all targets of a TrainingSizeScores.
    unit : str
        What amounts are counted in.
    level : float, default 0.95

    Returns
    -------
    DataScaling

    Raises
    ------
    ValueError
        For scores that do not match the sizes, or as :func:`~voxridge.science.scaling.fit_scaling`.

    Examples
    --------
    >>> found = data_scaling([1, 2, 4, 8], [0.10, 0.15, 0.19, 0.25])
    >>> print(f"{found.fit.slope:.3f} per decade of {found.fit.predictor}")
    0.163 per decade of stories
    """
    if isinstance(sizes, TrainingSizeScores):
        if scores is not None:
            raise ValueError("scores are in the TrainingSizeScores: do not give them again")
        amounts, unit = sizes.subsets.amounts.mean(axis=0), sizes.subsets.unit
        values = sizes.scores
        regions = {"all": np.ones(values.shape[2], dtype=bool)} if rois is None else rois
        means = [np.stack(list(roi_scores(draw, regions).values()), axis=1) for draw in values]
        values = np.stack(means)[..., 0] if rois is None else np.stack(means)
    else:
        if scores is None or rois is not None:
            raise ValueError("amounts need scores, and rois need a TrainingSizeScores")
        amounts, values = np.asarray(sizes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        values = values[None] if values.ndim == 1 else values
    if values.ndim not in (2, 3) or values.shape[1:2] != amounts.shape:
        raise ValueError(f"sizes has shape {amounts.shape} and scores has shape {values.shape}")
    names = [named_value(amount, unit) for amount in amounts]
    fit = fit_scaling(amounts, values.mean(axis=0), predictor=unit, log=True, names=names, level=level)
    draws = [fit_scaling(amounts, draw, predictor=unit, log=True) for draw in values]
    return DataScaling(fit, np.stack([d.slope for d in draws]), np.stack([d.intercept for d in draws]))
