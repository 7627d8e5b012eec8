"""Two models on the same responses: against enumeration, and the level where they are equally good."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from voxridge._warnings import AutocorrelationWarning
from voxridge.science import _terms
from voxridge.science._terms import row_shares
from voxridge.science.comparison import compare_models
from voxridge.science.scores import correlation_score, r2_score


def data(seed: int, n: int = 60, n_targets: int = 5) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n, n_targets))
    y = signal + rng.standard_normal((n, n_targets)) + 0.1
    return y, signal + rng.standard_normal((n, n_targets)), 0.1 * signal + rng.standard_normal((n, n_targets))


@pytest.mark.parametrize("statistic", ["r", "R2"])
def test_what_rows_add_is_the_score_and_its_slope(statistic: Any) -> None:
    """They sum to the score, and tell how it changes when a row counts a little more."""
    y, p, _ = data(0)
    shares = row_shares(y, p, (60,), statistic)
    score = {"r": correlation_score, "R2": r2_score}[statistic]
    np.testing.assert_allclose(shares.sum(axis=0), score(y, p))
    step = 1e-5
    for row in (0, 17):
        weights = np.ones((60, 1))
        weights[row] += step

        def weighted(a: Any, b: Any, w: Any = weights) -> Any:
            return np.sum(w * a * b, axis=0) / w.sum()

        def centred(a: Any, w: Any = weights) -> Any:
            return a - np.sum(w * a, axis=0) / w.sum()

        if statistic == "r":
            a, b = centred(y), centred(p)
            changed = weighted(a, b) / np.sqrt(weighted(a, a) * weighted(b, b))
        else:
            changed = 1 - weighted(y - p, y - p) / weighted(centred(y), centred(y))
        slope = (changed - score(y, p)) / step
        np.testing.assert_allclose(shares[row] - score(y, p) / 60, slope, atol=1e-5)


@pytest.mark.parametrize("statistic", ["r", "R2", "mean r"])
@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
@pytest.mark.filterwarnings("ignore::voxridge._warnings.AutocorrelationWarning")
def test_every_pattern_by_hand(statistic: Any, alternative: Any) -> None:
    y, first, second = data(1)
    lengths = [25, 35]
    test = compare_models(y, first, second, lengths, statistic=statistic, block=8, alternative=alternative)
    shares = row_shares(y, first, lengths, statistic) - row_shares(y, second, lengths, statistic)
    cuts = [0, 8, 16, 25, 33, 42, 51, 60]  # three blocks of 25 rows, four of 35
    sums = np.array([shares[a:b].sum(axis=0) for a, b in itertools.pairwise(cuts)])
    null = np.array([np.array(s) @ sums for s in itertools.product([1, -1], repeat=7)])
    norm = np.sqrt((sums**2).sum(axis=0))
    if alternative == "two-sided":
        null = np.abs(null)
    reached = null[0]
    assert (test.exact, test.n_blocks, test.n_permutations) == (True, 7, 127)
    np.testing.assert_allclose(test.p_values, np.mean(null >= reached - 1e-12, axis=0))
    largest = (null / norm).max(axis=1)
    np.testing.assert_allclose(test.p_family, [np.mean(largest >= x - 1e-12) for x in reached / norm])


@pytest.mark.parametrize("statistic", ["r", "R2", "mean r"])
def test_difference_is_that_of_the_scores(statistic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    y, first, second = data(2, n=200)
    y[:, 1] = 7.0
    monkeypatch.setattr(_terms, "_ELEMENTS", 3000)
    one = compare_models(y, first, second, [100, 100], statistic=statistic)
    other = compare_models(y, second, first, [100, 100], statistic=statistic)
    if statistic == "mean r":
        halves = [
            correlation_score(y[part], first[part]) - correlation_score(y[part], second[part])
            for part in (slice(100), slice(100, 200))
        ]
        expected = np.mean(halves, axis=0)
    else:
        score = {"r": correlation_score, "R2": r2_score}[statistic]
        expected = score(y, first) - score(y, second)
    np.testing.assert_allclose(one.difference, expected, atol=1e-12)
    np.testing.assert_allclose(other.difference, -expected, atol=1e-12)
    np.testing.assert_allclose(one.p_values, other.p_values)
    assert np.isnan(one.p_values[1])
    assert np.isnan(one.p_family[1])
    if statistic != "R2":
        assert (np.delete(one.p_values, 1) < 0.05).all()


@pytest.mark.parametrize("statistic", ["r", "R2"])
@pytest.mark.parametrize("coefficient", [0.0, 0.7])
def test_equally_good_models(ar1: Any, statistic: Any, coefficient: float) -> None:
    rng = np.random.default_rng(3)
    lengths, n = [200] * 4, 800
    signal, noise, one, two = (ar1(rng, coefficient, lengths, n) for _ in range(4))
    models = 0.3 * (signal + one), 0.3 * (signal + two)
    test = compare_models(signal + noise, *models, lengths, statistic=statistic, n_permutations=499)
    for level in (0.01, 0.05, 0.2):
        assert abs(np.mean(test.p_values <= level) - level) < 4 * np.sqrt(level * (1 - level) / n)
    if coefficient:
        with pytest.warns(AutocorrelationWarning, match="blocks of 1 rows keep"):
            naive = compare_models(
                signal + noise, *models, lengths, statistic=statistic, block=1, n_permutations=199
            )
        assert np.mean(naive.p_values <= 0.05) > 0.12


def test_short_runs_are_blocks_of_their_own(ar1: Any) -> None:
    rng, lengths = np.random.default_rng(3), [20] * 15
    signal, noise, one, two = (ar1(rng, phi, lengths, 800) for phi in (0.7, 0.5, 0.7, 0.7))
    test = compare_models(signal + 1.5 * noise, signal + one, signal + two, lengths, statistic="mean r")
    assert test.block == 20
    assert test.n_blocks == 15
    assert np.mean(test.p_values <= 0.05) < 0.08  # 0.13 in blocks of 4 rows, as the rows alone would have it
    split = compare_models(signal + noise, signal + one, signal + two, lengths, statistic="r")
    assert split.n_blocks > 15


def test_the_same_model_twice() -> None:
    y, first, _ = data(4, n=100)
    test = compare_models(y, first, first.copy())
    np.testing.assert_array_equal(test.difference, 0)
    np.testing.assert_array_equal(test.p_values, 1)
    np.testing.assert_array_equal(test.p_family, 1)


@pytest.mark.parametrize("statistic", ["r", "mean r"])
def test_the_same_model_in_other_units(statistic: Any) -> None:
    rng = np.random.default_rng(0)
    y, first = rng.standard_normal((2, 400, 60))
    test = compare_models(
        y, first, 3 * first + 7.3, runs=[200, 200], statistic=statistic
    )  # alike but for rounding
    np.testing.assert_array_equal(test.difference, 0)
    np.testing.assert_array_equal(test.p_values, 1)
    np.testing.assert_array_equal(test.p_family, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 20}, r"block=20 makes 3 blocks of runs=\[60\]: a test by signs needs at least 6"),
        ({"block": 0}, "block=0 makes 0 blocks"),
        ({"alternative": "less"}, "alternative='less'"),
        ({"n_permutations": 3}, "n_permutations=3"),
        ({"statistic": "rho"}, "statistic='rho'"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_models(*data(5), **options)


def test_refused_shapes() -> None:
    y, first, second = data(6)
    with pytest.raises(ValueError, match=r"y_true has shape \(60, 5\) and second has shape \(60, 4\)"):
        compare_models(y, first, second[:, :4])
