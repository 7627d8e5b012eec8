"""The leading singular values and vectors by randomised block Krylov iteration, one pass over the design for
each block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.linalg import matmul
from voxridge.solvers.svd_blocks import Blocks
from voxridge.solvers.svd_full import rounding
from voxridge.solvers.tsqr import EPS, Place, SequentialQR, dense_svd

Floating = NDArray[Any]
Report = Callable[[str, float], None]

OVERSAMPLING = 10  # vectors of a block beyond those asked for
_NEGLIGIBLE = 10 * EPS  # of |A|_F^2: what a product with A'A rounds


@dataclass
class LeadingSVD:
    """``w`` (p, k) vectors of the short side, ``s`` (k,), those of the long side as the orthogonal factor of
    A Q times ``left``."""

    s: Floating
    w: Floating
    left: Floating
    qr: SequentialQR
    n_passes: int
    error_bound: float
    residual_norm: float

    def large_vectors(self, k: int) -> Floating:
        """(k, n_rows), the first k; once."""
        return self.qr.unfold(self.left[:, :k])


def leading_svd(blocks: Blocks, k: int, *, n_iter: int, seed: int, keep: bool, report: Report) -> LeadingSVD:
    """Rayleigh-Ritz in the Krylov space of A'A from a random block of k + 10 vectors, A the tall matrix
    (n_rows, p) of the blocks.

    Every pass multiplies the latest block of the basis Q by A'A; the last also forms A Q, whose QR and SVD
    give the triplets. With ``rho_i = |A'A w_i - s_i^2 w_i|`` some singular value of A lies within
    ``min(rho_i / s_i, sqrt(rho_i))`` of s_i, and s_i never exceeds the i-th one, beyond rounding.

    References
    ----------
    Musco and Musco (2015), Randomized block Krylov methods for stronger and faster approximate singular value
    decomposition, NeurIPS 28.
    """
    p, width = blocks.width - blocks.extra, k + OVERSAMPLING
    basis_t, images_t = np.empty((2, (n_iter + 1) * width, p))
    start = np.random.default_rng(seed).standard_normal((p, width))
    basis_t[:width] = np.linalg.qr(start)[0].T
    begin, end, passes = 0, width, 0
    while passes < n_iter and begin < end:
        step = _Pass(blocks, basis_t[begin:end], None, keep)
        step.run(report, f"block Krylov pass {passes + 1} of {n_iter + 1}")
        passes += 1
        images_t[begin:end] = step.image_t
        more_t = _orthogonal_part(step.image_t, basis_t[:end], floor=step.square_sum * _NEGLIGIBLE)
        begin, end = end, end + more_t.shape[0]
        basis_t[begin:end] = more_t
    step = _Pass(blocks, basis_t[begin:end], basis_t[:end], keep)
    step.run(report, f"block Krylov pass {passes + 1} of {n_iter + 1}")
    images_t[begin:end] = step.image_t
    return _triplets(step, basis_t[:end], images_t[:end], k, passes + 1)


class _Pass:
    """``q A'A`` for rows q, the sum of squares of A, and the QR of ``A basis'``, in one pass over the
    rows."""

    def __init__(self, blocks: Blocks, q_t: Floating, basis_t: Floating | None, keep: bool) -> None:
        self.blocks, self.q_t, self.basis_t = blocks, q_t, basis_t
        self.image_t, self.square_sum = np.zeros(q_t.shape), 0.0
        self.qr = SequentialQR(0 if basis_t is None else basis_t.shape[0], blocks.n_rows if keep else None)

    def run(self, report: Report, step: str) -> None:
        blocks, extra = self.blocks, self.blocks.extra
        total, weight = np.zeros(self.q_t.shape[1]), 0.0
        report(step, 0.0)
        for number, block in enumerate(blocks):
            self._add(block[:, extra:].T, blocks.place(number))
            if extra:
                total += block[:, 0] @ block[:, 1:]
                weight += float(block[:, 0] @ block[:, 0])
            del block
            report(step, (number + 1) / len(blocks))
        if extra:
            offset = total / weight
            self.image_t -= np.outer(weight * (self.q_t @ offset), offset)
            self.square_sum -= weight * float(offset @ offset)
            blocks.recentre(offset)

    def _add(self, rows_t: Floating, place: Place) -> None:
        self.square_sum += float(np.einsum("ij,ij->", rows_t, rows_t))
        if self.q_t.shape[0]:
            product_t = matmul(self.q_t, rows_t)
            matmul(product_t, rows_t, trans_b=True, out=self.image_t, beta=1.0)
        if self.basis_t is not None:
            self.qr.add(matmul(self.basis_t, rows_t).T, place)


def _orthogonal_part(image_t: Floating, basis_t: Floating, floor: float) -> Floating:
    """Orthonormal rows that span what the rows of ``image_t`` have outside the rows of ``basis_t``; parts
    below ``floor`` are rounding."""
    from scipy.linalg import qr

    rest_t = image_t
    for _ in range(2):  # once leaves what the first rounding put back
        rest_t = rest_t - matmul(matmul(rest_t, basis_t, trans_b=True), basis_t)
    q, r, _ = qr(rest_t.T, mode="economic", pivoting=True, check_finite=False)
    q_t = np.ascontiguousarray(q[:, np.abs(r.diagonal()) > floor].T)
    if q_t.shape[0] == 0:
        return q_t
    q_t -= matmul(matmul(q_t, basis_t, trans_b=True), basis_t)
    return np.asarray(np.linalg.qr(q_t.T)[0].T)


def _triplets(step: _Pass, basis_t: Floating, images_t: Floating, k: int, n_passes: int) -> LeadingSVD:
    u, s, vt = dense_svd(step.qr.r)
    s, turn = s[:k], np.ascontiguousarray(vt[:k])
    wt = matmul(turn, basis_t)
    rho = np.linalg.norm(matmul(turn, images_t) - (s**2)[:, None] * wt, axis=1)
    rho += rounding(step.blocks) * s[0] ** 2
    bound = np.minimum(rho / np.maximum(s, np.finfo(np.float64).tiny), np.sqrt(rho))
    left_over = max(step.square_sum - float(s @ s), 0.0)
    return LeadingSVD(s, wt.T, u[:, :k], step.qr, n_passes, float(bound.max()), float(np.sqrt(left_over)))
