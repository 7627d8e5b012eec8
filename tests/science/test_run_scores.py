"""Scores of runs, and scores that carry their conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxridge.science.conditions import Conditions
from voxridge.science.run_scores import make_scores, score_by_run
from voxridge.science.scores import (
    correlation_score,
    r2_score,
    signed_r2_score,
    spe_score,
)

RUNS = [30, 12, 18]
SLICES = [slice(0, 30), slice(30, 42), slice(42, 60)]


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((60, 5))
    return y, y + rng.standard_normal((60, 5))


def test_signed_squares(pair: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = pair
    p[:, 1] *= -1
    r = np.array([np.corrcoef(y[:, v], p[:, v])[0, 1] for v in range(5)])
    np.testing.assert_allclose(signed_r2_score(y, p), np.sign(r) * r**2, rtol=1e-12)
    assert signed_r2_score(y, p)[1] < 0
    y[3, 0] = np.nan
    assert np.isnan(signed_r2_score(y, p)).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("metric", ["r", "signed r2", "R2"])
def test_runs_alone_and_together(pair: tuple[np.ndarray, np.ndarray], metric: Any) -> None:
    y, p = pair
    score = {"r": correlation_score, "signed r2": signed_r2_score, "R2": r2_score}[metric]
    alone = np.array([score(y[rows], p[rows]) for rows in SLICES])
    averaged = score_by_run(y, p, RUNS, metric=metric)
    np.testing.assert_allclose(averaged.by_run, alone, rtol=1e-12)
    np.testing.assert_allclose(averaged.values, alone.mean(axis=0), rtol=1e-12)
    joined = score_by_run(y, p, RUNS, metric=metric, combine="concatenated")
    np.testing.assert_array_equal(joined.values, score(y, p))
    assert np.abs(joined.values - averaged.values).max() > 1e-3
    assert (averaged.lengths, averaged.n_defined.tolist()) == ((30, 12, 18), [3] * 5)


def test_a_run_without_a_score_is_left_out_of_that_mean(pair: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = pair
    y[SLICES[1], 2] = 4.0
    y[:, 3] = np.nan
    found = score_by_run(y, p, RUNS)
    assert found.n_defined.tolist() == [3, 3, 2, 0, 3]
    expected = np.mean([correlation_score(y[rows, 2], p[rows, 2])[0] for rows in (SLICES[0], SLICES[2])])
    assert found.values[2] == pytest.approx(expected)
    assert np.isnan(found.values[3])
    interval = found.interval()
    assert interval.low[0] < found.values[0] < interval.high[0]


def test_scores_carry_their_conditions(pair: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = pair
    together = Conditions("leave-one-run-out", ("a", "b", "c"))
    scores = make_scores(y, p, together, metric="signed r2")
    np.testing.assert_array_equal(scores.values, signed_r2_score(y, p))
    assert (scores.metric, scores.conditions.n_samples) == ("signed r2", 60)
    apart = Conditions("leave-one-run-out", ("a", "b", "c"), combine="mean of runs")
    np.testing.assert_array_equal(make_scores(y, p, apart, runs=RUNS).values, score_by_run(y, p, RUNS).values)
    assert together.differences(apart) == ["combine: concatenated against mean of runs"]


def test_signal_power_explained_carries_its_conditions() -> None:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((200, 4))
    repeats = signal + rng.standard_normal((6, 200, 4))
    made = Conditions("held-out runs", ("a",), repeats=6)
    scores = make_scores(repeats, signal, made, metric="SPE")
    np.testing.assert_array_equal(scores.values, spe_score(repeats, signal))
    np.testing.assert_allclose(spe_score(repeats, signal + 7.0), scores.values, rtol=1e-10)
    with pytest.raises(ValueError, match="5 repeats"):
        make_scores(repeats, signal, Conditions("held-out runs", ("a",), repeats=5), metric="SPE")
    averaged = Conditions("held-out runs", ("a", "b"), repeats=6, combine="mean of runs")
    with pytest.raises(ValueError, match="score each alone"):
        make_scores(repeats, signal, averaged, metric="SPE")


def test_errors_name_the_argument(pair: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = pair
    with pytest.raises(ValueError, match=r"runs=\(30, 12\) add up to 42.*\(60, 5\)"):
        score_by_run(y, p, [30, 12])
    with pytest.raises(ValueError, match="2 or more"):
        score_by_run(y, p, [59, 1])
    with pytest.raises(ValueError, match=r"metric='SPE': give one of 'r', 'signed r2', 'R2'$"):
        score_by_run(y, p, RUNS, metric="SPE")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="combine='mean'"):
        score_by_run(y, p, RUNS, combine="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"n_samples=10.*\(60, 5\)"):
        make_scores(y, p, Conditions("s", ("a",), n_samples=10))
    apart = Conditions("s", ("a", "b"), combine="mean of runs")
    with pytest.raises(ValueError, match="runs=None"):
        make_scores(y, p, apart)
    with pytest.raises(ValueError, match="give the rows of each"):
        make_scores(y, p, apart, runs=RUNS)


def test_lengths_of_runs_may_be_whole_floats_only() -> None:
    y, guess = np.random.default_rng(0).standard_normal((2, 50, 3))
    found = score_by_run(y, guess, [20.0, 30.0])  # type: ignore[list-item]
    np.testing.assert_array_equal(found.values, score_by_run(y, guess, [20, 30]).values)
    with pytest.raises(ValueError, match="numbers of rows are whole"):
        score_by_run(y, guess, [20.5, 29.5])  # type: ignore[list-item]
