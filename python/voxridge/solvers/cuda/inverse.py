"""Factors and inverses of penalised Grams, all of them inside one matrix of the device."""

from __future__ import annotations

import numpy as np

from voxridge.solvers.cuda.session import Array, Floating, Session
from voxridge.solvers.trust import require_factor


class DeviceInverse:
    """A symmetric matrix A on the device and, one after the other, factors and inverses of ``A + alpha I`` in
    its memory: the twin of :class:`voxridge.solvers.cholesky.InPlaceInverse`."""

    def __init__(self, session: Session, a: Array) -> None:
        self.session, self.matrix, self.n = session, a, int(a.shape[0])
        self.diagonal = session.empty((self.n,), np.float64)
        session.ops.get_diagonal(a, self.diagonal, queue=session.queue)
        squares = session.empty((2, self.n), np.float64)
        session.ops.column_moments(a, 0, self.n, squares[0], squares[1], queue=session.queue)
        self.norm = float(np.sqrt(session.down(squares)[1].sum()))  # at least the largest eigenvalue
        self.alpha = np.nan
        self._inverted, self._restored = False, True

    def factorise(self, alpha: float, *, invert: bool) -> None:
        """Lower Cholesky factor of ``A + alpha I``, or its inverse.

        Raises
        ------
        UntrustedFactor
            If it is singular to working precision.
        """
        if alpha == self.alpha and invert == self._inverted:
            return
        session, ops = self.session, self.session.ops
        self.alpha = np.nan
        if not self._restored:
            ops.restore_lower(self.matrix, queue=session.queue)
        self._restored = False
        ops.set_diagonal(self.matrix, self.diagonal, alpha, queue=session.queue)
        failed = ops.cholesky(self.matrix, queue=session.queue)
        require_factor(failed, self.lower_diagonal(), self.norm, alpha)
        if invert:
            ops.cholesky_inverse(self.matrix, queue=session.queue)
        self.alpha, self._inverted = alpha, invert

    def lower_diagonal(self) -> Floating:
        """Of what the lower triangle holds: the factor or the inverse."""
        session = self.session
        out = session.take("diagonal", 1, self.n, np.float64)[0]
        session.ops.get_diagonal(self.matrix, out, queue=session.queue)
        return session.down(out)
