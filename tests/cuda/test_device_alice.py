"""Real fMRI on a device: 27 listeners to a chapter of Alice, by the lengths of its words."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from voxridge import EncodingRidge
from voxridge._warnings import AlphaEdgeWarning
from voxridge.demo.alice import FIRST_ROW, TR, load_alice
from voxridge.features import tr_times

pytestmark = [
    pytest.mark.alice,
    pytest.mark.filterwarnings(f"ignore::{AlphaEdgeWarning.__module__}.AlphaEdgeWarning"),
]


@pytest.fixture(scope="module")
def listeners(alice: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 7): words of 1, 2, ... 7 or more letters in a TR; time courses (n, 6 of each listener)."""
    data = load_alice(alice)
    times = tr_times(data.n_rows, TR, FIRST_ROW - TR / 2)
    letters = np.array([len(word) for word in data.words.text]).clip(1, 7) - 1
    during = np.searchsorted(times + TR / 2, data.words.onset).clip(0, data.n_rows - 1)
    x = np.zeros((data.n_rows, 7), dtype=np.float32)
    np.add.at(x, (during, letters), 1.0)
    y = np.concatenate(list(data.listeners.values()), axis=1)
    return x, y.astype(np.float32)


def fit(data: tuple[np.ndarray, np.ndarray], **options: Any) -> EncodingRidge:
    model = EncodingRidge(np.logspace(0, 6, 13), delays=(1, 2, 3, 4), cv=5, progress=False, **options)
    return model.fit(*data)


@pytest.mark.parametrize("solver", ["dual-cholesky", "primal-cholesky", "dual-spectral", "primal-spectral"])
def test_as_on_the_processor(on_cuda: ModuleType, listeners: Any, solver: str) -> None:
    here, there = fit(listeners, device="cpu"), fit(listeners, device="cuda", solver=solver)
    assert there.plan_.device == "cuda:0"
    np.testing.assert_allclose(there.cv_scores_, here.cv_scores_, atol=1e-5)
    assert (there.alpha_ == here.alpha_).mean() > 0.98
    assert here.best_cv_scores_.mean() > 0.05


@pytest.mark.parametrize(("precision", "rounding"), [("tf32", 2e-3), ("bf16", 2e-2)])
def test_what_rounding_costs(on_cuda: ModuleType, listeners: Any, precision: str, rounding: float) -> None:
    here = fit(listeners, device="cpu")
    there = fit(listeners, device="cuda", solver="dual-cholesky", precision=precision)
    chosen = here.cv_scores_[np.searchsorted(here.alphas_, there.alpha_), np.arange(there.n_targets_)]
    np.testing.assert_allclose(there.best_cv_scores_, chosen, atol=1e-5)
    assert (here.best_cv_scores_ - chosen).max() < rounding / 4
    assert np.abs(there.cv_scores_ - here.cv_scores_).max() < rounding
