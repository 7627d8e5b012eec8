"""The leave-out routes as a method: every fold from one factorisation a penalty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads, side_by_side
from voxridge.solvers.bases import Basis, constant_direction, products_with_mean
from voxridge.solvers.costs import BLOCK_ROWS, OVERLAP, PANEL, SINGLES
from voxridge.solvers.design import Design
from voxridge.solvers.dual_weights import weights_dtype
from voxridge.solvers.filters import FilterBank, filter_bank
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring, TargetMoments, r2
from voxridge.solvers.leave_out import (
    HeldOut,
    Leverage,
    Rows,
    are_single,
    held_out_predictions,
    held_out_sets,
    leverage,
)
from voxridge.solvers.linalg import matmul
from voxridge.solvers.method import Buffers, Report
from voxridge.solvers.plan import Plan
from voxridge.solvers.trust import full_rank

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
        self._single = are_single(self.sets)
        self.order = np.argsort(-alphas, kind="stable")
        self.buffers = Buffers()
        self._step, self._at_once = plan.alphas_per_pass, plan.folds_at_once
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
    def factorise(self, index: int) -> Leverage:
        """The factors of one penalty."""

    def mean_prediction(self, weights: Floating) -> Floating:
        """Weighted mean over the samples of ``X w``, less what ``load`` took off the targets."""
        fitted = matmul(self._x_mean.astype(weights.dtype)[None], weights)[0]
        return np.asarray(fitted, dtype=np.float64) - self.mean

    # --- scoring

    def begin(self, number: int, report: Report) -> None:
        chosen = self.order[number * self._step : (number + 1) * self._step]
        self._leverages = []  # the last pass's go before this one's come
        for i, index in enumerate(chosen):
            report("factorising penalties", (number * self._step + i) / self.alphas.size)
            self._leverages.append(self.factorise(int(index)))
        self._chosen = chosen

    def score(self) -> tuple[NDArray[np.intp], Floating]:
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
            everyone = _pooled(targets)
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
        all_sums, all_squares = _sums(y, weights)
        if self._single:
            return [TargetMoments(total, all_sums, all_squares, np.zeros(y.shape[1]))]
        found = []
        for held in self.sets:
            part = held.take(y)
            w = None if weights is None else weights[held.rows]
            out_sums = _sums(part, w)[0]
            left = total - float(held.rows.size if w is None else w.sum())
            scored = part[held.scored]
            w_scored = None if w is None else np.ascontiguousarray(w[held.scored])
            sums, squares = _sums(scored, w_scored)
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


class EigenLeaveOut(LeaveOutMethod):
    """From one decomposition of the design: ``make_basis`` gives it when it is first needed."""

    running = False

    def __init__(self, *args: Any, make_basis: Callable[..., Basis], dual: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._make_basis, self.dual = make_basis, dual
        self._basis: Basis | None = None
        self._parts = _parts(self.sets, self.design.n_samples)
        self._spare: list[Buffers] = []  # of jobs that have ended
        self._z: dict[np.dtype[Any], Floating] = {}

    @property
    def basis(self) -> Basis:
        if self._basis is None:
            self._basis = self._make_basis(
                self.design,
                fit_intercept=self.fit_intercept,
                root=self.root,
                alpha_min=float(self.alphas.min()),
            )
            rank = full_rank(self.design.n_columns, self.design.n_samples, self.fit_intercept)
            self.n_dependent = rank - self._basis.smoother.rank
        return self._basis

    def factorise(self, index: int) -> Leverage:
        return leverage(self.basis.smoother, float(self.alphas[index]), self.sets)

    def load(self, y: Floating) -> None:
        super().load(y)
        self._z = {}

    def project(self, dtype: Any) -> Floating:
        """z of the tile, once for all penalties."""
        dtype = np.dtype(dtype)
        if dtype not in self._z:
            smoother = self.basis.smoother
            out = self._take("z", smoother.values.size, dtype)
            self._z[dtype] = smoother.project(self.scaled(dtype), out)
        return self._z[dtype]

    def begin(self, number: int, report: Report) -> None:
        self._z.clear()
        self._spare.clear()
        self.buffers.clear()  # the next pass makes its factors first
        super().begin(number, report)
        self._banks = self._compressed()

    def _compressed(self) -> list[tuple[list[int], np.dtype[Any], FilterBank]]:
        """The filters of the pass's penalties, those of one precision together."""
        smoother, banks = self.basis.smoother, []
        for dtype in sorted({one.dtype for one in self._leverages}, key=str):
            places = [i for i, one in enumerate(self._leverages) if one.dtype == dtype]
            filters = smoother.filters([self._leverages[i] for i in places])
            banks.append((places, dtype, filter_bank(filters, smoother.values[smoother.used], dtype)))
        return banks

    def sums(self, targets: list[TargetMoments]) -> Iterator[Sums]:
        width = self._y.shape[1]
        step = PANEL if self._at_once > 1 else width
        columns = [slice(begin, min(begin + step, width)) for begin in range(0, width, step)]
        for places, dtype, bank in self._banks:
            shared = self._take("shared", bank.share_rows, dtype).reshape(-1)
            bank.share(self.project(dtype)[self.basis.smoother.used], shared)
            self.scaled(dtype)  # made before several want it at once
            jobs = [
                partial(self._job, places, bank, shared, part, some, targets)
                for part in self._parts
                for some in columns
            ]
            for found in side_by_side(jobs, self._at_once if len(jobs) > 1 else 1):
                yield from found

    def _job(
        self,
        places: Sequence[int],
        bank: FilterBank,
        shared: Floating,
        part: Part,
        columns: slice,
        targets: list[TargetMoments],
    ) -> list[Sums]:
        """Sums of one part of the samples and some of the targets, in buffers of its own."""
        try:
            buffers = self._spare.pop()
        except IndexError:
            buffers = Buffers()
        block = self._smoothed(bank, shared, part, columns, buffers)
        found = list(self._part_sums(places, part, columns, block, targets, buffers))
        self._spare.append(buffers)
        return found

    def _smoothed(
        self, bank: FilterBank, shared: Floating, part: Part, columns: slice, buffers: Buffers
    ) -> Floating:
        smoother, dtype = self.basis.smoother, shared.dtype
        left = smoother.wide(dtype)[smoother.used, part.rows]
        if not isinstance(part.rows, slice):
            left = np.ascontiguousarray(left)
        rows, width = left.shape[1], columns.stop - columns.start
        out = buffers.take("smoothed", bank.n_filters, rows * width, dtype)
        coefficients = bank.coefficients.astype(dtype)
        for begin in range(0, rows, BLOCK_ROWS):
            end = min(begin + BLOCK_ROWS, rows)
            mine, place = left[:, begin:end], out[:, begin * width : end * width]
            if bank.plain:
                bank.products(mine, shared, self._y.shape[1], columns, place)
            else:
                products = buffers.take("products", bank.n_shared, (end - begin) * width, dtype)
                bank.products(mine, shared, self._y.shape[1], columns, products)
                _cpu.mix_rows(coefficients, products, place, n_threads())
        return out.reshape(bank.n_filters, rows, width)

    @property
    def weights_dtype(self) -> np.dtype[Any]:
        if not self.dual:
            return self.design.dtype
        largest = float(self.basis.smoother.values.max(initial=0.0))
        return weights_dtype(largest, float(self.alphas.min()), self.design.dtype)

    def begin_refit(self, alpha: float) -> None:
        basis = self.basis
        self._x_mean = products_with_mean(self.design, basis.x_mean) if basis.dual else basis.x_mean

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        z = self.project(self.design.dtype).copy()
        self.basis.weights(z, alphas, out)
        return self.mean_prediction(out)


