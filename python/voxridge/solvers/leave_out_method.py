"""The leave-out routes as a method: every fold from one factorisation a penalty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.bases import Basis, constant_direction, products_with_mean
from voxridge.solvers.costs import OVERLAP, SINGLES
from voxridge.solvers.design import Design
from voxridge.solvers.dual_weights import weights_dtype
from voxridge.solvers.filters import FilterBank, filter_bank
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring, TargetMoments, r2
from voxridge.solvers.leave_out import (
    HeldOut,
    Leverage,
    Rows,
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

    @property
    def scattered(self) -> bool:
        return not isinstance(self.rows, slice)


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
        self.order = np.argsort(-alphas, kind="stable")
        self.buffers = Buffers()
        self._step = plan.alphas_per_pass
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
        width, single = self._y.shape[1], self._single()
        totals = np.zeros((len(self._leverages), width))
        pools = np.zeros((len(self._leverages), 3, width))
        for chosen, part, block in self.smoothed():
            if single:
                for place, smoothed in zip(chosen, block, strict=True):
                    pools[place] += self._single_moments(place, smoothed, part, targets[0])
                continue
            for number in part.sets:
                for place, sums in self._set_moments(chosen, part, block, number, targets[number]):
                    if self.pooled:
                        pools[place] += sums
                    else:
                        totals[place] += targets[number].scores(sums, self.scoring) / len(self.sets)
        if single or self.pooled:
            everyone = _pooled(targets)
            totals = np.stack([everyone.scores(pool, self.scoring) for pool in pools])
        return self._chosen, totals

    @abstractmethod
    def smoothed(self) -> Iterator[tuple[Sequence[int], Part, Floating]]:
        """Places of penalties of the pass, a part of the samples, and what their factors want of the scaled
        tile there, (n_penalties, rows of the part, v)."""

    def _target_moments(self) -> list[TargetMoments]:
        """Of every set, over its scored rows; of leave-one-out, one for all samples."""
        y, weights = self._y, self.weights
        total = float(y.shape[0] if weights is None else weights.sum())
        # Close to 0 where there is an intercept, and no closer than the targets' precision: small penalties
        # would magnify what is left, so it counts.
        all_sums, all_squares = _sums(y, weights)
        if self._single():
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

    def _single(self) -> bool:
        return all(held.rows.size == 1 for held in self.sets)

    def _set_moments(
        self, chosen: Sequence[int], part: Part, block: Floating, number: int, targets: TargetMoments
    ) -> Iterator[tuple[int, Floating]]:
        """Sums over the scored rows of a set of the held-out predictions under some penalties."""
        held, dtype = self.sets[number], block.dtype
        rows, width = held.rows.size, block.shape[2]
        y, root = held.take(self.scaled(dtype)), None if self.root is None else self.root[held.rows]
        mean = targets.train_mean
        moved = y - (mean if root is None else np.outer(root, mean)).astype(dtype)
        r = None if self._r is None else self._r[held.rows]
        q = self.buffers.take("held out", rows, width, dtype)
        for place, smoothed in zip(chosen, block, strict=True):
            mine = smoothed if part.is_set else held.take(smoothed)
            held_out_predictions(self._leverages[place], number, mine, moved, r, q)
            yield place, self._moments(q, held, targets if self.pooled else None)

    def _moments(self, q: Floating, held: HeldOut, shift: TargetMoments | None) -> Floating:
        """Sums of q, q^2 and q y over the scored rows of a set; ``shift`` adds its training mean to q."""
        weights = None if self.weights is None else self.weights[held.rows]
        if self.root is not None:
            q *= _reciprocal(self.root[held.rows]).astype(q.dtype)[:, None]
        if shift is not None:
            q += shift.train_mean.astype(q.dtype)
        y = held.take(self._y)[held.scored]
        w = None if weights is None else np.ascontiguousarray(weights[held.scored])
        return _product_moments(y, q[held.scored], w)

    def _single_moments(self, place: int, smoothed: Floating, part: Part, targets: TargetMoments) -> Floating:
        """Leave-one-out, some rows of it: no solves."""
        rows, leveraged = part.rows, self._leverages[place]
        assert leveraged.diagonal is not None
        dtype = smoothed.dtype
        h, rest = (row[rows].astype(dtype)[:, None] for row in leveraged.diagonal)
        every = np.ones(self.design.n_samples) if self.weights is None else self.weights
        weights, y = every[rows], self._y[rows].astype(dtype, copy=False)
        mean = np.zeros_like(y)
        if self.fit_intercept:
            mean -= y * weights.astype(dtype)[:, None]
            mean += targets.sums.astype(dtype)
            mean /= (every.sum() - weights).astype(dtype)[:, None]
        root = np.ones(weights.size) if self.root is None else self.root[rows]
        prediction = (smoothed - h * (self.scaled(dtype)[rows] - root.astype(dtype)[:, None] * mean)) / rest
        prediction *= _reciprocal(root).astype(dtype)[:, None]
        prediction += mean
        return _product_moments(self._y[rows], prediction, None if self.weights is None else weights)


class EigenLeaveOut(LeaveOutMethod):
    """From one decomposition of the design: ``make_basis`` gives it when it is first needed."""

    running = False

    def __init__(self, *args: Any, make_basis: Callable[..., Basis], dual: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._make_basis, self.dual = make_basis, dual
        self._basis: Basis | None = None
        self._parts = _parts(self.sets, self.design.n_samples)
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

    def smoothed(self) -> Iterator[tuple[Sequence[int], Part, Floating]]:
        smoother, width = self.basis.smoother, self._y.shape[1]
        for places, dtype, bank in self._banks:
            z, left = self.project(dtype)[smoother.used], smoother.wide(dtype)[smoother.used]
            shared = self._take("shared", bank.share_rows, dtype).reshape(-1)
            bank.share(z, shared)
            for part in self._parts:
                mine = np.ascontiguousarray(left[:, part.rows]) if part.scattered else left[:, part.rows]
                rows = mine.shape[1]
                products = self._take("products", bank.n_shared * rows, dtype)
                bank.products(mine, shared, products.reshape(bank.n_shared, rows, width))
                yield places, part, self._mixed(bank, products, rows)

    def _mixed(self, bank: FilterBank, products: Floating, rows: int) -> Floating:
        if bank.plain:
            return products.reshape(-1, rows, products.shape[1])
        mixed = self._take("smoothed", bank.n_filters * rows, products.dtype)
        coefficients = bank.coefficients.astype(products.dtype)
        flat = products.reshape(bank.n_shared, -1), mixed.reshape(bank.n_filters, -1)
        _cpu.mix_rows(coefficients, *flat, n_threads())
        return mixed.reshape(bank.n_filters, rows, -1)

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
    if all(held.rows.size == 1 for held in sets):
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
