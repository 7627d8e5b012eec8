"""RidgeCV as a drop-in for scikit-learn's, and what it adds: alpha per target with any cv, groups, scores.

The reference is scikit-learn itself, or explicit refits where scikit-learn refuses.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import RidgeCV as SkRidgeCV
from sklearn.metrics import make_scorer, mean_absolute_error, median_absolute_error
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    ShuffleSplit,
    cross_val_score,
)

from voxridge._warnings import VoxridgeWarning
from voxridge.linear_model import Ridge, RidgeCV

ALPHAS = [0.01, 1.0, 30.0, 1e3]


def problem(n=40, p=6, v=3, seed=0, noise=3.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + 1
    strength = np.linspace(0, 1.5, v)
    return x, x @ rng.normal(size=(p, v)) * strength + noise * rng.normal(size=(n, v))


def close(a, b, rtol=1e-10):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(np.abs(b).max(), 1e-3))


def assert_same_fit(got, reference, rtol=1e-10):
    assert np.array_equal(got.alpha_, reference.alpha_)
    assert np.shape(got.alpha_) == np.shape(reference.alpha_)
    assert np.shape(got.best_score_) == np.shape(reference.best_score_)
    close(got.best_score_, reference.best_score_, rtol)
    assert got.coef_.shape == reference.coef_.shape
    assert np.shape(got.intercept_) == np.shape(reference.intercept_)
    close(got.coef_, reference.coef_, rtol)
    close(got.intercept_, reference.intercept_, rtol)


def test_same_parameters_and_defaults():
    assert RidgeCV().get_params() == SkRidgeCV().get_params()


@pytest.mark.parametrize(("n", "p"), [(40, 6), (12, 40), (20, 20)])
@pytest.mark.parametrize("y_columns", [None, 1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gcv_mode", ["eigen", "svd"])
@pytest.mark.parametrize("per_target", [False, True])
def test_leave_one_out_equals_scikit_learn(n, p, y_columns, fit_intercept, weighted, gcv_mode, per_target):
    x, y = problem(n, p)
    y = y[:, 0] if y_columns is None else y[:, :y_columns]
    options = {
        "alphas": ALPHAS[1:],
        "fit_intercept": fit_intercept,
        "gcv_mode": gcv_mode,
        "alpha_per_target": per_target,
        "store_cv_results": True,
    }
    weight = np.linspace(0.5, 2, n) if weighted else None
    reference = SkRidgeCV(**options).fit(x, y, weight)
    got = RidgeCV(**options).fit(x, y, weight)
    assert_same_fit(got, reference)
    close(got.cv_results_, reference.cv_results_)
    assert got.cv_scores_.shape == ((3,) if not per_target else (3, 1 if y.ndim == 1 else y.shape[1]))


@pytest.mark.parametrize(
    "scoring", ["r2", "neg_mean_absolute_error", "neg_median_absolute_error", "explained_variance"]
)
@pytest.mark.parametrize("per_target", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out_with_a_scorer(scoring, per_target, weighted):
    x, y = problem()
    options = {"alphas": ALPHAS, "scoring": scoring, "alpha_per_target": per_target, "store_cv_results": True}
    weight = np.linspace(0.5, 2, 40) if weighted else None
    reference = SkRidgeCV(**options).fit(x, y, weight)
    got = RidgeCV(**options).fit(x, y, weight)
    assert_same_fit(got, reference)
    close(got.cv_results_, reference.cv_results_)


@pytest.mark.parametrize(("n", "p"), [(40, 6), (24, 40)])
@pytest.mark.parametrize("y_columns", [None, 1, 3])
@pytest.mark.parametrize("cv", [4, KFold(3, shuffle=True, random_state=0), ShuffleSplit(3, random_state=1)])
@pytest.mark.parametrize("scoring", [None, "r2", "neg_mean_squared_error", "neg_median_absolute_error"])
def test_folds_equal_scikit_learn(n, p, y_columns, cv, scoring):
    x, y = problem(n, p)
    y = y[:, 0] if y_columns is None else y[:, :y_columns]
    reference = SkRidgeCV(ALPHAS, cv=cv, scoring=scoring).fit(x, y)
    assert_same_fit(RidgeCV(ALPHAS, cv=cv, scoring=scoring).fit(x, y), reference)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_folds_with_weights_equal_scikit_learn(fit_intercept):
    x, y = problem()
    weight = np.linspace(0.2, 3, 40)
    options = {"alphas": ALPHAS, "cv": 4, "fit_intercept": fit_intercept}
    got = RidgeCV(**options).fit(x, y, weight)
    reference = SkRidgeCV(**options).fit(x, y, weight)
    assert_same_fit(got, reference)


def _count_and_score(estimator, X, y):
    assert X.shape[1] == estimator.coef_.shape[-1] == estimator.n_features_in_
    return -float(np.mean(np.abs(y - estimator.predict(X)) ** 1.5))


@pytest.mark.parametrize(
    "scorer", [_count_and_score, make_scorer(mean_absolute_error, greater_is_better=False)]
)
@pytest.mark.parametrize("y_columns", [None, 3])
def test_callable_scorers(scorer, y_columns):
    x, y = problem()
    y = y[:, 0] if y_columns is None else y
    reference = SkRidgeCV(ALPHAS, cv=4, scoring=scorer).fit(x, y)
    assert_same_fit(RidgeCV(ALPHAS, cv=4, scoring=scorer).fit(x, y), reference)
    per_target = RidgeCV(ALPHAS, cv=4, scoring=scorer, alpha_per_target=True).fit(x, y)
    alone = [SkRidgeCV(ALPHAS, cv=4, scoring=scorer).fit(x, t).alpha_ for t in y.reshape(40, -1).T]
    assert np.array_equal(np.atleast_1d(per_target.alpha_), alone)


@pytest.mark.parametrize("cv", [4, KFold(5, shuffle=True, random_state=3), LeaveOneOut()])
@pytest.mark.parametrize("scoring", [None, "neg_mean_squared_error", "neg_median_absolute_error"])
def test_alpha_per_target_with_folds_is_each_target_alone(cv, scoring):
    if isinstance(cv, LeaveOneOut) and scoring is None:
        scoring = "neg_mean_absolute_error"  # R2 of one sample is undefined
    x, y = problem(v=5)
    got = RidgeCV(ALPHAS, cv=cv, scoring=scoring, alpha_per_target=True).fit(x, y)
    assert got.alpha_.shape == got.best_score_.shape == (5,)
    assert got.cv_scores_.shape == (4, 5)
    assert len(np.unique(got.alpha_)) > 1
    for j in range(5):
        alone = SkRidgeCV(ALPHAS, cv=cv, scoring=scoring).fit(x, y[:, j])
        assert got.alpha_[j] == alone.alpha_
        close(got.best_score_[j], alone.best_score_)
        close(got.coef_[j], alone.coef_)


def test_leave_one_out_equals_the_splitter():
    x, y = problem()
    closed = RidgeCV(ALPHAS, alpha_per_target=True).fit(x, y)
    folds = RidgeCV(ALPHAS, alpha_per_target=True, cv=LeaveOneOut(), scoring="neg_mean_squared_error").fit(
        x, y
    )
    assert_same_fit(folds, closed)
    close(closed.cv_scores_, folds.cv_scores_)


@pytest.mark.parametrize("per_target", [False, True])
@pytest.mark.parametrize("cv", [None, 4])
def test_correlation(per_target, cv):
    x, y = problem()
    model = RidgeCV(ALPHAS, cv=cv, scoring="correlation", alpha_per_target=per_target).fit(x, y)
    splits = LeaveOneOut().split(x) if cv is None else KFold(4).split(x)
    predictions, folds = [], []
    for train, test in splits:
        p = np.stack([Ridge(a).fit(x[train], y[train]).predict(x[test]) for a in ALPHAS])
        predictions.append(p)
        if cv is not None:
            folds.append([[np.corrcoef(p[i][:, j], y[test, j])[0, 1] for j in range(3)] for i in range(4)])
    if cv is None:
        p = np.concatenate(predictions, axis=1)
        folds = [[[np.corrcoef(p[i][:, j], y[:, j])[0, 1] for j in range(3)] for i in range(4)]]
    expected = np.mean(folds, axis=0)
    close(model.cv_scores_, expected if per_target else expected.mean(1), 1e-9)


def test_groups_and_iterables():
    x, y = problem()
    groups = np.repeat(np.arange(5), 8)
    splits = list(LeaveOneGroupOut().split(x, groups=groups))
    got = RidgeCV(ALPHAS, cv=LeaveOneGroupOut()).fit(x, y, groups=groups)
    assert_same_fit(got, SkRidgeCV(ALPHAS, cv=splits).fit(x, y))
    masks = [(np.isin(np.arange(40), train), np.isin(np.arange(40), test)) for train, test in splits]
    assert_same_fit(RidgeCV(ALPHAS, cv=masks).fit(x, y), got)
    assert_same_fit(RidgeCV(ALPHAS, cv=iter(splits)).fit(x, y), got)
    with pytest.raises(ValueError, match="groups"):
        RidgeCV(ALPHAS, cv=GroupKFold(3)).fit(x, y)
    with pytest.raises(TypeError, match=r"unexpected keyword\(s\) \['group'\]"):
        RidgeCV(ALPHAS, cv=3).fit(x, y, group=groups)


def test_metadata_routing():
    x, y = problem()
    groups, weight = np.repeat(np.arange(5), 8), np.linspace(1, 2, 40)
    plain = RidgeCV(ALPHAS, cv=GroupKFold(5)).fit(x, y, weight, groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        assert_same_fit(RidgeCV(ALPHAS, cv=GroupKFold(5)).fit(x, y, weight, groups=groups), plain)
        reference = SkRidgeCV(ALPHAS).fit(x, y, sample_weight=weight)
        assert_same_fit(RidgeCV(ALPHAS).fit(x, y, sample_weight=weight), reference)
        with pytest.raises(TypeError, match="unexpected argument"):
            RidgeCV(ALPHAS, cv=3).fit(x, y, groups=groups)
        outer = cross_val_score(
            RidgeCV(ALPHAS, cv=GroupKFold(3)), x, y, cv=GroupKFold(4), params={"groups": groups}
        )
    expected = [
        RidgeCV(ALPHAS, cv=GroupKFold(3)).fit(x[a], y[a], groups=groups[a]).score(x[b], y[b])
        for a, b in GroupKFold(4).split(x, groups=groups)
    ]
    close(outer, expected)


@pytest.mark.parametrize("cv", [None, 4])
def test_ties_go_to_the_first_alpha(cv):
    x, y = problem()
    x[:] = 0.0  # every alpha gives the same model, hence the same score
    y -= y.mean(0)
    for alphas in ([3.0, 1.0, 10.0], [10.0, 1.0, 3.0]):
        model = RidgeCV(alphas, cv=cv, alpha_per_target=True, fit_intercept=False).fit(x, y)
        assert (model.cv_scores_ == model.cv_scores_[0]).all()
        assert (model.alpha_ == alphas[0]).all()
        assert SkRidgeCV(alphas, cv=cv, fit_intercept=False).fit(x, y).alpha_ == alphas[0]


def test_undefined_scores_take_the_first_alpha_and_say_so():
    x, y = problem()
    y[:, 1] = 4.0
    with pytest.warns(VoxridgeWarning, match="undefined for every alpha for 1 of 3"):
        model = RidgeCV(ALPHAS, cv=4, scoring="correlation", alpha_per_target=True).fit(x, y)
    assert model.alpha_[1] == ALPHAS[0]
    assert np.isnan(model.best_score_[1])
    alone = RidgeCV(ALPHAS, cv=4, scoring="correlation", alpha_per_target=True).fit(x, y[:, [0, 2]])
    assert np.array_equal(model.alpha_[[0, 2]], alone.alpha_)
    close(model.coef_[[0, 2]], alone.coef_)


def test_constant_target_scores_as_in_scikit_learn():
    x, y = problem()
    y[:, 1] = 4.0
    assert_same_fit(RidgeCV(ALPHAS, cv=4).fit(x, y), SkRidgeCV(ALPHAS, cv=4).fit(x, y))


def test_alpha_zero_with_folds():
    x, y = problem()
    assert_same_fit(RidgeCV([0.0, 1.0], cv=4).fit(x, y), SkRidgeCV([0.0, 1.0], cv=4).fit(x, y), 1e-9)
    x[:, 2] = x[:, 0]
    reference = RidgeCV([1e-9, 1e4], cv=4).fit(x, y)
    close(RidgeCV([0.0, 1e4], cv=4).fit(x, y).cv_scores_, reference.cv_scores_, 1e-6)


@pytest.mark.parametrize("cv", [None, 4])
def test_float32_stays_and_inputs_are_not_touched(cv):
    x, y = (a.astype(np.float32) for a in problem())
    before = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    model = RidgeCV(ALPHAS, cv=cv, alpha_per_target=True, store_cv_results=cv is None).fit(x, y)
    assert model.coef_.dtype == model.intercept_.dtype == model.predict(x).dtype == np.float32
    if cv is None:
        assert model.cv_results_.dtype == np.float32
    exact = RidgeCV(ALPHAS, cv=cv, alpha_per_target=True).fit(x.astype(float), y.astype(float))
    np.testing.assert_array_equal(model.alpha_, exact.alpha_)
    close(model.coef_, exact.coef_, 1e-5)
    assert (x == before[0]).all()
    assert (y == before[1]).all()
    assert RidgeCV(ALPHAS, cv=cv).fit(x.astype(np.float16), y).coef_.dtype == np.float32


@pytest.mark.parametrize("cv", [None, 4])
@pytest.mark.parametrize("layout", ["fortran", "strided", "integer", "list"])
def test_layouts(cv, layout):
    x, y = problem()
    x = np.round(4 * x)
    expected = RidgeCV(ALPHAS, cv=cv).fit(x, y)
    wide = np.zeros((40, 12))
    wide[:, ::2] = x
    given = {
        "fortran": np.asfortranarray(x),
        "strided": wide[:, ::2],
        "integer": x.astype(int),
        "list": x.tolist(),
    }[layout]
    assert_same_fit(RidgeCV(ALPHAS, cv=cv).fit(given, y), expected)


@settings(deadline=None, max_examples=15)
@given(n=st.integers(6, 20), p=st.integers(1, 25), per_target=st.booleans(), seed=st.integers(0, 999))
def test_property_folds_equal_explicit_refits(n, p, per_target, seed):
    x, y = problem(n, p, seed=seed)
    model = RidgeCV([0.1, 10.0], cv=3, scoring="neg_mean_squared_error", alpha_per_target=per_target).fit(
        x, y
    )
    expected = np.zeros((2, 3))
    for train, test in KFold(3).split(x):
        for i, alpha in enumerate([0.1, 10.0]):
            error = y[test] - Ridge(alpha, solver="svd").fit(x[train], y[train]).predict(x[test])
            expected[i] -= (error**2).mean(0) / 3
    close(model.cv_scores_, expected if per_target else expected.mean(1), 1e-10)


@pytest.mark.parametrize("cv", [None, 3])
def test_zero_weights_are_missing_samples(cv):
    x, y = problem()
    times = np.arange(40) % 3
    if cv is not None:
        folds = [(np.arange(20, 40), np.arange(20)), (np.arange(20), np.arange(20, 40))]
        index = np.repeat(np.arange(40), times)
        repeated_folds = [tuple(np.flatnonzero(np.isin(index, side)) for side in fold) for fold in folds]
        weighted = RidgeCV(ALPHAS, cv=folds).fit(x, y, times)
        assert_same_fit(
            weighted, RidgeCV(ALPHAS, cv=repeated_folds).fit(x.repeat(times, 0), y.repeat(times, 0))
        )
        return
    keep = times > 0
    weighted = RidgeCV(ALPHAS, scoring="r2", store_cv_results=True).fit(x, y, times * 1.0)
    removed = RidgeCV(ALPHAS, scoring="r2", store_cv_results=True).fit(x[keep], y[keep], times[keep] * 1.0)
    assert_same_fit(weighted, removed)
    close(weighted.cv_results_[keep], removed.cv_results_)
    full = Ridge(ALPHAS[2]).fit(x, y, times)
    close(weighted.cv_results_[~keep, :, 2], full.predict(x[~keep]))


def test_lives_in_scikit_learn_tools():
    x, y = problem()
    for model in (RidgeCV(ALPHAS), RidgeCV(ALPHAS, cv=3, alpha_per_target=True)):
        fitted = clone(model).fit(x, y)
        assert (pickle.loads(pickle.dumps(fitted)).predict(x) == fitted.predict(x)).all()
        assert cross_val_score(model, x, y, cv=3).shape == (3,)
        assert fitted.score_per_target(x, y).shape == (3,)


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"alphas": []}, ValueError, r"non-empty list of numbers; got shape \(0,\)"),
        ({"alphas": [1.0, -1.0]}, ValueError, r"alphas\[1\] == -1.0, must be > 0.0"),
        ({"alphas": [1.0, np.nan]}, ValueError, r"alphas\[1\] == nan, must be finite"),
        ({"alphas": [0.0, 1.0]}, ValueError, r"alphas\[0\] == 0.0.*pass cv"),
        ({"alphas": -2.0, "cv": 3}, ValueError, "alphas == -2.0, must be >= 0.0"),
        ({"alphas": "1"}, TypeError, "alphas must be"),
        ({"alphas": np.ones((2, 2))}, ValueError, r"shape \(2, 2\)"),
        ({"alpha_per_target": 1}, TypeError, "alpha_per_target must be True or False"),
        ({"gcv_mode": "gram"}, ValueError, "gcv_mode must be one of None, 'auto', 'svd', 'eigen'"),
        ({"cv": 3, "store_cv_results": True}, ValueError, "incompatible; .* cv_scores_"),
        ({"scoring": "nonsense"}, ValueError, "neither 'correlation' nor"),
        ({"scoring": 3}, TypeError, "scoring must be"),
        ({"cv": []}, ValueError, "no folds"),
        ({"cv": [([0, 1], [])]}, ValueError, "fold 0 of cv has an empty test set"),
        ({"cv": [([0, 1], [40])]}, ValueError, "test rows outside the 40 samples"),
        ({"cv": [(np.ones(3, bool), [1])]}, ValueError, r"mask has shape \(3,\)"),
        ({"cv": 41}, ValueError, "n_splits=41"),
    ],
)  # fmt: skip
def test_bad_parameters(parameters, error, match):
    x, y = problem()
    with pytest.raises(error, match=match):
        RidgeCV(**parameters).fit(x, y)


def test_leave_one_out_needs_two_samples():
    with pytest.raises(ValueError, match="n_samples=1"):
        RidgeCV().fit([[1.0, 2.0]], [1.0])


def test_single_alpha_may_be_a_number():
    x, y = problem()
    assert RidgeCV(2.0).fit(x, y).alpha_ == 2.0
    assert median_absolute_error(y, RidgeCV(2.0, cv=3).fit(x, y).predict(x)) < 10
