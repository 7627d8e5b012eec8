from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features.autocorrelation import oasm, oasm_sigmas


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5), sigma=st.floats(0, 6))
def test_equal_to_the_formula(lengths: list[int], sigma: float) -> None:
    found = oasm(lengths, sigma)
    run = np.repeat(np.arange(len(lengths)), lengths)
    expected = np.zeros((len(run), len(run)))
    for i in range(len(run)):
        for j in range(len(run)):
            if i == j:
                expected[i, j] = 1.0
            elif run[i] == run[j] and sigma > 0:
                with np.errstate(over="ignore", divide="ignore"):
                    expected[i, j] = np.exp(-np.float64((i - j) ** 2) / (2 * sigma**2))
    assert [block.shape for block in found] == [(length, len(run)) for length in lengths]
    assert {block.dtype for block in found} == {np.dtype(np.float32)}
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-6)


def _held_out(features: np.ndarray, targets: np.ndarray, folds: np.ndarray, alpha: float) -> np.ndarray:
    """Ridge in its dual form, and what it says of each fold when fitted to the others."""
    predicted = np.empty_like(targets)
    for fold in np.unique(folds):
        test, train = folds == fold, folds != fold
        gram = features[train] @ features[train].T + alpha * np.eye(train.sum())
        weights = features[train].T @ np.linalg.solve(gram, targets[train])
        predicted[test] = features[test] @ weights
    return predicted


def test_it_predicts_autocorrelated_noise_between_training_samples_and_nothing_across_runs() -> None:
    rng = np.random.default_rng(0)
    lengths = [60, 60, 60, 60, 60]
    noise = np.zeros((300, 20))
    for i in range(300):
        noise[i] = rng.standard_normal(20) + (0.8 * noise[i - 1] if i % 60 else 0)
    features = np.concatenate(oasm(lengths, 1.5)).astype(np.float64)
    shuffled = _held_out(features, noise, rng.permutation(300) % 5, alpha=1.0)
    r = [np.corrcoef(shuffled[:, i], noise[:, i])[0, 1] for i in range(20)]
    assert min(r) > 0.4
    by_run = _held_out(features, noise, np.repeat(np.arange(5), 60), alpha=1.0)
    np.testing.assert_array_equal(by_run, 0)


def test_sigmas() -> None:
    sigmas = oasm_sigmas()
    assert len(sigmas) == 49
    np.testing.assert_allclose(np.diff(sigmas), 0.1)


@pytest.mark.parametrize(
    ("lengths", "sigma", "message"),
    [
        ([], 1.0, r"run_lengths=\[\]"),
        ([3, 0], 1.0, r"run_lengths=\[3, 0\]"),
        ([2.5], 1.0, "run_lengths"),
        ([3], -0.1, "sigma=-0.1"),
        ([3], np.nan, "sigma=nan"),
    ],
)
def test_bad_arguments(lengths: Any, sigma: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        oasm(lengths, sigma)
