"""The spectral route on a device: fold factors in groups that fit its memory, every penalty from one of them.

The mathematics is that of :mod:`voxridge.solvers.spectral`, but for the norm of the predictions: with ``A``
the scored rows in the eigenbasis of a fold, and ``z`` the training targets, held-out predictions ``A diag(1 /
(l + alpha)) z`` are summed up where they are made (csrc/cuda/heldout_moments.hpp), penalty by penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.buffers import Buffers
from voxridge.solvers.cuda.design import DeviceDesign
from voxridge.solvers.cuda.dual_weights import expand, remove_constant
from voxridge.solvers.cuda.refine import refine_chosen
from voxridge.solvers.cuda.session import Array, Floating, Session
from voxridge.solvers.cuda.spectral_folds import (
    DeviceSpectrum,
    DualFoldsOnDevice,
    FoldFactor,
    PrimalFoldsOnDevice,
)
from voxridge.solvers.cuda.target_tile import DeviceSet, TargetTile, device_sets
from voxridge.solvers.design import Design
from voxridge.solvers.dual_weights import weights_dtype
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring
from voxridge.solvers.leave_out import held_out_sets
from voxridge.solvers.method import Report
from voxridge.solvers.plan import Plan
from voxridge.solvers.trust import full_rank
from voxridge.solvers.weights import DualBasis


class DeviceSpectral:
    """See :class:`~voxridge.solvers.method.Method`; tiles are matrices on the session's device.

    Held on the device: what the engine says, and of every fold of the pass its eigenvectors, its scored rows
    in their basis (S_f, k), and ``1 / (l + alpha)`` (n_alphas, k) float64. From :meth:`begin_refit` on, also
    the eigenvectors of all samples, in float64 and in the dtype of the tiles where either needs them.

    Of a tile: "z" (k, v), "sums" (3 n_alphas, v) float64, "training means" (n_folds, v) float64, "weights"
    (weights_size, v); in the dual "training rows" (n_train, v) and what ``expand`` of dual_weights.py says;
    in the primal "X'y" and "X'y of a fold" (p, v), where float32 does not do in float64, with "y" and "wide
    z". Of the largest fold: "scaled rows" (S_f, k).

    Where the session rounds products to less than float32, penalties are compared by those and the scores of
    the best are made again in float32. That takes the factors of all folds: where they come in several
    passes, which penalty is best is not known while the first ones are there, so all products are float32.
    """

    running = False
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
    ) -> None:
        self.session, self.design, self.alphas, self.scoring = session, design, alphas, scoring
        self.folds = list(folds)
        self.fit_intercept, self.dual = fit_intercept, plan.side == "dual"
        self.there = DeviceDesign(session, design, fit_intercept=fit_intercept)
        kind = DualFoldsOnDevice if self.dual else PrimalFoldsOnDevice
        self.engine: DualFoldsOnDevice | PrimalFoldsOnDevice = kind(self.there, alpha_min=float(alphas.min()))
        self.order = np.argsort(-alphas, kind="stable")
        self._step = plan.folds_per_pass
        self.n_passes = -(-len(self.folds) // self._step)
        self._rounds = session.precision != "float32" and design.dtype == np.float32 and self.n_passes == 1
        self.buffers = Buffers()
        self._factors: list[FoldFactor] = []
        self._scales: list[Array] = []  # (n_alphas, k) float64 of each, from the largest penalty down
        self._sets: list[DeviceSet] = []
        self._full: tuple[DeviceSpectrum, dict[np.dtype[Any], Array], Array] | None = None
        self._r = None if self.there.r is None or not self.dual else session.up(self.there.r)
        self.n_dependent = 0

    @property
    def weights_size(self) -> int:
        return self.design.n_samples if self.dual else self.design.n_columns

    @property
    def weights_dtype(self) -> np.dtype[Any]:
        return weights_dtype(self.engine.norm, float(self.alphas.min()), self.design.dtype)

    # --- factors

    def begin(self, number: int, report: Report) -> None:
        self._factors.clear()
        self._scales.clear()
        begin = number * self._step
        folds = self.folds[begin : begin + self._step]
        self._sets = device_sets(self.session, held_out_sets(folds, self.design.n_samples), None, None)
        for place, fold in enumerate(folds, begin):
            report("decomposing folds", place / len(self.folds))
            factor = self.engine.factor(fold, self.scoring)
            scales = 1.0 / (factor.spectrum.l + self.alphas[self.order][:, None])
            self._factors.append(factor)
            self._scales.append(self.session.up(scales))
        if folds:
            report("decomposing folds", (begin + len(folds)) / len(self.folds))

    def begin_refit(self, alpha: float) -> None:
        if self._full is not None:
            return
        session, spectrum = self.session, self.engine.full()
        rank = full_rank(self.design.n_columns, self.design.n_samples, self.fit_intercept)
        self.n_dependent = rank - spectrum.rank
        narrow = session.cast(spectrum.q_t, self.design.dtype)
        vectors = {np.dtype(self.design.dtype): narrow}
        if self.weights_dtype == np.float64:
            vectors[np.dtype(np.float64)] = spectrum.q_t
        products = session.cast(spectrum.q_t, self.engine.product_dtype(spectrum))
        if np.dtype(products.dtype) == np.dtype(narrow.dtype):
            products = narrow
        self._full = DeviceSpectrum(spectrum.l, products), vectors, session.up(spectrum.l)

    # --- a tile

    def load(self, y: Array) -> None:
        self._tile = TargetTile(self.session, y, root=None, fit_intercept=self.fit_intercept)

    def score(self, to_beat: Floating | None = None) -> tuple[NDArray[np.intp], Floating]:
        scores = self._scores(self._tile, range(self.alphas.size), exact=not self._rounds)
        if self._rounds:
            refine_chosen(self._tile, scores, self._exact_scores)
        return self.order, scores

    def _exact_scores(self, tile: TargetTile, place: int) -> Floating:
        """Scores (v,) of one penalty, in float32 at the least."""
        return np.asarray(self._scores(tile, [place], exact=True)[0])

    def _scores(self, tile: TargetTile, places: Sequence[int], *, exact: bool) -> Floating:
        """Scores (n_places, v) under some penalties of the order, summed over the pass's folds and divided by
        the number of all folds. The host makes those of one fold while the device works on the next."""
        session, moments = self.session, tile.moments_of(self._sets)
        means = tile.training_means(moments, np.float64) if self.fit_intercept else None
        found = np.zeros((len(places), tile.width))
        made = (
            self._sums(tile, number, places, None if means is None else means[number], exact)
            for number in range(len(moments))
        )
        for of_fold, sums in zip(moments, session.down_in_turn("sums", made), strict=True):
            for row, part in zip(found, sums.reshape(-1, 3, tile.width), strict=True):
                row += of_fold.scores(part, self.scoring)
        return found / len(self.folds)

    def _sums(
        self, tile: TargetTile, number: int, places: Sequence[int], mean: Array | None, exact: bool
    ) -> Array:
        """Sums of q, q^2 and q y over the scored rows of one fold, (3 n_places, v)."""
        session, factor, scored = self.session, self._factors[number], self._sets[number]
        sums = tile.take("sums", 3 * len(places), np.float64)
        session.ops.zero(sums, session.queue)
        if not factor.spectrum.rank:
            return sums
        z = tile.take("z", factor.spectrum.rank, tile.dtype)
        self.engine.project(factor, tile, mean, z, exact=exact)
        rows = session.take("scaled rows", scored.n_scored, factor.spectrum.rank, tile.dtype)
        scratch = session.ops.heldout_scratch(scored.n_scored, tile.width)
        partial = session.take("partial sums", 1, -(-scratch // 8), np.float64)[0]
        for i, place in enumerate(places):
            session.ops.copy(factor.a, rows, session.queue)
            session.ops.scale(rows, None, self._scales[number][place], queue=session.queue)
            session.ops.heldout_moments(
                rows,
                z,
                tile.y,
                sums[3 * i : 3 * i + 3],
                partial,
                rows=scored.scored,
                precision="float32" if exact else session.precision,
                queue=session.queue,
            )
        return sums

    # --- weights

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        assert self._full is not None
        session, tile = self.session, self._tile
        spectrum, vectors, l = self._full
        z = tile.take("z", spectrum.rank, tile.dtype)
        weights = tile.take("weights", self.weights_size, out.dtype)
        if spectrum.rank:
            self.engine.project_all(spectrum, tile, z)
            session.ops.apply_penalty(z, l, session.up(alphas), queue=session.queue)
            self._expand(vectors, z, alphas, weights)
        else:
            session.ops.zero(weights, session.queue)
        session.down_into(weights, out)
        return self.there.mean_prediction(weights, dual=self.dual)

    def _expand(
        self, vectors: dict[np.dtype[Any], Array], z: Array, alphas: Floating, weights: Array
    ) -> None:
        """Weights from their components."""
        if self.dual:
            expand(self.session, vectors, z, alphas, self.engine.norm, weights)
            remove_constant(self.session, weights, self._r)
        else:
            self.session.matmul(vectors[np.dtype(z.dtype)], z, weights, trans_a=True)
