"""Patterns of signs for tests of a mean of zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def flips(n_items: int, n_permutations: int, rng: np.random.Generator) -> tuple[Float64, bool]:
    """Signs (m, n_items), and whether they are all patterns but the one that flips nothing.

    All of them where they are no more than asked for, else random ones.
    """
    if n_items < 31 and 2**n_items <= n_permutations + 1:
        patterns = np.arange(1, 2**n_items)
        bits = patterns[:, None] >> np.arange(n_items) & 1
        return np.where(bits == 1, -1.0, 1.0), True
    return rng.choice([-1.0, 1.0], (n_permutations, n_items)), False
