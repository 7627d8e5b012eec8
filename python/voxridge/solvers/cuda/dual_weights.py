"""Dual coefficients from eigenvectors on a device: the twin of :mod:`voxridge.solvers.dual_weights`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.cuda.session import Array, Floating, Session
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION


def remove_constant(session: Session, out: Array, r: Array | None) -> None:
    """``out -= r r'out`` for dual coefficients (n, v), sums in float64; ``r`` (n,) float64, or None."""
    if r is None:
        return
    moments = session.take("constant", 3, out.shape[1], np.float64)
    session.ops.zero(moments, session.queue)
    # Weighted by r, the sum of out is r'out.
    session.ops.product_moments(out, out, None, r, moments, queue=session.queue)
    session.ops.rank_one(out, -1.0, r, moments[0], queue=session.queue)


def expand(
    session: Session,
    vectors: Mapping[np.dtype[Any], Array],
    z: Array,
    alphas: Floating,
    largest: float,
    out: Array,
) -> None:
    """``out`` (n, v) <- V z for ``vectors[dtype]`` = V' (k, n); z (k, v) is divided by l + alpha already.

    Targets whose penalties allow it are multiplied in the dtype of z, the others in float64. Where not all
    are in the dtype of ``out``, buffers: "some z" (k, v), in that of z and in float64, and "some weights"
    (n, v), in both.
    """
    dtype = np.dtype(z.dtype)
    exact = (largest > MAX_FLOAT32_CONDITION * alphas) | (dtype == np.float64)
    for needed in (False, True):
        which = np.flatnonzero(exact == needed)
        if which.size:
            _expand_columns(session, vectors[np.dtype(np.float64) if needed else dtype], z, which, out)


def _expand_columns(session: Session, v_t: Array, z: Array, which: NDArray[np.intp], out: Array) -> None:
    everyone = which.size == z.shape[1]
    part = z
    if not everyone:
        part = session.take("some z", z.shape[0], which.size, z.dtype)
        session.ops.take_columns(z, session.rows(which), part, queue=session.queue)
    part = session.cast(part, v_t.dtype, "some z")
    direct = everyone and np.dtype(v_t.dtype) == np.dtype(out.dtype)
    made = out if direct else session.take("some weights", out.shape[0], which.size, v_t.dtype)
    session.matmul(v_t, part, made, trans_a=True)
    if direct:
        return
    made = session.cast(made, out.dtype, "some weights")
    session.ops.put_columns(made, session.rows(which), out, queue=session.queue)
