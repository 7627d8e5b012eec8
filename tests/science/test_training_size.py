"""Nested subsets of stories, and scores that grow with them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge import EncodingRidge
from voxridge.science.scores import correlation_score
from voxridge.science.training_size import data_scaling, nested_subsets, score_by_training_size

SETTINGS = {"delays": (0, 1), "alphas": [1e-2, 1e2, 1e4, 1e6]}
pytestmark = pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(["stories", "hours"]))
def test_larger_subsets_hold_the_smaller(seed: int, unit: str) -> None:
    hours = dict(zip("abcdefgh", np.random.default_rng(seed).uniform(0.1, 0.4, 8), strict=True))
    most = 8 if unit == "stories" else sum(hours.values())
    sizes = [1, 2, 5, 8] if unit == "stories" else [0.1 * most, 0.3 * most, most]
    found = nested_subsets(hours, sizes, unit=unit, n_draws=3, seed=seed)
    lengths = np.array(list(hours.values())) if unit == "hours" else np.ones(8)
    for draw, amounts in zip(found.members, found.amounts, strict=True):
        for small, large in pairwise(draw):
            assert set(small) <= set(large)
        for subset, size, amount in zip(draw, sizes, amounts, strict=True):
            assert len(set(subset)) == len(subset)
            assert amount == pytest.approx(lengths[list(subset)].sum())
            assert amount >= size * (1 - 1e-6)
            assert amount - lengths.max() < size  # no more than it takes
        assert draw[-1] == tuple(range(8))
    again = nested_subsets(hours, sizes, unit=unit, n_draws=3, seed=seed)
    assert again.members == found.members


def test_draws_differ() -> None:
    found = nested_subsets(30, [3, 10], n_draws=4, seed=1)
    assert len({draw[0] for draw in found.members}) == 4
    assert nested_subsets(list("abc"), [3]).members == (((0, 1, 2),),)


@pytest.mark.parametrize(
    ("stories", "sizes", "kwargs", "message"),
    [
        (4, [0, 2], {}, "numbers above 0 that grow"),
        (4, [2, 2], {}, "numbers above 0 that grow"),
        (4, [], {}, "numbers above 0 that grow"),
        (4, [2, 5], {}, "there are 4 stories"),
        (4, [1.5], {}, "whole"),
        (4, [1], {"unit": "hours"}, "mapping of stories to their hours"),
        ({"a": 0.0}, [1], {"unit": "hours"}, "not above 0"),
        (4, [1], {"unit": "words"}, "unit='words'"),
        (4, [1], {"n_draws": 0}, "n_draws=0"),
    ],
)
def test_errors_of_subsets(stories: object, sizes: list[float], kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nested_subsets(stories, sizes, **kwargs)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runs() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((int(n), 20)) for n in rng.integers(60, 80, 10)]
    weights = rng.standard_normal((20, 4))
    weights[:, 3] = 0
    responses = [run @ weights + 12 * rng.standard_normal((len(run), 4)) for run in features]
    return features, responses


def test_scores_are_those_of_fits_by_hand(runs: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    features, responses = runs
    found = score_by_training_size(
        features, responses, [1, 3, 8], test=[2, 5], settings=SETTINGS, n_draws=2, seed=3
    )
    assert found.scores.shape == (2, 3, 4)
    assert found.test == (2, 5)
    for draw, i, cv in ((0, 0, 5), (1, 1, "leave-one-run-out"), (0, 2, 5)):
        subset = found.subsets.members[draw][i]
        assert not {2, 5} & set(subset)
        model = EncodingRidge(progress=False, cv=cv, **SETTINGS)
        model.fit([features[j] for j in subset], [responses[j] for j in subset])
        predicted = model.predict([features[2], features[5]])
        expected = correlation_score(
            np.vstack([responses[2], responses[5]]),
            predicted,
        )
        np.testing.assert_allclose(found.scores[draw, i], expected, atol=1e-10)
        assert found.samples[draw, i] == sum(len(features[j]) for j in subset)
    np.testing.assert_array_equal(found.scores[0, 2], found.scores[1, 2])  # all stories, whatever the order
    header, rows = found.table()
    assert header == ["draw", "stories", "samples", "mean correlation"]
    assert len(rows) == 6
    assert rows[-1][:2] == [2, 8]
    assert rows[-1][3] == pytest.approx(np.mean(found.scores[1, 2]))


def test_more_data_predict_better_and_the_line_says_by_how_much(
    runs: tuple[list[np.ndarray], list[np.ndarray]],
) -> None:
    features, responses = runs
    hours = [len(run) * 2 / 3600 for run in features]
    found = score_by_training_size(
        features, responses, [0.04, 0.08, 0.16, 0.28], test=[0, 1], hours=hours, settings=SETTINGS, n_draws=2
    )
    assert found.subsets.unit == "hours"
    assert found.table()[0] == ["draw", "hours", "stories", "samples", "mean correlation"]
    law = data_scaling(found, rois={"signal": np.array([True, True, True, False])})
    assert law.fit.predictor == "hours"
    assert law.fit.slope.shape == (1,)
    assert law.fit.slope[0] > 0
    assert law.draw_slopes.shape == (2, 1)
    amounts = np.log10(found.subsets.amounts.mean(axis=0))
    signal = found.scores[:, :, :3].mean(axis=2)
    expected = [np.polyfit(amounts, draw, 1) for draw in signal]
    np.testing.assert_allclose(law.draw_slopes[:, 0], [line[0] for line in expected])
    np.testing.assert_allclose(law.draw_intercepts[:, 0], [line[1] for line in expected])
    np.testing.assert_allclose(law.fit.slope[0], np.polyfit(amounts, signal.mean(axis=0), 1)[0])
    everything = data_scaling(found)
    assert everything.fit.slope.shape == ()
    assert everything.draw_slopes.shape == (2,)


def test_errors_of_scores(runs: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    features, responses = runs
    with pytest.raises(ValueError, match="settings holds cv"):
        score_by_training_size(features, responses, [1], test=[0], settings={"cv": 3})
    with pytest.raises(ValueError, match="10 runs of features and 9 of responses"):
        score_by_training_size(features, responses[:9], [1], test=[0])
    with pytest.raises(ValueError, match=r"test=\[10\] of 10 runs"):
        score_by_training_size(features, responses, [1], test=[10])
    with pytest.raises(ValueError, match="hold out some"):
        score_by_training_size(features, responses, [1], test=range(10))
    with pytest.raises(ValueError, match="there are 9 stories"):
        score_by_training_size(features, responses, [10], test=[0])
    with pytest.raises(ValueError, match="hours has 2 entries for 10 runs"):
        score_by_training_size(features, responses, [1], test=[0], hours=[1, 2])
    with pytest.raises(ValueError, match=r"sizes has shape \(3,\) and scores has shape \(1, 2\)"):
        data_scaling([1, 2, 4], [0.1, 0.2])
    with pytest.raises(ValueError, match="amounts need scores"):
        data_scaling([1, 2, 4])
