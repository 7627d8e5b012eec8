"""The fit of a bootstrapped ridge on all samples, with the chosen penalties, and its test scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.bootstrap_components import Components, TargetTiles
from voxridge.solvers.bootstrap_scores import centred_moments, signed_root, target_sums
from voxridge.solvers.dense import Centred
from voxridge.solvers.eigenbasis import EigenBasis, decompose
from voxridge.solvers.heldout import correlation, variation
from voxridge.solvers.linalg import matmul
from voxridge.solvers.ridge import solve_in_basis
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION

Floating = NDArray[Any]
Report = Callable[[str, float], None]


class FinalFit:
    """Weights and predictions of new samples ``px``, a tile of targets at a time.

    ``alphas`` (n_targets,) are penalties. Those that the components cannot resolve use an SVD of the design;
    ``hard`` marks them.
    """

    def __init__(self, components: Components, px: Floating, alphas: Floating, return_wt: bool) -> None:
        self.components, self.px, self.alphas, self.return_wt = components, px, alphas, return_wt
        levels, level_of = np.unique(alphas, return_inverse=True)
        self.hard = np.array([components.cannot_resolve(level) for level in levels], dtype=bool)[level_of]
        # X' times dual coefficients, which are largest where X is smallest, would lose digits in float32
        exact = components.dual or components.largest > MAX_FLOAT32_CONDITION * alphas.min(initial=np.inf)
        self.dtype = np.dtype(np.float64) if exact else components.x.dtype
        self.new = components.of(px).astype(self.dtype, copy=False)
        vectors = components.vectors
        self.vectors = None if vectors is None else vectors.astype(self.dtype, copy=False)
        self._svd: EigenBasis | None = None

    def run(
        self, y: TargetTiles, py: TargetTiles, use_corr: bool, report: Report
    ) -> tuple[Floating | None, Floating]:
        """Weights (p, n_targets), or None, and scores (n_targets,) of the predictions of ``py``."""
        x = self.components.x
        weights = np.empty((x.shape[1], y.n_targets), dtype=x.dtype) if self.return_wt else None
        scores = np.empty(y.n_targets)
        for begin, end in y:
            report("fitting", begin / y.n_targets)
            prediction, coef = self._tile(y.read(begin, end).astype(self.dtype, copy=False), begin, end)
            if weights is not None:
                weights[:, begin:end] = coef
            scores[begin:end] = _scores(prediction, py.read(begin, end), use_corr)
            del prediction, coef  # before those of the next tile are made
        scores[py.missing] = 0.0
        report("fitting", 1.0)
        return weights, scores

    def _tile(self, y: Floating, begin: int, end: int) -> tuple[Floating, Floating | None]:
        hard = self.hard[begin:end]
        alphas = np.where(hard, 1.0, self.alphas[begin:end])
        smoother, design = self.components.smoother, self.components.design
        z = smoother.project(y)
        filtered = z * np.sqrt(smoother.values).astype(z.dtype)[:, None]
        _cpu.apply_penalty(filtered, smoother.values, alphas, n_threads())
        prediction = matmul(self.new, filtered)
        coef = None
        if self.return_wt and self.vectors is not None:
            coef = matmul(self.vectors, filtered, trans_a=True)
        elif self.return_wt:
            _cpu.apply_penalty(z, smoother.values, alphas, n_threads())
            coef = design.xty(matmul(smoother.wide(z.dtype), z, trans_a=True), design.everything())
        if hard.any():
            exact = self._from_svd(y[:, hard], self.alphas[begin:end][hard])
            prediction[:, hard] = matmul(self.px.astype(np.float64, copy=False), exact)
            if coef is not None:
                coef[:, hard] = exact
        return prediction, coef

    def _from_svd(self, y: Floating, alphas: Floating) -> Floating:
        if self._svd is None:
            self._svd = decompose(Centred(self.components.x, None, None), smallest_alpha=0.0, mode="svd")
        solution = solve_in_basis(self._svd, Centred(y.astype(np.float64), None, None), alphas)
        return np.ascontiguousarray(solution.coef.T)


def _scores(prediction: Floating, y: Floating, use_corr: bool) -> Floating:
    sums, squares = target_sums(y)
    products, norms = centred_moments(prediction, y, sums)
    about = variation(sums, squares, y.shape[0])
    if use_corr:
        return correlation(products, norms, about)
    return signed_root(np.divide(2 * products - norms, about, out=np.zeros_like(about), where=about > 0))
