"""H of a centred kernel, n x n: the twin of :class:`voxridge.solvers.cholesky.KernelSmoother`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from voxridge.solvers.cuda.design import DeviceDesign
from voxridge.solvers.cuda.dual_weights import remove_constant
from voxridge.solvers.cuda.inverse import DeviceInverse
from voxridge.solvers.cuda.session import Array, Floating
from voxridge.solvers.cuda.target_tile import TargetTile
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION


@dataclass
class HeldMatrix:
    """``H`` (n, n) less its part along r, in the precision that its use wants."""

    alpha: float
    matrix: Array
    share: float


class KernelSmootherOnDevice:
    """``H = I - alpha (K + c r r' + alpha I)^-1 - c / (c + alpha) r r'`` of a centred kernel: see
    :class:`voxridge.solvers.cholesky.KernelSmoother`."""

    def __init__(self, design: DeviceDesign) -> None:
        session = self.session = design.session
        self.root = design.root
        kernel = design.centred_kernel()
        n = int(kernel.shape[0])
        self.n = n
        self.host_r = design.r
        self.r = None if design.r is None else session.up(design.r)
        diagonal = session.empty((n,), np.float64)
        session.ops.get_diagonal(kernel, diagonal, queue=session.queue)
        self._c = float(session.down(diagonal).sum()) / n
        if self.r is not None:
            session.ops.rank_one(kernel, self._c, self.r, self.r, queue=session.queue)
        self.inverse = DeviceInverse(session, kernel)
        self.norm = self.inverse.norm

    @property
    def _share(self) -> float:
        return 0.0 if self.r is None else self._c / (self._c + self.inverse.alpha)

    def set_penalty(self, alpha: float) -> None:
        self.inverse.factorise(alpha, invert=True)

    def rest(self, rows: Array, out: Array) -> None:
        less = self._share - 1.0  # of r r', which S has and H has not
        self.session.ops.symmetric_block(
            self.inverse.matrix, rows, self.inverse.alpha, 0.0, less, self.r, out, queue=self.session.queue
        )

    def diagonal(self) -> tuple[Floating, Floating]:
        rest = self.inverse.alpha * self.inverse.lower_diagonal()
        if self.host_r is None:
            return 1.0 - rest, rest
        rest += self._share * self.host_r**2
        return 1.0 - rest, rest - self.host_r**2

    def hold(self, dtype: Any) -> HeldMatrix:
        alpha = self.inverse.alpha
        matrix = self.session.empty((self.n, self.n), dtype)
        self.session.ops.symmetric_rows(self.inverse.matrix, 0, -alpha, 1.0, matrix, queue=self.session.queue)
        return HeldMatrix(alpha, matrix, self._share)

    def smooth(self, held: HeldMatrix, tile: TargetTile, dtype: Any, *, exact: bool) -> Array:
        session, matrix = self.session, self.session.cast(held.matrix, dtype, "rounded H")
        out = tile.take("smoothed", self.n, dtype)
        session.matmul(matrix, tile.scaled(dtype), out, exact=exact)
        if self.r is not None:
            session.ops.rank_one(out, -held.share, self.r, tile.along_r, queue=session.queue)
        return out

    def weights(self, held: HeldMatrix, tile: TargetTile, dtype: Any) -> Array:
        """Dual coefficients ``(y - H y) / alpha``, orthogonal to r and for the targets as they are."""
        session, ops = self.session, self.session.ops
        exact = self.norm > MAX_FLOAT32_CONDITION * held.alpha
        working = np.dtype(np.float64) if exact else tile.dtype
        out = self.smooth(held, tile, working, exact=True)
        ops.accumulate(1.0 / held.alpha, tile.scaled(working), -1.0 / held.alpha, out, queue=session.queue)
        remove_constant(session, out, self.r)
        if tile.root is not None:
            ops.scale(out, tile.root, None, queue=session.queue)
        return tile.cast(out, "weights cast", dtype)
