"""RidgeCV's fast path gives what the generic path gives, and stands aside where it does not apply."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV as SkRidgeCV
from sklearn.model_selection import KFold, ShuffleSplit

from voxridge import _linear_spectral
from voxridge._linear_cv import FoldProblem, HeldOutScore, check_folds, fold_scores
from voxridge.linear_model import Ridge, RidgeCV

ALPHAS = np.geomspace(0.01, 1e4, 15)


def problem(n, p, v=6, *, scoring="r2", fit_intercept=True, cv=None, dtype=np.float64, offset=0.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, p))
    y = x @ rng.normal(size=(p, v)) * np.linspace(0, 1, v) + 3 * rng.normal(size=(n, v))
    folds = check_folds((cv or KFold(4)).split(x), n)
    return FoldProblem(
        x=(x + offset).astype(dtype),
        y=(y + offset).astype(dtype),
        alphas=ALPHAS,
        folds=folds,
        fit_intercept=fit_intercept,
        weight=None,
        score=HeldOutScore.from_scoring(scoring, "r2"),
        score_params={},
        as_model=lambda coef, intercept, alpha: None,
        rows_for_user=lambda rows: (None, None),
    )


@pytest.mark.parametrize(("n", "p"), [(60, 8), (40, 70), (40, 40)])
@pytest.mark.parametrize("scoring", ["r2", "correlation"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    "cv", [KFold(4), KFold(3, shuffle=True, random_state=0), ShuffleSplit(3, random_state=0)]
)
@pytest.mark.parametrize("per_target", [True, False])
def test_equals_the_generic_path(n, p, scoring, fit_intercept, cv, per_target):
    given = problem(n, p, scoring=scoring, fit_intercept=fit_intercept, cv=cv)
    assert _linear_spectral.applies(given)
    fast = _linear_spectral.run(given, per_target=per_target)
    np.testing.assert_allclose(fast.scores, fold_scores(given, per_target=True), rtol=1e-9, atol=1e-10)
    alphas = np.geomspace(0.1, 10, 6)
    for chosen in (fast.result.alpha, alphas):
        coef, intercept, _ = fast.solution(chosen)
        expected = Ridge(chosen, fit_intercept=fit_intercept).fit(given.x, given.y)
        scale = np.abs(expected.coef_).max()
        np.testing.assert_allclose(coef, expected.coef_, rtol=0, atol=1e-10 * scale)
        np.testing.assert_allclose(intercept, np.broadcast_to(expected.intercept_, 6), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("n", "p"), [(60, 8), (40, 70)])
def test_offsets_cost_no_digits(n, p):
    given = problem(n, p, offset=1e4)
    fast = _linear_spectral.run(given, per_target=True)
    plain = fold_scores(problem(n, p), per_target=True)
    np.testing.assert_allclose(fast.scores, plain, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("n", "p"), [(80, 10), (40, 70)])
def test_float32(n, p):
    given = problem(n, p, dtype=np.float32)
    fast = _linear_spectral.run(given, per_target=True)
    exact = fold_scores(problem(n, p), per_target=True)
    np.testing.assert_allclose(fast.scores, exact, rtol=1e-4, atol=1e-5)
    assert fast.solution(np.ones(6)).coef.dtype == np.float32


@pytest.mark.parametrize("scoring", ["r2", "correlation"])
def test_targets_that_are_constant_when_held_out(scoring):
    given = problem(60, 8, scoring=scoring)
    given.y[:, 1] = 3.3
    given.y[given.folds[0][1], 2] = -1.1
    fast = _linear_spectral.run(given, per_target=True)
    np.testing.assert_allclose(fast.scores, fold_scores(given, per_target=True), rtol=1e-9, atol=1e-10)


def test_stands_aside():
    given = problem(60, 8)
    train, test = given.folds[0]
    assert not _linear_spectral.applies(replace(given, weight=np.ones(60)))
    absolute = HeldOutScore.from_scoring("neg_mean_absolute_error", "r2")
    assert not _linear_spectral.applies(replace(given, score=absolute))
    assert not _linear_spectral.applies(replace(given, alphas=np.array([0.0, 1.0])))
    assert not _linear_spectral.applies(replace(given, x=np.ones((60, 8))))
    for folds in (
        [(np.append(train, train[0]), test)],
        [(train, np.append(test, train[0]))],
        [(train - 60, test)],
    ):
        assert not _linear_spectral.applies(replace(given, folds=folds))
    assert _linear_spectral.spectral_fit(replace(given, alphas=np.array([1.0])), per_target=True) is None


@pytest.mark.parametrize("per_target", [True, False])
@pytest.mark.parametrize(("n", "p"), [(60, 8), (30, 70)])
def test_the_estimator_takes_it_and_still_equals_scikit_learn(per_target, n, p, monkeypatch):
    given = problem(n, p)
    taken = []
    run = _linear_spectral.run
    monkeypatch.setattr(_linear_spectral, "run", lambda *a, **k: taken.append(1) or run(*a, **k))
    model = RidgeCV(ALPHAS, cv=3, alpha_per_target=per_target).fit(given.x, given.y)
    assert bool(taken) == (len(ALPHAS) * n / 3 > 3 * min(n, p))
    targets = range(6) if per_target else [slice(None)]
    for j in targets:
        reference = SkRidgeCV(ALPHAS, cv=3).fit(given.x, given.y[:, j])
        assert np.all((model.alpha_[j] if per_target else model.alpha_) == reference.alpha_)
        np.testing.assert_allclose(
            model.best_score_[j] if per_target else model.best_score_,
            reference.best_score_,
            rtol=1e-10,
            atol=1e-11,
        )
        np.testing.assert_allclose(model.coef_[j], reference.coef_, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(model.intercept_[j], reference.intercept_, rtol=1e-9, atol=1e-11)
