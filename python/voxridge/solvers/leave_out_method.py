"""The leave-out routes as a method: every fold from one factorisation a penalty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.bases import constant_direction
from voxridge.solvers.buffers import Buffers
from voxridge.solvers.design import Design
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring, TargetMoments
from voxridge.solvers.leave_out import (
    HeldOut,
    Leverage,
    Rows,
    are_single,
    held_out_predictions,
    held_out_sets,
)
from voxridge.solvers.linalg import matmul
from voxridge.solvers.method import Report
from voxridge.solvers.plan import Plan
from voxridge.solvers.weights import DualBasis

Floating = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Rows that are smoothed together, and the numbers of the sets among them; ``is_set``: they are that
    set."""

    rows: slice | Rows
    sets: Sequence[int]
    is_set: bool


Sums = tuple[int, int, slice, Floating]
"""Place of a penalty in its pass, number of a set, columns of the tile, and over the set's scored rows the
sums of q, q^2 and q y, (3, columns)."""


class LeaveOutMethod(ABC):
    """See :class:`~voxridge.solvers.method.Method` and :mod:`voxridge.solvers.leave_out`.

    ``root`` holds the square roots of the sample weights, or None. ``pooled`` scores the held-out predictions
    of all folds together, which is what leave-one-out needs; else every fold is scored and the mean taken.
    """

    dual = True
    n_dependent = 0
    basis: DualBasis | None = None

    def __init__(
        self,
        design: Design,
        alphas: Floating,
        folds: Sequence[Fold],
        plan: Plan,
        *,
        scoring: Scoring,
        fit_intercept: bool,
        root: Floating | None = None,
        pooled: bool = False,
    ) -> None:
        self.design, self.alphas, self.scoring, self.fit_intercept = design, alphas, scoring, fit_intercept
        self.root, self.pooled = root, pooled
        self.weights = None if root is None else root**2
        self.sets = held_out_sets(folds, design.n_samples)
        self._single = are_single(self.sets, design.n_samples)
        self.order = np.argsort(-alphas, kind="stable")
        self.buffers = Buffers()
        self._step, self._at_once = plan.alphas_per_pass, plan.folds_at_once
        self._panels = plan.panels_at_once
        self.n_passes = -(-alphas.size // self._step)
        self._leverages: list[Leverage] = []
        self._x_mean = np.empty(0)
        self._r = constant_direction(design, root, fit_intercept)

    @property
    def weights_size(self) -> int:
        return self.design.n_samples if self.dual else self.design.n_columns

    @property
    def weights_dtype(self) -> np.dtype[Any]:
        return self.design.dtype

    # --- the tile

    def _take(self, name: str, rows: int, dtype: Any) -> Floating:
        return self.buffers.take(name, rows, self._y.shape[1], dtype)

    def load(self, y: Floating) -> None:
        """``y`` (n, v) in the design's dtype; it may be centred by the unweighted means."""
        self._y = y
        self._forms: dict[np.dtype[Any], Floating] = {}
        self.mean = np.zeros(y.shape[1])
        if self.root is not None and self.weights is not None and self.fit_intercept:
            self.mean = (self.weights @ y) / self.weights.sum()
            self._y = y - self.mean.astype(y.dtype)

    def scaled(self, dtype: Any) -> Floating:
        """The tile in the coordinates of the sample weights."""
        dtype = np.dtype(dtype)
        if dtype not in self._forms:
            if self.root is None and dtype == self._y.dtype:
                self._forms[dtype] = self._y
            else:
                form = self._take("scaled", self._y.shape[0], dtype)
                np.copyto(form, self._y)
                if self.root is not None:
                    form *= self.root.astype(dtype)[:, None]
                self._forms[dtype] = form
        return self._forms[dtype]

    @abstractmethod
    def factorise(self, alphas: list[float]) -> list[Leverage]:
        """The factors of the penalties of a pass."""

    def mean_prediction(self, weights: Floating, columns: slice = slice(None)) -> Floating:
        """Weighted mean over the samples of ``X w``, less what ``load`` took off the targets, which are those
        ``columns`` of the tile."""
        fitted = matmul(self._x_mean.astype(weights.dtype)[None], weights)[0]
        return np.asarray(fitted, dtype=np.float64) - self.mean[columns]

    # --- scoring

    def begin(self, number: int, report: Report) -> None:
        chosen = self.order[number * self._step : (number + 1) * self._step]
        self._leverages = []  # the last pass's go before this one's come
        report("factorising penalties", number * self._step / self.alphas.size)
        self._leverages = self.factorise(self.alphas[chosen].tolist())
        self._chosen = chosen

    def score(self, to_beat: Floating | None = None) -> tuple[NDArray[np.intp], Floating]:
        targets = self._target_moments()
        width, single = self._y.shape[1], self._single
        totals = np.zeros((len(self._leverages), width))
        pools = np.zeros((len(self._leverages), 3, width))
        for place, number, columns, sums in self.sums(targets):
            if single or self.pooled:
                pools[place][:, columns] += sums
            else:
                found = targets[number].of(columns).scores(sums, self.scoring)
                totals[place, columns] += found / len(self.sets)
        if single or self.pooled:
            everyone = pooled_moments(targets)
            totals = np.stack([everyone.scores(pool, self.scoring) for pool in pools])
        return self._chosen, totals

    @abstractmethod
    def sums(self, targets: list[TargetMoments]) -> Iterator[Sums]:
        """Of the held-out predictions of the tile, under every penalty of the pass."""

    def _part_sums(
        self,
        places: Sequence[int],
        part: Part,
        columns: slice,
        block: Floating,
        targets: list[TargetMoments],
        buffers: Buffers,
    ) -> Iterator[Sums]:
        """Of some penalties, samples and targets; ``block`` (n_penalties, rows of the part, columns) is what
        the factors want of the scaled tile there."""
        if self._single:
            for place, smoothed in zip(places, block, strict=True):
                yield place, 0, columns, self._single_moments(place, smoothed, part, columns, targets[0])
            return
        for number in part.sets:
            held, moments = self.sets[number], targets[number].of(columns)
            moved = self._moved(held, columns, moments.train_mean, block.dtype)
            q = buffers.take("held out", held.rows.size, block.shape[2], block.dtype)
            r = None if self._r is None else self._r[held.rows]
            for place, smoothed in zip(places, block, strict=True):
                mine = smoothed if part.is_set else held.take(smoothed)
                held_out_predictions(self._leverages[place], number, mine, moved, r, q)
                yield place, number, columns, self._moments(q, held, columns, moments)

    def _target_moments(self) -> list[TargetMoments]:
        """Of every set, over its scored rows; of leave-one-out, one for all samples."""
        y, weights = self._y, self.weights
        total = float(y.shape[0] if weights is None else weights.sum())
        # Close to 0 where there is an intercept, and no closer than the targets' precision: small penalties
        # would magnify what is left, so it counts.
        all_sums, all_squares = column_sums(y, weights)
        if self._single:
            return [TargetMoments(total, all_sums, all_squares, np.zeros(y.shape[1]))]
        found = []
        for held in self.sets:
            part = held.take(y)
            w = None if weights is None else weights[held.rows]
            out_sums = column_sums(part, w)[0]
            left = total - float(held.rows.size if w is None else w.sum())
            scored = part[held.scored]
            w_scored = None if w is None else np.ascontiguousarray(w[held.scored])
            sums, squares = column_sums(scored, w_scored)
            count = float(scored.shape[0] if w_scored is None else w_scored.sum())
            mean = (all_sums - out_sums) / left if self.fit_intercept else np.zeros(y.shape[1])
            found.append(TargetMoments(count, sums, squares, mean))
        return found

    def _moved(self, held: HeldOut, columns: slice, mean: Floating, dtype: Any) -> Floating:
        """The set's targets less their training means, in the coordinates of the sample weights."""
        y = held.take(self.scaled(dtype))[:, columns]
        shift = mean if self.root is None else np.outer(self.root[held.rows], mean)
        return np.asarray(y - shift.astype(dtype))

    def _moments(self, q: Floating, held: HeldOut, columns: slice, targets: TargetMoments) -> Floating:
        """Sums of q, q^2 and q y over the scored rows of a set; pooled ones of q and the training mean."""
        weights = None if self.weights is None else self.weights[held.rows]
        if self.root is not None:
            q *= _reciprocal(self.root[held.rows]).astype(q.dtype)[:, None]
        if self.pooled:
            q += targets.train_mean.astype(q.dtype)
        y = held.take(self._y)[held.scored][:, columns]
        w = None if weights is None else np.ascontiguousarray(weights[held.scored])
        return _product_moments(y, q[held.scored], w)

    def _single_moments(
        self, place: int, smoothed: Floating, part: Part, columns: slice, targets: TargetMoments
    ) -> Floating:
        """Leave-one-out, some rows of it: no solves."""
        rows, leveraged = part.rows, self._leverages[place]
        assert leveraged.diagonal is not None
        dtype = smoothed.dtype
        h, rest = (row[rows].astype(dtype)[:, None] for row in leveraged.diagonal)
        every = np.ones(self.design.n_samples) if self.weights is None else self.weights
        weights, y = every[rows], self._y[rows, columns].astype(dtype, copy=False)
        mean = np.zeros_like(y)
        if self.fit_intercept:
            mean -= y * weights.astype(dtype)[:, None]
            mean += targets.sums[columns].astype(dtype)
            mean /= (every.sum() - weights).astype(dtype)[:, None]
        root = np.ones(weights.size) if self.root is None else self.root[rows]
        moved = self.scaled(dtype)[rows, columns] - root.astype(dtype)[:, None] * mean
        prediction = (smoothed - h * moved) / rest
        prediction *= _reciprocal(root).astype(dtype)[:, None]
        prediction += mean
        return _product_moments(y, prediction, None if self.weights is None else weights)


def column_sums(y: Floating, weights: Floating | None) -> tuple[Floating, Floating]:
    """Weighted sums and sums of squares of the columns, float64."""
    moments = _product_moments(y, y, weights)
    return moments[0], moments[1]


def _product_moments(y: Floating, q: Floating, weights: Floating | None) -> Floating:
    moments = np.zeros((3, y.shape[1]))
    _cpu.product_moments(y.astype(q.dtype, copy=False), q, weights, moments, n_threads())
    return moments


def pooled_moments(targets: list[TargetMoments]) -> TargetMoments:
    """All sets together; the training means are in the predictions already."""
    count = sum(moments.count for moments in targets)
    sums = np.sum([moments.sums for moments in targets], axis=0)
    squares = np.sum([moments.squares for moments in targets], axis=0)
    return TargetMoments(count, sums, squares, np.zeros_like(sums))


def _reciprocal(root: Floating) -> Floating:
    """1 / root, and 0 for samples of no weight."""
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
