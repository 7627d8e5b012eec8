"""High-pass, z-scores, delays."""

from __future__ import annotations

import numpy as np
import pytest

from voxridge.study.prepare import ScaledComponents, delayed, drift_basis, high_pass, zscore


def test_high_pass_removes_the_basis_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((80, 3))
    basis = drift_basis(80, 2.0, 100.0)
    assert basis.shape == (80, 4)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-12)
    before = data.copy()
    clean = high_pass(data + 50 * basis @ rng.standard_normal((4, 3)), 2.0, 100.0)
    np.testing.assert_allclose(clean, high_pass(data, 2.0, 100.0), atol=1e-10)
    np.testing.assert_allclose(basis.T @ clean, 0, atol=1e-10)
    np.testing.assert_array_equal(data, before)
    np.testing.assert_allclose(high_pass(data, 2.0, 0.0), data - data.mean(axis=0), atol=1e-12)


def test_high_pass_too_short() -> None:
    with pytest.raises(ValueError, match="leaves nothing of a run of 10 rows"):
        high_pass(np.zeros((10, 1)), 2.0, 3.0)


def test_zscore_keeps_type_and_survives_constant_columns() -> None:
    data = np.column_stack([np.arange(9), np.full(9, 7.3)]).astype(np.float32)
    scores = zscore(data)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[:, 0].std(), 1, rtol=1e-6)
    np.testing.assert_array_equal(scores[:, 1], 0)


def test_delayed() -> None:
    data = np.arange(1.0, 5.0)[:, None]
    np.testing.assert_array_equal(delayed(data, (0, 1, -2))[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(delayed(data, (0, 1, -2))[:, 1], [0, 1, 2, 3])
    np.testing.assert_array_equal(delayed(data, (0, 1, -2))[:, 2], [3, 4, 0, 0])


def test_scaled_components() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((50, 6)) * [9, 5, 3, 1, 1, 1]).astype(np.float32)
    scores = ScaledComponents(3).fit(rows).transform(rows)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[:, 0].std(), 1, rtol=1e-4)
    assert scores[:, 0].std() > scores[:, 1].std() > scores[:, 2].std()
