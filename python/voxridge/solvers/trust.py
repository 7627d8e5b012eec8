"""When a factorisation of a Gram matrix may be believed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_FLOAT32_CONDITION = 1e4
"""Largest condition number of the penalised Gram matrix at which its products may be formed in float32."""

MAX_FLOAT32_GAIN = 10.0
"""Largest factor by which a fold may magnify the rounding of principal components (solvers/spectrum.py)."""


class UntrustedFactor(np.linalg.LinAlgError):
    """The penalised Gram is singular to working precision: its small directions hold rounding only."""


def gram_noise(largest: float, order: int) -> float:
    """What rounding leaves in the eigenvalues of a Gram matrix of this order, absolute."""
    return order * float(np.finfo(np.float64).eps) * max(largest, 0.0)


def require_factor(failed: int, diagonal: NDArray[Any], largest: float, alpha: float) -> None:
    """Check a Cholesky factor of a penalised Gram.

    Parameters
    ----------
    failed : int
        What LAPACK says of the factorisation: 0 where it ended.
    diagonal : ndarray (order,)
        Of the factor.
    largest : float
        At least the largest eigenvalue.
    alpha : float
        The penalty.

    Raises
    ------
    UntrustedFactor
        If the factor holds rounding only, somewhere.
    """
    if failed or float(diagonal.min(initial=np.inf)) ** 2 <= gram_noise(largest, diagonal.size):
        raise UntrustedFactor(f"the Gram matrix is singular to working precision at alpha = {alpha:g}")


def full_rank(n_columns: int, n_train: int, fit_intercept: bool) -> int:
    """Of a centred design, unless its features depend on each other."""
    return min(n_columns, n_train - int(fit_intercept))


def require_trust(values: NDArray[Any], rank: int, alpha_min: float) -> None:
    """Check ascending eigenvalues of a centred Gram whose rank is ``rank`` unless features depend on each
    other.

    Raises
    ------
    UntrustedFactor
        If the smallest of them plus ``alpha_min`` is within the rounding of the largest.
    """
    if rank < 1 or values.size < rank:
        return
    noise = gram_noise(float(values[-1]), values.size)
    smallest = max(float(values[values.size - rank]), 0.0)
    if smallest + alpha_min <= noise:
        raise UntrustedFactor(
            f"with alpha = {alpha_min:g} the Gram matrix is singular to working precision: its smallest "
            f"eigenvalue is {smallest:.3g}, rounding of the largest is {noise:.3g}"
        )
