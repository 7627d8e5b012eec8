"""How well a subject is predicted from pools of 1, 2, 3, ... other subjects."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge._warnings import LeakageWarning
from voxridge.science._pools import PooledRidge, Predict, draw_pools, mean_scores, trained_scores
from voxridge.science.conditions import Conditions

if TYPE_CHECKING:
    from voxridge.science.extrapolation import ExtrapolatedCeiling
    from voxridge.solvers.folds import Fold

Array = NDArray[Any]
Bools = NDArray[np.bool_]
ALPHAS = np.logspace(-2, 7, 19)


@dataclass(frozen=True)
class SharedPoints:
    """Scores of subjects in one space, the points of all held-out subjects below each other.

    Attributes
    ----------
    sizes, folds, held_out : ndarray (n_points,)
        Subjects in the subset, the fold, and who was held out.
    scores : ndarray (n_points, n_targets)
    """

    sizes: NDArray[np.intp]
    folds: NDArray[np.intp]
    held_out: NDArray[np.intp]
    scores: Array


@dataclass(frozen=True)
class SubsetScores:
    """Scores of every held-out subject from every pool, in every fold.

    Attributes
    ----------
    sizes : ndarray of int (n_points,)
        Subjects in the subset, the held-out one among them: 2 to all.
    folds : ndarray of int (n_points,)
    pools : ndarray of bool (n_subjects, n_points, n_subjects)
        Whether subject k predicted at a point where subject s was held out: ``pools[s, point, k]``.
    scores : tuple of ndarray (n_points, n_targets), one per subject
        Correlations; float32 for float32 responses.
    conditions : Conditions
    """

    sizes: NDArray[np.intp]
    folds: NDArray[np.intp]
    pools: Bools
    scores: tuple[Array, ...]
    conditions: Conditions

    @property
    def stacked(self) -> Array:
        """Targets of all subjects side by side, (n_points, n_targets of all), for ``extrapolate_ceiling``."""
        return np.concatenate(self.scores, axis=1)

    @property
    def subject(self) -> NDArray[np.intp]:
        """Whose target each column of ``stacked`` is, (n_targets of all,)."""
        return np.repeat(np.arange(len(self.scores)), [part.shape[1] for part in self.scores])

    def extrapolate(self, *, shared: bool = False, **options: Any) -> ExtrapolatedCeiling:
        """The ceiling for infinitely many subjects, whole folds drawn in its bootstraps.

        Parameters
        ----------
        shared : bool
            False: a ceiling for every target of every subject, in the order of ``stacked``. True, for
            subjects in one space: one for every place, from all held-out subjects together.
        **options
            Of :func:`voxridge.science.extrapolation.extrapolate_ceiling`.

        Returns
        -------
        ExtrapolatedCeiling

        Raises
        ------
        ValueError
            As ``extrapolate_ceiling``; or if ``shared`` and subjects have different numbers of targets.
        """
        from voxridge.science.extrapolation import extrapolate_ceiling

        if shared:
            points = self.shared
            return extrapolate_ceiling(points.sizes, points.scores, **{"groups": points.folds, **options})
        return extrapolate_ceiling(self.sizes, self.stacked, **{"groups": self.folds, **options})

    @property
    def shared(self) -> SharedPoints:
        """The points of all subjects below each other, for subjects whose targets are the same places.

        Raises
        ------
        ValueError
            If subjects have different numbers of targets.
        """
        widths = [part.shape[1] for part in self.scores]
        if len(set(widths)) > 1:
            raise ValueError(f"subjects have {widths} targets: put together only those in one space")
        n = len(self.scores)
        held_out = np.repeat(np.arange(n), self.sizes.size)
        return SharedPoints(
            np.tile(self.sizes, n), np.tile(self.folds, n), held_out, np.concatenate(self.scores, axis=0)
        )


def subset_scores(
    subjects: Sequence[ArrayLike],
    runs: Sequence[int] | None = None,
    *,
    folds: Any = 5,
    gap: int = 0,
    predictor: Literal["mean", "ridge"] | Predict = "mean",
    sizes: Sequence[int] | None = None,
    n_subsets: int | None = 10,
    alphas: ArrayLike = ALPHAS,
    inner_folds: int = 5,
    run_names: Sequence[str] | None = None,
    seed: int = 0,
) -> SubsetScores:
    """Predict each subject from pools of the others, for subsets of 2 subjects to all of them.

    Parameters
    ----------
    subjects : sequence of array_like (n_samples, n_targets)
        Responses of each subject to the same stimuli, row by row. Targets may differ between subjects unless
        ``predictor="mean"``. Float32 or float64.
    runs : sequence of int, optional
        Run lengths. Default: one run.
    folds : int, "leave-one-run-out", or iterable of (train, test)
        Scored apart, one correlation each. An int makes folds of whole neighbouring runs, or contiguous
        chunks of a single run.
    gap : int
        Training rows closer than this to a scored row of the same run are left out.
    predictor : {"mean", "ridge"} or callable
        "mean": the others' mean at the same target, each scaled to variance 1 in the fold; nothing is
        trained. "ridge": ridge regression on all targets of the others side by side, each scaled by its
        training rows, with a penalty per target from contiguous inner folds. A callable gets (pooled
        training features, training responses, pooled test features) and returns predictions.
    sizes : sequence of int, optional
        Subjects in a subset, the held-out one among them. Default: 2, 3, ... to all; with dozens of subjects
        a few sizes spread over that range do, and save memory: a score is kept for every pool, fold and
        target of every held-out subject.
    n_subsets : int or None
        Pools per size and held-out subject, drawn without repeats where there are more; None takes all.
    alphas : array_like (n_alphas,)
        Penalties of "ridge", as in scikit-learn, in units of features with variance 1.
    inner_folds : int
        Contiguous chunks of the training rows that choose the penalty.
    run_names : sequence of str, optional
        For the conditions. Default: "run-1", "run-2", ...
    seed : int

    Returns
    -------
    SubsetScores
        A target that is constant or not finite in a fold has no score there, and none from a pool whose mean
        would need it; "ridge" leaves such columns out of the features.

    Raises
    ------
    ValueError
        For fewer than three subjects, rows or targets that do not match, bad folds, sizes that there are not,
        fewer than one subset or two inner folds, or an unknown predictor.

    Warns
    -----
    LeakageWarning
        If given folds mix training and scored rows (shuffled folds) and something is trained: neighbouring
        samples are alike, and the ceiling is inflated.
    AlphaEdgeWarning
        If more than 1 % of the penalties of "ridge" are at an end of the grid; once, with the share.

    References
    ----------
    Schrimpf et al. 2021, "The neural architecture of language: Integrative modeling converges on predictive
    processing", PNAS 118(45); they regress without a penalty over shuffled folds.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.subsets import subset_scores
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.standard_normal((200, 3))
    >>> found = subset_scores([signal + rng.standard_normal((200, 3)) for _ in range(4)], folds=4)
    >>> means = [found.stacked[found.sizes == size].mean() for size in (2, 3, 4)]
    >>> means == sorted(means), round(float(means[0]), 1)
    (True, 0.5)
    """
    from voxridge.solvers.folds import make_folds

    data = _matrices(subjects)
    lengths = [data[0].shape[0]] if runs is None else [int(length) for length in runs]
    _check_options(data, lengths, predictor, n_subsets, inner_folds)
    parts = make_folds(folds, lengths, gap=gap)
    if predictor != "mean":
        _warn_of_mixing(parts)
    chosen = _sizes(sizes, len(data))
    at, pools = draw_pools(len(data), chosen, n_subsets, np.random.default_rng(seed))
    if predictor == "mean":
        found = [mean_scores(data, fold, pools) for fold in parts]
    else:
        predict = PooledRidge(np.asarray(alphas), inner_folds, gap) if predictor == "ridge" else predictor
        found = [trained_scores(data, fold, pools, predict) for fold in parts]
        if isinstance(predict, PooledRidge):
            predict.warn_of_edges()
    return SubsetScores(
        np.tile(at, len(parts)),
        np.repeat(np.arange(len(parts)), at.size),
        np.tile(pools, (1, len(parts), 1)),
        tuple(np.concatenate([fold[s] for fold in found]) for s in range(len(data))),
        _conditions(folds, parts, gap, lengths, run_names),
    )


def _sizes(sizes: Sequence[int] | None, n_subjects: int) -> list[int]:
    if sizes is None:
        return list(range(2, n_subjects + 1))
    found = sorted({int(size) for size in sizes})
    if not found or found[0] < 2 or found[-1] > n_subjects:
        raise ValueError(f"sizes={list(sizes)}: give numbers from 2 to {n_subjects}, the subjects there are")
    return found


def _warn_of_mixing(parts: Sequence[Fold]) -> None:
    """Warn where more than a quarter of the scored rows have a neighbour that was trained on."""
    touching = sum(
        np.sum(np.isin(f.validation - 1, f.train) | np.isin(f.validation + 1, f.train)) for f in parts
    )
    share = touching / sum(f.validation.size for f in parts)
    if share > 0.25:
        warnings.warn(
            f"{share:.0%} of the scored rows have a neighbour among the training rows: shuffled folds "
            "inflate scores and ceilings of autocorrelated responses; use contiguous folds (folds=5)",
            LeakageWarning,
            stacklevel=3,
        )


def _conditions(
    folds: Any, parts: Sequence[Fold], gap: int, lengths: Sequence[int], names: Sequence[str] | None
) -> Conditions:
    if isinstance(folds, str):
        split = folds
    elif isinstance(folds, int | np.integer):
        kind = "contiguous chunks" if len(lengths) == 1 else "folds of whole runs"
        split = f"{len(parts)} {kind}"
    else:
        split = f"{len(parts)} given folds"
    found = tuple(names) if names is not None else tuple(f"run-{i + 1}" for i in range(len(lengths)))
    if len(found) != len(lengths):
        raise ValueError(f"run_names has {len(found)} names for {len(lengths)} runs: give one each")
    n_samples = sum(fold.validation.size for fold in parts)
    return Conditions(f"{split}, gap {gap}", found, n_samples=n_samples, combine="mean of folds")


def _matrices(subjects: Sequence[ArrayLike]) -> list[Array]:
    data = [np.asarray(part) for part in subjects]
    data = [part if part.dtype in (np.float32, np.float64) else part.astype(np.float64) for part in data]
    for number, part in enumerate(data):
        if part.ndim != 2:
            raise ValueError(f"subjects[{number}] has shape {part.shape}: give (n_samples, n_targets)")
    if len(data) < 3:
        raise ValueError(f"subjects holds {len(data)}: a curve over pools needs at least three subjects")
    return data


def _check_options(
    data: list[Array], lengths: Sequence[int], predictor: Any, n_subsets: int | None, inner_folds: int
) -> None:
    rows = [part.shape[0] for part in data]
    if len(set(rows)) > 1 or sum(lengths) != rows[0]:
        raise ValueError(
            f"subjects have {rows} rows and runs {list(lengths)}: all must have the same samples"
        )
    if not (predictor in ("mean", "ridge") or callable(predictor)):
        raise ValueError(f"predictor={predictor!r}: give 'mean', 'ridge' or a callable")
    widths = [part.shape[1] for part in data]
    if predictor == "mean" and len(set(widths)) > 1:
        raise ValueError(
            f"subjects have {widths} targets: the mean of the others needs the same targets in all; "
            "use predictor='ridge'"
        )
    if n_subsets is not None and n_subsets < 1:
        raise ValueError(f"n_subsets={n_subsets}: give at least 1, or None for all")
    if inner_folds < 2:
        raise ValueError(f"inner_folds={inner_folds}: a penalty needs at least 2 to be chosen")
