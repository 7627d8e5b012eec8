"""Pools of subjects, and scores of held-out subjects from them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge._warnings import AlphaEdgeWarning
from voxridge.science.scores import correlation_score

if TYPE_CHECKING:
    from voxridge.solvers.folds import Fold

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Predict = Callable[[Array, Array, Array], Array]
_BLOCK_ELEMENTS = 1 << 21


def draw_pools(
    n_subjects: int, at_sizes: Sequence[int], n_subsets: int | None, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Bools]:
    """Sizes (n_pools,) and who is in the pool, (n_subjects, n_pools, n_subjects): as many for every held-out
    subject."""
    sizes: list[int] = []
    pools: list[list[Bools]] = [[] for _ in range(n_subjects)]
    for size in at_sizes:
        there_are = comb(n_subjects - 1, size - 1)
        count = there_are if n_subsets is None else min(n_subsets, there_are)
        sizes += [size] * count
        for held_out in range(n_subjects):
            others = np.delete(np.arange(n_subjects), held_out)
            for chosen in _subsets(others, size - 1, count, there_are, rng):
                pools[held_out].append(np.isin(np.arange(n_subjects), chosen))
    return np.array(sizes, dtype=np.intp), np.array(pools)


def _subsets(
    others: NDArray[np.intp], n: int, count: int, there_are: int, rng: np.random.Generator
) -> Iterator[Sequence[int]]:
    """``count`` different subsets of n; all of them in order where that is all there are."""
    if there_are <= 4 * count:
        everything = list(itertools.combinations(others.tolist(), n))
        picked = range(there_are) if count == there_are else np.sort(rng.permutation(there_are)[:count])
        yield from (everything[int(i)] for i in picked)
        return
    seen: set[tuple[int, ...]] = set()
    while len(seen) < count:
        seen.add(tuple(sorted(rng.choice(others, n, replace=False).tolist())))
    yield from sorted(seen)


def mean_scores(data: list[Array], fold: Fold, pools: Bools) -> list[Array]:
    """Correlation with the mean of each pool, from the correlations between subjects alone: the mean of the
    pool's entries in the subject's row, over the root of the mean of the pool's own block."""
    n_subjects, n_pools = pools.shape[:2]
    n_rows, n_targets = len(fold.validation), data[0].shape[1]
    scores = [np.empty((n_pools, n_targets), dtype=part.dtype) for part in data]
    weights = (pools / pools.sum(axis=2, keepdims=True)).astype(np.float64)
    step = max(1, _BLOCK_ELEMENTS // (n_subjects * max(n_rows, n_pools)))
    for start in range(0, n_targets, step):
        columns = slice(start, min(start + step, n_targets))
        scaled = np.stack([_unit(part[fold.validation, columns]) for part in data])
        between = np.einsum("int,jnt->ijt", scaled, scaled)
        bad = ~np.isfinite(np.einsum("iit->it", between))
        between = np.where(np.isfinite(between), between, 0.0)
        for held_out in range(n_subjects):
            weight = weights[held_out]
            undefined = bad[held_out] | ((weight > 0) @ bad.astype(np.float64) > 0)
            product = weight @ between[held_out]
            spread = np.einsum("pi,pit->pt", weight, np.tensordot(weight, between, axes=(1, 1)))
            with np.errstate(invalid="ignore", divide="ignore"):
                r = np.clip(product / np.sqrt(spread), -1.0, 1.0)
            scores[held_out][:, columns] = np.where(undefined | (spread < 1e-14), np.nan, r)
    return scores


def _unit(block: Array) -> Float64:
    """Columns with mean 0 and sum of squares 1; NaN where constant or not finite."""
    values = np.array(block, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        scale = np.abs(values).max(axis=0)
        values -= values.mean(axis=0)
        spread = np.abs(values).max(axis=0)
        values /= np.where(spread > 8 * np.finfo(np.float64).eps * scale, spread, np.nan)
        values /= np.sqrt(np.einsum("ij,ij->j", values, values))
    return values


def trained_scores(
    data: list[Array], fold: Fold, pools: Bools, predict: Predict | PooledRidge
) -> list[Array]:
    """Scores in one fold; subjects held out from the same pool are predicted together."""
    scores = [np.empty((pools.shape[1], part.shape[1]), dtype=part.dtype) for part in data]
    scaled = [_scaled(part, fold) for part in data]
    if isinstance(predict, PooledRidge):
        predict.prepare(fold, scaled)
    places: dict[bytes, list[tuple[int, int]]] = {}
    for held_out, point in itertools.product(range(pools.shape[0]), range(pools.shape[1])):
        places.setdefault(pools[held_out, point].tobytes(), []).append((held_out, point))
    for at in places.values():
        pool = np.flatnonzero(pools[at[0]])
        targets = [data[held_out][fold.train] for held_out, _ in at]
        if isinstance(predict, PooledRidge):
            prediction = predict.from_pool(pool, np.concatenate(targets, axis=1))
        else:
            train, test = (np.concatenate([scaled[k][i] for k in pool], axis=1) for i in (0, 1))
            prediction = np.asarray(predict(train, np.concatenate(targets, axis=1), test))
        edges = np.cumsum([part.shape[1] for part in targets])[:-1]
        for (held_out, point), own in zip(at, np.split(prediction, edges, axis=1), strict=True):
            scores[held_out][point] = correlation_score(data[held_out][fold.validation], own)
    return scores


def _scaled(part: Array, fold: Fold) -> tuple[Array, Array]:
    """Training and test rows with the training rows' mean 0 and variance 1; columns without either are left
    out."""
    train, test = part[fold.train], part[fold.validation]
    with np.errstate(invalid="ignore", over="ignore"):
        mean, spread = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
        level = np.abs(train).max(axis=0)
        usable = np.isfinite(spread) & (spread > 1e-7 * level) & np.isfinite(test).all(axis=0)
    mean, spread = mean[usable].astype(part.dtype), spread[usable].astype(part.dtype)
    return (train[:, usable] - mean) / spread, (test[:, usable] - mean) / spread


class PooledRidge:
    """Ridge on the columns of several subjects. Kernels of subjects add up, and the columns of a pool are
    rotated into as many as there are rows, which changes no ridge prediction."""

    def __init__(self, alphas: Float64, inner_folds: int, gap: int) -> None:
        self.alphas, self.inner_folds, self.gap = alphas, inner_folds, gap
        self.n_edge = self.n_chosen = 0

    def prepare(self, fold: Fold, scaled: list[tuple[Array, Array]]) -> None:
        """The kernels of every subject in this fold."""
        wide = [(train.astype(np.float64), test.astype(np.float64)) for train, test in scaled]
        self.among = [train @ train.T for train, _ in wide]
        self.across = [test @ train.T for train, test in wide]
        self.inner = list(_inner_folds(fold.train, self.inner_folds, self.gap))

    def from_pool(self, pool: NDArray[np.intp], targets: Array) -> Array:
        """Predictions of the test rows, NaN for targets that cannot be fitted."""
        from voxridge.encoding import EncodingRidge

        values, vectors = np.linalg.eigh(np.sum([self.among[k] for k in pool], axis=0))
        kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
        root = np.sqrt(values[kept])
        train = vectors[:, kept] * root
        test = np.sum([self.across[k] for k in pool], axis=0) @ (vectors[:, kept] / root)
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(targets).all(axis=0) & (np.ptp(targets, axis=0) > 0)
        prediction = np.full((test.shape[0], targets.shape[1]), np.nan)
        if not usable.any():
            return prediction
        model = EncodingRidge(self.alphas, delays=(0,), cv=self.inner, gap=0, device="cpu", progress=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AlphaEdgeWarning)  # counted, and said once for all
            model.fit(train, np.ascontiguousarray(targets[:, usable], dtype=np.float64))
        prediction[:, usable] = model.predict(test)
        chosen = np.asarray(model.alpha_)
        ends = (chosen <= self.alphas.min() * (1 + 1e-9)) | (chosen >= self.alphas.max() * (1 - 1e-9))
        self.n_edge, self.n_chosen = self.n_edge + int(ends.sum()), self.n_chosen + chosen.size
        return prediction

    def warn_of_edges(self) -> None:
        share = self.n_edge / max(self.n_chosen, 1)
        if share > 0.01:
            warnings.warn(
                f"{share:.1%} of {self.n_chosen} penalties are at an end of the grid ({self.alphas.min():g} "
                f"to {self.alphas.max():g}); targets without signal choose the largest, but if many others "
                "do, give wider alphas",
                AlphaEdgeWarning,
                stacklevel=3,
            )


def _inner_folds(rows: NDArray[np.intp], n: int, gap: int) -> Iterator[tuple[Array, Array]]:
    """Contiguous chunks of the training rows, as positions among them, ``gap`` rows apart from the rest."""
    for chunk in np.array_split(np.arange(rows.size), n):
        first, last = rows[chunk[0]], rows[chunk[-1]]
        yield np.flatnonzero((rows < first - gap) | (rows > last + gap)), chunk
