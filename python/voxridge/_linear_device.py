"""The drop-in estimators where X is on a CUDA device: fits and predictions there."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxridge._device_results import Caller
from voxridge._dispatch import CudaDevice
from voxridge.solvers.cuda.design import DeviceDesign
from voxridge.solvers.cuda.gram_smoother import GramSmootherOnDevice
from voxridge.solvers.cuda.held_design import HeldDesign
from voxridge.solvers.cuda.kernel_smoother import KernelSmootherOnDevice
from voxridge.solvers.cuda.predict import DevicePredictor
from voxridge.solvers.cuda.session import Session
from voxridge.solvers.cuda.target_tile import TargetTile
from voxridge.solvers.cuda.tiles import DeviceTiles
from voxridge.solvers.dense import Centred, Float64Array, FloatArray, weighted_mean
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.ridge import RidgeSolution
from voxridge.solvers.tiles import Targets
from voxridge.solvers.weights import PrimalWeights, in_memory
from voxridge.streams import check_finite
from voxridge.streams.device_source import DeviceSegment, DeviceSource

_MOST_PENALTIES = 32  # a factorisation each; beyond, one eigendecomposition by the processor does it
_TILE = 4096  # targets at a time


class _Fit:
    """Cholesky factors of one design on a device, and weights by them."""

    def __init__(
        self,
        cuda: CudaDevice,
        x: FloatArray,
        y: FloatArray,
        fit_intercept: bool,
        weight: Float64Array | None,
    ) -> None:
        self.session = Session(cuda.ops, cuda.number)
        self.y, self.fit_intercept = y, fit_intercept
        self.root = None if weight is None else np.sqrt(weight)
        x_mean = weighted_mean(x, weight) if fit_intercept else None
        self.x_mean = np.zeros(x.shape[1]) if x_mean is None else x_mean
        # about the mean, Grams lose no digits to an offset
        design = DelayedDesign(Centred(x, x_mean, None).whole(x.dtype))
        self.design = DeviceDesign(self.session, design, fit_intercept=fit_intercept, root=self.root)
        self.dual = x.shape[0] < x.shape[1]
        kind: Any = KernelSmootherOnDevice if self.dual else GramSmootherOnDevice
        self.smoother = kind(self.design)
        self.y_mean = y.mean(axis=0, dtype=np.float64) if fit_intercept else np.zeros(y.shape[1])

    def solve(self, alpha: float, which: Any, coef: FloatArray, intercept: FloatArray) -> None:
        """Rows ``which`` of ``coef`` (n_targets, n_features) and of ``intercept``."""
        smoother = self.smoother
        smoother.set_penalty(alpha)
        # dual coefficients are what a smoother leaves over, divided by the penalty
        working = np.dtype(np.float64) if self.dual else coef.dtype
        held = smoother.hold(working)
        targets = Targets(
            len(self.y),
            which.size,
            lambda begin, end: self.y[:, which[begin:end]],
            self.y_mean[which],
            np.ones(which.size, dtype=bool),
        )
        reader = DeviceTiles(self.session, targets, working, centre=self.fit_intercept)
        tiles = [(i, min(i + _TILE, which.size)) for i in range(0, which.size, _TILE)]
        for (begin, end), there in zip(tiles, reader.read(tiles), strict=True):
            tile = TargetTile(self.session, there, root=self.root, fit_intercept=self.fit_intercept)
            found = self._coefficients(smoother.weights(held, tile, working))
            mine = which[begin:end]
            coef[mine] = found.T
            if self.fit_intercept:
                moved = found.astype(np.float64).T @ (self.x_mean + self.design.x_mean)
                intercept[mine] = self.y_mean[mine] + tile.mean - moved

    def _coefficients(self, weights: Any) -> FloatArray:
        """(n_features, v), on the host."""
        if not self.dual:
            return self.session.down(weights)
        p = self.design.host.n_columns
        out = self.session.take("coefficients of duals", p, weights.shape[1], weights.dtype)
        return self.session.down(self.design.xty(weights, self.design.host.everything(), out))


def ridge_on(
    cuda: CudaDevice,
    x: FloatArray,
    y: FloatArray,
    alpha: Float64Array,
    *,
    fit_intercept: bool,
    sample_weight: Float64Array | None,
) -> RidgeSolution | None:
    """What :func:`~voxridge.solvers.ridge.solve_ridge` finds, by Cholesky factors on a device; None where it
    takes another route: without a penalty, with very many, or where the factors cannot be trusted."""
    alphas = np.broadcast_to(alpha.reshape(-1), (y.shape[1],))
    distinct = np.unique(alphas)
    if distinct[0] <= 0 or distinct.size > _MOST_PENALTIES:
        return None
    coef = np.empty((y.shape[1], x.shape[1]), x.dtype)
    intercept = np.zeros(y.shape[1], x.dtype)
    try:
        fit = _Fit(cuda, x, y, fit_intercept, sample_weight)
        for penalty in distinct.tolist():
            fit.solve(penalty, np.flatnonzero(alphas == penalty), coef, intercept)
    except np.linalg.LinAlgError:
        return None
    return RidgeSolution(coef, intercept, "dual-cholesky" if fit.dual else "primal-cholesky")


def predict_on_device(X: Any, coef: FloatArray, intercept: FloatArray | float, name: str) -> Any:
    """``X @ coef.T + intercept`` in X's library, on its device; ``coef`` (p,) or (n_targets, p).

    Raises
    ------
    ValueError
        If the features are not as many as in the fit, or not finite.
    """
    source = DeviceSource([DeviceSegment(X, "X")], name="X")
    columns = coef.reshape(-1, coef.shape[-1])
    if source.shape[1] != columns.shape[1]:
        raise ValueError(
            f"X has {source.shape[1]} features, but {name} is expecting {columns.shape[1]} features as input"
        )
    check_finite(source)
    dtype = np.result_type(source.dtype, coef.dtype)
    weights = PrimalWeights(in_memory(columns.T.astype(dtype, copy=False)), (0,))
    offsets = np.broadcast_to(np.asarray(intercept, dtype=dtype).reshape(-1), (len(columns),))
    design = HeldDesign(source, (0,), source.runs, dtype)
    found = DevicePredictor(source.cuda, weights, design, offsets).whole()
    if coef.ndim == 1:
        found = found.reshape(1, found.shape[0])[0]
    return Caller(source.cuda, source.library).give(found)
