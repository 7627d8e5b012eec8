"""Noise with a memory, for what must hold whatever the autocorrelation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter


@pytest.fixture
def ar1() -> Callable[..., NDArray[Any]]:
    """Stationary first-order autoregressive noise of unit variance, runs independent."""

    def draw(
        rng: np.random.Generator, coefficient: float, lengths: Sequence[int], n_series: int
    ) -> NDArray[Any]:
        runs = []
        for length in lengths:
            drive = rng.standard_normal((length, n_series)) * np.sqrt(1 - coefficient**2)
            drive[0] = rng.standard_normal(n_series)
            runs.append(lfilter([1], [1, -coefficient], drive, axis=0))
        return np.concatenate(runs)

    return draw
