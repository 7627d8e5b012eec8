"""Scores of held-out subjects from pools of others, against the plain way."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from voxridge._warnings import AlphaEdgeWarning, LeakageWarning
from voxridge.science.scores import correlation_score
from voxridge.science.subsets import subset_scores
from voxridge.solvers.folds import make_folds


def simulated(n_subjects: int = 4, n: int = 120, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, 5))
    return [
        latent @ rng.standard_normal((5, 30 + 10 * s)) + rng.standard_normal((n, 30 + 10 * s))
        for s in range(n_subjects)
    ]


def test_all_pools_and_no_others() -> None:
    found = subset_scores([np.random.default_rng(s).standard_normal((40, 2)) for s in range(5)], folds=2)
    for held_out in range(5):
        pools = [frozenset(np.flatnonzero(p)) for p in found.pools[held_out][found.folds == 0]]
        others = [k for k in range(5) if k != held_out]
        every = {frozenset(c) for n in range(1, 5) for c in itertools.combinations(others, n)}
        assert len(pools) == len(every)
        assert set(pools) == every
    np.testing.assert_array_equal(found.pools.sum(axis=2) + 1, np.tile(found.sizes, (5, 1)))


def test_pools_are_drawn_without_repeats() -> None:
    data = [np.random.default_rng(s).standard_normal((30, 1)) for s in range(12)]
    found = subset_scores(data, folds=2, n_subsets=7, seed=1)
    one_fold = found.folds == 0
    for held_out in range(12):
        pools = found.pools[held_out][one_fold]
        assert not pools[:, held_out].any()
        assert len({p.tobytes() for p in pools}) == len(pools)
    sizes, counts = np.unique(found.sizes[one_fold], return_counts=True)
    assert dict(zip(sizes.tolist(), counts.tolist(), strict=True)) == dict.fromkeys(range(2, 12), 7) | {12: 1}
    again = subset_scores(data, folds=2, n_subsets=7, seed=1)
    np.testing.assert_array_equal(again.pools, found.pools)


def test_some_sizes_only() -> None:
    data = [np.random.default_rng(s).standard_normal((30, 1)) for s in range(6)]
    found = subset_scores(data, folds=2, sizes=[6, 3])
    assert np.unique(found.sizes).tolist() == [3, 6]
    whole = subset_scores(data, folds=2)
    everyone = (found.sizes == 6, whole.sizes == 6)
    np.testing.assert_allclose(found.stacked[everyone[0]], whole.stacked[everyone[1]])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_mean_of_the_others_is_what_it_says(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((90, 12))
    data = [(5 * s + (s + 1) * (signal + rng.standard_normal((90, 12)))).astype(dtype) for s in range(4)]
    data[2][:, 5] = np.nan
    data[1][:, 7] = 3.0
    data[3][2, 8] = np.inf
    found = subset_scores(data, [50, 40], folds=2)
    folds = make_folds(2, [50, 40])
    for held_out, point in itertools.product(range(4), range(found.sizes.size)):
        rows = folds[found.folds[point]].validation
        pool = np.flatnonzero(found.pools[held_out, point])
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = [data[k][rows].astype(np.float64) for k in pool]
            # A constant part is 0 / 0, so that its pool has no mean.
            mean = np.mean([(p - p.mean(axis=0)) / p.std(axis=0) for p in parts], axis=0)
            expected = correlation_score(data[held_out][rows], mean)
        np.testing.assert_allclose(
            found.scores[held_out][point], expected, atol=2e-6 if dtype == np.float32 else 1e-12
        )
        assert found.scores[held_out].dtype == dtype
    assert found.conditions.split == "2 folds of whole runs, gap 0"
    assert found.conditions.n_samples == 90


def test_ridge_from_pooled_columns_is_scikit_learns() -> None:
    data = simulated()
    data[1][:, 3] = 0.0  # no feature, no target
    data[2][70, 4] = np.nan
    alpha = 50.0
    with pytest.warns(AlphaEdgeWarning, match=r"100.0% of \d+ penalties"):
        found = subset_scores(data, folds=3, gap=2, predictor="ridge", alphas=[alpha], inner_folds=3)
    folds = make_folds(3, [120], gap=2)
    for held_out, point in [(0, 0), (1, 4), (2, 9), (3, 13), (0, 20)]:
        fold = folds[found.folds[point]]
        columns = [data[k] for k in np.flatnonzero(found.pools[held_out, point])]
        pooled = np.concatenate(columns, axis=1)
        pooled = pooled[:, np.isfinite(pooled).all(axis=0) & (np.ptp(pooled, axis=0) > 0)]
        train = pooled[fold.train]
        mean, spread = train.mean(axis=0), train.std(axis=0)
        target = data[held_out]
        usable = np.isfinite(target).all(axis=0) & (np.ptp(target, axis=0) > 0)
        model = Ridge(alpha).fit((train - mean) / spread, target[fold.train][:, usable])
        prediction = model.predict((pooled[fold.validation] - mean) / spread)
        expected = correlation_score(target[fold.validation][:, usable], prediction)
        np.testing.assert_allclose(found.scores[held_out][point][usable], expected, atol=1e-8)
        assert np.isnan(found.scores[held_out][point][~usable]).all()
    with pytest.raises(ValueError, match="in one space"):
        _ = found.shared


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")
def test_more_subjects_predict_better_and_another_predictor_can_be_given() -> None:
    data = simulated()
    by_ridge = subset_scores(data, folds=3, predictor="ridge")
    means = [np.nanmean(by_ridge.stacked[by_ridge.sizes == size]) for size in (2, 3, 4)]
    assert means == sorted(means)
    assert by_ridge.stacked.shape == (by_ridge.sizes.size, 30 + 40 + 50 + 60)
    np.testing.assert_array_equal(np.bincount(by_ridge.subject), [30, 40, 50, 60])

    def own(train: Any, targets: Any, test: Any) -> Any:
        return test @ np.linalg.solve(train.T @ train + 50 * np.eye(train.shape[1]), train.T @ targets)

    given = subset_scores(data, folds=3, predictor=own)
    fixed = subset_scores(data, folds=3, predictor="ridge", alphas=[1.0, 50.0, 5000.0])
    assert np.nanmean(np.abs(given.stacked - fixed.stacked)) < 0.05


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")
def test_nothing_of_the_scored_rows_reaches_the_fit() -> None:
    data = simulated(3, 90)
    found = subset_scores(data, folds=3, predictor="ridge", alphas=np.logspace(-1, 4, 6))
    fold = make_folds(3, [90])[1]
    changed = [part.copy() for part in data]
    order = np.random.default_rng(0).permutation(fold.validation)
    for part in changed:
        part[fold.validation] = part[order]
    again = subset_scores(changed, folds=3, predictor="ridge", alphas=np.logspace(-1, 4, 6))
    rows = found.folds == 1
    # All subjects are shuffled alike: the same predictions in another order, hence the same correlations.
    for before, after in zip(found.scores, again.scores, strict=True):
        np.testing.assert_allclose(before[rows], after[rows], atol=1e-8)


def test_noise_without_a_signal_is_at_zero_and_shuffled_folds_are_warned_of() -> None:
    rng = np.random.default_rng(7)
    data = [rng.standard_normal((200, 20)) for _ in range(3)]
    assert abs(np.nanmean(subset_scores(data, folds=4).stacked)) < 0.01
    order = rng.permutation(200)
    shuffled = [(np.sort(np.setdiff1d(order, order[i::5])), np.sort(order[i::5])) for i in range(5)]

    def nothing(train: Any, targets: Any, test: Any) -> Any:
        return np.zeros((len(test), targets.shape[1])) + np.arange(len(test))[:, None]

    with pytest.warns(LeakageWarning, match="shuffled folds inflate"):
        found = subset_scores(data, folds=shuffled, predictor=nothing)
    assert found.conditions.split == "5 given folds, gap 0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subjects": [np.ones((9, 2))] * 2}, "at least three subjects"),
        ({"subjects": [np.ones((9, 2))] * 2 + [np.ones((8, 2))]}, r"\[9, 9, 8\] rows"),
        ({"subjects": [np.ones((9, 2))] * 2 + [np.ones((9, 3))]}, r"\[2, 2, 3\] targets"),
        ({"subjects": [np.ones(9)] * 3}, r"subjects\[0\] has shape \(9,\)"),
        ({"runs": [4, 4]}, "runs"),
        ({"run_names": ["a", "b"]}, "2 names for 1 runs"),
        ({"predictor": "ols"}, "predictor='ols'"),
        ({"sizes": [1, 2]}, "numbers from 2 to 3"),
        ({"sizes": [2, 4]}, "numbers from 2 to 3"),
        ({"n_subsets": 0}, "n_subsets=0"),
        ({"inner_folds": 1}, "inner_folds=1"),
        ({"folds": 20}, "fold"),
    ],
)
def test_what_cannot_be(arguments: dict[str, Any], message: str) -> None:
    call: dict[str, Any] = {
        "subjects": [np.random.default_rng(0).random((9, 2))] * 3,
        "folds": 3,
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        subset_scores(**call)
