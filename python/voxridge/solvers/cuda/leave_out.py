"""The leave-out routes on a device: every fold from one factorisation a penalty, no eigenvectors.

The mathematics is that of :mod:`voxridge.solvers.leave_out`. A pass holds H of as many penalties as the
device's memory takes; a tile of targets is multiplied by each, and the sums that scores are made from are
formed where the held-out predictions are (csrc/cuda/heldout_moments.hpp).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.bases import constant_direction
from voxridge.solvers.buffers import Buffers
from voxridge.solvers.cuda.design import DeviceDesign
from voxridge.solvers.cuda.factors import DeviceLeverage, device_leverage
from voxridge.solvers.cuda.gram_smoother import GramSmootherOnDevice
from voxridge.solvers.cuda.kernel_smoother import KernelSmootherOnDevice
from voxridge.solvers.cuda.refine import refine_chosen
from voxridge.solvers.cuda.session import Array, Floating, Session
from voxridge.solvers.cuda.smoother import DeviceSmoother
from voxridge.solvers.cuda.target_tile import DeviceSet, TargetTile, device_sets
from voxridge.solvers.design import Design
from voxridge.solvers.dual_weights import weights_dtype
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring, TargetMoments
from voxridge.solvers.leave_out import are_single, held_out_sets
from voxridge.solvers.leave_out_method import pooled_moments
from voxridge.solvers.method import Report
from voxridge.solvers.plan import Plan
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION
from voxridge.solvers.weights import DualBasis


@dataclass
class _Penalty:
    """A penalty of the pass: what smooths under it, and what leaves sets out."""

    held: Any
    leverage: DeviceLeverage


class DeviceLeaveOut:
    """See :class:`~voxridge.solvers.method.Method`; tiles are matrices on the session's device."""

    running = True
    n_dependent = 0
    basis: DualBasis | None = None

    def __init__(
        self,
        session: Session,
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
        self.session, self.design, self.alphas, self.scoring = session, design, alphas, scoring
        self.fit_intercept, self.root, self.pooled = fit_intercept, root, pooled
        self.dual = plan.side == "dual"
        sets = held_out_sets(folds, design.n_samples)
        self._single = are_single(sets, design.n_samples)
        r = constant_direction(design, root, fit_intercept)
        self.sets: list[DeviceSet] = [] if self._single else device_sets(session, sets, root, r)
        self.order = np.argsort(-alphas, kind="stable")
        self.buffers = Buffers()
        self._step = plan.alphas_per_pass
        self.n_passes = -(-alphas.size // self._step)
        self._penalties: list[_Penalty] = []
        self._made: tuple[DeviceDesign, DeviceSmoother] | None = None

    # --- factors

    def _smoother(self) -> tuple[DeviceDesign, DeviceSmoother]:
        if self._made is None:
            there = DeviceDesign(self.session, self.design, fit_intercept=self.fit_intercept, root=self.root)
            kind = KernelSmootherOnDevice if self.dual else GramSmootherOnDevice
            self._made = there, kind(there)
        return self._made

    @property
    def weights_size(self) -> int:
        return self.design.n_samples if self.dual else self.design.n_columns

    @property
    def weights_dtype(self) -> np.dtype[Any]:
        if not self.dual:
            return self.design.dtype
        return weights_dtype(self._smoother()[1].norm, float(self.alphas.min()), self.design.dtype)

    def begin(self, number: int, report: Report) -> None:
        self._penalties.clear()
        self._chosen = self.order[number * self._step : (number + 1) * self._step]
        for place, alpha in enumerate(self.alphas[self._chosen].tolist(), number * self._step):
            report("factorising penalties", place / self.alphas.size)
            self._penalties.append(self._factorised(alpha, scores=True))
        if self._chosen.size:
            report("factorising penalties", 1.0)

    def begin_refit(self, alpha: float) -> None:
        self._penalties.clear()
        self._penalties.append(self._factorised(alpha, scores=False))

    def _factorised(self, alpha: float, *, scores: bool) -> _Penalty:
        there, smoother = self._smoother()
        dtype = self.design.dtype
        leveraged = DeviceLeverage(dtype, [])
        if scores:
            leveraged = device_leverage(
                self.session, smoother, alpha, self.sets, there.r, dtype, single=self._single
            )
        smoother.set_penalty(alpha)
        exact = self.dual and smoother.norm > MAX_FLOAT32_CONDITION * alpha
        return _Penalty(smoother.hold(np.float64 if exact else leveraged.dtype), leveraged)

    # --- a tile

    def load(self, y: Array) -> None:
        self._tile = TargetTile(self.session, y, root=self.root, fit_intercept=self.fit_intercept)

    def score(self, to_beat: Floating | None = None) -> tuple[NDArray[np.intp], Floating]:
        scores = self._scores(self._tile, range(len(self._penalties)), exact=False)
        if self.session.precision != "float32" and self.design.dtype == np.float32:
            refine_chosen(self._tile, scores, self._exact_scores, to_beat)
        return self._chosen, scores

    def _exact_scores(self, tile: TargetTile, place: int) -> Floating:
        """Scores (v,) of one penalty of the pass, in float32 at the least."""
        (scores,) = self._scores(tile, [place], exact=True)
        return np.asarray(scores)

    def _scores(self, tile: TargetTile, places: Sequence[int], *, exact: bool) -> Floating:
        """Scores (n_places, v) under penalties of the pass. The host makes those of one penalty while the
        device works on the next."""
        session, moments = self.session, self._target_moments(tile)
        found = np.zeros((len(places), tile.width))
        made = (
            self._sums(tile, self._penalties[place], moments, number % 2, exact)
            for number, place in enumerate(places)
        )
        for number, sums in enumerate(session.down_in_turn("sums", made)):
            found[number] = self._finished(moments, sums)
        return found

    def _target_moments(self, tile: TargetTile) -> list[TargetMoments]:
        if not self._single:
            return tile.moments_of(self.sets)
        return [TargetMoments(tile.total, tile.sums, tile.squares, np.zeros(tile.width))]

    def _finished(self, moments: list[TargetMoments], sums: Floating) -> Floating:
        """Scores (v,) from the sums of every set."""
        parts = sums.reshape(-1, 3, sums.shape[1])
        if self._single or self.pooled:
            return pooled_moments(moments).scores(parts.sum(axis=0), self.scoring)
        total = np.zeros(sums.shape[1])
        for part, of_set in zip(parts, moments, strict=True):
            total += of_set.scores(part, self.scoring)
        return total / len(parts)

    # --- sums of held-out predictions

    def _sums(
        self, tile: TargetTile, penalty: _Penalty, moments: list[TargetMoments], slot: int, exact: bool
    ) -> Array:
        """Sums of q, q^2 and q y over the scored rows of every set, (3 n_sets, v)."""
        session, dtype = self.session, penalty.leverage.dtype
        smoothed = self._smoother()[1].smooth(penalty.held, tile, dtype, exact=exact)
        sums = tile.take(f"sums {slot}", 3 * max(1, len(self.sets)), np.float64)
        session.ops.zero(sums, session.queue)
        if self._single:
            self._single_sums(tile, penalty, smoothed, sums)
        for number, one in enumerate(self.sets):
            own = sums[3 * number : 3 * number + 3]
            mean = tile.training_means(moments, dtype)[number]
            self._set_sums(tile, penalty.leverage, number, one, smoothed, mean, own, exact)
        return sums

    def _single_sums(self, tile: TargetTile, penalty: _Penalty, smoothed: Array, sums: Array) -> None:
        assert penalty.leverage.singles is not None
        session = self.session
        y_sums = tile.sums_there if self.fit_intercept else None
        session.ops.single_moments(
            tile.as_type(penalty.leverage.dtype),
            smoothed,
            *penalty.leverage.singles,
            tile.weights,
            y_sums,
            tile.total,
            sums,
            queue=session.queue,
        )

    def _set_sums(
        self,
        tile: TargetTile,
        leverage: DeviceLeverage,
        number: int,
        one: DeviceSet,
        smoothed: Array,
        mean: Array,
        sums: Array,
        exact: bool,
    ) -> None:
        session, dtype, factor = self.session, leverage.dtype, leverage.sets[number]
        y = tile.as_type(dtype)
        moved = tile.take("moved", tile.n, dtype)
        session.ops.moved_rows(y, mean, tile.root, smoothed, one.rows, moved, queue=session.queue)
        along = None if factor.constant is None else self._along(tile, one, smoothed, dtype)
        scratch = session.ops.heldout_scratch(one.n_scored, tile.width)
        session.ops.heldout_moments(
            factor.matrix,
            moved,
            y,
            sums,
            session.take("partial sums", 1, -(-scratch // 8), np.float64)[0],
            inner=one.rows,
            base=smoothed,
            rows=one.scored,
            constant=factor.constant,
            along=along,
            scale=one.unscale,
            shift=mean if self.pooled else None,
            weights=one.weights,
            sign=-1.0,
            precision="float32" if exact else session.precision,
            queue=session.queue,
        )

    def _along(self, tile: TargetTile, one: DeviceSet, smoothed: Array, dtype: np.dtype[Any]) -> Array:
        """``r_f'H y`` (v,) of one set."""
        session = self.session
        sums = tile.take("along", 3, np.float64)
        session.ops.zero(sums, session.queue)
        session.ops.product_moments(smoothed, smoothed, one.rows, one.r, sums, queue=session.queue)
        return tile.cast(sums[:1], "along", dtype)[0]

    # --- weights

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        session, tile = self.session, self._tile
        there, smoother = self._smoother()
        weights = tile.take("weights", self.weights_size, out.dtype)
        mean = np.zeros(tile.width)
        if len(self._penalties) > 1 or (alphas != self._penalties[0].held.alpha).any():
            session.ops.zero(weights, session.queue)
        for penalty in self._penalties:
            which = np.flatnonzero(alphas == penalty.held.alpha)
            if not which.size:
                continue
            part = tile if which.size == tile.width else tile.columns(which, " of a penalty")
            made = smoother.weights(penalty.held, part, out.dtype)
            mean[which] = there.mean_prediction(made, dual=self.dual) - part.mean
            if part is tile:
                session.ops.copy(made, weights, session.queue)
            else:
                session.ops.put_columns(made, session.rows(which), weights, queue=session.queue)
        session.down_into(weights, out)
        return mean
