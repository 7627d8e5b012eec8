"""The leave-out route from one decomposition of the design; generalised cross-validation needs the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads, side_by_side
from voxridge.solvers.bases import Basis, products_with_mean
from voxridge.solvers.buffers import Buffers, Spares
from voxridge.solvers.costs import BLOCK_ROWS, OVERLAP, PANEL, SINGLES
from voxridge.solvers.dense import blocks
from voxridge.solvers.dual_weights import weights_dtype
from voxridge.solvers.filters import FilterBank, filter_bank
from voxridge.solvers.heldout import TargetMoments, r2
from voxridge.solvers.leave_out import HeldOut, Leverage, are_single
from voxridge.solvers.leave_out_method import LeaveOutMethod, Part, Sums, column_sums
from voxridge.solvers.linalg import matmul
from voxridge.solvers.method import Report
from voxridge.solvers.shared_leverages import leverages
from voxridge.solvers.trust import full_rank

Floating = NDArray[Any]
T = TypeVar("T")


class EigenLeaveOut(LeaveOutMethod):
    """From one decomposition of the design: ``make_basis`` gives it when it is first needed."""

    running = False

    def __init__(self, *args: Any, make_basis: Callable[..., Basis], dual: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._make_basis, self.dual = make_basis, dual
        self._decomposed: Basis | None = None
        self._components: bool = args[3].components
        self._parts = _parts(self.sets, self.design.n_samples)
        self._spares = Spares()
        self._z: dict[np.dtype[Any], Floating] = {}

    @property
    def decomposed(self) -> Basis:
        if self._decomposed is None:
            self._decomposed = self._make_basis(
                self.design,
                fit_intercept=self.fit_intercept,
                root=self.root,
                alpha_min=float(self.alphas.min()),
            )
            rank = full_rank(self.design.n_columns, self.design.n_samples, self.fit_intercept)
            self.n_dependent = rank - self._decomposed.smoother.rank
        return self._decomposed

    def factorise(self, alphas: list[float]) -> list[Leverage]:
        smoother = self.decomposed.smoother
        found = leverages(smoother, alphas, self.sets, self._at_once)
        smoother.spares.clear()
        return found

    def load(self, y: Floating) -> None:
        super().load(y)
        self._z = {}

    def project(self, dtype: Any) -> Floating:
        """z of the tile, once for all penalties."""
        dtype = np.dtype(dtype)
        if dtype not in self._z:
            smoother, y = self.decomposed.smoother, self.scaled(dtype)
            out = self._take("z", smoother.values.size, dtype)
            self._each(lambda some, number: smoother.project(y[:, some], out[:, some]))
            self._z[dtype] = out
        return self._z[dtype]

    def _each(self, work: Callable[[slice, int], T]) -> list[T]:
        """``work(columns, number)`` of every panel of the tile."""
        jobs = [partial(work, some, number) for number, some in enumerate(self._columns())]
        return list(side_by_side(jobs, min(self._panels, len(jobs))))

    def begin(self, number: int, report: Report) -> None:
        self._z.clear()
        self._spares.clear()
        self.buffers.clear()  # the next pass makes its factors first
        super().begin(number, report)
        self._banks = self._compressed()

    def _compressed(self) -> list[tuple[list[int], np.dtype[Any], FilterBank]]:
        """The filters of the pass's penalties, those of one precision together."""
        smoother, banks = self.decomposed.smoother, []
        for dtype in sorted({one.dtype for one in self._leverages}, key=str):
            places = [i for i, one in enumerate(self._leverages) if one.dtype == dtype]
            filters = smoother.filters([self._leverages[i] for i in places])
            banks.append((places, dtype, filter_bank(filters, smoother.values[smoother.used], dtype)))
        return banks

    def sums(self, targets: list[TargetMoments]) -> Iterator[Sums]:
        for places, dtype, bank in self._banks:
            z = self.project(dtype)[self.decomposed.smoother.used]
            shared = self._each(partial(self._share, bank, z))
            jobs = [
                partial(self._job, places, bank, shared[number], part, some, targets)
                for part in self._parts
                for number, some in enumerate(self._columns())
            ]
            for found in side_by_side(jobs, self._at_once if len(jobs) > 1 else 1):
                yield from found

    def _columns(self) -> list[slice]:
        """The parts of a tile that are worked on at a time."""
        width = self._y.shape[1]
        return list(blocks(width, PANEL if self._at_once > 1 else width))

    def _share(self, bank: FilterBank, z: Floating, columns: slice, number: int) -> Floating:
        """Every shared filter times z of one panel."""
        width = columns.stop - columns.start
        out = self.buffers.take(f"shared {number}", bank.share_rows, width, z.dtype).reshape(-1)
        bank.share(z[:, columns], out)
        return out

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
        with self._spares.borrow() as buffers:
            block = self._smoothed(bank, shared, part, columns, buffers)
            return list(self._part_sums(places, part, columns, block, targets, buffers))

    def _smoothed(
        self, bank: FilterBank, shared: Floating, part: Part, columns: slice, buffers: Buffers
    ) -> Floating:
        smoother, dtype = self.decomposed.smoother, shared.dtype
        left = smoother.wide(dtype)[smoother.used, part.rows]
        if not isinstance(part.rows, slice):
            left = np.ascontiguousarray(left)
        rows, width = left.shape[1], columns.stop - columns.start
        out = buffers.take("smoothed", bank.n_filters, rows * width, dtype)
        coefficients = bank.coefficients.astype(dtype)
        step = -(-rows // max(-(-rows // BLOCK_ROWS), 1))  # even blocks: a short one would waste its packing
        for begin in range(0, rows, step):
            end = min(begin + step, rows)
            mine, place = left[:, begin:end], out[:, begin * width : end * width]
            if bank.plain:
                bank.products(mine, shared, width, place)
            else:
                products = buffers.take("products", bank.n_shared, (end - begin) * width, dtype)
                bank.products(mine, shared, width, products)
                _cpu.mix_rows(coefficients, products, place, n_threads())
        return out.reshape(bank.n_filters, rows, width)

    @property
    def weights_dtype(self) -> np.dtype[Any]:
        if not self.dual or self._components:
            return self.design.dtype
        largest = float(self.decomposed.smoother.values.max(initial=0.0))
        return weights_dtype(largest, float(self.alphas.min()), self.design.dtype)

    def begin_refit(self, alpha: float) -> None:
        basis = self.decomposed
        self._x_mean = products_with_mean(self.design, basis.x_mean) if basis.dual else basis.x_mean
        if self._components:
            self.basis = basis.dual_basis()
            self._x_mean = self.basis.turn(self._x_mean[None].copy())[0]

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        z = self.project(self.design.dtype)
        if self.basis is None:
            self.decomposed.weights(z.copy(), alphas, out)
            return self.mean_prediction(out)
        out = out[: self.basis.vectors.shape[0]]

        def components(some: slice, number: int) -> Floating:
            self.decomposed.components(z[:, some], alphas[some], out[:, some])
            return self.mean_prediction(out[:, some], some)

        return np.concatenate(self._each(components))


class GeneralisedCV(EigenLeaveOut):
    """Closed form: the mean squared leave-one-out error with every leverage at its mean (Golub, Heath and
    Wahba 1979, Technometrics 21(2)). Optimistic where samples are correlated in time."""

    def factorise(self, alphas: list[float]) -> list[Leverage]:
        return [Leverage(alpha, self.design.dtype, []) for alpha in alphas]

    def _compressed(self) -> list[tuple[list[int], np.dtype[Any], FilterBank]]:
        return []  # nothing is held out

    def score(self, to_beat: Floating | None = None) -> tuple[NDArray[np.intp], Floating]:
        smoother, n = self.decomposed.smoother, self.design.n_samples
        alphas = [leveraged.alpha for leveraged in self._leverages]
        total = column_sums(self.scaled(self.design.dtype), None)[1]
        power = self.project(self.design.dtype).astype(np.float64) ** 2
        rest = total - power.sum(axis=0)  # what no penalty explains
        rest[rest < 1e3 * np.finfo(self.design.dtype).eps * total] = 0.0
        kept = np.stack([smoother.keep(alpha) for alpha in alphas])
        freedom = n - int(self.fit_intercept) - np.array([smoother.shrink(alpha).sum() for alpha in alphas])
        error = n * n * (rest + matmul(kept**2, power)) / freedom[:, None] ** 2
        return self._chosen, r2(error, np.broadcast_to(total, error.shape))


def _parts(sets: Sequence[HeldOut], n_samples: int) -> list[Part]:
    """Each set for itself, or all samples where sets overlap; single samples by blocks."""
    if are_single(sets, n_samples):
        return [Part(block, (), is_set=False) for block in blocks(n_samples, SINGLES)]
    if sum(held.rows.size for held in sets) > OVERLAP * n_samples:
        return [Part(slice(0, n_samples), range(len(sets)), is_set=False)]
    return [Part(held.index, (number,), is_set=True) for number, held in enumerate(sets)]
