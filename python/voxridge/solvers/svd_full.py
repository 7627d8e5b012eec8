"""All singular values and vectors of a tall matrix in blocks of rows, small singular values included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.svd_blocks import Blocks
from voxridge.solvers.tsqr import EPS, SequentialQR, SplitProduct, dense_svd, graded_svd

Floating = NDArray[Any]
Report = Callable[[str, float], None]

_ENOUGH = 1e-4  # singular values above this share of the largest have 12 digits after one pass


@dataclass
class FullSVD:
    """``T = P diag(s) W'`` of a tall matrix T: ``w`` (width, k), and P as the orthogonal factor times
    ``left``."""

    s: Floating
    w: Floating
    left: Floating
    qr: SequentialQR
    n_passes: int
    error_bound: float
    relative_error: float

    def large_vectors(self, k: int) -> Floating:
        """P' (k, n_rows), the first k; once."""
        extra = self.qr.width - self.left.shape[0]  # the column that took up the constant direction
        return self.qr.unfold(np.concatenate([np.zeros((extra, k)), self.left[:, :k]]))


def rounding(blocks: Blocks) -> float:
    """Error of a singular value after one pass, relative to the largest: a random walk of roundings, one for
    every reflector that an entry meets and every block that R meets, with a margin."""
    return 4.0 * EPS * float(np.sqrt(blocks.width + len(blocks)))


def full_svd(blocks: Blocks, *, keep: bool, refine: bool | None, tolerance: float, report: Report) -> FullSVD:
    """One pass for R and its SVD; a second where singular values are small but not rounding.

    ``keep`` keeps the reflectors, for :meth:`FullSVD.large_vectors`. Singular values up to ``tolerance``
    times the largest count as zero. The second pass decomposes ``T V``, V from the first: its columns are
    nearly orthogonal and fall like the singular values, and formed to more than float64's precision they
    carry each of them to full relative accuracy, which QR and :func:`graded_svd` keep.
    """
    qr = _pass(blocks, keep, None, report, "decomposing the design")
    u, s, vt = dense_svd(_inner(qr, blocks))
    if blocks.extra:
        blocks.recentre(_offset(qr))
    needed = s[s > tolerance * s.max(initial=0.0)]
    smallest = float(needed.min() / needed.max()) if needed.size else 1.0
    error = rounding(blocks)
    if refine is False or (refine is None and smallest >= _ENOUGH):
        return FullSVD(s, vt.T, u, qr, 1, error * float(s[0]), error / smallest)
    del qr, u
    product = SplitProduct(vt.T)
    del vt
    qr = _pass(blocks, keep, product, report, "decomposing the design again, for its small singular values")
    u, s, turn = graded_svd(_inner(qr, blocks))
    if blocks.extra:
        blocks.recentre(product.v @ _offset(qr))
    # The entries of T v are in error by product.error sum |T|, their columns as long as the singular values.
    relative = error + 2 * EPS / _ENOUGH + product.error * product.v.shape[0] / smallest
    return FullSVD(s, product.v @ turn, u, qr, 2, error * float(s[0]), relative)


def _pass(
    blocks: Blocks, keep: bool, product: SplitProduct | None, report: Report, step: str
) -> SequentialQR:
    qr = SequentialQR(blocks.width, blocks.n_rows if keep else None)
    report(step, 0.0)
    for number, block in enumerate(blocks):
        if product is not None:
            block[:, blocks.extra :] = product(block[:, blocks.extra :])
        qr.add(block, blocks.place(number))
        del block
        report(step, (number + 1) / len(blocks))
    return qr


def _inner(qr: SequentialQR, blocks: Blocks) -> Floating:
    return qr.r[blocks.extra :, blocks.extra :]


def _offset(qr: SequentialQR) -> Floating:
    """Means of the columns behind the one that takes up the constant direction."""
    return np.asarray(qr.r[0, 1:] / qr.r[0, 0])
