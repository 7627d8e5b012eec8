"""Dual coefficients ``a = V (z / (l + alpha))`` in the precision that their use allows.

A prediction is ``K a``: it weighs the strong directions of a by l_max and cancels what a holds of the weak
ones, up to |y| / alpha. Rounding a to float32 leaves ``eps |a|`` in every direction, so past a condition
number ``l_max / alpha`` of 1e4 the coefficients are formed and kept in float64 (measured: float32 predictions
lose a whole standard deviation at 1e8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.linalg import matmul
from voxridge.solvers.plan import PANEL
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION

Floating = NDArray[Any]


def weights_dtype(largest: float, alpha_min: float, dtype: Any) -> np.dtype[Any]:
    """What dual coefficients are kept in: float64 where any penalty of the grid may need it."""
    exact = largest > MAX_FLOAT32_CONDITION * alpha_min
    return np.dtype(np.float64) if exact else np.dtype(dtype)


def remove_constant(out: Floating, r: Floating | None) -> None:
    """``out -= r r'out``: dual coefficients of centred targets are orthogonal to r, but what rounding leaves
    of it in weak eigenvectors is divided by a small penalty."""
    if r is None:
        return
    constant = matmul(r[None], out.astype(np.float64, copy=False))
    matmul(-r[:, None].astype(out.dtype), constant.astype(out.dtype), out=out, beta=1.0)


def expand(
    vectors: Callable[[Any], Floating], z: Floating, alphas: Floating, largest: float, out: Floating
) -> None:
    """``out`` (n, v) <- V z for ``vectors(dtype)`` = V' (k, n); z (k, v) is divided by l + alpha already.

    Targets go by panels, and those of a panel whose penalties allow it run in the dtype of z; so a target's
    bits do not depend on the tile that it comes in.
    """
    for begin in range(0, z.shape[1], PANEL):
        part = slice(begin, min(begin + PANEL, z.shape[1]))
        exact = (largest > MAX_FLOAT32_CONDITION * alphas[part]) | (z.dtype == np.float64)
        for needed in (False, True):
            columns = np.flatnonzero(exact == needed)
            if columns.size:
                _expand_columns(vectors, z[:, part], columns, np.float64 if needed else z.dtype, out[:, part])


def _expand_columns(
    vectors: Callable[[Any], Floating], z: Floating, columns: NDArray[np.intp], dtype: Any, out: Floating
) -> None:
    everyone = columns.size == z.shape[1]
    block = (z if everyone else z[:, columns]).astype(dtype, copy=False)
    if everyone and out.dtype == block.dtype:
        matmul(vectors(block.dtype), block, trans_a=True, out=out)
    else:
        out[:, columns] = matmul(vectors(block.dtype), np.ascontiguousarray(block), trans_a=True)