class GeneralisedCV(EigenLeaveOut):
    """Closed form: the mean squared leave-one-out error with every leverage at its mean (Golub, Heath and
    Wahba 1979, Technometrics 21(2)). Optimistic where samples are correlated in time."""

    def factorise(self, index: int) -> Leverage:
        return Leverage(float(self.alphas[index]), self.design.dtype, [])

    def _compressed(self) -> list[tuple[list[int], np.dtype[Any], FilterBank]]:
        return []  # nothing is held out

    def score(self) -> tuple[NDArray[np.intp], Floating]:
        smoother, n = self.basis.smoother, self.design.n_samples
        alphas = [leveraged.alpha for leveraged in self._leverages]
        total = _sums(self.scaled(self.design.dtype), None)[1]
        power = self.project(self.design.dtype).astype(np.float64) ** 2
        rest = total - power.sum(axis=0)  # what no penalty explains
        rest[rest < 1e3 * np.finfo(self.design.dtype).eps * total] = 0.0
        kept = np.stack([smoother.keep(alpha) for alpha in alphas])
        freedom = n - int(self.fit_intercept) - np.array([smoother.shrink(alpha).sum() for alpha in alphas])
        error = n * n * (rest + matmul(kept**2, power)) / freedom[:, None] ** 2
        return self._chosen, r2(error, np.broadcast_to(total, error.shape))


def _parts(sets: Sequence[HeldOut], n_samples: int) -> list[Part]:
    """Each set for itself, or all samples where sets overlap; single samples by blocks."""
    if are_single(sets):
        rows = [slice(i, min(i + SINGLES, n_samples)) for i in range(0, n_samples, SINGLES)]
        return [Part(block, (), is_set=False) for block in rows]
    if sum(held.rows.size for held in sets) > OVERLAP * n_samples:
        return [Part(slice(0, n_samples), range(len(sets)), is_set=False)]
    return [Part(held.index, (number,), is_set=True) for number, held in enumerate(sets)]


def _sums(y: Floating, weights: Floating | None) -> tuple[Floating, Floating]:
    """Weighted sums and sums of squares of the columns, float64."""
    moments = _product_moments(y, y, weights)
    return moments[0], moments[1]


def _product_moments(y: Floating, q: Floating, weights: Floating | None) -> Floating:
    moments = np.zeros((3, y.shape[1]))
    _cpu.product_moments(y.astype(q.dtype, copy=False), q, weights, moments, n_threads())
    return moments


def _pooled(targets: list[TargetMoments]) -> TargetMoments:
    """All sets together; the training means are in the predictions already."""
    count = sum(moments.count for moments in targets)
    sums = np.sum([moments.sums for moments in targets], axis=0)
    squares = np.sum([moments.squares for moments in targets], axis=0)
    return TargetMoments(count, sums, squares, np.zeros_like(sums))


def _reciprocal(root: Floating) -> Floating:
    """1 / root, and 0 for samples of no weight."""
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
