"""Intervals, shifted responses, and detection at a false discovery rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from voxridge.science.intervals import mean_interval
from voxridge.science.multiple import fdr
from voxridge.science.nulls import detect, refit_test, shift_runs
from voxridge.science.scores import correlation_score


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
    np.testing.assert_array_equal(found.detected, fdr(found.p_values).detected)


def test_detection_takes_lists() -> None:
    np.testing.assert_allclose(detect([0.1, 0.9], [0.1, 0.2, 0.3]).p_values, [1.0, 0.25])  # type: ignore[arg-type]


def test_detection_of_nothing() -> None:
    found = detect(np.zeros(10), np.ones((3, 10)))
    assert not found.detected.any()
    assert found.threshold == np.inf
    with pytest.raises(ValueError, match="no finite score"):
        detect(np.zeros(3), np.full((1, 3), np.nan))


def ridge_left_out(features: Any, runs: list[Any], penalty: float = 100.0) -> Any:
    """Correlation of leave-one-run-out ridge predictions over all rows."""
    grams = [x.T @ x for x in features]
    sides = [x.T @ y for x, y in zip(features, runs, strict=True)]
    whole = sum(grams) + penalty * np.eye(len(grams[0])), sum(sides)
    guess = [
        x @ np.linalg.solve(whole[0] - g, whole[1] - s)
        for x, g, s in zip(features, grams, sides, strict=True)
    ]
    return correlation_score(np.concatenate(runs), np.concatenate(guess))


def test_refitted_null_by_hand() -> None:
    rng = np.random.default_rng(2)
    features, runs = rng.standard_normal((3, 30, 2)), list(rng.standard_normal((3, 30, 4)))
    for x, y in zip(features, runs, strict=True):
        y[:, :2] += 0.9 * x
    given = [run.copy() for run in runs]
    test = refit_test(lambda y: ridge_left_out(features, y), runs, margin=4, n_permutations=40, seed=7)
    again = np.random.default_rng(7)
    null = np.array([ridge_left_out(features, shift_runs(runs, margin=4, rng=again)) for _ in range(40)])
    observed = ridge_left_out(features, runs)
    np.testing.assert_allclose(test.observed, observed)
    np.testing.assert_allclose(test.p_values, (1 + np.sum(null >= observed, axis=0)) / 41)
    np.testing.assert_allclose(
        test.p_family, (1 + np.sum(null.max(axis=1)[:, None] >= observed, axis=0)) / 41
    )
    np.testing.assert_allclose(test.null_max, null.max(axis=1))
    np.testing.assert_allclose(test.null_mean, null.mean(axis=0))
    np.testing.assert_allclose(test.null_sd, null.std(axis=0))
    np.testing.assert_array_equal(given, runs)
    assert test.p_values[:2].max() < 0.05
    assert test.scheme == "refit"


def test_permutations_without_a_score_are_left_out() -> None:
    rng = np.random.default_rng(5)
    runs = list(rng.standard_normal((3, 40, 2)))
    drawn = rng.standard_normal((101, 2))
    drawn[1:61, 1] = np.nan
    scores = iter(drawn)
    test = refit_test(lambda _: next(scores), runs, margin=4, n_permutations=100)
    for target, rest in enumerate((drawn[1:, 0], drawn[61:, 1])):
        observed = drawn[0, target]
        assert test.p_values[target] == pytest.approx((1 + np.sum(rest >= observed)) / (1 + len(rest)))
        assert test.null_mean[target] == pytest.approx(rest.mean())
        assert test.null_sd[target] == pytest.approx(rest.std())


@pytest.mark.parametrize("together", [7, 40])
def test_permutations_side_by_side_are_the_same(together: int) -> None:
    rng = np.random.default_rng(3)
    features, runs = rng.standard_normal((3, 30, 2)), list(rng.standard_normal((3, 30, 4)))
    options: dict[str, Any] = {"margin": 4, "n_permutations": 40, "alternative": "two-sided"}
    one = refit_test(lambda y: ridge_left_out(features, y), runs, **options)
    several = refit_test(lambda y: ridge_left_out(features, y), runs, together=together, **options)
    np.testing.assert_allclose(several.null_max, one.null_max)
    np.testing.assert_array_equal(several.p_values, one.p_values)


def test_refitted_null_keeps_its_level_across_folds(ar1: Any) -> None:
    lengths, n_studies = [60] * 4, 40
    below = []
    for study in range(n_studies):
        rng = np.random.default_rng([4, study])
        features = np.split(ar1(rng, 0.5, lengths, 5), 4)
        runs = np.split(ar1(rng, 0.5, lengths, 20), 4)
        test = refit_test(
            lambda y, x=features: ridge_left_out(x, y), runs, margin=5, n_permutations=99, together=99
        )
        below.append(np.mean(test.p_values <= 0.05))
    assert abs(np.mean(below) - 0.05) < 4 * np.std(below, ddof=1) / np.sqrt(n_studies)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_permutations": 5}, "n_permutations=5"),
        ({"alternative": "less"}, "alternative='less'"),
        ({"together": 0}, "together=0"),
        ({"margin": 15}, "margin=15 leaves 1 distinct sets of shifts"),
        ({"margin": 16}, "margin=16 for a run of 30 rows"),
        ({"margin": 0}, "margin=0"),
    ],
)
def test_refit_refusals(options: dict[str, Any], message: str) -> None:
    runs = [np.ones((30, 2))] * 2
    with pytest.raises(ValueError, match=message):
        refit_test(lambda y: y[0].mean(axis=0), runs, **{"margin": 4, **options})


def test_refit_refuses_scores_that_change_their_shape() -> None:
    runs = [np.ones((30, 2))] * 2
    sizes = iter([2, 3])
    with pytest.raises(ValueError, match=r"shape \(2,\) first and \(3,\) later"):
        refit_test(lambda y: np.ones(next(sizes)), runs, margin=4)
