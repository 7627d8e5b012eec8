"""Intervals, shifted responses, and detection at a false discovery rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from voxridge.science.intervals import mean_interval
from voxridge.science.nulls import detect, shift_runs


def test_interval_equals_scipy() -> None:
    values = np.random.default_rng(0).standard_normal((9, 3))
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, 8, loc=values.mean(0), scale=stats.sem(values, axis=0))
    np.testing.assert_allclose(interval.low, low)
    np.testing.assert_allclose(interval.high, high)


def test_interval_with_gaps() -> None:
    interval = mean_interval(np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]]))
    np.testing.assert_array_equal(interval.mean, [2, 5, np.nan])
    np.testing.assert_array_equal(np.isnan(interval.low), [False, True, True])
    with pytest.raises(ValueError, match="level=95"):
        mean_interval([1.0, 2.0], level=95)


def test_shift_keeps_each_run_but_moves_it() -> None:
    runs = [np.arange(30.0)[:, None], np.arange(40.0)[:, None]]
    shifted = shift_runs(runs, margin=6, rng=np.random.default_rng(0))
    for before, after in zip(runs, shifted, strict=True):
        np.testing.assert_array_equal(np.sort(after, axis=0), before)
        moved = int(np.flatnonzero(after[:, 0] == 0)[0])
        assert 6 <= moved <= len(before) - 6
    with pytest.raises(ValueError, match="margin=20 for a run of 30 rows"):
        shift_runs(runs, margin=20, rng=np.random.default_rng(0))


def test_detection_finds_signal_and_keeps_its_rate() -> None:
    rng = np.random.default_rng(1)
    scores = rng.standard_normal(2000)
    scores[:200] += 6
    scores[-1] = np.nan
    found = detect(scores, rng.standard_normal((4, 2000)))
    assert found.detected[:200].mean() > 0.95
    assert found.detected[200:].sum() / found.detected.sum() < 0.1
    assert not found.detected[-1]
    assert np.nanmin(found.p_values) > 0
    assert found.threshold == scores[found.detected].min()


def test_detection_of_nothing() -> None:
    found = detect(np.zeros(10), np.ones((3, 10)))
    assert not found.detected.any()
    assert found.threshold == np.inf
    with pytest.raises(ValueError, match="no finite score"):
        detect(np.zeros(3), np.full((1, 3), np.nan))
