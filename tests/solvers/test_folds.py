"""Folds: grouped by run, purged around what is scored, and refused where they leak or are empty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut

from voxridge._warnings import LeakageWarning
from voxridge.solvers import make_folds


def test_leave_one_run_out() -> None:
    folds = make_folds("leave-one-run-out", [3, 2, 4], longest_delay=4)
    assert [fold.validation.tolist() for fold in folds] == [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
    assert folds[1].train.tolist() == [0, 1, 2, 5, 6, 7, 8]  # a gap is for folds that cut a run


@settings(deadline=None, max_examples=100)
@given(runs=st.lists(st.integers(1, 50), min_size=2, max_size=12), data=st.data())
def test_int_makes_folds_of_whole_neighbouring_runs(runs: list[int], data: st.DataObject) -> None:
    n_folds = data.draw(st.integers(2, len(runs)))
    folds = make_folds(n_folds, runs)
    run_of = np.repeat(np.arange(len(runs)), runs)
    assert len(folds) == n_folds
    np.testing.assert_array_equal(np.concatenate([fold.validation for fold in folds]), np.arange(sum(runs)))
    for fold in folds:
        assert not set(run_of[fold.train]) & set(run_of[fold.validation])
        assert fold.train.size + fold.validation.size == sum(runs)


def test_int_on_one_run_makes_contiguous_blocks_with_a_gap() -> None:
    folds = make_folds(3, [30], longest_delay=4)
    assert folds[1].validation.tolist() == list(range(10, 20))
    assert folds[1].train.tolist() == [*range(6), *range(24, 30)]
    assert make_folds(3, [30], gap=1, longest_delay=0)[1].train.tolist() == [*range(9), *range(21, 30)]


@settings(deadline=None, max_examples=60)
@given(
    runs=st.lists(st.integers(4, 30), min_size=1, max_size=4),
    gap=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_purged_training_samples_are_never_near_scored_ones(runs: list[int], gap: int, seed: int) -> None:
    n = sum(runs)
    run_of = np.repeat(np.arange(len(runs)), runs)
    rng = np.random.default_rng(seed)
    test = np.arange(n // 3, n // 3 + max(1, int(rng.integers(1, max(2, n // 4)))))
    train = np.setdiff1d(np.arange(n), test)
    distance = np.abs(train[:, None] - test[None])
    near = ((distance <= gap) & (run_of[train][:, None] == run_of[test][None])).any(axis=1)
    if near.all():
        with pytest.raises(ValueError, match="further than gap"):
            make_folds([(train, test)], runs, gap=gap)
        return
    np.testing.assert_array_equal(make_folds([(train, test)], runs, gap=gap)[0].train, train[~near])


def test_splitters_get_the_runs_as_groups() -> None:
    runs = [4, 5, 6]
    by_group = make_folds(LeaveOneGroupOut(), runs)
    by_name = make_folds("leave-one-run-out", runs)
    for a, b in zip(by_group, by_name, strict=True):
        np.testing.assert_array_equal(a.train, b.train)
    assert len(make_folds(GroupKFold(3), runs)) == 3
    assert len(make_folds(KFold(5), [50], longest_delay=2)) == 5


def test_boolean_masks_are_taken() -> None:
    mask = np.arange(10) < 4
    fold = make_folds([(~mask, mask)], [10], gap=0)[0]
    assert fold.validation.tolist() == [0, 1, 2, 3]


def test_a_gap_shorter_than_the_delays_warns_only_where_runs_are_cut() -> None:
    with pytest.warns(LeakageWarning, match="share features"):
        make_folds(3, [30], gap=1, longest_delay=4)
    make_folds(3, [10, 10, 10], gap=0, longest_delay=4)  # warnings are errors


@pytest.mark.parametrize(
    ("cv", "runs", "message"),
    [
        (5, [10, 10, 10], "more folds than there are runs"),
        (1, [10, 10], "at least 2 folds"),
        (11, [10], "between 2 and 10 folds"),
        ("leave-one-run-out", [10], "at least 2 runs"),
        ("k-fold", [10], "is not known"),
        ([], [10], "no folds"),
        ([(np.arange(5), [])], [10], "fold 1 has no test samples"),
        ([([], np.arange(5))], [10], "fold 1 has no train samples"),
        ([(np.arange(6), np.arange(5, 10))], [10], "trains on 1 of the samples that it scores"),
        ([(np.arange(5), np.arange(5, 11))], [10], "the data have 10 samples"),
        ([(np.arange(5), [5.5])], [10], "must be integers"),
        ([([1, 1, 2], [5])], [10], "repeat"),
        ([(np.ones(9, bool), [5])], [10], "boolean train mask"),
        (3.5, [10], "not a number of folds"),
        (3, [6], "further than gap"),
    ],
)
def test_bad_folds_are_named(cv: object, runs: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_folds(cv, runs, longest_delay=4)


@pytest.mark.parametrize("gap", [-1, 1.5, "wide", True])
def test_bad_gaps_are_named(gap: object) -> None:
    with pytest.raises(ValueError, match="gap="):
        make_folds(2, [30], gap=gap)
